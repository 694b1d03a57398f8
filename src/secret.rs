//! Values that are used and never shown.

use std::fmt;

use serde::{Deserialize, Deserializer};

use crate::config::shown::NO_STRING;

/// A token, a password, or whatever may hold one. It has no way into any output but [`expose`](Self::expose).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for where it is used.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A string's own error quotes a value of another type.
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(value) => Ok(Self(value)),
            _ => Err(serde::de::Error::custom(NO_STRING)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_not_even_by_the_error_about_its_type() {
        assert_eq!(format!("{:?} {:#?}", Secret::from("s3cr3t"), Secret::from("s3cr3t")), "*** ***");
        let error = serde_json::from_str::<Secret>("31415926").unwrap_err();
        assert!(!error.to_string().contains("31415926"), "{error}");
    }
}
