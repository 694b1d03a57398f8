//! What a server tells unasked about the work it does: its progress, and its log.

use super::envelope::{own_number, slice_of};
use crate::call_update::LogLevel;
use crate::json::RawJson;
use crate::json::members::{given, members, string};
use crate::peer_text::{TEXT_BYTES_MAX, cut};

/// The longest name of a logger that is kept, in bytes.
const LOGGER_BYTES_MAX: usize = 256;

/// A report of progress.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProgressNote {
    /// The token that its request gave; none where it is of a kind that we never give.
    pub token: Option<u64>,
    /// How far the server has come.
    pub progress: f64,
    /// How far it has to go.
    pub total: Option<f64>,
    /// What it is at.
    pub message: Option<String>,
}

impl ProgressNote {
    /// Reads the params of `notifications/progress`. `None` if they tell no progress. A total or a message of another type
    /// is passed over.
    pub(crate) fn read(params: &RawJson) -> Option<Self> {
        let names = ["progressToken", "progress", "total", "message"];
        let [token, progress, total, message] = members(params.as_str(), names).ok()?;
        Some(Self {
            token: given(token).and_then(own_token),
            progress: given(progress).and_then(number)?,
            total: given(total).and_then(number),
            message: given(message).and_then(string).map(|text| cut(text, TEXT_BYTES_MAX)),
        })
    }
}

/// A message of a server's log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogNote {
    /// How grave it is; a level that nobody knows counts as `info`.
    pub level: LogLevel,
    /// Which part of the server says it.
    pub logger: Option<String>,
    /// What it says: a part of the params, whose frame it keeps.
    pub data: RawJson,
}

impl LogNote {
    /// Reads the params of `notifications/message`. `None` if they say nothing.
    pub(crate) fn read(params: &RawJson) -> Option<Self> {
        let [level, logger, data] = members(params.as_str(), ["level", "logger", "data"]).ok()?;
        let level = given(level).and_then(string).and_then(|name| LogLevel::named(&name));
        Some(Self {
            level: level.unwrap_or(LogLevel::Info),
            logger: given(logger).and_then(string).map(|text| cut(text, LOGGER_BYTES_MAX)),
            data: slice_of(params.bytes(), data?),
        })
    }

    /// What it says as text: where it is a string, that.
    pub(crate) fn text(&self) -> String {
        let raw = self.data.as_str();
        cut(string(raw).unwrap_or_else(|| raw.to_owned()), TEXT_BYTES_MAX)
    }
}

/// A token, if it is of the kind that we give, also where a peer writes it as text or with a fraction.
fn own_token(raw: &str) -> Option<u64> {
    let raw = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).unwrap_or(raw);
    own_number(raw)
}

fn number(raw: &str) -> Option<f64> {
    serde_json::from_str(raw).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(text: &str) -> RawJson {
        RawJson::from_text(text).unwrap()
    }

    #[test]
    fn progress_is_read_with_what_it_has() {
        let told = ProgressNote::read(&raw(
            r#"{"progressToken":7,"progress":0.5,"total":2,"message":"half\n","_meta":{}}"#,
        ));
        let told = told.unwrap();
        assert_eq!((told.token, told.progress, told.total), (Some(7), 0.5, Some(2.0)));
        assert_eq!(told.message.as_deref(), Some("half\n"));
        let bare = ProgressNote::read(&raw(r#"{"progress":1,"progressToken":"7","total":null}"#)).unwrap();
        assert_eq!((bare.token, bare.total, bare.message), (Some(7), None, None));
    }

    #[test]
    fn tokens_that_we_never_give_are_none_and_what_tells_no_progress_is_nothing() {
        for token in ["\"abc\"", "null", "-1", "{}", "1.5", "\"\""] {
            let told = ProgressNote::read(&raw(&format!(r#"{{"progressToken":{token},"progress":1}}"#)));
            assert_eq!(told.unwrap().token, None, "{token}");
        }
        for odd in ["{}", "[]", "7", r#"{"progress":"half"}"#, r#"{"progress":1e999}"#] {
            assert_eq!(ProgressNote::read(&raw(odd)), None, "{odd}");
        }
    }

    #[test]
    fn a_log_message_is_read_whatever_its_level_is() {
        let params = raw(r#"{"level":"Warning","logger":"db","data":{"a":1.50}}"#);
        let told = LogNote::read(&params).unwrap();
        assert_eq!((told.level, told.logger.as_deref()), (LogLevel::Warning, Some("db")));
        assert_eq!(told.text(), r#"{"a":1.50}"#);
        let loud = LogNote::read(&raw(r#"{"level":"loud","data":"gr\u00fcn"}"#)).unwrap();
        assert_eq!((loud.level, loud.text().as_str()), (LogLevel::Info, "grün"));
        assert_eq!(LogNote::read(&raw("{}")), None);
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "x".repeat(100_000);
        let told = ProgressNote::read(&raw(&format!(r#"{{"progress":1,"message":"{long}"}}"#))).unwrap();
        assert_eq!(told.message.map(|text| text.len()), Some(TEXT_BYTES_MAX));
        let told = LogNote::read(&raw(&format!(r#"{{"logger":"{long}","data":"{long}"}}"#))).unwrap();
        assert_eq!(told.text().len(), TEXT_BYTES_MAX);
        assert_eq!(told.logger.map(|text| text.len()), Some(LOGGER_BYTES_MAX));
    }

    proptest! {
        #[test]
        fn no_params_make_it_panic(text in r#"[\[{]("(progressToken|progress|total|message|level|data)"|[0-9.eE+-]|null|"|[\[\]{},: \\]){0,40}"#) {
            if let Ok(params) = RawJson::from_text(text) {
                let _ = (ProgressNote::read(&params), LogNote::read(&params));
            }
        }
    }
}
