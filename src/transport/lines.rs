//! One message per line.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::{memchr, memchr2};
use tokio_util::codec::{Decoder, Encoder};

/// What is kept of either end of a line that is too long, in bytes: room for the members beside its result.
const ENDS_BYTES: usize = 1 << 10;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Whole(Bytes),
    /// It was longer than a message may be, and passed over but for these.
    TooLong {
        beginning: Bytes,
        end: Bytes,
    },
}

/// Reads and writes messages as lines. Of what is read, blank lines are left out; a line that the end of the stream cuts
/// off is given as it is. One that is too long is passed over as it comes, so that it costs no memory.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The longest line, in bytes.
    limit: usize,
    /// Bytes at the front of the buffer that are known to hold no line break.
    searched: usize,
    /// The beginning of the line that is being passed over. The buffer holds its end, as far as that has come.
    passing: Option<Bytes>,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, searched: 0, passing: None }
    }

    /// The line that ends here, without its break. `None` for a blank one.
    fn line(&mut self, mut line: Bytes) -> Option<Line> {
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        let beginning = match self.passing.take() {
            Some(beginning) => beginning,
            None if line.len() > self.limit => beginning_of(&line),
            None if line.trim_ascii().is_empty() => return None,
            None => return Some(Line::Whole(line)),
        };
        Some(Line::TooLong { beginning, end: end_of(&line) })
    }
}

/// A copy: a slice would keep all of the line.
fn beginning_of(line: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&line[..line.len().min(ENDS_BYTES)])
}

fn end_of(line: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&line[line.len().saturating_sub(ENDS_BYTES)..])
}

impl Decoder for Lines {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Line>, io::Error> {
        while let Some(found) = memchr(b'\n', &buffer[self.searched..]) {
            let end = self.searched + found;
            self.searched = 0;
            let mut line = buffer.split_to(end + 1).freeze();
            line.truncate(end);
            if let Some(line) = self.line(line) {
                return Ok(Some(line));
            }
        }
        // The carriage return of a line that just fits may be there already, and its end not yet.
        let fits = buffer.strip_suffix(b"\r").unwrap_or(buffer).len() <= self.limit;
        if !fits || self.passing.is_some() {
            self.passing.get_or_insert_with(|| beginning_of(buffer));
            // One more than is kept, for the carriage return.
            buffer.advance(buffer.len().saturating_sub(ENDS_BYTES + 1));
        }
        self.searched = buffer.len();
        Ok(None)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Line>, io::Error> {
        if let Some(line) = self.decode(buffer)? {
            return Ok(Some(line));
        }
        self.searched = 0;
        if buffer.is_empty() && self.passing.is_none() {
            return Ok(None);
        }
        let rest = buffer.split().freeze();
        Ok(self.line(rest))
    }
}

impl Encoder<Bytes> for Lines {
    type Error = io::Error;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), io::Error> {
        buffer.reserve(frame.len() + 1);
        let begin = buffer.len();
        buffer.put_slice(&frame);
        if memchr2(b'\n', b'\r', &frame).is_some() {
            // The host's arguments pass as they were written. A JSON string holds no line break, and between tokens a
            // space means the same.
            let breaks = buffer[begin..].iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r'));
            breaks.for_each(|byte| *byte = b' ');
        }
        buffer.put_u8(b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that `chunks` come to, read as they come.
    fn read(limit: usize, chunks: &[&[u8]]) -> Vec<Line> {
        let (mut lines, mut buffer, mut read) = (Lines::new(limit), BytesMut::new(), Vec::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while let Some(line) = lines.decode(&mut buffer).unwrap() {
                read.push(line);
            }
            assert!(buffer.len() <= limit.max(ENDS_BYTES) + 1, "{} bytes are held", buffer.len());
        }
        while let Some(line) = lines.decode_eof(&mut buffer).unwrap() {
            read.push(line);
        }
        read
    }

    fn whole(line: &'static [u8]) -> Line {
        Line::Whole(Bytes::from_static(line))
    }

    fn too_long(beginning: &[u8], end: &[u8]) -> Line {
        Line::TooLong { beginning: Bytes::copy_from_slice(beginning), end: Bytes::copy_from_slice(end) }
    }

    #[test]
    fn blank_lines_are_left_out_and_both_kinds_of_line_ends_are_known() {
        let read = read(100, &[b"\n  \r\n{\"a\"", b":1}\r", b"\n{}\n\n[]"]);
        assert_eq!(read, [whole(b"{\"a\":1}"), whole(b"{}"), whole(b"[]")]);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        assert_eq!(read(4, &[b"1234\r\n", b"1234\n", b"1234"]), vec![whole(b"1234"); 3]);
        assert_eq!(read(4, &[b"12345\n"]), [too_long(b"12345", b"12345")]);
        assert_eq!(read(4, &[b"12345"]), [too_long(b"12345", b"12345")], "the stream ends with it");
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_but_for_its_ends_and_those_around_it_are_read() {
        let long = [vec![b'a'; 3 * ENDS_BYTES], vec![b'z'; 2 * ENDS_BYTES]].concat();
        let stream = [b"before\n", &long[..], b"\r\nafter\n"].concat();
        let passed = too_long(&vec![b'a'; ENDS_BYTES], &vec![b'z'; ENDS_BYTES]);
        for piece in [1, 7, ENDS_BYTES, stream.len()] {
            let mut chunks: Vec<&[u8]> = stream.chunks(piece).collect();
            if piece == stream.len() {
                chunks = vec![&stream[..5000], &stream[5000..]];
            }
            assert_eq!(read(4096, &chunks), [whole(b"before"), passed.clone(), whole(b"after")], "{piece}");
        }
    }

    #[test]
    fn a_message_with_line_breaks_between_its_tokens_is_written_as_one_line() {
        let (mut lines, mut buffer) = (Lines::new(100), BytesMut::new());
        lines.encode(Bytes::from_static(b"{\n  \"a\":\r\n \"x\\n\"\n}"), &mut buffer).unwrap();
        lines.encode(Bytes::from_static(b"{}"), &mut buffer).unwrap();
        assert_eq!(&buffer[..], b"{   \"a\":   \"x\\n\" }\n{}\n");
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_are_cut(
            text in "[a-z\n\r ]{0,60}", cuts in prop::collection::vec(0usize..60, 0..5)
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut begin = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                chunks.push(&text.as_bytes()[begin..cut]);
                begin = cut;
            }
            prop_assert_eq!(read(100, &chunks), read(100, &[text.as_bytes()]));
        }
    }
}
