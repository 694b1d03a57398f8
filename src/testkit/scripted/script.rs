//! What the tools of a scripted server do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

/// What a tool does when it is called.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum Script {
    /// Answers with its arguments, as structured content and as text.
    #[default]
    Echo,
    /// Answers with the `_meta` of its call, as structured content.
    Meta,
    /// Answers with the number of its connection, counted from 1, as structured content.
    Connection,
    /// Keeps its arguments for its connection (over HTTP: its session), and answers with them and what was kept before, as
    /// structured content `{"now": …, "before": …}`. Where there is no session nothing is kept.
    Keep,
    /// Answers as [`Keep`](Self::Keep), and keeps nothing.
    Kept,
    /// Answers with this result, which is JSON.
    Reply(String),
    /// Does the other after a while.
    After(Duration, Box<Script>),
    /// Answers with a JSON-RPC error.
    Error {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
    },
    /// Answers over HTTP with this status and a JSON-RPC error as its body; elsewhere with the error.
    Status {
        /// The status.
        status: u16,
        /// The error's code.
        code: i64,
        /// Its message.
        message: String,
    },
    /// Answers with a result that says that the tool failed.
    ToolError(String),
    /// Never answers.
    Silence,
    /// Answers another request, which nobody made.
    WrongId,
    /// Answers with id null.
    NullId,
    /// Answers twice.
    Double,
    /// Answers with neither result nor error.
    Hollow,
    /// Sends a frame that is no JSON, and then no answer.
    Garbage,
    /// Drops the connection without a close frame.
    Cut,
    /// Answers when the test calls [`ScriptedServer::release`](super::ScriptedServer::release).
    Hold,
    /// Sends a part of its answer's frame, then drops the connection. In memory, where a message is whole, it only drops
    /// the connection.
    Break,
    /// Sends a notification so many times, then does the other.
    NotifyBefore {
        /// Its method.
        method: String,
        /// How many times.
        times: usize,
        /// What follows.
        next: Box<Script>,
    },
    /// Reports so many steps of progress, if the call asks for that, then does the other.
    ProgressBefore {
        /// How many.
        steps: u32,
        /// What follows.
        next: Box<Script>,
    },
    /// Does these one after the other, then the other. Over HTTP they come as events on the stream of the call's answer.
    Tell {
        /// What it tells, and when.
        steps: Vec<Step>,
        /// What follows.
        next: Box<Script>,
    },
    /// Asks the client something in the middle of the call, as legacy servers do, and answers with what it says
    /// (`{"result": …}` or `{"error": …}`) as structured content.
    Ask {
        /// The method of the question.
        method: String,
        /// Its params, which are JSON.
        params: String,
    },
    /// Asks, and takes the question back at once; then answers with its arguments.
    AskAndTakeBack {
        /// The method of the question.
        method: String,
        /// Its params, which are JSON.
        params: String,
    },
    /// Answers with a result that asks, as modern servers do; and where the call brings answers along, with what it brings
    /// (`{"responses": …, "state": …}`) as structured content.
    AskBack {
        /// The requests by key, which are JSON.
        requests: String,
        /// What it wants back, which is JSON.
        state: Option<String>,
    },
    /// Does one after the other, call by call; the last for all that follow.
    Sequence(Vec<Script>),
    /// Does what a function of the call says: see [`Script::computed`].
    Computed(Compute),
}

impl Script {
    /// A tool whose answer depends on its call.
    ///
    /// The function runs on a thread of the runtime, so it must not block for long.
    ///
    /// ```
    /// use mcp_troupe::testkit::Script;
    /// use serde_json::json;
    ///
    /// let double = Script::computed(|call| match call.arguments["n"].as_i64() {
    ///     Some(n) => Script::Reply(json!({"content": [], "structuredContent": {"n": 2 * n}}).to_string()),
    ///     None => Script::ToolError("n is missing".to_owned()),
    /// });
    /// ```
    pub fn computed(compute: impl Fn(&ScriptedCall) -> Script + Send + Sync + 'static) -> Self {
        Self::Computed(Compute(Arc::new(compute)))
    }
}

/// The call that a [computed](Script::computed) tool answers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScriptedCall {
    /// Its arguments.
    pub arguments: Value,
    /// The number of its connection, counted from 1.
    pub connection: u64,
}

/// The function of a [computed](Script::computed) tool. Two are equal if they are the same.
#[derive(Clone)]
pub struct Compute(Arc<dyn Fn(&ScriptedCall) -> Script + Send + Sync>);

impl Compute {
    pub(super) fn script(&self, arguments: &str, connection: u64) -> Script {
        let arguments = serde_json::from_str(arguments).unwrap_or_default();
        (self.0)(&ScriptedCall { arguments, connection })
    }
}

impl fmt::Debug for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compute").finish_non_exhaustive()
    }
}

impl PartialEq for Compute {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// One thing that a tool does before it answers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Reports progress, if the call asks for that.
    Progress {
        /// How far it has come.
        progress: f64,
        /// How far it has to go.
        total: Option<f64>,
        /// What it is at.
        message: Option<String>,
    },
    /// Reports progress so many times, from 1 on, if the call asks for that.
    Flood(u64),
    /// Logs something.
    Log {
        /// How grave it is, as the protocol names it.
        level: String,
        /// What it says.
        data: serde_json::Value,
    },
    /// Sends this message, whatever it is.
    Say(String),
    /// Waits for so long.
    Pause(Duration),
    /// Waits until the test calls [`ScriptedServer::release`](super::ScriptedServer::release): the first such step of a call for the first time since the
    /// call arrived, and so on.
    Hold,
}

impl Step {
    /// Progress without a total and a message.
    pub fn progress(progress: f64) -> Self {
        Self::Progress { progress, total: None, message: None }
    }
}
