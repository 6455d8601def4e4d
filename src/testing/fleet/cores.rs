//! The fleet: its core devices, and what a scene does with all of them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::sleep;

use super::{
    cloud::{Account, Millis, Weather},
    core::{Core, World, configuration},
};

/// Virtual time within which a scene has to converge.
const CONVERGES: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Fleet {
    pub(super) world: Arc<World>,
    pub(super) cores: Vec<Core>,
    /// The names of each core device's client devices, and how many of them were asked for.
    devices: Vec<(Vec<String>, usize)>,
    rng: fastrand::Rng,
}

impl Fleet {
    /// A fleet of core devices with so many client devices each, none of which runs.
    pub(super) fn new(seed: u64, sizes: &[usize], settings: &Value) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let core = |n: usize| format!("core{n:04}");
        let names = |(n, size): (usize, &usize)| (0..*size).map(|d| format!("{}-d{d:05}", core(n))).collect();
        let names: Vec<Vec<String>> = sizes.iter().enumerate().map(names).collect();
        let associated: Vec<BTreeSet<String>> = names.iter().map(|all| all.iter().cloned().collect()).collect();
        let world = World::new(Account::new(rng.fork(), associated));
        let cores = (0..sizes.len()).map(|n| Core::new(&world, n, configuration(&core(n), settings))).collect();
        Self { world, cores, devices: names.into_iter().map(|all| (all, 0)).collect(), rng }
    }

    pub(super) fn weather(&self, weather: Weather) {
        self.world.account.state().weather = weather;
    }

    pub(super) fn start_all(&mut self) {
        self.cores.iter_mut().for_each(Core::start);
    }

    pub(super) fn kill_all(&mut self) {
        self.cores.iter_mut().for_each(Core::kill);
    }

    /// A fleet in its everyday state: its agents began at random times within an hour, and have
    /// read their lists. No quota limits this preparation.
    pub(super) async fn settle(&mut self) {
        let mut order: Vec<usize> = (0..self.cores.len()).collect();
        self.rng.shuffle(&mut order);
        let pause = Duration::from_secs(3600) / u32::try_from(order.len()).unwrap();
        for n in order {
            self.cores[n].start();
            sleep(pause).await;
        }
        self.lists_since(0).await;
    }

    /// Associates a device with some of the core devices, before they start.
    pub(super) fn share(&self, device: &str, cores: &[usize]) {
        let state = &mut self.world.account.state();
        for core in cores {
            state.associated[*core].insert(device.to_owned());
        }
    }

    /// A client broadcasts the disassociation of a device that these core devices know.
    pub(super) fn broadcast(&self, device: &str, known_by: &[usize]) {
        for (n, core) in self.cores.iter().enumerate() {
            core.hear_broadcast(&device.to_owned(), known_by.contains(&n));
        }
    }

    /// A client asks a core device to disassociate its next `count` devices.
    pub(super) fn ask(&mut self, core: usize, count: usize) {
        let (names, asked) = &mut self.devices[core];
        let from = std::mem::replace(asked, *asked + count);
        self.cores[core].disassociate(&format!("c{core}-{from}"), names[from..from + count].iter());
    }

    /// Each of the core devices gets a command for ten devices, at a random time within `span`.
    pub(super) async fn ask_all_within(&mut self, cores: impl Iterator<Item = usize>, span: Duration) {
        let rng = &mut self.rng;
        let mut times: Vec<(Duration, usize)> = cores.map(|n| (span.mul_f64(rng.f64()), n)).collect();
        times.sort_unstable();
        let mut now = Duration::ZERO;
        for (at, core) in times {
            sleep(at - now).await;
            now = at;
            self.ask(core, 10);
        }
        sleep(span - now).await;
    }

    /// Waits until all commands are completed; returns when the last one was.
    pub(super) async fn commands(&self) -> Millis {
        let last = || {
            let commands = self.world.commands.lock().unwrap();
            commands.values().map(|asked| asked.completed).try_fold(0, |last, at| Some(last.max(at?)))
        };
        wait_for("the commands are not completed", last).await
    }

    /// Waits until each agent has read a complete list since `since`; returns when the last one
    /// had.
    pub(super) async fn lists_since(&self, since: Millis) -> Millis {
        let (mut last, mut read) = (since, 0);
        wait_for("the lists are not read", || {
            while let Some(core) = self.cores.get(read) {
                last = last.max(core.synced_at().filter(|at| *at >= since)?);
                read += 1;
            }
            Some(last)
        })
        .await
    }

    /// When the agents read their last complete lists, on average.
    pub(super) fn mean_list(&self) -> f64 {
        self.cores.iter().filter_map(Core::synced_at).sum::<Millis>() as f64 / self.cores.len() as f64
    }

    /// Bytes that a core device has written, on average.
    pub(super) fn written(&self) -> u64 {
        self.cores.iter().map(|core| core.disk.written()).sum::<u64>() / self.cores.len() as u64
    }

    /// At the end the cloud and the clients agree: what was asked for is done, and nothing else.
    pub(super) fn check(&self) {
        let commands = self.world.commands.lock().unwrap();
        assert!(commands.values().all(|asked| asked.failed == 0));
        let state = self.world.account.state();
        for ((names, asked), associated) in self.devices.iter().zip(&state.associated) {
            assert!(associated.iter().eq(&names[*asked..]));
        }
    }
}

async fn wait_for<R>(what: &str, mut done: impl FnMut() -> Option<R>) -> R {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(result) = done() {
            return result;
        }
        let pause = Duration::from_secs(5);
        sleep(pause).await;
        waited += pause;
        assert!(waited < CONVERGES, "{what} after a day");
    }
}
