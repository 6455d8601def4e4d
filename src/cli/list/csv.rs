//! Lists of names in a column of a CSV file.

use std::ops::ControlFlow;

use super::{
    faults::Faults,
    found::{Found, quoted},
    text::lines,
};
use crate::domain::operations::spec::Names;

/// A CSV file.
pub(super) struct Table<'t> {
    records: Records<'t>,
    /// The index of the column that holds the names.
    column: usize,
}

impl<'t> Table<'t> {
    /// Recognises the header line; `None` if the text has none.
    pub(super) fn of(text: &'t str, kind: &Names) -> Result<Option<Self>, Faults> {
        // Some spreadsheets write a first line that names the separator.
        let Some((number, header)) = lines(text).find(|(_, line)| !line.starts_with("sep=")) else { return Ok(None) };
        let start = header.as_ptr().addr() - text.as_ptr().addr();
        for separator in [',', ';', '\t'] {
            let mut records = Records { rest: &text[start..], line: number, separator };
            let Some(Ok((_, cells))) = records.next() else { continue };
            let is_named = |cell: &String| cell.trim().eq_ignore_ascii_case(kind.column);
            let columns: Vec<usize> = (0..).zip(&cells).filter(|(_, cell)| is_named(cell)).map(|(at, _)| at).collect();
            match columns.as_slice() {
                [] => {}
                [column] => return Ok(Some(Self { records, column: *column })),
                _ => {
                    let text = format!("{} columns are named {}; keep one", columns.len(), kind.column);
                    return Err(Faults::one(Some(number), text));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn read(self, found: &mut Found<'_>) -> Result<(), Faults> {
        for record in self.records {
            let (line, cells) = record?;
            if cells.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            match cells.get(self.column).map(|cell| cell.trim()) {
                Some("") | None => {
                    let column = found.kind.column;
                    found.fault(|| line, || format!("{} has nothing in the column {column}", quoted(&cells.join(","))));
                }
                Some(name) => found.name(|| line, name),
            }
        }
        Ok(())
    }
}

/// The records of a CSV file (RFC 4180), each with the number of its first line. Comments are
/// skipped.
struct Records<'t> {
    rest: &'t str,
    line: usize,
    separator: char,
}

impl Iterator for Records<'_> {
    type Item = Result<(usize, Vec<String>), Faults>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.rest.starts_with('#') {
            let (_, rest) = self.rest.split_once('\n').unwrap_or_default();
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            match self.cell() {
                Ok(ControlFlow::Continue(cell)) => cells.push(cell),
                Ok(ControlFlow::Break(cell)) => {
                    cells.push(cell);
                    self.line += 1;
                    return Some(Ok((line, cells)));
                }
                Err(text) => {
                    self.rest = "";
                    return Some(Err(Faults::one(Some(line), text)));
                }
            }
        }
    }
}

impl Records<'_> {
    /// The next cell; `Break` if it is the last cell of its record.
    fn cell(&mut self) -> Result<ControlFlow<String, String>, String> {
        let separator = self.separator;
        let cell = match self.rest.strip_prefix('"') {
            Some(mut rest) => {
                let mut cell = String::new();
                loop {
                    let Some((part, after)) = rest.split_once('"') else {
                        return Err("a quote is not closed".into());
                    };
                    self.line += part.matches('\n').count();
                    cell.push_str(part);
                    rest = after;
                    match rest.strip_prefix('"') {
                        Some(after) => {
                            cell.push('"');
                            rest = after;
                        }
                        None => break,
                    }
                }
                self.rest = rest;
                if !rest.is_empty() && !rest.starts_with([separator, '\n']) {
                    return Err(format!("there is text after the quoted {}", quoted(&cell)));
                }
                cell
            }
            None => {
                let end = self.rest.find([separator, '\n']).unwrap_or(self.rest.len());
                let (cell, rest) = self.rest.split_at(end);
                self.rest = rest;
                cell.to_owned()
            }
        };
        let mut chars = self.rest.chars();
        let has_more = chars.next() == Some(separator);
        self.rest = chars.as_str();
        Ok(if has_more { ControlFlow::Continue(cell) } else { ControlFlow::Break(cell) })
    }
}
