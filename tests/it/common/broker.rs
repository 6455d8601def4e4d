//! A Mosquitto for one test.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Port, terminate, until};

/// A Mosquitto on a port that stays the same over restarts; it ends with the value.
pub struct Broker {
    dir: PathBuf,
    pub port: u16,
    /// More lines for its configuration, for instance another listener.
    pub more: String,
    /// A whole configuration instead of the usual one, with a listener on `port`.
    pub config: Option<String>,
    /// Variables of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// The ports of its listeners: no other socket gets them while it is not running.
    held: Vec<Port>,
    child: Option<Child>,
}

impl Broker {
    /// A broker whose files are in `dir`.
    pub async fn start(dir: &Path) -> Self {
        let mut broker = Self::absent(dir);
        broker.restart().await;
        broker
    }

    /// A broker that is not running yet.
    pub fn absent(dir: &Path) -> Self {
        let held = Port::hold();
        Self {
            dir: dir.to_path_buf(),
            port: held.number(),
            held: vec![held],
            more: String::new(),
            config: None,
            environment: Vec::new(),
            child: None,
        }
    }

    /// The port for one more listener, which a line of `more` opens.
    pub fn another_port(&mut self) -> u16 {
        let held = Port::hold();
        let number = held.number();
        self.held.push(held);
        number
    }

    /// Ends it in order: it stores its sessions.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            terminate(child.id());
            child.wait().unwrap();
        }
    }

    /// Starts it, again or for the first time, and waits until it listens.
    pub async fn restart(&mut self) {
        self.stop();
        let (dir, port) = (self.dir.display(), self.port);
        let more = &self.more;
        let usual = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {dir}/\n\
             max_queued_messages 100000\nmax_inflight_messages 100\nset_tcp_nodelay true\nuser root\n{more}"
        );
        let path = self.dir.join("mosquitto.conf");
        fs::write(&path, self.config.as_ref().unwrap_or(&usual)).unwrap();
        let log = fs::File::create(self.dir.join("mosquitto.log")).unwrap();
        let mut child = Command::new(mosquitto())
            .arg("-c")
            .arg(&path)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto does not start");
        until("Mosquitto listens", || {
            let end = child.try_wait().unwrap();
            let log = || fs::read_to_string(self.dir.join("mosquitto.log")).unwrap();
            assert!(end.is_none(), "Mosquitto ended instead of listening: {}", log());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        self.child = Some(child);
    }
}

fn mosquitto() -> &'static str {
    let found = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"];
    found
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("mosquitto is not installed: run tests/run, which installs what the tests need")
}

/// A shared library that a test loads into another program, by its name.
pub fn library(name: &str) -> String {
    let mut dirs: Vec<PathBuf> = ["/usr/lib", "/usr/local/lib"].map(PathBuf::from).into();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(_) if entry.file_name() == name => return entry.path().display().to_string(),
                _ => {}
            }
        }
    }
    panic!("{name} is not installed: run tests/run, which installs what the tests need");
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Broker {
    /// How often a client of that id has connected since the broker's last start.
    pub fn connections(&self, client_id: &str) -> usize {
        let log = fs::read_to_string(self.dir.join("mosquitto.log")).unwrap_or_default();
        let wanted = format!(" as {client_id} (");
        log.lines().filter(|line| line.contains("New client connected") && line.contains(&wanted)).count()
    }
}
