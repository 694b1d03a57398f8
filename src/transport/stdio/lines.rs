//! One message per line.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::{memchr, memchr2};
use tokio_util::codec::{Decoder, Encoder};

/// Why no line could be read.
#[derive(Debug)]
pub(crate) enum LineError {
    /// It is longer than a message may be.
    TooLong,
    /// The pipe broke.
    Io(io::Error),
}

impl From<io::Error> for LineError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads and writes messages as lines. Of what is read, blank lines are left out; a line that the end of the stream cuts
/// off is given as it is.
pub(crate) struct Lines {
    /// The longest line, in bytes.
    limit: usize,
    /// Bytes at the front of the buffer that are known to hold no line break.
    searched: usize,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, searched: 0 }
    }
}

impl Decoder for Lines {
    type Item = Bytes;
    type Error = LineError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, LineError> {
        while let Some(found) = memchr(b'\n', &buffer[self.searched..]) {
            let end = self.searched + found;
            self.searched = 0;
            let mut line = buffer.split_to(end + 1).freeze();
            line.truncate(end);
            if line.last() == Some(&b'\r') {
                line.truncate(end - 1);
            }
            if line.len() > self.limit {
                return Err(LineError::TooLong);
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
        self.searched = buffer.len();
        // The carriage return of a line that just fits may be there already, and its end not yet.
        let line = buffer.strip_suffix(b"\r").unwrap_or(buffer);
        if line.len() > self.limit { Err(LineError::TooLong) } else { Ok(None) }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, LineError> {
        if let Some(line) = self.decode(buffer)? {
            return Ok(Some(line));
        }
        self.searched = 0;
        let rest = buffer.split().freeze();
        Ok(Some(rest).filter(|rest| !rest.trim_ascii().is_empty()))
    }
}

impl Encoder<Bytes> for Lines {
    type Error = LineError;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), LineError> {
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
    fn read(limit: usize, chunks: &[&[u8]]) -> Result<Vec<Bytes>, LineError> {
        let (mut lines, mut buffer, mut read) = (Lines::new(limit), BytesMut::new(), Vec::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while let Some(line) = lines.decode(&mut buffer)? {
                read.push(line);
            }
        }
        while let Some(line) = lines.decode_eof(&mut buffer)? {
            read.push(line);
        }
        Ok(read)
    }

    #[test]
    fn blank_lines_are_left_out_and_both_kinds_of_line_ends_are_known() {
        let read = read(100, &[b"\n  \r\n{\"a\"", b":1}\r", b"\n{}\n\n[]"]).unwrap();
        assert_eq!(read, [&b"{\"a\":1}"[..], b"{}", b"[]"]);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        assert_eq!(read(4, &[b"1234\r\n", b"1234\n", b"1234"]).unwrap().len(), 3);
        assert!(matches!(read(4, &[b"12345\n"]), Err(LineError::TooLong)));
        assert!(matches!(read(4, &[b"12345"]), Err(LineError::TooLong)), "before its end is seen");
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
            prop_assert_eq!(read(100, &chunks).unwrap(), read(100, &[text.as_bytes()]).unwrap());
        }
    }
}
