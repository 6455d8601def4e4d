//! The recipe: both runtimes accept it, and it starts the agent. The rules are those of GDK's
//! recipe schema (gdk/static/recipe_schema.json of aws-greengrass-gdk-cli 1.6), of the classic
//! nucleus's parser, and of nucleus lite 2.6 (docs/RECIPE_SUPPORT_CHANGES.md, modules/ggl-recipe
//! and modules/recipe-runner of aws-greengrass-lite).

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use crate::common::{seed::seed, *};

const COMPONENT: &str = "com.offboard.Agent";
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn recipe_text() -> String {
    let path = root().join(format!("recipe/{COMPONENT}-{VERSION}.yaml"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}; see artifacts/version", path.display()))
}

fn recipe() -> Value {
    serde_saphyr::from_str(&recipe_text()).unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn manifests(recipe: &Value) -> &Vec<Value> {
    recipe["Manifests"].as_array().unwrap()
}

fn defaults(recipe: &Value) -> &Value {
    &recipe["ComponentConfiguration"]["DefaultConfiguration"]
}

/// Every string below `value`, with its path.
fn strings(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| strings(item, path, found)),
        Value::Object(members) => members.iter().for_each(|(key, item)| strings(item, &format!("{path}/{key}"), found)),
        _ => {}
    }
}

/// Objects below `value`, and how deep they go.
fn measure(value: &Value) -> (usize, usize) {
    let below: Vec<(usize, usize)> = match value {
        Value::Array(items) => items.iter().map(measure).collect(),
        Value::Object(members) => members.values().map(measure).collect(),
        _ => return (1, 1),
    };
    (
        1 + below.iter().map(|(count, _)| count).sum::<usize>(),
        1 + below.iter().map(|(_, depth)| *depth).max().unwrap_or(0),
    )
}

#[test]
fn one_version_stands_everywhere() {
    let recipe = recipe();
    assert_eq!(recipe["ComponentName"], COMPONENT);
    assert_eq!(recipe["ComponentVersion"], VERSION);
    assert_eq!(fs::read_dir(root().join("recipe")).unwrap().count(), 1, "recipes of other versions");
    assert_eq!(fs::read_to_string(root().join("recipe.yaml")).unwrap(), recipe_text(), "what gdk looks for");
    let gdk: Value = serde_json::from_str(&fs::read_to_string(root().join("gdk-config.json")).unwrap()).unwrap();
    assert_eq!(gdk["component"][COMPONENT]["version"], VERSION);
    let printed = Command::new(root().join("artifacts/version")).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap().trim(), VERSION);
}

#[test]
fn gdk_takes_the_recipe() {
    let recipe = recipe();
    let top = ["RecipeFormatVersion", "ComponentName", "ComponentVersion", "Manifests"];
    let may = ["ComponentDescription", "ComponentPublisher", "ComponentConfiguration", "ComponentDependencies"];
    let found = keys(&recipe);
    assert!(top.iter().all(|key| found.contains(key)), "{found:?}");
    assert!(found.iter().all(|key| top.contains(key) || may.contains(key)), "the top level is closed: {found:?}");
    assert_eq!(recipe["RecipeFormatVersion"], "2020-01-25", "a string, or YAML takes it for a date");
    let name = recipe["ComponentName"].as_str().unwrap();
    assert!(name.len() <= 128 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
    assert!(recipe["ComponentVersion"].as_str().unwrap().len() <= 64);
    for (name, dependency) in recipe["ComponentDependencies"].as_object().unwrap() {
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
        assert_eq!(keys(dependency), ["DependencyType", "VersionRequirement"].into());
        assert!(["HARD", "SOFT"].contains(&dependency["DependencyType"].as_str().unwrap()));
        // HARD is BindsTo on lite: a crash of the server stops the agent for good.
        assert!(name != "aws.greengrass.TokenExchangeService" || dependency["DependencyType"] == "SOFT");
    }
    for manifest in manifests(&recipe) {
        // Of the classic parser, too: it refuses what it doesn't know on this level.
        assert_eq!(keys(manifest), ["Artifacts", "Lifecycle", "Platform"].into());
        for artifact in manifest["Artifacts"].as_array().unwrap() {
            assert_eq!(keys(artifact), ["Permission", "Uri"].into());
            for permission in ["Read", "Execute"] {
                let who =
                    artifact["Permission"][permission].as_str().expect("no boolean: the classic nucleus refuses it");
                assert!(["NONE", "OWNER", "ALL"].contains(&who));
            }
        }
        for step in ["install", "run"] {
            assert!(manifest["Lifecycle"][step]["Script"].is_string());
        }
    }
    let raw = recipe_text();
    for placeholder in ["{COMPONENT_NAME}", "{COMPONENT_VERSION}"] {
        assert!(!raw.contains(placeholder), "a custom build replaces none: {placeholder}");
    }
}

#[test]
fn nucleus_lite_takes_the_recipe() {
    let (raw, recipe) = (recipe_text(), recipe());
    assert!(raw.len() < 8_000, "{} bytes; lite reads 8195", raw.len());
    let (objects, depth) = measure(&recipe);
    assert!(objects <= 255 && depth <= 15, "{objects} objects, {depth} deep");
    let configuration = serde_json::to_string(&defaults(&recipe)["agent"]).unwrap();
    assert!(configuration.len() < 5_000, "it goes through messages of 10,000 bytes, with what a user adds");
    assert!(!configuration.contains("null"), "lite makes the text \"null\" of it");
    for line in raw.lines() {
        let bare = line.trim_start();
        assert!(!bare.starts_with('&') && !bare.contains(": *") && !bare.contains(": &"), "no anchors: {line}");
    }
    for (_, dependency) in recipe["ComponentDependencies"].as_object().unwrap() {
        assert!(dependency["DependencyType"].is_string(), "lite has no default");
        assert!(!dependency["VersionRequirement"].as_str().unwrap().contains("||"), "lite does not evaluate it");
    }
    let mut architectures = Vec::new();
    for manifest in manifests(&recipe) {
        let platform = &manifest["Platform"];
        assert_eq!(keys(platform), ["architecture", "os", "runtime"].into(), "without a runtime lite passes it over");
        assert_eq!((&platform["os"], &platform["runtime"]), (&json!("linux"), &json!("*")));
        architectures.push(platform["architecture"].as_str().unwrap());
        let lifecycle = &manifest["Lifecycle"];
        // `startup` would win over `run`; `shutdown` and others mean nothing to lite.
        assert_eq!(keys(lifecycle), ["Setenv", "install", "run"].into(), "in exactly this spelling");
        assert!(lifecycle["Setenv"].as_object().unwrap().values().all(Value::is_string));
        for (step, may) in [("install", &["RequiresPrivilege", "Script"][..]), ("run", &["Script"])] {
            let step = &lifecycle[step];
            assert_eq!(keys(step), may.iter().copied().collect());
            assert!(step["Script"].as_str().unwrap().len() <= 10_000);
        }
        assert!(lifecycle["run"]["Script"].as_str().unwrap().starts_with("exec "), "no shell in between");
    }
    assert!(raw.matches("RequiresPrivilege: true").count() == 3, "lite reads no other spelling of true");
    assert_eq!(architectures, ["aarch64", "arm", "amd64"], "one each: lite knows no alternatives");
}

/// The variables that both runtimes know, with what they stand for.
fn value_of(variable: &str, configuration: &Value, paths: &Paths) -> Option<String> {
    Some(match variable.split_once(':')? {
        ("work", "path") => paths.work.clone(),
        ("artifacts", "path") => paths.artifacts.clone(),
        ("configuration", pointer) => match configuration.pointer(pointer)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        _ => return None,
    })
}

struct Paths {
    work: String,
    artifacts: String,
}

/// `text` with its variables replaced, each value by way of `quote`. Every brace is a variable's,
/// as lite has it.
fn interpolate(text: &str, configuration: &Value, paths: &Paths, quote: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (variable, after) = after.split_once('}').unwrap_or_else(|| panic!("lite cuts the script here: {text}"));
        let value = value_of(variable, configuration, paths);
        out += before;
        out += &quote(&value.unwrap_or_else(|| panic!("a variable that one of the two doesn't know: {{{variable}}}")));
        rest = after;
    }
    out + rest
}

#[test]
fn every_brace_is_a_variable_that_both_know() {
    let recipe = recipe();
    let paths = Paths { work: "W".into(), artifacts: "A".into() };
    let mut found = Vec::new();
    strings(&recipe["Manifests"], "", &mut found);
    let variables: usize = found
        .iter()
        .map(|(_, text)| {
            let _ = interpolate(text, defaults(&recipe), &paths, str::to_owned);
            text.matches('{').count()
        })
        .sum();
    assert!(variables >= 3 * 4, "{variables}");
    // Neither replaces any elsewhere.
    let mut found = Vec::new();
    for part in ["ComponentConfiguration", "ComponentDependencies"] {
        strings(&recipe[part], part, &mut found);
    }
    found.retain(|(_, text)| text.contains('{'));
    assert!(found.is_empty(), "{found:?}");
}

/// As nucleus lite has read its YAML: every scalar is a string.
fn in_strings(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(in_strings).collect(),
        Value::Object(members) => members.iter().map(|(key, item)| (key.clone(), in_strings(item))).collect(),
        Value::String(text) => json!(text),
        scalar => json!(scalar.to_string()),
    }
}

/// The paths of all leaves.
fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, item) in members {
                leaves(item, &format!("{path}{}{key}", if path.is_empty() { "" } else { "." }), found);
            }
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn the_default_configuration_is_the_agents_own_and_whole() {
    let recipe = recipe();
    let agent = &defaults(&recipe)["agent"];
    let env = |name: &str| match name {
        "AWS_IOT_THING_NAME" => Some("MyCore".to_owned()),
        "AWS_REGION" => Some("eu-central-1".to_owned()),
        _ => None,
    };
    // But for its own text.
    let parse = |text: &str| {
        let (mut config, unknown) = offboard::config::parse(text, env).unwrap();
        config.shown = Value::Null;
        (config, unknown)
    };
    let (own, _) = parse("{}");
    for (runtime, text) in [("classic", agent.to_string()), ("lite", in_strings(agent).to_string())] {
        let (config, unknown) = parse(&text);
        assert!(unknown.is_empty(), "{runtime}: {unknown:?}");
        assert_eq!(format!("{config:?}"), format!("{own:?}"), "{runtime}");
    }
    // What the README documents is there to be changed, and nothing else is.
    let mut configured = BTreeSet::new();
    leaves(agent, "", &mut configured);
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("## Configuration").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut documented: BTreeSet<String> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next())
        .flat_map(|cell| cell.split('`').filter(|part| !part.trim().is_empty()).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    documented
        .extend(["siteWise.enabled", "cloud.siteWiseEndpoint", "cloud.siteWiseMonitorEndpoint"].map(String::from));
    assert_eq!(configured, documented);
}

#[test]
fn each_artifact_is_one_that_is_built() {
    let recipe = recipe();
    let build = fs::read_to_string(root().join("artifacts/build.sh")).unwrap();
    for manifest in manifests(&recipe) {
        let uri = manifest["Artifacts"][0]["Uri"].as_str().unwrap();
        let name = uri.strip_prefix("s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/").unwrap();
        let target = name.strip_prefix("offboard-").unwrap();
        assert!(build.contains(&format!("\n    {target}) echo ")), "artifacts/build.sh knows no {target}");
        let run = manifest["Lifecycle"]["run"]["Script"].as_str().unwrap();
        assert_eq!(run, format!("exec \"{{artifacts:path}}/{name}\" run"));
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Runtime {
    Classic,
    Lite,
}

/// What a runtime makes of a step: the script with its environment.
fn script(runtime: Runtime, manifest: &Value, step: &str, configuration: &Value, paths: &Paths) -> String {
    let single = |text: &str| text.replace('\'', r"'\''");
    let mut lines = String::new();
    for (name, value) in manifest["Lifecycle"]["Setenv"].as_object().unwrap() {
        let value = interpolate(value.as_str().unwrap(), configuration, paths, str::to_owned);
        lines += &format!("export {name}='{}'\n", single(&value));
    }
    let escape = |text: &str| match runtime {
        Runtime::Classic => text.to_owned(),
        Runtime::Lite => {
            text.chars().flat_map(|c| "\"\\$`".contains(c).then_some('\\').into_iter().chain([c])).collect()
        }
    };
    lines + &interpolate(manifest["Lifecycle"][step]["Script"].as_str().unwrap(), configuration, paths, escape)
}

/// A deployment on this machine: paths with a space in them, and a slash at their ends on lite.
fn deploy(runtime: Runtime, dir: &Path, binary: &str) -> Paths {
    let end = if runtime == Runtime::Lite { "/" } else { "" };
    let paths = ["the work", "the artifacts"].map(|name| dir.join(name));
    for path in &paths {
        fs::create_dir(path).unwrap();
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_offboard"), paths[1].join(binary)).unwrap();
    let [work, artifacts] = paths.map(|path| format!("{}{end}", path.display()));
    Paths { work, artifacts }
}

fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

#[tokio::test]
async fn either_runtime_installs_it_starts_it_and_stops_it() {
    for runtime in [Runtime::Classic, Runtime::Lite] {
        let mut world = World::new(10).await;
        let recipe = recipe();
        let manifest = &manifests(&recipe)[2];
        let paths = deploy(runtime, world.dir.path(), "offboard-amd64");
        let mut configuration = defaults(&recipe).clone();
        let mut ours = world.config.clone();
        ours.as_object_mut().unwrap().remove("dataDir");
        merge(&mut configuration["agent"], &ours);
        configuration["agent"]["mqtt"]["username"] = json!("it's $HOME `x` \"y\" \\z*");
        if runtime == Runtime::Lite {
            configuration = in_strings(&configuration);
        }
        let file = world.dir.path().join("run.sh");
        fs::write(&file, script(runtime, manifest, "run", &configuration, &paths)).unwrap();
        world.wrapper = vec!["sh".into(), file.display().to_string()];
        let client = world.client("bench").await;
        world.start_agent();
        client.status("it is in sync", |s| s["lastSyncAt"].is_string()).await;
        client.disassociate("t", &names(0..1));
        assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
        assert!(!world.log().contains("WARN"), "{runtime:?}: {}", world.log());
        assert!(PathBuf::from(&paths.work).join("store/db").exists(), "its data is in the work directory");
        // The process that the runtime started is the agent itself, so that a signal reaches it.
        let mut agent = world.agent.take().unwrap();
        terminate(agent.id());
        assert!(agent.wait().unwrap().success());
        client.status("it said goodbye", |s| s["state"] == "OFFLINE").await;
    }
}

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
