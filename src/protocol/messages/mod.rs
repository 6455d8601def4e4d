//! The JSON messages that the agent sends. Each message is kept within a limit of bytes: lists are
//! cut, and the message says so.

mod accepted;
mod device;
mod rejected;
mod request;
mod size;

#[cfg(test)]
mod tests;

pub use accepted::{
    Accepted, CancelResponse, ChangeResponse, DeviceResponse, DevicesResponse, PlanMessage, PlanResponse,
    RequestResponse, RequestsResponse, accepted,
};
pub use device::{DeviceMessage, EventMessage, FaultMessage, device};
pub(crate) use rejected::Rejected;
pub use rejected::rejected;
pub use request::{ErrorEntry, MAX_ERROR_ENTRIES, MAX_WAITING_ENTRIES, RequestMessage, completed, request_summary};
pub use size::{fitting, to_json};
