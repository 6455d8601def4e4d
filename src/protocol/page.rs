//! The `nextToken` of a list: a cursor that remains valid across a restart and that any other list
//! refuses.

use sha2::{Digest, Sha256};

use crate::domain::{FieldFault, Rejection};

/// Makes the token that continues the list `scope` (operation, client, filter) after `cursor`.
#[must_use]
pub fn next_token(scope: &str, cursor: &str) -> String {
    format!("{cursor}.{}", check(scope, cursor))
}

/// The cursor in a token that [`next_token`] made for the same list.
///
/// # Errors
/// A `ValidationException` for any other text.
pub fn cursor<'t>(scope: &str, token: &'t str) -> Result<&'t str, Rejection> {
    match token.rsplit_once('.') {
        Some((cursor, sum)) if sum == check(scope, cursor) => Ok(cursor),
        _ => Err(Rejection::fields(vec![FieldFault {
            name: "nextToken".into(),
            message: "is not a token of this list; begin again without one".into(),
        }])),
    }
}

fn check(scope: &str, cursor: &str) -> String {
    let digest = Sha256::digest(format!("{scope}\n{cursor}"));
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_continues_its_own_list_only() {
        let token = next_token("list-devices", "press-7");
        assert_eq!(cursor("list-devices", &token), Ok("press-7"));
        assert!(cursor("list-requests", &token).is_err());
        assert!(cursor("list-devices", &token.replace('7', "8")).is_err());
        assert!(cursor("list-devices", "").is_err());
    }
}
