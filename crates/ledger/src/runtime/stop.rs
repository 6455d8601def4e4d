//! The stop signal, which is sent once.

use tokio::sync::watch;

/// Sends the signal. Dropping it sends the signal, too.
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Sends the signal.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Receives the signal.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

/// Both ends of a signal that is not sent yet.
#[must_use]
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stop {
    /// Whether the signal was sent.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until the signal is sent.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        // An error means that the sender was dropped, which is the signal, too.
        let _ = receiver.wait_for(|stop| *stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_signal_is_sent_and_a_dropped_sender_sends_it_too() {
        let (stopper, stop) = channel();
        assert!(!stop.is_requested());
        stopper.stop();
        stop.requested().await;
        assert!(stop.is_requested());
        let (stopper, stop) = channel();
        drop(stopper);
        stop.requested().await;
        assert!(stop.is_requested());
    }
}
