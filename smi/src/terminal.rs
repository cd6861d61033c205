//! A text that fills the terminal and is drawn anew until somebody has seen enough.
//!
//! What the terminal was before comes back whatever ends it: a key, a signal, an error, a panic.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{self, ClearType};
use crossterm::{cursor, execute, queue};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long a signal may go unseen.
const LOOK: Duration = Duration::from_millis(200);

/// Why a terminal cannot be drawn on.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// There is none.
    #[error("drawing on the terminal: {stream} is none")]
    None {
        /// What should have been one.
        stream: &'static str,
    },
    /// It does not do what it is told.
    #[error("drawing on the terminal")]
    Io {
        /// What the system said.
        #[from]
        source: io::Error,
    },
}

impl TerminalError {
    /// The remedy, as one whole sentence.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::None { .. } => {
                "Run it in a terminal, without pipes (ssh -t for another machine), or print again \
                 and again with --loop."
            }
            Self::Io { .. } => "Print again and again with --loop instead.",
        }
    }
}

/// Draws what `draw` answers, `every` so often and at each change of the terminal's size, until q,
/// Escape or Ctrl-C is pressed or a signal asks for the end. Where `draw` fails, what `told` makes
/// of the error is drawn, and it is asked again.
///
/// # Errors
/// What `draw` says the first time, before anything is drawn; [`TerminalError`] if standard input
/// or output is no terminal.
pub fn top<E: From<TerminalError>>(
    every: Duration,
    mut draw: impl FnMut() -> Result<String, E>,
    told: impl Fn(&E) -> String,
) -> Result<(), E> {
    for (stream, is_one) in [
        ("standard input", io::stdin().is_terminal()),
        ("standard output", io::stdout().is_terminal()),
    ] {
        if !is_one {
            return Err(TerminalError::None { stream }.into());
        }
    }
    let mut text = draw()?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).map_err(TerminalError::from)?;
    }
    let screen = Screen::take()?;
    loop {
        let next = Instant::now() + every;
        screen.paint(&text, every)?;
        if screen.rests(next, &ended, &text, every)? {
            return Ok(());
        }
        text = draw().unwrap_or_else(|error| told(&error));
    }
}

/// The terminal as long as it is ours.
struct Screen;

impl Screen {
    fn take() -> Result<Self, TerminalError> {
        terminal::enable_raw_mode()?;
        // From here on the drop undoes whatever was done.
        let screen = Self;
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Draws as much of a text as there is room for, and how to end it.
    fn paint(&self, text: &str, every: Duration) -> Result<(), TerminalError> {
        let (columns, rows) = terminal::size()?;
        let cut = |line: &str| line.chars().take(columns.into()).collect::<String>();
        let mut out = io::stdout().lock();
        let shown = text.lines().take(usize::from(rows).saturating_sub(1));
        for (row, line) in (0_u16..).zip(shown) {
            let clear = terminal::Clear(ClearType::UntilNewLine);
            queue!(out, cursor::MoveTo(0, row), Print(cut(line)), clear)?;
            queue!(out, cursor::MoveTo(0, row + 1))?;
        }
        queue!(out, terminal::Clear(ClearType::FromCursorDown))?;
        let foot = format!("q ends it, any other key asks again; every {} s", every.as_secs());
        queue!(out, cursor::MoveTo(0, rows.saturating_sub(1)), Print(cut(&foot)))?;
        out.flush()?;
        Ok(())
    }

    /// Waits until something is to be drawn anew; says whether it is over.
    fn rests(
        &self,
        until: Instant,
        ended: &AtomicBool,
        text: &str,
        every: Duration,
    ) -> Result<bool, TerminalError> {
        while !ended.load(Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            if !event::poll(left.min(LOOK))? {
                continue;
            }
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Release => {}
                Event::Key(key) => {
                    let control = key.modifiers.contains(KeyModifiers::CONTROL);
                    return Ok(match key.code {
                        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
                        KeyCode::Char('c') => control,
                        _ => false,
                    });
                }
                Event::Resize(..) => self.paint(text, every)?,
                _ => {}
            }
        }
        Ok(true)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}
