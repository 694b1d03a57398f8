//! Identities. Each is its own type, so that a group can never be passed where a server is meant.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

crate::error::debug_as_display!(InvalidId);

/// The longest id that an operator may choose, in bytes. Exposed tool names carry the group id and are limited to
/// 64 characters by model APIs, so a longer one could never be shown whole.
pub const ID_BYTES_MAX: usize = 64;

/// Says why a text is no id: it is empty, too long, or has a character outside `[A-Za-z0-9_.-]`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is no valid id: {reason}", crate::config::shown::name(.id))]
pub struct InvalidId {
    /// The text that was given.
    pub id: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Checks the characters and the length of an operator-chosen id.
fn check(id: &str) -> Result<(), InvalidId> {
    let reason = if id.is_empty() {
        "it is empty"
    } else if id.len() > ID_BYTES_MAX {
        "it has more than 64 characters"
    } else if !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        "only letters, digits, '_', '.' and '-' are allowed"
    } else {
        return Ok(());
    };
    Err(InvalidId { id: id.to_owned(), reason })
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes `id` if it is 1 to 64 characters of `[A-Za-z0-9_.-]`.
            pub fn new(id: impl AsRef<str>) -> Result<Self, InvalidId> {
                check(id.as_ref()).map(|()| Self(Arc::from(id.as_ref())))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// One configured endpoint. Chosen by the operator, never taken from the peer.
    ServerId
}

text_id! {
    /// A set of servers that are replicas of each other; calls are balanced inside it.
    GroupId
}

text_id! {
    /// A place where servers are discovered, such as a directory.
    SourceId
}

impl From<&ServerId> for GroupId {
    /// The group of a server that names none: a group of its own, with the server's id.
    fn from(server: &ServerId) -> Self {
        Self(server.0.clone())
    }
}

/// Characters of a request id: 126 random bits.
const REQUEST_ID_CHARS: usize = 21;

/// nanoid's characters, 64 of them: six bits choose one.
const REQUEST_ID_ALPHABET: [u8; 64] = {
    let mut alphabet = [0; 64];
    let mut place = 0;
    while place < 64 {
        alphabet[place] = nanoid::alphabet::SAFE[place] as u8;
        place += 1;
    }
    alphabet
};

/// The public identity of one call: a nanoid of 21 URL-safe characters, fit for logs and support tickets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId([u8; REQUEST_ID_CHARS]);

impl RequestId {
    /// A new random id. Made here from nanoid's alphabet: its own generator, for any alphabet and length, allocates twice and
    /// costs more than placing the call.
    pub(crate) fn random() -> Self {
        // From the thread's generator: the system's own would cost a call of it for each id.
        let mut bits: u128 = rand::random();
        Self(std::array::from_fn(|_| {
            let character = REQUEST_ID_ALPHABET[(bits % 64) as usize];
            bits /= 64;
            character
        }))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $vis:vis $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
        $vis struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// One call inside a troupe; unique over all lives of the router, so that a late answer to an earlier life's
    /// call meets no entry.
    pub CallId
}

number_id! {
    /// The number of one life of a server actor. It grows with every restart; messages of an earlier life are stale.
    pub Incarnation
}

number_id! {
    /// One life of the router of a troupe. It grows with every restart: what an earlier one asked for has been answered by its
    /// end.
    pub(crate) RouterLife
}

number_id! {
    /// One link of a server, unique over all lives of its server actor.
    pub ConnectionId
}

/// One try of a call: the call and the number of the try, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AttemptId {
    /// The call.
    pub call: CallId,
    /// The number of the try.
    pub number: u32,
}

impl Incarnation {
    /// The first life.
    pub const FIRST: Self = Self(1);

    /// The life after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_to_64_plain_characters() {
        assert!(ServerId::new("files-1.a_B").is_ok());
        for bad in ["", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert!(ServerId::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(ServerId::new("x".repeat(64)).is_ok());
    }

    #[test]
    fn request_ids_differ() {
        assert_ne!(RequestId::random(), RequestId::random());
        assert_eq!(RequestId::random().as_str().len(), 21);
    }

    #[test]
    fn request_ids_use_the_whole_alphabet_of_nanoid_and_nothing_else() {
        let ids: String = (0..1000).map(|_| RequestId::random().to_string()).collect();
        let used: std::collections::BTreeSet<char> = ids.chars().collect();
        assert_eq!(used, nanoid::alphabet::SAFE.into_iter().collect());
    }
}
