//! The sync, and what the agent answers at once: the cancellation of a request, and the queries.

use super::{
    call::Traits,
    changes::ISSUED_AT,
    devices::{self, THING_NAME},
    spec::{Answered, Carried, Given, Member, Read, Rule, Spec, Targets},
    text_kind::{CLIENT, Form, THING, TOKEN, TextKind, VIA, one_of},
};
use crate::domain::{Cancel, ClientId, ClientToken, DeviceState, Page, Query, RequestStatus, ThingName, Via, Whose};

/// The longest `nextToken`, in characters. The longest name after which a list continues, together
/// with its checksum, is shorter.
const MAX_NEXT_TOKEN: usize = 512;

static STATUSES: TextKind =
    TextKind { check: |text| one_of(RequestStatus::parse(text), &statuses()), form: Form::OneOf(statuses) };

static STATES: TextKind =
    TextKind { check: |text| one_of(DeviceState::parse(text), &states()), form: Form::OneOf(states) };

fn statuses() -> Vec<&'static str> {
    RequestStatus::ALL.iter().map(|status| status.as_str()).collect()
}

fn states() -> Vec<&'static str> {
    DeviceState::ALL.iter().map(|state| state.as_str()).collect()
}

/// The token of the request in question.
pub const TARGET_TOKEN: Member =
    Member::required("targetClientToken", Rule::Text(&TOKEN), "The token of the request in question.", "\"retire-7\"");
/// The client of that request.
pub const TARGET_CLIENT: Member = Member::optional(
    "targetClient",
    Rule::Text(&CLIENT),
    "The client that sent the request in question, if it is not the sender.",
    "\"bench-tool\"",
);
/// The transport of that client.
pub const TARGET_VIA: Member = Member::optional(
    "targetVia",
    Rule::Text(&VIA),
    "The transport of that request. Only a sender on the local socket may name another transport than its own.",
    "\"iot-core\"",
);
/// Continues a list.
pub const NEXT_TOKEN: Member = Member::optional(
    "nextToken",
    Rule::Short(MAX_NEXT_TOKEN),
    "Continues a list, from the answer that held its last page.",
    "\"7.0a1b2c3d4e5f\"",
);
const NEXT_DEVICE: Member = Member { example: "\"sensor-7.0a1b2c3d4e5f\"", ..NEXT_TOKEN };
/// The rows of a page.
pub const MAX_RESULTS: Member = Member::optional(
    "maxResults",
    Rule::Whole(1, Page::MAX_ROWS as u64),
    "Rows of a page; it has fewer where they would not fit into a message.",
    "10",
);
/// Selects requests.
pub const STATUS: Member =
    Member::optional("status", Rule::Text(&STATUSES), "Only requests with that status.", "\"IN_PROGRESS\"");
/// Selects devices.
pub const STATE: Member =
    Member::optional("state", Rule::Text(&STATES), "Only devices in that state.", "\"DISASSOCIATING\"");
/// Asks for a device's history.
pub const HISTORY: Member =
    Member::optional("history", Rule::Flag, "Whether to add the history of the device.", "true");
/// The device in question.
pub const THING_IN_QUESTION: Member =
    Member::required(THING_NAME, Rule::Text(&THING), "The device's thing name.", "\"sensor-7\"");

const PAGE: &[Member] = &[NEXT_TOKEN, MAX_RESULTS];
const WHOSE: &[Member] = &[TARGET_CLIENT, TARGET_VIA];

/// `sync`
pub static SYNC: Carried = Carried {
    spec: Spec {
        name: "sync",
        short: "sync",
        about: "Reads the cloud's list of client devices now.",
        broadcast: false,
        members: &[&[ISSUED_AT]],
        accepted: &[&["acceptedAt", "clientToken"]],
        readme: "optional `issuedAt`; reads the cloud's list now",
    },
    call: Traits {
        letter: "L",
        action: "greengrass:ListClientDevicesAssociatedWithCoreDevice",
        suffix: "_LIST",
        max_entries: 0,
        ..devices::CALL
    },
    targets: Targets::Registry,
    subcommand: None,
};

/// `cancel`
pub static CANCEL: Answered = Answered {
    spec: Spec {
        name: "cancel",
        short: "cancel",
        about: "Withdraws the entries of a request that were not sent.",
        broadcast: false,
        members: &[WHOSE, &[TARGET_TOKEN]],
        accepted: &[&["canceledCount", "inFlightCount"]],
        readme: "`targetClientToken`; optional `targetClient`, `targetVia`; withdraws what was not sent",
    },
    read: Read::Cancel(|given| Some(Cancel { client: whose(given), token: target_token(given)? })),
};

/// `get-request`
pub static GET_REQUEST: Answered = Answered {
    spec: Spec {
        name: "get-request",
        short: "get-request",
        about: "Shows a request with its failed entries.",
        broadcast: false,
        members: &[&[TARGET_TOKEN], WHOSE, PAGE],
        accepted: &[&["request", "nextToken?"]],
        readme: "`targetClientToken`; optional `targetClient`, `targetVia`, `nextToken`, `maxResults`",
    },
    read: Read::Query(|given| {
        Some(Query::Request { page: page(given), client: whose(given), token: target_token(given)? })
    }),
};

/// `list-requests`
pub static LIST_REQUESTS: Answered = Answered {
    spec: Spec {
        name: "list-requests",
        short: "list-requests",
        about: "Lists the sender's requests, newest first.",
        broadcast: false,
        members: &[WHOSE, &[STATUS], PAGE],
        accepted: &[&["requests", "nextToken?"]],
        readme: "optional `targetClient`, `targetVia`, `status`, `nextToken`, `maxResults`",
    },
    read: Read::Query(|given| {
        let status = given.parsed(&STATUS, |text| RequestStatus::parse(text).ok_or(()));
        Some(Query::Requests { client: whose(given), status, page: page(given) })
    }),
};

/// `get-device`
pub static GET_DEVICE: Answered = Answered {
    spec: Spec {
        name: "get-device",
        short: "get-device",
        about: "Shows a device.",
        broadcast: true,
        members: &[&[HISTORY, THING_IN_QUESTION]],
        accepted: &[&["device", "history?"]],
        readme: "`thingName`; with `history: true` also its history",
    },
    read: Read::Query(|given| {
        let thing = given.parsed(&THING_IN_QUESTION, ThingName::new)?;
        Some(Query::Device { thing, history: given.flag(&HISTORY) })
    }),
};

/// `list-devices`
pub static LIST_DEVICES: Answered = Answered {
    spec: Spec {
        name: "list-devices",
        short: "list-devices",
        about: "Lists the devices by name.",
        broadcast: false,
        members: &[&[STATE, NEXT_DEVICE, MAX_RESULTS]],
        accepted: &[&["devices", "nextToken?"]],
        readme: "optional `state` (`ASSOCIATED`, `ASSOCIATING`, `DISASSOCIATING`, `DISASSOCIATED`), `nextToken`, \
                 `maxResults`",
    },
    read: Read::Query(|given| {
        let state = given.parsed(&STATE, |text| DeviceState::parse(text).ok_or(()));
        Some(Query::Devices { state, page: page(given) })
    }),
};

fn target_token(given: &Given) -> Option<ClientToken> {
    given.parsed(&TARGET_TOKEN, ClientToken::new)
}

fn page(given: &Given) -> Page {
    Page {
        next_token: given.text(&NEXT_TOKEN).map(str::to_owned),
        max_results: given.whole(&MAX_RESULTS).and_then(|rows| usize::try_from(rows).ok()),
    }
}

fn whose(given: &Given) -> Whose {
    Whose {
        client: given.parsed(&TARGET_CLIENT, ClientId::new),
        via: given.parsed(&TARGET_VIA, |text| Via::parse(text).ok_or(())),
    }
}
