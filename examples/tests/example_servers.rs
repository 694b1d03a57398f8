//! The two example servers, over real sockets, with the troupe as their client: each refusal by its code.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "example_servers/limits.rs"]
mod limits;
#[path = "example_servers/transactions.rs"]
mod transactions;
#[path = "example_servers/writing.rs"]
mod writing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{end, kind, program_path, ready};
use mcp_troupe::config::PoolSettings;
use mcp_troupe::{Call, CallErrorKind, EraChoice, RpcError, Server, Troupe};
use serde_json::{Value, json};
use servers::database::{Config, DatabaseServer, create_demo};
use servers::files::{FileServer, Rules, sample_workspace};
use servers::{Running, serve};
use tempfile::TempDir;
use tokio::net::TcpListener;

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A troupe with one connection to one server.
async fn client(running: &Running, era: EraChoice) -> Troupe {
    let mut pool = PoolSettings::default();
    pool.max = 1;
    ready([Server::websocket("s", running.url()).pool(pool).era(era)]).await
}

async fn tool(troupe: &Troupe, name: &str, args: Value) -> Value {
    troupe.call(Call::tool(name).args(args)).await.unwrap().structured().unwrap()
}

/// The code and the name of a refusal.
async fn refusal(troupe: &Troupe, name: &str, args: Value) -> (i64, String) {
    let (error, name) = refused(troupe, name, args).await;
    (error.code, name)
}

/// A refusal and its name.
async fn refused(troupe: &Troupe, name: &str, args: Value) -> (RpcError, String) {
    let CallErrorKind::Rpc(error) = kind(troupe.call(Call::tool(name).args(args)).await) else {
        panic!("no refusal");
    };
    let data: Value = error.data.as_ref().expect("every refusal has a name").parse().unwrap();
    let name = data["code"].as_str().unwrap().to_owned();
    (error, name)
}

struct Files {
    folder: TempDir,
    running: Running,
    troupe: Troupe,
}

impl Files {
    async fn start(rules: Rules) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        sample_workspace(&root).unwrap();
        std::fs::create_dir(root.join("documents-secret")).unwrap();
        std::fs::write(root.join("documents-secret/key.txt"), "secret").unwrap();
        std::fs::write(folder.path().join("outside.txt"), "secret").unwrap();
        let server = FileServer::new(&root, rules).unwrap();
        let running = serve(listener().await, move || server.clone()).unwrap();
        let troupe = client(&running, EraChoice::Auto).await;
        Self { folder, running, troupe }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    async fn refused(&self, name: &str, args: Value) -> String {
        refusal(&self.troupe, name, args).await.1
    }

    async fn end(self) {
        end(self.troupe).await;
        self.running.shutdown().await;
    }
}

#[tokio::test]
async fn a_file_is_read_with_defaults_and_in_every_encoding() {
    let files = Files::start(Rules::default()).await;
    let file = tool(&files.troupe, "file.read", json!({"path": "documents/test.md"})).await;
    assert_eq!((file["content"].as_str(), file["size"].as_u64()), (Some("# Test Document\n"), Some(16)));
    assert!(file["modified"].as_str().unwrap().ends_with('Z'));
    let bytes: Vec<u8> = (0..=255).collect();
    std::fs::write(files.root().join("all.bin"), &bytes).unwrap();
    for encoding in ["base64", "hex", "latin1", "binary"] {
        let file = tool(&files.troupe, "file.read", json!({"path": "all.bin", "encoding": encoding})).await;
        let copy = json!({"path": "copy.bin", "content": file["content"], "encoding": encoding});
        tool(&files.troupe, "file.write", copy).await;
        assert_eq!(std::fs::read(files.root().join("copy.bin")).unwrap(), bytes, "{encoding}");
    }
    assert_eq!(files.refused("file.read", json!({"path": "all.bin"})).await, "INVALID_PARAMETERS");
    files.end().await;
}

/// The SDK's own stdio transport is on the other end.
#[tokio::test]
async fn the_same_server_answers_over_stdio_in_either_era() {
    let folder = tempfile::tempdir().unwrap();
    sample_workspace(folder.path()).unwrap();
    for era in [EraChoice::Modern, EraChoice::Legacy] {
        let program = program_path("files_server");
        let server = Server::stdio("s", program.to_str().unwrap(), ["--stdio", "--root", "."]);
        let troupe = ready([server.cwd(folder.path()).env("FS_READ_ONLY", "true").era(era)]).await;
        let file = tool(&troupe, "file.read", json!({"path": "documents/test.md"})).await;
        assert_eq!(file["content"], "# Test Document\n");
        let write = json!({"path": "new.txt", "content": "x"});
        let (_, name) = refusal(&troupe, "file.write", write).await;
        assert_eq!(name, "READ_ONLY", "the environment did not arrive");
        end(troupe).await;
    }
}

#[tokio::test]
async fn no_path_leads_outside() {
    let rules = Rules { allowed_paths: vec!["documents".into()], ..Rules::default() };
    let files = Files::start(rules).await;
    let documents = files.root().join("documents");
    std::os::unix::fs::symlink(files.folder.path().join("outside.txt"), documents.join("link.txt")).unwrap();
    std::os::unix::fs::symlink("../documents-secret/key.txt", documents.join("sideways.txt")).unwrap();
    std::os::unix::fs::symlink("nowhere", documents.join("dangling")).unwrap();
    for path in [
        "../../../etc/passwd",
        "..\\..\\windows\\system32",
        "documents/../../secret",
        "documents/./../../secret",
        "/etc/passwd",
        "documents-secret/key.txt",
        "documents/link.txt",
        "documents/sideways.txt",
        "config",
    ] {
        assert_eq!(files.refused("file.read", json!({"path": path})).await, "PATH_TRAVERSAL", "{path}");
    }
    let write = json!({"path": "documents/link.txt", "content": "x", "mode": "append"});
    assert_eq!(files.refused("file.write", write).await, "PATH_TRAVERSAL");
    assert_eq!(std::fs::read_to_string(files.folder.path().join("outside.txt")).unwrap(), "secret");
    let listed = tool(&files.troupe, "directory.list", json!({"path": "documents"})).await;
    assert_eq!(listed["entries"].as_array().unwrap().len(), 4, "a dangling link fails no list");
    files.end().await;
}

#[tokio::test]
async fn writing_is_one_step_appending_appends_and_the_hash_is_the_files() {
    let files = Files::start(Rules::default()).await;
    let write = |mode: &str, content: &str| json!({"path": "a/b/c.txt", "content": content, "mode": mode, "createDirectories": true});
    tool(&files.troupe, "file.write", write("overwrite", "ab")).await;
    let written = tool(&files.troupe, "file.write", write("append", "c")).await;
    assert_eq!(std::fs::read_to_string(files.root().join("a/b/c.txt")).unwrap(), "abc");
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!((written["hash"].as_str(), written["size"].as_u64()), (Some(abc), Some(3)));
    assert_eq!(std::fs::read_dir(files.root().join("a/b")).unwrap().count(), 1, "no sibling stays");
    let lost = json!({"path": "x/y.txt", "content": ""});
    assert_eq!(files.refused("file.write", lost).await, "DIRECTORY_NOT_WRITABLE");
    files.end().await;
}

#[tokio::test]
async fn each_rule_of_the_file_server_has_its_code() {
    let rules = Rules {
        file_bytes_max: 8,
        denied_extensions: vec![".sh".into()],
        allowed_extensions: vec![".md".into(), ".sh".into()],
        ..Rules::default()
    };
    let files = Files::start(rules).await;
    let read = |path: &str| json!({"path": path});
    let write = |path: &str, content: &str| json!({"path": path, "content": content});
    assert_eq!(files.refused("file.read", read("documents/test.md")).await, "FILE_TOO_LARGE");
    assert_eq!(files.refused("file.read", read("none.md")).await, "FILE_NOT_FOUND");
    assert_eq!(files.refused("file.read", read("documents")).await, "INVALID_FILE_TYPE");
    assert_eq!(files.refused("file.read", read("")).await, "INVALID_PARAMETERS");
    assert_eq!(files.refused("file.read", json!({})).await, "INVALID_PARAMETERS");
    assert_eq!(files.refused("file.write", write("a.SH", "x")).await, "DENIED_EXTENSION");
    assert_eq!(files.refused("file.write", write("a.exe", "x")).await, "INVALID_EXTENSION");
    assert_eq!(files.refused("file.write", write("a.md", "123456789")).await, "CONTENT_TOO_LARGE");
    assert_eq!(files.refused("directory.list", read("nowhere")).await, "DIRECTORY_NOT_FOUND");
    assert_eq!(files.refused("directory.list", read("documents/test.md")).await, "INVALID_DIRECTORY");
    let deep = json!({"path": ".", "recursive": true, "maxDepth": 11});
    assert_eq!(files.refused("directory.list", deep).await, "INVALID_PARAMETERS");
    let listed = tool(&files.troupe, "directory.list", read("documents")).await;
    assert_eq!(listed["entries"][0]["name"], "test.md", "folders have no extension to check");
    files.end().await;
    let files = Files::start(Rules { read_only: true, ..Rules::default() }).await;
    assert_eq!(files.refused("file.write", write("a.md", "x")).await, "READ_ONLY");
    files.end().await;
}

#[tokio::test]
async fn folders_are_listed_to_their_depth_and_files_found_by_name_and_content() {
    let files = Files::start(Rules::default()).await;
    std::fs::create_dir_all(files.root().join("projects/a/b")).unwrap();
    std::fs::write(files.root().join("projects/a/b/deep.md"), "needle").unwrap();
    std::fs::write(files.root().join("projects/.hidden"), "").unwrap();
    let list = |depth: u64| json!({"path": "projects", "recursive": true, "maxDepth": depth});
    let count = |listed: &Value| listed["entries"].as_array().unwrap().len();
    assert_eq!(count(&tool(&files.troupe, "directory.list", list(1)).await), 1);
    let listed = tool(&files.troupe, "directory.list", list(3)).await;
    assert_eq!((count(&listed), listed["entries"][2]["path"].as_str()), (3, Some("a/b/deep.md")));
    let hidden = json!({"path": "projects", "includeHidden": true});
    assert_eq!(count(&tool(&files.troupe, "directory.list", hidden).await), 2);
    let found =
        tool(&files.troupe, "file.search", json!({"pattern": "*.md", "text": "needle", "maxDepth": 10}))
            .await;
    assert_eq!((count(&found), found["entries"][0]["path"].as_str()), (1, Some("projects/a/b/deep.md")));
    let described = tool(&files.troupe, "file.metadata", json!({"path": "documents/test.md"})).await;
    assert_eq!((described["type"].as_str(), described["size"].as_u64()), (Some("file"), Some(16)));
    files.end().await;
}

struct Database {
    _folder: TempDir,
    running: Running,
}

impl Database {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("demo.db");
        create_demo(&file).unwrap();
        let mut config = Config::new(Path::new(&file));
        change(&mut config);
        let config = Arc::new(config);
        let running = serve(listener().await, move || DatabaseServer::new(config.clone())).unwrap();
        Self { _folder: folder, running }
    }

    async fn client(&self) -> Troupe {
        client(&self.running, EraChoice::Auto).await
    }
}

fn query(text: &str) -> Value {
    json!({"connection": "sqlite", "query": text})
}

async fn users(troupe: &Troupe) -> u64 {
    let counted = tool(troupe, "database.query", query("SELECT count(*) AS n FROM users")).await;
    counted["rows"][0]["n"].as_u64().unwrap()
}

#[tokio::test]
async fn queries_have_their_defaults_limits_and_bound_parameters() {
    let database = Database::start(|_| {}).await;
    let troupe = database.client().await;
    let found = tool(
        &troupe,
        "database.query",
        json!({"connection": "postgresql", "query": "SELECT * FROM users LIMIT 5"}),
    )
    .await;
    assert_eq!((found["rowCount"].as_u64(), found["rows"][0]["username"].as_str()), (Some(3), Some("alice")));
    assert_eq!(found["metadata"]["tables"], json!(["users"]));
    let bound = json!({"connection": "sqlite", "query": "SELECT ? AS a, ? AS b, ? AS c, ? AS d", "params": [1, "x'--", null, true]});
    let found = tool(&troupe, "database.query", bound).await;
    assert_eq!(found["rows"][0], json!({"a": 1, "b": "x'--", "c": null, "d": 1}));
    let capped = json!({"connection": "sqlite", "query": "SELECT * FROM products", "limit": 2});
    let found = tool(&troupe, "database.query", capped).await;
    assert_eq!((found["rowCount"].as_u64(), found["truncated"].as_bool()), (Some(2), Some(true)));
    let schema = |kind: &str| json!({"connection": "sqlite", "type": kind, "table": "orders"});
    let columns = tool(&troupe, "database.schema", schema("columns")).await;
    assert_eq!(columns["data"][3]["column_default"], "'pending'");
    let indexes = tool(&troupe, "database.schema", schema("indexes")).await;
    assert_eq!(indexes["data"][0]["index_name"], "orders_by_user");
    end(troupe).await;
    database.running.shutdown().await;
}

#[tokio::test]
async fn each_refusal_of_the_gateway_has_its_code() {
    let limits = |config: &mut Config| config.limits.denied_tables = vec!["orders".into()];
    let database = Database::start(limits).await;
    let troupe = database.client().await;
    let long = format!("SELECT '{}'", "x".repeat(10_000));
    let joins = "SELECT 1 FROM users a, users b, users c, users d, users e, users f, users g";
    let deep = "SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT 1))))";
    for (tool, text, code) in [
        ("database.query", "DELETE FROM users", "OPERATION_NOT_ALLOWED"),
        ("database.query", "WITH x AS (SELECT 1) DELETE FROM users", "OPERATION_NOT_ALLOWED"),
        ("database.query", "PRAGMA query_only = 0", "OPERATION_DENIED"),
        ("database.query", "SELECT 1; SELECT 2", "PARSE_ERROR"),
        ("database.query", "SELEC 1", "PARSE_ERROR"),
        ("database.query", long.as_str(), "QUERY_TOO_LONG"),
        ("database.query", joins, "TOO_MANY_JOINS"),
        ("database.query", deep, "SUBQUERY_TOO_DEEP"),
        ("database.query", "SELECT * FROM orders", "TABLE_DENIED"),
        ("database.query", "SELECT * FROM nowhere", "QUERY_FAILED"),
        ("database.execute", "SELECT 1", "OPERATION_NOT_ALLOWED"),
        ("database.execute", "DROP TABLE users", "OPERATION_DENIED"),
        ("database.execute", "ATTACH DATABASE 'x' AS y", "OPERATION_DENIED"),
    ] {
        assert_eq!(refusal(&troupe, tool, query(text)).await.1, code, "{text}");
    }
    assert_eq!(users(&troupe).await, 3);
    let unknown = json!({"connection": "mysql", "query": "SELECT 1"});
    assert_eq!(refusal(&troupe, "database.query", unknown).await.1, "CONNECTION_NOT_FOUND");
    let denied = refusal(&troupe, "database.query", query("SELECT * FROM orders")).await.0;
    assert_eq!(denied, -32004);
    let all = tool(&troupe, "database.execute", query("UPDATE products SET stock = 1")).await;
    assert_eq!(
        (all["rowCount"].as_u64(), all["metadata"]["warnings"].as_array().unwrap().len()),
        (Some(4), 1)
    );
    end(troupe).await;
    database.running.shutdown().await;
}

#[tokio::test]
async fn a_query_that_would_run_for_ever_is_cancelled() {
    let database = Database::start(|_| {}).await;
    let troupe = database.client().await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let args = json!({"connection": "sqlite", "query": endless, "timeout": 1000});
    assert_eq!(refusal(&troupe, "database.query", args).await, (-32003, "TIMEOUT".to_owned()));
    assert_eq!(users(&troupe).await, 3, "the session goes on");
    end(troupe).await;
    database.running.shutdown().await;
}

#[tokio::test]
async fn a_transaction_belongs_to_its_connection_and_rolls_back_when_that_goes() {
    let database = Database::start(|_| {}).await;
    let (one, two) = (database.client().await, database.client().await);
    let act = |action: &str| json!({"connection": "sqlite", "action": action});
    let insert = query("INSERT INTO users (username, email) VALUES ('dora', 'dora@example.com')");
    assert_eq!(refusal(&one, "database.transaction", act("commit")).await.1, "NO_TRANSACTION");
    tool(&one, "database.transaction", act("begin")).await;
    assert_eq!(refusal(&one, "database.transaction", act("begin")).await.1, "TRANSACTION_OPEN");
    tool(&one, "database.execute", insert.clone()).await;
    assert_eq!((users(&one).await, users(&two).await), (4, 3));
    end(one).await;
    // The write lock is free again as soon as the lost transaction has rolled back; the write waits for it.
    tool(&two, "database.transaction", act("begin")).await;
    tool(&two, "database.execute", insert).await;
    tool(&two, "database.transaction", act("commit")).await;
    assert_eq!(users(&two).await, 4);
    end(two).await;
    database.running.shutdown().await;
}

#[tokio::test]
async fn an_idle_transaction_is_rolled_back() {
    let database = Database::start(|config| config.transaction_idle = Duration::from_millis(1)).await;
    let troupe = database.client().await;
    let act = |action: &str| json!({"connection": "sqlite", "action": action});
    tool(&troupe, "database.transaction", act("begin")).await;
    // Beginning again succeeds as soon as the idle one is gone.
    while troupe.call(Call::tool("database.transaction").args(act("begin"))).await.is_err() {
        tokio::task::yield_now().await;
    }
    end(troupe).await;
    database.running.shutdown().await;
}

#[tokio::test]
async fn a_read_only_gateway_writes_nothing() {
    let database = Database::start(|config| config.read_only = true).await;
    let troupe = database.client().await;
    assert_eq!(
        refusal(&troupe, "database.execute", query("DELETE FROM users")).await.1,
        "READ_ONLY_VIOLATION"
    );
    assert_eq!(users(&troupe).await, 3);
    end(troupe).await;
    database.running.shutdown().await;
}

#[tokio::test]
async fn servers_on_the_official_sdk_are_spoken_to_in_both_eras() {
    let database = Database::start(|_| {}).await;
    for era in [EraChoice::Modern, EraChoice::Legacy, EraChoice::Auto] {
        let troupe = client(&database.running, era).await;
        assert_eq!(users(&troupe).await, 3, "{era:?}");
        end(troupe).await;
    }
    database.running.shutdown().await;
}
