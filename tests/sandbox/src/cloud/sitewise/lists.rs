//! The two lists of SiteWise: the assets of a project, and the parents or children of an asset.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::check_asset;
use super::input::check_custom_id;
use crate::cloud::REGION;
use crate::cloud::associations::{Associations, Group};
use crate::cloud::calls::Operation;
use crate::cloud::errors::ApiError;
use crate::cloud::faults::Action;
use crate::cloud::model::sitewise::{DEFAULT_RESULTS, DIRECTIONS, EXTERNAL, MAX_RESULTS};
use crate::cloud::model::uuid;
use crate::cloud::pages::Pager;
use crate::cloud::state::State;
use crate::cloud::target::Target;

/// The account in ARNs, which is the one in AWS's examples.
const ACCOUNT: &str = "123456789012";

/// The asset model of all assets.
const MODEL: &str = "0ff10ad0-0000-4000-8000-000000000000";

pub(super) fn perform(state: &State, target: &Target, fault: Option<&Action>) -> Result<Value, ApiError> {
    match target.operation {
        Operation::ListProjectAssets => assets_of_project(state, target, fault),
        _ => associated_assets(state, target, fault),
    }
}

fn assets_of_project(state: &State, target: &Target, fault: Option<&Action>) -> Result<Value, ApiError> {
    let pager = pager(state, target, &target.about)?;
    let project = Group::Project(target.about.clone());
    if !state.associations.has(&project) {
        // The service model declares no ResourceNotFoundException for this operation.
        return Err(ApiError::invalid_request(format!("project {} does not exist", target.about)));
    }
    let (page, next) = pager.page(state.associations.listed(&project), fault);
    let ids = page.into_iter().map(|(id, _)| Value::String(id)).collect();
    Ok(answer("assetIds", ids, next))
}

fn associated_assets(state: &State, target: &Target, fault: Option<&Action>) -> Result<Value, ApiError> {
    let (hierarchy, direction) = (target.parameter("hierarchyId"), target.parameter("traversalDirection"));
    if let Some(hierarchy) = hierarchy {
        check_custom_id("hierarchyId", hierarchy)?;
    }
    if direction.is_some_and(|direction| !DIRECTIONS.contains(&direction)) {
        let message = format!("must be one of {}", DIRECTIONS.join(", "));
        return Err(ApiError::invalid_member("traversalDirection", &message));
    }
    let upwards = direction == Some(DIRECTIONS[0]);
    let scope = format!("{} {} {upwards}", target.about, hierarchy.unwrap_or_default());
    let pager = pager(state, target, &scope)?;
    check_asset(&state.associations, &target.about)?;

    let found = if upwards {
        parents(&state.associations, &target.about)
    } else {
        children(&state.associations, &target.about, hierarchy)
    };
    let (page, next) = pager.page(found, fault);
    let summaries = page.iter().map(|(id, timestamp)| summary(&state.associations, id, *timestamp)).collect();
    Ok(answer("assetSummaries", summaries, next))
}

fn pager<'a>(state: &State, target: &'a Target, scope: &'a str) -> Result<Pager<'a>, ApiError> {
    Pager::read(target, scope, &MAX_RESULTS, DEFAULT_RESULTS, state.settings.page_size)
        .map_err(|wrong| ApiError::invalid_member(wrong.member, &wrong.message))
}

fn answer(member: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut members = Map::from_iter([(member.to_owned(), Value::Array(items))]);
    if let Some(token) = next {
        members.insert("nextToken".to_owned(), Value::String(token));
    }
    Value::Object(members)
}

/// The children under one hierarchy, or under all hierarchies.
fn children(associations: &Associations, id: &str, under: Option<&str>) -> BTreeMap<String, f64> {
    let groups = associations.groups().filter(|group| {
        matches!(group, Group::Children { parent, hierarchy } if parent == id && under.is_none_or(|under| under == hierarchy))
    });
    groups.flat_map(|group| associations.listed(group)).collect()
}

/// The parents of an asset: at most one in AWS, here as many as a test created.
fn parents(associations: &Associations, id: &str) -> BTreeMap<String, f64> {
    let above = |group: &Group| match group {
        Group::Children { parent, .. } => Some((parent.clone(), *associations.listed(group).get(id)?)),
        _ => None,
    };
    associations.groups().filter_map(above).collect()
}

/// The item of an asset in a list. The time of its association is also used as the time of its
/// creation and its last change.
fn summary(associations: &Associations, id: &str, timestamp: f64) -> Value {
    let hierarchies = associations.groups().filter_map(|group| match group {
        Group::Children { parent, hierarchy } if parent == id => Some(named(hierarchy)),
        _ => None,
    });
    let hierarchies: Vec<Value> = hierarchies.collect();
    let mut summary = named(id);
    if let Some(members) = summary.as_object_mut() {
        members.insert("arn".to_owned(), json!(asset_arn(id)));
        members.insert("assetModelId".to_owned(), json!(MODEL));
        members.insert("creationDate".to_owned(), json!(timestamp));
        members.insert("lastUpdateDate".to_owned(), json!(timestamp));
        members.insert("status".to_owned(), json!({"state": "ACTIVE"}));
        members.insert("hierarchies".to_owned(), json!(hierarchies));
    }
    summary
}

/// The id, the external id if the asset is known by that, and the name, which equals the given id.
fn named(id: &str) -> Value {
    match id.strip_prefix(EXTERNAL) {
        Some(external) => json!({"id": uuid_of(id), "externalId": external, "name": id}),
        None => json!({"id": id, "name": id}),
    }
}

/// The ARN of the resource in the path.
pub(in crate::cloud) fn arn(target: &Target) -> String {
    match target.operation {
        Operation::DisassociateProjectAssets | Operation::ListProjectAssets => {
            format!("arn:aws:iotsitewise:{REGION}:{ACCOUNT}:project/{}", target.about)
        }
        _ => asset_arn(&target.about),
    }
}

fn asset_arn(id: &str) -> String {
    format!("arn:aws:iotsitewise:{REGION}:{ACCOUNT}:asset/{}", uuid_of(id))
}

/// The UUID of an asset that is known by an external id. It is derived from the external id, so
/// that it is always the same; no call finds the asset by it.
fn uuid_of(id: &str) -> String {
    if !id.starts_with(EXTERNAL) {
        return id.to_owned();
    }
    let digest = Sha256::digest(id);
    uuid(digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte)))
}
