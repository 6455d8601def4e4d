//! The subscriptions of a connection: requested, granted, denied, and requested again.

use tokio::time::Instant;

use super::{
    super::{
        connection::{Failure, PATIENCE},
        operation::{Request, ServiceError},
        watch::Watch,
    },
    RESUBSCRIBE, Session,
    denial::denial,
    live::{Denied, Live, Pending, Subject, Subscription},
};

impl Session {
    /// What the subscription to a subject matches; `None` if the agent does not subscribe to it.
    pub(super) fn filter(&self, subject: Subject) -> Option<String> {
        match subject {
            Subject::Commands => Some(self.parts.topics.commands()),
            Subject::Broadcasts => self.parts.topics.broadcasts(),
            Subject::Status => Some(self.status.clone()),
        }
    }

    /// Requests each subscription that is absent.
    pub(super) async fn subscribe(&mut self, live: &mut Live) -> Result<(), Failure> {
        for subject in Subject::ALL {
            if live.subscriptions[subject as usize].0 != Subscription::Absent {
                continue;
            }
            let Some(filter) = self.filter(subject) else { continue };
            let stream = live.connection.send(Request::subscribe(self.parts.way, &filter)).await?;
            live.subscriptions[subject as usize] = (Subscription::Asked, stream);
            live.pending.insert(stream, (Pending::Subscription(subject), Instant::now() + PATIENCE));
        }
        Ok(())
    }

    pub(super) fn granted(&mut self, live: &mut Live, subject: Subject) {
        let via = self.parts.way.via();
        live.subscriptions[subject as usize].0 = Subscription::Granted;
        match subject {
            Subject::Commands => self.parts.health.counters().ipc(via, |counts| counts.subscribed = true),
            Subject::Status => live.watch = Some(Watch::new(Instant::now())),
            Subject::Broadcasts => {}
        }
        let filter = self.filter(subject).unwrap_or_default();
        self.allowed(Denied::Subscription(subject), &filter);
        if Subject::ALL.into_iter().all(|one| self.filter(one).is_none() || live.is_granted(one)) {
            live.denied = 0;
        }
    }

    pub(super) fn not_subscribed(&mut self, live: &mut Live, subject: Subject, error: &ServiceError) {
        let way = self.parts.way;
        let filter = self.filter(subject).unwrap_or_default();
        live.subscriptions[subject as usize].0 = Subscription::Absent;
        let message = denial(way, way.subscribing(), &filter, error);
        self.denied(Denied::Subscription(subject), filter, message);
        let wait = RESUBSCRIBE.0.saturating_mul(1 << live.denied.min(8)).min(RESUBSCRIBE.1);
        live.denied = live.denied.saturating_add(1);
        live.resubscribe.get_or_insert(Instant::now() + wait);
    }
}
