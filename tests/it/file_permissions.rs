//! No other user of the machine can read what the agent stores, whatever its umask.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::common::{
    sample::{PAGE, flip, used},
    *,
};

/// Every file and directory from `path` down, with its mode.
fn modes(path: &Path) -> Vec<(PathBuf, bool, u32)> {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mut found = vec![(path.to_path_buf(), metadata.is_dir(), metadata.permissions().mode() & 0o7777)];
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(modes(&entry.unwrap().path()));
        }
    }
    found
}

fn has(found: &[(PathBuf, bool, u32)], start: &str) -> bool {
    found.iter().any(|(path, ..)| path.file_name().unwrap().to_string_lossy().starts_with(start))
}

async fn all_is_private_under(umask: &str) {
    let mut world = World::new(150).await;
    // A directory above the data directory that the agent makes, too.
    let above = world.dir.path().join("above");
    let data = above.join("data");
    world.set("dataDir", json!(data));
    let client = world.client("bench").await;
    let under_umask = ["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"].map(str::to_owned).to_vec();
    let start = |world: &mut World| {
        world.wrapper.clone_from(&under_umask);
        world.start_agent();
        // It has become the agent.
        world.wrapper.clear();
    };
    start(&mut world);
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    client.disassociate("first", &names(0..120));
    assert_eq!(client.result("first", "completed").await["status"], "SUCCEEDED");
    // Openings write snapshots, a clean one and one after a kill.
    world.stop_agent();
    start(&mut world);
    client.disassociate("second", &names(120..130));
    client.result("second", "completed").await;
    world.kill();
    start(&mut world);
    client.disassociate("third", &names(130..140));
    client.result("third", "completed").await;
    world.kill();
    let found = modes(&above);
    for kind in ["lock", "segment-", "db", "conf", "snap."] {
        assert!(has(&found, kind), "there is no {kind} to look at: {found:?}");
    }
    // All rows are lost: the registry is quarantined and a new one made. A damaged group of the
    // journal makes a copy of it.
    for (path, ..) in
        found.iter().filter(|(path, is_directory, _)| !is_directory && path.starts_with(data.join("journal")))
    {
        let (pages, header) = (used(path) / PAGE, 2);
        (header..pages.saturating_sub(1)).for_each(|page| flip(path, page * PAGE + 100, 1));
    }
    for (path, is_directory, _) in found {
        if !is_directory && path.starts_with(data.join("store")) && !path.ends_with("conf") {
            fs::remove_file(path).unwrap();
        }
    }
    start(&mut world);
    client.disassociate("fourth", &names(140..150));
    client.result("fourth", "completed").await;
    let found = modes(&above);
    assert!(has(&found, "store.damaged-") && has(&found, "journal.damaged-"), "{found:?}");
    let open = found.iter().filter(|(_, is_directory, mode)| *mode != if *is_directory { 0o700 } else { 0o600 });
    let open: Vec<String> = open.map(|(path, _, mode)| format!("{mode:o} {}", path.display())).collect();
    assert!(open.is_empty(), "{open:#?}");
}

#[tokio::test]
async fn everything_that_is_kept_is_for_the_agents_user_alone_without_a_umask() {
    all_is_private_under("0").await;
}

#[tokio::test]
async fn everything_that_is_kept_is_for_the_agents_user_alone_with_the_usual_umask() {
    all_is_private_under("022").await;
}
