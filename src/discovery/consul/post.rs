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
pub(crate) struct ConsulPost {
    agent: Agent,
    id: String,
}

impl ConsulPost {
    /// The way to the source's agent.
    pub(crate) async fn open(source: &ConsulSource, id: &str) -> Result<Self, SourceError> {
        Ok(Self { agent: Agent::of(source).await?, id: id.to_owned() })
    }

    /// Registers a server as an instance of the source's service.
    pub(crate) async fn put(
        &mut self,
        source: &ConsulSource,
        record: &Record,
        ttl: Duration,
    ) -> Result<(), SourceError> {
        let body = registration(source, &self.id, record, ttl).to_string();
        let put = self.agent.ask(Method::PUT, "/v1/agent/service/register", body, STEP_TIMEOUT).await?;
        put.success()?;
        Ok(())
    }

    /// Confirms its check.
    pub(crate) async fn beat(&mut self) -> Result<(), SourceError> {
        let path = format!("/v1/agent/check/pass/service:{}", encoded(&self.id));
        self.agent.ask(Method::PUT, &path, String::new(), STEP_TIMEOUT).await?.success()?;
        Ok(())
    }

    /// Takes it away.
    pub(crate) async fn withdraw(&mut self) -> Result<(), SourceError> {
        let path = format!("/v1/agent/service/deregister/{}", encoded(&self.id));
        match self.agent.ask(Method::PUT, &path, String::new(), STEP_TIMEOUT).await?.success() {
            // It was taken away already, or never there.
            Ok(_) | Err(SourceError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
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
