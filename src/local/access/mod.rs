//! Local access (contract, "Local access"): disables the broker's client of a device that is
//! disassociated, and enables it when the device is associated again, by Mosquitto's
//! dynamic-security plugin.
//!
//! It is a reconciler: it reads from the ledger what is due, commands the plugin, and writes the
//! answers back. Nothing else waits for it, and whatever is lost on the way is done again. `plan.rs`
//! decides when and how much.

mod plan;

use std::sync::Arc;

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use self::plan::{Answered, Batch, Denied, Flow, Next};
use crate::{
    config::{self, Config},
    domain::{AccessAnswer, AccessCommand, ThingName},
    health::Conditions,
    ledger::{self, DueAccess, Ledger, UnknownClients},
    local::broker::{ConnectionState, Publisher, Subscription, Tag},
    protocol::dynsec,
    runtime::{clock::sleep_until, stop::Stop},
};

/// What comes from the broker.
#[derive(Debug)]
pub(crate) enum FromPlugin {
    /// The subscription to the responses is granted, or not.
    Subscribed(bool),
    /// A response.
    Response(Bytes),
}

/// User names that are never disabled: the agent's own, and the plugin's administrator.
pub(crate) fn reserved_names(config: &Config) -> Vec<String> {
    let mqtt = config.mqtt.as_ref();
    let login = mqtt.and_then(|mqtt| mqtt.login.as_ref()).map(|(name, _)| name.clone());
    let client = mqtt.map(|mqtt| mqtt.client_id.clone());
    let core = config.core.to_string();
    login.into_iter().chain(client).chain([core, dynsec::ADMIN.to_owned()]).collect()
}

/// The name by which the agent tries whether it may command the plugin: its own.
pub(crate) fn own_name(config: &Config) -> String {
    reserved_names(config).swap_remove(0)
}

/// What to do about a plugin that does not answer.
pub(crate) fn denied(own: &str) -> String {
    format!(
        "allow the client {own} to publish to {}, and to subscribe to {} and receive from there (mosquitto_ctrl dynsec \
         addRoleACL), and check that the broker loads mosquitto_dynamic_security.so",
        dynsec::COMMANDS,
        dynsec::RESPONSES
    )
}

pub(crate) struct LocalAccess {
    ledger: Ledger,
    line: Arc<Publisher>,
    conditions: Arc<Conditions>,
    names: config::LocalAccess,
    reserved: Vec<String>,
    own: String,
    stop: Stop,
    link: ConnectionState,
    flow: Flow,
    is_denied: bool,
}

impl LocalAccess {
    pub(crate) fn new(
        config: &Config,
        names: config::LocalAccess,
        ledger: Ledger,
        line: Arc<Publisher>,
        conditions: Arc<Conditions>,
        stop: Stop,
    ) -> Self {
        Self {
            ledger,
            line,
            conditions,
            names,
            reserved: reserved_names(config),
            own: own_name(config),
            stop,
            link: ConnectionState::default(),
            flow: Flow::new(Instant::now()),
            is_denied: false,
        }
    }

    pub(crate) async fn run(mut self, mut plugin: mpsc::Receiver<FromPlugin>) {
        let mut changes = self.ledger.access();
        let mut link = self.line.link();
        changes.mark_changed();
        while !self.stop.is_requested() {
            if changes.has_changed().unwrap_or(false) {
                changes.mark_unchanged();
                self.flow.look();
            }
            self.connection(*link.borrow_and_update());
            let now = Instant::now();
            if let Some(denied) = self.flow.expired(now) {
                self.conditions.plugin_answered(None);
                self.denied(denied);
            }
            match self.flow.next(now) {
                Next::Wait => {}
                Next::Subscribe => {
                    self.line.subscribe(self.link.epoch, Subscription::Plugin, dynsec::RESPONSES);
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
                Ok(()) = link.changed() => {}
                Ok(()) = changes.changed() => self.flow.look(),
                () = sleep_until(self.flow.wakes_at()) => {}
                () = self.stop.requested() => {}
            }
        }
    }

    fn connection(&mut self, link: ConnectionState) {
        if link.epoch != self.link.epoch {
            self.link = link;
            self.flow.connection(link.up);
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
                self.conditions.clear("LOCAL_ACCESS_DENIED");
                self.conditions.plugin_granted(true);
                for (_, command, answer) in &answers {
                    let is_failed = matches!(answer, AccessAnswer::Failed(_));
                    self.conditions.plugin_answered(Some((*command, !is_failed)));
                }
                self.take_over(answers).await;
            }
        }
    }

    fn denied(&mut self, denied: Option<Denied>) {
        let Some(denied) = denied else { return };
        self.conditions.plugin_granted(false);
        let what = match denied {
            Denied::Subscription => format!("the broker denies the subscription to {}", dynsec::RESPONSES),
            Denied::Silence => format!("the broker does not answer commands on {}", dynsec::COMMANDS),
        };
        let message =
            format!("{what}, so that no client of a disassociated device is disabled: {}", self::denied(&self.own));
        if !std::mem::replace(&mut self.is_denied, true) {
            tracing::warn!("{message}; trying again after 30 s to 10 minutes");
        }
        self.conditions.raise("LOCAL_ACCESS_DENIED", message);
    }

    /// Sends what is due next.
    async fn send(&mut self, failed: bool, after: Option<ThingName>, limit: usize) {
        let due = self.ledger.run_lazily(move |tx| ledger::due_access(tx, failed, after.as_ref(), limit).map(Some));
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
        if self.line.publish(Some(self.link.epoch), dynsec::COMMANDS, payload, false, Tag::Plugin) {
            self.flow.sent(Batch { number, commands, sent_at: now });
        } else {
            self.flow.later(now);
        }
    }

    fn username(&self, thing: Option<&ThingName>) -> String {
        thing.map_or_else(|| self.own.clone(), |thing| self.names.username(thing))
    }

    /// Writes what the plugin answered to the ledger. That a client was read as enabled is durable
    /// before it is disabled.
    async fn take_over(&mut self, answers: Vec<Answered>) {
        if answers.is_empty() {
            return;
        }
        for (thing, command, answer) in &answers {
            tracing::debug!(%thing, command = command.as_str(), ?answer, "the broker's plugin answered");
        }
        let written = self.ledger.run(move |tx| ledger::access_answered(tx, &answers).map(Some)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "an answer of the broker's plugin cannot be stored; its command is sent again");
            self.flow.later(Instant::now());
        }
    }

    fn report_unknown(&self, unknown: Option<UnknownClients>) {
        const CODE: &str = "LOCAL_ACCESS_UNKNOWN_CLIENT";
        let Some(UnknownClients { first, count }) = unknown else { return self.conditions.clear(CODE) };
        let username = self.names.username(&first);
        let message = format!(
            "the broker's dynamic-security plugin has no client for {count} disassociated devices (the first is {first}, with the \
             user name {username}), so that they may still be connected by another name: check localAccess.username, or \
             list devices without a client in guard.protected"
        );
        self.conditions.raise(CODE, message);
    }
}
