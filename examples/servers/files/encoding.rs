//! File content as text: encodings, and how much of a file fits into a result.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::Deserialize;

use super::super::refusal::Refusal;
use super::super::weight;

/// Bytes of a base64 group, and its characters.
const BASE64_GROUP: (usize, usize) = (3, 4);

/// How the content of a file is written as text.
#[derive(Deserialize, Default, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    #[serde(rename = "utf8", alias = "utf-8")]
    Utf8,
    #[serde(rename = "ascii")]
    Ascii,
    #[serde(rename = "base64")]
    Base64,
    #[serde(rename = "hex")]
    Hex,
    #[serde(rename = "latin1", alias = "binary")]
    Latin1,
}

/// A piece of a file as text.
pub struct Piece {
    /// The text.
    pub text: String,
    /// The bytes of the file that it stands for.
    pub length: usize,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Ascii => "ascii",
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Latin1 => "latin1",
        }
    }

    /// Writes bytes of a file, which begin at `offset`, as text that weighs no more than `weight_max`; `more` says that
    /// other bytes follow, so that a character may be cut at the end.
    pub fn decode(self, bytes: &[u8], offset: u64, more: bool, weight_max: usize) -> Result<Piece, Refusal> {
        let not = |name: &str, at: usize| {
            let message = format!("the file is not {name} at byte {}: ask for base64", offset + at as u64);
            Refusal::new("INVALID_PARAMETERS", message)
        };
        let in_a_string = |characters: usize| 2 * characters;
        match self {
            Self::Utf8 => {
                let text = match std::str::from_utf8(bytes) {
                    Ok(text) => text,
                    Err(error) if error.error_len().is_none() && more => {
                        std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
                    }
                    Err(error) => return Err(not("UTF-8", error.valid_up_to())),
                };
                let text = light(text.chars(), weight_max);
                Ok(Piece { length: text.len(), text })
            }
            Self::Ascii => match bytes.iter().position(|byte| !byte.is_ascii()) {
                Some(at) => Err(not("ASCII", at)),
                None => {
                    let text = light(bytes.iter().map(|byte| char::from(*byte)), weight_max);
                    Ok(Piece { length: text.len(), text })
                }
            },
            Self::Latin1 => {
                let text = light(bytes.iter().map(|byte| char::from(*byte)), weight_max);
                Ok(Piece { length: text.chars().count(), text })
            }
            Self::Base64 => {
                let (of_bytes, of_text) = BASE64_GROUP;
                let length = bytes.len().min(weight_max / in_a_string(of_text) * of_bytes);
                // Texts of whole groups are one when they are put together.
                let length = if length < bytes.len() || more { length / of_bytes * of_bytes } else { length };
                Ok(Piece { text: BASE64.encode(&bytes[..length]), length })
            }
            Self::Hex => {
                let length = bytes.len().min(weight_max / in_a_string(2));
                Ok(Piece { text: HEXLOWER.encode(&bytes[..length]), length })
            }
        }
    }

    /// Reads text as bytes of a file.
    pub fn encode(self, text: &str) -> Result<Vec<u8>, Refusal> {
        let not = |name: &str| Refusal::new("INVALID_PARAMETERS", format!("the content is not {name}"));
        match self {
            Self::Utf8 => Ok(text.as_bytes().to_vec()),
            Self::Ascii if text.is_ascii() => Ok(text.as_bytes().to_vec()),
            Self::Ascii => Err(not("ASCII")),
            Self::Base64 => BASE64.decode(text.as_bytes()).map_err(|_| not("base64")),
            Self::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| not("hex")),
            Self::Latin1 => {
                text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| not("latin1"))).collect()
            }
        }
    }
}

/// The first characters, as far as they weigh no more than `weight_max`.
fn light(characters: impl Iterator<Item = char>, weight_max: usize) -> String {
    let mut room = weight_max;
    let fits = |c: &char| match room.checked_sub(weight::of_char(*c)) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    characters.take_while(fits).collect()
}
