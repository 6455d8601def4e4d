//! The input of SiteWise's operations: read for the log as far as possible, and checked against the
//! service model.

use serde_json::{Value, json};

use crate::cloud::calls::{Content, Operation};
use crate::cloud::errors::ApiError;
use crate::cloud::model::sitewise::{ASSET_IDS, CLIENT_TOKEN, CUSTOM_ID, EXTERNAL};
use crate::cloud::pages::within;
use crate::cloud::target::Target;

const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// The readable content of a request, for the log and the faults; errors are reported later.
pub(in crate::cloud) fn content(target: &Target, body: &Value) -> Content {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let assets = body.get("assetIds").and_then(Value::as_array).into_iter().flatten();
    Content {
        things: text("childAssetId").into_iter().chain(assets.filter_map(Value::as_str).map(str::to_owned)).collect(),
        hierarchy: text("hierarchyId").or_else(|| target.parameter("hierarchyId").map(str::to_owned)),
        client_token: text("clientToken"),
    }
}

/// Checks the resource in the path.
pub(super) fn check_resource(target: &Target) -> Result<(), ApiError> {
    match target.operation {
        Operation::DisassociateAssets | Operation::ListAssociatedAssets => check_custom_id(target.label, &target.about),
        _ => check_id(target.label, &target.about),
    }
}

/// The checked body of a disassociation.
pub(super) fn read(target: &Target, body: &[u8]) -> Result<Content, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    let body: Value = serde_json::from_slice(body).map_err(|error| ApiError::invalid_request(error.to_string()))?;
    if !body.is_object() {
        return Err(ApiError::invalid_request("the body is not an object"));
    }
    let (things, hierarchy) = if target.operation == Operation::DisassociateAssets {
        let [hierarchy, child] = ["hierarchyId", "childAssetId"].map(|name| {
            let id = required(text(&body, name)?, name)?;
            check_custom_id(name, &id)?;
            Ok(id)
        });
        (vec![child?], Some(hierarchy?))
    } else {
        (asset_ids(&body)?, None)
    };
    let client_token = text(&body, "clientToken")?;
    if let Some(token) = &client_token {
        check_token(token)?;
    }
    Ok(Content { things, hierarchy, client_token })
}

fn asset_ids(body: &Value) -> Result<Vec<String>, ApiError> {
    const NAME: &str = "assetIds";
    let ids = match body.get(NAME) {
        Some(Value::Array(ids)) => Some(ids),
        None | Some(Value::Null) => None,
        Some(_) => return Err(ApiError::invalid_member(NAME, "must be a list")),
    };
    let ids = required(ids, NAME)?;
    if !ASSET_IDS.contains(&ids.len()) {
        return Err(ApiError::invalid_member(NAME, &within("a list with a length", &ASSET_IDS)));
    }
    let check = |id: &Value| {
        let id = id.as_str().ok_or_else(|| ApiError::invalid_member(NAME, "must be a list of strings"))?;
        check_id(NAME, id)?;
        Ok(id.to_owned())
    };
    ids.iter().map(check).collect()
}

fn text(body: &Value, name: &str) -> Result<Option<String>, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::invalid_member(name, "must be a string")),
    }
}

fn required<T>(value: Option<T>, name: &str) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::invalid_member(name, "must not be null"))
}

fn check_id(name: &str, id: &str) -> Result<(), ApiError> {
    if is_uuid(id) {
        return Ok(());
    }
    Err(ApiError::invalid_member(name, &format!("must be a lower-case UUID other than nil, not {}", json!(id))))
}

pub(super) fn check_custom_id(name: &str, id: &str) -> Result<(), ApiError> {
    if is_uuid(id) || is_external(id) {
        return Ok(());
    }
    let message = format!("must be a lower-case UUID other than nil, or {EXTERNAL} and an id, not {}", json!(id));
    Err(ApiError::invalid_member(name, &message))
}

fn check_token(token: &str) -> Result<(), ApiError> {
    if CLIENT_TOKEN.contains(&token.chars().count()) && !token.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(ApiError::invalid_member("clientToken", &(within("a string with a length", &CLIENT_TOKEN) + ", without space")))
}

fn is_uuid(text: &str) -> bool {
    let fits = |(index, byte): (usize, u8)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == NIL.len() && text.bytes().enumerate().all(fits) && text != NIL
}

fn is_external(text: &str) -> bool {
    let Some(id) = text.strip_prefix(EXTERNAL) else { return false };
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    let bytes = id.as_bytes();
    CUSTOM_ID.contains(&text.len()) && edge(bytes.first()) && edge(bytes.last()) && id.bytes().all(inner)
}
