//! Lists of names (docs/interface.md, "Lists of names"): bytes in, names or all faulty lines out.
//! No I/O.
//!
//! People make lists with editors, spreadsheets and the AWS CLI. The first significant line
//! determines the form, and a line that does not have that form is a fault: a guess could
//! disassociate the wrong device.

mod csv;
mod faults;
mod found;
mod json;
mod plain;
mod text;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use self::{csv::Table, found::Found, json::json, plain::plain, text::decoded};
pub(super) use self::{faults::Faults, found::check};
use crate::domain::operations::spec::Names;

/// The names of a list in their order, each once.
///
/// # Errors
/// All faulty lines; or the fact that the list contains no name.
pub(super) fn names(bytes: &[u8], kind: &Names) -> Result<Vec<String>, Faults> {
    let text = decoded(bytes)?;
    let mut found = Found { kind, names: Vec::new(), seen: HashSet::new(), faults: Faults::default() };
    if text.trim_start().starts_with(['{', '[']) {
        json(&text, &mut found)?;
    } else if let Some(table) = Table::of(&text, kind)? {
        table.read(&mut found)?;
    } else {
        plain(&text, &mut found);
    }
    let Found { names, faults, .. } = found;
    if faults.count > 0 {
        return Err(faults);
    }
    if names.is_empty() {
        return Err(Faults::one(None, "there are no names in it"));
    }
    Ok(names)
}
