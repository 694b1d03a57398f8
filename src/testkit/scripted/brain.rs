//! What a scripted server says over one connection, whatever carries it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, FuturesUnordered, SelectAll};
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::telling::Telling;
use super::{Guest, Observed, Plan, Script, ScriptedEra, Step};
use crate::config::Dialect;
use crate::transport::BoxFuture;

/// Frames that are answered before the answers are flushed.
const BATCH_MAX: usize = 256;

/// A message of the client's.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    name: Option<String>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    cursor: Option<String>,
    request_id: Option<u64>,
    uri: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<Value>,
    argument: Option<Value>,
    notifications: Option<Value>,
    capabilities: Option<Value>,
    #[serde(borrow, default)]
    input_responses: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request_state: Option<&'a RawValue>,
    #[serde(rename = "_meta", borrow, default)]
    meta: Option<&'a RawValue>,
}

/// The part of `_meta` that is read.
#[derive(Deserialize, Default)]
struct Meta {
    /// The number that an answer checker gave the call.
    #[serde(rename = "mcp-troupe/check")]
    check: Option<u64>,
    #[serde(rename = "progressToken")]
    progress_token: Option<Value>,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<Value>,
    #[serde(rename = "io.modelcontextprotocol/logLevel")]
    log_level: Option<String>,
}

/// What follows a message.
pub(super) enum Act {
    Say(String),
    /// Says this later.
    Later(BoxFuture<'static, Vec<String>>),
    /// Does one after the other as they come; none of them is another such.
    InTurn(BoxStream<'static, Act>),
    /// A legacy client wants to be told of a resource, or no longer.
    Subscribe {
        uri: String,
        wanted: bool,
    },
    /// A modern client wants to be told of changes, for as long as its request is open.
    Listen {
        id: Value,
        resources: BTreeSet<String>,
    },
    Cut,
    /// Says a part of this, then drops the connection.
    Break(String),
    /// Says this, over HTTP with this status.
    Status(u16, String),
}

/// Serves until the client leaves, or the plan cuts the connection.
pub(super) async fn serve(
    incoming: impl Stream<Item = Bytes>,
    outgoing: impl Sink<Bytes>,
    mut plan: watch::Receiver<Plan>,
    guest: Guest,
) {
    let (mut incoming, mut outgoing) = (pin!(incoming), pin!(outgoing));
    let home = guest.home();
    let (epoch, mut telling, dialect) = {
        let plan = plan.borrow_and_update();
        (plan.epoch, Telling::new(&plan), plan.dialect)
    };
    if dialect == Dialect::ToolExecute {
        let welcome =
            json!({"jsonrpc": "2.0", "id": null, "result": {"version": "1.0.0", "capabilities": []}});
        if outgoing.send(welcome.to_string().into()).await.is_err() {
            return;
        }
    }
    let seen = plan.clone();
    let (mut later, mut in_turn) = (FuturesUnordered::new(), SelectAll::new());
    loop {
        tokio::select! { biased;
            changed = plan.changed() => {
                if changed.is_err() || plan.borrow_and_update().epoch != epoch {
                    return;
                }
                let news = telling.news(&plan.borrow());
                for told in news {
                    if outgoing.send(told.into()).await.is_err() {
                        return;
                    }
                }
            }
            said = later.next(), if !later.is_empty() => {
                let said: Vec<String> = said.unwrap_or_default();
                for text in said {
                    if outgoing.feed(text.into()).await.is_err() {
                        return;
                    }
                }
                if outgoing.flush().await.is_err() {
                    return;
                }
            }
            acts = next_acts(&mut incoming, &mut in_turn, &seen, &guest, &home) => {
                let Some(acts) = acts else { return };
                for act in acts {
                    match act {
                        Act::Say(text) | Act::Status(_, text) => {
                            if outgoing.feed(text.into()).await.is_err() {
                                return;
                            }
                        }
                        Act::Later(said) => later.push(said),
                        Act::InTurn(acts) => in_turn.push(acts),
                        Act::Subscribe { uri, wanted } => telling.subscribe(uri, wanted),
                        Act::Listen { id, resources } => {
                            let acknowledged = telling.listen(id, resources);
                            if outgoing.feed(acknowledged.into()).await.is_err() {
                                return;
                            }
                        }
                        Act::Cut => return,
                        Act::Break(text) => {
                            guest.break_off();
                            // It is meant to fail half-way.
                            let _ = outgoing.send(text.into()).await;
                            return;
                        }
                    }
                }
                if outgoing.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What is to be done next: what messages call for, else what comes in turn, as much as is there of it: a client says only
/// so much before it waits. `None` when the client has left.
async fn next_acts(
    incoming: &mut (impl Stream<Item = Bytes> + Unpin),
    in_turn: &mut SelectAll<BoxStream<'static, Act>>,
    plan: &watch::Receiver<Plan>,
    guest: &Guest,
    home: &str,
) -> Option<Vec<Act>> {
    let deaf = plan.borrow().deaf;
    tokio::select! { biased;
        frame = incoming.next(), if !deaf => {
            let mut acts = answer(&frame?, plan, guest, Some(home));
            for _ in 1..BATCH_MAX {
                let Some(Some(frame)) = incoming.next().now_or_never() else { break };
                acts.extend(answer(&frame, plan, guest, Some(home)));
            }
            Some(acts)
        }
        act = in_turn.next(), if !in_turn.is_empty() => {
            let mut acts = Vec::from_iter(act);
            for _ in 1..BATCH_MAX {
                let Some(Some(act)) = in_turn.next().now_or_never() else { break };
                acts.push(act);
            }
            Some(acts)
        }
        else => std::future::pending().await,
    }
}

/// Decides what follows one message. What it keeps for its sender is kept under `home`.
pub(super) fn answer(
    frame: &Bytes,
    plan: &watch::Receiver<Plan>,
    guest: &Guest,
    home: Option<&str>,
) -> Vec<Act> {
    let observed = &guest.observed;
    let Ok(asked) = serde_json::from_slice::<Asked<'_>>(frame) else {
        let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "no JSON"}});
        return vec![Act::Say(error.to_string())];
    };
    let Some(method) = asked.method else {
        note_answer(frame, observed);
        return Vec::new();
    };
    let params = asked.params.unwrap_or_default();
    let meta = params.meta.map_or("{}", RawValue::get);
    let read: Meta = serde_json::from_str(meta).unwrap_or_default();
    if let Some(declared) = params.capabilities.as_ref().or(read.capabilities.as_ref()) {
        observed.send_modify(|observed| observed.declared = Some(declared.clone()));
    }
    if method == "notifications/cancelled" {
        observed.send_modify(|observed| observed.cancelled.extend(params.request_id));
    }
    let Some(id) = asked.id.map(RawValue::get) else { return Vec::new() };
    let now = plan.borrow();
    if neglects(&now, observed, &method) {
        return Vec::new();
    }
    match (now.dialect, now.era, method.as_str()) {
        (Dialect::Mcp, ScriptedEra::Modern, "server/discover") => {
            shake_hands(observed, method);
            let mut result = introduction(&now);
            result["resultType"] = "complete".into();
            result["supportedVersions"] = json!(["2026-07-28"]);
            result["_meta"] = json!({"io.modelcontextprotocol/serverInfo": server_info()});
            say(id, result)
        }
        (Dialect::Mcp, ScriptedEra::Legacy, "initialize") => {
            shake_hands(observed, method);
            let mut result = introduction(&now);
            result["protocolVersion"] = "2025-11-25".into();
            result["serverInfo"] = server_info();
            say(id, result)
        }
        (Dialect::Mcp, ScriptedEra::Legacy, "ping") => {
            observed.send_modify(|observed| observed.pings += 1);
            say(id, json!({}))
        }
        (Dialect::Mcp, _, "tools/list") => {
            observed.send_modify(|observed| observed.listings += 1);
            say(id, page(&now, params.cursor.as_deref()))
        }
        (Dialect::Mcp, _, method) if method.starts_with("resources/") || method.starts_with("prompts/") => {
            note_request(observed, method);
            offers(&now, method, id, &params, observed)
        }
        (Dialect::Mcp, _, "completion/complete") => {
            note_request(observed, "completion/complete");
            let typed =
                params.argument.as_ref().and_then(|argument| argument["value"].as_str()).unwrap_or_default();
            let name = params.reference.as_ref().map(|reference| [&reference["name"], &reference["uri"]]);
            let name = name.and_then(|names| names.into_iter().find_map(Value::as_str)).unwrap_or_default();
            say(id, json!({"completion": {"values": [format!("{name}:{typed}…")]}}))
        }
        (Dialect::Mcp, ScriptedEra::Modern, "subscriptions/listen") if now.tells => {
            note_request(observed, "subscriptions/listen");
            let wanted = params.notifications.as_ref().map(|wanted| &wanted["resourceSubscriptions"]);
            let uris = wanted.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let resources: BTreeSet<String> = uris.map(str::to_owned).collect();
            observed.send_modify(|observed| observed.subscribed.extend(resources.iter().cloned()));
            vec![Act::Listen { id: serde_json::from_str(id).unwrap_or_default(), resources }]
        }
        (Dialect::ToolExecute, _, "rpc.discover") => {
            shake_hands(observed, method);
            let tools: Vec<&String> = now.tools.keys().collect();
            say(id, json!({"version": "1.0.0", "capabilities": [], "tools": tools}))
        }
        (Dialect::ToolExecute, _, "tool.list") => {
            observed.send_modify(|observed| observed.listings += 1);
            let tools: Vec<Value> = now
                .tools
                .keys()
                .map(|name| json!({"name": name, "description": "", "parameters": []}))
                .collect();
            say(id, json!(tools))
        }
        (Dialect::Mcp, _, "tools/call") | (Dialect::ToolExecute, _, "tool.execute") => {
            let name = params.name.unwrap_or_default();
            let mut before = 0;
            observed.send_modify(|observed| {
                match observed.calls.get_mut(&name) {
                    Some(calls) => {
                        before = *calls;
                        *calls += 1;
                    }
                    None => drop(observed.calls.insert(name.clone(), 1)),
                }
                observed.progress_asked += u64::from(read.progress_token.is_some());
                observed.log_levels.extend(read.log_level);
                if let Some(number) = read.check {
                    observed.executed(number);
                }
            });
            if let (Some(number), Some(ledger)) = (read.check, &now.ledger) {
                ledger.note(number);
            }
            match now.tools.get(&name) {
                Some(script) => {
                    let arguments = params.arguments.map_or("{}", RawValue::get);
                    play(
                        script,
                        &Call {
                            id,
                            name: &name,
                            arguments,
                            meta,
                            before,
                            dialect: now.dialect,
                            connection: guest.number,
                            home,
                            releases: now.releases,
                            progress_token: read.progress_token,
                            responses: params.input_responses.map(RawValue::get),
                            state: params.request_state.map(RawValue::get),
                            observed,
                        },
                        plan,
                    )
                }
                None => vec![Act::Say(error(id, -32602, &format!("unknown tool {name}")))],
            }
        }
        _ => vec![Act::Say(error(id, -32601, &format!("unknown method {method}")))],
    }
}

/// Whether a request of this method is one of those that are left without an answer.
fn neglects(plan: &Plan, observed: &watch::Sender<Observed>, method: &str) -> bool {
    let Some(most) = plan.neglected.get(method) else { return false };
    let so_far = observed.borrow().neglected.get(method).copied().unwrap_or_default();
    let neglected = so_far < *most;
    if neglected {
        observed.send_modify(|observed| *observed.neglected.entry(method.to_owned()).or_default() += 1);
    }
    neglected
}

fn shake_hands(observed: &watch::Sender<Observed>, method: String) {
    observed.send_modify(|observed| observed.handshakes.push(method));
}

fn say(id: &str, result: Value) -> Vec<Act> {
    vec![Act::Say(result_of(id, &result.to_string()))]
}

fn result_of(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn error(id: &str, code: i64, message: &str) -> String {
    let message = Value::from(message);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#)
}

fn note_request(observed: &watch::Sender<Observed>, method: &str) {
    observed.send_modify(|observed| *observed.requests.entry(method.to_owned()).or_default() += 1);
}

/// What it calls itself.
fn server_info() -> Value {
    json!({"name": "scripted", "version": "1"})
}

/// What it says of itself in both eras.
fn introduction(plan: &Plan) -> Value {
    let mut said = json!({"capabilities": capabilities(plan)});
    if let Some(instructions) = &plan.instructions {
        said["instructions"] = instructions.as_str().into();
    }
    said
}

/// What it declares.
fn capabilities(plan: &Plan) -> Value {
    let mut declared = json!({"tools": {}});
    if !(plan.resources.is_empty() && plan.templates.is_empty()) {
        declared["resources"] = json!({"subscribe": plan.tells});
    }
    if !plan.prompts.is_empty() {
        declared["prompts"] = json!({});
    }
    if plan.tells {
        declared["tools"] = json!({"listChanged": true});
    }
    declared
}

/// How the URIs of resources begin that are not listed.
const HIDDEN: &str = "hidden:";

/// Answers a request for or about resources and prompts.
fn offers(
    plan: &Plan,
    method: &str,
    id: &str,
    params: &Params<'_>,
    observed: &watch::Sender<Observed>,
) -> Vec<Act> {
    let fresh = |mut result: Value| {
        if let Some(ttl) = plan.ttl_ms {
            result["ttlMs"] = ttl.into();
            result["cacheScope"] = "public".into();
        }
        say(id, result)
    };
    let uri = params.uri.clone().unwrap_or_default();
    match method {
        "resources/list" => {
            let listed = plan.resources.keys().filter(|uri| !uri.starts_with(HIDDEN));
            let listed: Vec<Value> = listed.map(|uri| json!({"uri": uri, "name": uri})).collect();
            fresh(json!({"resources": listed}))
        }
        "resources/templates/list" => {
            let listed: Vec<Value> = plan
                .templates
                .iter()
                .map(|template| json!({"uriTemplate": template, "name": template}))
                .collect();
            fresh(json!({"resourceTemplates": listed}))
        }
        "resources/read" => match plan.resources.get(&uri) {
            Some(text) => fresh(json!({"resultType": "complete", "contents": [{"uri": uri, "text": text}]})),
            None => vec![Act::Say(error(id, -32602, &format!("no resource {uri}")))],
        },
        "resources/subscribe" | "resources/unsubscribe" if plan.tells => {
            observed.send_modify(|observed| observed.subscribed.extend([uri.clone()]));
            let mut acts = vec![Act::Subscribe { uri, wanted: method == "resources/subscribe" }];
            acts.extend(say(id, json!({})));
            acts
        }
        "prompts/list" => {
            let listed: Vec<Value> = plan.prompts.keys().map(|name| json!({"name": name})).collect();
            fresh(json!({"prompts": listed}))
        }
        "prompts/get" => match plan.prompts.get(params.name.as_deref().unwrap_or_default()) {
            Some(text) => {
                let arguments = params.arguments.map_or("{}", RawValue::get);
                let content = json!({"type": "text", "text": format!("{text} {arguments}")});
                say(id, json!({"resultType": "complete", "messages": [{"role": "user", "content": content}]}))
            }
            None => vec![Act::Say(error(id, -32602, "no such prompt"))],
        },
        _ => vec![Act::Say(error(id, -32601, &format!("unknown method {method}")))],
    }
}

fn page(plan: &Plan, cursor: Option<&str>) -> Value {
    let Plan { tools, page_size, mirrored, said, .. } = plan;
    let from: usize = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
    let to = from.saturating_add(*page_size).min(tools.len());
    let schema = |name: &String| {
        let mut schema = json!({"type": "object"});
        for (header, argument) in mirrored.get(name).into_iter().flatten() {
            let kind = if argument.starts_with("flag") { "boolean" } else { "string" };
            schema["properties"][argument] = json!({"type": kind, "x-mcp-header": header});
        }
        schema
    };
    let listed: Vec<Value> = tools
        .keys()
        .skip(from)
        .take(*page_size)
        .map(|name| {
            let mut definition = json!({"name": name, "inputSchema": schema(name)});
            for (member, value) in said.get(name).into_iter().flatten() {
                definition[member] = value.clone();
            }
            definition
        })
        .collect();
    let mut page = json!({"tools": listed});
    if to < tools.len() {
        page["nextCursor"] = to.to_string().into();
    }
    if let Some(ttl) = plan.ttl_ms {
        page["ttlMs"] = ttl.into();
    }
    page
}

/// One call of a tool.
struct Call<'a> {
    id: &'a str,
    name: &'a str,
    arguments: &'a str,
    meta: &'a str,
    /// Calls of the tool before this one.
    before: u64,
    dialect: Dialect,
    connection: u64,
    /// Under which name something is kept for the caller, if anything is.
    home: Option<&'a str>,
    /// Held answers that were let go before it.
    releases: u64,
    progress_token: Option<Value>,
    /// Answers to what it asked earlier, and what it wanted back.
    responses: Option<&'a str>,
    state: Option<&'a str>,
    observed: &'a watch::Sender<Observed>,
}

impl Call<'_> {
    /// A response with this result, in the dialect's envelope.
    fn respond(&self, result: &str) -> String {
        respond(self.dialect, self.id, self.name, result)
    }
}

fn respond(dialect: Dialect, id: &str, tool: &str, result: &str) -> String {
    match dialect {
        Dialect::Mcp => result_of(id, result),
        Dialect::ToolExecute => {
            let name = Value::from(tool);
            result_of(id, &format!(r#"{{"toolName":{name},"result":{result}}}"#))
        }
    }
}

/// What is kept for the caller; and keeps what it says now, if that is wanted.
fn kept(call: &Call<'_>, keep: bool) -> Option<String> {
    let home = call.home?;
    if !keep {
        return call.observed.borrow().kept.get(home).cloned();
    }
    let mut before = None;
    call.observed.send_modify(|observed| {
        before = observed.kept.insert(home.to_owned(), call.arguments.to_owned());
    });
    before
}

/// A question to the client, with its id.
fn question(call: &Call<'_>, method: &str, params: &str) -> (String, String) {
    let mut number = 0;
    call.observed.send_modify(|observed| {
        observed.questions += 1;
        number = observed.questions;
    });
    let id = format!("question-{number}");
    let asked = format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{params}}}"#);
    (id, asked)
}

/// Keeps what a client answers to a question.
fn note_answer(frame: &Bytes, observed: &watch::Sender<Observed>) {
    let Ok(Value::Object(mut answer)) = serde_json::from_slice(frame) else { return };
    answer.remove("jsonrpc");
    if let Some(id) = answer.remove("id") {
        observed.send_modify(|observed| drop(observed.answers.insert(id.to_string(), answer.into())));
    }
}

fn play(script: &Script, call: &Call<'_>, plan: &watch::Receiver<Plan>) -> Vec<Act> {
    let echo = || {
        let text = Value::from(call.arguments);
        let result = format!(
            r#"{{"resultType":"complete","content":[{{"type":"text","text":{text}}}],"structuredContent":{}}}"#,
            call.arguments
        );
        call.respond(&result)
    };
    match script {
        Script::Echo => vec![Act::Say(echo())],
        Script::Meta => {
            let result = format!(r#"{{"content":[],"structuredContent":{}}}"#, call.meta);
            vec![Act::Say(call.respond(&result))]
        }
        Script::Connection => {
            let result = json!({"content": [], "structuredContent": {"connection": call.connection}});
            vec![Act::Say(call.respond(&result.to_string()))]
        }
        Script::Keep | Script::Kept => {
            let before = kept(call, *script == Script::Keep);
            let before = before.as_deref().unwrap_or("null");
            let result = format!(
                r#"{{"content":[],"structuredContent":{{"now":{},"before":{before}}}}}"#,
                call.arguments
            );
            vec![Act::Say(call.respond(&result))]
        }
        Script::Reply(result) => vec![Act::Say(call.respond(result))],
        Script::Error { code, message } => vec![Act::Say(error(call.id, *code, message))],
        Script::Status { status, code, message } => {
            vec![Act::Status(*status, error(call.id, *code, message))]
        }
        Script::ToolError(text) => {
            let result = json!({"content": [{"type": "text", "text": text}], "isError": true});
            vec![Act::Say(call.respond(&result.to_string()))]
        }
        Script::Silence => Vec::new(),
        Script::WrongId => vec![Act::Say(result_of("999999999", "{}"))],
        Script::NullId => vec![Act::Say(result_of("null", "{}"))],
        Script::Double => vec![Act::Say(echo()), Act::Say(echo())],
        Script::Hollow => vec![Act::Say(format!(r#"{{"jsonrpc":"2.0","id":{}}}"#, call.id))],
        Script::Garbage => vec![Act::Say("{\"jsonrpc\":\"2.0\",".to_owned())],
        Script::Cut => vec![Act::Cut],
        Script::Break => vec![Act::Break(echo())],
        Script::NotifyBefore { method, times, next } => {
            let notification = json!({"jsonrpc": "2.0", "method": method, "params": {}}).to_string();
            let storm = (0..*times).map(|_| Act::Say(notification.clone()));
            storm.chain(play(next, call, plan)).collect()
        }
        Script::ProgressBefore { steps, next } => {
            let progress = (1..=*steps).filter_map(|step| {
                let token = call.progress_token.as_ref()?;
                Some(Act::Say(progress(token, step.into(), Some((*steps).into()), None)))
            });
            progress.chain(play(next, call, plan)).collect()
        }
        Script::Ask { method, params } => {
            let (id, asked) = question(call, method, params);
            let (mut observed, key) = (call.observed.subscribe(), format!("\"{id}\""));
            let (request, tool, dialect) = (call.id.to_owned(), call.name.to_owned(), call.dialect);
            vec![
                Act::Say(asked),
                Act::Later(Box::pin(async move {
                    let answered = observed.wait_for(|observed| observed.answers.contains_key(&key)).await;
                    let answer = answered.ok().and_then(|observed| observed.answers.get(&key).cloned());
                    let result = json!({"content": [], "structuredContent": answer}).to_string();
                    vec![respond(dialect, &request, &tool, &result)]
                })),
            ]
        }
        Script::AskAndTakeBack { method, params } => {
            let (id, asked) = question(call, method, params);
            let back =
                json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
            vec![Act::Say(asked), Act::Say(back.to_string()), Act::Say(echo())]
        }
        Script::AskBack { requests, state } => {
            let result = match call.responses {
                None => {
                    let state =
                        state.as_ref().map(|state| format!(r#","requestState":{state}"#)).unwrap_or_default();
                    format!(r#"{{"resultType":"input_required","inputRequests":{requests}{state}}}"#)
                }
                Some(responses) => {
                    let state = call.state.unwrap_or("null");
                    format!(
                        r#"{{"resultType":"complete","content":[],"structuredContent":{{"responses":{responses},"state":{state}}}}}"#
                    )
                }
            };
            vec![Act::Say(call.respond(&result))]
        }
        Script::Tell { steps, next } => {
            let token = call.progress_token.clone();
            let told = tell(steps.clone(), token, plan.clone(), call.releases);
            vec![Act::InTurn(told.chain(in_turn(play(next, call, plan))).boxed())]
        }
        Script::Sequence(scripts) => {
            let turn =
                usize::try_from(call.before).unwrap_or(usize::MAX).min(scripts.len().saturating_sub(1));
            scripts.get(turn).map(|script| play(script, call, plan)).unwrap_or_default()
        }
        Script::Computed(compute) => play(&compute.script(call.arguments, call.connection), call, plan),
        Script::After(delay, next) => delayed(*delay, play(next, call, plan)),
        Script::Hold => {
            let (mut plan, text, held) = (plan.clone(), echo(), call.releases);
            vec![Act::Later(Box::pin(async move {
                // A plan that is gone lets go of nothing.
                let released = plan.wait_for(|plan| plan.releases > held).await.is_ok();
                if released { vec![text] } else { Vec::new() }
            }))]
        }
    }
}

/// The same acts after a while. Of those only what is said can wait: a cut comes at once.
fn delayed(delay: Duration, acts: Vec<Act>) -> Vec<Act> {
    let (mut texts, mut rest) = (Vec::new(), Vec::new());
    for act in acts {
        match act {
            Act::Say(text) => texts.push(text),
            Act::InTurn(acts) => {
                let pause = stream::once(tokio::time::sleep(delay)).filter_map(async |()| None);
                rest.push(Act::InTurn(pause.chain(acts).boxed()));
            }
            Act::Later(_)
            | Act::Subscribe { .. }
            | Act::Listen { .. }
            | Act::Cut
            | Act::Break(_)
            | Act::Status(..) => rest.push(act),
        }
    }
    if !texts.is_empty() {
        rest.push(Act::Later(Box::pin(async move {
            tokio::time::sleep(delay).await;
            texts
        })));
    }
    rest
}

/// A report of progress.
fn progress(token: &Value, progress: f64, total: Option<f64>, message: Option<String>) -> String {
    let mut params = json!({"progressToken": token, "progress": progress});
    if let Some(total) = total {
        params["total"] = total.into();
    }
    if let Some(message) = message {
        params["message"] = message.into();
    }
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).to_string()
}

/// What the steps of a script say, as it comes.
fn tell(
    steps: Vec<Step>,
    token: Option<Value>,
    plan: watch::Receiver<Plan>,
    releases: u64,
) -> impl Stream<Item = Act> + Send + 'static {
    let mut holds = releases;
    let steps = steps.into_iter().map(move |step| {
        holds += u64::from(step == Step::Hold);
        (step, holds)
    });
    stream::iter(steps).flat_map(move |(step, holds)| one_step(step, token.clone(), plan.clone(), holds))
}

/// What one step says. `holds` is the number of releases that a hold waits for.
fn one_step(
    step: Step,
    token: Option<Value>,
    mut plan: watch::Receiver<Plan>,
    holds: u64,
) -> BoxStream<'static, Act> {
    let say = |text: Option<String>| stream::iter(text.map(Act::Say)).boxed();
    match step {
        Step::Progress { progress: done, total, message } => {
            say(token.map(|token| progress(&token, done, total, message)))
        }
        Step::Flood(times) => {
            let reports = (1..=times)
                .filter_map(move |step| Some(Act::Say(progress(token.as_ref()?, step as f64, None, None))));
            stream::iter(reports).boxed()
        }
        Step::Log { level, data } => {
            let params = json!({"level": level, "data": data});
            say(Some(
                json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}).to_string(),
            ))
        }
        Step::Say(text) => say(Some(text)),
        Step::Pause(delay) => stream::once(tokio::time::sleep(delay)).filter_map(async |()| None).boxed(),
        Step::Hold => stream::once(async move {
            // A plan that is gone lets go of nothing.
            if plan.wait_for(|plan| plan.releases >= holds).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .filter_map(async |()| None)
        .boxed(),
    }
}

/// Acts as they come one after the other.
pub(super) fn in_turn(acts: Vec<Act>) -> BoxStream<'static, Act> {
    let each = |act| match act {
        Act::Later(said) => stream::once(said).map(|said| stream::iter(said).map(Act::Say)).flatten().boxed(),
        Act::InTurn(acts) => acts,
        // Told over the stream for what it says unasked, to all who hold one.
        Act::Subscribe { .. } | Act::Listen { .. } => stream::empty().boxed(),
        // A stream has begun with a status of its own.
        Act::Status(_, text) => stream::iter([Act::Say(text)]).boxed(),
        Act::Say(_) | Act::Cut | Act::Break(_) => stream::iter([act]).boxed(),
    };
    stream::iter(acts).flat_map(each).boxed()
}
