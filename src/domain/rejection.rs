//! Why a command is not taken, in the terms of the AWS API's errors.

use std::time::Duration;

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

words! {
    /// The code of a rejection.
    RejectionCode {
        /// Not understood.
        ValidationException = "ValidationException",
        /// The token stands for another content.
        ConflictException = "ConflictException",
        /// A guard forbids it.
        AccessDeniedException = "AccessDeniedException",
        /// The target of a query or cancel is unknown.
        ResourceNotFoundException = "ResourceNotFoundException",
        /// A limit is reached; trying again later may help.
        ThrottlingException = "ThrottlingException",
        /// The store can't take it.
        InternalServerException = "InternalServerException",
    }
}

words! {
    /// The closer reason of a `ValidationException`, as in Greengrass V2's.
    Reason {
        /// Not JSON.
        CannotParse = "CANNOT_PARSE",
        /// Members are missing or wrong; `fields` says which.
        FieldValidationFailed = "FIELD_VALIDATION_FAILED",
        /// No such operation.
        UnknownOperation = "UNKNOWN_OPERATION",
        /// Something else.
        Other = "OTHER",
    }
}

/// One member that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// The member's path, `entries[3].thingName`.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
}

/// A command that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The kind.
    pub code: RejectionCode,
    /// For the person who reads it: what, on which thing, what to do.
    pub message: String,
    /// Only with `ValidationException`.
    pub reason: Option<Reason>,
    /// Only with `FIELD_VALIDATION_FAILED`.
    pub fields: Vec<FieldFault>,
    /// Only with `ThrottlingException`.
    pub retry_after: Option<Duration>,
}

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
