//! The arguments of a tool as a shell gives them: JSON, `key=value`, `@FILE`, or `-` for stdin.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

/// Bytes that are read of a file or of stdin: the default limit of a message.
const READ_MAX: u64 = 16 << 20;

/// What is expected in a file or on stdin, and in a shell.
const WHOLE: &str = r#"give a JSON object, such as {"message":"hi"}"#;
const QUOTED: &str = r#"in a shell quote the whole object: '{"message":"hi"}'; or write message=hi"#;

/// What is wrong with the arguments, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// The arguments as the text of a JSON object, letter for letter where they are given as JSON.
///
/// # Errors
/// They are no JSON object and no `key=value` either, or their file cannot be read.
pub fn read(given: &[String]) -> Result<String, Mistake> {
    match given {
        [] => Ok("{}".to_owned()),
        [one] if one == "-" || one == "@-" => {
            object(&text_of("stdin", std::io::stdin().lock())?, "stdin is", WHOLE)
        }
        [one] if one == "@" => Err(no_file("@ names no file".to_owned())),
        [one] if one.starts_with('@') => {
            let path = Path::new(&one[1..]);
            // A name that somebody put together may have anything in it.
            let name = path.display().to_string().replace(char::is_control, "\u{fffd}");
            let unreadable = |error| no_file(format!("{name}: {error}"));
            let file = std::fs::File::open(path).map_err(unreadable)?;
            if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
                return Err(no_file(format!("{name}: it is a folder")));
            }
            object(&text_of(&name, file)?, &format!("{name} is"), WHOLE)
        }
        [one] if is_json(one) => object(one, "the arguments are", QUOTED),
        several => pairs(several),
    }
}

fn no_file(what: String) -> Mistake {
    Mistake { what, hint: "@FILE reads a JSON object from a file, and - from stdin".to_owned() }
}

/// What is said where stdin is to be the configuration too.
pub fn stdin_is_taken() -> Mistake {
    Mistake {
        what: "stdin is the configuration already".to_owned(),
        hint: "give one of the two in a file".to_owned(),
    }
}

/// Whether somebody meant JSON.
fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[', '"'])
}

fn text_of(name: &str, reader: impl Read) -> Result<String, Mistake> {
    let mut text = String::new();
    let read = reader.take(READ_MAX + 1).read_to_string(&mut text);
    let wrong = |what: String| Mistake { what, hint: "give a JSON object in UTF-8".to_owned() };
    read.map_err(|error| wrong(format!("{name}: {error}")))?;
    if text.len() as u64 > READ_MAX {
        let what = format!("{name}: it has more than {READ_MAX} bytes");
        let hint = "the arguments of one call have 16 MiB at most: give less, or in several calls";
        return Err(Mistake { what, hint: hint.to_owned() });
    }
    Ok(text)
}

fn object(text: &str, subject: &str, hint: &str) -> Result<String, Mistake> {
    let quote = || hint.to_owned();
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if raw.get().starts_with('{') => Ok(text.to_owned()),
        _ if text.trim().is_empty() => Err(Mistake {
            what: format!("{subject} empty"),
            hint: "give a JSON object, {} for none".to_owned(),
        }),
        Ok(_) => Err(Mistake { what: format!("{subject} no JSON object"), hint: quote() }),
        Err(error) => Err(Mistake { what: format!("{subject} no JSON: {}", why(&error)), hint: quote() }),
    }
}

/// What is wrong with a text that should be JSON, in words for whoever wrote it, and where.
fn why(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "a bracket or a quote is not closed".to_owned();
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = error.to_string();
    let said = said.strip_suffix(&place).unwrap_or(&said);
    let plain = match said {
        "expected value" => "a value is expected",
        "trailing characters" => "something stands behind its end",
        "trailing comma" => "nothing follows this comma",
        "key must be a string" => "a key in \"double quotes\" is expected",
        "expected `:`" => "a : is expected",
        "expected `,` or `}`" => "a , or } is expected",
        "expected `,` or `]`" => "a , or ] is expected",
        "expected ident" => "the only words without quotes are true, false and null",
        said if said.starts_with("control character") => {
            "a line break or another control character stands in a text; write \\n for a line break"
        }
        "invalid escape" => "this text has a \\ that means nothing; write \\\\ for each",
        other => other,
    };
    format!("line {}, column {}: {plain}", error.line(), error.column())
}

/// `key=value` each. A value that is JSON is taken as that, so that numbers are numbers; any other is a text.
fn pairs(given: &[String]) -> Result<String, Mistake> {
    let mut object: Vec<(String, Box<RawValue>)> = Vec::with_capacity(given.len());
    for pair in given {
        let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            let (what, hint) = if given.iter().any(|part| is_json(part)) || given[0].starts_with('@') {
                let hint = r#"give one JSON object, quoted as a whole: '{"message":"hi"}'; or message=hi"#;
                (format!("several are given, and {pair:?} is no key=value"), hint)
            } else {
                let hint = r#"write message=hi, '{"message":"hi"}', @FILE, or - for stdin"#;
                (format!("{pair:?} is neither JSON nor key=value"), hint)
            };
            return Err(Mistake { what, hint: hint.to_owned() });
        };
        if object.iter().any(|(other, _)| other == key) {
            let hint = format!("for a list write {key}='[\"a\",\"b\"]'");
            return Err(Mistake { what: format!("{key} is given twice"), hint });
        }
        let raw = RawValue::from_string(value.trim().to_owned())
            .or_else(|_| RawValue::from_string(Value::from(value).to_string()));
        let raw = raw.map_err(|error| Mistake {
            what: format!("{key}: {error}"),
            hint: "give a JSON object".to_owned(),
        })?;
        object.push((key.to_owned(), raw));
    }
    let members: Vec<String> =
        object.iter().map(|(key, raw)| format!("{}:{}", Value::from(key.as_str()), raw.get())).collect();
    Ok(format!("{{{}}}", members.join(",")))
}
