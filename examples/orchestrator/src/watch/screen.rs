//! The terminal while the live picture holds it. Whatever ends this, the terminal is given back as it was.

use std::io::{self, Stdout, stdout};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};
use tokio::sync::watch;

use super::picture::{Look, Scroll, Snapshot, draw};
use crate::output::note;

/// How long a key or a new snapshot may wait to be seen: shorter than anybody notices.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Panics that are remembered until the terminal can show them; those of actors are in the events as well.
const PANICS_MAX: usize = 16;

/// Shows the newest snapshot until somebody leaves or no more come. It blocks: it is for a thread of its own.
///
/// # Errors
/// The terminal cannot be used.
pub fn show(mut snapshots: watch::Receiver<Arc<Snapshot>>, look: Look) -> io::Result<()> {
    let mut held = Held::take()?;
    let mut scroll = Scroll::default();
    loop {
        // Not kept borrowed: whoever sends the next would wait for that.
        let snapshot = snapshots.borrow_and_update().clone();
        held.terminal.draw(|frame| draw(frame, &snapshot, &mut scroll, look))?;
        loop {
            if event::poll(LOOK_INTERVAL)? {
                match meaning(&event::read()?) {
                    Some(Wish::Leave) => return Ok(()),
                    Some(Wish::Move(_) | Wish::Nothing) if scroll.back() => {}
                    Some(Wish::Move(way)) => way(&mut scroll),
                    Some(Wish::Redraw) => {}
                    Some(Wish::Nothing) | None => continue,
                }
                break;
            }
            match snapshots.has_changed() {
                Ok(true) => break,
                Ok(false) => {}
                Err(_) => return Ok(()),
            }
        }
    }
}

/// What somebody at the terminal wants.
enum Wish {
    Leave,
    Move(fn(&mut Scroll)),
    Redraw,
    /// It is a key that means nothing.
    Nothing,
}

fn meaning(event: &Event) -> Option<Wish> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => Some(of_key(*key)),
        Event::Resize(..) => Some(Wish::Redraw),
        _ => None,
    }
}

fn of_key(key: KeyEvent) -> Wish {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Leave,
        KeyCode::Char('q') => Wish::Leave,
        KeyCode::Char('?' | 'h') => Wish::Move(Scroll::explain),
        KeyCode::Up | KeyCode::Char('k') => Wish::Move(Scroll::up),
        KeyCode::Down | KeyCode::Char('j') => Wish::Move(Scroll::down),
        KeyCode::PageUp => Wish::Move(Scroll::page_up),
        KeyCode::PageDown | KeyCode::Char(' ') => Wish::Move(Scroll::page_down),
        KeyCode::Home => Wish::Move(Scroll::first),
        KeyCode::End => Wish::Move(Scroll::last),
        _ => Wish::Nothing,
    }
}

/// A terminal in raw mode on its other screen. Dropped, it gives both back, and then says what panicked meanwhile.
struct Held {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    panics: mpsc::Receiver<String>,
}

impl Held {
    fn take() -> io::Result<Self> {
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        let (told, panics) = mpsc::sync_channel(PANICS_MAX);
        // From here on it is given back, however far the taking got.
        let held = Self { terminal, panics };
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // An actor's panic is what supervision is for: it must not write across the picture.
            if let Err(mpsc::TrySendError::Disconnected(_)) = told.try_send(panic.to_string()) {
                usual(panic);
            }
        }));
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen)?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // There is nobody to tell if the terminal is gone.
        let _ = queue!(stdout(), LeaveAlternateScreen, Show);
        let _ = io::Write::flush(&mut stdout());
        let _ = disable_raw_mode();
        for panic in self.panics.try_iter() {
            note!("{panic}");
        }
    }
}
