//! What a person may write: lists in a file, names that the registry does not know, times, and
//! lengths.

use super::*;

/// A list is read and checked whole before anything is sent, over either transport; what is wrong
/// is printed with file, line and value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_a_long_list_is_told_before_anything_is_sent() {
    let (world, client) = World::running(30).await;
    let url = format!("mqtt://127.0.0.1:{}", world.broker.port);
    let broker = ["--mqtt-url", &url, "--core-device-thing-name", CORE, "--client-id", "laptop"];
    let file = world.dir.path().join("retired.txt");
    let list = |fault: &str| {
        let line = |n: usize| if n == 15_000 { fault.to_owned() } else { format!("sensor-{n:06}") };
        std::fs::write(&file, (1..=20_000).map(|n| line(n) + "\n").collect::<String>()).unwrap();
    };
    let name = file.to_str().unwrap();
    for over in [&broker[..], &[]] {
        for fault in ["sensor 015000", "sensor.015000", "sensor-015000,", "\u{202e}sensor-015000"] {
            list(fault);
            let output = offboard(&world, &[&["disassociate", "--from-file", name][..], over].concat());
            let (out, err) = printed(&output, 64);
            let value = format!("{fault:?}");
            assert!(err.starts_with(&format!("--from-file {name}, line 15000: {value} ")) && out.is_empty(), "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
    let (_, err) = printed(&offboard(&world, &["disassociate", "d0001", "a b"]), 64);
    assert_eq!(err, "\"a b\" must be 1 to 128 characters of a-z A-Z 0-9 : _ -\n");
    client.ask_broker().await;
    let requests = json_of(&offboard(&world, &["requests", "--output", "json"]), 0);
    assert_eq!((world.cloud.count(Operation::Disassociate), requests), (0, json!([])));
}

/// The forms in which people have lists, from a file and from standard input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_the_forms_that_tools_write() {
    let world = running(30).await;
    let file = world.dir.path().join("list");
    let listed = json!({"associatedClientDevices": [
        {"thingName": "d0001", "associationTimestamp": "2021-07-12T16:33:55.843000-07:00"},
        {"thingName": "d0002", "associationTimestamp": "2021-07-12T16:33:55.843000-07:00"},
    ]});
    let utf16 = |big: bool| -> Vec<u8> {
        let units = "\u{feff}d0001\r\nd0002\r\n".encode_utf16();
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    for (bytes, expected) in [
        (b"\xef\xbb\xbfd0001\r\nd0002\r\n".to_vec(), Ok(2)),
        (b"d0001\td0002\td0001\n".to_vec(), Ok(2)),
        (b"\xef\xbb\xbfsite;thingName\r\nX;d0001\r\n\"Y; old\";\"d0002\"\r\n".to_vec(), Ok(2)),
        (format!("{listed:#}").into_bytes(), Ok(2)),
        (b"# retired\n\n  d0001 # line 3\nd0002".to_vec(), Ok(2)),
        (utf16(false), Err("it is UTF-16 (little-endian)")),
        (utf16(true), Err("it is UTF-16 (big-endian)")),
        (b"d0001\nd\x00002\n".to_vec(), Err(", line 2: there is a NUL byte")),
        (b"name,site\nd0001,X\n".to_vec(), Err(", line 1: \"name,site\" is not a name; a CSV file needs a header")),
        (b"\n# none\n".to_vec(), Err(": there are no names in it")),
    ] {
        std::fs::write(&file, &bytes).unwrap();
        for name in [file.to_str().unwrap(), "-"] {
            let mut command = command(&world, &["disassociate", "--from-file", name, "--dry-run", "--output", "json"]);
            let input = if name == "-" { std::fs::File::open(&file).unwrap().into() } else { Stdio::null() };
            let output = command.stdin(input).output().unwrap();
            match expected {
                Ok(count) => {
                    let plan = json_of(&output, 0);
                    assert_eq!((&plan["entryCount"], &plan["unknownCount"]), (&json!(count), &json!(0)), "{bytes:?}");
                }
                Err(text) => {
                    let place = if name == "-" { "standard input" } else { name };
                    let (_, err) = printed(&output, 64);
                    assert!(err.starts_with(&format!("--from-file {place}")) && err.contains(text), "{err}");
                }
            }
        }
    }
    let directory = world.dir.path().to_str().unwrap();
    let (_, err) = printed(&offboard(&world, &["disassociate", "--from-file", directory]), 64);
    assert_eq!(err, format!("--from-file {directory}: it is a directory; name a file\n"));
    let (_, err) = printed(&offboard(&world, &["disassociate", "--from-file", "/dev/zero"]), 64);
    assert!(err.contains("more than 64 MiB"), "{err}");
}

/// A name that the registry does not know may be misspelt: it is shown before the command is
/// accepted, and a person is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_the_registry_does_not_know_are_shown_first() {
    let world = running(30).await;
    let (_, err) = printed(&offboard(&world, &["disassociate", "d0001", "D0002", "--token", "t"]), 0);
    assert_eq!(err, "1 of 2 names are not in the registry (case counts): D0002\naccepted as t\n");
    let (_, err) = printed(&offboard(&world, &["associate", "new-1", "--token", "a"]), 0);
    assert_eq!(err, "accepted as a\n");
    let words = ["disassociate", "d0003", "D0004", "--token", "u"];
    let ask = async || {
        let terminal = Terminal::with(command(&world, &words).env("TERM", "vt100"));
        terminal.line("1 of 2 names are not in the registry (case counts): D0004").await;
        terminal.line("continue with them? [y/N]").await;
        terminal
    };
    let mut terminal = ask().await;
    terminal.press("\r");
    assert_eq!(terminal.end().await.code(), Some(1));
    assert_eq!((world.disassociations("d0003"), world.disassociations("d0001")), (0, 1));
    let mut terminal = ask().await;
    terminal.press("y\r");
    assert!(terminal.end().await.success(), "{:#?}", terminal.lines());
    assert_eq!(world.disassociations("d0003"), 1);
    // Who forces it is asked nothing.
    let words = ["disassociate", "D0005", "--force"];
    let mut terminal = Terminal::with(command(&world, &words).env("TERM", "vt100"));
    assert!(terminal.end().await.success(), "{:#?}", terminal.lines());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_to_expire_has_a_unit_or_is_in_seconds() {
    let world = running(3).await;
    world.fault(Action::Hang, None);
    for (time, token) in [("7d", "a"), ("12h", "b"), ("15m", "c"), ("604800", "d")] {
        printed(&offboard(&world, &["disassociate", "d0001", "--expires-in", time, "--no-wait", "--token", token]), 0);
    }
    let expiry = |token: &str| {
        let request = json_of(&offboard(&world, &["requests", token, "--output", "json"]), 0);
        request["expiresAt"].as_str().unwrap()[..10].to_owned()
    };
    assert_eq!(expiry("a"), expiry("d"));
    assert!(expiry("a") > expiry("b"));
    let (_, err) = printed(&offboard(&world, &["disassociate", "d0001", "--expires-in", "7w"]), 64);
    assert!(err.contains("'7w'") && err.contains("30s, 15m, 12h, 7d"), "{err}");
}

/// What is too long for one message, and cannot be split, is reported with its size and the limit
/// before it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_too_long_is_told_with_the_limit() {
    let (world, _client) = World::running(3).await;
    let url = format!("mqtt://127.0.0.1:{}", world.broker.port);
    let broker = ["--mqtt-url", &url, "--core-device-thing-name", CORE, "--client-id", "laptop"];
    let reason = "x".repeat(125_000);
    let words = ["disassociate-assets", "--asset", &reason, "--hierarchy", &reason, "--child", "c"];
    let (_, err) = printed(&offboard(&world, &[&words[..], &broker].concat()), 64);
    assert!(err.starts_with("the command has 250") && err.contains("over the broker 128000 are sent"), "{err}");
}
