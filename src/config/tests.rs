//! The configuration as a whole: which texts are read, which are refused, and what is shown.

use std::{path::PathBuf, time::Duration};

use super::{mqtt::broker_url, *};

fn env(name: &str) -> Option<String> {
    match name {
        "AWS_IOT_THING_NAME" => Some("MyCore".into()),
        "AWS_REGION" => Some("eu-west-1".into()),
        "OFFBOARD_DATA_DIR" => Some(String::new()),
        _ => None,
    }
}

#[test]
fn what_is_shown_has_no_secret() {
    let text = r#"{"mqtt":{"username":"u","password":"hunter2","pasword":"hunter3"},"token":"hunter4","a.b":"hunter5",
        "mqtt.password":"hunter7","rate":{"pass.word":"hunter8"},"x":{"y":"hunter6"},"batch":{"lingerMs":5}}"#;
    let env = |name: &str| (name != "OFFBOARD_DATA_DIR").then(|| "fromEnvironment".to_owned());
    let shown = parse(text, env).unwrap().0.shown;
    assert!(!shown.to_string().contains("hunter"), "{shown}");
    assert_eq!((&shown["region"], &shown["batch"]["lingerMs"]), (&"fromEnvironment".into(), &5.into()));
    assert_eq!(shown["mqtt"]["username"], "u");
}

#[test]
fn nothing_but_the_environment_is_enough() {
    let (config, unknown) = parse("", env).unwrap();
    let mqtt = config.mqtt.unwrap();
    assert_eq!((mqtt.host.as_str(), mqtt.port, mqtt.tls), ("localhost", 8883, true));
    assert_eq!(mqtt.client_id, "MyCore-offboard");
    assert_eq!(config.data_dir, PathBuf::from("./offboard-data"));
    assert_eq!((config.batch.max_entries, config.rate.burst), (100, 10));
    assert_eq!(config.sync_interval, Some(Duration::from_secs(3600)));
    assert!(config.guard.protected.iter().any(|p| p.matches("MyCore")));
    assert!(config.guard.protected.iter().any(|p| p.matches("MyCore-offboard")));
    assert!(unknown.is_empty());
}

/// The broker's client is one of the agent's own things also while there is no broker, which may
/// be there again tomorrow.
#[test]
fn without_a_broker_its_client_is_protected_and_its_length_is_no_fault() {
    for (settings, client) in [("", "MyCore-offboard"), (r#","clientId":"gateway""#, "gateway")] {
        let (config, _) = parse(&format!(r#"{{"mqtt":{{"url":"none"{settings}}}}}"#), env).unwrap();
        assert!(config.guard.protected.iter().any(|pattern| pattern.matches(client)), "{client}");
    }
    let long = "c".repeat(128);
    let with_core = |name: &str| if name == "AWS_IOT_THING_NAME" { Some(long.clone()) } else { env(name) };
    parse(r#"{"mqtt":{"url":"none"}}"#, with_core).unwrap();
    parse("", with_core).unwrap_err();
}

#[test]
fn the_copy_of_the_brokers_authority_is_used_where_there_is_to_be_one() {
    let ca_file = |source: &str, text: &str| {
        let set = |name: &str| match name {
            "BROKER_CA_FILE" => Some(source.to_owned()),
            "BROKER_CA_COPY" => Some("/artifacts/broker-ca.pem".into()),
            _ => env(name),
        };
        let (config, _) = parse(text, set).unwrap();
        let file = config.mqtt.unwrap().ca_file;
        // `check` reads the shown configuration of the running agent, in an environment of its own.
        let again = parse(&config.shown.to_string(), env).unwrap().0;
        assert_eq!(again.mqtt.unwrap().ca_file, file);
        file
    };
    assert_eq!(ca_file("/etc/ca.pem", "{}"), Some("/artifacts/broker-ca.pem".into()));
    assert_eq!(ca_file("/etc/ca.pem", r#"{"mqtt":{"caFile":""}}"#), Some("/artifacts/broker-ca.pem".into()));
    assert_eq!(ca_file("/etc/ca.pem", r#"{"mqtt":""}"#), Some("/artifacts/broker-ca.pem".into()));
    assert_eq!(ca_file("/etc/ca.pem", r#"{"mqtt":{"caFile":"own.pem"}}"#), Some("own.pem".into()));
    assert_eq!(ca_file("", "{}"), None, "without brokerCaFile no copy is made");
}

#[test]
fn every_bad_key_is_reported_at_once() {
    let text = r#"{"coreThingName":"a b","mqtt":{"url":"http://x","keepAliveSeconds":1,"certFile":"c"},
        "batch":{"maxEntries":101},"rate":{"burst":"many"},"sync":{"intervalSeconds":-1},"guard":{"maxFraction":2,
        "protected":["a",7]},"publishDevices":"maybe","cloud":{"greengrassEndpoint":"localhost"},
        "log":{"format":"xml"},"retry":{"baseMs":5000,"capMs":1000},"topicPrefix":"a/b"}"#;
    let ConfigError(faults) = parse(text, |_| None).unwrap_err();
    let mut names: Vec<_> = faults.iter().map(|fault| fault.name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "batch.maxEntries",
        "cloud.greengrassEndpoint",
        "coreThingName",
        "guard.maxFraction",
        "guard.protected[1]",
        "log.format",
        "mqtt.keepAliveSeconds",
        "mqtt.keyFile",
        "mqtt.url",
        "publishDevices",
        "rate.burst",
        "region",
        "retry.baseMs",
        "sync.intervalSeconds",
        "topicPrefix",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_is_shown_of_the_recipes_defaults_is_read_again() {
    for (url, password) in [("", ""), ("", "null"), ("none", "")] {
        let text = format!(r#"{{"mqtt":{{"url":"{url}","username":"","password":"{password}"}}}}"#);
        let shown = parse(&text, env).unwrap().0.shown.to_string();
        assert!(parse(&shown, |_| None).is_ok(), "{shown}");
    }
    let text = r#"{"mqtt":{"url":"none","username":"u","password":"hunter2"}}"#;
    assert!(!parse(text, env).unwrap().0.shown.to_string().contains("hunter2"));
}

#[test]
fn a_user_in_the_brokers_address_is_pointed_to_the_keys_for_it() {
    let ConfigError(faults) = parse(r#"{"mqtt":{"url":"mqtt://user:hunter2@broker"}}"#, env).unwrap_err();
    let text = ConfigError(faults).to_string();
    assert!(text.contains("mqtt.username and mqtt.password") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_region_is_a_part_of_a_host_name() {
    for bad in ["eu central 1", "x.example", "x/", "-x", "eu-central-1#", "\u{e9}u-west-1"] {
        let ConfigError(faults) = parse(&format!(r#"{{"region":"{bad}"}}"#), env).unwrap_err();
        assert_eq!(faults[0].name, "region", "{bad}");
    }
    for region in ["eu-central-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1", "ap-southeast-12"] {
        assert!(is_like_a_region(region), "{region}");
    }
    for other in ["eu-central1", "eu-central", "Frankfurt", "eu-central-l", "EU-CENTRAL-1", "1", ""] {
        assert!(!is_like_a_region(other), "{other}");
    }
}

#[test]
fn unknown_keys_are_named_and_do_no_harm() {
    let (_, unknown) = parse(r#"{"colour":"red","mqtt":{"qos":2}}"#, env).unwrap();
    assert_eq!(unknown, ["mqtt.qos", "colour"]);
}

#[test]
fn faults_name_what_is_wrong() {
    let text = |text: &str| parse(text, env).unwrap_err().to_string();
    assert!(text("[]").contains("text must be an object"), "{}", text("[]"));
    let unknown = text(r#"{"guard":{"foo":1}}"#);
    assert!(unknown.contains("guard.foo is not a key of this section"), "{unknown}");
}

#[test]
fn a_guard_that_protects_nothing_is_a_fault() {
    for bad in [
        r#"["device-0001,device-0002"]"#,
        r#"["^device-0003$"]"#,
        r#"["arn:aws:iot:eu-west-1:123456789012:thing/device-0001"]"#,
        r#"["device-?"]"#,
        r#"["device-0001 "]"#,
        r#"[""]"#,
        r#"[7]"#,
    ] {
        let ConfigError(faults) = parse(&format!("{{\"guard\":{{\"protected\":{bad}}}}}"), env).unwrap_err();
        assert_eq!(faults.len(), 1, "{bad}");
        assert_eq!(faults[0].name, "guard.protected[0]", "{bad}");
    }
    let error = parse(r#"{"guard":{"protected":["^a$"]}}"#, env).unwrap_err().to_string();
    assert!(error.contains("guard.protected[0] can match no thing name or asset id"), "{error}");
    let ConfigError(faults) = parse(r#"{"guard":{"protect":["a"]}}"#, env).unwrap_err();
    assert_eq!(faults[0].name, "guard.protect");
}

#[test]
fn a_key_that_occurs_twice_is_a_fault_at_any_depth() {
    let text = r#"{"x":{"y":{"z":1,"z":2}},
        "guard":{"protected":["a"],"protected":[]},"mqtt":{},"region":"x","mqtt":{"url":"none"}}"#;
    let ConfigError(faults) = parse(text, env).unwrap_err();
    let names: Vec<_> = faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!(names, ["mqtt", "guard.protected", "x.y.z"]);
}

/// Otherwise the guard after that key would be lost without a warning.
#[test]
fn a_key_that_is_no_text_is_a_fault() {
    for text in [r#"{"\ud800":1,"guard":{"protected":["a"]}}"#, r#"{"guard":{"\ud800":1,"protected":["a"]}}"#] {
        let error = parse(text, env).unwrap_err().to_string();
        assert!(error.contains("not Unicode"), "{error}");
    }
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    assert!(parse("\u{feff}{\"region\":\"eu-west-1\"}", env).is_ok());
}

#[test]
fn a_recipe_without_configuration_is_recognised() {
    let error = parse("{configuration:/agent}", env).unwrap_err().to_string();
    assert!(error.contains("placeholder"), "{error}");
}

#[test]
fn broker_urls() {
    assert_eq!(broker_url("mqtt://h"), Ok((false, "h".into(), 1883)));
    assert_eq!(broker_url("mqtts://[::1]:9/"), Ok((true, "::1".into(), 9)));
    assert_eq!(broker_url("MQTTS://Broker"), Ok((true, "Broker".into(), 8883)));
    for bad in [
        "h:1883",
        "mqtt://",
        "mqtt:///",
        "mqtt://:1883",
        "mqtt://h:x",
        "mqtt://u@h",
        "mqtt://h/path",
        "mqtt://h?q",
        "ws://h",
        "mqtt://h:0",
        "mqtt://h:99999",
        "mqtt://[::1",
        "mqtt://::1",
        "mqtt://h h",
        " mqtt://h",
        "none ",
    ] {
        let error = broker_url(bad).unwrap_err();
        assert!(error.contains("mqtt://HOST[:PORT], mqtts://HOST[:PORT] or none"), "{bad}: {error}");
        assert!(bad.contains('@') || error.contains(&format!("{bad:?}")), "{bad}: {error}");
    }
    let (config, _) = parse(r#"{"mqtt":{"url":"none"}}"#, env).unwrap();
    assert!(config.mqtt.is_none());
}

#[test]
fn endpoints_of_the_cloud() {
    let parsed = |key: &str, value: &str| parse(&format!(r#"{{"cloud":{{"{key}":"{value}"}}}}"#), env);
    for key in ["greengrassEndpoint", "siteWiseEndpoint", "siteWiseMonitorEndpoint"] {
        for good in ["https://h", "http://127.0.0.1:4566/", "http://[::1]:80", "https://h:443/a/b%20c", ""] {
            assert!(parsed(key, good).is_ok(), "{good}");
        }
        for bad in [
            "localhost",
            "ftp://h",
            "http://",
            "http:///x",
            "http://:80",
            "http://[zz",
            "http://[::1",
            "http://::1",
            "http://h:99999",
            "http://h:0",
            "http://h:",
            "http://h h",
            "http://h/a b",
            "http://h?q",
            "http://h/#f",
            "http://[fe80::1%eth0]",
            " http://h",
            r"http://h/\u0007",
        ] {
            let error = parsed(key, bad).unwrap_err().to_string();
            for part in [&format!("cloud.{key} is \""), "it must be https://HOST[:PORT][/PATH] or http://"] {
                assert!(error.contains(part), "{bad}: {error}");
            }
        }
        let (config, _) = parsed(key, "HTTPS://Host/Path").unwrap();
        let given = crate::domain::Service::ALL.iter().find_map(|service| config.cloud.of(*service));
        assert_eq!(given, Some("https://Host/Path"));
        let error = parsed(key, "https://user:hunter2@h").unwrap_err().to_string();
        assert!(error.contains("without a user name or password") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_wrong_address_is_named_with_its_key_and_what_is_expected() {
    let error = parse(r#"{"mqtt":{"url":"mqtt://[::1"},"topicPrefix":"a/#"}"#, env).unwrap_err().to_string();
    for part in [
        "mqtt.url is \"mqtt://[::1\", and it has a [ without a ]; it must be mqtt://HOST[:PORT],",
        "topicPrefix is \"a/#\"; it must be one topic level",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let long = format!("mqtt://{}", "x".repeat(1 << 20));
    let error = parse(&format!(r#"{{"mqtt":{{"url":"{long}"}}}}"#), env).unwrap_err().to_string();
    assert!(error.len() < 1000 && error.contains("..."), "{} bytes", error.len());
}

#[test]
fn a_password_is_not_shown() {
    let (config, _) = parse(r#"{"mqtt":{"username":"u","password":"hush"}}"#, env).unwrap();
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn a_number_beyond_the_range_of_numbers_is_a_fault_in_a_key_that_nothing_reads_too() {
    let text = r#"{"coreThingName":"MyCore","region":"eu-west-1","mqtt":{"clientId":"agent","other":1e999}}"#;
    let error = parse(text, |_| None).unwrap_err();
    assert!(error.to_string().contains("number out of range at line 1 column"), "{error}");
}

/// `check` and `status` read the shown configuration again, and a nucleus may convert a number to a
/// text: neither changes it.
#[test]
fn a_number_of_many_digits_is_the_same_as_a_text_and_when_it_is_read_again() {
    let values: Vec<String> = (1..200).map(|n| format!("{}", 0.001 + f64::from(n) / 701.3)).collect();
    for value in &values {
        let rate = |text: String| parse(&text, env).unwrap().0;
        let config = rate(format!(r#"{{"rate":{{"callsPerSecond":{value}}}}}"#));
        let as_text = rate(format!(r#"{{"rate":{{"callsPerSecond":"{value}"}}}}"#));
        let again = rate(config.shown.to_string());
        let read = [&config, &as_text, &again].map(|config| config.rate.calls_per_second.to_string());
        assert_eq!(read, [value, value, value].map(Clone::clone));
    }
    let entries =
        |value: &str| parse(&format!(r#"{{"batch":{{"maxEntries":{value}}}}}"#), env).unwrap_err().to_string();
    let fault = entries("188888888888988860000.1");
    let shown = fault.rsplit("not ").next().and_then(|rest| rest.split_whitespace().next()).unwrap();
    assert_eq!(entries(shown), fault);
}
