//! A server as small as one can be, which the scenario plays over each transport: it has the tool `add`.

use serde_json::{Value, json};

/// The answer to a message; none to a notification.
pub fn answer(message: &str) -> Option<String> {
    let asked: Value = serde_json::from_str(message).ok()?;
    let id = asked.get("id")?;
    let result = match asked["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "add", "version": "1"},
        }),
        "ping" => json!({}),
        "tools/list" => json!({"tools": [{"name": "add", "inputSchema": {"type": "object"}}]}),
        "tools/call" => {
            let number = |name: &str| asked["params"]["arguments"][name].as_i64().unwrap_or_default();
            let sum = number("a") + number("b");
            json!({
                "content": [{"type": "text", "text": sum.to_string()}],
                "structuredContent": {"sum": sum},
            })
        }
        _ => {
            let error = json!({"code": -32601, "message": "Method not found"});
            return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
        }
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
}
