//! What is known and what is chosen. No I/O: answers and keys go in, and what to ask comes out.

use std::time::Duration;

use serde_json::Value;

use super::{
    history::{Counts, History},
    keys::Key,
};
use crate::cli::text::text;

/// The most that one question returns; further rows are the other commands' business.
const MAX_ROWS: usize = 100;

/// Rows that a page key passes.
const PAGE: usize = 8;

/// Devices that are shown: all of them, or of one state.
const STATES: [Option<&str>; 5] =
    [None, Some("DISASSOCIATING"), Some("ASSOCIATING"), Some("ASSOCIATED"), Some("DISASSOCIATED")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Requests,
    Devices,
}

/// What fills the screen in place of the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Request { client: String, via: String, token: String },
    Device { thing: String },
    Problems,
    Help,
}

/// Rows, and the one that is selected.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Value>,
    pub(super) selected: usize,
    /// Whether the agent has more of them.
    pub(super) more: bool,
}

/// What to ask the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) detail: Option<Detail>,
    pub(super) state: Option<&'static str>,
    /// Rows of each list.
    pub(super) requests: usize,
    pub(super) devices: usize,
}

/// An answer, or the words of a rejection.
pub(super) type Told = Result<Value, String>;

/// What the agent said; nothing for what was not asked.
pub(super) struct News {
    pub(super) status: Value,
    pub(super) counters: Option<Counts>,
    pub(super) in_flight: Option<u64>,
    pub(super) connected: Option<bool>,
    pub(super) requests: Option<Told>,
    pub(super) devices: Option<Told>,
    pub(super) detail: Option<Told>,
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Draw,
    /// The agent is asked at once.
    Ask,
    /// The same, and the terminal is drawn on anew.
    Anew,
    Quit,
}

pub(super) struct Model {
    pub(super) status: Value,
    pub(super) in_flight: Option<u64>,
    /// Whether the agent is connected to the broker, if it tells.
    pub(super) connected: Option<bool>,
    pub(super) history: History,
    pub(super) requests: Rows,
    pub(super) devices: Rows,
    pub(super) focus: List,
    state: usize,
    pub(super) detail: Option<Detail>,
    /// What was told of the request or the device.
    pub(super) told: Option<Told>,
    /// The first line of the detail that is shown.
    pub(super) top: usize,
    /// Why the agent cannot be asked.
    pub(super) gone: Option<String>,
    /// For how many seconds it has owed an answer.
    pub(super) silent: u64,
    /// What it did not want to tell.
    pub(super) refused: Option<String>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            status: Value::Null,
            in_flight: None,
            connected: None,
            history: History::default(),
            requests: Rows::default(),
            devices: Rows::default(),
            focus: List::Requests,
            state: 0,
            detail: None,
            told: None,
            top: 0,
            gone: None,
            silent: 0,
            refused: None,
        }
    }
}

impl Rows {
    /// New rows. The selection stays with its row, but at the top it stays at the top.
    fn learn(&mut self, mut answer: Value, list: &str, name: impl Fn(&Value) -> String) {
        let before = self.rows.get(self.selected).filter(|_| self.selected > 0).map(&name);
        self.more = answer["nextToken"].is_string();
        self.rows = match answer[list].take() {
            Value::Array(rows) => rows,
            _ => Vec::new(),
        };
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

/// Tokens are told apart within a client, and clients within a transport.
fn request_name(request: &Value) -> String {
    format!("{} {} {}", text(request, "via"), text(request, "requestedBy"), text(request, "clientToken"))
}

impl Model {
    /// All that is wrong, a text each.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut all: Vec<String> =
            [&self.gone, &self.refused].into_iter().flatten().map(|why| format!("! {why}")).collect();
        for problem in self.status["problems"].as_array().into_iter().flatten() {
            let part = |member| text(problem, member);
            all.push(format!("! {} since {}: {}", part("code"), part("since"), part("message")));
        }
        all
    }

    /// The devices that are shown.
    pub(super) fn state(&self) -> Option<&'static str> {
        STATES[self.state]
    }

    /// What a screen of that height needs.
    pub(super) fn wanted(&self, height: u16) -> Wanted {
        let height = usize::from(height);
        Wanted {
            detail: self.detail.clone(),
            state: self.state(),
            requests: self.requests.wanted(height),
            devices: self.devices.wanted(height),
        }
    }

    /// Takes in an answer to `wanted`, so long after the watching began.
    pub(super) fn learn(&mut self, wanted: &Wanted, news: News, elapsed: Duration) {
        self.gone = None;
        self.silent = 0;
        self.refused = None;
        self.status = news.status;
        self.in_flight = news.in_flight;
        self.connected = news.connected;
        self.history.record(elapsed, news.counters);
        match news.requests {
            Some(Ok(answer)) => self.requests.learn(answer, "requests", request_name),
            Some(Err(words)) => self.refused = Some(format!("requests: {words}")),
            None => {}
        }
        match news.devices {
            // Somebody may have chosen another state meanwhile.
            Some(Ok(answer)) if wanted.state == self.state() => {
                self.devices.learn(answer, "devices", |device| text(device, "thingName"));
            }
            Some(Err(words)) => self.refused = Some(format!("devices: {words}")),
            _ => {}
        }
        if wanted.detail == self.detail && news.detail.is_some() {
            self.told = news.detail;
        }
    }

    /// The agent could not be asked.
    pub(super) fn lose(&mut self, why: String, elapsed: Duration) {
        self.gone = Some(why);
        self.history.record(elapsed, None);
    }

    /// Takes a key.
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
        self.told = None;
        self.top = 0;
        Effect::Ask
    }

    fn look_into(&mut self) -> Effect {
        // As the agent sent it: what is shown is cleaned, and would name another one.
        let raw = |row: &Value, member: &str| row[member].as_str().unwrap_or_default().to_owned();
        let rows = match self.focus {
            List::Requests => &self.requests,
            List::Devices => &self.devices,
        };
        let Some(row) = rows.rows.get(rows.selected) else { return Effect::Draw };
        let detail = match self.focus {
            List::Requests => {
                let (client, via) = (raw(row, "requestedBy"), raw(row, "via"));
                Detail::Request { client, via, token: raw(row, "clientToken") }
            }
            List::Devices => Detail::Device { thing: raw(row, "thingName") },
        };
        self.open(detail)
    }
}

#[cfg(test)]
mod tests;
