//! The operations that `accessControl` allows, by the rules of nucleus lite 2.6.0 (`ipc_authz.c`,
//! `mqttproxy.c`).

use serde_json::Value;

use super::Service;

/// Whether the policies of a component allow an operation on a resource. The resource is compared
/// as text, even if it is a filter.
pub(super) fn allows(access_control: &Value, service: Service, operation: &str, resource: &str) -> bool {
    let name = match service {
        Service::PubSub => "aws.greengrass.ipc.pubsub",
        Service::IotCore => "aws.greengrass.ipc.mqttproxy",
    };
    let policies = access_control[name].as_object().into_iter().flat_map(serde_json::Map::values);
    let has = |policy: &Value, list: &str, matches: &dyn Fn(&str) -> bool| {
        policy[list].as_array().into_iter().flatten().filter_map(Value::as_str).any(matches)
    };
    policies.into_iter().any(|policy| {
        has(policy, "operations", &|allowed| allowed == "*" || allowed == operation)
            && has(policy, "resources", &|allowed| {
                allowed == "*"
                    || matches(allowed, resource)
                    || (service == Service::IotCore && filters(allowed, resource))
            })
    })
}

/// Whether a text matches a pattern, in which `*` matches any sequence of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// Whether an MQTT filter matches a topic.
pub(super) fn filters(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_compared_as_a_text() {
        let policy = |resource: &str| json!({"aws.greengrass.ipc.pubsub": {"x": {"operations": ["a#S"], "resources": [resource]}}});
        let allows = |policy: &Value, resource| allows(policy, Service::PubSub, "a#S", resource);
        assert!(allows(&policy("offboard/*"), "offboard/MyCore/commands/+/+"));
        assert!(!allows(&policy("offboard/+/commands/#"), "offboard/MyCore/commands/+/+"));
        assert!(!allows(&policy("offboard/{iot:thingName}/*"), "offboard/MyCore/status"));
        assert!(!super::allows(&policy("*"), Service::IotCore, "a#S", "x"), "another service");
        assert!(!super::allows(&policy("*"), Service::PubSub, "a#P", "x"), "another operation");
    }

    #[test]
    fn stars_and_wildcards() {
        for (pattern, text, expected) in
            [("a*b*c", "a-b-b-c", true), ("a*c", "ac", true), ("a*b*c", "a-c-b", false), ("a", "ab", false)]
        {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        for (filter, topic, expected) in
            [("a/+/c", "a/b/c", true), ("a/#", "a/b/c", true), ("a/+", "a/b/c", false), ("a/b", "a", false)]
        {
            assert_eq!(filters(filter, topic), expected, "{filter} {topic}");
        }
    }
}
