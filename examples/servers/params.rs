//! Reading a tool's parameters: defaults are applied here, limits checked, and what is wrong is named.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Reads parameters into their type, whose serde defaults fill what is missing.
pub fn read<T: DeserializeOwned>(arguments: Option<Map<String, Value>>) -> Result<T, Refusal> {
    let arguments = Value::Object(arguments.unwrap_or_default());
    serde_json::from_value(arguments).map_err(|error| Refusal::new("INVALID_PARAMETERS", error.to_string()))
}

/// Checks the length of a text in characters.
pub fn length(name: &str, text: &str, min: usize, max: usize) -> Result<(), Refusal> {
    let length = text.chars().count();
    if (min..=max).contains(&length) {
        return Ok(());
    }
    let message = format!("{name} has {length} characters; {min} to {max} are allowed");
    Err(Refusal::new("INVALID_PARAMETERS", message))
}

/// Checks a number.
pub fn range(name: &str, value: u64, min: u64, max: u64) -> Result<(), Refusal> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let message = format!("{name} is {value}; {min} to {max} are allowed");
    Err(Refusal::new("INVALID_PARAMETERS", message))
}
