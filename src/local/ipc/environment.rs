//! The address of the IPC server, and the identity with which the agent connects to it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// The variables in which the nucleus gives both.
const SOCKET: &str = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT";
const TOKEN: &str = "SVCUID";

/// The component's name if its systemd unit does not give it.
const COMPONENT: &str = "com.offboard.Agent";

/// The file name of nucleus lite's socket; the classic nucleus has `ipc.socket`.
const LITE: &str = "gg-ipc.socket";

/// The address of the IPC server, and the identity with which to connect. Clones share the token.
#[derive(Clone)]
pub(crate) struct Environment {
    /// The socket. A path of more than 108 characters is relative to the work directory.
    pub(super) socket: PathBuf,
    /// The token with which this process was started, or a later one: a restart of nucleus lite's
    /// server makes the token invalid.
    token: Arc<Mutex<Option<String>>>,
    /// The name for which nucleus lite gives a new token.
    pub(super) component: String,
}

// The token must not be logged.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} as {}", self.socket.display(), self.component)
    }
}

impl Environment {
    /// The message if there is no IPC server.
    pub(crate) const MISSING: &str = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT is not set: Greengrass IPC is there \
                                      for a process that the nucleus starts as a component";

    /// Reads the variables of this process; `None` if there is no IPC server.
    pub(crate) fn of_process() -> Option<Self> {
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::new(|name| std::env::var(name).ok(), &cgroup)
    }

    fn new(env: impl Fn(&str) -> Option<String>, cgroup: &str) -> Option<Self> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        Some(Self {
            socket: env(SOCKET)?.into(),
            token: Arc::new(Mutex::new(env(TOKEN))),
            component: component(cgroup).unwrap_or_else(|| COMPONENT.into()),
        })
    }

    /// The present token.
    pub(super) fn token(&self) -> Option<String> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the server gave another token.
    pub(super) fn set_token(&self, token: String) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    /// Whether the server is that of nucleus lite, judged by the name of its socket.
    pub(crate) fn is_lite(&self) -> bool {
        self.socket.file_name().is_some_and(|name| name == LITE)
    }
}

/// The component's name in the unit of nucleus lite in which this process runs.
fn component(cgroup: &str) -> Option<String> {
    let units = cgroup.lines().filter_map(|line| line.rsplit('/').next());
    let name = |unit: &str| Some(unit.strip_suffix(".service")?.strip_prefix("ggl.")?.to_owned());
    units.filter_map(name).find(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_named_by_its_unit() {
        let lite = "0::/system.slice/ggl.com.example.Fork.service\n";
        assert_eq!(component(lite).as_deref(), Some("com.example.Fork"));
        assert_eq!(component("1:name=systemd:/x\n0::/ggl.a.service").as_deref(), Some("a"));
        for other in ["", "0::/\n", "0::/system.slice/greengrass.service\n", "0::/ggl..service"] {
            assert_eq!(component(other), None, "{other}");
        }
    }

    #[test]
    fn there_is_no_ipc_without_a_socket_and_the_token_is_not_shown() {
        let variables = |socket: &'static str| {
            move |name: &str| match name {
                SOCKET => Some(socket.to_owned()),
                TOKEN => Some("hunter2".to_owned()),
                _ => None,
            }
        };
        assert!(Environment::new(variables(""), "").is_none());
        let lite = Environment::new(variables("/run/gg-ipc.socket"), "").unwrap();
        assert!(lite.is_lite() && !Environment::new(variables("../../ipc.socket"), "").unwrap().is_lite());
        assert_eq!(format!("{lite:?}"), "/run/gg-ipc.socket as com.offboard.Agent");
    }
}
