//! Starts the parts of the local side: the local socket, and the parts of each connection.

use std::sync::{Arc, atomic::AtomicUsize};

use tokio::sync::mpsc;

use super::{
    Parts,
    ipc::{missing, ways},
    metrics::Metrics,
    supervisor::Supervisor,
};
use crate::{
    cloud::Cloud,
    domain::Via,
    local::{
        access::LocalAccess,
        broker::{Closer, Mqtt, MqttParts, Wired},
        devices::Devices,
        inbox::Inbox,
        ipc::{Environment, Ipc, IpcParts, Problems, UNAVAILABLE},
        outbox::Outbox,
        socket::{Socket, SocketResults},
        status::Status,
    },
    protocol::{Topics, local_socket::MAX_LINE},
    runtime::stop,
};

/// The most commands of the socket that wait to be handled; a client that sends more has to wait.
const LOCAL_COMMANDS: usize = 64;

/// The name of an inbox in the report of a failed part.
fn inbox_name(via: Via) -> &'static str {
    match via {
        Via::Mqtt | Via::Socket => "inbox of the broker",
        Via::PubSub => "inbox of local publish/subscribe",
        Via::IotCore => "inbox of AWS IoT Core",
    }
}

impl<C: Cloud> Parts<C> {
    /// Starts the parts that serve the users of this machine.
    pub(super) fn start_socket(&self, calls: &mut Supervisor, stop: &stop::Stop) {
        let (inbound, commands) = mpsc::channel(LOCAL_COMMANDS);
        let (asked, requests) = mpsc::channel(LOCAL_COMMANDS);
        let inbox = self.inbox(MAX_LINE, "a line of the local socket", None, stop);
        calls.spawn("inbox of the local socket", inbox.run(commands));
        let socket_results = SocketResults { ledger: self.ledger.clone(), max_bytes: MAX_LINE, stop: stop.clone() };
        calls.spawn("results of the local socket", socket_results.run(requests));
        let (report, shown) = (self.report(), self.config.shown.to_string().into_bytes());
        let socket = Socket {
            data_dir: self.config.data_dir.clone(),
            health: Arc::clone(&self.health),
            inbound,
            asked,
            look: Arc::new(move |name| match name {
                "status" => Some(report.message()),
                "metrics" => Some(report.metrics()),
                "configuration" => Some(shown.clone()),
                _ => None,
            }),
            stop: stop.clone(),
        };
        calls.spawn("local socket", socket.run());
    }

    /// `key` is the configuration key of the limit `max_payload`.
    fn inbox(
        &self,
        max_payload: usize,
        key: &'static str,
        waiting: Option<Arc<AtomicUsize>>,
        stop: &stop::Stop,
    ) -> Inbox {
        let Self { config, ledger, health, .. } = self;
        Inbox {
            core: config.core.clone(),
            max_payload,
            max_payload_key: key,
            max_entries: config.batch.max_entries,
            max_pending: config.limits.max_pending_entries,
            max_database: config.limits.max_database_bytes,
            accept_broadcast: config.accept_broadcast,
            off: config.off.clone(),
            ledger: ledger.clone(),
            health: Arc::clone(health),
            clock: self.clock.clone(),
            waiting,
            stop: stop.clone(),
        }
    }

    pub(super) fn start_mqtt(
        &self,
        connection: &mut Supervisor,
        calls: &mut Supervisor,
        results: &mut Supervisor,
        stops: (&stop::Stop, &stop::Stop),
    ) -> Option<Closer> {
        let Self { config, health, .. } = self;
        let Some(mqtt) = config.mqtt.clone() else {
            tracing::info!("mqtt.url is none: there is no broker");
            return None;
        };
        let topics = config.topics();
        let max_payload = config.limits.max_payload_bytes;
        let parts = MqttParts { mqtt, topics: topics.clone(), max_payload, health: Arc::clone(health) };
        let Mqtt { wired, closer, run } = Mqtt::new(parts);
        connection.spawn("connection to the broker", run);
        self.start_line(Via::Mqtt, wired, topics, calls, results, stops);
        Some(closer)
    }

    /// Starts the enabled transports over Greengrass IPC.
    pub(super) fn start_ipc(
        &self,
        connection: &mut Supervisor,
        calls: &mut Supervisor,
        results: &mut Supervisor,
        stops: (&stop::Stop, &stop::Stop),
    ) -> Vec<Closer> {
        let Self { config, health, .. } = self;
        let problems = Problems::new(Arc::clone(health));
        let environment = Environment::of_process();
        let mut closers = Vec::new();
        for way in ways(config) {
            let Some(environment) = environment.clone() else {
                let message = missing(way);
                tracing::warn!("{message}");
                problems.raise(UNAVAILABLE, way.via(), message);
                continue;
            };
            let topics = config.topics();
            let parts = IpcParts {
                way,
                environment,
                topics: topics.clone(),
                max_payload: config.ipc.max_payload_bytes,
                health: Arc::clone(health),
                problems: problems.clone(),
            };
            let Ipc { wired, closer, run } = Ipc::new(parts);
            connection.spawn("connection to the nucleus", run);
            self.start_line(way.via(), wired, topics, calls, results, stops);
            closers.push(closer);
        }
        closers
    }

    /// Starts the parts that serve the clients of a connection of the transport `via`.
    pub(crate) fn start_line(
        &self,
        via: Via,
        wired: Wired,
        topics: Topics,
        calls: &mut Supervisor,
        results: &mut Supervisor,
        (calls_stop, results_stop): (&stop::Stop, &stop::Stop),
    ) {
        let Self { config, ledger, health, .. } = self;
        let Wired { publisher, inbound, deliveries, waiting, plugin } = wired;
        let (max_payload, key) = match via {
            Via::Mqtt | Via::Socket => (config.limits.max_payload_bytes, "limits.maxPayloadBytes"),
            Via::PubSub | Via::IotCore => (config.ipc.max_payload_bytes, "ipc.maxPayloadBytes"),
        };
        calls.spawn(inbox_name(via), self.inbox(max_payload, key, Some(waiting), calls_stop).run(inbound));
        let outbox = Outbox::new(ledger.clone(), via, Arc::clone(&publisher), topics.clone(), max_payload);
        results.spawn("outbox", outbox.run(deliveries.owed, results_stop.clone()));
        let status = Status {
            report: self.report(),
            publisher: Arc::clone(&publisher),
            topics: topics.clone(),
            max_bytes: max_payload,
            stop: calls_stop.clone(),
        };
        calls.spawn("status", status.run());
        if via != Via::Mqtt {
            // Metrics are larger than what nucleus lite transfers, and no message is retained.
            return;
        }
        if let Some(interval) = config.metrics_interval {
            let (report, publisher, topics) = (self.report(), Arc::clone(&publisher), topics.clone());
            let metrics = Metrics { report, interval, publisher, topics, stop: calls_stop.clone() };
            calls.spawn("metrics", metrics.run());
        }
        if let Some(names) = config.local_access.clone() {
            let (publisher, health) = (Arc::clone(&publisher), Arc::clone(health));
            let access = LocalAccess::new(config, names, ledger.clone(), publisher, health, calls_stop.clone());
            calls.spawn("local access", access.run(plugin));
        }
        if config.publish_devices {
            let devices = Devices {
                ledger: ledger.clone(),
                publisher,
                topics,
                health: Arc::clone(health),
                stop: results_stop.clone(),
            };
            results.spawn("device messages", devices.run(deliveries.devices));
        }
    }
}
