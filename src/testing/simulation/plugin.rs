//! The broker's dynamic-security plugin: which clients there are, who disabled them, and what the
//! agent may do to them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::world::World;
use crate::{
    domain::{Registered, ThingName},
    ledger::view::Image,
};

/// A client of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Client {
    disabled: bool,
    /// An administrator disabled it before the agent began.
    by_admin: bool,
}

/// The state that a device's client should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Desired {
    Enabled,
    Disabled,
    /// It was listed and disassociated within one group of the journal, or not: nothing shows
    /// which.
    Unsure,
}

#[derive(Default)]
pub(super) struct Plugin {
    clients: BTreeMap<String, Client>,
    /// The last state of each device in the durable registry.
    registered: BTreeMap<String, Registered>,
    desired: BTreeMap<String, Desired>,
    /// Devices that were associated as far as the registry said that is lost now, where the disk
    /// may have kept a change that nobody saw.
    doubtful: BTreeSet<String>,
    /// The agent has no right to command it.
    pub(super) denied: bool,
}

impl Plugin {
    /// An administrator disabled the clients of some devices, and some devices have no client.
    pub(super) fn new(devices: usize) -> Self {
        let client = |n: usize| (format!("d{n:03}"), Client { disabled: n % 5 == 3, by_admin: n % 5 == 3 });
        let clients = (0..devices).filter(|n| n % 7 != 6).map(client).collect();
        Self { clients, ..Self::default() }
    }

    /// What is durable now. `is_listing`: a list is being read.
    pub(super) fn observe(&mut self, image: &Image, is_listing: bool) {
        for (thing, device) in image.devices_in_memory() {
            let name = thing.to_string();
            let desired = match (self.registered.insert(name.clone(), device.registered), device.registered) {
                (Some(was), is) if was == is => continue,
                (_, Registered::Associated) => Desired::Enabled,
                (Some(Registered::Associated), Registered::Disassociated) => Desired::Disabled,
                (_, Registered::Disassociated) if is_listing || self.doubtful.contains(&name) => Desired::Unsure,
                // The agent did not know that it was associated.
                (_, Registered::Disassociated) => continue,
            };
            self.desired.insert(name, desired);
        }
    }

    /// The registry is lost, but for what is in memory. `crashed`: the last group may be on the
    /// disk, and not in the image.
    pub(super) fn lose_registry(&mut self, image: &Image, crashed: bool) {
        let is_in_memory = |name: &String| image.is_in_memory(&ThingName::new(name).unwrap());
        let lost = self.registered.iter().filter(|(name, _)| crashed && !is_in_memory(name));
        self.doubtful = lost.filter(|(_, is)| **is == Registered::Associated).map(|(name, _)| name.clone()).collect();
        self.registered.retain(|name, _| is_in_memory(name));
    }

    /// Clients that are not as they should be.
    pub(super) fn wrong(&self) -> Vec<String> {
        let wrong = |(name, client): (&String, &Client)| {
            let is_right = match self.desired.get(name) {
                Some(Desired::Unsure) => true,
                desired => client.disabled == (client.by_admin || desired == Some(&Desired::Disabled)),
            };
            (!is_right).then(|| format!("{name}: {client:?}"))
        };
        self.clients.iter().filter_map(wrong).collect()
    }

    fn run(&mut self, command: &str, name: &str) -> Result<Value, String> {
        let client = self.clients.get_mut(name).ok_or("Client not found")?;
        match command {
            "getClient" => {
                let disabled = client.disabled.then_some(true);
                return Ok(json!({"client": {"username": name, "disabled": disabled, "roles": [], "groups": []}}));
            }
            "disableClient" => client.disabled = true,
            "enableClient" => client.disabled = false,
            _ => return Err("Unknown command".into()),
        }
        Ok(Value::Null)
    }
}

/// Runs a message of the agent in the plugin; returns the response, if there is one.
pub(super) fn command(world: &World, payload: &[u8]) -> Option<Vec<u8>> {
    if world.state().plugin.denied {
        return None;
    }
    let message: Value = serde_json::from_slice(payload).ok()?;
    let mut responses = Vec::new();
    let mut wrong = None;
    for one in message["commands"].as_array()? {
        let (command, name) = (one["command"].as_str()?, one["username"].as_str()?);
        let mut state = world.state();
        let plugin = &mut state.plugin;
        let by_admin = plugin.clients.get(name).is_some_and(|client| client.by_admin);
        if command != "getClient" && by_admin {
            wrong = Some(format!("{command} of {name}, which an administrator had disabled"));
        }
        if command == "disableClient" && !plugin.desired.contains_key(name) {
            wrong = Some(format!("{name} is disabled, and was never known as associated"));
        }
        let mut response = json!({"command": command, "correlationData": one["correlationData"]});
        match plugin.run(command, name) {
            Ok(data) => {
                if let Value::Object(mut data) = data {
                    // As the plugin, which leaves the member out.
                    if let Some(client) = data["client"].as_object_mut()
                        && client["disabled"].is_null()
                    {
                        client.remove("disabled");
                    }
                    response["data"] = Value::Object(data);
                }
            }
            Err(error) => response["error"] = error.into(),
        }
        responses.push(response);
    }
    if let Some(text) = wrong {
        world.violate(15, text);
    }
    let response = json!({"responses": responses}).to_string();
    world.note(|| format!("the plugin answers {response}"));
    Some(response.into_bytes())
}
