//! A gateway to a SQL database, embedded SQLite.
//!
//! Every connection has a database session of its own, so a transaction belongs to the connection that began it and
//! rolls back when that goes. What a statement may do is judged twice: by its parse tree, and by the database itself,
//! which runs queries with writing switched off. Whether a transaction is open is the database's word as well.

mod engine;
mod rows;
mod transaction;
mod validator;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::refusal::Refusal;
use super::{params, weight};
pub use engine::create_demo;
use engine::{ROWS_MAX, Session, ms_since};
use rows::Rows;
pub use validator::Limits;

/// What the gateway serves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database file.
    pub file: std::path::PathBuf,
    /// Names under which callers know the database.
    pub names: Vec<String>,
    /// Nothing is written.
    pub read_only: bool,
    /// What statements may do.
    pub limits: Limits,
    /// A transaction that is unused this long is rolled back: 60 s.
    pub transaction_idle: Duration,
    /// How long a statement that changes data may run: 30 s.
    pub execute_timeout: Duration,
}

impl Config {
    /// A gateway to `file` under the names `sqlite` and `postgresql`, the latter since the demo asks for it.
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            names: vec!["sqlite".to_owned(), "postgresql".to_owned()],
            read_only: false,
            limits: Limits::default(),
            transaction_idle: Duration::from_secs(60),
            execute_timeout: Duration::from_secs(30),
        }
    }
}

/// The gateway as one connection sees it.
pub struct DatabaseServer {
    config: Arc<Config>,
    session: Session,
}

impl DatabaseServer {
    /// A session of its own for a new connection.
    pub fn new(config: Arc<Config>) -> Self {
        Self { session: Session::open(config.clone()), config }
    }

    async fn run(&self, request: CallToolRequestParams) -> Result<Value, Refusal> {
        let CallToolRequestParams { name, arguments, .. } = request;
        match name.as_ref() {
            "database.query" => self.query(arguments).await,
            "database.execute" => self.execute(arguments).await,
            "database.transaction" => self.transaction(arguments).await,
            "database.schema" => self.schema(arguments).await,
            unknown => Err(Refusal::new("TOOL_NOT_FOUND", format!("unknown tool {unknown}"))),
        }
    }

    fn known(&self, connection: &str) -> Result<(), Refusal> {
        params::length("connection", connection, 1, 50)?;
        if self.config.names.iter().any(|name| name == connection) {
            return Ok(());
        }
        let known = self.config.names.join(", ");
        Err(Refusal::new(
            "CONNECTION_NOT_FOUND",
            format!("Connection not found: {connection}; there are {known}"),
        ))
    }

    async fn query(&self, arguments: Option<Map<String, Value>>) -> Result<Value, Refusal> {
        let QueryParams { connection, query, params, limit, timeout, .. } = params::read(arguments)?;
        self.known(&connection)?;
        params::range("limit", limit, 1, ROWS_MAX as u64)?;
        params::range("timeout", timeout, 1_000, 300_000)?;
        let judged = validator::judge(&query, &self.config.limits, self.config.read_only)?;
        if judged.operation != "SELECT" {
            let message = "Only SELECT queries are allowed with database.query tool";
            return Err(Refusal::new("OPERATION_NOT_ALLOWED", message));
        }
        let timeout = Duration::from_millis(timeout);
        let (text, begun) = (query.clone(), Instant::now());
        let found =
            self.session.run(move |engine| engine.query(&text, &params, limit as usize, timeout)).await?;
        let mut result = listed("rows", found);
        result["rowCount"] = json!(result["rows"].as_array().map_or(0, Vec::len));
        result["metadata"] = json!({
            "query": query, "duration": ms_since(begun), "connection": connection,
            "tables": judged.tables, "warnings": judged.warnings
        });
        Ok(result)
    }

    async fn execute(&self, arguments: Option<Map<String, Value>>) -> Result<Value, Refusal> {
        let ExecuteParams { connection, query, params } = params::read(arguments)?;
        self.known(&connection)?;
        let judged = validator::judge(&query, &self.config.limits, self.config.read_only)?;
        if judged.operation == "SELECT" {
            let message = "Use database.query tool for SELECT queries";
            return Err(Refusal::new("OPERATION_NOT_ALLOWED", message));
        }
        let (changed, returned) = self.session.run(move |engine| engine.execute(&query, &params)).await?;
        let mut result = listed("rows", returned);
        result["rowCount"] = json!(changed);
        result["metadata"] =
            json!({"operation": judged.operation, "tables": judged.tables, "warnings": judged.warnings});
        Ok(result)
    }

    async fn transaction(&self, arguments: Option<Map<String, Value>>) -> Result<Value, Refusal> {
        let TransactionParams { connection, action } = params::read(arguments)?;
        self.known(&connection)?;
        let done = self.session.run(move |engine| engine.transaction(action)).await?;
        let mut result = match action {
            Action::Begin => json!({"status": "begun", "connection": connection}),
            Action::Commit => json!({"status": "committed", "duration": done.open_ms}),
            Action::Rollback => json!({"status": "rolled_back", "duration": done.open_ms}),
        };
        if let Some(why) = done.lost {
            result["lost"] =
                json!(format!("the transaction before was rolled back with all its changes: {why}"));
        }
        Ok(result)
    }

    async fn schema(&self, arguments: Option<Map<String, Value>>) -> Result<Value, Refusal> {
        let SchemaParams { connection, kind, table } = params::read(arguments)?;
        self.known(&connection)?;
        if let Some(table) = &table {
            params::length("table", table, 1, 1_000)?;
        }
        let asked = table.clone();
        let found = self.session.run(move |engine| engine.schema(kind, asked.as_deref())).await?;
        let mut result = listed("data", found);
        result["type"] = json!(kind.name());
        result["table"] = json!(table);
        Ok(result)
    }
}

/// Rows under their key, and whether there are more.
fn listed(key: &str, found: Rows) -> Value {
    let mut result = json!({key: found.rows, "truncated": found.cut.is_some()});
    if let Some(cut) = found.cut {
        result["advice"] = json!(cut.advice());
    }
    result
}

fn thousand() -> u64 {
    1_000
}

fn thirty_seconds() -> u64 {
    30_000
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryParams {
    connection: String,
    query: String,
    #[serde(default)]
    params: Vec<Value>,
    #[serde(default = "thousand")]
    limit: u64,
    /// Accepted for callers that send it; rows come in one piece.
    #[serde(default, rename = "stream")]
    _stream: bool,
    #[serde(default = "thirty_seconds")]
    timeout: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecuteParams {
    connection: String,
    query: String,
    #[serde(default)]
    params: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransactionParams {
    connection: String,
    action: Action,
}

/// What is done with a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Begins one.
    Begin,
    /// Keeps what was written.
    Commit,
    /// Takes back what was written.
    Rollback,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaParams {
    connection: String,
    #[serde(rename = "type")]
    kind: SchemaKind,
    table: Option<String>,
}

/// What of a schema is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaKind {
    /// The tables.
    Tables,
    /// The columns of one table.
    Columns,
    /// The indexes of one table.
    Indexes,
}

impl SchemaKind {
    fn name(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Columns => "columns",
            Self::Indexes => "indexes",
        }
    }
}

impl ServerHandler for DatabaseServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("database", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(descriptions()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        weight::answer(self.run(request).await?)
    }
}

fn descriptions() -> Vec<Tool> {
    let connection = json!({"type": "string", "minLength": 1, "maxLength": 50});
    let query = json!({"type": "string", "minLength": 1, "maxLength": 10_000});
    let values =
        json!({"type": "array", "default": [], "items": {"type": ["string", "number", "boolean", "null"]}});
    let tool = |name: &'static str,
                description: &'static str,
                properties: Value,
                required: Value,
                reads: bool| {
        let schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        let schema = schema.as_object().cloned().unwrap_or_default();
        Tool::new(name, description, schema)
            .annotate(ToolAnnotations::new().read_only(reads).destructive(!reads))
    };
    vec![
        tool(
            "database.query",
            "Runs a SELECT. What does not fit into one message is left out, and the result says so and how to ask for it",
            json!({
                "connection": connection, "query": query, "params": values,
                "limit": {"type": "integer", "minimum": 1, "maximum": ROWS_MAX, "default": 1_000},
                "stream": {"type": "boolean", "default": false},
                "timeout": {"type": "integer", "minimum": 1_000, "maximum": 300_000, "default": 30_000, "description": "ms"}
            }),
            json!(["connection", "query"]),
            true,
        ),
        tool(
            "database.execute",
            "Runs a statement that changes data. One that ends the open transaction says so; no other is taken then until \
             the transaction is rolled back or begun anew",
            json!({"connection": connection, "query": query, "params": values}),
            json!(["connection", "query"]),
            false,
        ),
        tool(
            "database.transaction",
            "Begins, commits or rolls back the transaction of this connection",
            json!({"connection": connection, "action": {"enum": ["begin", "commit", "rollback"]}}),
            json!(["connection", "action"]),
            false,
        ),
        tool(
            "database.schema",
            "Tells tables, columns or indexes",
            json!({
                "connection": connection, "type": {"enum": ["tables", "columns", "indexes"]},
                "table": {"type": "string", "minLength": 1, "maxLength": 1_000, "description": "needed for columns and indexes"}
            }),
            json!(["connection", "type"]),
            true,
        ),
    ]
}
