//! TCP ports that belong to one test, whether a program listens there or not.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A TCP port of this machine that no other socket gets while the value lives.
///
/// A socket is bound to it with `SO_REUSEADDR`, and does not listen. Linux gives such a port
/// neither to a socket that asks for any port nor to a connection as its source. A program that
/// sets `SO_REUSEADDR` too, as Mosquitto and Rust's `TcpListener` do, may listen there, as often as
/// it is started. As long as none does, connections to it are refused.
pub struct Port {
    socket: TcpSocket,
}

impl Port {
    pub fn hold() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        // All addresses: a listener on any of them is possible.
        socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).unwrap();
        Self { socket }
    }

    pub fn number(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }
}

/// A process that another test starts meanwhile has a copy of the listener until it runs its
/// program, so that the listener may stay a moment longer than its value.
#[tokio::test]
async fn a_held_port_refuses_connections_and_can_be_listened_at_again_and_again() {
    use std::io::ErrorKind::ConnectionRefused;
    use std::net::{TcpListener, TcpStream};
    let port = Port::hold();
    let there = ("127.0.0.1", port.number());
    for _ in 0..3 {
        super::until("nobody listens", || TcpStream::connect(there).is_err_and(|e| e.kind() == ConnectionRefused))
            .await;
        let listener = TcpListener::bind(there).unwrap();
        TcpStream::connect(there).unwrap();
        drop(listener);
    }
}
