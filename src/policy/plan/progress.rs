//! A plan under way: which step is ready, what a failure means for those that wait, and when a result is needed no more.

use std::collections::{BTreeSet, VecDeque};

use super::references::{self, Unfilled};
use super::{Checked, Plan, PlanError, PlanOutcome, StepOutcome, dependents};
use crate::call::{Call, Reply};
use crate::error::CallError;
use crate::json::RawJson;

/// A step under way.
struct Step {
    checked: Checked,
    /// Those that wait for it.
    dependents: Vec<usize>,
    /// How many it still waits for.
    waits_for: usize,
    /// How many that may still be made read its result.
    readers: usize,
    /// What they read.
    result: Option<RawJson>,
    outcome: Option<StepOutcome>,
}

/// A plan under way.
pub(crate) struct Progress {
    steps: Vec<Step>,
    ready: VecDeque<usize>,
    /// The most bytes of a step's arguments.
    bytes_max: usize,
}

impl Progress {
    /// Begins a plan. A step's arguments, filled in, may have at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`PlanError`] if the plan is none.
    pub(crate) fn of(plan: Plan, bytes_max: usize) -> Result<Self, PlanError> {
        let checked = plan.check()?;
        let dependents = dependents(&checked);
        let mut readers = vec![0; checked.len()];
        for former in checked.iter().flat_map(|step| &step.reads) {
            readers[*former] += 1;
        }
        let ready = (0..checked.len()).filter(|place| checked[*place].needs.is_empty()).collect();
        let steps = checked.into_iter().zip(dependents).zip(readers);
        let steps = steps.map(|((checked, dependents), readers)| Step {
            waits_for: checked.needs.len(),
            checked,
            dependents,
            readers,
            result: None,
            outcome: None,
        });
        Ok(Self { steps: steps.collect(), ready, bytes_max })
    }

    /// The next step that can be made, with its call; none while all others wait for steps that are open.
    pub(crate) fn next(&mut self) -> Option<(usize, Call)> {
        loop {
            let place = self.ready.pop_front()?;
            match self.filled(place) {
                Ok(call) => {
                    self.has_read(place);
                    return Some((place, call));
                }
                Err(Unfilled::Missing { from, pointer }) => {
                    self.end(place, StepOutcome::MissingValue { from, pointer });
                }
                Err(Unfilled::TooLarge) => self.end(place, StepOutcome::TooLarge { limit: self.bytes_max }),
            }
        }
    }

    /// The call of a step with the values that it takes.
    fn filled(&self, place: usize) -> Result<Call, Unfilled> {
        let Checked { call, template, reads, .. } = &self.steps[place].checked;
        let Some(template) = template else { return Ok(call.clone()) };
        let result = |name: &str| {
            let former = reads.iter().find(|former| self.steps[**former].checked.name == name)?;
            self.steps[*former].result.as_ref()
        };
        Ok(call.clone().raw_args(references::fill(template, &result, self.bytes_max)?))
    }

    /// The step has read what it wanted, or never will; a result without readers is kept no longer.
    fn has_read(&mut self, place: usize) {
        for former in std::mem::take(&mut self.steps[place].checked.reads) {
            let former = &mut self.steps[former];
            former.readers = former.readers.saturating_sub(1);
            if former.readers == 0 {
                former.result = None;
            }
        }
    }

    /// A step that was made has its answer.
    pub(crate) fn settle(&mut self, place: usize, answer: Result<Reply, CallError>) {
        let outcome = match answer {
            Ok(reply) if reply.is_error() => StepOutcome::ToolFailed(reply),
            Ok(reply) => {
                if self.steps[place].readers > 0 {
                    // One that cannot be read has no values.
                    self.steps[place].result = Some(reply.result.clone());
                }
                StepOutcome::Done(reply)
            }
            Err(error) => StepOutcome::Failed(error),
        };
        self.end(place, outcome);
    }

    fn end(&mut self, place: usize, outcome: StepOutcome) {
        let success = outcome.reply().is_some();
        self.steps[place].outcome = Some(outcome);
        if success {
            for dependent in self.steps[place].dependents.clone() {
                let step = &mut self.steps[dependent];
                step.waits_for = step.waits_for.saturating_sub(1);
                if step.waits_for == 0 && step.outcome.is_none() {
                    self.ready.push_back(dependent);
                }
            }
        } else {
            self.has_read(place);
            self.skip_all_after(place);
        }
    }

    /// Everything that waits for a step, directly or by others, is not made.
    fn skip_all_after(&mut self, place: usize) {
        let because_of = self.steps[place].checked.name.clone();
        let mut after: BTreeSet<usize> = self.steps[place].dependents.iter().copied().collect();
        while let Some(next) = after.pop_first() {
            if self.steps[next].outcome.is_some() {
                continue;
            }
            self.steps[next].outcome = Some(StepOutcome::Skipped { because_of: because_of.clone() });
            self.has_read(next);
            after.extend(self.steps[next].dependents.iter().copied());
        }
    }

    /// How every step ended, when none is open and none is ready. A step without an end would be a fault of ours; it shows as
    /// skipped because of itself.
    pub(crate) fn finish(self) -> PlanOutcome {
        let steps = self.steps.into_iter().map(|step| {
            let name = step.checked.name;
            let outcome = step.outcome.unwrap_or_else(|| StepOutcome::Skipped { because_of: name.clone() });
            (name, outcome)
        });
        PlanOutcome { steps: steps.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::error::CallErrorKind;
    use crate::id::{GroupId, RequestId, ServerId};
    use crate::json::RawJson;

    fn reply(result: &Value) -> Result<Reply, CallError> {
        Ok(Reply {
            request_id: RequestId::random(),
            server: ServerId::new("s").unwrap(),
            group: GroupId::new("s").unwrap(),
            tool: "t".into(),
            result: RawJson::from_value(result).unwrap(),
            duration: Duration::ZERO,
            attempts: 1,
            earlier_servers: Vec::new(),
            cached: false,
            lease: None,
        })
    }

    fn failure() -> Result<Reply, CallError> {
        Err(CallError::new(CallErrorKind::Interrupted, RequestId::random(), "t", None, 1))
    }

    fn taking(from: &str) -> Call {
        Call::tool("t").args(json!({"x": {"$from": from, "pointer": "/v"}}))
    }

    fn args(call: &Call) -> Value {
        call.right_args().unwrap().parse().unwrap()
    }

    #[test]
    fn steps_are_ready_when_what_they_need_is_done_and_not_before() {
        let plan = Plan::new()
            .step("last", taking("b"))
            .after("last", "a")
            .step("a", Call::tool("t"))
            .step("b", Call::tool("t"));
        let mut progress = Progress::of(plan, 1000).unwrap();
        let (a, b) = (progress.next().unwrap().0, progress.next().unwrap().0);
        assert_eq!((a, b), (1, 2));
        assert!(progress.next().is_none());
        progress.settle(b, reply(&json!({"v": [7]})));
        assert!(progress.next().is_none());
        progress.settle(a, reply(&json!({})));
        let (last, call) = progress.next().unwrap();
        assert_eq!(args(&call), json!({"x": [7]}));
        progress.settle(last, reply(&json!({})));
        assert!(progress.next().is_none() && progress.finish().is_success());
    }

    #[test]
    fn a_failure_skips_those_that_wait_and_nobody_else() {
        let plan = Plan::new()
            .step("bad", Call::tool("t"))
            .step("good", Call::tool("t"))
            .step("waits", taking("bad"))
            .step("waits-more", taking("waits"))
            .step("goes-on", taking("good"));
        let mut progress = Progress::of(plan, 1000).unwrap();
        let (bad, good) = (progress.next().unwrap().0, progress.next().unwrap().0);
        progress.settle(bad, failure());
        progress.settle(good, reply(&json!({"v": 1})));
        let (goes_on, _) = progress.next().unwrap();
        progress.settle(goes_on, reply(&json!({})));
        let outcome = progress.finish();
        assert!(!outcome.is_success());
        for waiting in ["waits", "waits-more"] {
            let ended = outcome.step(waiting).unwrap();
            assert!(matches!(ended, StepOutcome::Skipped { because_of } if because_of == "bad"), "{ended:?}");
        }
        assert!(matches!(outcome.step("bad"), Some(StepOutcome::Failed(_))));
        assert!(matches!(outcome.step("goes-on"), Some(StepOutcome::Done(_))));
    }

    #[test]
    fn an_error_of_the_tools_own_is_a_failure() {
        let plan = Plan::new().step("a", Call::tool("t")).step("b", taking("a"));
        let mut progress = Progress::of(plan, 1000).unwrap();
        let (a, _) = progress.next().unwrap();
        progress.settle(a, reply(&json!({"isError": true, "content": [], "v": 1})));
        let outcome = progress.finish();
        assert!(matches!(outcome.step("a"), Some(StepOutcome::ToolFailed(_))));
        assert!(matches!(outcome.step("b"), Some(StepOutcome::Skipped { .. })));
    }

    #[test]
    fn a_value_that_is_missing_fails_the_step_that_wants_it() {
        let plan = Plan::new().step("a", Call::tool("t")).step("b", taking("a")).step("c", taking("b"));
        let mut progress = Progress::of(plan, 1000).unwrap();
        let (a, _) = progress.next().unwrap();
        progress.settle(a, reply(&json!({"w": 1})));
        assert!(progress.next().is_none());
        let outcome = progress.finish();
        assert!(
            matches!(outcome.step("b"), Some(StepOutcome::MissingValue { from, pointer }) if from == "a" && pointer == "/v")
        );
        assert!(matches!(outcome.step("c"), Some(StepOutcome::Skipped { because_of }) if because_of == "b"));
    }

    #[test]
    fn a_result_is_kept_while_somebody_may_read_it() {
        let plan = Plan::new().step("a", Call::tool("t")).step("b", taking("a")).step("c", taking("a"));
        let mut progress = Progress::of(plan, 1000).unwrap();
        let (a, _) = progress.next().unwrap();
        progress.settle(a, reply(&json!({"v": 1})));
        assert!(progress.next().is_some() && progress.steps[a].result.is_some());
        assert!(progress.next().is_some());
        assert!(progress.steps[a].result.is_none());
    }

    proptest! {
        /// Whatever depends on what and fails: each step ends once, and none is made before what it needs is done.
        #[test]
        fn every_step_ends_once_and_in_order(
            needs in proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..3), 1..20),
            fails in proptest::collection::vec(any::<bool>(), 20),
            turns in proptest::collection::vec(any::<prop::sample::Index>(), 20),
        ) {
            let mut plan = Plan::new();
            for (place, formers) in needs.iter().enumerate() {
                plan = plan.step(place.to_string(), Call::tool("t"));
                for former in formers.iter().filter(|_| place > 0) {
                    plan = plan.after(place.to_string(), former.index(place).to_string());
                }
            }
            let mut progress = Progress::of(plan, 1000).unwrap();
            let mut open: Vec<usize> = Vec::new();
            let mut made = 0;
            loop {
                while let Some((place, _)) = progress.next() {
                    let formers = &progress.steps[place].checked.needs;
                    prop_assert!(formers.iter().all(|former| matches!(
                        progress.steps[*former].outcome, Some(StepOutcome::Done(_)))));
                    prop_assert!(progress.steps[place].outcome.is_none() && !open.contains(&place));
                    open.push(place);
                    made += 1;
                }
                if open.is_empty() {
                    break;
                }
                let place = open.swap_remove(turns[made % turns.len()].index(open.len()));
                progress.settle(place, if fails[place] { failure() } else { reply(&json!({})) });
            }
            prop_assert!(progress.steps.iter().all(|step| step.outcome.is_some()));
        }
    }
}
