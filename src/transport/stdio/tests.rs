use std::path::Path;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use super::*;
use crate::transport::{Inbound, LinkError, Outbound};

const SECRET: &str = "s3cr3t";

/// A server that is a script of the shell.
fn script(text: &str) -> StdioOptions {
    StdioOptions {
        server: "s".to_owned(),
        message_bytes_max: 1 << 20,
        ..StdioOptions::new("sh", ["-c", text])
    }
}

async fn open(options: StdioOptions) -> (StdioConnector, Box<dyn Link>) {
    let connector = StdioConnector::new(options);
    let link = connector.connect().await.expect("it starts");
    (connector, link)
}

fn notice(text: &str) -> Outbound {
    Outbound::Notice(Bytes::copy_from_slice(text.as_bytes()))
}

/// The next line.
async fn line(link: &mut Box<dyn Link>) -> String {
    match link.next().await {
        Some(Ok(Inbound::Message(line))) => String::from_utf8(line.to_vec()).expect("text"),
        other => panic!("{other:?} is no message"),
    }
}

/// How the link ends; lines before that are passed over.
async fn end(link: &mut Box<dyn Link>) -> LinkError {
    loop {
        match link.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error,
            None => panic!("it ended without a word"),
        }
    }
}

/// Whether a process runs; one that has ended and waits to be reaped does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

async fn failed(options: StdioOptions) -> DialError {
    match StdioConnector::new(options).connect().await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_message_is_a_line_even_if_it_was_written_as_several() {
    let (_connector, mut link) =
        open(StdioOptions { command: "cat".into(), args: Vec::new(), ..script("") }).await;
    link.send(notice("{\n \"a\": 1\n}")).await.unwrap();
    link.send(notice("{}")).await.unwrap();
    assert_eq!(line(&mut link).await, r#"{  "a": 1 }"#);
    assert_eq!(line(&mut link).await, "{}");
    assert!(!link.pings());
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named_without_its_arguments() {
    let args = vec![SECRET.to_owned()];
    let error = failed(StdioOptions { command: "no-such-server".into(), args, ..script("") }).await;
    assert!(
        matches!(&error, DialError::Start { source, .. } if source.kind() == io::ErrorKind::NotFound),
        "{error}"
    );
    let told = error.to_string();
    assert!(told.contains("no-such-server") && !told.contains(SECRET), "{told}");
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_not_blamed_on_the_command() {
    let error = failed(StdioOptions { cwd: Some("/no/such/folder".into()), ..script("") }).await;
    assert!(error.to_string().contains("/no/such/folder is no folder"), "{error}");
}

#[tokio::test]
async fn a_command_with_its_arguments_in_it_is_told_where_they_belong() {
    let error = failed(StdioOptions { command: "cat -n".into(), ..script("") }).await;
    assert!(error.to_string().contains("belongs into its args"), "{error}");
}

#[test]
fn nothing_secret_is_shown() {
    let env = BTreeMap::from([("DB_TOKEN".to_owned(), SECRET.into())]);
    let options = StdioOptions { env, args: vec![SECRET.to_owned()], ..script("") };
    let connector = StdioConnector::new(options);
    let shown = format!("{connector:?} {}", connector.endpoint());
    assert!(!shown.contains(SECRET) && shown.contains("DB_TOKEN"), "{shown}");
}

#[tokio::test]
async fn the_environment_is_what_was_configured_and_little_else() {
    // Set by cargo in this process, as a token might be.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let env = BTreeMap::from([("DB_TOKEN".to_owned(), SECRET.into())]);
    let (_connector, mut link) = open(StdioOptions { env, ..script("exec env") }).await;
    let mut seen = Vec::new();
    while let Some(Ok(Inbound::Message(line))) = link.next().await {
        seen.push(String::from_utf8(line.to_vec()).unwrap());
    }
    assert!(seen.contains(&format!("DB_TOKEN={SECRET}")), "{seen:?}");
    assert!(seen.iter().any(|variable| variable.starts_with("PATH=")), "{seen:?}");
    let names = seen.iter().filter_map(|variable| variable.split_once('=')).map(|(name, _)| name);
    // The shell sets some of its own.
    let own = ["DB_TOKEN", DEPTH, "PWD", "OLDPWD", "SHLVL", "_"];
    let strangers: Vec<&str> =
        names.filter(|name| !inherited(name, &InheritEnv::default()) && !own.contains(name)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    // One troupe more than this process runs in.
    let depth = std::env::var(DEPTH).map_or(1, |depth| depth.parse::<u32>().unwrap() + 1);
    assert!(seen.contains(&format!("{DEPTH}={depth}")), "{seen:?}");
}

fn inherited(name: &str, inherit: &InheritEnv) -> bool {
    is_inherited(std::ffi::OsStr::new(name), inherit)
}

#[test]
fn proxies_authorities_and_folders_are_inherited_and_others_by_name() {
    let (none, all) = (InheritEnv::default(), InheritEnv::All(AllVariables::All));
    for name in [
        "PATH",
        "HTTPS_PROXY",
        "https_proxy",
        "No_Proxy",
        "SSL_CERT_DIR",
        "NODE_EXTRA_CA_CERTS",
        "XDG_CACHE_HOME",
    ] {
        assert!(inherited(name, &none), "{name}");
    }
    let named = InheritEnv::Names(vec!["MY_FLAG".to_owned()]);
    for name in ["MY_TOKEN", "MY_FLAGS", "path", "XDG", "PROXY"] {
        assert!(!inherited(name, &named) && inherited(name, &all), "{name}");
    }
    assert!(inherited("MY_FLAG", &named) && !inherited("MY_FLAG", &none));
}

#[tokio::test]
async fn the_end_of_the_process_is_told_with_its_code_and_its_last_words() {
    let (_connector, mut link) =
        open(script("echo '{}'; echo first >&2; echo 'no such table' >&2; exit 3")).await;
    assert_eq!(line(&mut link).await, "{}", "what it said before its end comes first");
    let error = end(&mut link).await;
    assert!(matches!(&error, LinkError::Exited { code: Some(3), signal: None, .. }), "{error}");
    assert!(
        error.to_string().ends_with("exited with code 3; its stderr ends with \"first | no such table\""),
        "{error}"
    );
    assert!(link.next().await.is_none());
}

#[tokio::test]
async fn a_process_that_is_killed_is_told_with_the_signal() {
    let (_connector, mut link) = open(script("kill -9 $$")).await;
    let error = end(&mut link).await;
    assert_eq!(error.to_string(), "the server's process was killed by signal 9");
}

#[tokio::test]
async fn a_write_that_fails_tells_the_end_of_the_process() {
    let (_connector, mut link) = open(script("exec <&-; echo '{}'; exit 7")).await;
    line(&mut link).await;
    link.send(notice("{}")).await.unwrap();
    let error = end(&mut link).await;
    assert!(matches!(&error, LinkError::Exited { code: Some(7), .. }), "{error}");
}

#[tokio::test]
async fn a_process_that_closes_its_stdin_is_a_dead_link() {
    let (_connector, mut link) = open(script("exec <&-; echo '{}'; exec sleep 1000")).await;
    line(&mut link).await;
    link.send(notice("{}")).await.unwrap();
    let error = link.send(notice("{}")).await.expect_err("nothing more is taken");
    assert!(matches!(&error, LinkError::Broken(reason) if reason.contains("its stdin")), "{error}");
}

#[tokio::test]
async fn a_process_that_closes_its_stdout_is_a_dead_link_and_is_ended() {
    let (connector, mut link) = open(script("echo $$; exec >&-; exec sleep 1000")).await;
    let pid = line(&mut link).await;
    let error = end(&mut link).await;
    assert!(matches!(&error, LinkError::Closed { code: None, .. }), "{error}");
    assert!(error.to_string().contains("its stdout has ended"), "{error}");
    link.close().await.unwrap();
    connector.endings.closed().await;
    assert!(!exists(&pid));
}

#[tokio::test]
async fn the_end_of_a_process_whose_stdout_somebody_else_holds_is_seen() {
    // Who leaves the group is not killed with it; `sleep` without setsid would be.
    let (_connector, mut link) = open(script("setsid sleep 5 & exit 4")).await;
    let error = end(&mut link).await;
    assert!(matches!(&error, LinkError::Exited { code: Some(4), .. }), "{error}");
}

#[tokio::test]
async fn a_line_over_the_limit_is_passed_over_but_for_its_ends_and_the_process_goes_on() {
    let options = StdioOptions {
        message_bytes_max: 100,
        ..script("echo $$; echo \"a$(head -c 5000 /dev/zero | tr '\\0' x)z\"; echo after; exec sleep 1000")
    };
    let (_connector, mut link) = open(options).await;
    let pid = line(&mut link).await;
    let Some(Ok(Inbound::TooLarge { beginning, end, limit: 100 })) = link.next().await else {
        panic!("it was not told")
    };
    assert!(beginning.starts_with(b"ax") && end.ends_with(b"xz") && beginning.len() + end.len() < 5000);
    assert_eq!(line(&mut link).await, "after");
    assert!(runs(&pid));
}

#[tokio::test]
async fn a_link_that_is_dropped_takes_the_process_and_its_group_with_it() {
    let (connector, mut link) = open(script("echo $$; sleep 1000 & echo $!; wait")).await;
    let (child, grandchild) = (line(&mut link).await, line(&mut link).await);
    assert!(runs(&child) && runs(&grandchild));
    drop(link);
    connector.endings.closed().await;
    assert!(!exists(&child), "it was not reaped");
    assert!(!runs(&grandchild));
}

#[tokio::test]
async fn what_a_process_leaves_in_its_group_ends_with_it() {
    let (connector, mut link) = open(script("sleep 1000 & echo $!; exit 0")).await;
    let grandchild = line(&mut link).await;
    let error = end(&mut link).await;
    assert!(matches!(&error, LinkError::Exited { code: Some(0), .. }), "{error}");
    drop(link);
    connector.endings.closed().await;
    assert!(!runs(&grandchild));
}

#[tokio::test]
async fn a_link_that_is_closed_lets_the_server_read_to_the_end_and_finish() {
    let folder = tempfile::tempdir().unwrap();
    let cwd = Some(folder.path().to_owned());
    // It still talks when nobody listens any more, which would end it if its stdout were closed.
    let (connector, mut link) = open(StdioOptions { cwd, ..script("echo ready; exec tee read") }).await;
    line(&mut link).await;
    let long = format!("[{}1]", "1,".repeat(100_000));
    link.feed(notice(&long)).await.unwrap();
    link.close().await.unwrap();
    connector.endings.closed().await;
    let read = std::fs::read_to_string(folder.path().join("read")).unwrap();
    assert!(read == long + "\n", "{} bytes", read.len());
}

#[tokio::test]
async fn a_server_that_stays_is_asked_to_end_and_then_made_to() {
    let folder = tempfile::tempdir().unwrap();
    let cwd = Some(folder.path().to_owned());
    let stays = "trap 'echo asked > asked' TERM; echo $$; while :; do sleep 1000 & wait $!; done";
    let (connector, mut link) = open(StdioOptions { cwd, ..script(stays) }).await;
    let pid = line(&mut link).await;
    link.close().await.unwrap();
    // A new process waits for the end of the old one.
    let next = connector.connect().await.unwrap();
    assert!(!exists(&pid));
    assert_eq!(std::fs::read_to_string(folder.path().join("asked")).unwrap(), "asked\n");
    drop(next);
}

#[tokio::test]
async fn what_is_held_is_let_go_when_the_process_is_reaped() {
    let (_connector, mut link) = open(script("echo $$; exec sleep 1000")).await;
    let pid = line(&mut link).await;
    let (token, mut let_go) = oneshot::channel::<()>();
    link.hold(Box::new(token));
    tokio::task::yield_now().await;
    assert!(let_go.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    drop(link);
    let _ = let_go.await;
    assert!(!exists(&pid));
}

#[test]
fn the_end_of_the_runtime_leaves_no_process_and_no_zombie() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (link, child, grandchild) = runtime.block_on(async {
        let (_connector, mut link) = open(script("echo $$; sleep 1000 & echo $!; wait")).await;
        let (child, grandchild) = (line(&mut link).await, line(&mut link).await);
        (link, child, grandchild)
    });
    drop(runtime);
    assert!(!exists(&child));
    // It was killed; nobody could wait for it.
    while runs(&grandchild) {
        std::thread::yield_now();
    }
    drop(link);
}

#[tokio::test]
async fn a_flood_on_stderr_blocks_nobody() {
    let (_connector, mut link) =
        open(script("yes flood | head -c 4000000 >&2; echo '{\"done\":true}'; cat")).await;
    assert_eq!(line(&mut link).await, r#"{"done":true}"#);
    link.send(notice("{}")).await.unwrap();
    assert_eq!(line(&mut link).await, "{}");
}
