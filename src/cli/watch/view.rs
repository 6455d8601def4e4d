//! Draws the model. Pure, and made for 80x24 without colours or characters beyond ASCII.

use ratatui_core::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use super::{
    detail,
    model::{List, Model, Rows},
    paint::Paint,
};
use crate::cli::{
    show::{self},
    text::{clean, word},
};
use crate::{
    domain::{Operation, RequestStatus},
    protocol::{messages::RequestMessage, status::StatusMessage},
};

/// Minimum size of the terminal.
const SMALLEST: (u16, u16) = (60, 16);

/// Maximum number of lines for problems above the lists; the key p shows all.
const MAX_PROBLEM_LINES: usize = 4;

/// Width of the progress bar and the numbers of a request: `PARTIALLY_SUCCEEDED 99998/100000`.
const PROGRESS: u16 = 32;

/// Width of the longest error code of the agent or the cloud: `ResourceNotFoundException`.
const CODE: u16 = 25;

/// Width of the longest state, `DISASSOCIATING`.
const STATE: u16 = 14;

/// Width of the longest operation as [`short`] names it.
const OPERATION: u16 = 12;

/// Draws the screen; returns how many lines of a detail view are hidden below its first one.
pub(super) fn draw(buffer: &mut Buffer, model: &Model, ascii: bool) -> usize {
    let area = buffer.area;
    let mut paint = Paint { buffer, ascii };
    if (area.width, area.height) < SMALLEST || area.height < SMALLEST.1 {
        paint.line(0, "this terminal is too small: make it 80x24 or larger; q quits", Style::new());
        return 0;
    }
    header(&mut paint, model);
    if let Some(open) = &model.detail {
        return detail::draw(&mut paint, model, open, Rect { y: 3, height: area.height - 3, ..area });
    }
    paint.line(3, &devices_by_state(model, usize::from(area.width)), Style::new());
    sparklines(&mut paint, model, 4);
    let mut y = 6;
    for line in problem_lines(&mut paint, model) {
        paint.line(y, &line, Style::new().bold());
        y += 1;
    }
    let lists = area.height - y - 1;
    let upper = lists.div_ceil(2);
    requests(&mut paint, model, Rect { y, height: upper, ..area });
    devices(&mut paint, model, Rect { y: y + upper, height: lists - upper, ..area });
    paint.line(
        area.height - 1,
        "q quit  Tab list  Up/Down select  Enter open  s state  p problems  ? help",
        Style::new(),
    );
    0
}

/// The states of the agent and the cloud, and whether they are current.
fn header(paint: &mut Paint<'_>, model: &Model) {
    let status = model.status.as_ref();
    let (said, style) = match (&model.gone, model.silent) {
        (Some(_), _) => ("NO AGENT; trying again; what is shown is old".to_owned(), Style::new().red().bold()),
        (None, 2..) => (format!("NO ANSWER for {} s; what is shown is old", model.silent), Style::new().red().bold()),
        _ => (status.map_or_else(|| "asking the agent".to_owned(), states), Style::new()),
    };
    let version = status.map(|status| format!("{}   ", clean(&status.version))).unwrap_or_default();
    paint.bar(0, &format!(" offboard {version}{said}"), style.reversed());
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    let in_flight = count(model.in_flight);
    let pending = count(status.map(|status| status.pending_entries));
    let open = count(status.map(|status| status.open_requests));
    paint.line(1, &format!("pending {pending}   in flight {in_flight}   open requests {open}"), Style::new());
    let synced = status.and_then(|status| status.last_sync_at.as_deref()).map_or_else(|| "never".into(), clean);
    paint.line(2, &format!("broker {}   cloud's list read {synced}", broker(model)), Style::new());
}

fn states(status: &StatusMessage) -> String {
    let (state, health, cloud) = (word(&status.state), word(&status.health), word(&status.cloud));
    format!("agent {state}   health {health}   cloud {cloud}")
}

fn broker(model: &Model) -> &'static str {
    let Some(status) = &model.status else { return "-" };
    let has = |code: &str| status.problems.iter().any(|problem| problem.code == code);
    match () {
        () if has("BROKER_UNREACHABLE") => "UNREACHABLE",
        () if has("SUBSCRIPTION_DENIED") => "DENIES",
        () if has("CONNECTION_UNSTABLE") => "UNSTABLE",
        () if model.connected == Some(false) => "not connected",
        () => "connected",
    }
}

fn devices_by_state(model: &Model, width: usize) -> String {
    let counts = model.status.iter().flat_map(show::devices_by_state);
    let counts: Vec<String> = counts.map(|(state, count)| format!("{state} {count}")).collect();
    let wide = counts.join("   ");
    if wide.len() <= width { wide } else { counts.join(" ") }
}

/// Draws two sparklines, with the newest column at the right and the counts of the last minute.
fn sparklines(paint: &mut Paint<'_>, model: &Model, y: u16) {
    if model.history.is_empty() {
        paint.line(y, "calls   not known", Style::new());
        paint.line(y + 1, "errors  not known", Style::new());
        return;
    }
    let width = usize::from(paint.buffer.area.width).saturating_sub("errors  ".len() + " 12345678 a minute".len());
    let columns: Vec<_> = model.history.columns(width).collect();
    // Both lines have the same scale, so that the share of errors is visible.
    let most = columns.iter().flatten().map(|(calls, errors)| *calls.max(errors)).max().unwrap_or_default();
    let minute = model.history.last_minute();
    let calls = columns.iter().map(|column| column.map(|(calls, _)| calls));
    let errors = columns.iter().map(|column| column.map(|(_, errors)| errors));
    let lines = [("calls ", paint.spark(calls, most), minute.0), ("errors", paint.spark(errors, most), minute.1)];
    for (y, (name, spark, count)) in (y..).zip(lines) {
        paint.line(y, &format!("{name}  {spark} {count} a minute"), Style::new());
    }
}

/// The problems in a few lines; the last line says if there are more.
fn problem_lines(paint: &mut Paint<'_>, model: &Model) -> Vec<String> {
    let width = usize::from(paint.buffer.area.width);
    let problems = model.problems();
    let mut lines: Vec<String> = problems.iter().flat_map(|problem| paint.wrap(problem, width)).collect();
    if lines.len() > MAX_PROBLEM_LINES {
        lines.truncate(MAX_PROBLEM_LINES);
        let more = format!("~ (p: all of {})", problems.len());
        if let Some(last) = lines.last_mut() {
            *last = format!("{}{more}", paint.cut(last, width - more.len()).trim_end_matches('~'));
        }
    }
    lines
}

/// Draws the rows that fit as columns; the selected row is among them.
fn table<R, const N: usize>(
    paint: &mut Paint<'_>,
    area: Rect,
    (list, has_keys): (&Rows<R>, bool),
    titles: [&str; N],
    widths: [u16; N],
    cells: impl Fn(&R) -> [String; N],
) {
    let mut row = |y: u16, marker: &str, cells: &[String; N], style: Style| {
        paint.bar(y, marker, style);
        let mut x = 2;
        for (cell, width) in cells.iter().zip(widths) {
            paint.put(x, y, cell, usize::from(width), style);
            x += width + 1;
        }
    };
    let title = if has_keys { Style::new().reversed() } else { Style::new().underlined() };
    row(area.y, if has_keys { "=>" } else { "" }, &titles.map(str::to_owned), title);
    let height = usize::from(area.height) - 1;
    let first = (list.selected + 1).saturating_sub(height);
    for (y, (n, value)) in (area.y + 1..).zip(list.rows.iter().enumerate().skip(first).take(height)) {
        let selected = has_keys && n == list.selected;
        let style = Style::new().add_modifier(if selected { Modifier::BOLD } else { Modifier::empty() });
        row(y, if selected { "> " } else { "" }, &cells(value), style);
    }
    if list.rows.is_empty() {
        paint.line(area.y + 1, "  none", Style::new());
    }
}

fn requests(paint: &mut Paint<'_>, model: &Model, area: Rect) {
    let rest = area.width - 2 - (OPERATION + 1) - PROGRESS;
    let token = rest * 3 / 5;
    let widths = [token, rest - token - 2, OPERATION, PROGRESS];
    let titles = ["REQUESTS", "asked by", "to", "done"];
    let focus = model.focus == List::Requests;
    table(paint, area, (&model.requests, focus), titles, widths, |request| {
        let by = request.requested_by.clone().unwrap_or_default();
        [request.client_token.clone(), by, short(&request.operation), progress(request)]
    });
}

/// A short name of the operation.
fn short(operation: &str) -> String {
    Operation::parse(operation).map_or(operation, |known| known.spec().short).to_owned()
}

/// The status of an ended request, or a progress bar, with numbers.
fn progress(request: &RequestMessage) -> String {
    let count = |count: Option<u32>| u64::from(count.unwrap_or_default());
    let (entries, succeeded, failed) =
        (count(request.entry_count), count(request.succeeded_count), count(request.failed_count));
    let status = clean(&request.status);
    if entries == 0 {
        return status;
    }
    if status != RequestStatus::InProgress.as_str() {
        return format!("{status} {succeeded}/{entries}");
    }
    let done = (succeeded + failed).min(entries);
    let mut numbers = format!(" {done}/{entries}");
    if failed > 0 {
        numbers.push_str(&format!(" {failed} failed"));
    }
    let width = usize::from(PROGRESS).saturating_sub(numbers.len() + 2).clamp(3, 10);
    let full = usize::try_from(done.saturating_mul(width as u64) / entries).unwrap_or(width);
    format!("[{}{}]{numbers}", "#".repeat(full), ".".repeat(width - full))
}

fn devices(paint: &mut Paint<'_>, model: &Model, area: Rect) {
    let rest = area.width - 2 - (STATE + 1) - CODE;
    let thing = rest * 3 / 5;
    let widths = [thing, STATE, rest - thing - 2, CODE];
    let titles = ["DEVICES", model.state().unwrap_or("any state"), "asked by", "last error"];
    let focus = model.focus == List::Devices;
    table(paint, area, (&model.devices, focus), titles, widths, |device| {
        let by = device.requested_by.clone().unwrap_or_default();
        let error = device.last_error.as_ref().map(|error| error.code.clone()).unwrap_or_default();
        [device.thing_name.clone(), device.state.to_string(), by, error]
    });
}

#[cfg(test)]
mod tests;
