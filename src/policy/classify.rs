//! Which ends of an attempt say something about the health of its server.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{AttemptEnd, OutcomeClass};
use crate::error::RpcError;
use crate::refusal::RefusalKind;

/// Judges how the end of an attempt counts for its server. A host may replace [`classify`] by its own judgement.
pub(crate) type Classifier = Arc<dyn Fn(&AttemptEnd) -> OutcomeClass + Send + Sync>;

/// Who judges how the end of an attempt counts for its server.
#[derive(Clone)]
pub(crate) enum Judge {
    /// [`classify`], and [`counted`] where the caller had no patience.
    Standard,
    /// The host, whose word stands.
    Host(Classifier),
}

impl Judge {
    /// How an end counts.
    pub(crate) fn class(&self, end: &AttemptEnd) -> OutcomeClass {
        match self {
            Self::Standard => classify(end),
            Self::Host(judge) => judge(end),
        }
    }

    /// The same where the attempt took so long, at a server that is asked by `usual` how long it usually takes.
    pub(crate) fn counted(
        &self,
        end: &AttemptEnd,
        class: OutcomeClass,
        took: Duration,
        usual: impl FnOnce() -> Option<Duration>,
    ) -> OutcomeClass {
        match self {
            Self::Standard => counted(end, class, took, usual),
            Self::Host(_) => class,
        }
    }
}

/// The standard judgement.
///
/// A server fails when it cannot be reached, does not answer in time, answers nonsense, or says itself that it failed
/// (-32603). The caller's own mistakes (unknown tool, invalid parameters), errors of the server's own making with any
/// other code, and calls whose caller left say nothing. A tool result with `isError` is a success: the server did its
/// work. Of statuses, a server error and an address without a server are failures; missing credentials are the
/// operator's business, which no waiting mends, and say nothing.
pub fn classify(end: &AttemptEnd) -> OutcomeClass {
    match end {
        AttemptEnd::Result(_) => OutcomeClass::Success,
        AttemptEnd::Rpc(error) if error.code == RpcError::INTERNAL_ERROR => OutcomeClass::Failure,
        AttemptEnd::Refused(refusal) => match refusal.kind {
            RefusalKind::WrongAddress | RefusalKind::Redirected | RefusalKind::Failed => {
                OutcomeClass::Failure
            }
            RefusalKind::Overloaded => OutcomeClass::Overload,
            RefusalKind::Unauthorized | RefusalKind::Rejected => OutcomeClass::Ignored,
        },
        AttemptEnd::Rpc(_) | AttemptEnd::Cancelled | AttemptEnd::TooLarge { .. } => OutcomeClass::Ignored,
        // That a server has forgotten a session is no failure of its work.
        AttemptEnd::ConnectionLost { sent: false, .. } | AttemptEnd::SessionLost { .. } => {
            OutcomeClass::Ignored
        }
        AttemptEnd::ConnectionLost { sent: true, .. }
        | AttemptEnd::InvalidResponse(_)
        | AttemptEnd::DeadlineExceeded => OutcomeClass::Failure,
    }
}

/// How long a server is taken to need that has answered nothing yet: less than callers wait who want an answer.
const UNKNOWN_USUAL: Duration = Duration::from_millis(100);

/// How an attempt counts that took so long, where half of the server's answers took longer than `usual`.
///
/// A deadline that passes sooner than that says more of the caller than of the server, and one caller without patience must not
/// open the breaker for all others. The median, and no average: one slow answer of another tool must not excuse a server that hangs.
/// A server that has answered nothing yet is taken for one that needs a tenth of a second.
fn counted(
    end: &AttemptEnd,
    class: OutcomeClass,
    took: Duration,
    usual: impl FnOnce() -> Option<Duration>,
) -> OutcomeClass {
    let impatient = *end == AttemptEnd::DeadlineExceeded && took < usual().unwrap_or(UNKNOWN_USUAL);
    if impatient { OutcomeClass::Ignored } else { class }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Refusal;

    fn rpc(code: i64) -> AttemptEnd {
        AttemptEnd::Rpc(RpcError { code, message: String::new(), data: None })
    }

    #[test]
    fn the_callers_own_mistakes_never_count() {
        for code in [-32700, -32600, -32601, -32602, -32002, 0, 42] {
            assert_eq!(classify(&rpc(code)), OutcomeClass::Ignored, "{code}");
        }
        assert_eq!(classify(&AttemptEnd::Cancelled), OutcomeClass::Ignored);
    }

    #[test]
    fn a_status_counts_by_what_it_says_of_the_server() {
        let class = |status| classify(&AttemptEnd::Refused(Refusal::new(status, None, None)));
        assert_eq!([500, 502, 503, 404, 307].map(class), [OutcomeClass::Failure; 5]);
        assert_eq!([401, 403, 400, 413].map(class), [OutcomeClass::Ignored; 4]);
        assert_eq!(class(429), OutcomeClass::Overload);
    }

    #[test]
    fn a_servers_own_failure_counts() {
        assert_eq!(classify(&rpc(-32603)), OutcomeClass::Failure);
        assert_eq!(classify(&AttemptEnd::DeadlineExceeded), OutcomeClass::Failure);
    }

    #[test]
    fn a_deadline_shorter_than_the_servers_usual_time_says_nothing_of_it() {
        let (ms, failure) = (Duration::from_millis, OutcomeClass::Failure);
        let of = |end: &AttemptEnd, took, usual| counted(end, failure, ms(took), || usual);
        let late = AttemptEnd::DeadlineExceeded;
        assert_eq!(of(&late, 1, Some(ms(20))), OutcomeClass::Ignored);
        assert_eq!(of(&late, 20, Some(ms(20))), failure);
        assert_eq!((of(&late, 99, None), of(&late, 100, None)), (OutcomeClass::Ignored, failure));
        assert_eq!(of(&AttemptEnd::InvalidResponse(String::new()), 1, Some(ms(20))), failure);
        // A host that has its own judgement has said how it counts.
        let host = Judge::Host(Arc::new(|_| OutcomeClass::Failure));
        assert_eq!(host.counted(&late, host.class(&late), ms(1), || Some(ms(20))), failure);
    }
}
