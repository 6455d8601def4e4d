//! Topics: a parsed topic is written back unchanged, a written topic parses, and no other topic is
//! a command.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offboard::{
    domain::{ClientId, ThingName},
    protocol::{Address, ResultKind, Topics, page},
};

/// Maximum length of an operation's name in a topic.
const MAX_OPERATION: usize = 128;

// Lines: the prefix, the core, a client, an operation, a whole topic.
fuzz_target!(|text: &str| {
    let mut lines = text.splitn(5, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (prefix, core, client, operation, topic) = (next(), next(), next(), next(), next());
    // The values that the configuration accepts.
    let Ok(core) = ThingName::new(core) else { return };
    if prefix.is_empty() || prefix.contains(['/', '+', '#', '$']) {
        return;
    }
    let topics = Topics::new(prefix, &core);
    let root = format!("{prefix}/{core}");

    if let Some(Address { client, operation, .. }) = topics.parse_command(topic) {
        if let Ok(client) = client {
            assert!(topic.starts_with(&format!("{root}/commands/{client}/{operation}")));
        }
        assert!(operation.chars().count() <= MAX_OPERATION && !operation.contains('/'));
        if let Some(result) = topics.result_of(topic, ResultKind::Rejected) {
            assert!(result.len() <= usize::from(u16::MAX) && !result.contains(['+', '#', '\0']));
            assert_eq!(topics.parse_command(&result), None, "a result is not a command");
        }
        assert!(matches_filter(&topics.commands(), topic), "the broker would not have delivered it");
    }

    let written = format!("{root}/commands/{client}/{operation}");
    let parsed = topics.parse_command(&written);
    let fits = operation.chars().count() <= MAX_OPERATION && !operation.contains('/');
    match ClientId::new(client) {
        // A local user is not a sender on the broker.
        Ok(client) if fits && !client.is_local() => {
            assert_eq!(
                parsed,
                Some(Address { client: Ok(client.clone()), operation: operation.to_owned(), is_broadcast: false })
            );
            for kind in [ResultKind::Accepted, ResultKind::Rejected, ResultKind::Completed] {
                let result = topics.result(&client, operation, kind);
                assert!(result.starts_with(&format!("{root}/results/{client}/{operation}/")));
                assert_eq!(topics.parse_command(&result), None, "a result is not a command");
                assert!(!matches_filter(&topics.commands(), &result), "a result is received as a command");
            }
        }
        Ok(client) if !client.is_local() => {
            assert!(operation.contains('/') == parsed.is_none(), "{written}");
        }
        _ => assert!(parsed.is_none_or(|address| address.client.is_err()), "{written}"),
    }
    assert_eq!(topics.parse_command(&topics.status()), None);
    let accepting = Topics::new(prefix, &core).with_broadcasts(true);
    if let Some(address) = accepting.parse_command(topic) {
        let filter = if address.is_broadcast { accepting.broadcasts() } else { Some(accepting.commands()) };
        assert!(filter.is_some_and(|filter| matches_filter(&filter, topic)), "the broker would not have delivered it");
        assert_eq!(topics.parse_command(topic).is_none(), address.is_broadcast);
        if let Some(result) = accepting.result_of(topic, ResultKind::Accepted) {
            assert!(result.starts_with(&format!("{root}/results/")), "a result below another core device's root");
        }
    }
    if let Ok(thing) = ThingName::new(client) {
        assert_eq!(topics.parse_command(&topics.device(&thing)), None);
    }

    let token = page::next_token(operation, client);
    assert_eq!(page::cursor(operation, &token), Ok(client), "a token belongs to its own list");
    if let Ok(cursor) = page::cursor(operation, topic) {
        assert_eq!(page::next_token(operation, cursor), topic, "a token that the agent did not make");
    }
});

/// Whether a topic matches a filter by MQTT 3.1.1, 4.7: `+` matches one level.
fn matches_filter(filter: &str, topic: &str) -> bool {
    let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
    filter.len() == topic.len() && filter.iter().zip(&topic).all(|(want, level)| *want == "+" || want == level)
}
