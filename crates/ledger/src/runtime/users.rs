//! The users of this machine, by their numbers in the kernel.

/// The user's name, if this machine's list of users (`/etc/passwd`) has it.
pub fn name(uid: u32) -> Option<String> {
    let list = std::fs::read_to_string("/etc/passwd").ok()?;
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The user for a message: the name and the number, or the number alone.
pub fn described(uid: u32) -> String {
    match name(uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// The user in the form that `sudo -u` takes.
pub fn for_sudo(uid: u32) -> String {
    name(uid).unwrap_or_else(|| format!("'#{uid}'"))
}
