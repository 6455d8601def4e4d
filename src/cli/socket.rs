//! The agent's local socket, from a command's side: a line of JSON each way.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{Trouble, agent::Answer};
use crate::transport::{MAX_LINE, SOCKET};

/// Where Greengrass's nuclei keep what belongs to the component, below their roots.
const WORK: [&str; 2] = ["/greengrass/v2/work/com.offboard.Agent", "/var/lib/greengrass/work/com.offboard.Agent"];

/// A line, less what stands around the payload.
pub(super) const MAX_PAYLOAD: usize = MAX_LINE - 256;

#[derive(Debug, Args)]
pub(super) struct LocalSocket {
    /// The running agent's data directory; without it $OFFBOARD_DATA_DIR, then where Greengrass keeps it.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// A connection.
pub(super) struct SocketLine {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
    /// Answers to earlier questions that came while a later one was waited for.
    early: VecDeque<Answer>,
}

impl LocalSocket {
    pub(super) async fn connect(&self) -> Result<SocketLine, Trouble> {
        let directory = self.directory()?;
        let told = |error| no_agent(&directory.join(SOCKET), &error);
        Self::connect_in(&directory).await.map_err(told)
    }

    /// Connects to the agent of that data directory.
    pub(super) async fn connect_in(directory: &Path) -> io::Result<SocketLine> {
        let stream = UnixStream::connect(directory.join(SOCKET)).await?;
        let (read, write) = stream.into_split();
        Ok(SocketLine { lines: BufReader::new(read).lines(), write, early: VecDeque::new() })
    }

    /// The data directory that was named.
    pub(super) fn given(&self) -> Option<PathBuf> {
        self.data_dir.clone().or_else(|| std::env::var_os("OFFBOARD_DATA_DIR").map(PathBuf::from))
    }

    fn directory(&self) -> Result<PathBuf, Trouble> {
        let given = self.given();
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
        io::ErrorKind::PermissionDenied => "only the user that the agent runs as may ask it (sudo -u USER), and root",
        _ => "the agent cannot be reached",
    };
    Trouble::NoAnswer(format!("{}: {what} ({error})", path.display()))
}

impl SocketLine {
    pub(super) async fn ask(&mut self, operation: &str, payload: Value) -> Result<Answer, Trouble> {
        let token = payload["clientToken"].as_str().map(str::to_owned);
        let line = format!("{}\n", json!({"operation": operation, "payload": payload}));
        let gone = |error: io::Error| Trouble::NoAnswer(format!("the agent hung up: {error}"));
        self.write.write_all(line.as_bytes()).await.map_err(gone)?;
        loop {
            let answer = self.receive().await?;
            match token.as_deref() {
                Some(token) if answer.body()["clientToken"] != *token => self.early.push_back(answer),
                _ => return Ok(answer),
            }
        }
    }

    pub(super) async fn next(&mut self) -> Result<Answer, Trouble> {
        match self.early.pop_front() {
            Some(answer) => Ok(answer),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Answer, Trouble> {
        let line = match self.lines.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) => return Err(Trouble::NoAnswer("the agent has stopped; what it accepted is kept".into())),
            Err(error) => return Err(Trouble::NoAnswer(format!("the agent hung up: {error}"))),
        };
        let mut answer: Value = serde_json::from_str(&line).map_err(|_| unexpected(&line))?;
        let body = answer["payload"].take();
        answer["result"].as_str().and_then(|kind| Answer::new(kind, body)).ok_or_else(|| unexpected(&line))
    }
}

fn unexpected(line: &str) -> Trouble {
    let line: String = line.chars().take(80).collect();
    Trouble::NoAnswer(format!("something else answers on the agent's socket: {line}"))
}
