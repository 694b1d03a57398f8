//! What the commands print.

use serde::Serialize;

/// Pretty JSON on stdout.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("no JSON: {error}"),
    }
}

/// One line of JSON on stderr.
pub fn json_line_to_stderr(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => eprintln!("{text}"),
        Err(error) => eprintln!("no JSON: {error}"),
    }
}
