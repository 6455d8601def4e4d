//! The rows of the tables of keys in the documents.

use super::{GROUPS, key::Described};
use crate::domain::{Service, Switch};

/// Keys that one row of `README.md` names together.
pub(crate) struct Group {
    /// What they set.
    sets: String,
    keys: Vec<Row>,
}

/// A key, with what the documents say of it.
struct Row {
    path: String,
    default: String,
    meaning: String,
}

impl Row {
    fn of(key: &dyn Described) -> Self {
        let range = key.range().map(|(min, max)| format!("{min} to {max}. ")).unwrap_or_default();
        Self { path: key.path().into(), default: key.default(), meaning: range + key.meaning() }
    }
}

/// The keys that follow from the services.
fn of_services() -> [Group; 2] {
    let endpoint = |service: &Service| format!("cloud.{}", service.hosts().endpoint);
    let switches = Switch::ALL.iter().map(|switch| Row {
        path: switch.name(),
        default: "false".into(),
        meaning: format!("Accept the operations on {}.", switch.things),
    });
    let endpoints = Service::ALL.iter().map(|service| Row {
        path: endpoint(service),
        default: service.hosts().endpoint_of.map_or("unset".into(), |other| format!("that of `{}`", endpoint(&other))),
        meaning: "A VPC endpoint or a local stand-in, `https://HOST[:PORT][/PATH]` or `http://HOST[:PORT][/PATH]`. The agent \
                  uses the value as given and puts no host prefix before it."
            .into(),
    });
    let site_wise = "accept the operations on assets of [AWS IoT SiteWise](docs/greengrass.md#10-sitewise)";
    [
        Group { sets: site_wise.into(), keys: switches.collect() },
        Group { sets: "VPC endpoints, or a stand-in".into(), keys: endpoints.collect() },
    ]
}

/// All keys, in the order of the tables.
pub(crate) fn groups() -> Vec<Group> {
    let of_table = GROUPS
        .iter()
        .map(|(sets, keys)| Group { sets: (*sets).into(), keys: keys.iter().map(|key| Row::of(*key)).collect() });
    of_table.chain(of_services()).collect()
}

impl Group {
    /// The row of the table in `README.md`.
    pub(crate) fn overview(&self) -> String {
        let paths: Vec<String> = self.keys.iter().map(|key| format!("`{}`", key.path)).collect();
        format!("| {} | {} |", paths.join(" "), self.sets)
    }

    /// The rows of the table in `docs/interface.md`.
    pub(crate) fn rows(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(|Row { path, default, meaning }| format!("| `{path}` | {default} | {meaning} |"))
    }
}
