//! The agent: connects its parts, and controls the shutdown.
//!
//! No part ends the process because the broker, the cloud or the store is unavailable. On a stop
//! the parts end in the order of the data flow: no more commands, the call in flight, the results,
//! the connection, the store. A part that ends before a stop was requested stops the others in the
//! same order.

pub(crate) mod cautions;
pub(crate) mod ipc;
pub(crate) mod list_call;
mod local_parts;
mod maintenance;
mod metrics;
pub(crate) mod store_watch;
pub(crate) mod supervisor;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use self::{
    ipc::access_source,
    maintenance::Maintenance,
    store_watch::StoreWatch,
    supervisor::{Failure, Supervisor},
};
use crate::{
    cloud::{Aws, Cloud, dispatcher::Dispatcher, list_gate::ListGate, rate::RateLimit, reconciler::Reconciler},
    config::{self, Config},
    domain::{CallKind, Timestamp, Traits},
    health::Health,
    ledger::{DataDir, Ledger, NotHeld, Rules},
    local::{broker::GOODBYE, status::Report},
    protocol::status::OFFLINE,
    runtime::{clock::Clock, stop},
};

/// The shares of the 4 s that a stop may take (the nucleus kills the process after 5 s): the calls,
/// the results, the connection (which has a limit of 1.5 s of its own), the store.
const CALLS: Duration = Duration::from_millis(1700);
const RESULTS: Duration = Duration::from_millis(200);
const STORE: Duration = Duration::from_millis(500);

/// The time between two attempts to get the data directory that another process holds, and between
/// two log lines about that.
const TAKE_OVER: Duration = Duration::from_millis(500);
const TAKE_OVER_LOG: Duration = Duration::from_secs(60);

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        let off = CallKind::ALL.into_iter().filter(|call_kind| !config.serves(call_kind.traits().service)).collect();
        Self {
            limits: config.limits,
            guard: config.guard.clone(),
            publish_devices: config.publish_devices,
            local_access: config.local_access.is_some(),
            off,
        }
    }
}

/// Why the agent ends without a stop request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A file that the environment names cannot be used.
    #[error("{0}")]
    Environment(String),
    /// The thread of the ledger cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// A part of the agent failed.
    #[error("{0}")]
    Part(Failure),
}

/// Runs the agent until `stop` completes.
///
/// `unknown` are the keys of the configuration that have no effect.
///
/// # Errors
/// A fault that waiting cannot correct, before any part was started; or the part that failed, after
/// all others have stopped.
pub(crate) async fn run(config: Config, unknown: &[String], stop: impl Future<Output = ()>) -> Result<(), RunError> {
    tokio::pin!(stop);
    let clock = Clock::start();
    let data_dir = DataDir::of(&config.data_dir, &config.core, &config.region, clock.clone());
    // This comes first, since two agents of one name would take the broker's session from each
    // other.
    if !hold(&data_dir, stop.as_mut()).await {
        return Ok(());
    }
    let (ledger, closed) = Ledger::start(data_dir, Rules::from(&config), clock.clone())?;
    let health = Health::new(clock.clone());
    cautions::raise(&config, &health);
    if !unknown.is_empty() {
        let text = format!("the configuration has keys that have no effect in this version: {}", unknown.join(", "));
        health.raise("UNKNOWN_CONFIGURATION_KEY", text);
    }
    let sink = Arc::clone(&health);
    let skew = Box::new(move |millis| sink.set_skew(millis));
    let cloud = Aws::new(&config, clock.clone(), skew, access_source()).map_err(RunError::Environment)?;
    let started_at = clock.now().wall;
    let parts = Parts { cloud: Arc::new(cloud), clock, health, config, ledger, started_at };
    parts.run(closed, stop).await.map_err(RunError::Part)
}

/// Waits until this process holds the data directory; `false` if a stop is requested first.
///
/// A directory that cannot be used at all is not waited for: the ledger tries it again and again,
/// and `status` shows the cause.
async fn hold(data_dir: &DataDir, mut stop: Pin<&mut impl Future<Output = ()>>) -> bool {
    let mut logged: Option<Instant> = None;
    loop {
        let holder = match data_dir.hold() {
            Ok(()) => {
                if logged.is_some() {
                    tracing::info!(%data_dir, "the other agent has gone; this process takes over");
                }
                return true;
            }
            Err(NotHeld::Unusable(_)) => return true,
            Err(NotHeld::ByAnother(holder)) => holder,
        };
        if logged.is_none_or(|at| at.elapsed() >= TAKE_OVER_LOG) {
            tracing::warn!("{holder}. This process waits, and takes over when the other one ends");
            logged = Some(Instant::now());
        }
        tokio::select! {
            () = tokio::time::sleep(TAKE_OVER) => {}
            () = &mut stop => return false,
        }
    }
}

/// The parts of the agent, except its connection.
pub(crate) struct Parts<C> {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) health: Arc<Health>,
    pub(crate) cloud: Arc<C>,
    pub(crate) started_at: Timestamp,
}

impl<C: Cloud> Parts<C> {
    async fn run(self, mut closed: oneshot::Receiver<()>, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let (stop_calls, calls_stop) = stop::channel();
        let (stop_results, results_stop) = stop::channel();
        let [mut calls, mut results, mut connection] = std::array::from_fn(|_| Supervisor::default());
        self.start_cloud(&mut calls, &calls_stop);
        self.start_socket(&mut calls, &calls_stop);
        let stops = (&calls_stop, &results_stop);
        let mut closers = self.start_ipc(&mut connection, &mut calls, &mut results, stops);
        closers.extend(self.start_mqtt(&mut connection, &mut calls, &mut results, stops));
        // If several parts fail together, the part that the others depend on comes first.
        let ended = tokio::select! {
            biased;
            () = stop => Ok(()),
            _ = &mut closed => Err(Failure::of("ledger")),
            failure = connection.failed() => Err(failure),
            failure = calls.failed() => Err(failure),
            failure = results.failed() => Err(failure),
        };
        if let Err(failure) = &ended {
            tracing::error!("{failure}");
        }
        tracing::info!("stopping");
        stop_calls.stop();
        if timeout(CALLS, calls.drain()).await.is_err() {
            calls.abort_all();
        }
        // The results of the last call are still published, if the broker is quick.
        tokio::time::sleep(RESULTS).await;
        stop_results.stop();
        results.abort_all();
        results.drain().await;
        if !closers.is_empty() {
            let mut closing = JoinSet::new();
            for closer in closers {
                closing.spawn(closer.close(OFFLINE.into()));
            }
            while closing.join_next().await.is_some() {}
            if timeout(GOODBYE / 2, connection.drain()).await.is_err() {
                connection.abort_all();
            }
        }
        drop(self);
        if !closed.is_terminated() && timeout(STORE, closed).await.is_err() {
            tracing::warn!("the store did not close in time; what was acknowledged is on disk");
        }
        tracing::info!("stopped");
        ended
    }

    /// Starts the parts that call the cloud, and the maintenance.
    pub(crate) fn start_cloud(&self, calls: &mut Supervisor, stop: &stop::Stop) {
        let Self { config, clock, ledger, health, cloud, started_at: _ } = self;
        let rate = RateLimit::new(config.rate, clock.clone());
        let one_by_one = || RateLimit::new(config::Rate { burst: 1, ..config.rate }, clock.clone());
        let gate = ListGate::new(Arc::clone(health), ledger.summary(), clock.clone());
        let sync = Reconciler {
            ledger: ledger.clone(),
            cloud: Arc::clone(cloud),
            health: Arc::clone(health),
            gate: Arc::clone(&gate),
            rate: rate.clone(),
            pace: one_by_one(),
            calls_per_second: config.rate.calls_per_second,
            retry: config.retry,
            interval: config.sync_interval,
            stop: stop.clone(),
        };
        calls.spawn("reconciler", sync.run());
        let mut off = Vec::new();
        for call_kind in CallKind::ALL {
            let Traits { service, max_entries, paced, .. } = call_kind.traits();
            if !config.serves(service) {
                off.push(call_kind);
                continue;
            }
            if max_entries == 0 {
                // The reconciler makes the list calls.
                continue;
            }
            let dispatcher = Dispatcher {
                call_kind,
                ledger: ledger.clone(),
                cloud: Arc::clone(cloud),
                health: Arc::clone(health),
                gate: Arc::clone(&gate),
                rate: rate.clone(),
                pace: paced.then(one_by_one),
                clock: clock.clone(),
                batch: config.batch,
                retry: config.retry,
                stop: stop.clone(),
            };
            calls.spawn("dispatcher", dispatcher.run());
        }
        let maintenance = Maintenance {
            ledger: ledger.clone(),
            health: Arc::clone(health),
            gate,
            clock: clock.clone(),
            limits: config.limits,
            retention: config.retention,
            off,
            stop: stop.clone(),
        };
        calls.spawn("maintenance", maintenance.run());
        let watch =
            StoreWatch { ledger: ledger.clone(), health: Arc::clone(health), data_dir: config.data_dir.clone() };
        calls.spawn("watch on the store", watch.run(stop.clone()));
    }

    fn report(&self) -> Report {
        let (ledger, health) = (self.ledger.clone(), Arc::clone(&self.health));
        Report { ledger, health, started_at: self.started_at }
    }
}
