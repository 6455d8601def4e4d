//! The golden files in `docs/screens`, which show what a person sees. They are snapshots of insta:
//! `INSTA_UPDATE=always` writes them, and `cargo insta review` shows what changed.

use std::path::Path;

use insta::{Comparator, Settings, Snapshot};

/// Texts that differ from run to run, and what the documents show in their place.
const EXAMPLES: [(&str, &str); 4] = [
    (r"\b20\d\d-\d\d-\d\dT[\d:.]+Z", "2026-11-21T09:00:00.000Z"),
    (r"\b20\d{6}T\d{6}Z", "20261121T090000Z"),
    (r"\blocalhost:\d+", "localhost:8883"),
    (r"\b127\.0\.0\.1:\d+", "127.0.0.1:1883"),
];

/// Compares two screens by what `steady` leaves of their text.
#[derive(Clone)]
struct Steady(fn(&str) -> String);

impl Comparator for Steady {
    fn matches(&self, reference: &Snapshot, test: &Snapshot) -> bool {
        let text = |snapshot: &Snapshot| snapshot.as_text().map(|text| (self.0)(&text.to_string()));
        text(reference) == text(test)
    }

    fn dyn_clone(&self) -> Box<dyn Comparator> {
        Box::new(self.clone())
    }
}

/// Compares `text` with the golden file of that name. `steady` removes from a line what differs
/// from run to run. The width of columns never counts.
pub fn assert_screen(name: &str, text: &str, steady: fn(&str) -> String) {
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screens"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_comparator(Box::new(Steady(steady)));
    settings.set_filters(EXAMPLES);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The words of a text, with one space between them.
pub fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text without its digits.
pub fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}
