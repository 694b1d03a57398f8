//! What a server can send too much of.

use serde_json::{Value, json};

/// The size of a text that is far too long for an error, a name or a log message, and fits into a message and into a
/// variable of a child process.
const LONG: usize = 64 << 10;

/// One kind of message, sent without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    Pings,
    UnknownRequests,
    LongIds,
    ToolsChanged,
    ResourcesChanged,
    PromptsChanged,
    UpdatesOfOne,
    UpdatesOfMany,
    Acknowledgements,
    Cancellations,
    Progress,
    Logs,
    LongLogs,
    UnknownNotifications,
    Garbage,
    BrokenMessages,
    ErrorsToNobody,
    LongErrors,
    AnswersToNothing,
    AnswersToTexts,
    BatchesOfPings,
    BatchesOfNotifications,
    BatchesOfAnswers,
    /// The list changes all the time, and is full of names that are none.
    SkippedEntries,
}

impl Flood {
    /// All but the one that needs lists to be asked for.
    pub const ALL: [Self; 23] = [
        Self::Pings,
        Self::UnknownRequests,
        Self::LongIds,
        Self::ToolsChanged,
        Self::ResourcesChanged,
        Self::PromptsChanged,
        Self::UpdatesOfOne,
        Self::UpdatesOfMany,
        Self::Acknowledgements,
        Self::Cancellations,
        Self::Progress,
        Self::Logs,
        Self::LongLogs,
        Self::UnknownNotifications,
        Self::Garbage,
        Self::BrokenMessages,
        Self::ErrorsToNobody,
        Self::LongErrors,
        Self::AnswersToNothing,
        Self::AnswersToTexts,
        Self::BatchesOfPings,
        Self::BatchesOfNotifications,
        Self::BatchesOfAnswers,
    ];

    /// Whether it is a flood of messages, each of which stands by itself.
    pub fn is_of_messages(self) -> bool {
        !matches!(
            self,
            Self::Garbage
                | Self::BrokenMessages
                | Self::BatchesOfPings
                | Self::BatchesOfNotifications
                | Self::BatchesOfAnswers
        )
    }

    /// The frames that are sent, over and over.
    pub fn frames(self) -> Vec<String> {
        let long = || "x".repeat(LONG);
        let notification = |method: &str, params: Value| {
            json!({"jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": params})
                .to_string()
        };
        let batch = |message: &str| format!("[{}]", vec![message; 1_000].join(","));
        let one = match self {
            Self::Pings => r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned(),
            Self::UnknownRequests => r#"{"jsonrpc":"2.0","id":"q","method":"tools/call"}"#.to_owned(),
            Self::LongIds => json!({"jsonrpc": "2.0", "id": long(), "method": "ping"}).to_string(),
            Self::ToolsChanged | Self::SkippedEntries => notification("tools/list_changed", json!({})),
            Self::ResourcesChanged => notification("resources/list_changed", json!({})),
            Self::PromptsChanged => notification("prompts/list_changed", json!({})),
            Self::UpdatesOfOne => notification("resources/updated", json!({"uri": "file:///a"})),
            Self::UpdatesOfMany => {
                let each = |n| notification("resources/updated", json!({"uri": format!("file:///{n}")}));
                return (0..1_000).map(each).collect();
            }
            Self::Acknowledgements => {
                notification("subscriptions/acknowledged", json!({"notifications": {}}))
            }
            Self::Cancellations => notification("cancelled", json!({"requestId": 1_000_000})),
            Self::Progress => notification("progress", json!({"progressToken": 3, "progress": 1})),
            Self::Logs => notification("message", json!({"level": "error", "data": "no"})),
            Self::LongLogs => notification("message", json!({"level": "error", "data": long()})),
            Self::UnknownNotifications => notification("weather", json!({"sun": true})),
            Self::Garbage => "all work and no play makes a dull server".to_owned(),
            Self::BrokenMessages => r#"{"jsonrpc":"2.0","id":1,"result":"#.to_owned(),
            Self::ErrorsToNobody => {
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#.to_owned()
            }
            Self::LongErrors => {
                json!({"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": long()}}).to_string()
            }
            Self::AnswersToNothing => r#"{"jsonrpc":"2.0","id":1000000,"result":{}}"#.to_owned(),
            Self::AnswersToTexts => r#"{"jsonrpc":"2.0","id":"3","result":{}}"#.to_owned(),
            Self::BatchesOfPings => batch(r#"{"id":1,"method":"ping"}"#),
            Self::BatchesOfNotifications => batch(r#"{"method":"notifications/tools/list_changed"}"#),
            Self::BatchesOfAnswers => batch(r#"{"id":1000000,"result":{}}"#),
        };
        vec![one]
    }

    /// What the server says to a request of ours: it is a good one, but for its flood. A notification needs no answer.
    pub fn answer(self, request: &Value) -> Option<String> {
        let id = request["id"].as_u64()?;
        let result = match request["method"].as_str()? {
            "server/discover" => {
                let error = json!({"code": -32601, "message": "no"});
                return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
            }
            "initialize" => json!({
                "protocolVersion": "2025-06-18",
                "capabilities": {
                    "tools": {"listChanged": true},
                    "resources": {"subscribe": true, "listChanged": true},
                    "prompts": {"listChanged": true}
                },
                "serverInfo": {"name": "x"}
            }),
            "tools/list" => {
                let mut tools = vec![json!({"name": "t"})];
                if self == Self::SkippedEntries {
                    tools.extend((0..300).map(|n| json!({"name": format!("no name {n}")})));
                }
                json!({"tools": tools})
            }
            "resources/list" => json!({"resources": [{"name": "a", "uri": "file:///a"}]}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            "prompts/list" => json!({"prompts": []}),
            _ => json!({"content": []}),
        };
        Some(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
    }
}
