//! The names of the metrics, and what they mean.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(super) const CALLS: &str = "mcp_troupe_calls_total";
pub(super) const CALL_DURATION: &str = "mcp_troupe_call_duration_seconds";
pub(super) const SHED_CALLS: &str = "mcp_troupe_shed_calls_total";
pub(super) const ATTEMPTS: &str = "mcp_troupe_attempts_total";
pub(super) const ATTEMPT_DURATION: &str = "mcp_troupe_attempt_duration_seconds";
pub(super) const RETRIES: &str = "mcp_troupe_retries_total";
pub(super) const HEDGES: &str = "mcp_troupe_hedges_total";
pub(super) const HEDGES_WON: &str = "mcp_troupe_hedges_won_total";
pub(super) const RETRIES_REFUSED: &str = "mcp_troupe_retries_refused_total";
pub(super) const LATE_ANSWERS: &str = "mcp_troupe_late_answers_total";
pub(super) const OPEN_CALLS: &str = "mcp_troupe_open_calls";
pub(super) const QUEUED_CALLS: &str = "mcp_troupe_queued_calls";
pub(super) const SERVER_UP: &str = "mcp_troupe_server_up";
pub(super) const SERVER_STATUS: &str = "mcp_troupe_server_status";
pub(super) const SERVER_RESTARTS: &str = "mcp_troupe_server_restarts_total";
pub(super) const CONNECTIONS: &str = "mcp_troupe_connections";
pub(super) const BREAKER_STATE: &str = "mcp_troupe_breaker_state";
pub(super) const BREAKER_TRANSITIONS: &str = "mcp_troupe_breaker_transitions_total";
pub(super) const ROUTER_RESTARTS: &str = "mcp_troupe_router_restarts_total";

const COUNTERS: [(&str, &str); 11] = [
    (CALLS, "Calls that ended."),
    (SHED_CALLS, "Calls that were refused since too many waited."),
    (ATTEMPTS, "Attempts that ended."),
    (RETRIES, "Attempts after the first that may have been carried out twice."),
    (HEDGES, "Second attempts beside a slow first one."),
    (HEDGES_WON, "Hedges that answered before the first attempt did."),
    (RETRIES_REFUSED, "Retries and hedges that the budget refused."),
    (LATE_ANSWERS, "Answers that nobody waited for."),
    (SERVER_RESTARTS, "Ends of a server's actor that a restart follows."),
    (BREAKER_TRANSITIONS, "Changes of a breaker's state."),
    (ROUTER_RESTARTS, "Restarts of the router."),
];

const GAUGES: [(&str, &str); 6] = [
    (OPEN_CALLS, "Calls without an answer."),
    (QUEUED_CALLS, "Calls that wait for a server."),
    (SERVER_UP, "1 where a server is ready, else 0."),
    (SERVER_STATUS, "1 for the status that a server has, 0 for the others."),
    (CONNECTIONS, "Usable connections, leased ones included."),
    (BREAKER_STATE, "1 for the state that a breaker has, 0 for the others."),
];

const DURATIONS: [(&str, &str); 2] = [
    (CALL_DURATION, "From the call to its end, with queueing and retries."),
    (ATTEMPT_DURATION, "Of attempts that were sent: from the send to the end."),
];

/// Tells the host's recorder what the metrics mean.
pub(crate) fn describe() {
    for (name, meaning) in COUNTERS {
        describe_counter!(name, Unit::Count, meaning);
    }
    for (name, meaning) in GAUGES {
        describe_gauge!(name, Unit::Count, meaning);
    }
    for (name, meaning) in DURATIONS {
        describe_histogram!(name, Unit::Seconds, meaning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_stands_in_the_table_of_the_docs_and_nothing_else_does() {
        let page = include_str!("../../observability.rs");
        let rows = |kind: &str| page.lines().filter(|line| line.contains(&format!("` | {kind} |"))).count();
        for (kind, metrics) in [("counter", &COUNTERS[..]), ("gauge", &GAUGES), ("histogram", &DURATIONS)] {
            for (name, _) in metrics {
                assert!(page.contains(&format!("//! | `{name}` | {kind} |")), "{name}");
            }
            assert_eq!(rows(kind), metrics.len(), "{kind}");
        }
    }
}
