//! Lists with one name per line, and the AWS CLI's text output.

use super::{
    found::{Found, MORE_PAGES, quoted},
    text::lines,
};

/// Reads one name per line, or names separated by white space; the first line determines which.
pub(super) fn plain(text: &str, found: &mut Found<'_>) {
    let mut first = None;
    for (number, line) in lines(text) {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        match words.as_slice() {
            [row, .., name] if found.kind.row == Some(*row) => {
                found.name(|| number, name);
                continue;
            }
            ["NEXTTOKEN", ..] if found.kind.row.is_some() => {
                found.fault(|| number, || MORE_PAGES.into());
                continue;
            }
            _ => {}
        }
        let (first_number, is_single) = *first.get_or_insert((number, words.len() == 1));
        if is_single && words.len() > 1 {
            let text = || {
                format!(
                    "{} is {} names, and line {first_number} has one; a name has no white space",
                    quoted(line),
                    words.len()
                )
            };
            found.fault(|| number, text);
            continue;
        }
        if number == first_number && line.contains([',', ';']) {
            let column = found.kind.column;
            let text = || format!("{} is not a name; a CSV file needs a header with a column {column}", quoted(line));
            found.fault(|| number, text);
            // Every further line has the same fault.
            return;
        }
        for word in words {
            found.name(|| number, word);
        }
    }
}
