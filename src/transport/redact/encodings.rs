//! How a value stands in JSON and in URLs, by the languages that write them, and in base64.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::secret::Secret;

/// What is not encoded in a URL: by RFC 3986, by `encodeURIComponent` of JavaScript, by `quote` of Python, in a form (as well as a
/// blank, which is a plus there).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const BY_JAVASCRIPT: AsciiSet = UNRESERVED.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');
const BY_PYTHON: AsciiSet = UNRESERVED.remove(b'/');
const IN_FORMS: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b' ');

/// Some write base64 without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A text that is written in base64, in the alphabet of MIME or in that of URLs.
pub(super) fn from_base64(word: &str) -> Option<String> {
    let mime = word.replace('-', "+").replace('_', "/");
    String::from_utf8(BASE64.decode(mime).ok()?).ok()
}

/// The longest value that is looked for in base64: no longer line is read, and hardly a longer text told.
const BASE64_BYTES_MAX: usize = 4096;

/// A value as it stands within a text that is in base64, at one of three places that it may have there.
#[derive(Debug)]
pub(super) struct InBase64 {
    /// The characters that have bits of the value alone.
    pub middle: Secret,
    /// How many characters before and behind have others as well.
    pub before: usize,
    pub after: usize,
}

/// A value within a text in base64, such as `user:password`, in the alphabet of MIME and in that of URLs: each three bytes are four
/// characters, so what stands before it has three ways to shift it.
pub(super) fn in_base64(value: &str) -> Vec<InBase64> {
    /// How many characters so many bytes of three have a part in.
    const SHARED: [usize; 3] = [0, 2, 3];
    let places = (0..3usize).filter(|_| value.len() <= BASE64_BYTES_MAX).flat_map(|first| {
        let whole = value.as_bytes().get(first..).unwrap_or_default();
        let rest = whole.len() % 3;
        let mime = BASE64.encode(&whole[..whole.len() - rest]);
        let url = mime.replace('+', "-").replace('/', "_");
        let url = Some(url).filter(|url| *url != mime);
        [Some(mime), url].into_iter().flatten().map(move |middle| InBase64 {
            middle: middle.into(),
            before: SHARED[first],
            after: SHARED[rest],
        })
    });
    places.filter(|place| !place.middle.expose().is_empty()).collect()
}

/// A text as JSON has it: as it is, with its slashes escaped, with what HTML would take for its own (Go), with all that is not ASCII
/// (Python), or with both and in capitals (.NET).
pub(super) fn in_json(line: &str) -> [String; 5] {
    let json = serde_json::Value::from(line).to_string();
    let json = json.trim_matches('"').to_owned();
    let escaped = |is: fn(char) -> bool, unit_of: fn(u16) -> String| -> String {
        let mut text = String::with_capacity(json.len());
        for c in json.chars() {
            match is(c) {
                true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&unit_of(*unit))),
                false => text.push(c),
            }
        }
        text
    };
    let lower: fn(u16) -> String = |unit| format!("\\u{unit:04x}");
    let go = escaped(|c| "<>&".contains(c), lower);
    let python = escaped(|c| !c.is_ascii(), lower);
    let dotnet = escaped(|c| !c.is_ascii() || "<>&'+".contains(c), |unit| format!("\\u{unit:04X}"));
    let slashes = json.replace('/', "\\/");
    [json, slashes, go, python, dotnet]
}

/// A text as it stands in a URL, with the digits in capitals or not, and as in a form.
pub(super) fn in_urls(line: &str) -> [String; 5] {
    let encoded = |set: &'static AsciiSet| percent_encode(line.as_bytes(), set).to_string();
    let url = encoded(&UNRESERVED);
    let in_lower_case = url.split('%').enumerate().map(|(n, part)| match part.split_at_checked(2) {
        Some((digits, rest)) if n > 0 => format!("%{}{rest}", digits.to_ascii_lowercase()),
        _ => part.to_owned(),
    });
    let lower = in_lower_case.collect();
    [url, lower, encoded(&BY_JAVASCRIPT), encoded(&BY_PYTHON), encoded(&IN_FORMS).replace(' ', "+")]
}
