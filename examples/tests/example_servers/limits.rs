//! No answer is larger than a client's message may be: what does not fit is left out, and the answer says how to get it.

use super::*;

fn truncated(result: &Value) -> bool {
    result["truncated"].as_bool().unwrap()
}

fn len(entries: &Value) -> usize {
    entries.as_array().unwrap().len()
}

#[tokio::test]
async fn rows_fill_one_message_and_say_how_to_get_the_others() {
    let database = Database::start(|_| {}).await;
    let troupe = database.client().await;
    let from = "FROM users a, users b, users c";
    let large = query(&format!("SELECT hex(zeroblob(1000000)) AS x {from}"));
    let found = tool(&troupe, "database.query", large).await;
    assert!(truncated(&found), "{} of 27 rows", len(&found["rows"]));
    assert_eq!(len(&found["rows"]), 3, "each takes 4 MB of 15");
    assert!(found["advice"].as_str().unwrap().contains("OFFSET"), "{}", found["advice"]);
    // A message that is too large would have ended the connection.
    assert_eq!(users(&troupe).await, 3);
    let rows = format!("SELECT a.id {from}");
    let bounded = json!({"connection": "sqlite", "query": rows, "limit": 27});
    let found = tool(&troupe, "database.query", bounded).await;
    assert_eq!((len(&found["rows"]), truncated(&found)), (27, false));
    let returned = "INSERT INTO products (name, price) SELECT hex(zeroblob(1000000)), a.id \
                    FROM users a, users b RETURNING name";
    let done = tool(&troupe, "database.execute", query(returned)).await;
    assert_eq!((done["rowCount"].as_u64(), len(&done["rows"]), truncated(&done)), (Some(9), 3, true));
    end(troupe).await;
    database.running.shutdown().await;
}

#[tokio::test]
async fn a_row_or_a_value_that_is_too_large_is_refused_with_what_to_do() {
    let database = Database::start(|_| {}).await;
    let troupe = database.client().await;
    // Each of these characters is escaped once in the structure and twice in the text.
    let quotes = "replace(hex(zeroblob(1500000)), '0', '\"')";
    let columns = vec!["1"; 101].join(", ");
    for (text, code, advice) in [
        (format!("SELECT {quotes} AS x"), "RESULT_TOO_LARGE", "substr("),
        ("SELECT hex(zeroblob(400000000)) AS x".to_owned(), "VALUE_TOO_LARGE", "length("),
        (format!("SELECT {columns}"), "TOO_MANY_COLUMNS", "name those"),
    ] {
        let (error, name) = refused(&troupe, "database.query", query(&text)).await;
        assert_eq!(name, code);
        assert!(error.message.contains(advice), "{}", error.message);
    }
    let part = query(&format!("SELECT substr({quotes}, 1000001, 1000000) AS x"));
    let found = tool(&troupe, "database.query", part).await;
    assert_eq!(found["rows"][0]["x"].as_str().map(str::len), Some(1_000_000), "the advice helps");
    let value = json!({"connection": "sqlite", "query": "SELECT ? AS x", "params": ["x".repeat(5 << 20)]});
    assert_eq!(refusal(&troupe, "database.query", value).await.1, "VALUE_TOO_LARGE");
    assert_eq!(users(&troupe).await, 3);
    end(troupe).await;
    database.running.shutdown().await;
}

/// What callers name may be of any length; a refusal is not.
#[tokio::test]
async fn a_refusal_does_not_tell_back_a_long_name() {
    let files = Files::start(Rules::default()).await;
    let (error, name) = refused(&files.troupe, "file.read", json!({"x".repeat(9 << 20): 1})).await;
    assert_eq!(name, "INVALID_PARAMETERS");
    assert!(error.message.len() < 10_000, "{} bytes", error.message.len());
    files.end().await;
}

#[tokio::test]
async fn a_file_that_fits_into_no_message_is_read_in_pieces() {
    let files = Files::start(Rules::default()).await;
    let text = "\"é\u{1}😀\\\n".repeat((6 << 20) / 10);
    std::fs::write(files.root().join("large.txt"), &text).unwrap();
    for encoding in ["utf8", "base64", "hex"] {
        let (mut content, mut offset, mut pieces) = (String::new(), 0, 0);
        loop {
            let args = json!({"path": "large.txt", "encoding": encoding, "offset": offset});
            let piece = tool(&files.troupe, "file.read", args).await;
            assert_eq!(piece["size"].as_u64(), Some(text.len() as u64));
            content.push_str(piece["content"].as_str().unwrap());
            pieces += 1;
            if !truncated(&piece) {
                break;
            }
            assert!(piece["advice"].as_str().unwrap().contains("offset"));
            offset = piece["nextOffset"].as_u64().unwrap();
        }
        let whole = match encoding {
            "base64" => data_encoding::BASE64.encode(text.as_bytes()),
            "hex" => data_encoding::HEXLOWER.encode(text.as_bytes()),
            _ => text.clone(),
        };
        assert!(content == whole, "{encoding}: {} bytes of {}", content.len(), whole.len());
        assert!(pieces > 1, "{encoding}");
    }
    files.end().await;
}

#[tokio::test]
async fn a_piece_of_a_file_ends_with_a_whole_character() {
    let files = Files::start(Rules::default()).await;
    std::fs::write(files.root().join("short.txt"), "aé😀z").unwrap();
    let piece = |offset: u64, length: u64| json!({"path": "short.txt", "offset": offset, "length": length});
    let read = tool(&files.troupe, "file.read", piece(1, 5)).await;
    assert_eq!((read["content"].as_str(), read["nextOffset"].as_u64()), (Some("é"), Some(3)));
    let read = tool(&files.troupe, "file.read", piece(3, 5)).await;
    assert_eq!((read["content"].as_str(), truncated(&read)), (Some("😀z"), false));
    let read = tool(&files.troupe, "file.read", piece(100, 4)).await;
    assert_eq!((read["content"].as_str(), truncated(&read)), (Some(""), false));
    assert_eq!(files.refused("file.read", piece(2, 4)).await, "INVALID_PARAMETERS", "inside a character");
    assert_eq!(files.refused("file.read", piece(0, 3)).await, "INVALID_PARAMETERS");
    std::fs::write(files.root().join("short.txt"), b"a\xf0\x9f").unwrap();
    assert_eq!(files.refused("file.read", piece(0, 4)).await, "INVALID_PARAMETERS", "no character");
    files.end().await;
}

#[tokio::test]
async fn a_list_that_fits_into_no_message_is_read_on_where_it_ended() {
    let files = Files::start(Rules::default()).await;
    let long = "x".repeat(200);
    let folder = files.root().join("projects").join(&long).join(&long).join(&long).join(&long);
    std::fs::create_dir_all(&folder).unwrap();
    let count = 8_000;
    for number in 0..count {
        std::fs::write(folder.join(format!("{long}{number}.txt")), "").unwrap();
    }
    let (mut found, mut offset, mut pages) = (0, 0, 0);
    loop {
        let args = json!({"path": "projects", "pattern": "*.txt", "recursive": true, "maxDepth": 5, "offset": offset});
        let page = tool(&files.troupe, "directory.list", args).await;
        found += len(&page["entries"]);
        pages += 1;
        if !truncated(&page) {
            break;
        }
        offset = page["nextOffset"].as_u64().unwrap();
    }
    assert_eq!((found, pages), (count, 2));
    let page = |offset: u64| json!({"path": "projects", "pattern": "*.txt", "maxDepth": 5, "limit": 1, "offset": offset});
    let one = tool(&files.troupe, "file.search", page(0)).await;
    let two = tool(&files.troupe, "file.search", page(one["nextOffset"].as_u64().unwrap())).await;
    assert_ne!(one["entries"][0]["name"], two["entries"][0]["name"]);
    let exact = json!({"path": "documents", "limit": 1});
    assert!(!truncated(&tool(&files.troupe, "file.search", exact).await), "that was all");
    files.end().await;
}

#[tokio::test]
async fn a_folder_that_links_to_itself_is_not_walked_for_ever() {
    let files = Files::start(Rules::default()).await;
    for number in 0..10 {
        std::os::unix::fs::symlink(".", files.root().join(format!("projects/{number}"))).unwrap();
    }
    let endless = json!({"path": "projects", "pattern": "none", "maxDepth": 10});
    let found = tool(&files.troupe, "file.search", endless).await;
    assert!(truncated(&found) && found["advice"].as_str().unwrap().contains("folder below"), "{found}");
    files.end().await;
}

#[tokio::test]
async fn an_entry_that_no_request_can_name_says_so() {
    use std::os::unix::ffi::OsStrExt;
    let files = Files::start(Rules::default()).await;
    let folder = files.root().join("projects");
    for name in [&b"latin-\xe9"[..], b"back\\slash", b"plain"] {
        std::fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    }
    let listed = tool(&files.troupe, "directory.list", json!({"path": "projects"})).await;
    let unreachable = |number: usize| listed["entries"][number].get("unreachable").is_some();
    assert_eq!([0, 1, 2].map(unreachable), [true, true, false], "{listed}");
    assert_eq!(listed["entries"][0]["name"], "back\\slash");
    files.end().await;
}
