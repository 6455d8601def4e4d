//! The test environment and the demo of `offboard`, on one machine and without an AWS account.
//!
//! [`cloud`] is a stand-in for the AWS APIs that the agent calls, [`broker`] an MQTT broker in this
//! process, and [`ipc`] a stand-in for the IPC server of a Greengrass nucleus.

pub mod broker;
pub mod cloud;
pub mod ipc;
