//! What the calls did to files below a directory. Strict: a call on one of these files that is not
//! understood fails the test, since a write that is overlooked would prove nothing.

use std::{collections::HashMap, fs, path::Path};

use super::trace::{self, Call};

/// A file or directory, whatever its names.
pub type Inode = usize;

/// The directory that all the others are below; it was there, and durable, before.
pub const ROOT: Inode = 0;

/// Everything that is done before this line is durable: it was there before.
pub const BEFORE: usize = 1;

#[derive(Debug)]
pub struct Op {
    /// As of [`Call`].
    pub begin: usize,
    pub end: usize,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Write {
        inode: Inode,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        inode: Inode,
        length: usize,
    },
    /// `fsync` or `fdatasync`, of a file or a directory.
    Sync {
        inode: Inode,
        data_only: bool,
    },
    /// A directory's name for a file; `None` for none.
    Name {
        dir: Inode,
        names: Vec<(String, Option<Inode>)>,
    },
}

/// What is there before, all of it durable: paths, and contents or `None` for a directory; parents
/// come first.
#[derive(Default)]
pub struct Base(Vec<(String, Option<Vec<u8>>)>);

impl Base {
    pub fn read(root: &Path) -> Self {
        let mut base = Self::default();
        base.add(root, "");
        base
    }

    fn add(&mut self, root: &Path, dir: &str) {
        for entry in fs::read_dir(root.join(dir)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if entry.file_type().unwrap().is_dir() {
                self.0.push((path.clone(), None));
                self.add(root, &path);
            } else {
                self.0.push((path, Some(fs::read(entry.path()).unwrap())));
            }
        }
    }
}

/// What was done, in the order in which the calls returned.
pub struct Files {
    /// What was there before comes first.
    pub ops: Vec<Op>,
    /// Each inode's first path, and whether it is a directory.
    pub inodes: Vec<(String, bool)>,
}

impl Files {
    pub fn is_named(&self, inode: Inode, path: &str) -> bool {
        self.inodes[inode].0 == path
    }

    /// Whether its path begins so.
    pub fn is_below(&self, inode: Inode, prefix: &str) -> bool {
        self.inodes[inode].0.starts_with(prefix)
    }
}

struct Open {
    inode: Inode,
    offset: usize,
    append: bool,
}

struct Reader {
    root: String,
    files: Files,
    names: HashMap<String, Inode>,
    open: HashMap<i64, Open>,
}

/// Reads the calls on what is below `root`, which holds `base` at first.
pub fn read(calls: &[Call], root: &str, base: Base) -> Files {
    let hex = trace::escape(root);
    // No file: it is made anew at each start, and holds nothing.
    let socket = trace::escape("/agent.sock");
    // A descriptor's number may be another file's before the `close` that freed it is seen to
    // return.
    let place = |call: &Call| if call.name == "close" { call.begin } else { call.end };
    let mut sorted: Vec<&Call> = calls.iter().collect();
    sorted.sort_by_key(|call| place(call));
    let files = Files { ops: Vec::new(), inodes: vec![(String::new(), true)] };
    let names = HashMap::from([(String::new(), ROOT)]);
    let mut reader = Reader { root: root.to_owned(), files, names, open: HashMap::new() };
    reader.lay(base);
    for call in sorted {
        if call.name == "execve" {
            // Another process: it has none of the descriptors.
            reader.open.clear();
        } else if concerned(call).contains(&hex) && !concerned(call).contains(&socket) {
            reader.call(call);
        }
    }
    reader.files.ops.sort_by_key(|op| op.end);
    reader.files
}

/// Where a call names the files that it is about: what is written or read may happen to name one,
/// too.
fn concerned(call: &Call) -> &str {
    let data = ["write", "writev", "pwrite64", "sendto", "sendmsg", "read", "pread64", "recvfrom", "recvmsg"];
    match data.contains(&call.name.as_str()) {
        true => call.text.split('"').next().unwrap_or_default(),
        false => &call.text,
    }
}

impl Reader {
    /// Puts down what is there before, as if it had been written and synced before the first line.
    fn lay(&mut self, Base(base): Base) {
        let before = Call { begin: 0, end: 0, name: String::new(), text: String::new() };
        for (path, content) in base {
            let inode = self.create(&before, &path, content.is_none());
            if let Some(bytes) = content {
                self.push(&before, What::Write { inode, at: 0, bytes });
            }
        }
    }

    fn call(&mut self, call: &Call) {
        let unknown = || -> ! { panic!("not understood, and on the agent's files: {}", call.short()) };
        let arguments = call.arguments();
        match call.name.as_str() {
            // These read, lock, or change what is no content.
            "stat" | "lstat" | "fstat" | "statx" | "newfstatat" | "access" | "faccessat" | "faccessat2"
            | "readlink" | "readlinkat" | "getdents64" | "chmod" | "statfs" | "fstatfs" | "pread64" | "flock" => {}
            // These promise nothing.
            "sync_file_range" | "fadvise64" => {}
            "fcntl" if matches!(arguments[1], "F_GETFD" | "F_GETFL") || arguments[1] == "F_SETFD" => {}
            // Everything below changes nothing when it fails.
            _ if call.result().is_none() => {}
            "openat" => self.open(call, &arguments),
            "close" => drop(self.open.remove(&self.number(call, arguments[0]))),
            "read" | "lseek" => {
                let result = usize::try_from(call.result().unwrap()).unwrap();
                let open = self.descriptor(call, arguments[0]);
                open.offset = if call.name == "lseek" { result } else { open.offset + result };
            }
            "write" => {
                let bytes = call.data();
                let length = bytes.len();
                let open = self.descriptor(call, arguments[0]);
                if open.append {
                    unknown();
                }
                let (inode, at) = (open.inode, open.offset);
                open.offset += length;
                self.push(call, What::Write { inode, at, bytes });
            }
            "pwrite64" => {
                let inode = self.descriptor(call, arguments[0]).inode;
                let at = arguments[3].parse().unwrap_or_else(|_| unknown());
                self.push(call, What::Write { inode, at, bytes: call.data() });
            }
            "ftruncate" => {
                let inode = self.descriptor(call, arguments[0]).inode;
                let length = arguments[1].parse().unwrap_or_else(|_| unknown());
                self.push(call, What::Truncate { inode, length });
            }
            // The agent extends its files so, and never allocates within them.
            "fallocate" => {
                let inode = self.descriptor(call, arguments[0]).inode;
                let number = |at: usize| arguments[at].parse::<usize>().unwrap_or_else(|_| unknown());
                self.push(call, What::Truncate { inode, length: number(2) + number(3) });
            }
            "fsync" | "fdatasync" => {
                let inode = self.descriptor(call, arguments[0]).inode;
                self.push(call, What::Sync { inode, data_only: call.name == "fdatasync" });
            }
            "mkdir" => {
                let path = self.path(call, arguments[0]);
                self.create(call, &path, true);
            }
            "rename" => self.rename(call, &arguments),
            "unlink" => {
                let path = self.path(call, arguments[0]);
                self.delete(call, &path);
            }
            "unlinkat" => {
                let path = self.path_at(call, arguments[0], arguments[1]);
                self.delete(call, &path);
            }
            _ => unknown(),
        }
    }

    fn push(&mut self, call: &Call, what: What) {
        self.files.ops.push(Op { begin: call.begin, end: call.end, what });
    }

    fn number(&self, call: &Call, text: &str) -> i64 {
        trace::descriptor(text).unwrap_or_else(|| panic!("no descriptor: {}", call.short())).0
    }

    fn descriptor(&mut self, call: &Call, text: &str) -> &mut Open {
        let number = self.number(call, text);
        self.open.get_mut(&number).unwrap_or_else(|| panic!("a descriptor of unknown origin: {}", call.short()))
    }

    /// Below the root, which itself is the empty path.
    fn path(&self, call: &Call, text: &str) -> String {
        let path = trace::path(text);
        let below = path.strip_prefix(&self.root).map(|below| below.trim_matches('/').to_owned());
        below.unwrap_or_else(|| panic!("a path that is not absolute: {}", call.short()))
    }

    /// As [`Self::path`], or a name within the directory of a descriptor.
    fn path_at(&self, call: &Call, dir: &str, text: &str) -> String {
        let name = trace::path(text);
        match trace::descriptor(dir) {
            Some((_, dir)) if !name.starts_with('/') => {
                let whole = trace::escape(&format!("{dir}/{name}"));
                self.path(call, &format!("\"{whole}\""))
            }
            _ => self.path(call, text),
        }
    }

    fn delete(&mut self, call: &Call, path: &str) {
        self.names.remove(path).unwrap_or_else(|| panic!("of unknown origin: {}", call.short()));
        let (dir, name) = self.place(path);
        self.push(call, What::Name { dir, names: vec![(name, None)] });
    }

    fn place(&self, path: &str) -> (Inode, String) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.names[dir], name.to_owned())
    }

    fn create(&mut self, call: &Call, path: &str, is_dir: bool) -> Inode {
        let inode = self.files.inodes.len();
        self.files.inodes.push((path.to_owned(), is_dir));
        let (dir, name) = self.place(path);
        self.names.insert(path.to_owned(), inode);
        self.push(call, What::Name { dir, names: vec![(name, Some(inode))] });
        inode
    }

    fn open(&mut self, call: &Call, arguments: &[&str]) {
        let path = self.path_at(call, arguments[0], arguments[1]);
        let flags: Vec<&str> = arguments[2].split('|').collect();
        assert!(!flags.contains(&"O_TMPFILE"), "{}", call.short());
        let inode = match self.names.get(&path) {
            Some(inode) => *inode,
            None if flags.contains(&"O_CREAT") => self.create(call, &path, false),
            None => panic!("a file of unknown origin: {}", call.short()),
        };
        if flags.contains(&"O_TRUNC") {
            self.push(call, What::Truncate { inode, length: 0 });
        }
        let number = call.result().unwrap();
        self.open.insert(number, Open { inode, offset: 0, append: flags.contains(&"O_APPEND") });
    }

    fn rename(&mut self, call: &Call, arguments: &[&str]) {
        let (from, to) = (self.path(call, arguments[0]), self.path(call, arguments[1]));
        let inode = self.names.remove(&from).unwrap_or_else(|| panic!("of unknown origin: {}", call.short()));
        assert!(!self.files.inodes[inode].1, "a directory is renamed: {}", call.short());
        self.names.insert(to.clone(), inode);
        let ((dir, from), (to_dir, to)) = (self.place(&from), self.place(&to));
        assert_eq!(dir, to_dir, "a rename into another directory: {}", call.short());
        self.push(call, What::Name { dir, names: vec![(from, None), (to, Some(inode))] });
    }
}
