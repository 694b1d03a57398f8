//! What writing leaves as it was, and what is no file.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

fn write(path: &str, content: &str) -> Value {
    json!({"path": path, "content": content})
}

fn append(path: &str, content: &str) -> Value {
    json!({"path": path, "content": content, "mode": "append"})
}

fn text(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_file_that_is_overwritten_keeps_its_permissions() {
    let files = Files::start(Rules::default()).await;
    for mode in [0o600, 0o755, 0o640] {
        let path = files.root().join("a.txt");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        tool(&files.troupe, "file.write", write("a.txt", "new")).await;
        assert_eq!(text(path.clone()), "new");
        let kept = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(kept, mode, "{kept:o} for {mode:o}");
        assert_eq!(std::fs::read_dir(files.root()).unwrap().count(), 5, "no sibling stays");
    }
    files.end().await;
}

#[tokio::test]
async fn a_link_stays_and_the_file_that_it_leads_to_is_written() {
    let files = Files::start(Rules::default()).await;
    let root = files.root();
    symlink("../documents/test.md", root.join("config/link.md")).unwrap();
    let written = tool(&files.troupe, "file.write", write("config/link.md", "new")).await;
    assert_eq!((written["path"].as_str(), written["size"].as_u64()), (Some("config/link.md"), Some(3)));
    tool(&files.troupe, "file.write", append("config/link.md", "er")).await;
    assert_eq!(text(root.join("documents/test.md")), "newer");
    assert!(std::fs::symlink_metadata(root.join("config/link.md")).unwrap().is_symlink());
    std::fs::hard_link(root.join("documents/test.md"), root.join("config/second.md")).unwrap();
    tool(&files.troupe, "file.write", write("config/second.md", "both")).await;
    assert_eq!(text(root.join("documents/test.md")), "both", "the other name of the file");
    symlink("nowhere", root.join("config/dangling.md")).unwrap();
    for args in [write("config/dangling.md", "x"), append("config/dangling.md", "x")] {
        let (error, name) = refused(&files.troupe, "file.write", args).await;
        assert_eq!(name, "FILE_NOT_FOUND");
        assert!(error.message.contains("is a link"), "{}", error.message);
    }
    assert!(!root.join("config/nowhere").exists());
    files.end().await;
}

#[tokio::test]
async fn no_link_leads_to_an_extension_that_is_denied() {
    let files = Files::start(Rules { denied_extensions: vec![".key".into()], ..Rules::default() }).await;
    std::fs::write(files.root().join("config/a.key"), "secret").unwrap();
    symlink("a.key", files.root().join("config/a.txt")).unwrap();
    for tool in ["file.read", "file.metadata"] {
        assert_eq!(files.refused(tool, json!({"path": "config/a.txt"})).await, "DENIED_EXTENSION", "{tool}");
    }
    for args in [write("config/a.txt", "x"), append("config/a.txt", "x")] {
        assert_eq!(files.refused("file.write", args).await, "DENIED_EXTENSION");
    }
    let found = tool(&files.troupe, "file.search", json!({"path": "config", "text": "secret"})).await;
    assert_eq!(found["entries"], json!([]));
    assert_eq!(text(files.root().join("config/a.key")), "secret");
    files.end().await;
}

/// Whoever opens a FIFO waits for its other end: ten such calls would have taken all of the server's places.
#[tokio::test]
async fn no_tool_waits_for_what_is_no_file() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let files = Files::start(Rules::default()).await;
    let folder = files.root().join("projects");
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    for kind in ["FIFO", "socket"] {
        let path = format!("projects/{}", kind.to_lowercase());
        for (tool, args) in [
            ("file.read", json!({"path": path})),
            ("file.write", write(&path, "x")),
            ("file.write", append(&path, "x")),
        ] {
            let (error, name) = refused(&files.troupe, tool, args).await;
            assert_eq!(name, "INVALID_FILE_TYPE", "{tool}");
            assert!(error.message.contains(&format!("is a {kind}")), "{}", error.message);
        }
    }
    let search = json!({"path": "projects", "text": "x"});
    assert_eq!(tool(&files.troupe, "file.search", search).await["entries"], json!([]));
    let listed = tool(&files.troupe, "directory.list", json!({"path": "projects"})).await;
    assert_eq!(listed["entries"][0]["type"], "other");
    files.end().await;
}

#[tokio::test]
async fn a_name_as_long_as_names_can_be_is_written() {
    let files = Files::start(Rules::default()).await;
    let name = "n".repeat(255);
    tool(&files.troupe, "file.write", write(&name, "one")).await;
    tool(&files.troupe, "file.write", write(&name, "two")).await;
    assert_eq!(text(files.root().join(name)), "two");
    files.end().await;
}
