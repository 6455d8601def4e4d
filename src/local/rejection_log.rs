//! Which rejections are logged: one a minute for each client and code, so that a client that
//! repeats its mistake does not fill the log. The time is an argument.

use std::{collections::HashMap, time::Duration};

use crate::domain::{ClientId, Mono, RejectionCode};

/// The time between two lines about a client and a code.
const PACE: Duration = Duration::from_secs(60);

/// The most pairs of client and code that are kept. Beyond that, a line may be logged earlier than
/// after [`PACE`].
const MAX_KNOWN: usize = 1024;

/// The rejections that were logged lately.
#[derive(Debug, Default)]
pub(crate) struct RejectionLog {
    known: HashMap<(ClientId, RejectionCode), (Mono, u64)>,
}

impl RejectionLog {
    /// Whether this rejection is logged; if so, returns how many were left out since the last line.
    pub(crate) fn is_due(&mut self, client: &ClientId, code: RejectionCode, now: Mono) -> Option<u64> {
        let key = (client.clone(), code);
        if let Some((at, left_out)) = self.known.get_mut(&key) {
            if now.since(*at) < PACE {
                *left_out += 1;
                return None;
            }
            let count = std::mem::take(left_out);
            *at = now;
            return Some(count);
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, (at, _)| now.since(*at) < PACE);
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(key, (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_for_each_client_and_code() {
        let mut log = RejectionLog::default();
        let at = |seconds: u64| Mono(seconds * 1000);
        let [a, b] = ["a", "b"].map(|name| ClientId::new(name).unwrap());
        let (invalid, denied) = (RejectionCode::ValidationException, RejectionCode::AccessDeniedException);
        assert_eq!(log.is_due(&a, invalid, at(0)), Some(0));
        assert_eq!((0..59).filter_map(|n| log.is_due(&a, invalid, at(n))).count(), 0);
        assert_eq!((log.is_due(&a, denied, at(1)), log.is_due(&b, invalid, at(1))), (Some(0), Some(0)));
        assert_eq!(log.is_due(&a, invalid, at(60)), Some(59));
        assert_eq!(log.is_due(&a, invalid, at(119)), None);
    }

    #[test]
    fn many_clients_take_a_limited_memory() {
        let mut log = RejectionLog::default();
        for n in 0..100_000_u64 {
            let client = ClientId::new(&format!("c{n}")).unwrap();
            assert_eq!(log.is_due(&client, RejectionCode::ThrottlingException, Mono(n)), Some(0));
            assert!(log.known.len() <= MAX_KNOWN);
        }
    }
}
