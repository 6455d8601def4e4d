//! The mapping from a request to its operation and its resource.

use hyper::Request;
use hyper::body::Bytes;
use percent_encoding::percent_decode_str;

use super::calls::Operation;
use super::errors::ApiError;
use super::model::Service;
use super::model::greengrass::Reason;

/// A request whose operation is known.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) service: Service,
    pub(super) operation: Operation,
    /// The resource in the path: a core device, a parent asset, a project.
    pub(super) about: String,
    /// The name of the resource as a member of the input.
    pub(super) label: &'static str,
    /// The parameters of the query, unescaped.
    query: Vec<(String, String)>,
}

impl Target {
    /// Finds the operation of a request.
    ///
    /// # Errors
    /// UnknownOperationException for other paths and methods, ValidationException or
    /// InvalidRequestException for a resource whose name is not UTF-8.
    pub(super) fn find(request: &Request<Bytes>) -> Result<Self, ApiError> {
        let path = request.uri().path();
        let service = Service::of_path(path);
        let (shape, label) = service
            .shapes()
            .iter()
            .filter(|shape| shape.method == request.method().as_str())
            .filter_map(|shape| Some((shape, path.strip_prefix(shape.prefix)?.strip_suffix(shape.suffix)?)))
            .find(|(_, label)| !label.contains('/'))
            .ok_or_else(ApiError::unknown_operation)?;
        let about = percent_decode_str(label).decode_utf8().map_err(|_| {
            let message = format!("the value of {} is not UTF-8", shape.label);
            match service {
                Service::Greengrass => ApiError::validation(Reason::CannotParse, message),
                Service::SiteWise => ApiError::invalid_request(message),
            }
        })?;
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let query = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (plain(name), plain(value)))
            .collect();
        Ok(Self { service, operation: shape.operation, about: about.into_owned(), label: shape.label, query })
    }

    /// The core device of the path; empty for other services.
    pub(super) fn core(&self) -> &str {
        if self.service == Service::Greengrass { &self.about } else { "" }
    }

    /// The `nextToken` of the request.
    pub(super) fn next_token(&self) -> Option<&str> {
        self.parameter("nextToken")
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
