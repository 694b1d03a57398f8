//! What a client is told of a call before its answer.

use std::fmt::Write;

use bytes::Bytes;

use super::answer::notification_line;
use crate::call_update::{LogMessage, Progress};
use crate::json::RawJson;

/// How far a server has come, under the client's own token.
pub(crate) fn progress_line(token: &RawJson, told: &Progress) -> Bytes {
    let mut params = format!(r#"{{"progressToken":{token},"progress":{}"#, number(told.progress));
    if let Some(total) = told.total {
        // A text takes whatever is written to it.
        let _ = write!(params, r#","total":{}"#, number(total));
    }
    if let Some(message) = &told.message {
        let _ = write!(params, r#","message":{}"#, serde_json::Value::from(message.as_str()));
    }
    params.push('}');
    notification_line("notifications/progress", Some(&params))
}

/// What a server logs about a call. The server stands before what it calls its part, since the client knows one server alone.
pub(crate) fn log_line(told: &LogMessage) -> Bytes {
    let logger = match &told.logger {
        Some(logger) => format!("{}/{logger}", told.server),
        None => told.server.to_string(),
    };
    let logger = serde_json::Value::from(logger);
    let params = format!(r#"{{"level":"{}","logger":{logger},"data":{}}}"#, told.level, told.data);
    notification_line("notifications/message", Some(&params))
}

/// A number as JSON has it; what is none there is 0.
fn number(value: f64) -> serde_json::Value {
    // Whole ones are written as such: some clients know no others.
    const EXACT: f64 = (1_u64 << 53) as f64;
    match value.fract() == 0.0 && value.abs() < EXACT {
        true => serde_json::Value::from(value as i64),
        false => {
            serde_json::Number::from_f64(value).map_or(serde_json::Value::from(0), serde_json::Value::Number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call_update::LogLevel;
    use crate::id::ServerId;

    #[test]
    fn progress_comes_under_the_token_as_it_was_written() {
        let server = ServerId::new("s").unwrap();
        let mut told = Progress { server, attempt: 1, progress: 3.0, total: None, message: None };
        let line = |told: &Progress, token: &str| {
            String::from_utf8(progress_line(&RawJson::from_text(token).unwrap(), told).to_vec()).unwrap()
        };
        assert_eq!(
            line(&told, "7"),
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":3}}"#
        );
        (told.progress, told.total, told.message) = (0.5, Some(1e300), Some("a\n\"b\"".to_owned()));
        assert_eq!(
            line(&told, "\"7\""),
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"7","progress":0.5,"total":1e+300,"message":"a\n\"b\""}}"#
        );
    }

    #[test]
    fn a_log_message_names_its_server() {
        let data = RawJson::from_text("{\"a\":\n1.00}").unwrap();
        let server = ServerId::new("files").unwrap();
        let told =
            LogMessage { server, attempt: 1, level: LogLevel::Warning, logger: Some("db".into()), data };
        let line = log_line(&told);
        assert!(
            line.ends_with(br#""params":{"level":"warning","logger":"files/db","data":{"a": 1.00}}}"#),
            "{line:?}"
        );
    }
}
