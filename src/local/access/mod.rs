//! Local access (docs/interface.md, "Local access"): disables the broker's client of a device that
//! is disassociated, and enables it when the device is associated again, through Mosquitto's
//! dynamic-security plugin.
//!
//! It is a reconciler: it reads the due changes from the ledger, sends commands to the plugin, and
//! writes the responses back to the ledger. No other part waits for it, and a change that is lost
//! is made again. `plan` decides when commands are sent, and how many.

mod plan;

use std::sync::Arc;

use tokio::{sync::mpsc, time::Instant};

use self::plan::{Answered, Batch, Denied, Flow, Next};
use crate::{
    config::{self, Config},
    domain::{AccessAnswer, AccessCommand, ThingName},
    health::Health,
    ledger::{self, DueAccess, Ledger, UnknownClients},
    local::broker::{ConnectionState, FromPlugin, Publisher, Subscription, Tag},
    protocol::dynsec,
    runtime::{clock::sleep_until, stop::Stop},
};

pub(crate) struct LocalAccess {
    ledger: Ledger,
    publisher: Arc<Publisher>,
    health: Arc<Health>,
    names: config::LocalAccess,
    /// User names that are never disabled: the agent's own, and the plugin's administrator.
    reserved: Vec<String>,
    own: String,
    stop: Stop,
    connection: ConnectionState,
    flow: Flow,
    is_denied: bool,
}

impl LocalAccess {
    pub(crate) fn new(
        config: &Config,
        names: config::LocalAccess,
        ledger: Ledger,
        publisher: Arc<Publisher>,
        health: Arc<Health>,
        stop: Stop,
    ) -> Self {
        Self {
            ledger,
            publisher,
            health,
            names,
            reserved: config.own_names().into_iter().chain([dynsec::ADMIN.to_owned()]).collect(),
            own: config.own_name(),
            stop,
            connection: ConnectionState::default(),
            flow: Flow::new(Instant::now()),
            is_denied: false,
        }
    }

    pub(crate) async fn run(mut self, mut plugin: mpsc::Receiver<FromPlugin>) {
        let mut changes = self.ledger.access();
        let mut connection = self.publisher.connection_state();
        changes.mark_changed();
        while !self.stop.is_requested() {
            if changes.has_changed().unwrap_or(false) {
                changes.mark_unchanged();
                self.flow.look();
            }
            self.connection(*connection.borrow_and_update());
            let now = Instant::now();
            if let Some(denied) = self.flow.expired(now) {
                self.health.counters().plugin_answered(None);
                self.denied(denied);
            }
            match self.flow.next(now) {
                Next::Wait => {}
                Next::Subscribe => {
                    self.publisher.subscribe(self.connection.epoch, Subscription::Plugin, dynsec::RESPONSES);
                    self.flow.subscribing(now);
                }
                Next::Send { failed, after, limit } => {
                    self.send(failed, after, limit).await;
                    continue;
                }
            }
            tokio::select! {
                biased;
                Some(message) = plugin.recv() => self.receive(message).await,
                Ok(()) = connection.changed() => {}
                Ok(()) = changes.changed() => self.flow.look(),
                () = sleep_until(self.flow.wakes_at()) => {}
                () = self.stop.requested() => {}
            }
        }
    }

    fn connection(&mut self, connection: ConnectionState) {
        if connection.epoch != self.connection.epoch {
            self.connection = connection;
            self.flow.connection(connection.up);
        }
    }

    async fn receive(&mut self, message: FromPlugin) {
        let now = Instant::now();
        match message {
            FromPlugin::Subscribed(is_granted) => {
                let denied = self.flow.subscribed(is_granted, now);
                self.denied(denied);
            }
            FromPlugin::Response(payload) => {
                let Some(answers) = self.flow.response(&payload, now) else { return };
                if std::mem::take(&mut self.is_denied) {
                    tracing::info!("the broker's dynamic-security plugin answers");
                }
                self.health.clear("LOCAL_ACCESS_DENIED");
                self.health.counters().plugin_granted(true);
                for (_, command, answer) in &answers {
                    let is_failed = matches!(answer, AccessAnswer::Failed(_));
                    self.health.counters().plugin_answered(Some((*command, !is_failed)));
                }
                self.take_over(answers).await;
            }
        }
    }

    fn denied(&mut self, denied: Option<Denied>) {
        let Some(denied) = denied else { return };
        self.health.counters().plugin_granted(false);
        let what = match denied {
            Denied::Subscription => format!("the broker denies the subscription to {}", dynsec::RESPONSES),
            Denied::Silence => format!("the broker does not answer commands on {}", dynsec::COMMANDS),
        };
        let message =
            format!("{what}, so that no client of a disassociated device is disabled: {}", dynsec::advice(&self.own));
        if !std::mem::replace(&mut self.is_denied, true) {
            tracing::warn!("{message}; trying again after 30 s to 10 minutes");
        }
        self.health.raise("LOCAL_ACCESS_DENIED", message);
    }

    /// Sends the next due commands.
    async fn send(&mut self, failed: bool, after: Option<ThingName>, limit: usize) {
        let due = self.ledger.run_unsynced(move |tx| ledger::due_access(tx, failed, after.as_ref(), limit));
        let (due, unknown) = match due.await {
            Ok(due) => due,
            Err(error) => {
                tracing::debug!(%error, "what is due of local access cannot be read");
                return self.flow.later(Instant::now());
            }
        };
        self.report_unknown(unknown);
        let now = Instant::now();
        let is_over = failed && due.is_empty();
        self.flow.failed(self.ledger.summary().borrow().access.failed, is_over, now);
        let is_reserved = |due: &DueAccess| {
            due.command == AccessCommand::Read && self.reserved.contains(&self.names.username(&due.thing))
        };
        let (reserved, due): (Vec<_>, Vec<_>) = due.into_iter().partition(is_reserved);
        if !reserved.is_empty() {
            let alone = |due: DueAccess| (due.thing, due.command, AccessAnswer::Administrator);
            return self.take_over(reserved.into_iter().map(alone).collect()).await;
        }
        let commands = self.flow.select(failed, due);
        if commands.is_empty() {
            return;
        }
        let number = fastrand::u64(..);
        let usernames: Vec<_> =
            commands.iter().map(|(thing, command)| (*command, self.username(thing.as_ref()))).collect();
        let payload = dynsec::commands(number, usernames.iter().map(|(command, name)| (*command, name.as_str())));
        if self.publisher.publish(Some(self.connection.epoch), dynsec::COMMANDS, payload, false, Tag::Plugin) {
            self.flow.sent(Batch { number, commands, sent_at: now });
        } else {
            self.flow.later(now);
        }
    }

    fn username(&self, thing: Option<&ThingName>) -> String {
        thing.map_or_else(|| self.own.clone(), |thing| self.names.username(thing))
    }

    /// Writes the plugin's responses to the ledger. The ledger durably records that a client was
    /// enabled before the agent disables it.
    async fn take_over(&mut self, answers: Vec<Answered>) {
        if answers.is_empty() {
            return;
        }
        for (thing, command, answer) in &answers {
            tracing::debug!(%thing, command = command.as_str(), ?answer, "the broker's plugin answered");
        }
        let written = self.ledger.run(move |tx| ledger::access_answered(tx, &answers)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "an answer of the broker's plugin cannot be stored; its command is sent again");
            self.flow.later(Instant::now());
        }
    }

    fn report_unknown(&self, unknown: Option<UnknownClients>) {
        const CODE: &str = "LOCAL_ACCESS_UNKNOWN_CLIENT";
        let Some(UnknownClients { first, count }) = unknown else { return self.health.clear(CODE) };
        let username = self.names.username(&first);
        let message = format!(
            "the broker's dynamic-security plugin has no client for {count} disassociated devices (the first is {first}, with the \
             user name {username}), so that they may still be connected by another name: check localAccess.username, or \
             list devices without a client in guard.protected"
        );
        self.health.raise(CODE, message);
    }
}
