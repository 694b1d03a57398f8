//! Servers in Consul: the instances of a service whose checks pass.
//!
//! Asked by *blocking queries*: a question carries the index of the last answer, and Consul answers when there is a newer one,
//! or after a minute. An index that goes backwards, as after a restart, is forgotten, as Consul's documentation asks.
//!
//! An instance says where it is by its address and port, and what it is by its tags, its weight and those of its `Meta` entries
//! that begin with `mcp-`: each key of a [`Record`] but `url`, `address`, `port`, `tags` and `metadata`, such as `mcp-path`,
//! `mcp-type` or `mcp-priority`. Its other entries are its metadata.
//!
//! To a stranger an agent with access control shows an empty list, which is not believed: see [`SourceError::Doubtful`].

mod http;
mod post;

use std::collections::BTreeMap;
use std::time::Duration;

use ::http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use self::http::{Agent, Response, STEP_TIMEOUT};
use super::record::fitted_id;
use super::{
    Answer, BoxFuture, Next, Record, RecordError, Skipped, Source, SourceError, Template, Tls, Watch,
};
use crate::config::{WEIGHT_MAX, shown, shown_url};
use crate::id::ServerId;

pub(super) use post::ConsulPost;

/// How long Consul may wait for a change: short enough that a connection which died unnoticed is noticed soon.
const WAIT: Duration = Duration::from_secs(60);

/// Consul adds up to a sixteenth of the wait, so that the questions of many do not end as one.
const WAIT_MAX: Duration = Duration::from_secs(64);

/// What marks the `Meta` entries that are ours.
const OURS: &str = "mcp-";

/// A source of servers in Consul.
///
/// ```no_run
/// use mcp_troupe::Troupe;
/// use mcp_troupe::discovery::ConsulSource;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let consul = ConsulSource::new("http://127.0.0.1:8500", "files").datacenter("eu-1").tag("mcp");
/// let troupe = Troupe::builder().source("consul", consul).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConsulSource {
    url: String,
    service: String,
    token: Option<String>,
    datacenter: Option<String>,
    tags: Vec<String>,
    tls: Option<Tls>,
    pub(super) template: Template,
}

impl ConsulSource {
    /// The instances of a service, by the agent at `url`: `http://…` or `https://…`.
    pub fn new(url: impl Into<String>, service: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            service: service.into(),
            token: None,
            datacenter: None,
            tags: Vec::new(),
            tls: None,
            template: Template::default(),
        }
    }

    /// Shows this ACL token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Asks for another datacenter than the agent's.
    #[must_use]
    pub fn datacenter(mut self, name: impl Into<String>) -> Self {
        self.datacenter = Some(name.into());
        self
    }

    /// Only instances with this tag, and with others that were named so.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// How an `https://` agent is reached, unless the authorities that browsers trust suffice.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What is added to each record.
    #[must_use]
    pub fn template(mut self, template: Template) -> Self {
        self.template = template;
        self
    }

    /// The agent's URL as it may be shown.
    fn shown(&self) -> String {
        shown_url(&self.url)
    }

    /// The question after the answer of `index`; 0 for the first.
    fn question(&self, index: u64) -> String {
        let mut path = format!("/v1/health/service/{}?passing=1", encoded(&self.service));
        if index > 0 {
            path.push_str(&format!("&index={index}&wait={}s", WAIT.as_secs()));
        }
        if let Some(datacenter) = &self.datacenter {
            path.push_str(&format!("&dc={}", encoded(datacenter)));
        }
        for tag in &self.tags {
            path.push_str(&format!("&tag={}", encoded(tag)));
        }
        path
    }
}

/// A text as it stands in a path or a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

impl Source for ConsulSource {
    fn watch(&self) -> Box<dyn Watch> {
        Box::new(ConsulWatch { source: self.clone(), agent: None, index: 0 })
    }

    fn place(&self) -> String {
        format!("consul {} {}", self.shown(), self.service)
    }
}

struct ConsulWatch {
    source: ConsulSource,
    agent: Option<Agent>,
    index: u64,
}

impl Watch for ConsulWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Answer, SourceError>> {
        Box::pin(async {
            let agent = match &self.agent {
                Some(agent) => agent.clone(),
                None => self.agent.insert(Agent::of(&self.source).await?).clone(),
            };
            let within = if self.index > 0 { WAIT_MAX.saturating_add(STEP_TIMEOUT) } else { STEP_TIMEOUT };
            let question = self.source.question(self.index);
            let response = agent.ask(Method::GET, &question, String::new(), within).await?.success()?;
            let index = number(&response, "x-consul-index").unwrap_or(0);
            // A smaller one is of another history: the next question begins anew.
            self.index = if index < self.index { 0 } else { index };
            if header(&response, "x-consul-knownleader") == Some("false") {
                return Err(SourceError::Unavailable("the agent knows no leader".to_owned()));
            }
            let written: Vec<&RawValue> = serde_json::from_slice(&response.body)
                .map_err(|error| SourceError::Unintelligible(shown::words(&error)))?;
            if written.is_empty() {
                self.source.empty_is_true(&agent, &response).await?;
            }
            let mut answer = self.source.answer_of(&written)?;
            if filtered(&response) {
                answer.partial = true;
                answer.skipped.push(Skipped {
                    record: self.source.service.clone(),
                    server: None,
                    reason: "the token may not see all instances: those that it saw before stay".to_owned(),
                });
            }
            Ok(answer)
        })
    }
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.get(name)?.to_str().ok()
}

/// Whether instances were left out that the token may not see.
fn filtered(response: &Response) -> bool {
    header(response, "x-consul-results-filtered-by-acls") == Some("true")
}

fn number(response: &Response, name: &str) -> Option<u64> {
    header(response, name)?.parse().ok()
}

/// An instance as the health endpoint tells it; it tells more than is read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: Node,
    service: Service,
}

/// What names an instance of which the rest cannot be read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    node: Node,
    service: NamedService,
}

#[derive(Deserialize)]
struct NamedService {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    weights: Option<Weights>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    #[serde(default)]
    passing: u32,
}

impl Service {
    /// Consul gives each instance a weight of 1 unless it says another.
    fn passing(&self) -> u32 {
        self.weights.as_ref().map_or(1, |weights| weights.passing).max(1)
    }
}

impl ConsulSource {
    /// Whether an empty list means that there is no instance: to who may not see them, they are simply not there.
    async fn empty_is_true(&self, agent: &Agent, response: &Response) -> Result<(), SourceError> {
        if filtered(response) {
            let reason = "the token may not see the instances".to_owned();
            return Err(SourceError::Refused(reason));
        }
        if self.token.is_some() {
            // A wrong one would have been refused.
            return Ok(());
        }
        let own = agent.ask(Method::GET, "/v1/acl/token/self", String::new(), STEP_TIMEOUT).await?;
        match own.status {
            // Without access control there are no tokens.
            ::http::StatusCode::UNAUTHORIZED => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(SourceError::Doubtful(
                "no instance is shown, and none may be shown to who has no token: set one".to_owned(),
            )),
        }
    }

    /// The same of instances as they are written: one that cannot be read costs itself alone. Of one that does not even say which it
    /// is, nobody knows what it takes away.
    fn answer_of(&self, written: &[&RawValue]) -> Result<Answer, SourceError> {
        let (mut instances, mut skipped) = (Vec::with_capacity(written.len()), Vec::new());
        for written in written {
            match serde_json::from_str::<Instance>(written.get()) {
                Ok(instance) => instances.push(instance),
                Err(error) => {
                    let reason = shown::words(&error);
                    let Ok(Named { node, service }) = serde_json::from_str(written.get()) else {
                        return Err(SourceError::Unintelligible(reason));
                    };
                    let id = self.id(&service.id, &node.node);
                    skipped.push(Skipped { server: ServerId::new(&id).ok(), record: id, reason });
                }
            }
        }
        let mut answer = self.answer(instances);
        answer.skipped.append(&mut skipped);
        Ok(answer)
    }

    fn answer(&self, instances: Vec<Instance>) -> Answer {
        let mut answer = Answer::of(
            Vec::<crate::Server>::new(),
            Next::OnChange { within: WAIT_MAX.saturating_add(STEP_TIMEOUT) },
        );
        let heaviest = instances.iter().map(|instance| instance.service.passing()).max().unwrap_or(1);
        for instance in instances {
            let id = self.id(&instance.service.id, &instance.node.node);
            let weight = scaled(instance.service.passing(), heaviest);
            let found = record(instance, weight).and_then(|record| {
                let group = Record { group: Some(fitted_id(&self.service)), ..Record::default() };
                self.template.found_or(&id, record, &group)
            });
            match found {
                Ok(found) => answer.servers.push(found),
                Err(error) => answer.skipped.push(Skipped {
                    server: ServerId::new(&id).ok(),
                    record: id,
                    reason: error.to_string(),
                }),
            }
        }
        answer
    }

    /// The id of an instance: its own. Where it has none but the service's name, which is so on each node, its node's beside.
    fn id(&self, id: &str, node: &str) -> String {
        fitted_id(&if *id == self.service { format!("{id}.{node}") } else { id.to_owned() })
    }
}

/// A weight of Consul's, where the least is 1, as one of ours, where the usual is 100.
fn scaled(weight: u32, heaviest: u32) -> u32 {
    let most = u64::from(heaviest.max(WEIGHT_MAX / 100));
    let weight = u64::from(weight) * u64::from(WEIGHT_MAX) / most;
    u32::try_from(weight).unwrap_or(WEIGHT_MAX).clamp(1, WEIGHT_MAX)
}

/// What an instance says of itself.
fn record(instance: Instance, weight: u32) -> Result<Record, RecordError> {
    let Instance { node, service } = instance;
    let mut said = Map::new();
    let mut metadata = Map::new();
    for (key, value) in service.meta.unwrap_or_default() {
        match key.strip_prefix(OURS) {
            Some("url" | "address" | "port" | "tags" | "metadata") => {
                let reason = "is told by the instance itself".to_owned();
                return Err(RecordError::Unreadable { key, reason });
            }
            Some(ours) => {
                // Consul knows texts alone; a record has numbers and truths as well.
                let typed = match ours {
                    "weight" | "priority" => value.parse::<u32>().ok().map(Value::from),
                    "secure" | "tls" => value.parse::<bool>().ok().map(Value::from),
                    _ => None,
                };
                said.insert(ours.to_owned(), typed.unwrap_or(Value::from(value)));
            }
            None => {
                metadata.insert(key, Value::from(value));
            }
        }
    }
    said.entry("weight").or_insert(Value::from(weight));
    let address = if service.address.is_empty() { node.address } else { service.address };
    said.insert("address".to_owned(), Value::from(address));
    said.insert("port".to_owned(), Value::from(service.port));
    said.insert("tags".to_owned(), Value::from(service.tags.unwrap_or_default()));
    said.insert("metadata".to_owned(), Value::from(metadata));
    Record::parse(Value::from(said).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Server;

    fn instance(text: &str) -> Instance {
        serde_json::from_str(text).unwrap()
    }

    fn found(source: &ConsulSource, text: &str) -> Result<Server, String> {
        let mut answer = source.answer(vec![instance(text)]);
        match answer.skipped.pop() {
            Some(skipped) => Err(format!("{}: {}", skipped.record, skipped.reason)),
            None => Ok(answer.servers.remove(0).server),
        }
    }

    #[test]
    fn an_instance_says_what_it_is_by_tags_weight_and_meta() {
        let source = ConsulSource::new("http://h", "files");
        let text = r#"{"Node":{"Node":"n1","Address":"10.0.0.1","More":1},"Service":{"ID":"files-1","Address":"","Port":3000,
            "Tags":["eu"],"Meta":{"mcp-path":"/mcp","mcp-secure":"true","mcp-priority":"7","version":"1.4"},
            "Weights":{"Passing":3,"Warning":1}},"Checks":[]}"#;
        let expected = Server::websocket("files-1", "wss://10.0.0.1:3000/mcp").group("files").tag("eu");
        assert_eq!(
            found(&source, text).unwrap(),
            expected.weight(300).priority(7).metadata("version", "1.4")
        );
    }

    #[test]
    fn an_instance_that_is_called_as_its_service_is_called_by_its_node_as_well() {
        let source = ConsulSource::new("http://h", "files");
        let text = r#"{"Node":{"Node":"n1","Address":"10.0.0.1"},"Service":{"ID":"files","Port":1,"Tags":null,"Meta":null}}"#;
        assert_eq!(found(&source, text).unwrap().id(), "files.n1");
    }

    #[test]
    fn a_mistake_names_the_instance_and_the_key() {
        let source = ConsulSource::new("http://h", "files");
        for (meta, says) in [
            (r#"{"mcp-wieght":"1"}"#, "f: wieght: unknown field"),
            (r#"{"mcp-weight":"heavy"}"#, "f: weight: invalid type"),
            (r#"{"mcp-url":"ws://h"}"#, "f: mcp-url: is told by the instance itself"),
        ] {
            let text = format!(
                r#"{{"Node":{{"Node":"n","Address":"h"}},"Service":{{"ID":"f","Port":1,"Meta":{meta}}}}}"#
            );
            let mistake = found(&source, &text).unwrap_err();
            assert!(mistake.starts_with(says), "{mistake}");
        }
    }

    #[test]
    fn the_usual_weight_of_consul_is_the_usual_weight_here() {
        assert_eq!((scaled(1, 1), scaled(10, 10), scaled(1, 100), scaled(100, 100)), (100, 1000, 10, 1000));
    }

    #[test]
    fn a_name_with_special_characters_stays_one_name() {
        let source = ConsulSource::new("http://h", "a b/c").datacenter("x&y").tag("é");
        assert_eq!(source.question(0), "/v1/health/service/a%20b%2Fc?passing=1&dc=x%26y&tag=%C3%A9");
        assert!(source.question(7).contains("&index=7&wait=60s"));
    }

    #[tokio::test]
    async fn one_instance_with_an_odd_port_costs_itself_alone() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let instance = |id: &str, port: i64| {
            format!(
                r#"{{"Node":{{"Node":"n","Address":"10.0.0.1"}},"Service":{{"ID":"{id}","Port":{port}}}}}"#
            )
        };
        let body = format!("[{},{}]", instance("good", 3000), instance("odd", 70000));
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut piece = [0; 4096];
            let _ = stream.read(&mut piece).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\nx-consul-index: 7\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.read(&mut piece).await;
        });
        let mut watch = ConsulSource::new(url, "files").watch();
        let answer = watch.next().await.map_err(|error| error.to_string());
        let answer = answer.expect("the good one is told");
        assert_eq!(answer.servers.iter().map(|found| found.server.id()).collect::<Vec<_>>(), ["good"]);
        assert_eq!(answer.skipped.len(), 1);
    }
}
