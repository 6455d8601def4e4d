//! The running agent, as the commands reach it: over its local socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::Trouble;
use crate::transport::SOCKET;

/// Where Greengrass's nuclei keep what belongs to the component, below their roots.
const WORK: [&str; 2] = ["/greengrass/v2/work/com.offboard.Agent", "/var/lib/greengrass/work/com.offboard.Agent"];

/// What all commands have in common.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// The running agent's data directory; without it $OFFBOARD_DATA_DIR, then where Greengrass keeps it.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// For people, or for programs: one JSON document, as it crosses the broker.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,

    /// Seconds that the agent may take to answer (not: to carry out what was asked).
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

/// A connection to the agent.
pub(super) struct Agent {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
    patience: Duration,
}

/// The agent's last word on a question.
#[derive(Debug)]
pub(super) enum Answer {
    Accepted(Value),
    Rejected(Value),
    Completed(Value),
}

impl Common {
    pub(super) async fn connect(&self) -> Result<Agent, Trouble> {
        let dir = self.directory()?;
        let path = dir.join(SOCKET);
        let stream = UnixStream::connect(&path).await.map_err(|error| no_agent(&path, &error))?;
        let (read, write) = stream.into_split();
        let lines = BufReader::new(read).lines();
        Ok(Agent { lines, write, patience: Duration::from_secs(self.timeout) })
    }

    fn directory(&self) -> Result<PathBuf, Trouble> {
        let given = self.data_dir.clone().or_else(|| std::env::var_os("OFFBOARD_DATA_DIR").map(PathBuf::from));
        let known = || WORK.map(PathBuf::from).into_iter().find(|dir| dir.exists());
        given.or_else(known).ok_or_else(|| {
            Trouble::NoAnswer(format!(
                "no data directory: name the agent's with --data-dir or OFFBOARD_DATA_DIR ({} is not here)",
                WORK.join(" or ")
            ))
        })
    }
}

fn no_agent(path: &Path, error: &io::Error) -> Trouble {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "there is no agent's socket; is it running, and is this its data directory?",
        io::ErrorKind::ConnectionRefused => "no agent listens there; it has stopped without cleaning up",
        io::ErrorKind::PermissionDenied => "only the user that the agent runs as, and root, may ask it",
        _ => "the agent cannot be reached",
    };
    Trouble::NoAnswer(format!("{}: {what} ({error})", path.display()))
}

impl Agent {
    /// Asks, and waits for the first answer.
    pub(super) async fn ask(&mut self, operation: &str, payload: Value) -> Result<Answer, Trouble> {
        let line = format!("{}\n", json!({"operation": operation, "payload": payload}));
        let gone = |error: io::Error| Trouble::NoAnswer(format!("the agent hung up: {error}"));
        self.write.write_all(line.as_bytes()).await.map_err(gone)?;
        match timeout(self.patience, self.next()).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::NoAnswer(format!("the agent did not answer within {} s", self.patience.as_secs()))),
        }
    }

    /// A question, whose answer is `accepted` or nothing.
    pub(super) async fn query(&mut self, operation: &str, payload: Value) -> Result<Value, Trouble> {
        match self.ask(operation, payload).await? {
            Answer::Accepted(body) => Ok(body),
            Answer::Rejected(body) => Err(Trouble::Rejected(body)),
            Answer::Completed(_) => Err(unexpected("completed")),
        }
    }

    /// The next answer, whenever it comes.
    pub(super) async fn next(&mut self) -> Result<Answer, Trouble> {
        let line = match self.lines.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) => return Err(Trouble::NoAnswer("the agent has stopped; what it accepted is kept".into())),
            Err(error) => return Err(Trouble::NoAnswer(format!("the agent hung up: {error}"))),
        };
        let mut answer: Value = serde_json::from_str(&line).map_err(|_| unexpected(&line))?;
        let body = answer["payload"].take();
        match answer["result"].as_str() {
            Some("accepted") => Ok(Answer::Accepted(body)),
            Some("rejected") => Ok(Answer::Rejected(body)),
            Some("completed") => Ok(Answer::Completed(body)),
            _ => Err(unexpected(&line)),
        }
    }
}

fn unexpected(line: &str) -> Trouble {
    let line: String = line.chars().take(80).collect();
    Trouble::NoAnswer(format!("something else answers on the agent's socket: {line}"))
}
