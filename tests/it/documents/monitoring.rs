//! The alert rules and the dashboard.

use super::*;

/// The queries below `value`, each with the title of its panel or the name of its alert: those of
/// the alert rules, and of the dashboard's panels and variables.
fn queries(value: &Value, title: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| queries(item, title, found)),
        Value::Object(members) => {
            let own = ["alert", "title", "label"].iter().find_map(|name| members.get(*name)?.as_str());
            let title = own.unwrap_or(title);
            for (name, member) in members {
                match member.as_str() {
                    Some(query) if ["expr", "query"].contains(&name.as_str()) && query != "prometheus" => {
                        found.push((title.to_owned(), query.to_owned()));
                    }
                    _ => queries(member, title, found),
                }
            }
        }
        _ => {}
    }
}

/// The identifiers of a query, and its matchers: the label and the values that it names.
fn words_of(query: &str) -> (BTreeSet<String>, Vec<(String, Vec<String>)>) {
    let (mut identifiers, mut matchers) = (BTreeSet::new(), Vec::new());
    let mut last = String::new();
    for (n, part) in query.split('"').enumerate() {
        if n % 2 == 1 {
            matchers.push((last.clone(), part.split('|').map(str::to_owned).collect()));
            continue;
        }
        for word in part.split(|c: char| !(c.is_ascii_alphanumeric() || "_$:".contains(c))) {
            // The others are numbers, durations and variables of Grafana.
            if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                word.clone_into(&mut last);
                identifiers.insert(last.clone());
            }
        }
    }
    (identifiers, matchers)
}

fn alert_rules() -> Value {
    serde_saphyr::from_str(&text("examples/prometheus-rules.yaml")).unwrap()
}

#[test]
fn the_alerts_and_the_dashboard_use_metrics_and_labels_that_exist() {
    // Prometheus and the node exporter have these.
    let others = ["up", "node_textfile_mtime_seconds"];
    let agents = METRICS.iter().flat_map(|(name, kind, _)| match *kind {
        "histogram" => vec![format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count")],
        _ => vec![(*name).to_owned()],
    });
    let metrics: BTreeSet<String> = agents.chain(others.map(str::to_owned)).collect();
    let labels = "action answer code command core_device file instance le outcome state status version via";
    let language = "abs and by changes count histogram_quantile increase label_values max max_over_time on or rate sum time unless \
                    vector without";
    let known: BTreeSet<&str> = labels.split(' ').chain(language.split_whitespace()).collect();

    let page = text("metrics.md");
    let answers = page.split("| answer |").nth(1).unwrap().lines().skip(2).map_while(|row| row.split('|').nth(1));
    let answers: Vec<&str> = answers.map(str::trim).chain(["ok"]).collect();
    let states = DeviceState::ALL.iter().map(|state| state.as_str()).chain(["revoked", "pending", "failed"]);
    let values = [("answer", answers), ("outcome", vec!["succeeded", "failed", "silent"]), ("state", states.collect())];

    let mut used = BTreeSet::new();
    for (file, value) in [("rules", alert_rules()), ("dashboard", example("grafana-dashboard.json"))] {
        let mut found = Vec::new();
        queries(&value, "", &mut found);
        assert!(found.len() > 10, "{file}: {found:?}");
        for (title, query) in found {
            let (identifiers, matchers) = words_of(&query);
            let (here, rest): (Vec<_>, Vec<_>) = identifiers.into_iter().partition(|word| metrics.contains(word));
            assert!(!here.is_empty(), "{file}, {title}: {query} has no metric");
            let unknown: Vec<_> = rest.iter().filter(|word| !known.contains(word.as_str())).collect();
            assert!(unknown.is_empty(), "{file}, {title}: {unknown:?}");
            for (label, named) in matchers {
                let Some((_, values)) = values.iter().find(|(name, _)| *name == label) else { continue };
                assert!(named.iter().all(|value| values.contains(&value.as_str())), "{title}: {label} {named:?}");
            }
            if file == "dashboard" && !query.starts_with("label_values") {
                let selectors = query.matches('{').count();
                let chosen = query.matches("core_device=~\"$core_device\"").count();
                assert_eq!((chosen, selectors > 0), (selectors, true), "{title}: {query}");
            }
            used.extend(here);
        }
    }
    let unused: Vec<_> = metrics.difference(&used).filter(|name| !name.ends_with("_sum")).collect();
    assert!(unused.is_empty(), "neither an alert nor a panel uses {unused:?}");
}

#[test]
fn each_alert_names_its_core_device_and_has_a_severity_and_a_test() {
    let (rules, tests) = (alert_rules(), fs::read_to_string(path("../tests/alerts.yaml")).unwrap());
    let groups = rules["groups"].as_array().unwrap();
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        let summary = rule["annotations"]["summary"].as_str().unwrap();
        assert!(summary.contains("{{ $labels.core_device }}"), "{name}: {summary}");
        assert!(rule["annotations"]["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
        // A sum over all core devices would not say which.
        let query = rule["expr"].as_str().unwrap();
        assert!(query.matches("sum").count() == query.matches("sum without (").count(), "{name}: {query}");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name}: tests/alerts.yaml does not have it fire");
    }
}
