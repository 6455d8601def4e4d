//! `offboard-sandbox cloud`: runs the stand-in for the cloud until it is interrupted.

use std::io;

use clap::Args;
use offboard_sandbox::cloud::{Cloud, Options};

/// The core device of `--devices` if `--core` is not given.
const CORE: &str = "sandbox-core";

/// The parent of the `--assets`.
const PARENT: &str = "0ff0a2d0-0000-4000-8000-000000000001";
const HIERARCHY: &str = "0ff0a2d0-0000-4000-8000-000000000002";
const PROJECT: &str = "0ff0a2d0-0000-4000-8000-000000000003";

/// Run a stand-in for the AWS IoT Greengrass V2 client-device API and the disassociations of AWS
/// IoT SiteWise on 127.0.0.1
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Port of the API and of the credentials; 0 for any free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port of the control API; 0 for any free port
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// The only core device that exists [default: any name is accepted]
    #[arg(long)]
    core: Option<String>,
    /// Associate this many devices: device-0001, device-0002, … with --core, else with sandbox-core
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100_000))]
    devices: u32,
    /// Create this many assets, all of them children of one parent asset and in one project
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100_000))]
    assets: u32,
}

pub(super) async fn run(arguments: Arguments) -> io::Result<()> {
    let Arguments { port, control_port, core, devices, assets } = arguments;
    let cloud = Cloud::start(Options { port, core: core.clone() }).await?;
    let control = cloud.serve_control(control_port).await?;
    let core = core.as_deref().unwrap_or(CORE);
    cloud.associate(core, (1..=devices).map(|number| format!("device-{number:04}")));
    if assets > 0 {
        cloud.add_child_assets(PARENT, HIERARCHY, (1..=assets).map(asset));
        cloud.add_project_assets(PROJECT, (1..=assets).map(asset));
    }

    println!("# endpoint             {}", cloud.endpoint());
    println!("# credentials          {}", cloud.credentials_uri());
    println!("# authorization token  {}", cloud.authorization_token());
    println!("# control              {control}/_control/");
    if devices > 0 {
        println!("# core device          {core}, with {devices} client devices");
    }
    if assets > 0 {
        println!("# parent asset         {PARENT}");
        println!("# hierarchy            {HIERARCHY}");
        println!("# project              {PROJECT}");
        println!("# assets               {assets}: {} to {}", asset(1), asset(assets));
    }
    println!("# to use it with the AWS CLI or an SDK:");
    print!("{}", cloud.environment());
    tokio::signal::ctrl_c().await
}

fn asset(number: u32) -> String {
    format!("0ff0a2d0-0000-4000-9000-{number:012}")
}
