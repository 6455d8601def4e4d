//! Why the agent rejects a command, in the terms of the AWS API's errors.

use std::time::Duration;

use super::text_enum;

text_enum! {
    /// The code of a rejection.
    #[derive(PartialOrd, Ord)]
    pub enum RejectionCode {
        /// The command is not valid.
        ValidationException = "ValidationException",
        /// The client used the token before, for a command with another content.
        ConflictException = "ConflictException",
        /// A guard forbids the command.
        AccessDeniedException = "AccessDeniedException",
        /// The request or device that a query or a cancel names is unknown.
        ResourceNotFoundException = "ResourceNotFoundException",
        /// A limit is reached; the client may try again later.
        ThrottlingException = "ThrottlingException",
        /// The store cannot keep the command.
        InternalServerException = "InternalServerException",
    }
}

text_enum! {
    /// The detailed reason of a `ValidationException`, as in Greengrass V2.
    #[derive(PartialOrd, Ord)]
    pub enum Reason {
        /// The payload is not JSON.
        CannotParse = "CANNOT_PARSE",
        /// Members are missing or wrong; `fields` names them.
        FieldValidationFailed = "FIELD_VALIDATION_FAILED",
        /// There is no such operation.
        UnknownOperation = "UNKNOWN_OPERATION",
        /// Any other reason.
        Other = "OTHER",
    }
}

/// One member that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// The member's path, `entries[3].thingName`.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
}

/// A rejected command, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The kind of rejection.
    pub code: RejectionCode,
    /// A message for people: what failed, on which thing, and what to do.
    pub message: String,
    /// Set only with `ValidationException`.
    pub reason: Option<Reason>,
    /// Filled only with `FIELD_VALIDATION_FAILED`.
    pub fields: Vec<FieldFault>,
    /// Set only with `ThrottlingException`.
    pub retry_after: Option<Duration>,
}

/// What a rule decides about a command.
pub type Decided<T> = Result<T, Rejection>;

impl Rejection {
    /// A rejection with nothing but a code and a message.
    #[must_use]
    pub fn new(code: RejectionCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason: None, fields: Vec::new(), retry_after: None }
    }

    /// A `ValidationException`.
    #[must_use]
    pub fn invalid(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason: Some(reason), ..Self::new(RejectionCode::ValidationException, message) }
    }

    /// A `ValidationException` with the members that caused it.
    #[must_use]
    pub fn fields(fields: Vec<FieldFault>) -> Self {
        let message = match fields.as_slice() {
            [only] => format!("{} {}", only.name, only.message),
            _ => format!("{} members are not valid", fields.len()),
        };
        Self { fields, ..Self::invalid(Reason::FieldValidationFailed, message) }
    }

    /// A `ThrottlingException`.
    #[must_use]
    pub fn throttled(message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(RejectionCode::ThrottlingException, message) }
    }
}
