//! One database session: a thread that owns a SQLite connection and does one thing after the other.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, params_from_iter};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::refusal::Refusal;
use super::{Action, Config, SchemaKind};

/// How long a statement waits for another session's write.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// How long a statement that changes data may run.
const EXECUTE_TIMEOUT: Duration = Duration::from_secs(30);

/// Steps of SQLite's machine between two looks at the clock: some microseconds.
const STEPS_PER_LOOK: i32 = 1_000;

type Job = Box<dyn FnOnce(&mut Engine) + Send>;

/// The way to a session. When it goes, the session ends, and an open transaction rolls back.
pub struct Session {
    jobs: Sender<Job>,
}

impl Session {
    /// Opens a session on a thread of its own; what fails is told by the first call.
    pub fn open(config: Arc<Config>) -> Self {
        let (jobs, queue) = channel();
        std::thread::spawn(move || Engine { config, connection: None, begun: None }.work(&queue));
        Self { jobs }
    }

    /// Does something in the session.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Engine) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (port, answer) = oneshot::channel();
        let gone = || Refusal::internal("the database session has ended");
        let job: Job = Box::new(move |engine| {
            // A caller who has left needs no answer.
            let _ = port.send(job(engine));
        });
        self.jobs.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// What a query brought.
pub struct Rows {
    pub rows: Vec<Map<String, Value>>,
    /// There are more than the limit.
    pub more: bool,
    pub duration_ms: u64,
}

/// The session's state.
pub struct Engine {
    config: Arc<Config>,
    connection: Option<Connection>,
    /// When the open transaction was begun.
    begun: Option<Instant>,
}

impl Engine {
    /// Does jobs until nobody can send any. A transaction that is unused for too long is rolled back.
    fn work(mut self, jobs: &Receiver<Job>) {
        loop {
            let next = match self.begun {
                Some(_) => jobs.recv_timeout(self.config.transaction_idle),
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(job) => job(&mut self),
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!("an idle transaction was rolled back");
                    // Closing the connection rolls back too.
                    if self.transaction(Action::Rollback).is_err() {
                        (self.connection, self.begun) = (None, None);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, Refusal> {
        if self.connection.is_none() {
            let flags = if self.config.read_only {
                OpenFlags::SQLITE_OPEN_READ_ONLY
            } else {
                OpenFlags::SQLITE_OPEN_READ_WRITE
            };
            let opened =
                Connection::open_with_flags(&self.config.file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
            let opened =
                opened.and_then(|connection| connection.busy_timeout(BUSY_WAIT).map(|()| connection));
            self.connection = Some(opened.map_err(|error| refuse(&error))?);
        }
        self.connection.as_mut().ok_or_else(|| Refusal::internal("no connection"))
    }

    /// Runs a query with writing switched off in the database itself, for at most `timeout`.
    pub fn query(
        &mut self,
        query: &str,
        values: &[Value],
        limit: usize,
        timeout: Duration,
    ) -> Result<Rows, Refusal> {
        let begun = Instant::now();
        let connection = self.connection()?;
        switch_writing(connection, false)?;
        let rows = timed(connection, timeout, |connection| {
            let mut statement = connection.prepare(query)?;
            if !statement.readonly() {
                return Ok(Err(Refusal::new("READ_ONLY_VIOLATION", "the query would change data")));
            }
            let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let mut found = statement.query(params_from_iter(values.iter().map(Bound)))?;
            let mut rows = Vec::new();
            while let Some(row) = found.next()? {
                if rows.len() == limit {
                    return Ok(Ok((rows, true)));
                }
                let mut object = Map::with_capacity(names.len());
                for (index, name) in names.iter().enumerate() {
                    object.insert(name.clone(), value_of(row.get_ref(index)?));
                }
                rows.push(object);
            }
            Ok(Ok((rows, false)))
        });
        switch_writing(connection, true)?;
        let (rows, more) = rows??;
        Ok(Rows { rows, more, duration_ms: since(begun) })
    }

    /// Runs a statement that changes data. Returns how many rows it changed.
    pub fn execute(&mut self, query: &str, values: &[Value]) -> Result<usize, Refusal> {
        let connection = self.connection()?;
        timed(connection, EXECUTE_TIMEOUT, |connection| {
            connection.execute(query, params_from_iter(values.iter().map(Bound)))
        })
    }

    /// Begins or ends the transaction. Returns how long it was open, in ms.
    pub fn transaction(&mut self, action: Action) -> Result<u64, Refusal> {
        let open = self.begun;
        let statement = match (action, open) {
            (Action::Begin, Some(_)) => {
                return Err(Refusal::new("TRANSACTION_OPEN", "Transaction already in progress"));
            }
            (Action::Commit | Action::Rollback, None) => {
                return Err(Refusal::new("NO_TRANSACTION", "No active transaction"));
            }
            (Action::Begin, None) => "BEGIN",
            (Action::Commit, Some(_)) => "COMMIT",
            (Action::Rollback, Some(_)) => "ROLLBACK",
        };
        self.connection()?.execute_batch(statement).map_err(|error| refuse(&error))?;
        self.begun = (action == Action::Begin).then(Instant::now);
        Ok(open.map_or(0, since))
    }

    /// Tells tables, columns or indexes.
    pub fn schema(&mut self, kind: SchemaKind, table: Option<&str>) -> Result<Value, Refusal> {
        let needed = || {
            let message = format!("Table name required for {} query", kind.name());
            Refusal::new("INVALID_PARAMETERS", message)
        };
        let (query, values) = match kind {
            SchemaKind::Tables => (
                "SELECT name AS table_name, CASE type WHEN 'view' THEN 'VIEW' ELSE 'BASE TABLE' END AS table_type \
                 FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name",
                vec![],
            ),
            SchemaKind::Columns => (
                "SELECT name AS column_name, type AS data_type, \
                 CASE \"notnull\" WHEN 0 THEN 'YES' ELSE 'NO' END AS is_nullable, dflt_value AS column_default \
                 FROM pragma_table_info(?) ORDER BY cid",
                vec![json!(table.ok_or_else(needed)?)],
            ),
            SchemaKind::Indexes => (
                "SELECT name AS index_name, coalesce(sql, '') AS index_definition \
                 FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? ORDER BY name",
                vec![json!(table.ok_or_else(needed)?)],
            ),
        };
        let found = self.query(query, &values, 10_000, EXECUTE_TIMEOUT)?;
        if kind == SchemaKind::Columns && found.rows.is_empty() {
            let message = format!("no table {}", table.unwrap_or_default());
            return Err(Refusal::new("TABLE_NOT_FOUND", message));
        }
        Ok(json!(found.rows))
    }
}

/// Lets the database itself refuse or allow writes.
fn switch_writing(connection: &Connection, on: bool) -> Result<(), Refusal> {
    connection.pragma_update(None, "query_only", !on).map_err(|error| refuse(&error))
}

/// Runs `work` and stops it in the database when its time is over.
fn timed<T>(
    connection: &mut Connection,
    timeout: Duration,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, Refusal> {
    let until = Instant::now() + timeout;
    let watch = move || Instant::now() >= until;
    connection.progress_handler(STEPS_PER_LOOK, Some(watch)).map_err(|error| refuse(&error))?;
    let done = work(connection);
    connection.progress_handler(0, None::<fn() -> bool>).map_err(|error| refuse(&error))?;
    done.map_err(|error| refuse(&error))
}

fn since(begun: Instant) -> u64 {
    u64::try_from(Instant::now().saturating_duration_since(begun).as_millis()).unwrap_or(u64::MAX)
}

/// What an error of the database means to the caller.
fn refuse(error: &rusqlite::Error) -> Refusal {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => Refusal::timeout("Query timeout"),
        Some(ErrorCode::ReadOnly) => Refusal::new("READ_ONLY_VIOLATION", "the statement would change data"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Refusal::internal("the database is busy with another transaction")
        }
        Some(ErrorCode::CannotOpen) => Refusal::internal("the database cannot be opened"),
        // A mistake in the statement: the database's own words name it.
        _ => Refusal::new("QUERY_FAILED", error.to_string()),
    }
}

/// A JSON value as a bound parameter.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self.0 {
            Value::Null => SqlValue::Null,
            Value::Bool(value) => SqlValue::Integer(i64::from(*value)),
            Value::Number(value) => match value.as_i64() {
                Some(value) => SqlValue::Integer(value),
                None => SqlValue::Real(value.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(value) => SqlValue::Text(value.clone()),
            other @ (Value::Array(_) | Value::Object(_)) => SqlValue::Text(other.to_string()),
        };
        Ok(ToSqlOutput::Owned(value))
    }
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => json!(value),
        ValueRef::Real(value) => json!(value),
        ValueRef::Text(value) => json!(String::from_utf8_lossy(value)),
        ValueRef::Blob(value) => json!(data_encoding::BASE64.encode(value)),
    }
}

/// Makes the demo database, in a file that does not exist yet.
pub fn create_demo(file: &Path) -> rusqlite::Result<()> {
    // With a write-ahead log readers do not wait for writers.
    Connection::open(file)?.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT NOT NULL UNIQUE, email TEXT NOT NULL UNIQUE,
             created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
         CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL NOT NULL,
             stock INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
         CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users (id),
             total REAL NOT NULL, status TEXT NOT NULL DEFAULT 'pending',
             created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
         CREATE TABLE order_items (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id),
             product_id INTEGER NOT NULL REFERENCES products (id), quantity INTEGER NOT NULL, price REAL NOT NULL);
         CREATE INDEX orders_by_user ON orders (user_id);
         INSERT INTO users (username, email) VALUES
             ('alice', 'alice@example.com'), ('bob', 'bob@example.com'), ('charlie', 'charlie@example.com');
         INSERT INTO products (name, price, stock) VALUES
             ('Laptop', 999.99, 15), ('Mouse', 29.99, 100), ('Keyboard', 79.99, 50), ('Monitor', 299.99, 25);
         INSERT INTO orders (user_id, total, status) VALUES
             (1, 1079.97, 'completed'), (2, 329.98, 'processing'), (1, 29.99, 'pending');
         INSERT INTO order_items (order_id, product_id, quantity, price) VALUES
             (1, 1, 1, 999.99), (1, 3, 1, 79.98), (2, 2, 1, 29.99), (2, 4, 1, 299.99), (3, 2, 1, 29.99);",
    )
}
