//! The lines of the local socket: reads them within limits of time and length, and writes them.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::unix::OwnedWriteHalf,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::places::Place;
use crate::{
    domain::ClientToken,
    protocol::{self, local_socket::MAX_LINE},
};

/// A longer line counts as large. One large line at a time is read and processed, and one more for
/// root, which limits the memory for them.
const LARGE: usize = 64 << 10;

/// How many bytes of a line that is too long are skipped, so that its sender reads the response.
const MAX_SKIPPED: usize = 64 << 20;

/// The longest time from a line's first byte to its last, in either direction. A client that takes
/// longer is gone or malicious.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most characters of an operation's name that are kept.
pub(super) const MAX_OPERATION: usize = 128;

/// The operation and the token of a line, as far as they can be read, whatever else is wrong with
/// it.
pub(super) fn begun(line: &[u8]) -> (String, Option<ClientToken>) {
    let after = |name: &[u8]| {
        let at = line.windows(name.len()).position(|bytes| bytes == name)?;
        let rest = line.get(at + name.len()..)?.trim_ascii_start().strip_prefix(b":")?;
        Some(rest.trim_ascii_start())
    };
    let operation = after(b"\"operation\"").and_then(|rest| {
        let text = rest.strip_prefix(b"\"")?;
        let end = text.iter().take(MAX_OPERATION).position(|byte| *byte == b'"')?;
        String::from_utf8(text[..end].to_vec()).ok()
    });
    (operation.unwrap_or_default(), after(b"\"payload\"").and_then(protocol::token_of))
}

/// What was read of a line.
pub(super) enum Part {
    /// The whole line; a large one comes with its permit.
    Line(Option<OwnedSemaphorePermit>),
    /// The beginning of a line that is longer than a line may be.
    TooLong,
    /// Nothing, or a line without an end, because the stream ended.
    End,
}

/// Reads to the end of a line, and removes the line end.
pub(super) async fn read_line(
    read: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    place: &Place,
    large: &Arc<Semaphore>,
) -> io::Result<Part> {
    if read.fill_buf().await?.is_empty() {
        return Ok(Part::End);
    }
    place.begin();
    timeout(PATIENCE, (&mut *read).take(LARGE as u64).read_until(b'\n', line)).await??;
    let mut permit = None;
    if line.last() != Some(&b'\n') && line.len() >= LARGE {
        // The semaphore is never closed.
        permit = Arc::clone(large).acquire_owned().await.ok();
        timeout(PATIENCE, (&mut *read).take((MAX_LINE - LARGE) as u64).read_until(b'\n', line)).await??;
        if line.last() != Some(&b'\n') && line.len() >= MAX_LINE {
            return Ok(Part::TooLong);
        }
    }
    Ok(if line.pop() == Some(b'\n') { Part::Line(permit) } else { Part::End })
}

/// Skips the rest of a line, and keeps nothing of it; `false` if the line does not end within
/// [`MAX_SKIPPED`] bytes.
pub(super) async fn skip_line(read: &mut (impl AsyncBufRead + Unpin)) -> bool {
    let skipping = async {
        let mut skipped = 0;
        while skipped < MAX_SKIPPED {
            let bytes = read.fill_buf().await.ok().filter(|bytes| !bytes.is_empty())?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(bytes.len(), |at| at + 1);
            read.consume(count);
            if end.is_some() {
                return Some(());
            }
            skipped += count;
        }
        None
    };
    matches!(timeout(PATIENCE, skipping).await, Ok(Some(())))
}

pub(super) async fn write_lines(mut write: OwnedWriteHalf, mut lines: mpsc::Receiver<Vec<u8>>, place: &Place) {
    while let Some(line) = lines.recv().await {
        if !matches!(timeout(PATIENCE, write.write_all(&line)).await, Ok(Ok(()))) {
            return;
        }
        place.wrote(line.len());
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::BufReader, time::Instant};

    use super::{super::places::Places, *};

    /// A client that sends a part of a line and then nothing, or a few bytes now and then, gets
    /// [`PATIENCE`] and no more.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_trickles_a_line_is_not_waited_for_and_holds_up_no_large_line() {
        let large = Arc::new(Semaphore::new(1));
        for begin in [1, 2 * LARGE] {
            let (client, agent) = tokio::io::duplex(4 * LARGE);
            let (place, _closed) = Places::default().enter(1000).unwrap();
            let trickling = tokio::spawn(async move {
                let mut client = client;
                client.write_all(&vec![b'x'; begin]).await.unwrap();
                while client.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let start = Instant::now();
            let mut read = BufReader::new(agent);
            let ended = read_line(&mut read, &mut Vec::new(), &place, &large).await;
            assert!(ended.is_err(), "{begin}");
            assert!(start.elapsed() <= 2 * PATIENCE, "{begin}: {:?}", start.elapsed());
            assert_eq!(large.available_permits(), 1);
            drop(read);
            trickling.await.unwrap();
        }
    }
}
