//! The local socket's server: its places, its connections, and the commands that they deliver.

use std::{
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufRead, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use super::{
    lines::{MAX_OPERATION, Part, begun, read_line, skip_line, write_lines},
    places::{FULL, MAX_UNANSWERED, MAX_WATCHED, Place, Places},
    responses::{Asked, Hold, Responses},
};
use crate::{
    domain::{ClientId, Operation, Reason, Rejection},
    health::Health,
    ledger,
    local::inbound::{Body, Inbound, Reply},
    protocol::{
        ResultKind,
        local_socket::{MAX_LINE, SOCKET},
        messages,
    },
    runtime::{errors::cut, stop::Stop, users},
};

/// The most responses of one connection that wait to be written: as many as there can be when no
/// more commands are read from it.
const MAX_ANSWERS: usize = FULL.1 + 2 * MAX_UNANSWERED + 2 * MAX_WATCHED;

/// A client that has closed its side gets results for this long. It may be gone, and its place may
/// be needed for another client.
const FAREWELL: Duration = Duration::from_secs(5);

/// The time between two attempts to open the socket, whose directory the store may be creating.
const RETRY: Duration = Duration::from_millis(250);
/// The attempts before the problem is raised.
const QUIET: u32 = 40;

/// The time between two checks whether the file of the socket is still there. A check wakes a
/// gateway that could sleep, so there is only one a minute.
const LOOK: Duration = Duration::from_secs(60);

/// The time between two log lines about connections that were refused.
const REFUSED_LOG: Duration = Duration::from_secs(60);

/// Returns a message by its name, with its current content.
pub(crate) type Look = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

pub(crate) struct Socket {
    pub(crate) data_dir: PathBuf,
    pub(crate) health: Arc<Health>,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    pub(crate) asked: mpsc::Sender<Asked>,
    /// Makes the messages that are otherwise published unasked: `status`, `metrics`,
    /// `configuration`.
    pub(crate) look: Look,
    pub(crate) stop: Stop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'l> {
    operation: String,
    #[serde(borrow, default)]
    payload: Option<&'l RawValue>,
    /// Whether the command is also for other core devices, so that only its part for this one
    /// counts.
    #[serde(default)]
    broadcast: bool,
}

impl Socket {
    /// Serves until the stop. If the file of the socket is removed, renamed or replaced meanwhile,
    /// opens the socket anew; the connections continue.
    pub(crate) async fn run(self) {
        let path = self.data_dir.join(SOCKET);
        let this = Arc::new(self);
        let places = Arc::new(Places::default());
        let large = [(); 2].map(|()| Arc::new(Semaphore::new(1)));
        let mut served = Served { places, large, connections: JoinSet::new(), refused: None };
        while let Some((listener, file)) = this.open(&path).await {
            this.accept(&listener, &path, file, &mut served).await;
            if this.stop.is_requested() {
                if id_of(&path) == Some(file) {
                    let _ = std::fs::remove_file(&path);
                }
                break;
            }
            tracing::warn!(path = %path.display(), "the file of the local socket is gone; the agent opens the socket anew");
        }
        // Responses that are being sent are still written, as long as the stop of the agent lasts.
        while served.connections.join_next().await.is_some() {}
    }

    /// Opens the socket. Tries again and again until that succeeds; `None` at the stop.
    async fn open(&self, path: &Path) -> Option<(UnixListener, FileId)> {
        let mut attempts = 0_u32;
        while !self.stop.is_requested() {
            match self.try_open(path).await {
                Ok(opened) => {
                    self.health.clear("SOCKET_UNAVAILABLE");
                    return Some(opened);
                }
                Err(error) if attempts >= QUIET => {
                    let text = format!(
                        "commands on this machine find no agent: the local socket {} cannot be opened: {error}",
                        path.display()
                    );
                    if attempts == QUIET {
                        tracing::warn!("{text}");
                    }
                    self.health.raise("SOCKET_UNAVAILABLE", text);
                }
                Err(_) => {}
            }
            attempts = attempts.saturating_add(1);
            tokio::select! {
                biased;
                () = tokio::time::sleep(RETRY) => {}
                () = self.stop.requested() => {}
            }
        }
        None
    }

    async fn try_open(&self, path: &Path) -> Result<(UnixListener, FileId), String> {
        // The socket is not opened in a directory of another user, who could replace the socket
        // with any other file.
        ledger::check_owner(&self.data_dir).map_err(|error| error.to_string())?;
        // The directory may have been replaced by one that another agent uses, which may be about
        // to open its socket.
        if ledger::is_held_by_another(&self.data_dir) {
            return Err("another agent uses the data directory; stop one of the two".into());
        }
        let opened = open(path).await.and_then(|listener| {
            let file = std::fs::symlink_metadata(path)?;
            Ok((listener, (file.dev(), file.ino())))
        });
        opened.map_err(|error| {
            format!("{error}; check dataDir, whose path may have some 90 characters, and that no other agent uses it")
        })
    }

    /// Accepts connections until the stop, or until `path` is no longer the file of the listener.
    async fn accept(self: &Arc<Self>, listener: &UnixListener, path: &Path, file: FileId, served: &mut Served) {
        let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stop.is_requested() {
            tokio::select! {
                biased;
                () = self.stop.requested() => break,
                _ = look.tick() => if id_of(path) != Some(file) { break },
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.begin(stream, served),
                    // The process may have too many open files, for example.
                    Err(_) => tokio::time::sleep(RETRY).await,
                },
            }
        }
    }

    /// Serves a connection in a task of its own, or refuses it.
    fn begin(self: &Arc<Self>, stream: UnixStream, served: &mut Served) {
        let Served { places, large: [large, large_of_root], connections, refused } = served;
        while connections.try_join_next().is_some() {}
        let Ok(uid) = stream.peer_cred().map(|user| user.uid()) else { return };
        match places.enter(uid) {
            Some((place, closed)) => {
                let large = if uid == 0 { large_of_root } else { large };
                let connection = Connection {
                    client: user_name(uid),
                    place,
                    places: Arc::clone(places),
                    closed,
                    large: Arc::clone(large),
                };
                connections.spawn(Arc::clone(self).serve(stream, connection));
            }
            None => self.refuse(stream, uid, refused),
        }
    }

    /// Refuses a connection, since there is no place and none is idle.
    fn refuse(&self, stream: UnixStream, uid: u32, logged: &mut Option<Instant>) {
        let text =
            "all places of the local socket are taken by clients that wait for results; try again later, or as root";
        let rejection = Rejection::throttled(text, Duration::from_secs(5));
        self.health.counters().rejected(rejection.code);
        if logged.is_none_or(|at| at.elapsed() >= REFUSED_LOG) {
            tracing::info!(user = %users::described(uid), "a connection to the local socket was refused: {text}");
            *logged = Some(Instant::now());
        }
        let rejection = messages::rejected(None, "", &rejection, MAX_LINE);
        let line = [b"{\"result\":\"rejected\",\"payload\":", rejection.as_slice(), b"}\n"].concat();
        // The line fits into the socket's empty buffer; a client that is gone needs no line.
        let _ = stream.into_std().and_then(|mut stream| io::Write::write(&mut stream, &line));
    }

    async fn serve(self: Arc<Self>, stream: UnixStream, connection: Connection) {
        let (read, write) = stream.into_split();
        let (sender, lines) = mpsc::channel(MAX_ANSWERS);
        let (place, places) = (Arc::clone(&connection.place), Arc::clone(&connection.places));
        let answers = Responses { lines: sender, place, places };
        let reading = async {
            let mut read = BufReader::new(read);
            loop {
                connection.place.has_room().await;
                tokio::select! {
                    biased;
                    more = self.read(&mut read, &connection, &answers) => if !more { break },
                    () = self.stop.requested() => break,
                }
            }
            drop(answers);
            connection.place.leaving();
            tokio::time::sleep(FAREWELL).await;
        };
        let writing = write_lines(write, lines, &connection.place);
        tokio::select! {
            () = reading => {}
            // All results were sent, or the client does not read them.
            () = writing => {}
            // The connection was idle, and its place belongs to another one now; or the client does
            // not read.
            () = connection.closed.requested() => {}
        }
    }

    /// Reads a line, and passes it to the inbox or responds to it; `false` at the end.
    async fn read(&self, read: &mut (impl AsyncBufRead + Unpin), connection: &Connection, answers: &Responses) -> bool {
        let mut line = Vec::new();
        let place = &connection.place;
        let Ok(part) = read_line(read, &mut line, place, &connection.large).await else { return false };
        place.end();
        let hold = async |large| Hold { watched: None, _unanswered: place.unanswered().await, _large: large };
        match part {
            Part::Line(large) => self.take(&connection.client, line, answers, hold(large).await).await,
            Part::TooLong => {
                let text = format!(
                    "the line is longer than {MAX_LINE} bytes, which is what the local socket takes; split the list into \
                     several commands"
                );
                let rejection = Rejection::invalid(Reason::Other, text);
                self.reject(&connection.client, &line, answers, hold(None).await, rejection).await;
                drop(line);
                skip_line(read).await
            }
            Part::End => false,
        }
    }

    /// Passes a line to the inbox; `false` when the agent is stopping.
    async fn take(&self, client: &ClientId, mut line: Vec<u8>, answers: &Responses, mut hold: Hold) -> bool {
        let request = match request_of(&line) {
            Ok(request) => request,
            Err(rejection) => return self.reject(client, &line, answers, hold, rejection).await,
        };
        if let Some(message) = (self.look)(&request.operation) {
            answers.send(ResultKind::Accepted, &message);
            return true;
        }
        if Operation::parse(&request.operation).is_some_and(|operation| operation.call_kind().is_some()) {
            hold.watched = answers.place.watched();
            if hold.watched.is_none() {
                let text = format!(
                    "{MAX_WATCHED} requests of this connection have not ended, and their results are sent on it; wait for \
                     some, or use another connection"
                );
                let rejection = Rejection::throttled(text, Duration::from_secs(1));
                return self.reject(client, &line, answers, hold, rejection).await;
            }
        }
        let operation: String = request.operation.chars().take(MAX_OPERATION).collect();
        let is_broadcast = request.broadcast;
        let hash = Sha256::new().chain_update(client.key()).chain_update([0]).chain_update(&line).finalize();
        // The payload is cut out in place, since a line may be large.
        let payload = request.payload.map(|payload| {
            let start = payload.get().as_ptr().addr() - line.as_ptr().addr();
            start..start + payload.get().len()
        });
        let payload = match payload {
            Some(range) => {
                line.truncate(range.end);
                line.drain(..range.start);
                line
            }
            None => b"{}".to_vec(),
        };
        let body = Body::Payload(payload);
        let (client, delivery) = (client.clone(), (hash.into(), false));
        let reply = Reply::local(answers.clone(), self.asked.clone(), hold);
        self.inbound.send(Inbound { client, operation, is_broadcast, body, delivery, reply }).await.is_ok()
    }

    /// Lets the inbox reject a line, in its order and with its log; `false` when the agent is
    /// stopping.
    async fn reject(&self, client: &ClientId, line: &[u8], answers: &Responses, hold: Hold, why: Rejection) -> bool {
        let (operation, token) = begun(line);
        let body = Body::NotTaken(why, token);
        let (client, delivery) = (client.clone(), ([0; 32], false));
        let reply = Reply::local(answers.clone(), self.asked.clone(), hold);
        self.inbound.send(Inbound { client, operation, is_broadcast: false, body, delivery, reply }).await.is_ok()
    }
}

/// The request of a line.
///
/// # Errors
/// The rejection of a line that is not one JSON object with the members of a request.
fn request_of(line: &[u8]) -> Result<Request<'_>, Rejection> {
    let rejection = |why: &str| {
        Rejection::invalid(Reason::CannotParse, format!("a line has to be {{\"operation\", \"payload\"}}: {why}"))
    };
    // Serde would take an array of the members' values as well.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(rejection("it is not a JSON object"));
    }
    serde_json::from_slice(line).map_err(|error| rejection(&cut(&error)))
}

/// The device and the number of a file.
type FileId = (u64, u64);

/// The file at the path; `None` if there is none, or if it cannot be seen.
fn id_of(path: &Path) -> Option<FileId> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// What all connections share, whichever listener accepted them.
struct Served {
    places: Arc<Places>,
    /// The permits for large lines: of all users except root, and of root.
    large: [Arc<Semaphore>; 2],
    connections: JoinSet<()>,
    /// When the refusal of a connection was last logged.
    refused: Option<Instant>,
}

/// One client, and what it shares with the others.
struct Connection {
    client: ClientId,
    place: Arc<Place>,
    places: Arc<Places>,
    closed: Stop,
    large: Arc<Semaphore>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.places.leave(&self.place);
    }
}

/// Opens the socket in place of a file that an earlier agent left. An agent that still answers
/// keeps its socket.
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

/// `@` and the user's name, or the user's number if this machine's list of users does not have the
/// name.
fn user_name(uid: u32) -> ClientId {
    let by_name = users::name(uid).and_then(|name| ClientId::new(&format!("@{name}")).ok());
    by_name.unwrap_or_else(|| {
        #[expect(clippy::expect_used, reason = "a number follows the rule of clients")]
        ClientId::new(&format!("@{uid}")).expect("digits are a name")
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

    use super::*;
    use crate::runtime::{clock::Clock, stop};

    /// A socket in a directory, which answers to `status`.
    fn socket(dir: &Path, stop: Stop) -> Socket {
        // The queues are not read: `status` is answered without the inbox.
        let (inbound, _) = mpsc::channel(1);
        let (asked, _) = mpsc::channel(1);
        let health = Health::new(Clock::start());
        let look = Arc::new(|name: &str| (name == "status").then(|| b"{}".to_vec()));
        Socket { data_dir: dir.to_path_buf(), health, inbound, asked, look, stop }
    }

    async fn status(stream: UnixStream) -> UnixStream {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"{\"operation\":\"status\"}\n").await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, "{\"result\":\"accepted\",\"payload\":{}}\n");
        stream.into_inner()
    }

    async fn connected(path: &Path) -> UnixStream {
        let connecting = async {
            loop {
                match UnixStream::connect(path).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
            }
        };
        tokio::time::timeout(2 * LOOK, connecting).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_whose_file_is_gone_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET);
        let (stopper, stop) = stop::channel();
        let running = tokio::spawn(socket(dir.path(), stop).run());
        let mut old = connected(&path).await;
        let removals: [fn(&Path); 3] = [
            |path| std::fs::remove_file(path).unwrap(),
            |path| std::fs::rename(path, path.with_extension("old")).unwrap(),
            |path| {
                std::fs::remove_file(path).unwrap();
                std::fs::write(path, "a file that is no socket").unwrap();
            },
        ];
        for remove in removals {
            remove(&path);
            status(connected(&path).await).await;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            old = status(old).await;
        }
        stopper.stop();
        drop(old);
        running.await.unwrap();
        assert!(!path.exists(), "its own file is removed at the stop");
    }

    /// Two agents never share a path: the one that finds another one there leaves it alone.
    #[tokio::test(start_paused = true)]
    async fn the_socket_of_another_agent_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET);
        let (stopper, stop) = stop::channel();
        let socket = socket(dir.path(), stop);
        let health = Arc::clone(&socket.health);
        let running = tokio::spawn(socket.run());
        drop(connected(&path).await);
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        let file = id_of(&path);
        tokio::time::sleep(2 * LOOK).await;
        let problem = health.snapshot().problems.get("SOCKET_UNAVAILABLE").map(|problem| problem.message.clone());
        assert!(problem.is_some_and(|text| text.contains("another agent answers there")));
        stopper.stop();
        running.await.unwrap();
        assert_eq!(id_of(&path), file);
        drop(other);
    }
}
