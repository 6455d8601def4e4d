//! Invariant 1, by system-call trace: between the arrival of a command and its `accepted` and
//! PUBACK, a segment of the journal is written and synced, and the registry is not touched.

use crate::common::*;

/// A line of the trace: where in it the call begins, where it ends, and what it says.
struct Call {
    begin: usize,
    end: usize,
    text: String,
}

/// Joins the two halves of calls that another thread interrupted.
fn read_trace(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for (n, line) in trace.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<...") {
            if let Some(at) = unfinished.remove(pid) {
                calls[at].end = n;
                calls[at].text.push_str(rest);
            }
            continue;
        }
        if rest.ends_with("<unfinished ...>") {
            unfinished.insert(pid, calls.len());
        }
        calls.push(Call { begin: n, end: n, text: rest.to_owned() });
    }
    calls
}

/// The segment of the journal that a call of this name is on.
fn segment<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    let rest = call.text.strip_prefix(name)?.strip_prefix('(')?;
    let (_, path) = rest.split_once(',').map_or(rest, |(descriptor, _)| descriptor).split_once('<')?;
    let (path, _) = path.split_once('>')?;
    path.contains("/journal/segment-").then_some(path)
}

fn is_on_registry(call: &Call) -> bool {
    ["pwrite64(", "fdatasync(", "fsync("].iter().any(|name| call.text.starts_with(name))
        && call.text.contains("/store/db>")
}

#[tokio::test]
async fn accepted_follows_the_sync_of_the_journal() {
    let mut world = World::new(10).await;
    let path = world.dir.path().join("trace");
    let calls = "trace=read,recvfrom,write,writev,sendto,sendmsg,pwrite64,fdatasync,fsync";
    world.wrapper =
        [strace(), "-f", "-y", "-s", "300", "-e", calls, "-o", path.to_str().unwrap()].map(str::to_owned).into();
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    for n in 0..5 {
        let token = format!("trace-{n}");
        client.disassociate(&token, &names(n..n + 1));
        client.result(&token, "completed").await;
    }
    let (status, _) = world.stop_agent();
    assert!(status.success(), "{status}");
    let trace = std::fs::read_to_string(&path).unwrap();
    let calls = read_trace(&trace);
    for n in 0..5 {
        let arrival = calls
            .iter()
            .find(|c| {
                (c.text.starts_with("recvfrom") || c.text.starts_with("read")) && c.text.contains(&format!("trace-{n}"))
            })
            .expect("the command's arrival");
        let accepted = calls
            .iter()
            .find(|c| c.text.contains("/accepted") && c.text.contains(&format!("trace-{n}")) && c.begin > arrival.end)
            .expect("its accepted");
        // PUBACK is 0x40 0x02 and the packet's id; strace shows it as text.
        let puback = calls
            .iter()
            .find(|c| c.text.starts_with("write") && c.text.contains(r"@\2\0\") && c.begin > arrival.end)
            .expect("its PUBACK");
        let answered = accepted.begin.min(puback.begin);
        let between = |c: &&Call| c.begin > arrival.begin && c.end < answered;
        let written = calls.iter().filter(between).rfind(|c| segment(c, "pwrite64").is_some());
        let written = written.expect("a write to the journal between the arrival and the answer");
        let synced = calls
            .iter()
            .filter(between)
            .find(|c| segment(c, "fdatasync") == segment(written, "pwrite64") && c.begin > written.end)
            .expect("a sync of that segment after its last write and before the answer");
        assert!(synced.text.contains("= 0"), "{}", synced.text);
        let [writes, syncs] = ["pwrite64", "fdatasync"]
            .map(|name| calls.iter().filter(between).filter(|c| segment(c, name).is_some()).count());
        assert_eq!((writes, syncs), (1, 1), "an idle agent takes a command with one write and one sync");
        assert_eq!(calls.iter().filter(between).filter(|c| is_on_registry(c)).count(), 0, "sled has no part in it");
    }
}
