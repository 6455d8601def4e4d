//! The check before a release is stricter than CI: it fails where CI accepts that there is no
//! network.

use std::{fs, path::Path, process::Command};

use crate::common::install_program;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn git(dir: &Path, words: &[&str]) {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=test", "-c", "user.email=test@example.com", "-C"]).arg(dir).args(words);
    let run = git.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// A commit with that heading in its changelog, and a tool that fails at `fails`; what the check
/// says of it.
fn checked(heading: &str, fails: &str, dirty: bool) -> (Option<i32>, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree = tempfile::tempdir().unwrap();
    let dir = tree.path();
    fs::create_dir_all(dir.join("target/tools/bin")).unwrap();
    fs::create_dir(dir.join("artifacts")).unwrap();
    for name in ["artifacts/release-check", "artifacts/version", "Cargo.toml", ".gitignore"] {
        install_program(&root.join(name), &dir.join(name));
    }
    fs::write(dir.join("CHANGELOG.md"), format!("# Changelog\n\n{heading}\n\nWhat changed.\n")).unwrap();
    let tool = dir.join("target/tools/bin/cargo-deny");
    let text = dir.join("target/cargo-deny.sh");
    fs::write(&text, format!("#!/bin/sh\ncase \"$*\" in *\"{fails}\"*) exit 1 ;; esac\n")).unwrap();
    install_program(&text, &tool);
    git(dir, &["init", "--quiet"]);
    git(dir, &["add", "--all"]);
    git(dir, &["commit", "--quiet", "--message", "all"]);
    if dirty {
        fs::write(dir.join("stray"), "").unwrap();
    }
    let run = Command::new(dir.join("artifacts/release-check")).output().unwrap();
    (run.status.code(), format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr)))
}

#[test]
fn a_release_needs_a_clean_tree_a_changelog_and_the_advisories() {
    let heading = format!("## {VERSION} (2026-11-28)");
    let (status, text) = checked(&heading, "(nothing fails)", false);
    assert_eq!(status, Some(0), "{text}");
    for (heading, fails, dirty, says) in [
        (&*heading, "fetch db", false, "the advisory database cannot be fetched"),
        (&*heading, "check advisories", false, "the supply chain"),
        (&*heading, "(nothing fails)", true, "the working tree has changes"),
        ("## Unreleased", "(nothing fails)", false, "CHANGELOG.md has no heading"),
    ] {
        let (status, text) = checked(heading, fails, dirty);
        assert!(status == Some(1) && text.contains(says) && text.matches("no release:").count() == 1, "{text}");
    }
}
