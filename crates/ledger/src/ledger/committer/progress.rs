//! What a step of a checkpoint leaves to do.

/// How far a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is another step.
    More,
    /// The next step waits for rows that are being written.
    Busy,
    /// There is nothing to do.
    Over,
}
