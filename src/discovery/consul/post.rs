//! A server's registration in Consul, held by a check that must be confirmed.

use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};

use super::http::{Agent, STEP_TIMEOUT};
use super::{ConsulSource, OURS, encoded};
use crate::discovery::{Record, SourceError};

/// Consul removes an instance whose check fails for this long, at the soonest.
const DEREGISTER_AFTER_MIN: Duration = Duration::from_secs(60);

/// An instance that is passing for as long as its check is confirmed.
pub struct ConsulPost {
    agent: Agent,
    id: String,
}

impl ConsulPost {
    /// Registers a server as an instance of the source's service, at the source's agent.
    pub async fn put(
        source: &ConsulSource,
        id: &str,
        record: &Record,
        ttl: Duration,
    ) -> Result<Self, SourceError> {
        let agent = Agent::of(source).await?;
        let body = registration(source, id, record, ttl).to_string();
        let put = agent.ask(Method::PUT, "/v1/agent/service/register", body, STEP_TIMEOUT).await?;
        put.success()?;
        Ok(Self { agent, id: id.to_owned() })
    }

    /// Confirms its check.
    pub async fn beat(&mut self) -> Result<(), SourceError> {
        let path = format!("/v1/agent/check/pass/service:{}", encoded(&self.id));
        self.agent.ask(Method::PUT, &path, String::new(), STEP_TIMEOUT).await?.success()?;
        Ok(())
    }

    /// Takes it away.
    pub async fn withdraw(&mut self) -> Result<(), SourceError> {
        let path = format!("/v1/agent/service/deregister/{}", encoded(&self.id));
        self.agent.ask(Method::PUT, &path, String::new(), STEP_TIMEOUT).await?.success()?;
        Ok(())
    }
}

/// The registration of a server: what a record says, in Consul's words.
fn registration(source: &ConsulSource, id: &str, record: &Record, ttl: Duration) -> Value {
    let mut meta: Map<String, Value> =
        record.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
    // All that has no place of its own in Consul.
    if let Ok(Value::Object(said)) = serde_json::to_value(record) {
        for (key, value) in said {
            let text = match value {
                Value::String(text) => text,
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => continue,
            };
            if key != "address" && key != "port" {
                meta.insert(format!("{OURS}{key}"), Value::from(text));
            }
        }
    }
    json!({
        "ID": id,
        "Name": source.service,
        "Address": record.address,
        "Port": record.port,
        "Tags": record.tags.clone().unwrap_or_default(),
        "Meta": meta,
        "Check": {
            "TTL": format!("{}s", ttl.as_secs()),
            "Status": "passing",
            "DeregisterCriticalServiceAfter": format!("{}s", ttl.max(DEREGISTER_AFTER_MIN).as_secs()),
        },
    })
}
