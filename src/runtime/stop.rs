//! The one-way signal that it is time to stop.

use tokio::sync::watch;

/// Gives the signal; dropping it gives it too.
pub(crate) struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Sees the signal.
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
        // An error means that the other end is gone, which means the same.
        let _ = receiver.wait_for(|stop| *stop).await;
    }
}
