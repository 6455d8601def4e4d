//! The running agent, as the commands reach it: over its local socket, or as any other client of
//! the broker.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    answer::{Answer, Output},
    broker::{Broker, BrokerLine},
    socket::{LocalSocket, SocketLine},
    trouble::Trouble,
};

/// What all commands have in common.
#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    socket: LocalSocket,

    #[command(flatten)]
    broker: Broker,

    /// For people, or for programs: one JSON document, as it crosses the broker.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,

    /// Seconds that the agent may take to answer (not: to carry out what was asked).
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// A connection to the agent.
pub(super) struct Agent {
    line: Line,
    patience: Duration,
}

enum Line {
    Socket(SocketLine),
    Broker(Box<BrokerLine>),
}

impl Common {
    pub(super) async fn connect(&self) -> Result<Agent, Trouble> {
        let patience = self.patience();
        let line = match self.broker.address()? {
            Some(address) => Line::Broker(Box::new(self.broker.connect(address, patience).await?)),
            None => Line::Socket(self.socket.connect().await?),
        };
        Ok(Agent { line, patience })
    }

    /// Over the local socket, whatever was said: for what is about this machine.
    pub(super) async fn connect_here(&self) -> Result<Agent, Trouble> {
        Ok(Agent { line: Line::Socket(self.socket.connect().await?), patience: self.patience() })
    }

    /// How long the agent may take to answer.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The data directory that was named.
    pub(super) fn data_dir(&self) -> Option<PathBuf> {
        self.socket.given()
    }

    /// Connects to the agent of that data directory.
    pub(super) async fn connect_in(&self, directory: &Path) -> io::Result<Agent> {
        Ok(Agent { line: Line::Socket(LocalSocket::connect_in(directory).await?), patience: self.patience() })
    }

    /// Refuses to go over the broker with what is about this machine.
    pub(super) fn only_here(&self, what: &str) -> Result<(), Trouble> {
        match self.broker.address()? {
            Some(_) => Err(Trouble::Usage(format!(
                "{what} is about the core itself; leave --mqtt-url away, and call it there"
            ))),
            None => Ok(()),
        }
    }
}

impl Agent {
    /// Asks, and waits for the first answer.
    pub(super) async fn ask(&mut self, operation: &str, payload: Value) -> Result<Answer, Trouble> {
        match self.ask_in_time(operation, payload).await? {
            Some(answer) => Ok(answer),
            None => {
                let hint = match &self.line {
                    Line::Socket(_) => "",
                    // A broker drops what its policy does not allow, and acknowledges it all the
                    // same (MQTT 3.1.1, 3.3.5).
                    Line::Broker(_) => {
                        "; check that it runs, and that --client-id is your user name on the broker, or the common name \
                         of --cert-file: the broker drops a command in another name"
                    }
                };
                Err(Trouble::NoAnswer(format!("the agent did not answer within {} s{hint}", self.patience.as_secs())))
            }
        }
    }

    /// The same; nothing if there is no answer in time, which may still come.
    pub(super) async fn ask_in_time(&mut self, operation: &str, payload: Value) -> Result<Option<Answer>, Trouble> {
        let answer = async {
            match &mut self.line {
                Line::Socket(line) => line.ask(operation, payload).await,
                Line::Broker(line) => line.ask(operation, payload).await,
            }
        };
        timeout(self.patience, answer).await.ok().transpose()
    }

    /// A question, whose answer is `accepted` or nothing.
    pub(super) async fn query(&mut self, operation: &str, payload: Value) -> Result<Value, Trouble> {
        match self.ask(operation, payload).await? {
            Answer::Accepted(body) => Ok(body),
            Answer::Rejected(body) => Err(Trouble::Rejected(body)),
            Answer::Completed(_) => Err(Trouble::NoAnswer("the agent completed what was a question".into())),
        }
    }

    /// The next answer, whenever it comes.
    pub(super) async fn next(&mut self) -> Result<Answer, Trouble> {
        match &mut self.line {
            Line::Socket(line) => line.next().await,
            Line::Broker(line) => line.next().await,
        }
    }

    /// The next answer, if it comes in time.
    pub(super) async fn next_in_time(&mut self) -> Option<Answer> {
        timeout(self.patience, self.next()).await.ok()?.ok()
    }

    /// The user who gave the answers, and in which data directory, if that is neither root nor the
    /// one who asks.
    pub(super) fn foreign(&self) -> Option<(u32, &Path)> {
        match &self.line {
            Line::Socket(line) if ![0, rustix::process::geteuid().as_raw()].contains(&line.peer) => {
                Some((line.peer, &line.directory))
            }
            _ => None,
        }
    }

    /// Bytes that one payload may have.
    pub(super) fn max_payload(&self) -> usize {
        match &self.line {
            Line::Socket(_) => super::socket::MAX_PAYLOAD,
            Line::Broker(_) => super::broker::MAX_PAYLOAD,
        }
    }
}
