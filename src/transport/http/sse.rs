//! Server-sent events, cut out of a body that comes in pieces.
//!
//! The format is that of the HTML standard. An event of one `data` line, which is how messages come, is a slice of what
//! was read. Whatever the server sends, no more than one event of the size limit is held; the parsers that are kept by
//! others have no such limit.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// The longest event id that is kept. It is sent back as a header, which servers limit to some KiB.
const ID_BYTES_MAX: usize = 1024;

/// The most digits of a `retry` that are read: 11 days in milliseconds.
const RETRY_DIGITS_MAX: usize = 9;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// A message.
    #[default]
    Message,
    /// The old HTTP+SSE transport names the address for messages.
    Endpoint,
    /// Nothing that is known here.
    Other,
}

/// One event that has data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub kind: Kind,
    pub data: Bytes,
}

/// An event over the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Reads the events of one body.
#[derive(Debug)]
pub(super) struct Events {
    bytes_max: usize,
    /// What was read and is no whole line yet.
    rest: BytesMut,
    /// So much of it has no end of line.
    searched: usize,
    /// The first three bytes may be a byte order mark.
    begun: bool,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    kind: Kind,
    data: Data,
    /// The id that the unfinished event has.
    next_id: Option<Bytes>,
    id: Option<Bytes>,
    retry: Option<Duration>,
}

/// The data lines of the unfinished event.
#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Several(BytesMut),
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(line) => line.len(),
            Self::Several(lines) => lines.len(),
        }
    }

    fn add(&mut self, line: Bytes) {
        let mut lines = match std::mem::take(self) {
            Self::None => return *self = Self::One(line),
            Self::One(first) => BytesMut::from(first.as_ref()),
            Self::Several(lines) => lines,
        };
        lines.extend_from_slice(b"\n");
        lines.extend_from_slice(&line);
        *self = Self::Several(lines);
    }

    fn take(&mut self) -> Option<Bytes> {
        match std::mem::take(self) {
            Self::None => None,
            Self::One(line) => Some(line),
            Self::Several(lines) => Some(lines.freeze()),
        }
    }
}

impl Events {
    /// Of at most `bytes_max` bytes of data each.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            rest: BytesMut::new(),
            searched: 0,
            begun: false,
            after_cr: false,
            kind: Kind::default(),
            data: Data::default(),
            next_id: None,
            id: None,
            retry: None,
        }
    }

    /// Takes a piece of the body.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
    }

    /// The next event that has come whole.
    pub(super) fn next(&mut self) -> Result<Option<Event>, TooLarge> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line)?;
            }
        }
        Ok(None)
    }

    /// The id of the last event that came whole and had one. It is empty where it cannot be sent back: so a server says that what it
    /// has said cannot be gone on with.
    pub(super) fn id(&self) -> Option<&Bytes> {
        self.id.as_ref()
    }

    /// How long the server asks to wait before the stream is asked for again.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Result<Option<Bytes>, TooLarge> {
        if !self.begun {
            match self.rest.as_ref() {
                [0xEF] | [0xEF, 0xBB] | [] => return Ok(None),
                [0xEF, 0xBB, 0xBF, ..] => self.rest.advance(3),
                _ => {}
            }
            self.begun = true;
        }
        if self.after_cr && !self.rest.is_empty() {
            if self.rest[0] == b'\n' {
                self.rest.advance(1);
            }
            self.after_cr = false;
        }
        let Some(end) = memchr2(b'\n', b'\r', &self.rest[self.searched..]) else {
            self.searched = self.rest.len();
            // The name of a field, its colon and a space go on top of the data.
            return if self.searched > self.bytes_max.saturating_add(16) { Err(TooLarge) } else { Ok(None) };
        };
        let line = self.rest.split_to(self.searched + end);
        self.searched = 0;
        self.after_cr = self.rest[0] == b'\r';
        self.rest.advance(1);
        Ok(Some(line.freeze()))
    }

    fn field(&mut self, line: &Bytes) -> Result<(), TooLarge> {
        let colon = memchr(b':', line);
        let (name, mut value) = match colon {
            Some(colon) => (&line[..colon], line.slice(colon + 1..)),
            None => (&line[..], Bytes::new()),
        };
        if value.first() == Some(&b' ') {
            value.advance(1);
        }
        match name {
            b"data" => {
                if self.data.len() + value.len() > self.bytes_max {
                    return Err(TooLarge);
                }
                self.data.add(value);
            }
            b"event" => {
                self.kind = match value.as_ref() {
                    // Some servers tell an error so, in a message or in words.
                    b"" | b"message" | b"error" => Kind::Message,
                    b"endpoint" => Kind::Endpoint,
                    _ => Kind::Other,
                }
            }
            b"id" if memchr(0, &value).is_none() => {
                // A copy: a slice would hold on to all that was read with it.
                self.next_id = Some(Bytes::copy_from_slice(&value));
            }
            b"retry" if value.len() <= RETRY_DIGITS_MAX && value.iter().all(u8::is_ascii_digit) => {
                let ms = std::str::from_utf8(&value).ok().and_then(|digits| digits.parse().ok());
                self.retry = ms.map(Duration::from_millis).or(self.retry);
            }
            // Comments have an empty name; others mean nothing.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) -> Option<Event> {
        if let Some(id) = self.next_id.take() {
            self.id = Some(if id.len() <= ID_BYTES_MAX { id } else { Bytes::new() });
        }
        let kind = std::mem::take(&mut self.kind);
        Some(Event { kind, data: self.data.take()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 64;

    /// The data of all events of a body that comes in these pieces.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<Event>, Events), TooLarge> {
        let mut events = Events::new(LIMIT);
        let mut seen = Vec::new();
        for piece in pieces {
            events.feed(piece);
            while let Some(event) = events.next()? {
                seen.push(event);
            }
        }
        Ok((seen, events))
    }

    fn data(body: &str) -> Vec<String> {
        let (seen, _) = read([body.as_bytes()]).unwrap();
        seen.iter().map(|event| String::from_utf8(event.data.to_vec()).unwrap()).collect()
    }

    #[test]
    fn an_event_is_its_data_lines_joined() {
        assert_eq!(data("data: {\"a\":1}\n\ndata:b\ndata:  c\ndata\n\n"), ["{\"a\":1}", "b\n c\n"]);
    }

    #[test]
    fn the_data_of_one_line_is_a_slice_of_what_was_read() {
        let mut events = Events::new(LIMIT);
        events.feed(b"data: one\n\ndata: two\n\n");
        let room = events.rest.as_ptr_range();
        while let Some(event) = events.next().unwrap() {
            assert!(room.contains(&event.data.as_ptr()), "it was copied");
        }
    }

    #[test]
    fn lines_end_as_they_like_and_a_byte_order_mark_is_passed_over() {
        for body in ["data: x\ndata: y\n\n", "data: x\r\ndata: y\r\n\r\n", "data: x\rdata: y\r\r"] {
            assert_eq!(data(body), ["x\ny"], "{body:?}");
            assert_eq!(data(&format!("\u{feff}{body}")), ["x\ny"]);
        }
    }

    #[test]
    fn comments_unknown_fields_and_events_without_data_are_passed_over() {
        assert_eq!(data(": keep-alive\n\n:\n\nfoo: bar\nid: 7\n\nevent: message\n\ndata: x\n\n"), ["x"]);
    }

    #[test]
    fn an_event_that_never_ended_is_none() {
        assert!(data("data: x\n").is_empty());
    }

    #[test]
    fn kinds_are_told_apart() {
        let body =
            b"event: endpoint\ndata: /m\n\nevent: ping\ndata: x\n\nevent: error\ndata: {}\n\ndata: {}\n\n";
        let kinds: Vec<Kind> = read([&body[..]]).unwrap().0.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Endpoint, Kind::Other, Kind::Message, Kind::Message]);
    }

    #[test]
    fn the_id_and_the_retry_of_the_last_whole_event_count() {
        let told = |body: &str| {
            let (_, events) = read([body.as_bytes()]).unwrap();
            (events.id().map(|id| String::from_utf8(id.to_vec()).unwrap()), events.retry())
        };
        assert_eq!(
            told("id: 1\nretry: 250\ndata:\n\nid: 2\n"),
            (Some("1".into()), Some(Duration::from_millis(250)))
        );
        assert_eq!(told("id: 1\n\nid\n\n"), (Some(String::new()), None));
        assert_eq!(
            told(&format!("id: 1\n\nid: {}\n\n", "x".repeat(ID_BYTES_MAX + 1))),
            (Some(String::new()), None)
        );
        assert_eq!(told("id: a\0b\nretry: 1x\nretry: 9999999999\n\n"), (None, None));
        assert_eq!(told(&format!("id: 1\n\nid: {}\n\n", "x".repeat(32))).0.unwrap().len(), 32);
    }

    #[test]
    fn an_event_over_the_limit_is_an_error_before_it_has_come_whole() {
        let full = format!("data: {}\n\n", "x".repeat(LIMIT));
        assert_eq!(data(&full).len(), 1);
        for body in [
            format!("data: {}\n", "x".repeat(LIMIT + 1)),
            "x".repeat(LIMIT + 17),
            "data: x\n".repeat(LIMIT / 2 + 2),
        ] {
            assert_eq!(read([body.as_bytes()]).err(), Some(TooLarge), "{body}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_a_body_is_cut(
            body in r"(\u{feff})?((data|id|event|retry|:|x)(:)?[ a-z0-9]{0,8}(\r\n|\n|\r)(\n|\r)?){0,12}",
            cut in 0usize..120,
        ) {
            let bytes = body.as_bytes();
            let cut = cut.min(bytes.len());
            let whole = read([bytes]);
            let halves = read([&bytes[..cut], &bytes[cut..]]);
            let single = read(bytes.chunks(1));
            for other in [halves, single] {
                match (&whole, other) {
                    (Ok((a, x)), Ok((b, y))) => {
                        prop_assert_eq!(a, &b);
                        prop_assert_eq!((x.id(), x.retry()), (y.id(), y.retry()));
                    }
                    (Err(a), Err(b)) => prop_assert_eq!(a, &b),
                    (a, b) => prop_assert!(false, "{:?} and {:?}", a, b),
                }
            }
        }

        #[test]
        fn what_was_written_is_read(messages in prop::collection::vec("[^\r\n]{0,20}", 0..8)) {
            let body: String = messages.iter().map(|text| format!("id: 1\ndata: {text}\n\n")).collect();
            let read = data(&body);
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn no_bytes_make_it_panic_or_hold_more_than_the_limit(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        ) {
            let mut events = Events::new(LIMIT);
            for piece in &pieces {
                events.feed(piece);
                loop {
                    match events.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(TooLarge) => return Ok(()),
                    }
                }
                prop_assert!(events.rest.len() <= LIMIT + 16 && events.data.len() <= LIMIT);
            }
        }
    }
}
