//! Manual pages and shell completions, generated from the definition of the command line.

use std::{fs, path::Path};

use clap::CommandFactory;
use clap_complete::Shell;

use super::Arguments;

/// The generated files, by their names below `docs/`.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut command = Arguments::command();
    command.build();
    let mut pages = Vec::new();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "offboard", &mut text);
        pages.push((format!("completions/offboard.{shell}"), text));
    }
    let all = std::iter::once(("offboard".to_owned(), command.clone())).chain(
        command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
            .map(|sub| (format!("offboard-{}", sub.get_name()), sub.clone())),
    );
    for (name, command) in all {
        let mut text = Vec::new();
        // Without the version, so that the page does not change at each release.
        clap_mangen::Man::new(command.version("")).title(name.clone()).render(&mut text).unwrap();
        pages.push((format!("man/{name}.1"), text));
    }
    pages
}

#[test]
fn manuals_and_completions_are_current() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let write = std::env::var_os("OFFBOARD_WRITE_DOCS").is_some();
    for (name, text) in pages() {
        let path = docs.join(&name);
        if write {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        assert!(found == text, "docs/{name} is out of date: OFFBOARD_WRITE_DOCS=1 cargo test --lib manuals");
    }
}
