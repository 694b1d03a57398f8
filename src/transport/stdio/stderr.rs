//! What a server writes to its stderr: its log. It goes to `tracing`, within limits, and its last lines are kept, since
//! they tell why it ended.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use tokio::time::Instant;
use tokio_util::codec::Decoder;

/// The longest line that is read; the rest of a longer one is skipped. It holds the usual line of a structured log.
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// Lines that are logged within [`WINDOW`]. A stack trace passes whole; a flood fills no disk.
pub(super) const LINES_MAX: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// Lines that were not logged are told soon, and then once in so long, however long the flood lasts.
const TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// The first lines and the last ones that are kept, and how much of each: they become part of an error message. Some programs say
/// first what they lack, and then how they are used; others end with what went wrong. Node says it in the middle. All together fit
/// into one reason.
const FIRST_LINES: usize = 2;
const LAST_LINES: usize = 3;
const KEPT_LINE_BYTES: usize = 150;

/// What stands for lines between them.
const LEFT_OUT: &str = "…";

/// Lines of a log, of bounded length.
#[derive(Default)]
pub(super) struct LogLines {
    /// In the middle of a line that is too long.
    skipping: bool,
}

impl Decoder for LogLines {
    type Item = Bytes;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, io::Error> {
        loop {
            let end = memchr(b'\n', buffer);
            let line = match end {
                Some(end) => buffer.split_to(end + 1),
                None if buffer.len() >= LINE_BYTES_MAX => buffer.split(),
                None => return Ok(None),
            };
            let rest_of_long = std::mem::replace(&mut self.skipping, end.is_none());
            if let Some(line) = content(line).filter(|_| !rest_of_long) {
                return Ok(Some(line));
            }
        }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, io::Error> {
        if let Some(line) = self.decode(buffer)? {
            return Ok(Some(line));
        }
        let rest = buffer.split();
        Ok(content(rest).filter(|_| !self.skipping))
    }
}

/// A line as far as it is read; `None` for a blank one.
fn content(mut line: BytesMut) -> Option<Bytes> {
    line.truncate(LINE_BYTES_MAX);
    Some(line.freeze()).filter(|line| !line.trim_ascii().is_empty())
}

/// A line as text that is safe to show: a terminal takes control characters for orders, and many servers write colours.
pub(super) fn readable(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            // A sequence of colour or movement, up to its final letter.
            '\x1b' if characters.as_str().starts_with('[') => {
                characters.next();
                characters.by_ref().find(|character| matches!(character, '@'..='~'));
            }
            '\t' => text.push('\t'),
            character if character.is_control() => {}
            character => text.push(character),
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// A line as it is shown beside what the server is at.
pub(super) fn last_line(line: &[u8]) -> String {
    readable(&line[..line.len().min(KEPT_LINE_BYTES)])
}

/// Whether a line names an error as runtimes do: `TypeError: …`, `java.io.IOException: …`, `error: …`.
fn names_error(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let name = line.trim_start().split(':').next().unwrap_or_default();
    let is_word = !name.contains(char::is_whitespace) && name.len() < line.trim().len();
    let ends = |ending: &str| name.to_ascii_lowercase().ends_with(ending);
    is_word && ["error", "exception", "fatal", "panic"].into_iter().any(ends)
}

/// Decides which lines are logged, and remembers the first and the last.
pub(super) struct StderrLog {
    first: Vec<Bytes>,
    last: VecDeque<Bytes>,
    /// Of the lines between them the last one that names an error.
    error: Option<Bytes>,
    /// Others between them were let go, before that one, or before the last lines.
    left_out: [bool; 2],
    window: Instant,
    in_window: u32,
    /// Lines that were not logged, since that was last told.
    dropped: u64,
    /// When it was.
    told: Option<Instant>,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// It is logged.
    pub logged: bool,
    /// So many before it were not, which has not been told yet.
    pub dropped: u64,
}

impl StderrLog {
    pub(super) fn new(now: Instant) -> Self {
        let (first, last) = (Vec::with_capacity(FIRST_LINES), VecDeque::with_capacity(LAST_LINES));
        Self {
            first,
            last,
            error: None,
            left_out: [false; 2],
            window: now,
            in_window: 0,
            dropped: 0,
            told: None,
        }
    }

    /// Takes note of a line.
    pub(super) fn note(&mut self, line: &[u8], now: Instant) -> Noted {
        // A slice of the line would hold the whole buffer that it was read into.
        let kept = Bytes::copy_from_slice(&line[..line.len().min(KEPT_LINE_BYTES)]);
        if self.first.len() < FIRST_LINES {
            self.first.push(kept);
        } else {
            if self.last.len() == LAST_LINES {
                match self.last.pop_front().filter(|line| names_error(line)) {
                    Some(error) if self.error.is_none() && !self.left_out[1] => self.error = Some(error),
                    Some(error) => {
                        self.error = Some(error);
                        self.left_out = [true, false];
                    }
                    None => self.left_out[1] = true,
                }
            }
            self.last.push_back(kept);
        }
        let mut dropped = 0;
        if now.saturating_duration_since(self.window) >= WINDOW {
            self.window = now;
            self.in_window = 0;
            let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_INTERVAL);
            if self.dropped > 0 && is_due {
                self.told = Some(now);
                dropped = self.dropped();
            }
        }
        self.in_window = self.in_window.saturating_add(1);
        let logged = self.in_window <= LINES_MAX;
        self.dropped += u64::from(!logged);
        Noted { logged, dropped }
    }

    /// Lines that were not logged, since this was last told.
    pub(super) fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// The first and the last lines, if there were any.
    pub(super) fn last_words(&self) -> Option<String> {
        let [before, after] = self.left_out.map(|left_out| left_out.then(|| LEFT_OUT.to_owned()));
        let words: Vec<String> = (self.first.iter().map(|line| readable(line)))
            .chain(before)
            .chain(self.error.iter().map(|line| readable(line)))
            .chain(after)
            .chain(self.last.iter().map(|line| readable(line)))
            .collect();
        Some(words.join(" | ")).filter(|words| !words.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut buffer, mut read) = (LogLines::default(), BytesMut::new(), Vec::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while let Some(line) = lines.decode(&mut buffer).unwrap() {
                read.push(readable(&line));
            }
        }
        read.extend(lines.decode_eof(&mut buffer).unwrap().map(|line| readable(&line)));
        read
    }

    #[test]
    fn lines_are_read_without_what_a_terminal_would_obey() {
        let told = read(&[b"one\r\n\n\x1b[1;31mtw", b"o\x1b[0m\x07\n", b"\xffthree\x1b[3"]);
        assert_eq!(told, ["one", "two", "\u{fffd}three"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut_and_its_rest_is_skipped() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        let read = read(&[&long, &long, b"yy\n", b"next\n", &long, b"z"]);
        assert_eq!(read.iter().map(String::len).collect::<Vec<_>>(), [LINE_BYTES_MAX, 4, LINE_BYTES_MAX]);
    }

    #[test]
    fn a_flood_is_cut_off_and_counted_and_its_first_and_last_lines_are_kept() {
        let now = Instant::now();
        let mut log = StderrLog::new(now);
        let logged = (0..1_000).filter(|n| log.note(format!("line {n}").as_bytes(), now).logged).count();
        assert_eq!(logged, LINES_MAX as usize);
        assert_eq!(log.last_words().unwrap(), "line 0 | line 1 | … | line 997 | line 998 | line 999");
        let later = log.note(b"calm", now + WINDOW);
        assert_eq!(later, Noted { logged: true, dropped: 1_000 - u64::from(LINES_MAX) });
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn a_flood_that_lasts_is_told_soon_and_then_once_a_minute() {
        let begun = Instant::now();
        let mut log = StderrLog::new(begun);
        let mut told = Vec::new();
        for second in 0..=180 {
            for _ in 0..=LINES_MAX {
                let Noted { dropped, .. } = log.note(b"again", begun + WINDOW * second);
                told.extend((dropped > 0).then_some((second, dropped)));
            }
        }
        assert_eq!(told, [(1, 1), (61, 60), (121, 60)]);
        assert_eq!(log.dropped(), 60);
    }

    #[test]
    fn a_line_that_names_an_error_is_kept_wherever_it_stands() {
        let told_of = |lines: &[&str]| {
            let mut log = StderrLog::new(Instant::now());
            for line in lines {
                log.note(line.as_bytes(), Instant::now());
            }
            log.last_words().unwrap()
        };
        let (begin, other) =
            (["node:internal/modules/cjs/loader:1143", "  throw err;"], "    at f (x.js:1:2)");
        let (error, end) =
            ("Error: Cannot find module '/x.js'", ["  requireStack: []", "}", "Node.js v20.1.0"]);
        let (first, last) = (begin.join(" | "), end.join(" | "));
        let told = told_of(&[&begin[..], &[other, error, other, other], &end].concat());
        assert_eq!(told, format!("{first} | … | {error} | … | {last}"));
        // Directly behind the first lines, and directly before the last ones.
        let told = told_of(&[&begin[..], &[error], &end].concat());
        assert_eq!(told, format!("{first} | {error} | {last}"));
        // Of several the last one counts.
        let told = told_of(&[&begin[..], &["TypeError: x", other, error], &end].concat());
        assert_eq!(told, format!("{first} | … | {error} | {last}"));
        for (line, names) in [
            ("ValueError: x", true),
            ("java.lang.RuntimeException: x", true),
            ("error: x", true),
            ("an error: x", false),
            ("Error", false),
            ("2026-01-01 10:00:00 INFO x", false),
        ] {
            assert_eq!(names_error(line.as_bytes()), names, "{line}");
        }
    }

    #[test]
    fn of_few_lines_none_is_left_out() {
        let now = Instant::now();
        let mut log = StderrLog::new(now);
        for n in 1..=5 {
            log.note(n.to_string().as_bytes(), now);
        }
        assert_eq!(log.last_words().unwrap(), "1 | 2 | 3 | 4 | 5");
    }

    #[test]
    fn who_said_nothing_has_no_last_words() {
        assert_eq!(StderrLog::new(Instant::now()).last_words(), None);
    }
}
