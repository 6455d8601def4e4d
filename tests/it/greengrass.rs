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

mod install_step;

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
