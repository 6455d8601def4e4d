//! The messages of Mosquitto's dynamic-security plugin
//! (<https://mosquitto.org/documentation/dynamic-security/>), as far as the agent uses them.
//!
//! A message has a list of commands, and the response a list of results, in the same order. The
//! plugin publishes its responses at QoS 0 to all subscribers, also the responses to other clients.
//! Therefore each command has a `correlationData` that begins with the number of its message, which
//! no client can guess. A command that is not allowed has no response.

use serde::{Deserialize, Serialize};

use crate::domain::{AccessAnswer, AccessCommand, AccessError};

/// The topic of commands to the plugin.
pub(crate) const COMMANDS: &str = "$CONTROL/dynamic-security/v1";

/// The topic of the plugin's responses.
pub(crate) const RESPONSES: &str = "$CONTROL/dynamic-security/v1/response";

/// The client and the role that `mosquitto_ctrl dynsec init` makes for the administrator of the
/// plugin.
pub(crate) const ADMIN: &str = "admin";

/// The plugin's error for a name that no client has.
const UNKNOWN: &str = "Client not found";

/// What to do about a plugin that does not respond to the client `own`.
pub(crate) fn advice(own: &str) -> String {
    format!(
        "allow the client {own} to publish to {COMMANDS}, and to subscribe to {RESPONSES} and receive from there (mosquitto_ctrl \
         dynsec addRoleACL), and check that the broker loads mosquitto_dynamic_security.so"
    )
}

#[derive(Serialize)]
struct Commands<'c> {
    commands: Vec<Command<'c>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Command<'c> {
    command: &'static str,
    username: &'c str,
    correlation_data: String,
}

/// A message with commands about the clients of these user names.
pub(crate) fn commands<'c>(number: u64, commands: impl IntoIterator<Item = (AccessCommand, &'c str)>) -> Vec<u8> {
    let commands = commands.into_iter().enumerate().map(|(index, (command, username))| Command {
        command: command.as_str(),
        username,
        correlation_data: format!("{}{index}", prefix(number)),
    });
    super::messages::to_json(&Commands { commands: commands.collect() })
}

fn prefix(number: u64) -> String {
    format!("offboard-{number:016x}-")
}

#[derive(Deserialize)]
struct Responses {
    responses: Vec<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    command: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    correlation_data: Option<String>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    client: Option<Client>,
}

#[derive(Deserialize)]
struct Client {
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    roles: Vec<Role>,
}

#[derive(Deserialize)]
struct Role {
    #[serde(default)]
    rolename: String,
}

/// The results in a response to the message of that number, each with the index of its command;
/// none if the response is to another message.
pub(crate) fn answers(number: u64, payload: &[u8]) -> Vec<(usize, AccessAnswer)> {
    let prefix = prefix(number);
    // Most responses are to other clients, and their members are not parsed.
    if !payload.windows(prefix.len()).any(|part| part == prefix.as_bytes()) {
        return Vec::new();
    }
    let Ok(Responses { responses }) = serde_json::from_slice(payload) else { return Vec::new() };
    let answer = |response: Response| {
        let index = response.correlation_data.as_deref()?.strip_prefix(&prefix)?.parse().ok()?;
        Some((index, response.into_answer()))
    };
    responses.into_iter().filter_map(answer).collect()
}

impl Response {
    fn into_answer(self) -> AccessAnswer {
        if let Some(error) = self.error {
            return AccessAnswer::Failed(AccessError::new(&error, error == UNKNOWN));
        }
        if self.command != AccessCommand::Read.as_str() {
            return AccessAnswer::Done;
        }
        match self.data.and_then(|data| data.client) {
            Some(client) if client.roles.iter().any(|role| role.rolename == ADMIN) => AccessAnswer::Administrator,
            Some(client) if client.disabled => AccessAnswer::Disabled,
            Some(_) => AccessAnswer::Enabled,
            None => AccessAnswer::Failed(AccessError::new("the broker's response has no client", false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The responses are those of Mosquitto 2.0.11.
    #[test]
    fn the_plugins_own_responses_are_read() {
        let tag = |index: usize| format!(r#""correlationData":"offboard-0000000000000007-{index}""#);
        let response = [
            format!(
                r#"{{"responses":[{{"command":"getClient","data":{{"client":{{"username":"d1","roles":[{{"rolename":"dev"}}],"groups":[]}}}},{}}}"#,
                tag(0)
            ),
            format!(
                r#"{{"command":"getClient","data":{{"client":{{"username":"d2","disabled":true,"roles":[],"groups":[]}}}},{}}}"#,
                tag(1)
            ),
            format!(
                r#"{{"command":"getClient","data":{{"client":{{"username":"a","textname":"Dynsec admin user","roles":[{{"rolename":"admin"}}],"groups":[]}}}},{}}}"#,
                tag(2)
            ),
            format!(r#"{{"command":"disableClient",{}}}"#, tag(3)),
            format!(r#"{{"command":"enableClient","error":"Client not found",{}}}"#, tag(4)),
            r#"{"command":"disableClient","error":"Invalid/missing username"}"#.into(),
            format!(r#"{{"command":"disableClient","error":"Internal error",{}}}]}}"#, tag(6)),
        ]
        .join(",");
        let failed = |message: &str, is_unknown| AccessAnswer::Failed(AccessError::new(message, is_unknown));
        let expected = vec![
            (0, AccessAnswer::Enabled),
            (1, AccessAnswer::Disabled),
            (2, AccessAnswer::Administrator),
            (3, AccessAnswer::Done),
            (4, failed("Client not found", true)),
            (6, failed("Internal error", false)),
        ];
        assert_eq!(answers(7, response.as_bytes()), expected);
        assert_eq!(answers(8, response.as_bytes()), [], "it is another's");
        assert_eq!(answers(7, b"{\"responses\":[]}"), []);
    }

    #[test]
    fn a_message_has_its_commands_in_order() {
        let message = commands(7, [(AccessCommand::Read, "d1"), (AccessCommand::Disable, "d\"2")]);
        let expected = r#"{"commands":[{"command":"getClient","username":"d1","correlationData":"offboard-0000000000000007-0"},{"command":"disableClient","username":"d\"2","correlationData":"offboard-0000000000000007-1"}]}"#;
        assert_eq!(String::from_utf8(message).unwrap(), expected);
    }
}
