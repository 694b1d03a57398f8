//! What a scripted server tells unasked over one connection: that its tools changed, and resources that were subscribed to.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Plan, ScriptedEra};

/// What one connection has been told, and wants to be told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    announced: u64,
    updates: usize,
    resources: BTreeSet<String>,
    /// It is told of every resource: who subscribed did so over other connections.
    everything: bool,
    /// The open request that asks for it, in the modern era.
    request: Option<Value>,
}

impl Telling {
    /// From now on.
    pub(super) fn new(plan: &Plan) -> Self {
        Self { announced: plan.announcements, updates: plan.updates.len(), ..Self::default() }
    }

    /// The same, and of every resource.
    pub(super) fn everything(plan: &Plan) -> Self {
        Self { everything: true, ..Self::new(plan) }
    }

    /// A legacy client wants to be told of a resource, or no longer.
    pub(super) fn subscribe(&mut self, uri: String, wanted: bool) {
        if wanted {
            self.resources.insert(uri);
        } else {
            self.resources.remove(&uri);
        }
    }

    /// A modern client opens the request `id`. Returns its acknowledgement.
    pub(super) fn listen(&mut self, id: Value, resources: BTreeSet<String>) -> String {
        self.resources = resources;
        self.request = Some(id);
        self.notification("notifications/subscriptions/acknowledged", json!({"notifications": {}}))
    }

    /// What has changed since the last look.
    pub(super) fn news(&mut self, plan: &Plan) -> Vec<String> {
        let mut told = Vec::new();
        if std::mem::replace(&mut self.announced, plan.announcements) != plan.announcements
            && (plan.era == ScriptedEra::Legacy || self.request.is_some() || !plan.tells)
        {
            told.push(self.notification("notifications/tools/list_changed", json!({})));
        }
        for uri in &plan.updates[self.updates..] {
            if self.everything || self.resources.contains(uri) {
                told.push(self.notification("notifications/resources/updated", json!({"uri": uri})));
            }
        }
        self.updates = plan.updates.len();
        told
    }

    fn notification(&self, method: &str, mut params: Value) -> String {
        if let Some(request) = &self.request {
            params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": request});
        }
        json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
    }
}
