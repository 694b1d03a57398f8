//! Runs a plan: as many steps at once as wait for nothing.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Troupe;
use crate::policy::plan::{Plan, PlanError, PlanOutcome, Progress};

/// Steps of one plan that are open at once. A plan is one user's work, and there may be many users.
const OPEN_MAX: usize = 64;

impl Troupe {
    /// Makes the calls of a plan, each as soon as the steps it waits for have succeeded, at most 64 at once. A step that fails
    /// fails those that wait for it; the others go on. Each step has its call's own deadline. Dropping the future cancels
    /// what is open, and makes no more.
    ///
    /// # Errors
    /// A plan that is none: nothing was sent. How the calls ended is told for each step.
    ///
    /// ```no_run
    /// # async fn example(troupe: mcp_troupe::Troupe) -> Result<(), mcp_troupe::PlanError> {
    /// use mcp_troupe::{Call, Plan};
    /// use serde_json::json;
    ///
    /// let id = json!({"$from": "user", "pointer": "/structuredContent/id"});
    /// let plan = Plan::new()
    ///     .step("user", Call::tool("users/find").args(json!({"name": "Ada"})))
    ///     .step("orders", Call::tool("orders/list").args(json!({"user": id})));
    /// for (step, outcome) in troupe.run(plan).await?.steps() {
    ///     println!("{step}: {outcome:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(&self, plan: Plan) -> Result<PlanOutcome, PlanError> {
        let bytes_max = self.0.settings.borrow().limits.message_bytes_max;
        let mut progress = Progress::of(plan, bytes_max)?;
        let mut open = FuturesUnordered::new();
        loop {
            while open.len() < OPEN_MAX
                && let Some((step, call)) = progress.next()
            {
                let answer = self.call(call);
                open.push(async move { (step, answer.await) });
            }
            match open.next().await {
                Some((step, answer)) => progress.settle(step, answer),
                None => return Ok(progress.finish()),
            }
        }
    }
}
