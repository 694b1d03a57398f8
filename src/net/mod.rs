//! What everything that speaks over the network shares: TLS, what is at the bottom of an error, when to come again.

pub(crate) mod tls;

#[cfg(feature = "http")]
use std::error::Error;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The longest time after which a refused request may be repeated, by the server's word.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// When a server wants a request again (`Retry-After`): in seconds, or at a time. One that has passed is now.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let after = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if is_number => RETRY_AFTER_MAX,
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            // The clock of the wall is what the server speaks of; no decision here rests on it.
            at.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(after.min(RETRY_AFTER_MAX))
}

/// What is at the bottom of an error: what is above only says that something went wrong.
#[cfg(feature = "http")]
pub(crate) fn root_of(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    tls::words(root)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_time_to_come_again_is_a_number_or_a_date_and_a_past_one_is_now() {
        let after = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("99999999999999999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        for odd in ["", "-5", "1.5", "soon", "1 2"] {
            assert_eq!(after(odd), None, "{odd:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
