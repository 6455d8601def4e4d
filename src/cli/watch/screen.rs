//! The terminal: taking and restoring it, its output and its input.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ratatui_core::{
    backend::{Backend, ClearType, WindowSize},
    buffer::Cell,
    layout::{Position, Size},
    style::{Color, Modifier},
};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// The size that is assumed for a terminal that does not report it, such as a serial console.
const USUAL: Size = Size { width: 80, height: 24 };

/// Switches to the alternate screen, hides the cursor, and disables wrapping, so that a character
/// in the last column does not scroll.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[0m\x1b[2J";

/// Restores the terminal. One without an alternate screen is left empty.
const LEAVE: &str = "\x1b[0m\x1b[2J\x1b[H\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Maximum number of reads that wait to be handled; a longer paste waits in the terminal.
const MAX_READS: usize = 8;

/// The terminal's previous state, restored once.
struct Before {
    input: OwnedFd,
    output: OwnedFd,
    modes: Termios,
    is_back: AtomicBool,
}

impl Before {
    fn restore(&self) {
        if self.is_back.swap(true, Ordering::SeqCst) {
            return;
        }
        // Restoring fails only if the terminal is gone.
        let _ = rustix::io::write(&self.output, LEAVE.as_bytes());
        let _ = tcsetattr(&self.input, OptionalActions::Now, &self.modes);
    }
}

/// A terminal in use: as long as this value lives, keys arrive one by one and nothing else writes.
pub(super) struct Screen {
    before: Arc<Before>,
    output: File,
    /// Output that was not sent yet.
    text: String,
    cursor: Position,
}

impl Screen {
    /// Takes the terminal until this value is dropped or the program panics.
    ///
    /// # Errors
    /// The file is not a terminal.
    pub(super) fn take(input: impl AsFd, output: impl AsFd) -> io::Result<Self> {
        let (input, output) = (input.as_fd().try_clone_to_owned()?, output.as_fd().try_clone_to_owned()?);
        let modes = tcgetattr(&input)?;
        let mut ours = modes.clone();
        ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        ours.special_codes[SpecialCodeIndex::VMIN] = 1;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        let mut screen = Self {
            output: File::from(output.try_clone()?),
            before: Arc::new(Before { input, output, modes, is_back: AtomicBool::new(false) }),
            text: String::new(),
            cursor: Position::ORIGIN,
        };
        tcsetattr(&screen.before.input, OptionalActions::Flush, &ours)?;
        // The message of a panic has to be printed on the screen that remains.
        let (before, previous) = (Arc::clone(&screen.before), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            before.restore();
            previous(panic);
        }));
        screen.text.push_str(ENTER);
        Backend::flush(&mut screen)?;
        Ok(screen)
    }

    /// The input from now on; the channel closes when the terminal is gone.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn input(&self) -> io::Result<mpsc::Receiver<Vec<u8>>> {
        let input = self.before.input.try_clone()?;
        let (sender, receiver) = mpsc::channel(MAX_READS);
        // A blocking read in a thread, since other processes may share the terminal, and
        // non-blocking mode would affect them. The thread ends with the process.
        std::thread::Builder::new().name("keys".into()).spawn(move || {
            let mut bytes = [0; 256];
            loop {
                match rustix::io::read(&input, &mut bytes) {
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) | Ok(0) => return,
                    Ok(count) if sender.blocking_send(bytes[..count].to_vec()).is_err() => return,
                    Ok(_) => {}
                }
            }
        })?;
        Ok(receiver)
    }

    fn style(&mut self, cell: &Cell) {
        self.text.push_str("\x1b[0");
        for (modifier, code) in [(Modifier::BOLD, ";1"), (Modifier::UNDERLINED, ";4"), (Modifier::REVERSED, ";7")] {
            if cell.modifier.contains(modifier) {
                self.text.push_str(code);
            }
        }
        if cell.fg == Color::Red {
            self.text.push_str(";31");
        }
        self.text.push('m');
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.before.restore();
    }
}

/// The output uses only the sequences that a VT100 and all its successors know.
impl Backend for Screen {
    type Error = io::Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> io::Result<()> {
        let mut next = None;
        let mut style = None;
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                let _ = write!(self.text, "\x1b[{};{}H", y + 1, x + 1);
            }
            if style != Some((cell.modifier, cell.fg)) {
                self.style(cell);
                style = Some((cell.modifier, cell.fg));
            }
            self.text.push_str(cell.symbol());
            // After a character that may be two columns wide, the position of the cursor is
            // uncertain.
            next = cell.symbol().is_ascii().then_some((x + 1, y));
        }
        self.text.push_str("\x1b[0m");
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.text.push_str("\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.text.push_str("\x1b[?25h");
        Ok(())
    }

    /// The last position that was set. The terminal is not queried, since its response would mix
    /// with the keys.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(self.cursor)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.cursor = position.into();
        let _ = write!(self.text, "\x1b[{};{}H", self.cursor.y + 1, self.cursor.x + 1);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, clear_type: ClearType) -> io::Result<()> {
        self.text.push_str(match clear_type {
            ClearType::All => "\x1b[2J",
            ClearType::AfterCursor => "\x1b[J",
            ClearType::BeforeCursor => "\x1b[1J",
            ClearType::CurrentLine => "\x1b[2K",
            ClearType::UntilNewLine => "\x1b[K",
        });
        Ok(())
    }

    fn size(&self) -> io::Result<Size> {
        let size = tcgetwinsize(&self.before.output)?;
        Ok(if size.ws_col == 0 || size.ws_row == 0 { USUAL } else { Size::new(size.ws_col, size.ws_row) })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(self.text.as_bytes())?;
        self.text.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::{
        pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
        termios::{InputModes, OutputModes},
    };

    use super::*;

    /// A pseudo-terminal: its controlling side and the terminal itself.
    fn terminal() -> (OwnedFd, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let other = openpt(flags).unwrap();
        grantpt(&other).unwrap();
        unlockpt(&other).unwrap();
        let terminal = ioctl_tiocgptpeer(&other, flags).unwrap();
        (other, terminal)
    }

    fn modes(terminal: &OwnedFd) -> (InputModes, OutputModes, LocalModes, u8) {
        let modes = tcgetattr(terminal).unwrap();
        (modes.input_modes, modes.output_modes, modes.local_modes, modes.special_codes[SpecialCodeIndex::VMIN])
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_speaks() {
        let (other, terminal) = terminal();
        let before = modes(&terminal);
        let panicked = std::thread::spawn({
            let terminal = terminal.try_clone().unwrap();
            move || {
                let screen = Screen::take(&terminal, &terminal).unwrap();
                assert!(!modes(&terminal).2.intersects(LocalModes::ECHO | LocalModes::ICANON));
                assert_eq!(screen.size().unwrap(), USUAL, "this one does not know its size");
                panic!("as planned");
            }
        });
        assert!(panicked.join().is_err());
        assert_eq!(modes(&terminal), before);
        let mut bytes = [0; 256];
        let count = rustix::io::read(&other, &mut bytes).unwrap();
        let text = std::str::from_utf8(&bytes[..count]).unwrap();
        assert_eq!(text, format!("{ENTER}{LEAVE}"), "both once");
    }

    #[test]
    fn what_is_no_terminal_is_not_taken() {
        let file = File::open("/dev/null").unwrap();
        assert!(Screen::take(&file, &file).is_err());
    }
}
