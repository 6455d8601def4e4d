//! The stop signal, which is sent once.

use tokio::sync::watch;

/// Sends the signal. Dropping it sends the signal, too.
pub(crate) struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Receives the signal.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

pub(crate) fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stop {
    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn requested(&self) {
        let mut receiver = self.0.clone();
        // An error means that the sender was dropped, which is the signal, too.
        let _ = receiver.wait_for(|stop| *stop).await;
    }
}
