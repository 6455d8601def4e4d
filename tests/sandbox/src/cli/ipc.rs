//! `offboard-sandbox ipc`: runs the stand-in for the IPC server of a nucleus until it is
//! interrupted. It reads orders from standard input, one per line, and prints the messages that
//! components publish.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use offboard_sandbox::ipc::{Kind, Nucleus, Options, Service};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Interval at which published messages are printed.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    Lite,
    Classic,
}

/// Run a stand-in for the IPC server of a Greengrass nucleus
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory of the socket
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The nucleus whose rules the stand-in follows
    #[arg(long, value_enum, default_value = "lite")]
    nucleus: Which,
    /// Address of the service that provides the credentials, that of `offboard-sandbox cloud`
    #[arg(long, requires = "credentials_token")]
    credentials_uri: Option<String>,
    /// The authorization token of that service
    #[arg(long)]
    credentials_token: Option<String>,
}

const ORDERS: &str = "iot-core TOPIC PAYLOAD | pubsub TOPIC PAYLOAD | silence iot-core|pubsub | down | up | void-token | \
                      move-port | offline | online";

pub(super) async fn run(arguments: Arguments) -> io::Result<()> {
    let Arguments { dir, nucleus, credentials_uri, credentials_token } = arguments;
    let kind = match nucleus {
        Which::Lite => Kind::Lite,
        Which::Classic => Kind::Classic,
    };
    let options = Options { credentials: credentials_uri.zip(credentials_token), ..Options::of(kind) };
    let mut nucleus = Nucleus::start(&std::path::absolute(dir)?, options)?;
    println!("# orders on standard input: {ORDERS}");
    for (name, value) in nucleus.environment() {
        println!("export {name}='{value}'");
    }
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut shown = [(Service::IotCore, "iot-core", 0), (Service::PubSub, "pubsub", 0)];
    let mut has_orders = true;
    loop {
        for (service, name, count) in &mut shown {
            for message in nucleus.published(*service).into_iter().skip(*count) {
                println!("{name} {} {}", message.topic, String::from_utf8_lossy(&message.payload));
                *count += 1;
            }
        }
        tokio::select! {
            line = orders.next_line(), if has_orders => match line? {
                Some(line) => obey(&mut nucleus, line.trim())?,
                None => has_orders = false,
            },
            () = tokio::time::sleep(LOOK) => {}
            ended = tokio::signal::ctrl_c() => return ended,
        }
    }
}

fn obey(nucleus: &mut Nucleus, order: &str) -> io::Result<()> {
    let words: Vec<&str> = order.splitn(3, ' ').collect();
    let service = |name: &str| if name == "pubsub" { Service::PubSub } else { Service::IotCore };
    match words.as_slice() {
        [] | [""] => {}
        [name @ ("iot-core" | "pubsub"), topic, payload] => {
            let count = nucleus.publish(service(name), topic, payload.as_bytes());
            println!("# to {count} subscriptions");
        }
        ["silence", name @ ("iot-core" | "pubsub")] => nucleus.silence(service(name)),
        ["down"] => nucleus.go_down(),
        ["up"] => nucleus.go_up()?,
        ["void-token"] => nucleus.void_token(),
        ["move-port"] => nucleus.move_token_exchange()?,
        ["offline"] => nucleus.offline(true),
        ["online"] => nucleus.offline(false),
        _ => eprintln!("# not an order: {ORDERS}"),
    }
    Ok(())
}
