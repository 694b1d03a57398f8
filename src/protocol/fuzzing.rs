//! What must hold of whatever bytes a peer sends, for the fuzz target and for a bounded run in the tests.

use bytes::Bytes;
use serde_json::Value;

use super::envelope::{Incoming, Response, decode};
use super::handshake::{Handshake, Step};
use super::listing::{Listing, Page};
use super::notes::{LogNote, ProgressNote};
use crate::config::{Dialect, EraChoice};
use crate::json::RawJson;
use crate::offer::EntryKind;
use crate::peer_text::TEXT_BYTES_MAX;

/// Parts the frames of one input. It stands in no JSON text, so it cuts no valid frame.
const SEPARATOR: u8 = 0x1e;

/// Reads the frames of `input` in every way that a frame is read, and compares what they say with a parser that builds
/// whole values.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) {
    let frames: Vec<Bytes> = input.split(|byte| *byte == SEPARATOR).map(Bytes::copy_from_slice).collect();
    let mut messages = Vec::new();
    for frame in &frames {
        let mut read = Vec::new();
        let well_formed = decode(frame.clone(), |incoming| read.push(incoming)).is_ok();
        assert!(read.len() <= frame.len(), "a message takes room");
        compare(frame, well_formed, &read);
        messages.extend(read);
    }
    take_notes(&messages);
    converse(&messages);
}

/// Compares with serde_json's values, where they can hold the frame: not the deepest, nor the largest numbers.
fn compare(frame: &Bytes, well_formed: bool, read: &[Incoming]) {
    let Ok(value) = serde_json::from_slice::<Value>(frame) else { return };
    let elements: Vec<Option<Saying>> = match &value {
        Value::Array(elements) => elements.iter().map(Saying::of).collect(),
        other => vec![Saying::of(other)],
    };
    let said: Vec<Saying> = read.iter().map(Saying::read).collect();
    assert_eq!(well_formed, !elements.is_empty() && elements.iter().all(Option::is_some));
    assert_eq!(said, elements.into_iter().flatten().collect::<Vec<_>>());
}

/// A message with its parts as whole values.
#[derive(Debug, PartialEq)]
enum Saying {
    Request(Value, String, Option<Value>),
    Notification(String, Option<Value>),
    Result(Option<u64>, Value),
    Error(Option<u64>),
    Foreign(Value),
    Hollow(u64),
}

impl Saying {
    /// What a whole value says, by the table of the envelope.
    fn of(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let given = |name| members.get(name).filter(|member| !member.is_null());
        let own_id = given("id").and_then(own_id);
        if let Some(method) = given("method") {
            let (method, params) = (method.as_str()?.to_owned(), given("params").cloned());
            return Some(match given("id") {
                Some(id) => Self::Request(id.clone(), method, params),
                None => Self::Notification(method, params),
            });
        }
        match (given("error"), members.get("result")) {
            (Some(_), _) | (None, Some(_)) if own_id.is_none() && given("id").is_some() => {
                given("id").cloned().map(Self::Foreign)
            }
            (Some(_), _) => Some(Self::Error(own_id)),
            (None, Some(result)) => Some(Self::Result(own_id, result.clone())),
            (None, None) => own_id.map(Self::Hollow),
        }
    }

    /// What was read from the bytes.
    fn read(incoming: &Incoming) -> Self {
        let whole = |raw: &RawJson| raw.parse::<Value>().expect("a slice is one JSON value");
        match incoming {
            Incoming::Request { id, method, params } => {
                Self::Request(whole(id), method.clone(), params.as_ref().map(whole))
            }
            Incoming::Notification { method, params } => {
                Self::Notification(method.clone(), params.as_ref().map(whole))
            }
            Incoming::Response(Response { id, outcome: Ok(result) }) => Self::Result(*id, whole(result)),
            Incoming::Response(Response { id, outcome: Err(_) }) => Self::Error(*id),
            Incoming::Foreign { id, outcome: _ } => Self::Foreign(whole(id)),
            Incoming::MissingOutcome { id } => Self::Hollow(*id),
        }
    }
}

/// The id of ours that a whole value is.
fn own_id(id: &Value) -> Option<u64> {
    let whole = |number: f64| number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
    let text = || id.as_str().and_then(|text| text.parse().ok().filter(|id: &u64| id.to_string() == text));
    let number =
        id.as_u64().or_else(|| id.as_f64().filter(|number| whole(*number)).map(|number| number as u64));
    number.or_else(text)
}

/// Reads what a peer tells of its work.
fn take_notes(messages: &[Incoming]) {
    for incoming in messages {
        if let Incoming::Notification { params: Some(params), .. } = incoming {
            let progress = ProgressNote::read(params).and_then(|note| note.message);
            let logged = LogNote::read(params).map(|note| note.text());
            let longest = progress.into_iter().chain(logged).map(|text| text.len()).max();
            assert!(longest.unwrap_or_default() <= TEXT_BYTES_MAX, "what is kept is bounded");
        }
    }
}

/// Goes through a handshake in every way to begin one, then a listing, with these messages as the peer's.
fn converse(messages: &[Incoming]) {
    for (dialect, choice) in [
        (Dialect::Mcp, EraChoice::Auto),
        (Dialect::Mcp, EraChoice::Modern),
        (Dialect::Mcp, EraChoice::Legacy),
        (Dialect::ToolExecute, EraChoice::Auto),
    ] {
        let mut handshake = Handshake::new(dialect, choice, None, "{}".to_owned());
        let mut step = handshake.start();
        let mut rest = messages.iter();
        let session = loop {
            match step {
                Step::Done { session, .. } => break Some(session),
                Step::Failed(_) => break None,
                Step::Answer(answer) => assert!(decode(answer, |_| ()).is_ok(), "our words can be read"),
                Step::Send { frame, .. } => assert!(decode(frame, |_| ()).is_ok(), "our words can be read"),
                Step::Wait | Step::WaitForProbe => {}
            }
            let Some(next) = rest.next() else { break None };
            step = handshake.receive(next.clone());
        };
        let mut listing = Listing::new(EntryKind::Tool, 100, 10);
        for result in rest.filter_map(result_of) {
            if let Some(session) = &session {
                let _ = session.unwrap_result(result.clone());
            }
            if !matches!(listing.page(result), Ok(Page::More(_))) {
                break;
            }
        }
        assert!(listing.finish().entries.len() <= 100);
    }
}

fn result_of(incoming: &Incoming) -> Option<&RawJson> {
    match incoming {
        Incoming::Response(Response { outcome: Ok(result), .. }) => Some(result),
        Incoming::Response(_)
        | Incoming::Foreign { .. }
        | Incoming::MissingOutcome { .. }
        | Incoming::Request { .. }
        | Incoming::Notification { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Changed copies of each input in the corpus: enough to reach every branch, few enough for every test run.
    const MUTANTS: usize = 200;

    /// Pieces that matter to the grammar.
    const PIECES: [&[u8]; 12] =
        [b"{", b"}", b"[", b"]", b"\"", b",", b":", b"null", b"\"id\":7,", b"1e9", b"\xff", &[SEPARATOR]];

    fn mutate(input: &[u8], rng: &mut SmallRng) -> Vec<u8> {
        let mut input = input.to_vec();
        for _ in 0..rng.random_range(1..5) {
            let (from, to) = (rng.random_range(0..=input.len()), rng.random_range(0..=input.len()));
            let (from, to) = (from.min(to), from.max(to));
            match rng.random_range(0..4) {
                0 => drop(input.drain(from..to.min(from + 8))),
                1 => {
                    drop(input.splice(from..from, PIECES[rng.random_range(0..PIECES.len())].iter().copied()))
                }
                2 => input.extend_from_within(from..to.min(from + 64)),
                _ if input.is_empty() => {}
                _ => {
                    let at = from.min(input.len() - 1);
                    input[at] = rng.random();
                }
            }
        }
        input
    }

    #[test]
    fn nothing_that_a_peer_sends_is_misread() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/src/protocol/corpus");
        let mut rng = SmallRng::seed_from_u64(7);
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let input = std::fs::read(entry.unwrap().path()).unwrap();
            check(&input);
            (0..MUTANTS).for_each(|_| check(&mutate(&input, &mut rng)));
            inputs += 1;
        }
        assert!(inputs >= 30, "the corpus has {inputs} inputs");
    }
}
