//! What the database gateway says of its transaction is what the database says.

use super::*;

fn act(action: &str) -> Value {
    json!({"connection": "sqlite", "action": action})
}

fn insert(name: &str) -> Value {
    query(&format!("INSERT OR IGNORE INTO users (username, email) VALUES ('{name}', '{name}@example.com')"))
}

/// Statements, queries and a commit are refused, since the transaction is gone.
async fn nothing_goes_on(troupe: &Troupe) {
    for (tool, args) in [
        ("database.execute", insert("eve")),
        ("database.query", query("SELECT * FROM users")),
        ("database.transaction", act("commit")),
    ] {
        let (error, name) = refused(troupe, tool, args).await;
        assert_eq!(name, "TRANSACTION_ROLLED_BACK", "{tool}");
        assert!(error.message.contains("rolled back"), "{tool}: {}", error.message);
    }
}

#[tokio::test]
async fn a_transaction_that_a_statement_rolled_back_takes_no_other_one_until_the_caller_knows() {
    let database = Database::start(|_| {}).await;
    let troupe = database.client().await;
    tool(&troupe, "database.transaction", act("begin")).await;
    tool(&troupe, "database.execute", insert("dora")).await;
    let conflict = "INSERT OR ROLLBACK INTO users (id, username, email) VALUES (1, 'x', 'y')";
    let (error, name) = refused(&troupe, "database.execute", query(conflict)).await;
    assert_eq!(name, "QUERY_FAILED");
    assert!(error.message.contains("rolled back the transaction"), "{}", error.message);
    nothing_goes_on(&troupe).await;
    let ended = tool(&troupe, "database.transaction", act("rollback")).await;
    assert_eq!(ended["status"], "rolled_back");
    assert!(ended["lost"].as_str().unwrap().contains("UNIQUE"), "{ended}");
    assert_eq!(users(&troupe).await, 3, "nothing of it is kept");
    assert_eq!(refusal(&troupe, "database.transaction", act("rollback")).await.1, "NO_TRANSACTION");
    tool(&troupe, "database.execute", insert("eve")).await;
    assert_eq!(users(&troupe).await, 4, "statements commit by themselves again");
    end(troupe).await;
    database.running.shutdown().await;
}

#[tokio::test]
async fn an_interrupted_write_ends_its_transaction_and_says_so() {
    let database = Database::start(|config| config.execute_timeout = Duration::from_millis(100)).await;
    let troupe = database.client().await;
    tool(&troupe, "database.transaction", act("begin")).await;
    tool(&troupe, "database.execute", insert("dora")).await;
    let endless = "INSERT INTO products (name, price) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL \
                   SELECT i + 1 FROM n) SELECT 'x', count(*) FROM n";
    let (error, name) = refused(&troupe, "database.execute", query(endless)).await;
    assert_eq!(name, "TIMEOUT");
    assert!(error.message.contains("rolled back the transaction"), "{}", error.message);
    nothing_goes_on(&troupe).await;
    let begun = tool(&troupe, "database.transaction", act("begin")).await;
    assert!(begun["lost"].as_str().unwrap().contains("timeout"), "{begun}");
    tool(&troupe, "database.execute", insert("eve")).await;
    let committed = tool(&troupe, "database.transaction", act("commit")).await;
    assert_eq!((&committed["status"], committed.get("lost")), (&json!("committed"), None));
    assert_eq!(users(&troupe).await, 4, "what came after it is kept, and nothing of it");
    end(troupe).await;
    database.running.shutdown().await;
}

/// Without a transaction such a write is an error like any other.
#[tokio::test]
async fn an_interrupted_write_outside_a_transaction_ends_none() {
    let database = Database::start(|config| config.execute_timeout = Duration::from_millis(100)).await;
    let troupe = database.client().await;
    let endless = "UPDATE users SET email = (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                   SELECT count(*) FROM n)";
    assert_eq!(refusal(&troupe, "database.execute", query(endless)).await.1, "TIMEOUT");
    tool(&troupe, "database.execute", insert("dora")).await;
    assert_eq!(users(&troupe).await, 4);
    end(troupe).await;
    database.running.shutdown().await;
}

#[tokio::test]
async fn statements_after_an_idle_rollback_are_not_committed_one_by_one() {
    let database = Database::start(|config| config.transaction_idle = Duration::from_millis(1)).await;
    let troupe = database.client().await;
    tool(&troupe, "database.transaction", act("begin")).await;
    // The transaction is idle for a moment between any two of them, sooner or later for long enough.
    let ended = loop {
        let call = Call::tool("database.execute").args(insert("dora"));
        if let Err(error) = troupe.call(call).await {
            break error.to_string();
        }
        assert_eq!(users_elsewhere(&database).await, 3, "one was committed by itself");
    };
    assert!(ended.contains("nobody used it"), "{ended}");
    nothing_goes_on(&troupe).await;
    tool(&troupe, "database.transaction", act("rollback")).await;
    assert_eq!(users(&troupe).await, 3);
    end(troupe).await;
    database.running.shutdown().await;
}

async fn users_elsewhere(database: &Database) -> u64 {
    let other = database.client().await;
    let users = users(&other).await;
    end(other).await;
    users
}

/// It was carried out, so it must not be told as one that failed.
#[tokio::test]
async fn a_write_that_returns_rows_is_told_as_done() {
    let database = Database::start(|_| {}).await;
    let troupe = database.client().await;
    let returning =
        "INSERT INTO users (username, email) VALUES ('dora', 'd'), ('eve', 'e') RETURNING id, username";
    let done = tool(&troupe, "database.execute", query(returning)).await;
    assert_eq!(done["rows"], json!([{"id": 4, "username": "dora"}, {"id": 5, "username": "eve"}]));
    assert_eq!((&done["rowCount"], &done["truncated"]), (&json!(2), &json!(false)));
    assert_eq!(users(&troupe).await, 5);
    end(troupe).await;
    database.running.shutdown().await;
}
