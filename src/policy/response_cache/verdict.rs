//! What may be done with an answer: kept, given to those who asked the same, or neither.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::rules::{Lifetime, Terms};
use crate::error::{CallErrorKind, RpcError};
use crate::json::RawJson;
use crate::refusal::RefusalKind;

/// The longest that an answer is kept by its own word, whatever it says: a peer must not hold a place for ever.
const DECLARED_TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// What may be done with a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is kept, and given to all who ask the same meanwhile.
    Keep(Lifetime),
    /// It is kept for everyone, though those who asked are told apart.
    KeepForEveryone(Lifetime),
    /// It is given to those who wait for it.
    Share,
    /// It is for who asked and nobody else: a question back, or a kind of result that is not known here.
    Alone,
}

/// The members of a result that are looked at.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    #[serde(borrow, default)]
    result_type: Option<Cow<'a, str>>,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(default)]
    ttl_ms: Option<f64>,
    #[serde(borrow, default)]
    cache_scope: Option<Cow<'a, str>>,
}

/// Judges a result. One that is no object (of the tool-execute dialect: null, false, 0 and "" among them) is as good as any.
pub(crate) fn judge(terms: &Terms, result: &RawJson) -> Verdict {
    let said: Said<'_> = if result.is_object() {
        match result.parse_borrowed() {
            Ok(said) => said,
            // Nobody can say what it is, so it is not kept.
            Err(_) => return Verdict::Alone,
        }
    } else {
        Said::default()
    };
    match said.result_type.as_deref() {
        None | Some("complete") => {}
        Some(_) => return Verdict::Alone,
    }
    if said.is_error == Some(true) {
        return Verdict::Share;
    }
    match terms {
        Terms::Ruled(lifetime) | Terms::Hinted(lifetime) => Verdict::Keep(*lifetime),
        Terms::Declared => {
            // Absent and negative mean that it may not be kept.
            let ms = said.ttl_ms.unwrap_or_default().max(0.0);
            let ttl = Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(DECLARED_TTL_MAX);
            let lifetime = Lifetime { ttl: ttl.min(DECLARED_TTL_MAX), ..Lifetime::default() };
            match said.cache_scope.as_deref() {
                _ if ttl.is_zero() => Verdict::Share,
                Some("public") => Verdict::KeepForEveryone(lifetime),
                // What does not say that it is for everyone is not.
                Some(_) | None => Verdict::Keep(lifetime),
            }
        }
    }
}

/// Whether an error is about the call that met it and not about what it asked: who asked the same may fare better. Where and when a
/// call may go hangs on what is in no key of the cache: the server that it is bound to, its deadline, its priority, its metadata,
/// and whether it may be repeated.
pub(crate) fn is_own(kind: &CallErrorKind) -> bool {
    match kind {
        CallErrorKind::InvalidArguments { .. }
        | CallErrorKind::InvalidOptions { .. }
        | CallErrorKind::Denied { .. }
        | CallErrorKind::TooLong { .. }
        | CallErrorKind::InvalidTraceContext { .. }
        | CallErrorKind::DeadlineExceeded { .. }
        | CallErrorKind::Unavailable { .. }
        | CallErrorKind::Overloaded { .. }
        | CallErrorKind::ConnectionLost { .. }
        | CallErrorKind::ServerDown { .. }
        | CallErrorKind::TooLarge { .. }
        | CallErrorKind::Interrupted => true,
        CallErrorKind::Refused(refusal) => refusal.kind == RefusalKind::Overloaded,
        CallErrorKind::UnknownTool { .. }
        | CallErrorKind::AmbiguousTool { .. }
        | CallErrorKind::UnknownPrompt { .. }
        | CallErrorKind::AmbiguousPrompt { .. }
        | CallErrorKind::UnknownResource
        | CallErrorKind::AmbiguousResource { .. }
        | CallErrorKind::Unanswered { .. }
        | CallErrorKind::NoMatch { .. }
        | CallErrorKind::Rpc(_)
        | CallErrorKind::LeaseEnded { .. }
        | CallErrorKind::InvalidResponse { .. }
        | CallErrorKind::ShuttingDown { .. }
        | CallErrorKind::Closed => false,
    }
}

/// Whether no server could answer, so that a stale result is better than none. Not where a server answered, unless
/// that it failed itself: what it refuses must not be read from the cache.
pub(crate) fn excuses(kind: &CallErrorKind) -> bool {
    match kind {
        CallErrorKind::Unavailable { .. }
        | CallErrorKind::Overloaded { .. }
        | CallErrorKind::DeadlineExceeded { .. }
        | CallErrorKind::ConnectionLost { .. }
        | CallErrorKind::ServerDown { .. }
        | CallErrorKind::InvalidResponse { .. }
        | CallErrorKind::Interrupted => true,
        CallErrorKind::Rpc(error) => error.code == RpcError::INTERNAL_ERROR,
        CallErrorKind::Refused(refusal) => match refusal.kind {
            RefusalKind::Overloaded
            | RefusalKind::WrongAddress
            | RefusalKind::Redirected
            | RefusalKind::Failed => true,
            RefusalKind::Unauthorized | RefusalKind::Rejected => false,
        },
        CallErrorKind::InvalidArguments { .. }
        | CallErrorKind::InvalidOptions { .. }
        | CallErrorKind::Denied { .. }
        | CallErrorKind::TooLong { .. }
        | CallErrorKind::InvalidTraceContext { .. }
        | CallErrorKind::UnknownTool { .. }
        | CallErrorKind::AmbiguousTool { .. }
        | CallErrorKind::UnknownPrompt { .. }
        | CallErrorKind::AmbiguousPrompt { .. }
        | CallErrorKind::UnknownResource
        | CallErrorKind::AmbiguousResource { .. }
        | CallErrorKind::Unanswered { .. }
        | CallErrorKind::NoMatch { .. }
        | CallErrorKind::LeaseEnded { .. }
        | CallErrorKind::TooLarge { .. }
        | CallErrorKind::ShuttingDown { .. }
        | CallErrorKind::Closed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Lifetime = Lifetime {
        ttl: Duration::from_secs(60),
        while_revalidate: Duration::ZERO,
        if_error: Duration::from_secs(5),
    };

    fn of(terms: Terms, text: &str) -> Verdict {
        judge(&terms, &RawJson::from_text(text).unwrap())
    }

    #[test]
    fn only_complete_successful_results_are_kept() {
        let of = |text| of(Terms::Ruled(LIFETIME), text);
        for good in [
            r#"{"content":[]}"#,
            r#"{"resultType":"complete","isError":false}"#,
            r#"{"isError":null,"resultType":null,"ttlMs":0}"#,
        ] {
            assert_eq!(of(good), Verdict::Keep(LIFETIME), "{good}");
        }
        assert_eq!(of(r#"{"isError":true,"content":[]}"#), Verdict::Share);
        for other in [
            r#"{"resultType":"input_required","requestState":"s"}"#,
            r#"{"resultType":"task","taskId":"t"}"#,
            r#"{"resultType":"novel"}"#,
            r#"{"isError":"yes"}"#,
            r#"{"isError":false,"isError":true}"#,
        ] {
            assert_eq!(of(other), Verdict::Alone, "{other}");
        }
    }

    #[test]
    fn fault_e4_null_false_zero_and_empty_text_are_results_like_any_other() {
        for bare in ["null", "false", "0", "\"\"", "[]", "{}"] {
            assert_eq!(of(Terms::Ruled(LIFETIME), bare), Verdict::Keep(LIFETIME), "{bare}");
        }
    }

    #[test]
    fn a_result_that_declares_no_lifetime_is_not_kept() {
        for text in ["{}", r#"{"ttlMs":0}"#, r#"{"ttlMs":-5,"cacheScope":"public"}"#, r#"{"ttlMs":null}"#] {
            assert_eq!(of(Terms::Declared, text), Verdict::Share, "{text}");
        }
    }

    #[test]
    fn only_a_result_that_says_so_is_for_everyone() {
        let secs = |secs| Lifetime { ttl: Duration::from_secs(secs), ..Lifetime::default() };
        let public = r#"{"ttlMs":5000,"cacheScope":"public"}"#;
        assert_eq!(of(Terms::Declared, public), Verdict::KeepForEveryone(secs(5)));
        for own in [r#"{"ttlMs":5000,"cacheScope":"private"}"#, r#"{"ttlMs":5e3}"#] {
            assert_eq!(of(Terms::Declared, own), Verdict::Keep(secs(5)), "{own}");
        }
        for long in [r#"{"ttlMs":1e300}"#, r#"{"ttlMs":9e12}"#] {
            assert_eq!(of(Terms::Declared, long), Verdict::Keep(secs(24 * 3600)), "{long}");
        }
    }
}
