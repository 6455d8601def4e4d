//! When a connection that delivers nothing counts as dead.
//!
//! After a restart of nucleus lite's publish/subscribe or IoT Core daemon the server keeps the
//! connection open, takes what is published, and delivers nothing any more. So the agent subscribes
//! to its own status topic, and expects to receive what it publishes there.

use std::time::Duration;

use tokio::time::Instant;

/// How long an own message may take to come back.
pub(super) const ECHO: Duration = Duration::from_secs(10);

/// Without any delivery for so long, the agent publishes its status again, to hear whether it comes
/// back. A message to AWS IoT Core has its price, and each check wakes the device.
pub(super) const IDLE: Duration = Duration::from_secs(15 * 60);

/// What there is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Publish the status again.
    Check,
    /// Nothing came back: connect and subscribe anew.
    Reconnect,
}

/// Watches over the deliveries of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// When something was last delivered, or the connection was made.
    alive: Instant,
    /// Until when an own message has to be back.
    expected: Option<Instant>,
    /// Until when a check that could not be made is put off.
    put_off: Option<Instant>,
}

impl Watch {
    /// The subscriptions were granted at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { alive: now, expected: None, put_off: None }
    }

    /// The server took a message on a topic that is subscribed to.
    pub(super) fn published(&mut self, now: Instant) {
        self.expected.get_or_insert(now + ECHO);
        self.put_off = None;
    }

    /// The server did not take that message after all.
    pub(super) fn unpublished(&mut self) {
        self.expected = None;
    }

    /// Something was delivered.
    pub(super) fn delivered(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// What there is to do. Asking for a check counts as its attempt.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        match self.expected {
            Some(until) if until <= now => Due::Reconnect,
            Some(_) => Due::Nothing,
            None if self.wakes_at() <= now => {
                self.put_off = Some(now + IDLE);
                Due::Check
            }
            None => Due::Nothing,
        }
    }

    /// When to ask again.
    pub(super) fn wakes_at(&self) -> Instant {
        self.expected.unwrap_or_else(|| self.put_off.unwrap_or(self.alive + IDLE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_checked_four_times_an_hour() {
        let (start, mut checks) = (Instant::now(), 0);
        let mut watch = Watch::new(start);
        while start.elapsed() < Duration::from_secs(3600) {
            tokio::time::sleep_until(watch.wakes_at()).await;
            let now = Instant::now();
            match watch.due(now) {
                Due::Check => {
                    checks += 1;
                    watch.published(now);
                    watch.delivered(now + Duration::from_millis(200));
                }
                due => panic!("{due:?}"),
            }
        }
        assert_eq!(checks, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_come_back_ends_the_connection_and_one_that_does_not() {
        let now = Instant::now();
        let mut watch = Watch::new(now);
        watch.published(now);
        watch.published(now + ECHO / 2);
        assert_eq!((watch.wakes_at(), watch.due(now + ECHO / 2)), (now + ECHO, Due::Nothing));
        assert_eq!(watch.due(now + ECHO), Due::Reconnect, "the first one counts");
        watch.delivered(now + ECHO / 2);
        assert_eq!(watch.due(now + ECHO), Due::Nothing);
        assert_eq!(watch.wakes_at(), now + ECHO / 2 + IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_cannot_be_made_is_not_tried_without_a_pause() {
        let now = Instant::now();
        let mut watch = Watch::new(now);
        assert_eq!(watch.due(now + IDLE), Due::Check);
        assert_eq!(watch.due(now + IDLE), Due::Nothing);
        assert_eq!(watch.wakes_at(), now + IDLE * 2);
    }
}
