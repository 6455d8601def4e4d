//! The operations of AWS IoT SiteWise on assets: the checks of a request, and its effect on the
//! state.

mod handle;
mod input;
mod lists;
pub(super) mod tokens;

use serde_json::{Value, json};

pub(super) use input::content;
pub(super) use lists::arn;

use super::associations::{Associations, Group};
use super::calls::{CallId, Content, Operation};
use super::errors::ApiError;
use super::faults::Action;
use super::state::{NotInProject, State};
use super::target::Target;

/// Performs an operation, modified by the fault that the call met, and returns the body of the
/// response, if it has one.
///
/// # Errors
/// InvalidRequestException for a violation of the service model and for a client token that another
/// call used, ResourceNotFoundException for a resource that does not exist; none has an effect.
pub(super) fn perform(
    state: &mut State,
    target: &Target,
    body: &[u8],
    call: CallId,
    fault: Option<&Action>,
) -> Result<Option<Value>, ApiError> {
    input::check_resource(target)?;
    if target.operation.is_list() {
        return lists::perform(state, target, fault).map(Some);
    }
    let content = input::read(target, body)?;
    if let Some(Action::RejectEntry { thing, name_field }) = fault {
        return Err(rejection(thing, *name_field));
    }
    if let Some(answer) = state.tokens.answer(target, &content)? {
        return Ok(answer);
    }
    let (effect, answer) = match target.operation {
        Operation::DisassociateAssets => (disassociate(&mut state.associations, target, &content)?, None),
        _ => {
            let (effect, errors) = disassociate_from_project(state, target, &content, fault)?;
            (effect, Some(json!({"errors": errors})))
        }
    };
    state.tokens.bind(target, content, answer.clone());
    if let Some(call) = state.calls.get_mut(call) {
        call.effect |= effect;
    }
    Ok(answer)
}

fn disassociate(associations: &mut Associations, target: &Target, content: &Content) -> Result<bool, ApiError> {
    let parent = &target.about;
    check_asset(associations, parent)?;
    let group = Group::children(parent, content.hierarchy.as_deref().unwrap_or_default());
    for child in &content.things {
        if !associations.remove_by_call(target.operation, &group, child) {
            return Err(ApiError::not_found(format!("asset {child} is not associated with this parent asset")));
        }
    }
    Ok(true)
}

/// Whether anything changed, and the items of `errors`.
fn disassociate_from_project(
    state: &mut State,
    target: &Target,
    content: &Content,
    fault: Option<&Action>,
) -> Result<(bool, Vec<Value>), ApiError> {
    let group = Group::Project(target.about.clone());
    if !state.associations.has(&group) {
        return Err(ApiError::not_found(format!("project {} does not exist", target.about)));
    }
    if state.settings.not_in_project == NotInProject::NotFound
        && let Some(asset) = content.things.iter().find(|asset| !state.associations.contains(&group, asset))
    {
        return Err(ApiError::not_found(format!("asset {asset} is not in this project")));
    }
    let mut errors = Vec::new();
    let mut effect = false;
    for asset in &content.things {
        match fault.and_then(|fault| fault.entry_error("assetId", asset)) {
            Some(error) => errors.push(error),
            None => effect |= state.associations.remove_by_call(target.operation, &group, asset),
        }
    }
    Ok((effect, errors))
}

fn rejection(asset: &str, name: bool) -> ApiError {
    ApiError::invalid_request(if name { format!("asset {asset} is not valid") } else { "invalid request".to_owned() })
}

fn check_asset(associations: &Associations, id: &str) -> Result<(), ApiError> {
    if associations.has_asset(id) {
        return Ok(());
    }
    Err(ApiError::not_found(format!("asset {id} does not exist")))
}
