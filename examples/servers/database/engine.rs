//! One database session: a thread that owns a SQLite connection and does one thing after the other.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::refusal::Refusal;
use super::rows::{self, AtCut, Rows};
use super::transaction::Transaction;
use super::{Action, Config, SchemaKind};

/// How long a statement waits for another session's write.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Bytes of one text, blob or row, whether stored or made by an expression: a statement of some characters can ask for a
/// value of gigabytes. A plain text of this length fits into a message.
const VALUE_BYTES_MAX: i32 = 4 << 20;

/// Rows that one statement may bring.
pub const ROWS_MAX: usize = 10_000;

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
        std::thread::spawn(move || Engine::new(config).work(&queue));
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

/// What was done with a transaction.
pub struct Done {
    /// How long it was open.
    pub open_ms: u64,
    /// What had rolled it back before, if that was not asked for.
    pub lost: Option<String>,
}

/// The session's state.
pub struct Engine {
    config: Arc<Config>,
    connection: Option<Connection>,
    transaction: Transaction,
}

impl Engine {
    fn new(config: Arc<Config>) -> Self {
        Self { config, connection: None, transaction: Transaction::None }
    }

    /// Does jobs until nobody can send any. A transaction that is unused for too long is rolled back.
    fn work(mut self, jobs: &Receiver<Job>) {
        loop {
            let next = match self.transaction {
                Transaction::Open { .. } => jobs.recv_timeout(self.config.transaction_idle),
                Transaction::None | Transaction::RolledBack { .. } => {
                    jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
                }
            };
            match next {
                Ok(job) => job(&mut self),
                Err(RecvTimeoutError::Timeout) => self.abandon(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Rolls back a transaction that nobody uses.
    fn abandon(&mut self) {
        tracing::warn!("an idle transaction was rolled back");
        if self.transaction(Action::Rollback).is_err() {
            // Closing the connection rolls back too.
            self.connection = None;
        }
        let idle = humantime::format_duration(self.config.transaction_idle);
        self.transaction = Transaction::RolledBack { why: format!("nobody used it for {idle}") };
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
            let opened = opened.and_then(|connection| {
                connection.busy_timeout(BUSY_WAIT)?;
                connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
                Ok(connection)
            });
            self.connection = Some(opened.map_err(|error| refuse(&error))?);
        }
        self.connection.as_mut().ok_or_else(|| Refusal::internal("no connection"))
    }

    /// Does something with the database, and asks it afterwards whether a transaction is open.
    fn observed<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let connection = self.connection()?;
        let done = work(connection);
        let autocommit = connection.is_autocommit();
        self.transaction.observe(done, autocommit, Instant::now())
    }

    /// Runs a query with writing switched off in the database itself, for at most `timeout`.
    pub fn query(
        &mut self,
        query: &str,
        values: &[Value],
        limit: usize,
        timeout: Duration,
    ) -> Result<Rows, Refusal> {
        self.transaction.usable()?;
        let found = self.observed(|connection| {
            switch_writing(connection, false)?;
            let found = timed(connection, timeout, |connection| {
                let mut statement = connection.prepare(query)?;
                if !statement.readonly() {
                    return Ok(Err(Refusal::new("READ_ONLY_VIOLATION", "the query would change data")));
                }
                if let Err(refusal) = rows::columns(&statement) {
                    return Ok(Err(refusal));
                }
                rows::gather(&mut statement, values, limit, AtCut::Stop).map(Ok)
            });
            switch_writing(connection, true)?;
            found?
        })?;
        match found.cut {
            Some(cut) if found.rows.is_empty() => {
                let message = format!("not even one row fits: {}", cut.advice());
                Err(Refusal::new("RESULT_TOO_LARGE", message))
            }
            _ => Ok(found),
        }
    }

    /// Runs a statement that changes data. Returns how many rows it changed, and those that it returns itself.
    pub fn execute(&mut self, query: &str, values: &[Value]) -> Result<(u64, Rows), Refusal> {
        self.transaction.usable()?;
        let timeout = self.config.execute_timeout;
        self.observed(|connection| {
            timed(connection, timeout, |connection| {
                let mut statement = connection.prepare(query)?;
                if let Err(refusal) = rows::columns(&statement) {
                    return Ok(Err(refusal));
                }
                let returned = rows::gather(&mut statement, values, ROWS_MAX, AtCut::RunOn)?;
                Ok(Ok((connection.changes(), returned)))
            })?
        })
    }

    /// Begins or ends the transaction.
    pub fn transaction(&mut self, action: Action) -> Result<Done, Refusal> {
        let statement = self.transaction.statement(action)?;
        let before = self.transaction.clone();
        self.observed(|connection| connection.execute_batch(statement).map_err(|error| refuse(&error)))?;
        Ok(match before {
            Transaction::None => Done { open_ms: 0, lost: None },
            Transaction::Open { since } => Done { open_ms: ms_since(since), lost: None },
            Transaction::RolledBack { why } => {
                if action == Action::Rollback {
                    self.transaction = Transaction::None;
                }
                Done { open_ms: 0, lost: Some(why) }
            }
        })
    }

    /// Tells tables, columns or indexes.
    pub fn schema(&mut self, kind: SchemaKind, table: Option<&str>) -> Result<Rows, Refusal> {
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
        let found = self.query(query, &values, ROWS_MAX, self.config.execute_timeout)?;
        if kind == SchemaKind::Columns && found.rows.is_empty() {
            let message = format!("no table {}", table.unwrap_or_default());
            return Err(Refusal::new("TABLE_NOT_FOUND", message));
        }
        Ok(found)
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

pub fn ms_since(begun: Instant) -> u64 {
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
        Some(ErrorCode::TooBig) => {
            let message = format!(
                "a value or a row has more than {VALUE_BYTES_MAX} bytes: length(column) tells how long one is"
            );
            Refusal::new("VALUE_TOO_LARGE", message)
        }
        Some(ErrorCode::CannotOpen) => Refusal::internal("the database cannot be opened"),
        // A mistake in the statement: the database's own words name it.
        _ => Refusal::new("QUERY_FAILED", error.to_string()),
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
