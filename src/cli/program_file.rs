//! Warns root of a program file that another user can exchange: that user decides what root runs.
//!
//! Both Greengrass runtimes give a component's artifacts to the user that the component runs as. An
//! attacker in control of such a component could exchange the binary and wait until an operator
//! runs it with `sudo`.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Mode bits that let the group or all others write.
const SHARED: u32 = 0o022;

/// A file or directory, with the properties that determine who can exchange it.
struct Node {
    path: PathBuf,
    uid: u32,
    mode: u32,
}

/// Prints a warning on standard error if this process runs as root and another user can exchange
/// its program file.
pub(super) fn warn() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // A file that no longer exists cannot be exchanged either.
    let Ok(nodes) = std::env::current_exe().and_then(|file| nodes(&file)) else { return };
    if let Some(warning) = warning(&nodes) {
        eprintln!("{warning}");
    }
}

/// The file and each directory above it. `file` is absolute and contains no symbolic link.
fn nodes(file: &Path) -> io::Result<Vec<Node>> {
    let node = |path: &Path| {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Node { path: path.to_path_buf(), uid: metadata.uid(), mode: metadata.mode() & 0o7777 })
    };
    file.ancestors().map(node).collect()
}

/// The warning for root about the program file, the first of `nodes`; `None` if root alone can
/// exchange it.
///
/// A sticky directory that others may write to counts, too: its mode prevents others from
/// exchanging root's files, but not from creating a file before root does.
fn warning(nodes: &[Node]) -> Option<String> {
    // A name that another user chose must not reach the terminal unescaped.
    let shown = |node: &Node| node.path.to_string_lossy().escape_debug().to_string();
    let program = shown(nodes.first()?);
    let open = nodes.iter().find(|node| node.uid != 0 || node.mode & SHARED != 0)?;
    let (path, uid, mode) = (shown(open), open.uid, open.mode);
    let (why, instead) = if uid == 0 {
        (format!("its group or others may write to {path} (mode {mode:04o})"), String::new())
    } else {
        (format!("{path} belongs to user {uid}"), format!("run it as that user (sudo -u '#{uid}' {program} ...), or "))
    };
    Some(format!(
        "warning: root runs {program}, which another user can exchange: {why}; {instead}run a copy of the release that \
         root alone can write, with all directories above it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The warning for `/opt/a/offboard`, with owner and mode of the file, of `/opt/a`, of `/opt`
    /// and of `/`.
    fn warned(of: [(u32, u32); 4]) -> Option<String> {
        let paths = ["/opt/a/offboard", "/opt/a", "/opt", "/"];
        let nodes: Vec<Node> =
            paths.into_iter().zip(of).map(|(path, (uid, mode))| Node { path: path.into(), uid, mode }).collect();
        warning(&nodes)
    }

    #[test]
    fn what_root_alone_can_write_is_not_warned_of() {
        assert_eq!(warned([(0, 0o755); 4]), None);
        assert_eq!(warned([(0, 0o4555), (0, 0o700), (0, 0o1755), (0, 0o555)]), None);
    }

    #[test]
    fn each_file_and_directory_that_another_user_can_write_is_named() {
        for (n, path) in ["/opt/a/offboard", "/opt/a", "/opt", "/"].into_iter().enumerate() {
            for (uid, mode, why) in [
                (998, 0o500, format!("{path} belongs to user 998")),
                (0, 0o775, format!("may write to {path} (mode 0775)")),
                (0, 0o757, format!("may write to {path} (mode 0757)")),
                (0, 0o1777, format!("may write to {path} (mode 1777)")),
            ] {
                let mut of = [(0, 0o755); 4];
                of[n] = (uid, mode);
                let warning = warned(of).unwrap();
                assert!(warning.contains(&why) && warning.contains("root runs /opt/a/offboard"), "{warning}");
                assert_eq!(warning.contains("sudo -u '#998' /opt/a/offboard"), uid == 998, "{warning}");
                assert!(warning.contains("run a copy of the release"), "it says what to do: {warning}");
            }
        }
    }

    #[test]
    fn a_name_is_shown_without_what_a_terminal_would_obey() {
        let node = Node { path: "/opt/\u{1b}[2J\u{202e}/offboard".into(), uid: 998, mode: 0o755 };
        let warning = warning(&[node]).unwrap();
        assert!(!warning.contains(['\u{1b}', '\u{202e}']) && warning.contains("\\u{1b}[2J"), "{warning}");
    }

    #[test]
    fn the_nearest_is_named() {
        let warning = warned([(0, 0o755), (5, 0o755), (6, 0o777), (0, 0o755)]).unwrap();
        assert!(warning.contains("/opt/a belongs to user 5") && !warning.contains("user 6"), "{warning}");
    }

    #[test]
    fn a_file_is_looked_at_up_to_the_root() {
        let file = std::env::current_exe().unwrap();
        let found = nodes(&file).unwrap();
        assert_eq!(
            (found.first().unwrap().path.as_path(), found.last().unwrap().path.as_path()),
            (&*file, "/".as_ref())
        );
        assert!(nodes(Path::new("/is/not/there")).is_err());
    }
}
