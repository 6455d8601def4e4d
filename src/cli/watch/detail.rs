//! The views that replace the lists: a request, a device, all problems, the keys.

use ratatui_core::{layout::Rect, style::Style};

use super::{
    model::{Detail, Model, Opened, Reply},
    paint::Paint,
};
use crate::cli::{show, text::clean};

const HELP: &str = "\
Tab                   the other list: requests, devices
Up, Down, k, j        select, or scroll what is open
PgUp, PgDn, space     the same in larger steps
Enter                 open the selected request or device
s                     devices of one state, of the next, of all
p                     all problems, and what to do
r                     ask the agent now, and draw everything anew
Esc                   back, or quit
q, Ctrl-C             quit

pending       entries that are not done yet, those in flight among them
in flight     entries in a call to the cloud that has no answer yet
calls         calls to the cloud, 5 s a column, newest at the right
errors        calls that did not succeed
~             there is more than fits; Enter or p shows it
-             not known, or not reported by this agent

At most 100 rows of a list are shown. offboard requests --all and
offboard devices show all of them.
";

/// Draws the view; returns how many lines are hidden below the first one.
pub(super) fn draw(paint: &mut Paint<'_>, model: &Model, open: &Detail, area: Rect) -> usize {
    let (title, text) = match open {
        Detail::Request { client, token, .. } => (format!("request {token} of {client}"), reply(model.reply.as_ref())),
        Detail::Device { thing } => (format!("device {thing}"), reply(model.reply.as_ref())),
        Detail::Problems => {
            let all = model.problems();
            ("problems".to_owned(), if all.is_empty() { "none".to_owned() } else { all.join("\n\n") })
        }
        Detail::Help => ("keys and words".to_owned(), HELP.to_owned()),
    };
    paint.bar(area.y, &format!(" {}", clean(&title)), Style::new().reversed());
    let lines: Vec<String> = text.lines().flat_map(|line| paint.wrap(line, usize::from(area.width))).collect();
    let height = usize::from(area.height) - 2;
    let overflow = lines.len().saturating_sub(height);
    let top = model.top.min(overflow);
    let shown = lines.iter().skip(top).take(height);
    for (y, line) in (area.y + 1..).zip(shown) {
        paint.line(y, line, Style::new());
    }
    let keys = "Esc back  Up/Down scroll  r refresh  q quit";
    let place = if overflow > 0 {
        format!("{keys}   lines {}-{} of {}", top + 1, (top + height).min(lines.len()), lines.len())
    } else {
        keys.to_owned()
    };
    paint.line(area.bottom() - 1, &place, Style::new());
    overflow
}

/// The request as `offboard requests TOKEN` shows it, or the device as `offboard devices THING` does.
fn reply(reply: Option<&Reply<Opened>>) -> String {
    match reply {
        Some(Ok(Opened::Request(answer))) => show::request(&answer.request, answer.next_token.is_some()),
        Some(Ok(Opened::Device(answer))) => show::device(&answer.device, answer.history.as_deref()),
        Some(Err(words)) => words.clone(),
        None => "asking the agent".into(),
    }
}
