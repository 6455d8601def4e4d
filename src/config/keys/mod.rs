//! Every key of the configuration: its path, its default, the values that it accepts, and what it
//! sets.
//!
//! The readers of the sections get paths, defaults and ranges from here, and the tables of
//! `README.md` and of `docs/interface.md` are made of it. The keys of the services (`siteWise` and
//! `cloud`) follow from [`Service`](crate::domain::Service).

mod key;
#[cfg(test)]
pub(crate) mod table;

pub(super) use key::{Flag, Key, Number, Text, Texts, Whole};
use key::{flag, number, text, texts, unset, whole};

/// The longest time that may be configured, one year in seconds. It keeps sums of times far from an
/// overflow.
const YEAR: u64 = 365 * 24 * 3600;

/// The most bytes of a payload that nucleus lite transfers between AWS IoT Core and a component. It
/// loses larger messages without an error.
pub(super) const LITE_MAX_PAYLOAD: u64 = 4900;

/// Defines the keys, in groups, and the list of the groups with what each sets.
macro_rules! keys {
    ($($sets:literal { $($name:ident: $takes:ty = $key:expr;)* })*) => {
        $($(pub(super) const $name: Key<$takes> = $key;)*)*

        /// What each group sets, and its keys.
        #[cfg(test)]
        const GROUPS: &[(&str, &[&dyn key::Described])] = &[$(($sets, &[$(&$name),*])),*];
    };
}

keys! {
    "this core device, its region, and the directory of the journal and the database" {
        CORE: Text = unset("coreThingName", "`$AWS_IOT_THING_NAME`", "The thing name of this core device.");
        REGION: Text = unset("region", "`$AWS_REGION`", "The AWS region.");
        DATA_DIR: Text = unset(
            "dataDir",
            "`$OFFBOARD_DATA_DIR`, else `./offboard-data`",
            "The [data directory](#data-directory).",
        );
    }
    "the broker, or `none` for no broker; the agent's client id, and the first level of every topic" {
        URL: Text = text(
            "mqtt.url",
            "mqtts://localhost:8883",
            "`mqtt://HOST[:PORT]`, `mqtts://HOST[:PORT]`, or `none`: no broker, so that the local socket and [Greengrass \
             IPC](#greengrass-ipc) are the only transports. An IPv6 address is in brackets: `mqtt://[::1]:1883`. The certificate of the Greengrass broker contains the host \
             name `localhost`, but not 127.0.0.1.",
        );
        CLIENT_ID: Text = unset(
            "mqtt.clientId",
            "`<coreThingName>-offboard`",
            "The MQTT client identifier; it follows the rule of [`{client}`](#senders). Greengrass brokers require the \
             thing name of the agent's certificate here, and the documented Mosquitto requires its common name.",
        );
        KEEP_ALIVE: Whole = whole(
            "mqtt.keepAliveSeconds",
            30,
            5..=65_535,
            "The protocol is MQTT 3.1.1 with a persistent session.",
        );
        TOPIC_PREFIX: Text = text(
            "topicPrefix",
            "offboard",
            "The first level of every topic: one level of at most 128 bytes, without `+`, `#`, `/`, `$` and control \
             characters.",
        );
    }
    "TLS and login; PEM files, read again at every connection" {
        CA_FILE: Text = unset(
            "mqtt.caFile",
            "unset: the system's roots",
            "The authority of the broker, PEM. The agent reads this file, `mqtt.certFile` and `mqtt.keyFile` again at \
             every connection, so that a rotation needs no restart. Where the component's `brokerCaFile` is set, the \
             default is [its copy](greengrass.md#the-copy-of-the-brokers-authority).",
        );
        CERT_FILE: Text = unset("mqtt.certFile", "unset", "The agent's certificate, PEM. It requires `mqtt.keyFile`.");
        KEY_FILE: Text =
            unset("mqtt.keyFile", "unset", "The key of that certificate, PEM. It requires `mqtt.certFile`.");
        USERNAME: Text = unset("mqtt.username", "unset", "The agent's user name.");
        PASSWORD: Text =
            unset("mqtt.password", "unset", "The agent's password. It requires `mqtt.username`.");
    }
    "how many entries a call has, and how long an entry waits for others" {
        MAX_ENTRIES: Whole =
            whole("batch.maxEntries", 100, 1..=100, "Entries in a call. The maximum is the limit of the API.");
        LINGER: Whole = whole(
            "batch.lingerMs",
            100,
            0..=60_000,
            "The longest time that an entry waits for further entries in its call, if no call of its kind is in progress \
             when it arrives.",
        );
    }
    "the wait after a failed call" {
        RETRY_BASE: Whole = whole(
            "retry.baseMs",
            1000,
            1..=3_600_000,
            "The wait before a retry is random below a limit that doubles from this value to `retry.capMs`; while the \
             cloud is out of reach see [Sync](#sync). It must not be above `retry.capMs`.",
        );
        RETRY_CAP: Whole = whole("retry.capMs", 300_000, 1..=86_400_000, "The highest limit of that wait.");
    }
    "the rate of calls. All core devices of an AWS account share one quota" {
        CALLS_PER_SECOND: Number = number(
            "rate.callsPerSecond",
            1.0,
            (0.001, 1000.0),
            "Cloud calls of all kinds together, list pages included. The quota belongs to the account and is shared by \
             its core devices.",
        );
        BURST: Whole = whole("rate.burst", 10, 1..=1000, "Calls that may be made at once after a time without calls.");
    }
    "the time between two reads of the cloud's list" {
        SYNC_INTERVAL: Whole = whole(
            "sync.intervalSeconds",
            3600,
            0..=YEAR,
            "The time between two periodic [syncs](#sync), plus or minus a tenth; 0 turns the periodic sync off. The \
             maximum is a year.",
        );
    }
    "the limits above which the agent rejects commands" {
        MAX_PAYLOAD: Whole = whole(
            "limits.maxPayloadBytes",
            130_000,
            // The client library accepts 1 MiB with topic and header. Below 16384 a full rejection
            // would not fit.
            16_384..=1_000_000,
            "The payload of one MQTT message, in either direction. (Greengrass's broker accepts 131072 bytes with topic \
             and header.)",
        );
        MAX_PENDING_ENTRIES: Whole = whole(
            "limits.maxPendingEntries",
            100_000,
            1..=10_000_000,
            "Above this number of open entries the agent rejects commands.",
        );
        MAX_DATABASE: Whole = whole(
            "limits.maxDatabaseBytes",
            256 << 20,
            1 << 20..=1 << 40,
            "The minimum is 1 MiB, and the maximum 1 TiB. Above this number of live bytes in the store the agent rejects \
             commands. The registry's file may be several \
             times as large until it is rewritten; the agent also rejects commands while the file is above 8 times this \
             limit, or above 128 MiB if that is more.",
        );
    }
    "how long finished requests with their tokens, and disassociated devices, are kept" {
        REQUESTS_DAYS: Number = number(
            "retention.requestsDays",
            7.0,
            (0.0, 3650.0),
            "How long the agent keeps a finished request with its token. See [Idempotency](#idempotency).",
        );
        TOMBSTONES_DAYS: Number = number(
            "retention.tombstonesDays",
            30.0,
            (0.0, 3650.0),
            "How long the agent keeps a disassociated device, and the events in the history of a device.",
        );
    }
    "devices and assets that are never disassociated, and the largest share of the devices that a command may \
     disassociate without `\"force\": true`" {
        PROTECTED: Texts = texts(
            "guard.protected",
            "Patterns of thing names and asset ids that are never disassociated; `*` is a wildcard. See \
             [Guards](#guards).",
        );
        MAX_FRACTION: Number = number(
            "guard.maxFraction",
            1.0,
            (0.0, 1.0),
            "The largest share of the known devices that may be disassociated without `force`. See [Guards](#guards).",
        );
    }
    "disable the broker's client of a disassociated device, [on Mosquitto](docs/greengrass.md#9-lock-a-device-out)" {
        DYNAMIC_SECURITY: Flag = flag(
            "localAccess.mosquittoDynamicSecurity",
            "Disable the broker's client of a disassociated device. It needs a broker. See [Local \
             access](#local-access).",
        );
        ACCESS_USERNAME: Text = text(
            "localAccess.username",
            "{thingName}",
            "The user name of a device's client in the dynamic-security plugin. At most 256 bytes, with `{thingName}` in \
             the place of the device's name.",
        );
    }
    "commands from AWS IoT Core and from other components by [Greengrass IPC](docs/interface.md#greengrass-ipc), and \
     the size of its messages" {
        IPC_IOT_CORE: Flag = flag(
            "ipc.iotCore",
            "Accept commands from AWS IoT Core through the nucleus. See [Greengrass IPC](#greengrass-ipc).",
        );
        IPC_PUBSUB: Flag =
            flag("ipc.pubsub", "Accept commands from other components by local publish/subscribe.");
        IPC_MAX_PAYLOAD: Whole = whole(
            "ipc.maxPayloadBytes",
            LITE_MAX_PAYLOAD,
            // The agent shortens no message below the minimum, and the classic nucleus transfers no
            // more than the maximum.
            4096..=131_072,
            "The payload of one IPC message, in either direction. Nucleus lite loses larger messages from IoT Core \
             without an error; the classic nucleus accepts 131072 bytes.",
        );
    }
    "accept [commands for all core devices](docs/interface.md#broadcast)" {
        ACCEPT_BROADCAST: Flag = flag(
            "acceptBroadcast",
            "Also accept [broadcasts](#broadcast). It must be false on a core device named `all`.",
        );
    }
    "a retained message for each device, [metrics](docs/metrics.md), and the form of log lines" {
        PUBLISH_DEVICES: Flag = flag(
            "publishDevices",
            "Publish a retained message for each device. See [Device record](#device-record).",
        );
        METRICS_INTERVAL: Whole = whole(
            "metrics.intervalSeconds",
            0,
            0..=YEAR,
            "The time between two [metrics](metrics.md) messages; 0 turns them off. The maximum is a year.",
        );
        LOG_FORMAT: Text = text("log.format", "text", "`text` or `json`.");
    }
}
