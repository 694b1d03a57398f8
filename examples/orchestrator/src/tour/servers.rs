//! The two servers of the tour: files of a folder, and a database that lives in memory.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use mcp_troupe::testkit::{Script, ScriptedCall, ScriptedServer};
use serde_json::{Value, json};
use tokio::sync::watch;

/// JSON-RPC's code for arguments that cannot be used.
const INVALID_PARAMS: i64 = -32602;

/// Longest file that is read: the tour writes its own, which are shorter.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Serves `file.read` and `directory.list` over a folder, which is filled first.
pub async fn files(root: &Path) -> io::Result<ScriptedServer> {
    for (path, text) in [
        ("documents/test.md", "# Test Document\n\nThis file is read by the tour.\n"),
        ("documents/notes.txt", "Each call is answered once.\n"),
        ("data/config.json", "{\"debug\": false}\n"),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        std::fs::write(path, text)?;
    }
    let (for_files, for_folders) = (root.to_owned(), root.to_owned());
    let read = Script::computed(move |call| match argument(call, "path") {
        Ok(path) => answer(path, read(&for_files, path)),
        Err(refusal) => refusal,
    });
    let list = Script::computed(move |call| match argument(call, "path") {
        Ok(path) => answer(path, list(&for_folders, path)),
        Err(refusal) => refusal,
    });
    let server = ScriptedServer::builder()
        .tool("file.read", read)
        .says("file.read", described("The text of a file below the folder.", "path"))
        .read_only("file.read")
        .tool("directory.list", list)
        .says("directory.list", described("What is in a folder.", "path"))
        .read_only("directory.list");
    Ok(server.start().await)
}

/// Where a path leads, unless that is outside of the folder.
fn below(root: &Path, path: &str) -> io::Result<PathBuf> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if plain { Ok(root.join(path)) } else { Err(io::Error::other("it leads out of the folder")) }
}

fn read(root: &Path, path: &str) -> io::Result<Value> {
    let file = below(root, path)?;
    if std::fs::metadata(&file)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(json!({"path": path, "content": std::fs::read_to_string(file)?}))
}

fn list(root: &Path, path: &str) -> io::Result<Value> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(below(root, path)?)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    let entries: Vec<Value> = names.into_iter().map(|name| json!({"name": name})).collect();
    Ok(json!({"path": path, "entries": entries}))
}

/// A table: its rows in order.
type Table = Vec<Value>;

/// What every connection sees, and what a transaction of one has added.
struct Database {
    tables: BTreeMap<String, Table>,
    /// By the number of the connection. A transaction ends with its connection: none that comes later has its number.
    transactions: HashMap<u64, Vec<(String, Value)>>,
}

/// Serves tables in memory. What is inserted after `transaction.begin` is seen by that connection alone.
pub async fn database() -> ScriptedServer {
    let users = [("alice", "alice@example.com"), ("bob", "bob@example.com"), ("carol", "carol@example.com")];
    let users = users.into_iter().zip(1..);
    let users = users.map(|((name, email), id)| json!({"id": id, "username": name, "email": email}));
    let tables = BTreeMap::from([
        ("order_items".to_owned(), vec![json!({"id": 1, "order": 1, "item": "tea"})]),
        ("orders".to_owned(), vec![json!({"id": 1, "user": 1})]),
        ("users".to_owned(), users.collect()),
    ]);
    let database = Arc::new(watch::Sender::new(Database { tables, transactions: HashMap::new() }));
    let tool = |act: fn(&mut Database, &ScriptedCall) -> Script| {
        let database = database.clone();
        Script::computed(move |call| {
            let mut script = Script::Silence;
            database.send_modify(|database| script = act(database, call));
            script
        })
    };
    ScriptedServer::builder()
        .tool("table.list", tool(Database::list))
        .says("table.list", json!({"description": "The names of all tables."}))
        .read_only("table.list")
        .tool("table.rows", tool(Database::rows))
        .says("table.rows", described("The rows of a table.", "table"))
        .read_only("table.rows")
        .tool("table.count", tool(Database::count))
        .says("table.count", described("How many rows a table has.", "table"))
        .read_only("table.count")
        .tool("table.insert", tool(Database::insert))
        .says("table.insert", described("Adds a row to a table.", "table"))
        .tool("transaction.begin", tool(Database::begin))
        .says("transaction.begin", json!({"description": "Begins a transaction on this connection."}))
        .start()
        .await
}

impl Database {
    fn list(&mut self, _: &ScriptedCall) -> Script {
        let tables: Vec<Value> = self.tables.keys().map(|name| json!({"name": name})).collect();
        reply(&json!({"tables": tables}))
    }

    /// The rows of the table that is asked for, as the caller's connection sees them.
    fn seen(&self, call: &ScriptedCall) -> Result<Table, Script> {
        let name = argument(call, "table")?;
        let Some(rows) = self.tables.get(name) else {
            return Err(refused(format!("there is no table {name}")));
        };
        let own = self.transactions.get(&call.connection).into_iter().flatten();
        let own = own.filter(|(table, _)| table == name).map(|(_, row)| row);
        Ok(rows.iter().chain(own).cloned().collect())
    }

    fn rows(&mut self, call: &ScriptedCall) -> Script {
        self.seen(call).map_or_else(|refusal| refusal, |rows| reply(&json!({"rows": rows})))
    }

    fn count(&mut self, call: &ScriptedCall) -> Script {
        self.seen(call).map_or_else(|refusal| refusal, |rows| reply(&json!({"rows": rows.len()})))
    }

    fn insert(&mut self, call: &ScriptedCall) -> Script {
        let seen = match self.seen(call) {
            Ok(seen) => seen,
            Err(refusal) => return refusal,
        };
        let Some(row) = call.arguments["row"].as_object() else {
            return refused("row: an object is wanted".into());
        };
        let mut row = row.clone();
        row.insert("id".to_owned(), json!(seen.len() + 1));
        let table = call.arguments["table"].as_str().unwrap_or_default();
        match self.transactions.get_mut(&call.connection) {
            Some(added) => added.push((table.to_owned(), row.into())),
            None => self.tables.entry(table.to_owned()).or_default().push(row.into()),
        }
        reply(&json!({"inserted": 1}))
    }

    fn begin(&mut self, call: &ScriptedCall) -> Script {
        self.transactions.entry(call.connection).or_default();
        reply(&json!({"transaction": "begun"}))
    }
}

/// What a definition says of a tool with one argument, a text.
fn described(description: &str, argument: &str) -> Value {
    json!({
        "description": description,
        "inputSchema": {
            "type": "object", "properties": {argument: {"type": "string"}}, "required": [argument],
        },
    })
}

/// An argument that is a text.
fn argument<'c>(call: &'c ScriptedCall, name: &str) -> Result<&'c str, Script> {
    call.arguments[name].as_str().ok_or_else(|| refused(format!("{name}: a text is wanted")))
}

fn answer(path: &str, found: io::Result<Value>) -> Script {
    found.map_or_else(|error| refused(format!("{path}: {error}")), |found| reply(&found))
}

fn refused(message: String) -> Script {
    Script::Error { code: INVALID_PARAMS, message }
}

fn reply(structured: &Value) -> Script {
    let text = structured.to_string();
    Script::Reply(
        json!({"content": [{"type": "text", "text": text}], "structuredContent": structured}).to_string(),
    )
}
