//! A disk for the agent's data that is full, read-only, or fails at chosen system calls.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::*;

/// A small file system that only the agent sees: a tmpfs in the mount namespace of a child process.
pub struct Disk {
    holder: Child,
    dir: PathBuf,
}

impl Disk {
    pub fn new(dir: &std::path::Path, mebibytes: u32) -> Self {
        use std::io::{BufRead, BufReader};
        fs::create_dir(dir).unwrap();
        let script =
            format!("mount -t tmpfs -o size={mebibytes}m,mode=0777 tmpfs \"$0\" && echo ready && exec sleep 100000");
        let mut holder = Command::new("unshare")
            .arg(if is_root() { "-m" } else { "-rm" })
            .args(["sh", "-c", &script])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is part of util-linux");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(
            line.trim(),
            "ready",
            "no mount namespace can be made here. Run the tests as root (sudo tests/run), or allow it to users: \
             sudo sysctl -w user.max_user_namespaces=10000 kernel.apparmor_restrict_unprivileged_userns=0"
        );
        Self { holder, dir: dir.to_path_buf() }
    }

    /// Goes before a command line that is to see the disk.
    pub fn wrapper(&self) -> Vec<String> {
        let id = self.holder.id().to_string();
        let mut words = vec!["nsenter".into(), "-t".into(), id, "-m".into()];
        if !is_root() {
            words.extend(["-U".into(), "--preserve-credentials".into()]);
        }
        words
    }

    /// The disk as this process sees it.
    pub fn path(&self) -> PathBuf {
        let dir = self.dir.strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(dir)
    }

    /// Mounts it anew, `ro` or `rw`. By `bind`: of the file system itself a plain user may change
    /// nothing.
    pub fn remount(&self, how: &str) {
        let words = self.wrapper();
        let mut mount = Command::new(&words[0]);
        mount.args(&words[1..]).args(["mount", "-o", &format!("remount,bind,{how}")]).arg(&self.dir);
        assert!(mount.status().unwrap().success());
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        use std::io::Write;
        let mut ballast = fs::OpenOptions::new().create(true).append(true).open(self.path().join("ballast")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while ballast.write(&vec![0x42; size]).is_ok_and(|written| written > 0) {}
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl World {
    /// With the agent's data on a disk of `mebibytes`; no agent yet.
    pub async fn on_disk(devices: usize, mebibytes: u32) -> (Self, Disk, Client) {
        let mut world = Self::new(devices).await;
        let mount = world.dir.path().join("disk");
        let disk = Disk::new(&mount, mebibytes);
        world.set("dataDir", json!(mount.join("data")));
        world.wrapper = disk.wrapper();
        let client = world.client("bench").await;
        (world, disk, client)
    }
}

/// What became of commands on a disk that fills.
pub struct Sent {
    /// Tokens of those that were accepted, `t<device>`.
    pub taken: Vec<String>,
    /// Tokens of those that are not answered while the disk is full.
    pub unanswered: Vec<String>,
    /// The device of the one that was rejected.
    pub refused: usize,
}

/// Sends a command for each device from the `first` on, until one is rejected.
pub async fn send_until_refused(client: &Client, first: usize) -> Sent {
    let (mut taken, mut unanswered) = (Vec::new(), Vec::new());
    for device in first..10_000 {
        let token = format!("t{device}");
        client.disassociate(&token, &names(device..device + 1));
        let waiting = client.wait("it is answered", |m| {
            (m.body["clientToken"] == token.as_str()).then(|| (m.topic.clone(), m.body.clone()))
        });
        match tokio::time::timeout(Duration::from_secs(5), waiting).await {
            Ok((topic, body)) if topic.ends_with("/rejected") => {
                let code = body["code"].as_str().unwrap();
                assert!(["InternalServerException", "ThrottlingException"].contains(&code), "{body}");
                return Sent { taken, unanswered, refused: device };
            }
            Ok(_) => taken.push(token),
            Err(_) => {
                unanswered.push(token);
                assert!(unanswered.len() < 5, "not rejected, and not accepted: {unanswered:?}");
            }
        }
    }
    panic!("the disk is full at some time");
}

/// Lets system calls of the running agent fail on some files, as a disk does that breaks. Ends when
/// it is dropped.
pub struct Breaker(Child);

impl Breaker {
    /// `fault` as strace's `inject` takes it: `fdatasync:error=EIO:when=1`.
    pub async fn new(world: &World, fault: &str, files: &[&str]) -> Self {
        use std::io::{BufRead, BufReader};
        let call = fault.split(':').next().unwrap();
        let mut strace = Command::new(strace());
        let data = PathBuf::from(world.config["dataDir"].as_str().unwrap());
        for file in files {
            strace.arg("-P").arg(data.join(file));
        }
        let mut child = strace
            .args(["-f", "-e", &format!("trace={call}"), "-e", &format!("inject={fault}"), "-o", "/dev/null", "-p"])
            .arg(world.agent.as_ref().unwrap().id().to_string())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while errors.read_line(&mut line).unwrap() > 0 && !line.contains("attached") {
            line.clear();
        }
        assert!(line.contains("attached"), "{line}");
        // It says more while it runs.
        std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
        let agent = world.agent.as_ref().unwrap().id();
        until("all of the agent's threads are traced", || all_threads_are_traced(agent)).await;
        Self(child)
    }
}

/// strace attaches to the threads of a process one after the other.
fn all_threads_are_traced(id: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap().map(|thread| thread.unwrap().path());
    let mut states = threads.filter_map(|thread| fs::read_to_string(thread.join("status")).ok());
    states.all(|state| !state.contains("TracerPid:\t0\n"))
}

impl Drop for Breaker {
    fn drop(&mut self) {
        terminate(self.0.id());
        let _ = self.0.wait();
    }
}
