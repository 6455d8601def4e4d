//! `offboard watch`: shows the running agent on a full screen.

mod detail;
mod history;
mod keys;
mod model;
mod paint;
mod screen;
mod view;

use std::{future::Future, io, io::IsTerminal, pin::Pin, time::Duration};

use clap::Args;
use ratatui_core::terminal::Terminal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use self::{
    keys::Keys,
    model::{Detail, Effect, Model, News, Opened, Reply, Wanted},
    screen::Screen,
};
use super::{
    agent::{Agent, Common},
    answer::Output,
    failure::Failure,
    text::clean,
};
use crate::{
    domain::{
        Reason,
        operations::requests::{MAX_RESULTS, STATE, TARGET_CLIENT, TARGET_TOKEN, TARGET_VIA, THING_IN_QUESTION},
    },
    protocol::{messages::Rejected, metrics::MetricsMessage},
};

/// The interval between two queries of the agent, whose status changes at most as often.
const PACE: Duration = Duration::from_secs(1);

/// Maximum time to wait for the rest of a key's sequence: some bytes at 1200 baud.
const KEY_PATIENCE: Duration = Duration::from_millis(100);

/// Maximum number of failed entries of a request that are shown.
const MAX_FAILURES: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Watch {}

/// A connection to the agent, kept as long as it answers.
struct Link {
    agent: Agent,
    /// Whether the agent has the `metrics` operation. An older agent rejects it, and would log each
    /// attempt.
    has_metrics: bool,
}

/// A finished query with its outcome.
struct Looked {
    wanted: Wanted,
    outcome: Result<(Link, News), String>,
}

/// A query in progress, and when it began. Keys are handled meanwhile.
type Looking<'a> = (Instant, Pin<Box<dyn Future<Output = Looked> + 'a>>);

impl Watch {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        if dumb || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::Usage("watch needs a terminal; elsewhere use offboard status".into()));
        }
        if common.output == Output::Json {
            return Err(Failure::Usage("watch is for people; programs use offboard status --output json".into()));
        }
        let agent = common.connect().await?;
        let gone = |error: io::Error| Failure::Failed(format!("the terminal cannot be used: {error}"));
        let screen = Screen::take(io::stdin(), io::stdout()).map_err(gone)?;
        watch(common, Link { agent, has_metrics: true }, screen, is_ascii()).await.map_err(gone)
    }
}

/// Whether the terminal can probably show only ASCII.
fn is_ascii() -> bool {
    let var = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(var).unwrap_or_default().to_lowercase();
    // The Linux console has a font with few characters.
    let is_old = var("TERM").is_none_or(|term| term.starts_with("vt") || ["linux", "ansi"].contains(&term.as_str()));
    is_old || !(locale.contains("utf-8") || locale.contains("utf8"))
}

/// Runs until the user quits.
async fn watch(common: &Common, link: Link, screen: Screen, ascii: bool) -> io::Result<()> {
    let mut input = screen.input()?;
    let mut terminal = Terminal::new(screen)?;
    let mut ends = Ends::new()?;
    let mut resized = signal(SignalKind::window_change())?;
    let (mut model, mut keys) = (Model::default(), Keys::default());
    let start = Instant::now();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The query owns the connection while it runs, and returns it with the answer.
    let mut link = Some(link);
    let mut looking: Option<Looking<'_>> = None;
    let mut ask = false;
    loop {
        if ask && looking.is_none() {
            let wanted = model.wanted(terminal.size()?.height);
            looking = Some((Instant::now(), Box::pin(look(common, link.take(), wanted))));
            ask = false;
        }
        model.silent = looking.as_ref().map_or(0, |(since, _)| since.elapsed().as_secs());
        let mut overflow = 0;
        terminal.draw(|frame| overflow = view::draw(frame.buffer_mut(), &model, ascii))?;
        model.top = model.top.min(overflow);
        let mut pressed = Vec::new();
        tokio::select! {
            looked = answer(&mut looking) => {
                looking = None;
                match looked.outcome {
                    Ok((back, news)) => {
                        link = Some(back);
                        model.learn(&looked.wanted, news, start.elapsed());
                    }
                    Err(why) => model.lose(why, start.elapsed()),
                }
            }
            _ = pace.tick() => ask = true,
            bytes = input.recv() => match bytes {
                Some(bytes) => pressed = keys.feed(&bytes),
                None => return Ok(()),
            },
            () = sleep(KEY_PATIENCE), if keys.is_waiting() => pressed.extend(keys.give_up()),
            _ = resized.recv() => {}
            () = ends.any() => return Ok(()),
        }
        for key in pressed {
            match model.press(key) {
                Effect::Draw => {}
                Effect::Ask => ask = true,
                Effect::Anew => {
                    terminal.clear()?;
                    ask = true;
                }
                Effect::Quit => return Ok(()),
            }
        }
    }
}

/// Waits for the query in progress, or forever if there is none.
async fn answer(looking: &mut Option<Looking<'_>>) -> Looked {
    match looking {
        Some((_, looking)) => looking.await,
        None => std::future::pending().await,
    }
}

/// Queries what the model wants, on a new connection if there is none.
async fn look(common: &Common, link: Option<Link>, wanted: Wanted) -> Looked {
    let asking = async {
        let mut link = match link {
            Some(link) => link,
            None => Link { agent: common.connect().await?, has_metrics: true },
        };
        let news = link.ask(&wanted).await?;
        Ok((link, news))
    };
    let outcome = asking.await.map_err(|failure: Failure| failure.to_string());
    Looked { wanted, outcome }
}

fn rejected(rejection: &Rejected<'_>) -> String {
    format!("{} ({})", clean(&rejection.message), clean(&rejection.code))
}

impl Link {
    async fn ask(&mut self, wanted: &Wanted) -> Result<News, Failure> {
        let status = self.agent.status().await?;
        let metrics = self.metrics().await?;
        let gauge = |name| metrics.as_ref().and_then(|metrics| history::gauge(metrics, name));
        let mut news = News {
            status,
            counters: metrics.as_ref().map(history::counters),
            in_flight: gauge("offboard_entries_in_flight"),
            connected: gauge("offboard_connected").map(|connected| connected > 0),
            requests: None,
            devices: None,
            detail: None,
        };
        match &wanted.detail {
            None => {
                news.requests =
                    Some(self.ask_for("list-requests", json!({(MAX_RESULTS.name): wanted.requests})).await?);
                let mut payload = json!({(MAX_RESULTS.name): wanted.devices});
                if let Some(state) = wanted.state {
                    payload[STATE.name] = state.into();
                }
                news.devices = Some(self.ask_for("list-devices", payload).await?);
            }
            Some(Detail::Request { client, via, token }) => {
                let mut payload =
                    json!({(TARGET_TOKEN.name): token, (TARGET_CLIENT.name): client, (MAX_RESULTS.name): MAX_FAILURES});
                // An older agent rejects this member.
                if !via.is_empty() {
                    payload[TARGET_VIA.name] = via.as_str().into();
                }
                let answer = self.ask_for("get-request", payload).await?;
                news.detail = Some(answer.map(|answer| Opened::Request(Box::new(answer))));
            }
            Some(Detail::Device { thing }) => {
                let answer = self.ask_for("get-device", json!({(THING_IN_QUESTION.name): thing})).await?;
                news.detail = Some(answer.map(|answer| Opened::Device(Box::new(answer))));
            }
            Some(Detail::Problems | Detail::Help) => {}
        }
        Ok(news)
    }

    /// Sends a query whose rejection is shown in place of an answer: a broken store, for instance,
    /// rejects some queries while others are answered. So is an answer that cannot be read.
    async fn ask_for<A: DeserializeOwned>(&mut self, operation: &str, payload: Value) -> Result<Reply<A>, Failure> {
        match self.agent.query_as(operation, payload).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(Failure::Rejected(rejection)) => Ok(Err(rejected(&rejection))),
            Err(Failure::Failed(why)) => Ok(Err(why)),
            Err(failure) => Err(failure),
        }
    }

    async fn metrics(&mut self) -> Result<Option<MetricsMessage>, Failure> {
        if !self.has_metrics {
            return Ok(None);
        }
        match self.agent.query_as("metrics", json!({})).await {
            Ok(metrics) => Ok(Some(metrics)),
            Err(Failure::Rejected(rejection)) => {
                self.has_metrics = rejection.reason.as_deref() != Some(Reason::UnknownOperation.as_str());
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The signals that end the command; Ctrl-C is a key.
struct Ends([Signal; 3]);

impl Ends {
    fn new() -> io::Result<Self> {
        let of = |kind| signal(kind);
        Ok(Self([of(SignalKind::terminate())?, of(SignalKind::interrupt())?, of(SignalKind::hangup())?]))
    }

    async fn any(&mut self) {
        let [one, two, three] = &mut self.0;
        tokio::select! {
            _ = one.recv() => {}
            _ = two.recv() => {}
            _ = three.recv() => {}
        }
    }
}
