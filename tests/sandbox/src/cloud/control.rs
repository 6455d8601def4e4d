//! The control API: the functions of [`Cloud`](super::Cloud) over HTTP, for tests in other
//! languages.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::associations::Group;
use super::faults::Queued;
use super::http::{Body, Link, reply, serve};
use super::model;
use super::shared::Shared;
use super::state::{NotAssociated, NotInProject};

/// Maximum number of faults that can be queued over HTTP; a test needs only a few.
const FAULTS_LIMIT: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Associate {
    core: String,
    things: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildAssets {
    parent: String,
    hierarchy: String,
    children: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectAssets {
    project: String,
    assets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offline {
    offline: bool,
}

/// The settings; a member that is omitted keeps its value.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    page_size: Option<usize>,
    /// 0 for lists without a lag.
    list_lag_seconds: Option<u32>,
    not_associated: Option<NotAssociated>,
    not_in_project: Option<NotInProject>,
    clock_offset_seconds: Option<i64>,
    first_entry: Option<usize>,
}

/// Serves until the stand-in is dropped; being offline does not end the control API.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let own = watch::Sender::new(Link::Up);
    let mut of_cloud = shared.link.subscribe();
    let handler = {
        let shared = Arc::clone(&shared);
        move |request| {
            let response = answer(&shared, &request);
            async { Ok(response) }
        }
    };
    let serving = serve(listener, own.subscribe(), handler);
    let closed = of_cloud.wait_for(|link| *link == Link::Closed);
    tokio::select! {
        () = serving => {}
        _ = closed => {}
    }
    own.send_replace(Link::Closed);
}

fn answer(shared: &Shared, request: &Request<Bytes>) -> Response<Body> {
    match route(shared, request) {
        Ok(value) => reply(StatusCode::OK, "application/json", value.to_string()),
        Err((status, message)) => reply(status, "text/plain", message + "\n"),
    }
}

fn route(shared: &Shared, request: &Request<Bytes>) -> Result<Value, (StatusCode, String)> {
    let done = Ok(json!({}));
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/_control/associate") => {
            let Associate { core, things } = parse(request)?;
            shared.add(&Group::Core(core), &things);
            done
        }
        (&Method::GET, "/_control/associated") => members(shared, &Group::Core(parameter(request, "core")?)),
        (&Method::POST, "/_control/child-assets") => {
            let ChildAssets { parent, hierarchy, children } = parse(request)?;
            shared.add(&Group::Children { parent, hierarchy }, &children);
            done
        }
        (&Method::GET, "/_control/child-assets") => {
            let [parent, hierarchy] = ["parent", "hierarchy"].map(|name| parameter(request, name));
            members(shared, &Group::Children { parent: parent?, hierarchy: hierarchy? })
        }
        (&Method::POST, "/_control/project-assets") => {
            let ProjectAssets { project, assets } = parse(request)?;
            shared.add(&Group::Project(project), &assets);
            done
        }
        (&Method::GET, "/_control/project-assets") => members(shared, &Group::Project(parameter(request, "project")?)),
        (&Method::POST, "/_control/faults") => {
            let fault: Queued = parse(request)?;
            if shared.lock().faults.len() >= FAULTS_LIMIT {
                return Err((StatusCode::CONFLICT, format!("clear the faults first: there are {FAULTS_LIMIT}")));
            }
            shared.change(|state| state.faults.inject(fault));
            done
        }
        (&Method::DELETE, "/_control/faults") => {
            shared.clear_faults();
            done
        }
        (&Method::POST, "/_control/offline") => {
            let Offline { offline } = parse(request)?;
            shared.set_offline(offline);
            done
        }
        (&Method::POST, "/_control/settings") => {
            apply(shared, parse(request)?);
            done
        }
        (&Method::GET, "/_control/calls") => Ok(json!(shared.lock().calls.iter().collect::<Vec<_>>())),
        (&Method::DELETE, "/_control/calls") => {
            shared.change(|state| state.clear_observations());
            done
        }
        (&Method::GET, "/_control/model") => Ok(model::describe()),
        (method, path) => Err((StatusCode::NOT_FOUND, format!("no such request: {method} {path}"))),
    }
}

fn parse<T: DeserializeOwned>(request: &Request<Bytes>) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(request.body())
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("send a body as documented: {error}")))
}

fn members(shared: &Shared, group: &Group) -> Result<Value, (StatusCode, String)> {
    Ok(json!(shared.lock().associations.members(group)))
}

fn parameter(request: &Request<Bytes>, name: &str) -> Result<String, (StatusCode, String)> {
    let mut pairs = request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs
        .find(|(key, _)| *key == name)
        .ok_or_else(|| (StatusCode::BAD_REQUEST, format!("name what to show: ?{name}=VALUE")))?;
    Ok(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

fn apply(shared: &Shared, settings: Settings) {
    shared.change(|state| {
        if let Some(size) = settings.page_size {
            state.settings.page_size = Some(size.max(1));
        }
        if let Some(seconds) = settings.list_lag_seconds {
            state.associations.set_lag((seconds > 0).then(|| Duration::from_secs(seconds.into())));
        }
        if let Some(behaviour) = settings.not_associated {
            state.settings.not_associated = behaviour;
        }
        if let Some(behaviour) = settings.not_in_project {
            state.settings.not_in_project = behaviour;
        }
        if let Some(seconds) = settings.clock_offset_seconds {
            state.settings.clock_offset = seconds;
        }
        if let Some(number) = settings.first_entry {
            state.settings.first_entry = number;
        }
    });
}
