//! What a fault of the connection means to a person.

use super::{
    super::{
        connection::Failure,
        operation::{ServiceError, Way},
        problems::{DENIED, SILENT},
    },
    Session,
    live::Denied,
};
use crate::local::broker::Refused;

impl Session {
    /// Notes that the server denies something, on a topic.
    pub(super) fn denied(&mut self, what: Denied, topic: String, message: String) {
        self.denials.insert(what, (topic, message));
        self.report_denials();
    }

    /// Notes that the server allows something again. Publishing counts as allowed when a message to
    /// the topic is taken that was denied: others may be allowed all the time.
    pub(super) fn allowed(&mut self, what: Denied, topic: &str) {
        if self.denials.get(&what).is_some_and(|(denied, _)| denied == topic) {
            self.denials.remove(&what);
            self.report_denials();
        }
    }

    fn report_denials(&mut self) {
        let via = self.parts.way.via();
        if self.denials.is_empty() {
            if self.parts.problems.clear(DENIED, via) {
                tracing::info!(%via, "Greengrass IPC allows what it denied");
            }
            return;
        }
        let all: Vec<&str> = self.denials.values().map(|(_, message)| message.as_str()).collect();
        let message = all.join(". ");
        if self.parts.problems.raise(DENIED, via, message.clone()) {
            tracing::warn!(%via, "{message}");
        }
    }

    pub(super) fn report_silence(&mut self) {
        let (way, via) = (self.parts.way, self.parts.way.via());
        self.parts.health.counters().ipc(via, |counts| counts.silences += 1);
        let cause = match way {
            Way::IotCore => {
                "the core device is offline, its AWS IoT policy does not let it receive on this topic, or the nucleus's IoT \
                 Core daemon was restarted"
            }
            Way::PubSub => "the nucleus's publish/subscribe daemon was restarted",
        };
        let message = format!(
            "the agent publishes {} over Greengrass IPC to {} and does not receive it back: commands from there do not arrive \
             either ({cause}); the agent subscribes anew until they do",
            self.status,
            way.title()
        );
        if self.parts.problems.raise(SILENT, via, message.clone()) {
            tracing::warn!(%via, "{message}");
        }
    }

    pub(super) fn explain(&self, failure: &Failure, refused: Option<Refused>) -> String {
        let (way, environment) = (self.parts.way, &self.parts.environment);
        if let Some(Refused { topic, size, .. }) = refused {
            return format!(
                "Greengrass IPC at {environment:?} closed the connection twice at a message of {size} bytes on {topic}; messages \
                 of this kind are now shorter, or held back for a while; lower ipc.maxPayloadBytes ({}): nucleus lite takes 4900",
                self.parts.max_payload
            );
        }
        format!(
            "commands from {} do not arrive: Greengrass IPC at {environment:?}: {failure}; check that the nucleus runs",
            way.title()
        )
    }
}

/// What to do so that the server allows the operation that it denied.
pub(in crate::local::ipc) fn denial(way: Way, operation: &str, resource: &str, error: &ServiceError) -> String {
    let title = way.title();
    if !error.is_denial() {
        return format!("{title}: the nucleus refuses {operation} on {resource} ({error}); check the nucleus's log");
    }
    format!(
        "{title}: the nucleus denies {operation} on {resource} ({error}); allow it in this component's configuration, under \
         accessControl, {}: a list from an earlier version stays until a deployment resets it",
        way.service()
    )
}
