//! The pages of a list: their length, their first member, and the token of the next page.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::associations::{Associations, Group};
use super::faults::Action;
use super::target::Target;

/// A member of the input that violates the service model, and the reason.
pub(super) struct Wrong {
    pub(super) member: &'static str,
    pub(super) message: String,
}

/// The parameters of a page.
#[derive(Debug)]
pub(super) struct Pager<'a> {
    limit: usize,
    /// The last name of the previous page.
    after: String,
    /// The list to which a token belongs; it is not valid for another list.
    scope: &'a str,
    token: Option<&'a str>,
}

impl<'a> Pager<'a> {
    /// Reads `maxResults` and `nextToken`. `cap` is the maximum length of a page, whatever the
    /// caller requests.
    ///
    /// # Errors
    /// A number is out of range, or the token does not belong to this list.
    pub(super) fn read(
        target: &'a Target,
        scope: &'a str,
        allowed: &RangeInclusive<usize>,
        default: usize,
        cap: Option<usize>,
    ) -> Result<Self, Wrong> {
        let asked = match target.parameter("maxResults").map(str::parse::<usize>) {
            None => default,
            Some(Ok(number)) if allowed.contains(&number) => number,
            Some(_) => return Err(Wrong { member: "maxResults", message: within("a number", allowed) }),
        };
        let token = target.next_token();
        let after = match token {
            None => String::new(),
            Some(token) => read_token(token, scope)
                .ok_or_else(|| Wrong { member: "nextToken", message: "not a token of this list".to_owned() })?,
        };
        Ok(Self { limit: cap.map_or(asked, |cap| asked.min(cap)), after, scope, token })
    }

    /// The members for this page and the next one.
    pub(super) fn members(&self, associations: &Associations, group: &Group) -> BTreeMap<String, f64> {
        associations.listed_after(group, &self.after, self.limit + 1)
    }

    /// The page, and the token of the next page if there is one, or if a fault requires one.
    pub(super) fn page<T>(
        &self,
        members: BTreeMap<String, T>,
        fault: Option<&Action>,
    ) -> (Vec<(String, T)>, Option<String>) {
        let mut rest = members.into_iter().filter(|(name, _)| *name > self.after);
        let page: Vec<(String, T)> = rest.by_ref().take(self.limit).collect();
        let next = match fault {
            Some(Action::RepeatToken) => self.token.map(str::to_owned),
            _ => page.last().filter(|_| rest.next().is_some()).map(|(last, _)| make_token(self.scope, last)),
        };
        (page, next)
    }
}

pub(super) fn within(what: &str, range: &RangeInclusive<usize>) -> String {
    format!("must be {what} between {} and {}", range.start(), range.end())
}

/// A token names the last member of its page, so that changes between two pages neither repeat nor
/// skip other members.
fn make_token(scope: &str, last: &str) -> String {
    format!("{scope}\n{last}").bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn read_token(token: &str, scope: &str) -> Option<String> {
    let digits = token.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let text = String::from_utf8(digits.collect::<Option<Vec<u8>>>()?).ok()?;
    let last = text.strip_prefix(scope)?.strip_prefix('\n')?;
    Some(last.to_owned())
}
