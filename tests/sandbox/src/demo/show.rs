//! The output of the demo: headings, sentences, tables, and a progress bar on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Prints a heading after an empty line.
pub(super) fn heading(text: &str) {
    let (bold, plain) = if io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    line(format_args!("\n{bold}== {text}{plain}"));
}

/// Prints a sentence.
pub(super) fn say(text: impl Display) {
    line(format_args!("   {text}"));
}

/// Prints rows in columns.
pub(super) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        line(format_args!("     {}", cells.collect::<Vec<_>>().join("  ").trim_end()));
    }
}

/// Cells of a row for [`table`].
pub(super) fn row<const N: usize>(cells: [&dyn Display; N]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

/// Formats a duration for people.
pub(super) fn took(time: Duration) -> String {
    match time.as_millis() {
        millis @ ..100 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

fn line(text: impl Display) {
    // The reader of the output may have gone, as in `cargo demo | head`; the demo still ends
    // normally.
    let _ = writeln!(io::stdout(), "{text}");
}

/// The progress of an operation: a bar on a terminal, else a line at each quarter.
#[derive(Debug)]
pub(super) struct Progress {
    total: u64,
    quarter: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A progress of zero.
    pub(super) fn new(total: u64) -> Self {
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("   [{bar:50}] {pos} of {len}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self { total, quarter: 0, bar }
    }

    /// Shows the number of finished items.
    pub(super) fn at(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        let quarter = done * 4 / self.total.max(1);
        if quarter > self.quarter {
            self.quarter = quarter;
            say(format_args!("{done} of {} done", self.total));
        }
    }

    /// Ends the display, and leaves it on the terminal.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }
}
