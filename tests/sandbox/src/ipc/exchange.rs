//! The token exchange service of a nucleus, which can forget its tokens and move to another port.
//! It forwards to the stand-in for the cloud, which has the credentials.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{Kind, Shared};

/// The path; its trailing slash is significant.
pub(super) const PATH: &str = "/2016-11-01/credentialprovider/";

pub(super) struct Exchange {
    port: u16,
    is_closed: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Exchange {
    /// Listens on a port of its own, and responds with the credentials that the service at `uri`
    /// returns for `token`.
    pub(super) fn start(shared: &Arc<Shared>, uri: String, token: String) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (is_closed, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (shared, closed, count) = (Arc::clone(shared), Arc::clone(&is_closed), Arc::clone(&asked));
        thread::Builder::new().name("token exchange".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
                // A malformed request gets no response.
                let _ = answer(&shared, stream, &uri, &token);
            }
        })?;
        Ok(Self { port, is_closed, asked })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // Wakes the thread.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn answer(shared: &Shared, mut stream: TcpStream, uri: &str, token: &str) -> io::Result<()> {
    let mut given = String::new();
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            value.trim().clone_into(&mut given);
        }
        line.clear();
    }
    let (kind, wanted) = {
        let state = shared.lock();
        (state.kind, state.token.clone())
    };
    let (status, body) = if given == wanted {
        ("200 OK", credentials(uri, token)?)
    } else {
        match kind {
            Kind::Lite if given.len() == 16 => ("404 Not Found", "No such svcuid present.".to_owned()),
            Kind::Lite => ("400 Bad Request", String::new()),
            Kind::Classic => ("403 Forbidden", "value of Authorization header doesn't match".to_owned()),
        }
    };
    let length = body.len();
    // Nucleus lite uses this content type for every response.
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n");
    write!(stream, "{head}\r\n{body}")
}

fn credentials(uri: &str, token: &str) -> io::Result<String> {
    let (host, path) = uri.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap_or_default();
    let mut stream = TcpStream::connect(host)?;
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
