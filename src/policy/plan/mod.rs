//! A small plan of calls that depend on each other: which step is ready, and with which arguments.
//!
//! A step's arguments may take values from the results of other steps. Inside the argument JSON,
//!
//! ```json
//! {"$from": "users", "pointer": "/structuredContent/rows/0/id"}
//! ```
//!
//! stands for the value at that JSON Pointer (RFC 6901) in the result of the step `users`; without `pointer`, for the whole
//! result. `{"$literal": value}` stands for `value` as it is: for an object that has one of these two keys itself. What is taken
//! from a result is never read as a reference: servers cannot write into a plan.

mod progress;
mod references;

use std::collections::{BTreeSet, HashMap};

use self::references::{Reference, Template};
use crate::call::{Call, Reply};
use crate::error::CallError;

pub(crate) use progress::Progress;

crate::error::debug_as_display!(PlanError);

/// Steps of one plan. Far more than anybody plans by hand; a plan that a model writes must have an end.
const STEPS_MAX: usize = 1_000;

/// What is wrong with a plan. Nothing was sent.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Two steps have one name.
    #[error("two steps are called {name:?}")]
    DuplicateStep {
        /// The name.
        name: String,
    },
    /// A step waits for one that the plan does not have.
    #[error("step {step:?} refers to step {from:?}, which the plan does not have")]
    UnknownStep {
        /// The step.
        step: String,
        /// What it refers to.
        from: String,
    },
    /// Steps wait for each other.
    #[error("steps wait for each other: {}", steps.join(" for "))]
    Cycle {
        /// Each waits for the next; the last is the first again.
        steps: Vec<String>,
    },
    /// A step's arguments are no JSON object, or hold a reference that is none.
    #[error("step {step:?}: {reason}")]
    InvalidArguments {
        /// The step.
        step: String,
        /// What is wrong with them.
        reason: String,
    },
    /// There are too many steps.
    #[error("a plan has at most {0} steps")]
    TooManySteps(usize),
}

/// How one step of a plan ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StepOutcome {
    /// The tool did its work.
    Done(Reply),
    /// The tool reported an error of its own (`isError`): its values are none that another step could want.
    ToolFailed(Reply),
    /// The call ended without a result.
    Failed(CallError),
    /// A result has no value at the place that the step's arguments refer to. Nothing was sent.
    MissingValue {
        /// The step whose result it is.
        from: String,
        /// The place, a JSON Pointer.
        pointer: String,
    },
    /// With the values it takes, the step's arguments exceed the size limit of messages. Nothing was sent.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It waits for a step that did not succeed. Nothing was sent.
    Skipped {
        /// The step that failed, directly or by others that wait for it.
        because_of: String,
    },
}

impl StepOutcome {
    /// The reply of a step that did its work.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Done(reply) => Some(reply),
            Self::ToolFailed(_)
            | Self::Failed(_)
            | Self::MissingValue { .. }
            | Self::TooLarge { .. }
            | Self::Skipped { .. } => None,
        }
    }
}

/// How every step of a plan ended.
#[derive(Debug, Clone)]
pub struct PlanOutcome {
    steps: Vec<(String, StepOutcome)>,
}

impl PlanOutcome {
    /// Each step with its end, in the plan's order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (&str, &StepOutcome)> {
        self.steps.iter().map(|(name, outcome)| (name.as_str(), outcome))
    }

    /// How the step of this name ended.
    pub fn step(&self, name: &str) -> Option<&StepOutcome> {
        self.steps().find(|(known, _)| *known == name).map(|(_, outcome)| outcome)
    }

    /// Whether every step did its work.
    pub fn is_success(&self) -> bool {
        self.steps().all(|(_, outcome)| outcome.reply().is_some())
    }
}

/// Calls that depend on each other; see [`Troupe::run`](crate::Troupe::run).
///
/// A step's arguments may take values from the results of others: inside the argument JSON,
/// `{"$from": "step", "pointer": "/structuredContent/id"}` stands for the value at that JSON Pointer (RFC 6901) in the result of
/// that step, and without `pointer` for the whole result. `{"$literal": value}` stands for `value` unread, for an object that has
/// one of these keys itself. Numbers that are taken are those of 64 bits.
///
/// What is taken comes from a server: untrusted, as every result is. It is never read as a reference.
///
/// ```
/// use mcp_troupe::{Call, Plan};
/// use serde_json::json;
///
/// let rows = json!({"$from": "users", "pointer": "/structuredContent/rows"});
/// let plan = Plan::new()
///     .step("users", Call::tool("db.query").args(json!({"sql": "SELECT * FROM users"})))
///     .step("report", Call::tool("file.write").args(json!({"path": "users.json", "content": rows})))
///     .step("notify", Call::tool("notify").args(json!({"text": "done"})))
///     .after("notify", "report");
/// # drop(plan);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a plan does nothing until it is given to Troupe::run"]
pub struct Plan {
    steps: Vec<(String, Call)>,
    /// Steps and those that they wait for without taking a value.
    orders: Vec<(String, String)>,
}

impl Plan {
    /// Without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step.
    pub fn step(mut self, name: impl Into<String>, call: Call) -> Self {
        self.steps.push((name.into(), call));
        self
    }

    /// Lets the step `name` wait for the success of `former`, of which it takes no value.
    pub fn after(mut self, name: impl Into<String>, former: impl Into<String>) -> Self {
        self.orders.push((name.into(), former.into()));
        self
    }

    /// Reads the references and finds what each step waits for.
    fn check(self) -> Result<Vec<Checked>, PlanError> {
        if self.steps.len() > STEPS_MAX {
            return Err(PlanError::TooManySteps(STEPS_MAX));
        }
        let mut places: HashMap<String, usize> = HashMap::new();
        for (place, (name, _)) in self.steps.iter().enumerate() {
            if places.insert(name.clone(), place).is_some() {
                return Err(PlanError::DuplicateStep { name: name.clone() });
            }
        }
        let place_of = |step: &str, from: &str| {
            let unknown = || PlanError::UnknownStep { step: step.to_owned(), from: from.to_owned() };
            places.get(from).copied().ok_or_else(unknown)
        };
        let mut checked = Vec::with_capacity(self.steps.len());
        for (name, call) in self.steps {
            let wrong = |reason: String| PlanError::InvalidArguments { step: name.clone(), reason };
            let template = references::template(&call).map_err(wrong)?;
            let mut reads = BTreeSet::new();
            for Reference { from, .. } in template.iter().flat_map(references::of) {
                reads.insert(place_of(&name, from)?);
            }
            let mut needs = reads.clone();
            for (_, former) in self.orders.iter().filter(|(step, _)| *step == name) {
                needs.insert(place_of(&name, former)?);
            }
            checked.push(Checked { name, call, template, needs, reads });
        }
        if let Some((step, former)) = self.orders.iter().find(|(step, _)| !places.contains_key(step)) {
            return Err(PlanError::UnknownStep { step: former.clone(), from: step.clone() });
        }
        match cycle(&checked) {
            Some(steps) => Err(PlanError::Cycle { steps }),
            None => Ok(checked),
        }
    }
}

/// A step whose references are read. Steps are given by their places in the plan.
struct Checked {
    name: String,
    call: Call,
    /// Its arguments, if they hold references.
    template: Option<Template>,
    /// What it waits for.
    needs: BTreeSet<usize>,
    /// Those of them whose results it reads.
    reads: BTreeSet<usize>,
}

/// Those that wait for each step.
fn dependents(steps: &[Checked]) -> Vec<Vec<usize>> {
    let mut dependents = vec![Vec::new(); steps.len()];
    for (place, step) in steps.iter().enumerate() {
        step.needs.iter().for_each(|former| dependents[*former].push(place));
    }
    dependents
}

/// Steps that wait for each other, if there are any: each for the next.
fn cycle(steps: &[Checked]) -> Option<Vec<String>> {
    // What waits for nothing unsettled can be taken out, again and again; what is left waits for each other, or for those.
    let mut open: Vec<usize> = steps.iter().map(|step| step.needs.len()).collect();
    let dependents = dependents(steps);
    let mut settled: Vec<usize> = (0..steps.len()).filter(|place| open[*place] == 0).collect();
    while let Some(former) = settled.pop() {
        for dependent in &dependents[former] {
            open[*dependent] -= 1;
            if open[*dependent] == 0 {
                settled.push(*dependent);
            }
        }
    }
    let stuck = |place: &usize| open[*place] > 0;
    let mut path: Vec<usize> = vec![(0..steps.len()).find(stuck)?];
    loop {
        // Each that is stuck waits for another that is.
        let next = path.last().and_then(|last| steps[*last].needs.iter().copied().find(stuck))?;
        if let Some(begin) = path.iter().position(|known| *known == next) {
            let circle = path[begin..].iter().chain([&next]);
            return Some(circle.map(|place| steps[*place].name.clone()).collect());
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn from(step: &str) -> Value {
        json!({"x": {"$from": step}})
    }

    fn mistake(plan: Plan) -> PlanError {
        plan.check().map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let plan =
            Plan::new().step("a", Call::tool("t")).step("b", Call::tool("t")).step("a", Call::tool("t"));
        assert_eq!(mistake(plan), PlanError::DuplicateStep { name: "a".into() });
    }

    #[test]
    fn a_step_that_is_not_there_is_named_with_who_refers_to_it() {
        let unknown = PlanError::UnknownStep { step: "a".into(), from: "b".into() };
        assert_eq!(mistake(Plan::new().step("a", Call::tool("t").args(from("b")))), unknown);
        assert_eq!(mistake(Plan::new().step("a", Call::tool("t")).after("a", "b")), unknown);
        assert_eq!(mistake(Plan::new().step("a", Call::tool("t")).after("b", "a")), unknown);
    }

    #[test]
    fn steps_that_wait_for_each_other_are_named_in_turn() {
        let plan = Plan::new()
            .step("first", Call::tool("t"))
            .step("outside", Call::tool("t").args(from("a")))
            .step("a", Call::tool("t").args(json!({"x": [{"$from": "first"}, {"$from": "b"}]})))
            .step("b", Call::tool("t"))
            .after("b", "a");
        assert_eq!(mistake(plan), PlanError::Cycle { steps: vec!["a".into(), "b".into(), "a".into()] });
        let alone = Plan::new().step("a", Call::tool("t").args(from("a")));
        assert_eq!(mistake(alone), PlanError::Cycle { steps: vec!["a".into(), "a".into()] });
    }

    #[test]
    fn wrong_arguments_are_told_with_their_step() {
        let reason = |args: Value| match mistake(Plan::new().step("a", Call::tool("t").args(args))) {
            PlanError::InvalidArguments { step, reason } if step == "a" => reason,
            other => panic!("{other}"),
        };
        assert!(reason(json!([1])).contains("must be a JSON object"));
        assert!(reason(json!({"x": {"$from": 1}})).contains("$from"));
        assert!(reason(json!({"x": {"$from": "a", "pointer": "id"}})).contains("begins with '/'"));
        assert!(reason(json!({"x": {"$from": "a", "pointer": "/~2"}})).contains("'~'"));
        assert!(reason(json!({"x": {"$from": "a", "path": "/id"}})).contains("path"));
        assert!(reason(json!({"x": {"$literal": 1, "y": 2}})).contains("$literal"));
    }

    #[test]
    fn a_plan_has_a_limit() {
        let plan = (0..=STEPS_MAX).fold(Plan::new(), |plan, n| plan.step(n.to_string(), Call::tool("t")));
        assert_eq!(mistake(plan), PlanError::TooManySteps(STEPS_MAX));
    }
}
