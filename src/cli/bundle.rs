//! `offboard support-bundle`: one archive with what a supporter needs, without secrets.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    agent::{Agent, Common},
    check::Check,
    failure::{Failure, read},
    query::pages,
    recording::Recording,
    show::print,
    text::escaped,
};
use crate::domain::operations::requests::{HISTORY, STATE, TARGET_CLIENT, TARGET_TOKEN, TARGET_VIA, THING_IN_QUESTION};
use crate::{
    domain::DeviceState,
    protocol::{
        messages::{DeviceMessage, RequestMessage},
        metrics::exposition,
    },
    runtime::clock::Clock,
};

/// Maximum number of requests (the latest), and of devices of each state (the first by name), in
/// the archive.
const ROWS: usize = 100;

#[derive(Debug, Args)]
pub(super) struct SupportBundle {
    /// The archive to write; an existing file is not overwritten.
    #[arg(long, value_name = "FILE", default_value = "offboard-support.tar")]
    file: PathBuf,

    /// Add copies of the journal and the registry: all requests and devices with their history,
    /// tokens and reasons, also what was forgotten lately
    #[arg(long)]
    with_journal: bool,

    #[command(flatten)]
    check: Check,
}

impl SupportBundle {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        common.only_here("support-bundle")?;
        // This comes first, since the parts of the archive may take a minute.
        if self.file.symlink_metadata().is_ok() {
            return Err(self.failed(&ErrorKind::AlreadyExists.into()));
        }
        let mut parts = vec![("version.txt", format!("offboard {}\n{}\n", crate::VERSION, system()).into_bytes())];
        let check = self.check.report(common).await;
        parts.push(("check.json", pretty(check)));
        match common.connect_here().await {
            Ok(mut agent) => parts.extend(ask(&mut agent).await),
            Err(failure) => parts.push(("no-agent.txt", format!("{failure}\n").into_bytes())),
        }
        let failed = |error| self.failed(&error);
        let mut recording = None;
        if self.with_journal {
            // In a data directory whose store is damaged the rest of the bundle matters, too.
            let about = match Recording::make(&common.directory()?, &self.file) {
                Ok(made) => recording.insert(made).about.clone(),
                Err(error) => format!("there is no recording: {error}\n"),
            };
            parts.push(("recording.txt", about.into_bytes()));
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file).map_err(failed)?;
        archive(file, &parts, recording.as_ref()).map_err(failed)?;
        let mut names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        names.extend(recording.iter().flat_map(|_| ["journal", "store"]));
        print(&format!(
            "{}: {}; read it before you pass it on: it names devices and clients\n",
            self.file.display(),
            names.join(", ")
        ))
    }

    /// The failure to write the archive.
    fn failed(&self, error: &io::Error) -> Failure {
        let file = self.file.display();
        Failure::Failed(match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{file} exists already, and is not overwritten; remove it, or name another file with --file")
            }
            _ => format!("{file}: {error}"),
        })
    }
}

/// A part of the archive, or the error that prevented it: an agent that needs support may answer
/// only some questions.
fn pretty(part: Result<Value, Failure>) -> Vec<u8> {
    let part = part.unwrap_or_else(|failure| json!({"error": failure.to_string()}));
    format!("{}\n", escaped(&format!("{part:#}"))).into_bytes()
}

fn system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::ARCH, release.trim())
}

/// The agent's configuration, status and metrics, its latest requests, and the devices that are not
/// plainly associated.
async fn ask(agent: &mut Agent) -> Vec<(&'static str, Vec<u8>)> {
    let metrics = agent.query_as("metrics", json!({})).await;
    vec![
        ("configuration.json", pretty(agent.query("configuration", json!({})).await)),
        ("status.json", pretty(agent.query("status", json!({})).await)),
        ("metrics.prom", metrics.map(|metrics| exposition(&metrics)).unwrap_or_default().into_bytes()),
        ("requests.json", pretty(requests(agent).await)),
        ("devices.json", pretty(devices(agent).await)),
    ]
}

async fn requests(agent: &mut Agent) -> Result<Value, Failure> {
    let (_, mut requests) = pages(agent, "list-requests", json!({}), ROWS, "/requests").await?;
    for shown in &mut requests {
        let Ok(request) = read::<RequestMessage>("request", shown) else { continue };
        let mut question =
            json!({(TARGET_TOKEN.name): request.client_token, (TARGET_CLIENT.name): request.requested_by});
        // An older agent rejects this member.
        if let Some(via) = request.via {
            question[TARGET_VIA.name] = json!(via);
        }
        // The agent may have deleted the request since it listed it.
        let Ok(mut answer) = agent.query("get-request", question).await else { continue };
        add(shown, "errorEntries", answer.pointer_mut("/request/errorEntries"));
    }
    Ok(Value::Array(requests))
}

async fn devices(agent: &mut Agent) -> Result<Value, Failure> {
    let mut devices = Vec::new();
    for state in DeviceState::ALL.iter().filter(|state| **state != DeviceState::Associated) {
        let (_, some) = pages(agent, "list-devices", json!({(STATE.name): state.as_str()}), ROWS, "/devices").await?;
        for mut shown in some {
            if let Ok(device) = read::<DeviceMessage>("device", &shown) {
                let question = json!({(THING_IN_QUESTION.name): device.thing_name, (HISTORY.name): true});
                if let Ok(mut answer) = agent.query("get-device", question).await {
                    add(&mut shown, "history", answer.pointer_mut("/history"));
                }
            }
            devices.push(shown);
        }
    }
    Ok(Value::Array(devices))
}

/// Adds a part of another answer to an object. Both stay as the agent sent them.
fn add(object: &mut Value, member: &str, part: Option<&mut Value>) {
    if let (Value::Object(members), Some(part)) = (object, part) {
        members.insert(member.into(), part.take());
    }
}

fn archive(file: impl Write, parts: &[(&str, Vec<u8>)], recording: Option<&Recording>) -> io::Result<()> {
    let now = u64::try_from(Clock::start().now().wall.0 / 1000).unwrap_or_default();
    let mut archive = tar::Builder::new(file);
    let header = |size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(now);
        header
    };
    for (name, bytes) in parts {
        let mut header = header(bytes.len() as u64);
        archive.append_data(&mut header, format!("offboard-support/{name}"), bytes.as_slice())?;
    }
    for (recording, name) in recording.iter().flat_map(|one| one.files.iter().map(move |name| (one, name))) {
        let file = File::open(recording.path(name))?;
        let mut header = header(file.metadata()?.len());
        archive.append_data(&mut header, PathBuf::from("offboard-support").join(name), file)?;
    }
    archive.finish()
}
