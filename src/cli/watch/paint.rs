//! Writes text to the buffer: cut to its width, and in characters that the terminal can show.

use ratatui_core::{buffer::Buffer, style::Style, text::Span};

use crate::cli::text::clean;

/// The characters for the heights of a column, from zero to the highest.
const ASCII_HEIGHTS: [char; 9] = ['_', '.', ':', '-', '=', '+', '*', '%', '#'];
const HEIGHTS: [char; 9] = ['_', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) struct Paint<'b> {
    pub(super) buffer: &'b mut Buffer,
    /// Whether only ASCII characters may reach the terminal.
    pub(super) ascii: bool,
}

impl Paint<'_> {
    /// Writes a text at a position with a maximum width; a text that is too long is cut and ends in
    /// `~`.
    pub(super) fn put(&mut self, x: u16, y: u16, text: &str, width: usize, style: Style) {
        let text = self.cut(text, width);
        if self.buffer.area.contains((x, y).into()) {
            self.buffer.set_stringn(x, y, text, width, style);
        }
    }

    /// Writes a text over the whole width of a line.
    pub(super) fn line(&mut self, y: u16, text: &str, style: Style) {
        self.put(0, y, text, usize::from(self.buffer.area.width), style);
    }

    /// As [`Self::line`], with the style up to the right edge.
    pub(super) fn bar(&mut self, y: u16, text: &str, style: Style) {
        let width = usize::from(self.buffer.area.width);
        self.put(0, y, &" ".repeat(width), width, style);
        self.line(y, text, style);
    }

    /// The text as the terminal shows it, cut to the width.
    pub(super) fn cut(&self, text: &str, width: usize) -> String {
        let text = self.shown(text);
        if columns(&text) <= width {
            return text;
        }
        let mut kept = String::new();
        let mut used = 0;
        for c in text.chars() {
            used += columns(c.encode_utf8(&mut [0; 4]));
            if used >= width {
                break;
            }
            kept.push(c);
        }
        kept.push('~');
        kept
    }

    /// Breaks a text into lines of a maximum width, at spaces where possible.
    pub(super) fn wrap(&self, text: &str, width: usize) -> Vec<String> {
        let text = self.shown(text);
        let mut lines = vec![String::new()];
        let mut used = 0;
        for word in text.split_inclusive(' ') {
            if used + columns(word.trim_end()) > width && used > 0 {
                lines.push("  ".into());
                used = 2;
            }
            for c in word.chars() {
                let wide = columns(c.encode_utf8(&mut [0; 4]));
                if used + wide > width {
                    if c == ' ' {
                        continue;
                    }
                    lines.push("  ".into());
                    used = 2;
                }
                if let Some(line) = lines.last_mut() {
                    line.push(c);
                }
                used += wide;
            }
        }
        lines
    }

    /// A sparkline with columns as high as their values; `?` where a value is unknown.
    pub(super) fn spark(&self, values: impl Iterator<Item = Option<u64>>, most: u64) -> String {
        let heights = if self.ascii { ASCII_HEIGHTS } else { HEIGHTS };
        let height = |value: Option<u64>| match value {
            None => '?',
            Some(0) => heights[0],
            // A value above zero is always visible.
            Some(value) => heights[(value.saturating_mul(8).div_ceil(most.max(1)) as usize).clamp(1, 8)],
        };
        values.map(height).collect()
    }

    /// Some terminals have no glyph for the replacement character, and leave the previous content.
    fn shown(&self, text: &str) -> String {
        let text = clean(text);
        text.chars().map(|c| if c == '\u{fffd}' || self.ascii && !c.is_ascii() { '?' } else { c }).collect()
    }
}

/// The number of columns that a text takes on a terminal.
fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use ratatui_core::layout::Rect;

    use super::*;

    fn with(ascii: bool, test: impl FnOnce(Paint<'_>)) {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 2));
        test(Paint { buffer: &mut buffer, ascii });
    }

    #[test]
    fn what_does_not_fit_says_so() {
        with(false, |paint| {
            assert_eq!(paint.cut("retire-7", 8), "retire-7");
            assert_eq!(paint.cut("retire-77", 8), "retire-~");
            assert_eq!(paint.cut("線路線路線路", 8), "線路線~");
        });
        with(true, |paint| assert_eq!(paint.cut("Prüfstand\u{fffd}", 20), "Pr?fstand?"));
    }

    #[test]
    fn lines_break_at_spaces_and_lose_nothing() {
        with(false, |paint| {
            assert_eq!(paint.wrap("the broker cannot be reached", 12), ["the broker ", "  cannot be ", "  reached"]);
            assert_eq!(paint.wrap("0123456789", 6), ["012345", "  6789"]);
            assert_eq!(paint.wrap("", 6), [""]);
        });
    }

    #[test]
    fn a_column_is_as_high_as_its_number() {
        with(true, |paint| {
            let values = [None, Some(0), Some(1), Some(50), Some(100)];
            assert_eq!(paint.spark(values.into_iter(), 100), "?_.=#");
            assert_eq!(paint.spark([Some(0)].into_iter(), 0), "_");
        });
        with(false, |paint| assert_eq!(paint.spark([Some(1), Some(2)].into_iter(), 2), "▄█"));
    }
}
