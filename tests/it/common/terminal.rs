//! A pseudo terminal of 80x24 with a command on it, as a person sees it.

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZero,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{InputModes, LocalModes, OutputModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::{PATIENCE, until};

/// A terminal with a command of ours on it.
pub struct Terminal {
    /// Where a person sits.
    person: File,
    /// Kept open, so that its modes can be looked at when the command has ended.
    terminal: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    pub child: Child,
    modes: (InputModes, OutputModes, LocalModes),
}

fn modes(terminal: &OwnedFd) -> (InputModes, OutputModes, LocalModes) {
    let modes = tcgetattr(terminal).unwrap();
    (modes.input_modes, modes.output_modes, modes.local_modes)
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn nonzero(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

impl Terminal {
    /// Starts a command on a terminal of its own.
    pub fn with(command: &mut Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let person = openpt(flags).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let terminal = ioctl_tiocgptpeer(&person, flags).unwrap();
        tcsetwinsize(&person, size(24, 80)).unwrap();
        let modes = modes(&terminal);
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(nonzero(24), nonzero(80), 0)));
        let (mut reader, seen) = (File::from(person.try_clone().unwrap()), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                seen.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self { person: person.into(), terminal, screen, child, modes }
    }

    /// The lines of the screen, as text.
    pub fn lines(&self) -> Vec<String> {
        let screen = self.screen.lock().unwrap();
        let width = screen.screen().size().1;
        screen.screen().rows(0, width.get()).map(|line| line.trim_end().to_owned()).collect()
    }

    /// Types it.
    pub fn press(&mut self, keys: &str) {
        self.person.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen is as `wanted`.
    pub async fn shows(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            let lines = self.lines();
            if wanted(&lines) {
                return lines;
            }
            assert!(start.elapsed() < PATIENCE, "{what} is never seen: {lines:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until some line begins so.
    pub async fn line(&self, begin: &str) -> String {
        let lines = self.shows(begin, |lines| lines.iter().any(|line| line.starts_with(begin))).await;
        lines.into_iter().find(|line| line.starts_with(begin)).unwrap()
    }

    /// Waits for the end of the command.
    pub async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("it has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Makes the window another one.
    pub fn resize(&mut self, rows: u16, width: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(nonzero(rows), nonzero(width));
        tcsetwinsize(&self.person, size(rows, width)).unwrap();
    }

    /// Whether keys come to the command one by one.
    pub fn is_taken(&self) -> bool {
        !modes(&self.terminal).2.contains(LocalModes::ICANON)
    }

    /// Nothing is left of it on the terminal.
    pub async fn is_as_before(&self) {
        assert_eq!(modes(&self.terminal), self.modes);
        let restored = |screen: &vt100::Screen| !screen.alternate_screen() && !screen.hide_cursor();
        until("the screen is given back", || restored(self.screen.lock().unwrap().screen())).await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
