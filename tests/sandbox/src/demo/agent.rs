//! The agent as a process: it is started with its own configuration, killed and stopped, and its
//! log is read.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use offboard_sandbox::broker::Broker;
use offboard_sandbox::cloud::{Cloud, REGION};
use offboard_sandbox::ipc::Nucleus;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Maximum time for a stop; the nucleus kills a component after that time.
const STOP: Duration = Duration::from_secs(5);

/// Number of lines of the log that are shown after a failure.
const LAST_LINES: usize = 30;

/// The command that starts the agent, and the process if it runs.
#[derive(Debug)]
pub(super) struct Agent {
    binary: PathBuf,
    environment: Vec<(String, String)>,
    log: PathBuf,
    process: Option<Child>,
}

impl Agent {
    /// Creates an agent of `core` that keeps its data and its log in `directory`, without starting
    /// it.
    pub(super) fn new(
        binary: PathBuf,
        directory: &Path,
        core: &str,
        broker: &Broker,
        cloud: &Cloud,
        nucleus: &Nucleus,
    ) -> Self {
        let configuration = json!({
            "dataDir": directory.join("data"),
            "mqtt": {"url": broker.url()},
            "cloud": {"greengrassEndpoint": cloud.endpoint()},
            "ipc": {"iotCore": true},
            // No other client shares this cloud's quota, and a demo should not wait minutes for a
            // back-off.
            "rate": {"callsPerSecond": 20, "burst": 50},
            "retry": {"baseMs": 200, "capMs": 2000},
            "guard": {"protected": [super::PROTECTED]},
        });
        let mut environment = nucleus.environment();
        environment.extend([
            ("OFFBOARD_CONFIG".to_owned(), configuration.to_string()),
            ("AWS_IOT_THING_NAME".to_owned(), core.to_owned()),
            ("AWS_REGION".to_owned(), REGION.to_owned()),
        ]);
        Self { binary, environment, log: directory.join("agent.log"), process: None }
    }

    /// The path of the agent's log.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Starts the agent.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        // The environment is cleared: with a user's AWS profile or proxy the agent might reach the
        // real cloud.
        command.env_clear().envs(self.environment.iter().cloned());
        if let Some(level) = std::env::var_os("RUST_LOG") {
            command.env("RUST_LOG", level);
        }
        let process = command
            .arg("run")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C at the terminal must reach only the demo, which then stops the agent itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills the agent as a power cut would: no handler runs, and nothing is flushed.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.running()?.kill().await?;
        self.process = None;
        Ok(())
    }

    /// Stops the agent with SIGTERM, and returns how long that took.
    ///
    /// # Errors
    /// The agent does not stop within the time that a nucleus allows, or exits with a failure.
    pub(super) async fn stop(&mut self) -> io::Result<Duration> {
        let begin = Instant::now();
        let process = self.running()?;
        let pid = process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process(pid.ok_or_else(|| io::Error::other("the agent had already ended"))?, Signal::TERM)?;
        let status = timeout(STOP, process.wait())
            .await
            .map_err(|_| io::Error::other(format!("the agent did not stop within {STOP:?}")))??;
        self.process = None;
        if status.success() {
            Ok(begin.elapsed())
        } else {
            Err(io::Error::other(format!("the agent stopped with {status}")))
        }
    }

    /// A description of the agent after a failure: whether it still runs, and the end of its log.
    pub(super) fn post_mortem(&mut self) -> String {
        let state = match self.process.as_mut().map(Child::try_wait) {
            None => "the agent does not run".to_owned(),
            Some(Ok(None)) => "the agent runs".to_owned(),
            Some(Ok(Some(status))) => format!("the agent has ended by itself, {status}"),
            Some(Err(error)) => format!("whether the agent runs is not known: {error}"),
        };
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
        format!("{state}; the last lines of its log:\n{}", last.join("\n"))
    }

    fn running(&mut self) -> io::Result<&mut Child> {
        self.process.as_mut().ok_or_else(|| io::Error::other("the agent does not run"))
    }
}
