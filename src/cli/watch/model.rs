//! The state of the screen: what is known, and what the user selected. No I/O: answers and keys are
//! the input, and queries are the output.

use std::time::Duration;

use super::{
    history::{Counts, History},
    keys::Key,
};
use crate::{
    cli::text::clean,
    protocol::{
        messages::{DeviceMessage, DeviceResponse, DevicesResponse, RequestMessage, RequestResponse, RequestsResponse},
        status::StatusMessage,
    },
};

/// Maximum number of rows of one query; `offboard requests` and `offboard devices` show all rows.
const MAX_ROWS: usize = 100;

/// Number of rows that a page key moves.
const PAGE: usize = 8;

/// The filters of the device list: all devices, or those of one state.
const STATES: [Option<&str>; 5] =
    [None, Some("DISASSOCIATING"), Some("ASSOCIATING"), Some("ASSOCIATED"), Some("DISASSOCIATED")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Requests,
    Devices,
}

/// The views that replace the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Request { client: String, via: String, token: String },
    Device { thing: String },
    Problems,
    Help,
}

/// The rows of a list, and the selected one.
pub(super) struct Rows<R> {
    pub(super) rows: Vec<R>,
    pub(super) selected: usize,
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), selected: 0 }
    }
}

/// The data that the screen needs from the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) detail: Option<Detail>,
    pub(super) state: Option<&'static str>,
    /// The number of rows of each list.
    pub(super) requests: usize,
    pub(super) devices: usize,
}

/// An answer, or the text of a rejection.
pub(super) type Reply<A> = Result<A, String>;

/// The answer for the open view.
pub(super) enum Opened {
    Request(Box<RequestResponse>),
    Device(Box<DeviceResponse>),
}

/// The agent's answers; `None` for what was not queried.
pub(super) struct News {
    pub(super) status: StatusMessage,
    pub(super) counters: Option<Counts>,
    pub(super) in_flight: Option<u64>,
    pub(super) connected: Option<bool>,
    pub(super) requests: Option<Reply<RequestsResponse>>,
    pub(super) devices: Option<Reply<DevicesResponse>>,
    pub(super) detail: Option<Reply<Opened>>,
}

/// The effect of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Draw,
    /// Query the agent at once.
    Ask,
    /// Query the agent at once, and draw the whole screen again.
    Anew,
    Quit,
}

pub(super) struct Model {
    /// `None` until the agent has answered.
    pub(super) status: Option<StatusMessage>,
    pub(super) in_flight: Option<u64>,
    /// Whether the agent is connected to the broker, if it reports that.
    pub(super) connected: Option<bool>,
    pub(super) history: History,
    pub(super) requests: Rows<RequestMessage>,
    pub(super) devices: Rows<DeviceMessage>,
    pub(super) focus: List,
    state: usize,
    pub(super) detail: Option<Detail>,
    /// The answer for the request or the device in the open view.
    pub(super) reply: Option<Reply<Opened>>,
    /// The first line of the view that is shown.
    pub(super) top: usize,
    /// Why the agent cannot be reached.
    pub(super) gone: Option<String>,
    /// For how many seconds a query has had no answer.
    pub(super) silent: u64,
    /// The agent's rejection of one of the queries.
    pub(super) refused: Option<String>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            status: None,
            in_flight: None,
            connected: None,
            history: History::default(),
            requests: Rows::default(),
            devices: Rows::default(),
            focus: List::Requests,
            state: 0,
            detail: None,
            reply: None,
            top: 0,
            gone: None,
            silent: 0,
            refused: None,
        }
    }
}

impl<R> Rows<R> {
    /// Replaces the rows. The selection stays with its row, except that the top row stays selected.
    fn learn<N: PartialEq>(&mut self, rows: Vec<R>, name: impl Fn(&R) -> N) {
        let before = self.rows.get(self.selected).filter(|_| self.selected > 0).map(&name);
        self.rows = rows;
        let place = before.and_then(|before| self.rows.iter().position(|row| name(row) == before));
        self.selected = place.unwrap_or(self.selected).min(self.rows.len().saturating_sub(1));
    }

    fn wanted(&self, height: usize) -> usize {
        (self.selected + height).clamp(1, MAX_ROWS)
    }

    fn select(&mut self, down: bool, by: usize) {
        let to = if down { self.selected + by } else { self.selected.saturating_sub(by) };
        self.selected = to.min(self.rows.len().saturating_sub(1));
    }
}

/// A token identifies a request only within its client, and a client only within its transport.
fn request_name(request: &RequestMessage) -> (Option<String>, Option<String>, String) {
    (request.via.as_deref().map(str::to_owned), request.requested_by.clone(), request.client_token.clone())
}

impl Model {
    /// All problems, one text each.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut all: Vec<String> =
            [&self.gone, &self.refused].into_iter().flatten().map(|why| format!("! {why}")).collect();
        for problem in self.status.iter().flat_map(|status| &status.problems) {
            let (code, since, message) = (clean(&problem.code), clean(&problem.since), clean(&problem.message));
            all.push(format!("! {code} since {since}: {message}"));
        }
        all
    }

    /// The filter of the device list.
    pub(super) fn state(&self) -> Option<&'static str> {
        STATES[self.state]
    }

    /// The data that a screen of that height needs.
    pub(super) fn wanted(&self, height: u16) -> Wanted {
        let height = usize::from(height);
        Wanted {
            detail: self.detail.clone(),
            state: self.state(),
            requests: self.requests.wanted(height),
            devices: self.devices.wanted(height),
        }
    }

    /// Takes an answer to `wanted` at `elapsed`, the time since the watch began.
    pub(super) fn learn(&mut self, wanted: &Wanted, news: News, elapsed: Duration) {
        self.gone = None;
        self.silent = 0;
        self.refused = None;
        self.status = Some(news.status);
        self.in_flight = news.in_flight;
        self.connected = news.connected;
        self.history.record(elapsed, news.counters);
        match news.requests {
            Some(Ok(answer)) => self.requests.learn(answer.requests, request_name),
            Some(Err(words)) => self.refused = Some(format!("requests: {words}")),
            None => {}
        }
        match news.devices {
            // The user may have selected another state meanwhile.
            Some(Ok(answer)) if wanted.state == self.state() => {
                self.devices.learn(answer.devices, |device| device.thing_name.clone());
            }
            Some(Err(words)) => self.refused = Some(format!("devices: {words}")),
            _ => {}
        }
        if wanted.detail == self.detail && news.detail.is_some() {
            self.reply = news.detail;
        }
    }

    /// Records that the agent could not be reached.
    pub(super) fn lose(&mut self, why: String, elapsed: Duration) {
        self.gone = Some(why);
        self.history.record(elapsed, None);
    }

    /// Handles a key.
    pub(super) fn press(&mut self, key: Key) -> Effect {
        match key {
            Key::Char('q') | Key::Interrupt => return Effect::Quit,
            Key::Char('r') | Key::Redraw => return Effect::Anew,
            Key::Char('?') => return self.open(Detail::Help),
            Key::Char('p') => return self.open(Detail::Problems),
            Key::Escape | Key::Enter if self.detail.is_some() => {
                self.detail = None;
                return Effect::Ask;
            }
            Key::Escape => return Effect::Quit,
            Key::Up | Key::Char('k') => self.go(false, 1),
            Key::Down | Key::Char('j') => self.go(true, 1),
            Key::PageUp => self.go(false, PAGE),
            Key::PageDown | Key::Char(' ') => self.go(true, PAGE),
            _ if self.detail.is_some() => {}
            Key::Enter => return self.look_into(),
            Key::Tab => {
                self.focus = match self.focus {
                    List::Requests => List::Devices,
                    List::Devices => List::Requests,
                };
            }
            Key::Char('s') => {
                self.state = (self.state + 1) % STATES.len();
                self.devices = Rows::default();
                return Effect::Ask;
            }
            Key::Char(_) => {}
        }
        Effect::Draw
    }

    fn go(&mut self, down: bool, by: usize) {
        match (&self.detail, self.focus) {
            (Some(_), _) if down => self.top = self.top.saturating_add(by),
            (Some(_), _) => self.top = self.top.saturating_sub(by),
            (None, List::Requests) => self.requests.select(down, by),
            (None, List::Devices) => self.devices.select(down, by),
        }
    }

    fn open(&mut self, detail: Detail) -> Effect {
        self.detail = Some(detail);
        self.reply = None;
        self.top = 0;
        Effect::Ask
    }

    fn look_into(&mut self) -> Effect {
        // The name as the agent sent it: the displayed one is cleaned, and could be the name of
        // another row.
        let detail = match self.focus {
            List::Requests => self.requests.rows.get(self.requests.selected).map(|row| Detail::Request {
                client: row.requested_by.clone().unwrap_or_default(),
                via: row.via.as_deref().unwrap_or_default().to_owned(),
                token: row.client_token.clone(),
            }),
            List::Devices => {
                let row = self.devices.rows.get(self.devices.selected);
                row.map(|row| Detail::Device { thing: row.thing_name.clone() })
            }
        };
        detail.map_or(Effect::Draw, |detail| self.open(detail))
    }
}

#[cfg(test)]
mod tests;
