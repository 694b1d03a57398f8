//! What is known of a session's transaction: SQLite is asked after each statement, since it ends transactions by itself
//! (`INSERT OR ROLLBACK`, an interrupted write, a full disk), after which each statement would commit by itself.

use tokio::time::Instant;

use super::super::refusal::Refusal;
use super::Action;

/// The transaction of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transaction {
    /// There is none: each statement commits by itself.
    None,
    /// It is open.
    Open {
        /// When it was begun.
        since: Instant,
    },
    /// It was rolled back without having been asked for, and the caller has not said yet that it knows: no statement is
    /// taken until it does, by a rollback or a new begin.
    RolledBack {
        /// What ended it.
        why: String,
    },
}

impl Transaction {
    /// Whether a statement may run.
    pub fn usable(&self) -> Result<(), Refusal> {
        match self {
            Self::None | Self::Open { .. } => Ok(()),
            Self::RolledBack { why } => Err(rolled_back(why, "nothing was done")),
        }
    }

    /// The statement for an action.
    pub fn statement(&self, action: Action) -> Result<&'static str, Refusal> {
        match (action, self) {
            (Action::Begin, Self::Open { .. }) => {
                Err(Refusal::new("TRANSACTION_OPEN", "Transaction already in progress"))
            }
            (Action::Commit | Action::Rollback, Self::None) => {
                Err(Refusal::new("NO_TRANSACTION", "No active transaction"))
            }
            (Action::Commit, Self::RolledBack { why }) => Err(rolled_back(why, "nothing was committed")),
            (Action::Begin, Self::None | Self::RolledBack { .. }) => Ok("BEGIN"),
            (Action::Commit, Self::Open { .. }) => Ok("COMMIT"),
            // There is nothing left to roll back: an empty statement.
            (Action::Rollback, Self::RolledBack { .. }) => Ok(""),
            (Action::Rollback, Self::Open { .. }) => Ok("ROLLBACK"),
        }
    }

    /// What is true after a statement that ended with `done`, when SQLite says whether it is in autocommit mode, which
    /// is: in no transaction. A refusal that ended the transaction says so.
    pub fn observe<T>(
        &mut self,
        done: Result<T, Refusal>,
        autocommit: bool,
        now: Instant,
    ) -> Result<T, Refusal> {
        match (&*self, autocommit, done) {
            (Self::None | Self::RolledBack { .. }, false, done) => {
                *self = Self::Open { since: now };
                done
            }
            // A statement that succeeded and left no transaction has ended it as it was told.
            (Self::Open { .. }, true, Ok(done)) => {
                *self = Self::None;
                Ok(done)
            }
            (Self::Open { .. }, true, Err(refusal)) => {
                let message =
                    format!("{}; this rolled back the transaction with all its changes", refusal.message);
                *self = Self::RolledBack { why: refusal.message };
                Err(Refusal { message, ..refusal })
            }
            (Self::None | Self::RolledBack { .. }, true, done) | (Self::Open { .. }, false, done) => done,
        }
    }
}

fn rolled_back(why: &str, so: &str) -> Refusal {
    let message = format!(
        "{so}: the transaction was rolled back with all its changes ({why}); roll back or begin to say that you know"
    );
    Refusal::new("TRANSACTION_ROLLED_BACK", message)
}
