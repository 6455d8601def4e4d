//! The local socket, `agent.sock` in the data directory: a way in for people on the core, who need neither broker nor
//! certificate. JSON either way, one object a line: `{"operation": …, "payload": {…}}` in, `{"result": …, "payload": {…}}`
//! out, with the payloads that cross the broker. Who asks is the user at the other end, by the kernel's word.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{Body, Inbound, Reply};
use crate::{
    conditions::Conditions,
    model::ClientId,
    stop::Stop,
    wire::{ResultKind, messages},
};

/// The socket's name in the data directory.
pub(crate) const FILE: &str = "agent.sock";

/// Longest line, in bytes (contract, section 5).
pub(crate) const MAX_LINE: usize = 8 << 20;

/// Lines above this are read one at a time, over all connections: each takes memory.
const LARGE: usize = 64 << 10;

/// Connections at a time: the people at one machine.
const MAX_CONNECTIONS: usize = 16;

/// Answers that wait for somebody to read them.
const MAX_ANSWERS: usize = 64;

/// Who does not read for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who has closed its side is told for so long what comes of it: it may be gone, and its place be another's.
const FAREWELL: Duration = Duration::from_secs(5);

/// Between two attempts to open the socket, whose directory the store may be making.
const RETRY: Duration = Duration::from_millis(250);
/// Attempts until it is told.
const QUIET: u32 = 40;

/// A request that was accepted over the socket, and where its results go.
pub(crate) struct Asked {
    pub(crate) seq: u64,
    pub(crate) answers: Answers,
}

/// Where a connection's answers go. Closed with the connection.
#[derive(Clone)]
pub(crate) struct Answers(mpsc::Sender<Vec<u8>>);

impl Answers {
    /// Hands an answer to the connection; `false` if that is gone.
    pub(crate) async fn send(&self, kind: ResultKind, payload: &[u8]) -> bool {
        let line = [b"{\"result\":\"", kind.as_str().as_bytes(), b"\",\"payload\":", payload, b"}\n"].concat();
        self.0.send(line).await.is_ok()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A message by its name, as of now.
pub(crate) type Look = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

pub(crate) struct Socket {
    pub(crate) data_dir: PathBuf,
    pub(crate) conditions: Arc<Conditions>,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    pub(crate) asked: mpsc::Sender<Asked>,
    /// What is published by itself, on demand: `status`, `metrics`, `configuration`.
    pub(crate) look: Look,
    pub(crate) stop: Stop,
}

#[derive(Deserialize)]
struct Request<'l> {
    operation: String,
    #[serde(borrow, default)]
    payload: Option<&'l RawValue>,
}

impl Socket {
    /// Serves until the stop; opens the socket again and again until that works.
    pub(crate) async fn run(self) {
        let path = self.data_dir.join(FILE);
        let mut attempts = 0_u32;
        let listener = loop {
            match open(&path).await {
                Ok(listener) => break listener,
                Err(error) if attempts >= QUIET => {
                    let text = format!(
                        "the local socket {} cannot be opened: {error}; commands on this machine find no agent; check \
                         dataDir, whose path may have some 90 characters, and that no other agent uses it",
                        path.display()
                    );
                    self.conditions.raise("SOCKET_UNAVAILABLE", text);
                }
                Err(_) => {}
            }
            attempts = attempts.saturating_add(1);
            tokio::select! {
                biased;
                () = tokio::time::sleep(RETRY) => {}
                () = self.stop.requested() => return,
            }
        };
        self.conditions.clear("SOCKET_UNAVAILABLE");
        let this = Arc::new(self);
        let large = Arc::new(Semaphore::new(1));
        let mut connections = JoinSet::new();
        while !this.stop.is_requested() {
            tokio::select! {
                biased;
                () = this.stop.requested() => break,
                _ = connections.join_next(), if connections.len() >= MAX_CONNECTIONS => {}
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        drop(connections.spawn(Arc::clone(&this).serve(stream, Arc::clone(&large))));
                        while connections.try_join_next().is_some() {}
                    }
                    // Too many open files, say.
                    Err(_) => tokio::time::sleep(RETRY).await,
                },
            }
        }
        let _ = std::fs::remove_file(&path);
        // Answers that are on their way still go out, as long as the agent's stop lasts.
        while connections.join_next().await.is_some() {}
    }

    async fn serve(self: Arc<Self>, stream: UnixStream, large: Arc<Semaphore>) {
        let Ok(client) = stream.peer_cred().map(|user| user_name(user.uid())) else { return };
        let (read, write) = stream.into_split();
        let (sender, lines) = mpsc::channel(MAX_ANSWERS);
        let answers = Answers(sender);
        let reading = async {
            let mut read = BufReader::new(read);
            let mut line = Vec::new();
            loop {
                line.clear();
                tokio::select! {
                    biased;
                    more = read_line(&mut read, &mut line, &large) => if !matches!(more, Ok(true)) { break },
                    () = self.stop.requested() => break,
                }
                if !self.take(&client, &line, &answers).await {
                    break;
                }
            }
            drop(answers);
            tokio::time::sleep(FAREWELL).await;
        };
        let writing = write_lines(write, lines);
        tokio::select! {
            () = reading => {}
            // Everything is told, or nobody reads it.
            () = writing => {}
        }
    }

    /// Hands a line to the inbox; `false` when the agent is stopping.
    async fn take(&self, client: &ClientId, line: &[u8], answers: &Answers) -> bool {
        let request: Request<'_> = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(error) => {
                let text = format!("a line has to be {{\"operation\", \"payload\"}}: {error}");
                let rejection = crate::model::Rejection::invalid(crate::model::Reason::CannotParse, text);
                return answers.send(ResultKind::Rejected, &messages::rejected(None, "", &rejection)).await;
            }
        };
        if let Some(message) = (self.look)(&request.operation) {
            return answers.send(ResultKind::Accepted, &message).await;
        }
        let payload = request.payload.map_or("{}", RawValue::get).as_bytes();
        let hash = Sha256::new().chain_update(client.as_str()).chain_update([0]).chain_update(line).finalize();
        let inbound = Inbound {
            client: client.clone(),
            operation: request.operation.chars().take(128).collect(),
            body: Body::Payload(payload.to_vec()),
            delivery: (hash.into(), false),
            reply: Reply::local(answers.clone(), self.asked.clone()),
        };
        self.inbound.send(inbound).await.is_ok()
    }
}

/// Opens the socket in the place of whatever an earlier agent left; one that still answers keeps it.
async fn open(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent answers there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Reads to the end of a line, which is not too long; `false` at the end of the stream.
async fn read_line(read: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>, large: &Semaphore) -> io::Result<bool> {
    read.take(LARGE as u64).read_until(b'\n', line).await?;
    if line.last() != Some(&b'\n') && line.len() >= LARGE {
        // Never closed.
        let _one = large.acquire().await;
        read.take((MAX_LINE - LARGE) as u64).read_until(b'\n', line).await?;
        if line.last() != Some(&b'\n') {
            return Err(io::Error::other("a line that is too long"));
        }
    }
    Ok(line.pop() == Some(b'\n'))
}

async fn write_lines(mut write: OwnedWriteHalf, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if !matches!(tokio::time::timeout(PATIENCE, write.write_all(&line)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// `@` and the user's name, or its number where this machine's list of users does not have it.
fn user_name(uid: u32) -> ClientId {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    let by_name = named.and_then(|name| ClientId::new(&format!("@{name}")).ok());
    by_name.unwrap_or_else(|| {
        #[expect(clippy::expect_used, reason = "a number follows the rule of clients")]
        ClientId::new(&format!("@{uid}")).expect("digits are a name")
    })
}
