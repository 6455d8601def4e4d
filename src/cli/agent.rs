//! The connection of the commands to the running agent: over its local socket, or over the broker
//! as any other client.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    answer::{Answer, Output},
    broker::{Broker, BrokerConnection},
    failure::{Failure, read},
    show::print,
    socket::{LocalSocket, SocketConnection},
    text::json_line,
};
use crate::protocol::status::{self, StatusMessage};

/// The options that all commands have in common.
#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    socket: LocalSocket,

    #[command(flatten)]
    broker: Broker,

    /// Output format: a table for people, or for programs one JSON document, as it crosses the
    /// broker
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,

    /// Seconds to wait for the agent's answer (not: for the end of the request)
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// A connection to the agent.
pub(super) struct Agent {
    connection: Connection,
    patience: Duration,
    output: Output,
}

enum Connection {
    Socket(SocketConnection),
    Broker(Box<BrokerConnection>),
}

impl Common {
    pub(super) async fn connect(&self) -> Result<Agent, Failure> {
        let patience = self.patience();
        let connection = match self.broker.address()? {
            Some(address) => Connection::Broker(Box::new(self.broker.connect(address, patience).await?)),
            None => Connection::Socket(self.socket.connect().await?),
        };
        Ok(Agent { connection, patience, output: self.output })
    }

    /// Connects over the broker, for a command to all core devices.
    pub(super) async fn connect_to_all(&self) -> Result<BrokerConnection, Failure> {
        match self.broker.address_of_all()? {
            Some(address) => self.broker.connect(address, self.patience()).await,
            None => Err(Failure::Usage("--everywhere needs --mqtt-url and --client-id".into())),
        }
    }

    /// Connects over the local socket, even if a broker is named: for questions about this machine.
    pub(super) async fn connect_here(&self) -> Result<Agent, Failure> {
        Ok(self.over(self.socket.connect().await?))
    }

    /// How long a command waits for an answer of the agent.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The data directory that the commands ask at.
    pub(super) fn directory(&self) -> Result<PathBuf, Failure> {
        self.socket.directory()
    }

    /// The data directory that the user named. In a configuration the variable comes after the key
    /// `dataDir`, and counts only without one.
    pub(super) fn data_dir(&self, has_configuration: bool) -> Option<PathBuf> {
        if has_configuration { self.socket.option() } else { self.socket.given() }
    }

    /// Connects to the agent in that data directory.
    pub(super) async fn connect_in(&self, directory: &Path) -> io::Result<Agent> {
        Ok(self.over(LocalSocket::connect_in(directory).await?))
    }

    fn over(&self, socket: SocketConnection) -> Agent {
        Agent { connection: Connection::Socket(socket), patience: self.patience(), output: self.output }
    }

    /// Refuses a command about this machine if a broker is named.
    pub(super) fn only_here(&self, what: &str) -> Result<(), Failure> {
        match self.broker.address()? {
            Some(_) => Err(Failure::Usage(format!(
                "{what} is about the core itself; run it on the core device, without --mqtt-url"
            ))),
            None => Ok(()),
        }
    }
}

impl Agent {
    /// Sends an operation and waits for the first answer.
    pub(super) async fn ask(&mut self, operation: &str, payload: Value) -> Result<Answer, Failure> {
        match self.ask_in_time(operation, payload).await? {
            Some(answer) => Ok(answer),
            None => {
                let hint = match &self.connection {
                    Connection::Socket(_) => "",
                    // A broker acknowledges a publish that its policy does not allow, and drops it
                    // (MQTT 3.1.1, 3.3.5).
                    Connection::Broker(_) => {
                        "; check that it runs, that --core-device-thing-name and --topic-prefix are those of its \
                         configuration, and that --client-id is your user name on the broker, or the common name of \
                         --cert-file: the broker drops a command in another name"
                    }
                };
                Err(Failure::NoAnswer(format!("the agent did not answer within {} s{hint}", self.patience.as_secs())))
            }
        }
    }

    /// As [`Self::ask`], but returns `None` if no answer comes in time. The answer may still come
    /// later.
    pub(super) async fn ask_in_time(&mut self, operation: &str, payload: Value) -> Result<Option<Answer>, Failure> {
        let answer = async {
            match &mut self.connection {
                Connection::Socket(to) => to.ask(operation, payload).await,
                Connection::Broker(to) => to.ask(operation, payload).await,
            }
        };
        timeout(self.patience, answer).await.ok().transpose()
    }

    /// Sends a query, which is either accepted or rejected.
    pub(super) async fn query(&mut self, operation: &str, payload: Value) -> Result<Value, Failure> {
        match self.ask(operation, payload).await? {
            Answer::Accepted(body) => Ok(body),
            Answer::Rejected(body) => Err(self.refused(&body)),
            Answer::Completed(_) => {
                Err(Failure::NoAnswer("the agent answered a query with completed, which belongs to requests".into()))
            }
        }
    }

    /// The failure of a command that the agent rejected. A program gets the message `rejected` on
    /// standard output, as it gets the other messages.
    pub(super) fn refused(&self, rejection: &Value) -> Failure {
        match self.output {
            Output::Json => print(&json_line(rejection)).err(),
            Output::Table => None,
        }
        .unwrap_or_else(|| Failure::of_rejection(rejection))
    }

    /// As [`Self::query`], with the response as its type.
    pub(super) async fn query_as<T: DeserializeOwned>(
        &mut self,
        operation: &str,
        payload: Value,
    ) -> Result<T, Failure> {
        read(&format!("response to {operation}"), &self.query(operation, payload).await?)
    }

    /// The status of an agent that runs. Over a broker an agent that does not run has one, too.
    pub(super) async fn status(&mut self) -> Result<StatusMessage, Failure> {
        let status = self.query("status", json!({})).await?;
        let offline = || Failure::NoAnswer("the agent is offline, by its last will on the broker".into());
        status::read(&status).map_err(|error| Failure::unreadable("status", &error))?.ok_or_else(offline)
    }

    /// Waits for the next answer, without a limit of time.
    pub(super) async fn next(&mut self) -> Result<Answer, Failure> {
        match &mut self.connection {
            Connection::Socket(to) => to.next().await,
            Connection::Broker(to) => to.next().await,
        }
    }

    /// The next answer, if it comes in time.
    pub(super) async fn next_in_time(&mut self) -> Option<Answer> {
        timeout(self.patience, self.next()).await.ok()?.ok()
    }

    /// The user that runs the agent, and its data directory, if that user is neither root nor the
    /// user of this process.
    pub(super) fn foreign(&self) -> Option<(u32, &Path)> {
        match &self.connection {
            Connection::Socket(to) if ![0, rustix::process::geteuid().as_raw()].contains(&to.peer) => {
                Some((to.peer, &to.directory))
            }
            _ => None,
        }
    }

    /// The maximum size of one payload in bytes.
    pub(super) fn max_payload(&self) -> usize {
        match &self.connection {
            Connection::Socket(_) => super::socket::MAX_PAYLOAD,
            Connection::Broker(_) => super::broker::MAX_PAYLOAD,
        }
    }
}
