//! The world around the agent: what every part of the simulation shares, and the one source of
//! chance.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicI64},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{broker::Broker, clients::Ears, cloud_state::CloudState, disk::DiskState, plugin::Plugin};

/// Milliseconds since the simulation began; the true time.
pub(super) type Millis = i64;

/// What the true wall clock shows at the beginning.
pub(super) const BEGIN: Millis = 1_800_000_000_000;

/// Something that must never be, and the invariant of `ARCHITECTURE.md` that it breaks; 0 for a
/// simulation that hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) invariant: u8,
    pub(super) text: String,
}

/// How rough a seed is.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Nothing fails but the cloud, before the commands are accepted: the calls can be counted.
    pub(super) calm: bool,
    pub(super) devices: usize,
    /// Entries of a call.
    pub(super) max_entries: usize,
    pub(super) clients: usize,
    pub(super) commands: usize,
    /// How long the faults last.
    pub(super) rough: Duration,
    /// Chances at each access to the disk.
    pub(super) crash: f64,
    pub(super) disk_error: f64,
    /// Chance of a fault for each call.
    pub(super) call_fault: f64,
    /// Chance of an entry's own error.
    pub(super) entry_error: f64,
    pub(super) console: bool,
    /// Clients ask for associations, too.
    pub(super) associates: bool,
    pub(super) clock_jumps: bool,
    /// The wall clock is now and then days off.
    pub(super) clock_leaps: bool,
    pub(super) disk_fills: bool,
    /// For a while each access to the disk fails, more often than not.
    pub(super) disk_breaks: bool,
    /// The registry is damaged now and then.
    pub(super) registry_breaks: bool,
    /// How long what is finished is kept, in days.
    pub(super) retention_days: f64,
    /// Time after the faults that is long enough for the retention to pass, while the denied client
    /// stays denied.
    pub(super) lull: Duration,
    pub(super) cuts: bool,
    pub(super) forgetful_broker: bool,
    /// Delivers again on the same connection what is not acknowledged in time, as Moquette does.
    pub(super) impatient_broker: bool,
    /// Never acknowledges results to the last client, while the faults last.
    pub(super) denied_client: bool,
    /// What the service says to a device that is not associated.
    pub(super) strict_cloud: bool,
    /// A list lags behind by so much at most.
    pub(super) lag: Millis,
    pub(super) max_pending: u64,
    pub(super) page: usize,
    /// The broker has the dynamic-security plugin, and the agent commands it.
    pub(super) local_access: bool,
}

impl Plan {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        let calm = rng.u8(..) < 24;
        let rough = |rng: &mut fastrand::Rng, worst: f64| if calm || rng.bool() { 0.0 } else { worst * rng.f64() };
        let often = |rng: &mut fastrand::Rng| !calm && rng.bool();
        let passes = !calm && rng.u8(..) < 40;
        Self {
            calm,
            // Now and then so many that a command of them takes more writes than a batch of the
            // store.
            devices: match rng.u8(..) {
                _ if calm => 130 + rng.usize(0..200),
                0..30 => 100 + rng.usize(0..100),
                _ => 5 + rng.usize(0..60),
            },
            // Small calls, so that many follow one another at once.
            max_entries: if !calm && rng.bool() { 1 + rng.usize(0..8) } else { 100 },
            clients: 1 + rng.usize(0..4),
            commands: if calm { 6 } else { 4 + rng.usize(0..24) },
            rough: Duration::from_secs(if calm { 60 } else { rng.u64(60..1800) }),
            crash: rough(rng, 0.02),
            disk_error: rough(rng, 0.005),
            call_fault: rough(rng, 0.6),
            entry_error: rough(rng, 0.2),
            console: often(rng),
            clock_jumps: !calm && rng.u8(..) < 60,
            disk_fills: !calm && rng.u8(..) < 60,
            cuts: often(rng),
            forgetful_broker: often(rng),
            impatient_broker: often(rng),
            denied_client: !calm && rng.u8(..) < 20,
            strict_cloud: often(rng),
            lag: if often(rng) { rng.i64(0..40_000) } else { 0 },
            max_pending: if calm || rng.u8(..) < 200 { 100_000 } else { 40 },
            page: if calm { 100 } else { 3 + rng.usize(0..30) },
            associates: often(rng),
            clock_leaps: !calm && rng.u8(..) < 60,
            disk_breaks: !calm && rng.u8(..) < 60,
            registry_breaks: !calm && rng.u8(..) < 40,
            retention_days: if passes { 0.02 } else { 7.0 },
            lull: if passes { Duration::from_secs(3600) } else { Duration::ZERO },
            local_access: false,
        }
    }
}

pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    pub(super) disk: DiskState,
    pub(super) broker: Broker,
    pub(super) plugin: Plugin,
    pub(super) cloud: CloudState,
    /// The faults are over.
    pub(super) fine: bool,
    /// Counts incarnations of the agent; nothing that an old one does has an effect.
    pub(super) run: u64,
    pub(super) crashed: bool,
    pub(super) over: bool,
    pub(super) violation: Option<Violation>,
    pub(super) seen: Seen,
    pub(super) ears: Ears,
    pub(super) trace: Vec<String>,
    /// Grows with everything that happens: equal for two runs of a seed.
    pub(super) fingerprint: u64,
}

/// What the agent published, by client and token.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) asked: BTreeMap<(String, String), BTreeSet<String>>,
    /// Those of them that ask for an association.
    pub(super) associations: BTreeSet<(String, String)>,
    pub(super) accepted: BTreeMap<(String, String), String>,
    pub(super) rejected: BTreeSet<(String, String)>,
    /// How often a command was delivered to the agent.
    pub(super) delivered: BTreeMap<(String, String), u32>,
    /// Commands that were delivered once, and rejected: nothing of them is left.
    pub(super) gone: BTreeSet<(String, String)>,
    /// Requests that were lost with a registry. If they are asked for again, they are carried out
    /// again.
    pub(super) lost: BTreeSet<(String, String)>,
    pub(super) completed: BTreeMap<(String, String), String>,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) plan: Arc<Plan>,
    pub(super) zero: Instant,
    /// What the agent's wall clock shows at the beginning; moved by the faults.
    pub(super) wall: Arc<AtomicI64>,
    state: Arc<Mutex<State>>,
    /// Woken by a crash, a violation, and the end of the faults.
    pub(super) changed: Arc<Notify>,
    /// Woken by whatever comes to the broker, or to a client.
    pub(super) mail: Arc<Notify>,
    print: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut plan = Plan::draw(&mut rng);
        // Of its own, so that the seeds without it stay as they were.
        plan.local_access = fastrand::Rng::with_seed(seed ^ 0xacce55).bool();
        let cloud = CloudState::new(&plan, &mut rng);
        let state = State {
            rng,
            disk: DiskState::default(),
            broker: Broker::default(),
            plugin: Plugin::new(plan.devices),
            cloud,
            fine: false,
            run: 0,
            crashed: false,
            over: false,
            violation: None,
            seen: Seen::default(),
            ears: Ears::new(),
            trace: Vec::new(),
            fingerprint: seed,
        };
        Self {
            plan: Arc::new(plan),
            zero: Instant::now(),
            wall: Arc::new(AtomicI64::new(BEGIN)),
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(Notify::new()),
            mail: Arc::new(Notify::new()),
            print: std::env::var_os("OFFBOARD_TRACE").is_some(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn now(&self) -> Millis {
        i64::try_from(self.zero.elapsed().as_millis()).unwrap()
    }

    pub(super) fn chance(&self, p: f64) -> bool {
        p > 0.0 && self.state().rng.f64() < p
    }

    /// A time between two, in milliseconds, the shorter ones more often.
    pub(super) fn span(&self, from: u64, to: u64) -> Duration {
        let x = self.state().rng.f64();
        Duration::from_millis(from + ((to - from) as f64 * x * x * x) as u64)
    }

    /// Notes what happens, for the analysis of a failed seed.
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        let text = text();
        let at = self.now();
        let mut state = self.state();
        for byte in text.bytes().chain(at.to_be_bytes()) {
            state.fingerprint = (state.fingerprint ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.print {
            println!("{:>10.3} {text}", at as f64 / 1000.0);
        }
        state.trace.push(format!("{:>10.3} {text}", at as f64 / 1000.0));
    }

    pub(super) fn violate(&self, invariant: u8, text: impl Into<String>) {
        let text = text.into();
        self.note(|| format!("VIOLATION of {invariant}: {text}"));
        self.state().violation.get_or_insert(Violation { invariant, text });
        self.changed.notify_waiters();
    }

    /// Whether the incarnation `run` is the one that lives.
    pub(super) fn lives(&self, run: u64) -> bool {
        let state = self.state();
        state.run == run && !state.crashed
    }

    pub(super) fn fine(&self) -> bool {
        self.state().fine
    }
}
