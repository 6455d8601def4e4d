//! What `offboard` is tested and shown against, on one machine and without an AWS account.
//!
//! [`cloud`] is a stand-in for the part of AWS that the agent talks to, [`broker`] an MQTT broker in this process, and
//! [`ipc`] a stand-in for the IPC server of a Greengrass nucleus.

pub mod broker;
pub mod cloud;
pub mod ipc;
