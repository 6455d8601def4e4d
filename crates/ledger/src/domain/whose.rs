//! The client whose request a command names.

use super::{ClientId, Reason, Rejection, RejectionCode, Via};

/// The client whose request a command names, if it is not the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The name, if the command gives one.
    pub client: Option<ClientId>,
    /// The transport, if the command gives one.
    pub via: Option<Via>,
}

impl Whose {
    /// The client that the command of `asking` names; `None` if it names none.
    ///
    /// # Errors
    /// The command names a transport without a client, or a transport that does not fit the client;
    /// or a client other than a local user names another transport than its own.
    pub fn resolve(&self, asking: &ClientId) -> Result<Option<ClientId>, Rejection> {
        let own = asking.via();
        let Some(client) = &self.client else {
            return match self.via {
                None => Ok(None),
                Some(_) => Err(Rejection::invalid(Reason::Other, "targetVia needs targetClient")),
            };
        };
        if self.via.is_some_and(|via| client.is_local() != (via == Via::Socket)) {
            let text = "targetVia is socket if, and only if, targetClient begins with @; correct one of them";
            return Err(Rejection::invalid(Reason::Other, text));
        }
        match self.via {
            Some(via) if asking.is_local() || via == own => Ok(Some(client.over(via))),
            Some(_) => {
                let text = format!(
                    "over {own} a client names requests of its own transport only; omit targetVia, or send the command over the \
                     local socket"
                );
                Err(Rejection::new(RejectionCode::AccessDeniedException, text))
            }
            None if asking.is_local() => Ok(Some(client.clone())),
            None => Ok(Some(client.over(own))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_user_of_this_machine_names_a_sender_of_another_transport() {
        let client = |name: &str| ClientId::new(name).unwrap();
        let (bench, root) = (client("bench"), client("@root"));
        let whose = |name: Option<&str>, via| Whose { client: name.map(client), via };
        let by_cloud = bench.over(Via::IotCore);
        for (asking, name, via, expected) in [
            (&by_cloud, None, None, Ok(None)),
            (&by_cloud, Some("bench"), None, Ok(Some(by_cloud.clone()))),
            (&by_cloud, Some("bench"), Some(Via::IotCore), Ok(Some(by_cloud.clone()))),
            (&by_cloud, Some("bench"), Some(Via::Mqtt), Err(RejectionCode::AccessDeniedException)),
            (&bench, Some("bench"), Some(Via::PubSub), Err(RejectionCode::AccessDeniedException)),
            (&bench, Some("@root"), None, Ok(Some(root.clone()))),
            (&root, Some("bench"), None, Ok(Some(bench.clone()))),
            (&root, Some("bench"), Some(Via::IotCore), Ok(Some(by_cloud.clone()))),
            (&root, Some("bench"), Some(Via::Socket), Err(RejectionCode::ValidationException)),
            (&root, Some("@root"), Some(Via::Mqtt), Err(RejectionCode::ValidationException)),
            (&root, Some("@root"), Some(Via::Socket), Ok(Some(root.clone()))),
            (&root, None, Some(Via::Mqtt), Err(RejectionCode::ValidationException)),
        ] {
            let found = whose(name, via).resolve(asking).map_err(|rejection| rejection.code);
            assert_eq!(found, expected, "{asking:?} {name:?} {via:?}");
        }
    }
}
