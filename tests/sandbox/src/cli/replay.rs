//! `offboard-sandbox replay`: shows what an agent decided and why, from the recording in a support
//! bundle.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

use clap::Args;
use offboard_ledger::ledger::replay::{Event, Outcome, Step, replay};
use serde_json::json;

/// Show what an agent decided and why, event by event, from the archive of `offboard support-bundle
/// --with-journal`, and name the places where the state does not follow from the journal and the
/// registry
///
/// The exit status is 1 if there is such a place. The archive is not changed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The archive, or a directory with its contents
    bundle: PathBuf,
    /// Show only groups whose changes, causes or faults contain this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Show the devices and the requests at the end in place of the events, as JSON
    #[arg(long)]
    outcome: bool,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<()> {
    // Opening a registry writes to its files, so that a copy is opened.
    let copy = tempfile::tempdir()?;
    if arguments.bundle.is_dir() {
        copy_directory(&arguments.bundle, copy.path())?;
    } else {
        unpack(&arguments.bundle, copy.path())?;
    }
    let mut printed = Ok(());
    let mut show = |text: &str| {
        if printed.is_ok() && !arguments.outcome {
            printed = io::stdout().write_all(text.as_bytes());
        }
    };
    let mut faults = Vec::new();
    let outcome = replay(copy.path(), &mut |event| {
        let text = described(&event);
        if let Event::Fault(fault) = event {
            faults.push(fault);
        }
        if arguments.only.as_ref().is_none_or(|only| text.contains(only.as_str())) {
            show(&text);
        }
    })
    .map_err(io::Error::other)?;
    let text = if arguments.outcome { of_outcome(&outcome, &faults) } else { summary(&outcome, &faults) };
    printed.and_then(|()| io::stdout().write_all(text.as_bytes())).or_else(|error| {
        // Nobody reads the rest.
        if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
    })?;
    match faults.len() {
        0 => Ok(()),
        count => Err(io::Error::other(format!("the state does not follow from the files in {count} places"))),
    }
}

/// Control characters of texts from the field must not reach the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn described(event: &Event) -> String {
    match event {
        Event::Mark(text) => format!("---- {}\n", clean(text)),
        Event::Fault(text) => format!("!!!! {}\n", clean(text)),
        Event::Step(Step { sequence, place, at, elapsed, causes, changes, repeated }) => {
            let at = at.map_or_else(|| format!("{elapsed} ms"), |at| at.to_string());
            let mut text = format!("#{sequence} {at} {place}: {}\n", causes.join(", "));
            for change in changes {
                let _ = writeln!(text, "    {}", clean(change));
            }
            if *repeated > 0 {
                let _ = writeln!(text, "    {repeated} objects logged again without a change");
            }
            text
        }
    }
}

fn summary(outcome: &Outcome, faults: &[String]) -> String {
    let Outcome { owner, groups, devices, requests, .. } = outcome;
    let mut text =
        format!("==== {}: {groups} groups, {} devices, {} requests\n", clean(owner), devices.len(), requests.len());
    if faults.is_empty() {
        text.push_str("==== the state follows from the journal and the registry\n");
    }
    for fault in faults {
        let _ = writeln!(text, "==== {}", clean(fault));
    }
    text
}

fn of_outcome(outcome: &Outcome, faults: &[String]) -> String {
    let devices =
        outcome.devices.iter().map(|(thing, state)| json!({"thingName": thing.as_str(), "state": state.as_str()}));
    let requests = outcome.requests.values().map(|request| {
        json!({"clientToken": request.token.as_str(), "requestedBy": request.client.to_string(),
            "operation": request.operation.as_str(), "status": request.tally.status().as_str()})
    });
    let all = json!({"owner": outcome.owner, "devices": devices.collect::<Vec<_>>(),
        "requests": requests.collect::<Vec<_>>(), "faults": faults});
    format!("{all}\n")
}

/// The part of a path in a bundle that belongs to the recording.
fn in_recording(path: &Path) -> Option<PathBuf> {
    let parts: Vec<&Path> = path.components().map(|part| Path::new(part.as_os_str())).collect();
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let begin = parts.iter().position(|part| [Path::new("journal"), Path::new("store")].contains(part))?;
    is_plain.then(|| parts[begin..].iter().collect())
}

fn unpack(bundle: &Path, to: &Path) -> io::Result<()> {
    let named = |error: io::Error| io::Error::other(format!("{}: {error}", bundle.display()));
    let mut archive = tar::Archive::new(File::open(bundle).map_err(named)?);
    let mut found = false;
    for entry in archive.entries().map_err(named)? {
        let mut entry = entry.map_err(named)?;
        let path = entry.path().map_err(named)?.into_owned();
        let kind = entry.header().entry_type();
        // An archive that somebody packed again may hold segments without their zeros.
        if !kind.is_file() && !kind.is_gnu_sparse() {
            continue;
        }
        let Some(path) = in_recording(&path) else { continue };
        found = true;
        let target = to.join(path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        io::copy(&mut entry, &mut File::create_new(target)?)?;
    }
    if found { Ok(()) } else { Err(named(io::Error::other("no recording is in it: make it with --with-journal"))) }
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    let root = [from.join("offboard-support"), from.to_path_buf()].into_iter().find(|dir| dir.join("journal").is_dir());
    let root = root.ok_or_else(|| io::Error::other(format!("{}: there is no directory journal", from.display())))?;
    for part in ["journal", "store"] {
        copy_below(&root.join(part), &to.join(part))?;
    }
    Ok(())
}

fn copy_below(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_below(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
