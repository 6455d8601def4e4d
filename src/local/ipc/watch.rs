//! When a connection that delivers nothing counts as dead.
//!
//! After a restart of nucleus lite's publish/subscribe or IoT Core daemon, the server keeps the
//! connection open and accepts publishes, but delivers nothing. Therefore the agent subscribes to
//! its own status topic, and expects to receive the messages that it publishes there.

use std::time::Duration;

use tokio::time::Instant;

/// How long an own message may take to come back.
pub(super) const ECHO: Duration = Duration::from_secs(10);

/// Without any delivery for this long, the agent publishes its status again, to check whether it
/// comes back. A message to AWS IoT Core costs money, and each check wakes the device.
pub(super) const IDLE: Duration = Duration::from_secs(15 * 60);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Publish the status again.
    Check,
    /// No message came back: connect and subscribe anew.
    Reconnect,
}

/// Watches the deliveries of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// When a message was last delivered, or the connection was made.
    alive: Instant,
    /// Until when an own message has to come back.
    expected: Option<Instant>,
    /// Until when a check that could not be made is postponed.
    put_off: Option<Instant>,
}

impl Watch {
    /// Begins when the subscriptions were granted, at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { alive: now, expected: None, put_off: None }
    }

    /// Notes that the server accepted a message on a topic to which the agent is subscribed.
    pub(super) fn published(&mut self, now: Instant) {
        self.expected.get_or_insert(now + ECHO);
        self.put_off = None;
    }

    /// Notes that the server did not accept that message after all.
    pub(super) fn unpublished(&mut self) {
        self.expected = None;
    }

    /// Notes that a message was delivered.
    pub(super) fn delivered(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Returns what to do. A requested check counts as an attempt.
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

    /// When to call [`Self::due`] again.
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
