//! The agent's local socket from a command's side: one line of JSON in each direction.

use std::{
    collections::VecDeque,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    answer::{Answer, MAX_EARLY, fresh_token},
    data_directory::why_no_answer,
    failure::Failure,
    text::clean,
};
use crate::{
    domain::{Operation, operations::changes::CLIENT_TOKEN},
    protocol::local_socket::{MAX_LINE, SOCKET},
    runtime::users,
};

/// The component's work directory below the roots of both Greengrass nuclei.
const WORK: [&str; 2] = ["/greengrass/v2/work/com.offboard.Agent", "/var/lib/greengrass/work/com.offboard.Agent"];

/// Maximum size of a payload: a line without the envelope around the payload.
pub(super) const MAX_PAYLOAD: usize = MAX_LINE - 256;

/// Maximum size of an answer: a line and the envelope around its payload.
const MAX_ANSWER: usize = MAX_LINE + 4096;

#[derive(Debug, Args)]
pub(super) struct LocalSocket {
    /// The running agent's data directory; default: $OFFBOARD_DATA_DIR, then Greengrass's work
    /// directory of the component
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// A line of the agent.
#[derive(Deserialize)]
struct Envelope {
    /// The kind of the answer.
    result: String,
    payload: Map<String, Value>,
}

/// A connection to the agent over its local socket.
pub(super) struct SocketConnection {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    /// The user of the process that listens on the socket, as the kernel reports it.
    pub(super) peer: u32,
    /// The data directory that contains the socket.
    pub(super) directory: PathBuf,
    /// The received part of the next answer.
    line: Vec<u8>,
    /// Answers to earlier commands that came while this process waited for a later answer.
    early: VecDeque<Answer>,
}

impl LocalSocket {
    pub(super) async fn connect(&self) -> Result<SocketConnection, Failure> {
        let directory = self.directory()?;
        let failed = |error| no_agent(&directory.join(SOCKET), &error);
        Self::connect_in(&directory).await.map_err(failed)
    }

    /// Connects to the agent in that data directory.
    pub(super) async fn connect_in(directory: &Path) -> io::Result<SocketConnection> {
        let stream = UnixStream::connect(directory.join(SOCKET)).await?;
        let (peer, owner) = (stream.peer_cred()?.uid(), std::fs::metadata(directory)?.uid());
        if ![0, owner].contains(&peer) {
            let text = format!(
                "{} listens there and is neither root nor the owner of the data directory, {}; nothing was sent",
                users::described(peer),
                users::described(owner)
            );
            return Err(io::Error::other(text));
        }
        let (read, write) = stream.into_split();
        let (read, directory) = (BufReader::new(read), directory.to_path_buf());
        Ok(SocketConnection { read, write, peer, directory, line: Vec::new(), early: VecDeque::new() })
    }

    /// The data directory of the option.
    pub(super) fn option(&self) -> Option<PathBuf> {
        self.data_dir.clone()
    }

    /// The data directory that the user named.
    pub(super) fn given(&self) -> Option<PathBuf> {
        // An empty variable counts as unset, as it does for the agent.
        let variable = || std::env::var_os("OFFBOARD_DATA_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.data_dir.clone().or_else(variable)
    }

    /// The agent's data directory: the given one, or the component's.
    pub(super) fn directory(&self) -> Result<PathBuf, Failure> {
        let given = self.given();
        let known = || WORK.map(PathBuf::from).into_iter().find(|dir| dir.exists());
        given.or_else(known).ok_or_else(|| {
            Failure::NoAnswer(format!(
                "no data directory: name the agent's with --data-dir or OFFBOARD_DATA_DIR ({} is not here)",
                WORK.join(" or ")
            ))
        })
    }
}

fn no_agent(path: &Path, error: &io::Error) -> Failure {
    let what = why_no_answer(path.parent().unwrap_or(path), error);
    Failure::NoAnswer(format!("{}: {what} ({error})", path.display()))
}

impl SocketConnection {
    pub(super) async fn ask(&mut self, operation: &str, mut payload: Value) -> Result<Answer, Failure> {
        // The answer to an operation that only the local socket has carries no token.
        let is_fresh = payload[CLIENT_TOKEN.name].is_null();
        if is_fresh && Operation::parse(operation).is_some() {
            payload[CLIENT_TOKEN.name] = json!(fresh_token());
        }
        let token = payload[CLIENT_TOKEN.name].as_str().map(str::to_owned);
        let line = format!("{}\n", json!({"operation": operation, "payload": payload}));
        if line.len() > MAX_LINE {
            let text =
                format!("the command has {} bytes, and the local socket takes {MAX_LINE}; shorten it", line.len());
            return Err(Failure::Usage(text));
        }
        if let Err(error) = self.write.write_all(line.as_bytes()).await {
            // The agent may have sent the reason before it closed the connection.
            let gone = |_| Failure::NoAnswer(format!("the agent closed the connection: {error}"));
            return self.receive().await.map_err(gone);
        }
        loop {
            let answer = self.receive().await?;
            // The result of another command has the token of that command.
            let is_ours =
                token.as_deref().is_none_or(|token| answer.is_to(token, None) || is_fresh && answer.token().is_none());
            if is_ours {
                return Ok(answer);
            }
            self.keep(answer)?;
        }
    }

    fn keep(&mut self, answer: Answer) -> Result<(), Failure> {
        if self.early.len() >= MAX_EARLY {
            return Err(Failure::NoAnswer(
                "something other than the agent answers on its socket, without an end".into(),
            ));
        }
        self.early.push_back(answer);
        Ok(())
    }

    pub(super) async fn next(&mut self) -> Result<Answer, Failure> {
        match self.early.pop_front() {
            Some(answer) => Ok(answer),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Answer, Failure> {
        // The buffer may hold the first part of an answer whose reception was interrupted.
        let room = (MAX_ANSWER - self.line.len()) as u64;
        let read = (&mut self.read).take(room).read_until(b'\n', &mut self.line).await;
        if let Err(error) = read {
            return Err(Failure::NoAnswer(format!("the agent closed the connection: {error}")));
        }
        if self.line.last() != Some(&b'\n') {
            return Err(match self.line.len() {
                MAX_ANSWER => unexpected(&self.line),
                _ => Failure::NoAnswer(
                    "the agent closed the connection or stopped; it keeps the requests that it accepted".into(),
                ),
            });
        }
        let line = std::mem::take(&mut self.line);
        let envelope: Envelope = serde_json::from_slice(&line).map_err(|_| unexpected(&line))?;
        Answer::new(&envelope.result, Value::Object(envelope.payload)).ok_or_else(|| unexpected(&line))
    }
}

fn unexpected(line: &[u8]) -> Failure {
    let line: String = String::from_utf8_lossy(&line[..line.len().min(320)]).trim_end().chars().take(80).collect();
    Failure::NoAnswer(format!("something other than the agent answers on its socket: {}", clean(&line)))
}
