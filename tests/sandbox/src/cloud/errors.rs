//! Errors in the format of AWS's rest-json protocol: the code in a header, the rest in a JSON body.

use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::http::{Body, bare, reply};
use super::model::greengrass::Reason;
use super::model::{Service, uuid};
use super::sitewise::arn;
use super::target::Target;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// An error of the API.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    code: String,
    body: Map<String, Value>,
    retry_after: Option<HeaderValue>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let body = Map::from_iter([("message".to_owned(), Value::String(message.into()))]);
        Self { status, code: code.to_owned(), body, retry_after: None }
    }

    pub(super) fn validation(reason: Reason, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, "ValidationException", message);
        error.body.insert("reason".to_owned(), json!(reason.name()));
        error
    }

    /// A ValidationException that names one member of the input.
    pub(super) fn field(name: &str, message: &str) -> Self {
        let mut error = Self::validation(
            Reason::FieldValidationFailed,
            format!("1 validation error detected: value at '{name}' failed to satisfy constraint: {message}"),
        );
        error.body.insert("fields".to_owned(), json!([{"name": name, "message": message}]));
        error
    }

    /// An error in the input of a SiteWise call, since SiteWise has no ValidationException.
    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequestException", message)
    }

    /// As [`ApiError::field`] for SiteWise, which names the member only in the message.
    pub(super) fn invalid_member(name: &str, message: &str) -> Self {
        Self::invalid_request(format!("value at '{name}' failed to satisfy constraint: {message}"))
    }

    /// A SiteWise resource that does not exist. The message has to name it.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    pub(super) fn unknown_operation() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UnknownOperationException", "unknown operation")
    }

    pub(super) fn core_not_found(core: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", "the core device does not exist").naming(core)
    }

    /// The exception's name.
    #[cfg(test)]
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Adds the members that the service model requires of some exceptions besides the message.
    pub(super) fn about(self, target: &Target) -> Self {
        match (target.service, self.code.as_str()) {
            (Service::Greengrass, "ResourceNotFoundException") => self.naming(&target.about),
            (Service::SiteWise, "ConflictingOperationException") => {
                let arn = arn(target);
                self.with("resourceId", &target.about).with("resourceArn", &arn)
            }
            _ => self,
        }
    }

    /// AWS does not document the value of the type.
    fn naming(self, core: &str) -> Self {
        self.with("resourceId", core).with("resourceType", "coreDevice")
    }

    fn with(mut self, member: &str, value: &str) -> Self {
        self.body.insert(member.to_owned(), json!(value));
        self
    }

    /// Adds the header `Retry-After`; a value that is not allowed in a header is omitted.
    pub(super) fn retry_after(mut self, value: Option<&str>) -> Self {
        self.retry_after = value.and_then(|value| HeaderValue::from_str(value).ok());
        self
    }

    /// The status and `Retry-After` alone, as a proxy between client and API sends them.
    pub(super) fn without_body(self) -> Response<Body> {
        let mut response = bare(self.status);
        if let Some(retry_after) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, retry_after);
        }
        response
    }

    pub(super) fn response(self) -> Response<Body> {
        let mut response = success(Some(&Value::Object(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            headers.insert(ERROR_TYPE, code);
        }
        if let Some(retry_after) = self.retry_after {
            headers.insert(RETRY_AFTER, retry_after);
        }
        response
    }
}

/// A successful response of the API itself: status 200, JSON unless the operation has no output,
/// and a request id, which a proxy's response lacks.
pub(super) fn success(body: Option<&Value>) -> Response<Body> {
    let mut response = match body {
        Some(body) => reply(StatusCode::OK, "application/json", body.to_string()),
        None => bare(StatusCode::OK),
    };
    if let Ok(id) = HeaderValue::from_str(&uuid(fastrand::u128(..))) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
