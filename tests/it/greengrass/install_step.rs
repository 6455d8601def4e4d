//! The install step: it copies the authority of the broker as root, and gives nobody the privileges
//! of root.

use super::*;

/// The shells that gateways have as `sh`; the last one with BusyBox's own tools.
const SHELLS: [&str; 3] = ["dash", "bash", "busybox"];

/// The user that a component runs as, in these tests: `nobody`.
const COMPONENT_USER: u32 = 65534;

/// Longest time that an install step may take on a busy machine. A step that waits for another user
/// takes for ever.
const INSTALL: &str = "20";

/// A line that must never leave the file that it is in.
const SECRET: &str = "SECRETsecretSECRETsecretSECRETsecretSECRETsecret";

/// A certificate in PEM form with its authority's name in it.
fn certificate(name: &str) -> String {
    tls::authority(name).pem().replace("\r\n", "\n")
}

/// A component on this machine whose work directory belongs to another user, as on both runtimes.
struct Component {
    dir: tempfile::TempDir,
    recipe: Value,
    /// Where BusyBox's tools are under their own names.
    tools: PathBuf,
}

impl Component {
    fn new() -> Self {
        assert!(is_root(), "the install step runs as root: sudo tests/run --test it greengrass::");
        let dir = tempfile::tempdir().unwrap();
        // Other users may pass through, so that what protects a file is what the step does.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["work", "artifacts", "etc", "etc/closed", "trap", "tools"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        chown(dir.path().join("work"), Some(COMPONENT_USER), Some(COMPONENT_USER)).unwrap();
        // As the nucleus keeps it: only root can read it.
        fs::set_permissions(dir.path().join("etc/closed"), fs::Permissions::from_mode(0o700)).unwrap();
        let tools = dir.path().join("tools");
        let install = Command::new("busybox").args(["--install", "-s"]).arg(&tools).status();
        assert!(install.expect("busybox is not installed: run tests/run").success());
        Self { dir, recipe: recipe(), tools }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn paths(&self, runtime: Runtime) -> Paths {
        let end = if runtime == Runtime::Lite { "/" } else { "" };
        let of = |name: &str| format!("{}{end}", self.path(name).display());
        Paths { work: of("work"), artifacts: of("artifacts") }
    }

    fn copy(&self) -> PathBuf {
        self.path("artifacts/broker-ca.pem")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A command that runs the install step of one of the manifests for that `brokerCaFile`.
    fn step(&self, runtime: Runtime, manifest: usize, shell: &str, ca: &str) -> Command {
        let configuration = json!({"brokerCaFile": ca, "agent": {}});
        let manifest = &manifests(&self.recipe)[manifest];
        let script = script(runtime, manifest, "install", &configuration, &self.paths(runtime));
        // BusyBox's shell calls BusyBox's own tools. A nucleus may have any umask.
        let script = match shell {
            "busybox" => format!("PATH='{}'\numask 0\n{script}", self.tools.display()),
            _ => format!("umask 077\n{script}"),
        };
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", INSTALL, shell]);
        command.args((shell == "busybox").then_some("sh")).args(["-c", &script]).current_dir(self.path("work"));
        command
    }

    /// Runs the step; what it said.
    #[track_caller]
    fn install(&self, runtime: Runtime, manifest: usize, shell: &str, ca: &str) -> String {
        let run = self.step(runtime, manifest, shell, ca).output().unwrap();
        assert!(run.status.success(), "{runtime:?} {shell} {ca}: {run:?}");
        String::from_utf8(run.stdout).unwrap()
    }

    /// Every way in which the step can be run: with each runtime, shell and manifest.
    fn ways() -> impl Iterator<Item = (Runtime, usize, &'static str)> {
        let with_shell = |runtime| SHELLS.into_iter().enumerate().map(move |(n, shell)| (runtime, n, shell));
        [Runtime::Classic, Runtime::Lite].into_iter().flat_map(with_shell)
    }

    /// Fails if root has made anything in the work directory, or if a secret is in it or in the
    /// copy.
    #[track_caller]
    fn nothing_is_given_away(&self, when: &str) {
        let output = Command::new("find")
            .arg(self.path("work"))
            .args(["!", "-user", &COMPONENT_USER.to_string()])
            .output()
            .unwrap();
        let made = String::from_utf8_lossy(&output.stdout);
        assert!(made.is_empty() && output.status.success(), "{when}: root made {made}");
        assert!(
            !fs::read_to_string(self.copy()).unwrap_or_default().contains(SECRET),
            "{when}: a secret left its file"
        );
        assert_eq!(fs::read_dir(self.path("trap")).unwrap().count(), 0, "{when}: root wrote where a link leads");
    }
}

#[test]
fn the_install_step_copies_the_brokers_ca_where_only_root_may_write_and_never_fails() {
    let [first, second] = ["first", "second"].map(certificate);
    for (runtime, manifest, shell) in Component::ways() {
        let component = Component::new();
        let install = |ca: &str| component.install(runtime, manifest, shell, ca);
        let name = r#"etc/closed/-ca of the "$broker" $(touch trap) `it`.pem"#;
        // Nucleus lite 2.6.0 takes no single quote in a configuration, whatever the recipe does.
        let name = if runtime == Runtime::Lite { name.to_owned() } else { format!("{name}'s") };
        let source = component.path(&name);
        let source_name = source.to_str().unwrap();
        assert_eq!(install(""), "");
        assert!(!component.copy().exists());
        assert!(install(source_name).contains("was not copied"), "there is none yet, and that is said");
        // Again at each start of the nucleus, since the authority may have changed. The classic
        // nucleus has meanwhile given the copy to the component's user.
        for text in [first.clone(), format!("{second}{first}")] {
            fs::write(&source, &text).unwrap();
            fs::set_permissions(&source, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(install(source_name), "", "{runtime:?} {shell}");
            assert_eq!(fs::read_to_string(component.copy()).unwrap(), text, "{runtime:?} {shell}");
            let metadata = fs::metadata(component.copy()).unwrap();
            assert_eq!(
                (metadata.mode() & 0o7777, metadata.uid()),
                (0o644, 0),
                "every user may read it, root alone write"
            );
            chown(component.copy(), Some(COMPONENT_USER), None).unwrap();
        }
        // Nothing but certificates leaves the file, however they are written.
        let key = format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n");
        let text =
            format!("{SECRET}\n{key}{first}subject={SECRET}\n{key}{second}{key}-----BEGIN CERTIFICATE-----\n{key}");
        fs::write(&source, text.replace('\n', "\r\n")).unwrap();
        assert_eq!(install(source_name), "");
        assert_eq!(fs::read_to_string(component.copy()).unwrap(), format!("{first}{second}"), "{runtime:?} {shell}");
        // What is no longer configured is no longer there.
        assert_eq!(install(""), "");
        assert!(!component.copy().exists());
        component.nothing_is_given_away(shell);
    }
}

#[test]
fn the_install_step_refuses_what_is_no_certificate_file_of_root() {
    for (runtime, manifest, shell) in Component::ways() {
        let component = Component::new();
        let good = certificate("good");
        let in_work = |name: &str| component.path(&format!("work/{name}"));
        let own = |path: &Path| chown(path, Some(COMPONENT_USER), Some(COMPONENT_USER)).unwrap();
        let pipe = |path: PathBuf| {
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        let link = |to: &Path, name: &str| {
            let path = component.path(name);
            std::os::unix::fs::symlink(to, &path).unwrap();
            path
        };
        let target = component.write("etc/good.pem", &good);
        let shadow = component.write("etc/closed/shadow", format!("{SECRET}\n"));
        let unended = format!("-----BEGIN CERTIFICATE-----\n{SECRET}\n");
        let mixed = format!("{unended}-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END CERTIFICATE-----\n");
        let socket = component.path("etc/socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let huge = component.write("etc/huge.pem", &good);
        fs::File::options().write(true).open(&huge).unwrap().set_len(1 << 40).unwrap();
        let mut sources = vec![
            component.path("etc/none.pem"),
            component.path("none/ca.pem"),
            component.path("etc"),
            component.write("etc/empty.pem", ""),
            component.write("etc/unended.pem", &unended),
            component.write("etc/mixed.pem", &mixed),
            link(&target, "etc/link.pem"),
            link(&component.path("etc/none.pem"), "etc/dangling.pem"),
            pipe(component.path("etc/pipe.pem")),
            socket,
            huge,
            shadow.clone(),
            "/dev/zero".into(),
            "/proc/kmsg".into(),
            "/proc/self/mem".into(),
            "ca.pem".into(),
            "-n".into(),
            "-exec".into(),
            "/".into(),
            "/..".into(),
        ];
        // What the component's user can exchange at any time is refused whatever it is now.
        for (source, text) in [("ca.pem", &good), ("-n", &good), ("hole.pem", &String::new())] {
            own(&component.write(&format!("work/{source}"), text));
            sources.push(in_work(source));
        }
        std::os::unix::fs::symlink(&shadow, in_work("to-shadow.pem")).unwrap();
        std::os::unix::fs::symlink(component.path("etc/closed"), in_work("to-closed")).unwrap();
        std::os::unix::fs::lchown(in_work("to-shadow.pem"), Some(COMPONENT_USER), None).unwrap();
        std::os::unix::fs::lchown(in_work("to-closed"), Some(COMPONENT_USER), None).unwrap();
        fs::hard_link(&shadow, component.path("etc/hard-link.pem")).unwrap();
        own(&pipe(in_work("pipe.pem")));
        sources.extend([in_work("to-shadow.pem"), in_work("to-closed/shadow"), in_work("pipe.pem")]);
        sources.push(component.path("etc/hard-link.pem"));
        // Directories of root that others may write to, at the end of the path and within it.
        for (directory, mode) in [("open", 0o777), ("group", 0o775), ("sticky", 0o1777)] {
            fs::create_dir_all(component.path(&format!("{directory}/in"))).unwrap();
            fs::set_permissions(component.path(directory), fs::Permissions::from_mode(mode)).unwrap();
            sources.push(component.write(&format!("{directory}/ca.pem"), &good));
            if mode & 0o1000 == 0 {
                sources.push(component.write(&format!("{directory}/in/ca.pem"), &good));
            }
        }
        // A name that the shell cuts at its line break leads elsewhere, to what root has made.
        fs::create_dir(component.path("etc/x\n")).unwrap();
        own(&component.path("etc/x\n"));
        own(&component.write("etc/x\n/ca.pem", &good));
        sources.push(component.path("etc/x\n/ca.pem"));
        for source in sources {
            fs::write(component.copy(), "of an earlier step").unwrap();
            let said = component.install(runtime, manifest, shell, source.to_str().unwrap());
            let when = format!("{runtime:?} {shell} {}: {said}", source.display());
            assert!(said.starts_with("brokerCaFile ") && said.contains(" was not copied: "), "{when}");
            assert!(!component.copy().exists(), "{when}: an authority that is no longer named is no longer trusted");
            component_has_only(&component, &["pipe.pem", "ca.pem", "-n", "hole.pem", "to-shadow.pem", "to-closed"]);
            assert!(!said.contains(SECRET), "{when}");
        }
        // What stands in the copy's place and cannot be removed.
        fs::create_dir_all(component.copy().join("full")).unwrap();
        assert!(component.install(runtime, manifest, shell, target.to_str().unwrap()).contains("cannot be replaced"));
        assert_eq!(fs::read_dir(component.copy()).unwrap().count(), 1);
        fs::remove_dir_all(component.copy()).unwrap();
        // A directory in which each user may change what is its own is no danger above one of
        // root's.
        let below = component.write("sticky/in/ca.pem", &good);
        assert_eq!(component.install(runtime, manifest, shell, below.to_str().unwrap()), "");
        assert_eq!(fs::read_to_string(component.copy()).unwrap(), good);
    }
}

/// Fails if the work directory holds anything else, or anything of root's.
#[track_caller]
fn component_has_only(component: &Component, names: &[&str]) {
    let found = fs::read_dir(component.path("work")).unwrap().map(|entry| entry.unwrap().file_name());
    let found: BTreeSet<String> = found.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(found, names.iter().copied().map(String::from).collect());
    component.nothing_is_given_away("a source");
}

#[test]
fn the_install_step_takes_no_half_file_for_a_whole_one() {
    let certificates: String = (0..40).map(|n| certificate(&format!("authority {n}"))).collect();
    for (runtime, manifest, shell) in Component::ways() {
        let component = Component::new();
        let source = component.write("etc/closed/ca.pem", &certificates);
        let step = component.step(runtime, manifest, shell, source.to_str().unwrap());
        let on_a_disk_of = |kibibytes: u32| {
            // A file system of that size in the place of the artifacts, seen by the step alone.
            let script = format!(
                "mount -t tmpfs -o size={kibibytes}k,mode=0755 tmpfs {0} && \"$@\"; cat {0}/broker-ca.pem 2>/dev/null",
                component.path("artifacts").display()
            );
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", &script, "sh"]);
            command.arg(step.get_program()).args(step.get_args()).current_dir(component.path("work"));
            let output = command.output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let said = on_a_disk_of(8);
        assert!(said.contains("was not copied"), "{runtime:?} {shell}: {said}");
        assert!(!said.contains("BEGIN CERTIFICATE"), "{runtime:?} {shell}: {said}");
        assert_eq!(on_a_disk_of(100), certificates, "{runtime:?} {shell}");
    }
}

/// What the component's user does while the step runs: names in its directory, and the source where
/// it can, are exchanged all the time for files, directories, links and pipes.
const RACER: &str = r#"
import itertools, os, random, shutil, sys, time
user, work, victim, trap, secret, closed, good, seed = sys.argv[1:]
random.seed(int(seed))
# Not by setpriv: that user may have no way to the interpreter.
os.setgroups([])
os.setresgid(*[int(user)] * 3)
os.setresuid(*[int(user)] * 3)
os.chdir(work)
def clear(name):
    old = name + ".old"
    try:
        os.rename(name, old)
    except OSError:
        return
    try:
        os.unlink(old)
    except OSError:
        os.chmod(old, 0o700)
        shutil.rmtree(old)
def directory(name):
    os.mkdir(name)
    for member in ["ca.pem", "broker-ca.pem", "broker-ca.pem.new"]:
        os.symlink(victim, name + "/" + member)
def file(name):
    with open(name, "w") as out:
        out.write(open(good).read())
kinds = [
    directory,
    directory,
    file,
    lambda name: os.symlink(victim, name),
    lambda name: os.symlink(secret, name),
    lambda name: os.symlink(trap, name),
    lambda name: os.symlink(trap + "/made-by-root", name),
    lambda name: os.symlink(closed, name),
    os.mkfifo,
    lambda name: None,
]
for n in itertools.count():
    for name in ["broker-ca.pem", "broker-ca.pem.new", "source", "source.pem"]:
        clear(name)
        try:
            random.choice(kinds)(name)
        except OSError:
            pass
    if n == 0:
        print("ready", flush=True)
    # At once, or so late that a command of the step finds what the one before it has found.
    time.sleep(random.choice([0, 0.001, 0.004]))
"#;

/// Ended when the test is.
struct Racer(std::process::Child);

impl Racer {
    /// Runs `look` while nothing moves.
    fn held<R>(&self, look: impl FnOnce() -> R) -> R {
        signal("STOP", self.0.id());
        while !fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap().contains(") T ") {
            std::thread::yield_now();
        }
        let seen = look();
        signal("CONT", self.0.id());
        seen
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nothing_that_the_components_user_does_while_the_install_step_runs_gives_root_away() {
    const ROUNDS: usize = 500;
    let component = Component::new();
    let victim = component.write("etc/victim", "untouched");
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    let good = component.write("etc/good.pem", certificate("of the user"));
    let brokers = certificate("of the broker");
    let key = format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n");
    // What the links of the racer lead to: under the names that it uses, too.
    for name in ["ca.pem", "source.pem", "secret"] {
        component.write(&format!("etc/closed/{name}"), format!("{key}{brokers}"));
    }
    let identity = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.ino(), metadata.mode(), metadata.uid(), metadata.mtime_nsec(), metadata.ctime_nsec())
    };
    let before = identity(&victim);
    let mut racer = Command::new("python3")
        .args(["-c", RACER, &COMPONENT_USER.to_string()])
        .args([component.path("work"), victim.clone(), component.path("trap")])
        .args([component.path("etc/closed/secret"), component.path("etc/closed"), good])
        .arg(seed().to_string())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(racer.stdout.take().unwrap()), &mut ready).unwrap();
    let mut racer = Racer(racer);
    assert_eq!(ready, "ready\n");
    // The broker's own, and what the user made of the configuration: sources that it can exchange.
    let sources = ["etc/closed/ca.pem", "work/source.pem", "work/source/ca.pem", "work/source/source.pem"];
    let ways: Vec<_> = Component::ways().collect();
    for round in 0..ROUNDS {
        let (runtime, manifest, shell) = ways[round % ways.len()];
        let source = sources[round / ways.len() % sources.len()];
        let said = component.install(runtime, manifest, shell, component.path(source).to_str().unwrap());
        let when = format!("round {round}, {runtime:?} {shell} {source}: {said}");
        assert_eq!((fs::read_to_string(&victim).unwrap().as_str(), identity(&victim)), ("untouched", before), "{when}");
        racer.held(|| component.nothing_is_given_away(&when));
        if source == sources[0] {
            assert_eq!(said, "", "{when}");
            assert_eq!(fs::read_to_string(component.copy()).unwrap(), brokers, "{when}");
            // As the classic nucleus does.
            chown(component.copy(), Some(COMPONENT_USER), None).unwrap();
        } else if component.copy().exists() {
            // Where the user led the step to the file of root: its certificates are all that it
            // gives away.
            assert_eq!(fs::read_to_string(component.copy()).unwrap(), brokers, "{when}");
        } else {
            assert!(said.contains("was not copied"), "{when}");
        }
    }
    assert!(racer.0.try_wait().unwrap().is_none(), "it raced until the end");
}

/// What the install step leaves is what the run step trusts, without a key of the configuration.
#[tokio::test]
async fn the_agent_trusts_the_copy_of_the_brokers_authority() {
    for runtime in [Runtime::Classic, Runtime::Lite] {
        let (mut world, ..) = tls::with_mutual_tls("", Vec::new()).await;
        let recipe = recipe();
        let manifest = &manifests(&recipe)[2];
        let paths = deploy(runtime, world.dir.path(), "offboard-amd64");
        let mut ours = world.config.clone();
        ours.as_object_mut().unwrap().remove("dataDir");
        ours["mqtt"].as_object_mut().unwrap().remove("caFile");
        let mut configuration = defaults(&recipe).clone();
        merge(&mut configuration["agent"], &ours);
        // A reader of the configuration is not shown a password, be it empty, and cannot use
        // what is in its place.
        configuration["agent"]["mqtt"].as_object_mut().unwrap().remove("password");
        configuration["brokerCaFile"] = json!(world.dir.path().join("ca.pem"));
        if runtime == Runtime::Lite {
            configuration = in_strings(&configuration);
        }
        let install = script(runtime, manifest, "install", &configuration, &paths);
        let output = Command::new("sh").args(["-c", &install]).output().unwrap();
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        let file = world.dir.path().join("run.sh");
        fs::write(&file, script(runtime, manifest, "run", &configuration, &paths)).unwrap();
        world.wrapper = vec!["sh".into(), file.display().to_string()];
        let client = world.client("bench").await;
        world.start_agent();
        client.status("the agent trusts the broker", |s| s["state"] == "ONLINE").await;
        // A reader of the configuration is shown which file that is.
        let output = Command::new(env!("CARGO_BIN_EXE_offboard"))
            .args(["check", "--output", "json", "--data-dir", &paths.work])
            .env_clear()
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let certificates = report["checks"].as_array().unwrap().iter().find(|one| one["check"] == "certificates");
        let certificates = &certificates.unwrap()["message"];
        assert!(certificates.as_str().unwrap().starts_with("4 checked"), "{certificates}");
        world.kill();
    }
}
