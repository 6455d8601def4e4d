//! Messages to the server: sent, accepted, refused, and paused while the server refuses.

use rumqttc::Request as Outgoing;
use tokio::time::Instant;

use super::{
    super::{
        connection::PATIENCE,
        operation::{Request, ServiceError},
        problems::UNAVAILABLE,
    },
    Ended, Failing, MAX_FAILURES, Session,
    denial::denial,
    live::{Denied, Live, Pending},
};

impl Session {
    /// Sends what the publisher passes on.
    pub(super) async fn send(&mut self, live: &mut Live, request: Outgoing) -> Result<(), Ended> {
        match request {
            Outgoing::Publish(publish) => {
                let packet = self.next_packet();
                self.publisher.on_wire(packet);
                self.unanswered.insert(packet);
                let (topic, size) = (publish.topic, publish.payload.len());
                // A message that the server cannot transfer ends the connection, or is lost without
                // an error.
                if size > self.parts.max_payload || topic.len() > self.parts.way.max_topic() {
                    tracing::warn!(topic, size, "a message that is too large for Greengrass IPC is not published");
                    return Ok(());
                }
                self.publish(live, topic, &publish.payload, Some(packet)).await
            }
            Outgoing::Disconnect(_) if self.publisher.is_closing() => Err(Ended::Closed),
            Outgoing::Disconnect(_) => Err(Ended::Dropped),
            // The service subscribes by itself before other parts can send.
            _ => Ok(()),
        }
    }

    pub(super) async fn publish(
        &mut self,
        live: &mut Live,
        topic: String,
        payload: &[u8],
        packet: Option<u16>,
    ) -> Result<(), Ended> {
        let stream = live.connection.send(Request::publish(self.parts.way, &topic, payload)).await?;
        if topic == self.status {
            self.last_status = Some(payload.to_vec());
            // The message may come back before the response.
            if let Some(watch) = &mut live.watch {
                watch.published(Instant::now());
            }
        }
        let pending = Pending::Publish { packet: packet.unwrap_or(0), topic, size: payload.len() };
        live.pending.insert(stream, (pending, Instant::now() + PATIENCE));
        Ok(())
    }

    /// Returns a packet id for which the publisher does not wait.
    pub(super) fn next_packet(&mut self) -> u16 {
        loop {
            self.last_packet = self.last_packet.checked_add(1).unwrap_or(1);
            if !self.unanswered.contains(&self.last_packet) {
                return self.last_packet;
            }
        }
    }

    /// Notes that the server accepted a message.
    pub(super) fn taken(&mut self, packet: u16, topic: &str) {
        let via = self.parts.way.via();
        self.resume.succeed();
        match &mut self.failing {
            Some(failing) if failing.topic == topic => self.failing = None,
            Some(failing) => failing.others = true,
            None => {}
        }
        self.parts.problems.clear(UNAVAILABLE, via);
        self.allowed(Denied::Publishing, topic);
        if self.unanswered.remove(&packet) {
            self.publisher.on_delivered(packet);
        }
    }

    /// Notes that the server did not accept a message. It is never acknowledged, as on a broker
    /// that denies it: the outbox puts it on hold.
    pub(super) fn not_taken(&mut self, live: &mut Live, topic: String, size: usize, error: &ServiceError) {
        let (way, via) = (self.parts.way, self.parts.way.via());
        if error.is_transient() {
            let failing = match self.failing.take() {
                Some(last) if (&last.topic, last.size) == (&topic, size) => {
                    Failing { times: if last.others { last.times + 1 } else { 1 }, others: false, ..last }
                }
                _ => Failing { topic: topic.clone(), size, times: 1, others: false },
            };
            let is_lasting = failing.times >= MAX_FAILURES;
            self.failing = Some(failing);
            if !is_lasting {
                self.pause(live, error);
                return;
            }
            tracing::warn!(%via, topic, size, %error, "Greengrass IPC never takes a message; it is left out");
        } else {
            let message = denial(way, way.publishing(), &topic, error);
            self.denied(Denied::Publishing, topic, message);
        }
    }

    /// Pauses publishing for a while; the subscriptions remain.
    pub(super) fn pause(&mut self, live: &mut Live, error: &ServiceError) {
        let way = self.parts.way;
        let wait = self.resume.fail(1, None, fastrand::f64());
        if live.resume_at.is_none() {
            let message = format!(
                "the nucleus does not publish to {} ({error}); results are kept and published later; check the core device's \
                 connection and the nucleus's log",
                way.title()
            );
            if self.parts.problems.raise(UNAVAILABLE, way.via(), message.clone()) {
                tracing::warn!(via = %way.via(), "{message}");
            }
        }
        live.resume_at = Some(Instant::now() + wait);
        live.pending.retain(|_, (pending, _)| !matches!(pending, Pending::Publish { .. }));
        if let Some(watch) = &mut live.watch {
            watch.unpublished();
        }
        self.unanswered.clear();
        self.publisher.down(|| drop(self.requests.drain()));
    }
}
