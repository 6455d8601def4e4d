//! The connections of the local socket: how many there may be, which of them is closed for another,
//! and how many bytes of responses may wait for clients that do not read.
//!
//! One connection never blocks another: a response is put into the connection's own queue at once,
//! or the connection is closed. Two places are reserved for root, so that no other user can lock
//! the machine's administrator out.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::runtime::stop::{self, Stop, Stopper};

/// The most connections at a time, enough for the people at one machine.
const PLACES: usize = 16;

/// Additional connections that only root gets.
const FOR_ROOT: usize = 2;

/// The most bytes of responses that wait to be read, over all connections. Above it, the connection
/// with the most waiting bytes is closed.
const MAX_QUEUED: usize = 16 << 20;

/// No more commands are read from a connection with this many bytes of waiting responses, or this
/// many waiting responses.
pub(super) const FULL: (usize, usize) = (256 << 10, 64);

/// The most commands of one connection that have no response yet.
pub(super) const MAX_UNANSWERED: usize = 32;

/// The most requests of one connection that have not ended. Each takes some memory, since its
/// results are sent on the connection.
pub(super) const MAX_WATCHED: usize = 64;

/// One connection.
pub(super) struct Place {
    uid: u32,
    close: Stopper,
    unanswered: Arc<Semaphore>,
    watched: Arc<Semaphore>,
    /// Whether a part of a line has arrived.
    is_reading: AtomicBool,
    /// Whether the client has closed its side, and is likely to be gone.
    is_leaving: AtomicBool,
    /// The bytes of responses that wait to be read.
    queued: AtomicUsize,
    /// The number of responses that wait to be read.
    answers: AtomicUsize,
    written: Notify,
    /// When a whole line was last read or written.
    used_at: Mutex<Instant>,
}

impl Place {
    /// Waits until another command may be read.
    pub(super) async fn has_room(&self) {
        loop {
            let written = self.written.notified();
            if self.queued.load(Ordering::Relaxed) < FULL.0 && self.answers.load(Ordering::Relaxed) < FULL.1 {
                return;
            }
            written.await;
        }
    }

    /// Counts one more command without a response, for the life of the permit. Waits while there
    /// are too many.
    pub(super) async fn unanswered(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.unanswered).acquire_owned().await.ok()
    }

    /// Counts one more request that has not ended, for the life of the permit; `None` if there are
    /// too many.
    pub(super) fn watched(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.watched).try_acquire_owned().ok()
    }

    /// Notes that a line begins to be read.
    pub(super) fn begin(&self) {
        self.is_reading.store(true, Ordering::Relaxed);
    }

    /// Notes that a whole line was read.
    pub(super) fn end(&self) {
        self.is_reading.store(false, Ordering::Relaxed);
        self.touch();
    }

    /// Notes that the client will send nothing more.
    pub(super) fn leaving(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Notes that a response of this many bytes was written.
    pub(super) fn wrote(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        self.answers.fetch_sub(1, Ordering::Relaxed);
        self.touch();
        self.written.notify_one();
    }

    /// Ends the connection.
    pub(super) fn close(&self) {
        self.close.stop();
    }

    fn touch(&self) {
        *self.used_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used_at(&self) -> Instant {
        *self.used_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no command is processed, and no result is to be sent to a client that is there.
    fn is_idle(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
            || !self.is_reading.load(Ordering::Relaxed)
                && self.unanswered.available_permits() == MAX_UNANSWERED
                && self.watched.available_permits() == MAX_WATCHED
                && self.queued.load(Ordering::Relaxed) == 0
    }
}

/// All connections.
#[derive(Default)]
pub(super) struct Places(Mutex<Vec<Arc<Place>>>);

impl Places {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection of that user, and the signal that closes it. If there is no place,
    /// the connection that has been idle for longest is closed for it; `None` if no connection is
    /// idle.
    pub(super) fn enter(&self, uid: u32) -> Option<(Arc<Place>, Stop)> {
        let mut places = self.list();
        let is_full = match uid {
            0 => places.len() >= PLACES + FOR_ROOT,
            _ => places.iter().filter(|place| place.uid != 0).count() >= PLACES,
        };
        if is_full {
            // Other users never take a place of root, and root takes one of its own only if it has
            // to.
            let candidates =
                places.iter().enumerate().filter(|(_, place)| (place.uid != 0 || uid == 0) && place.is_idle());
            let (at, _) = candidates.min_by_key(|(_, place)| (place.uid == 0, place.used_at()))?;
            places.swap_remove(at).close();
        }
        let (close, closed) = stop::channel();
        let place = Arc::new(Place {
            uid,
            close,
            unanswered: Arc::new(Semaphore::new(MAX_UNANSWERED)),
            watched: Arc::new(Semaphore::new(MAX_WATCHED)),
            is_reading: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            written: Notify::new(),
            used_at: Mutex::new(Instant::now()),
        });
        places.push(Arc::clone(&place));
        Some((place, closed))
    }

    pub(super) fn leave(&self, place: &Arc<Place>) {
        self.list().retain(|one| !Arc::ptr_eq(one, place));
    }

    /// Counts a response of this many bytes that is to be written.
    pub(super) fn queue(&self, place: &Place, bytes: usize) {
        let mut places = self.list();
        place.queued.fetch_add(bytes, Ordering::Relaxed);
        place.answers.fetch_add(1, Ordering::Relaxed);
        let queued = |place: &Arc<Place>| place.queued.load(Ordering::Relaxed);
        while places.len() > 1 && places.iter().map(queued).sum::<usize>() > MAX_QUEUED {
            let Some((at, _)) = places.iter().enumerate().max_by_key(|(_, place)| queued(place)) else { return };
            places.swap_remove(at).close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_ones_give_way_and_two_places_are_roots() {
        let places = Places::default();
        let user: Vec<_> = (0..PLACES).map(|_| places.enter(1000).unwrap()).collect();
        let busy: Vec<_> = user.iter().skip(1).map(|(place, _)| place.watched().unwrap()).collect();
        let new = places.enter(1000).unwrap();
        assert!(user[0].1.is_requested() && !user[1].1.is_requested(), "the idle one was closed");
        new.0.begin();
        assert!(places.enter(1000).is_none(), "all are busy");
        let first = places.enter(0).unwrap();
        let second = places.enter(0).unwrap();
        first.0.begin();
        let third = places.enter(0).unwrap();
        assert!(second.1.is_requested() && !first.1.is_requested(), "root's idle one gives way to root");
        drop(busy);
        places.leave(&third.0);
        assert!(places.enter(0).is_some() && places.enter(0).is_some() && user[1].1.is_requested());
    }

    #[test]
    fn the_client_that_reads_least_is_closed_when_answers_pile_up() {
        let places = Places::default();
        let [(slow, slow_closed), (quick, quick_closed)] = [1000, 1000].map(|uid| places.enter(uid).unwrap());
        places.queue(&slow, MAX_QUEUED);
        assert!(!slow_closed.is_requested());
        places.queue(&quick, 1000);
        assert!(slow_closed.is_requested() && !quick_closed.is_requested());
    }
}
