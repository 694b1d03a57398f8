//! Secrets wherever people put them in a configuration, and every text that leaves.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use mcp_troupe::config::TlsOptions;
use mcp_troupe::discovery::{ConsulSource, EtcdSource, FileSource, Found, Record, Source, Template, Tls};
use mcp_troupe::event::{ServerStatus, SourceStatus};
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::transport::http::HttpOptions;
use mcp_troupe::transport::stdio::StdioOptions;
use mcp_troupe::transport::websocket::WebSocketOptions;
use mcp_troupe::{Call, ConfigFile, ConfigWatch, Server, Troupe, Variables};
use metrics_exporter_prometheus::PrometheusBuilder;
use proptest::prelude::*;
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;

use super::Log;
use super::common::end;
use super::places::{CORE, drawn, leak, right, secret, text, url};

/// What is said of a text by all that read one without starting anything.
fn told(text: &str) -> String {
    let mut told = String::new();
    match ConfigFile::parse(text) {
        Ok(file) => write!(told, "{file:?} {file:#?}").unwrap(),
        Err(error) => write!(told, "{error} {error:?}").unwrap(),
    }
    for found in ConfigFile::diagnose(text, &Variables::new().set("SECRET", CORE)) {
        write!(told, "\n{found} {found:?} {}", found.render(Path::new("servers.json"), 80)).unwrap();
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_text_about_a_configuration_has_a_secret_of_it(text in text()) {
        let told = told(&text);
        prop_assert_eq!(leak(&told), None, "{}", text);
    }

    #[test]
    fn no_description_of_a_server_or_a_source_shows_a_secret(url in url(), s in secret()) {
        let tls = TlsOptions::new().ca_file(format!("-----BEGIN\n{s}")).client_certificate("c.pem", "c.key");
        let servers = [
            Server::http("a", &url).bearer(s.clone()).header("X-Key", s.clone()).tls(tls),
            Server::websocket("a", &url).header(format!("Authorization: {s}"), ""),
            Server::stdio("a", format!("x --token {s}"), [&s]).env(format!("T={s}"), s.clone()),
        ];
        let record = Record::at(&url);
        let template = Template::new(record.clone()).header(format!("Authorization: {s}"), &s);
        let found = Found::from(servers[0].clone());
        let etcd = EtcdSource::new([&url], "/p/").user("u", &s);
        let consul = ConsulSource::new(&url, "s").token(&s);
        let (mut http, mut websocket) = (HttpOptions::new(&url), WebSocketOptions::new(&url));
        http.headers.push(("X-Key".to_owned(), s.clone().into()));
        websocket.headers = http.headers.clone();
        let stdio = StdioOptions::new(format!("x --token {s}"), [&s]);
        let tls = Tls::new().ca_file(format!("-----BEGIN\n{s}"));
        let texts = format!(
            "{servers:?} {record:?} {template:?} {found:?} {} {} {http:?} {websocket:?} {stdio:?} {tls:?}",
            etcd.place(), consul.place(),
        );
        prop_assert_eq!(leak(&texts), None);
    }

    #[test]
    fn no_mistake_of_a_record_shows_a_secret(url in url(), s in secret(), key in "url|address|path|group|port|tls|metadata|token") {
        for value in [json!(s), json!([s]), json!({"x": s}), json!(url)] {
            // Names of groups and hosts are shown, the first segment of a path, and the texts that are noted of a server.
            let shown = match key.as_str() {
                "address" | "path" => value == json!(s),
                "group" => value.is_string(),
                "metadata" => value.is_object(),
                _ => false,
            };
            if shown {
                continue;
            }
            let mut record = json!({"address": "h", "port": 1});
            record[&key] = value;
            let read = Record::parse(record.to_string().as_bytes()).and_then(|record| record.server("a"));
            let told = format!("{read:?} {}", read.as_ref().err().map(ToString::to_string).unwrap_or_default());
            prop_assert_eq!(leak(&told), None);
        }
    }
}

#[test]
fn what_a_reference_stands_for_is_shown_nowhere() {
    let variables = Variables::new().set("SECRET", CORE).on_input(|_| Some(CORE.into()));
    let servers = json!({
        "path": {"url": "http://127.0.0.1:1/${SECRET}"},
        "first": {"url": "wss://127.0.0.1:1/${SECRET}/mcp"},
        "query": {"httpUrl": "http://127.0.0.1:1/mcp?key=${input:x}"},
        "args": {"command": "x", "args": ["--key=${SECRET}"], "env": {"A": "${SECRET}"}},
        "wrong": {"url": "http://127.0.0.1:1/${SECRET}", "weight": 0, "headers": {"${SECRET}": "${SECRET}"}},
        "nul": {"command": "x", "args": ["\0${SECRET}"], "env": {"A=": "${SECRET}"}},
        "port": {"url": "http://127.0.0.1:${SECRET}/mcp"},
    });
    let text = json!({"mcpServers": servers}).to_string();
    let file = ConfigFile::parse_with(&text, &variables).unwrap();
    assert_eq!(file.left_out, ["nul", "port", "wrong"]);
    let mut told = format!("{file:?} {file:#?} {variables:?}");
    for found in &file.diagnostics {
        write!(told, "{found} {}", found.render(Path::new("f"), 80)).unwrap();
    }
    assert_eq!(leak(&told), None);
}

#[tokio::test]
async fn what_follows_a_file_shows_none_of_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("servers.json");
    std::fs::write(&path, json!({"mcpServers": {"a": {"url": "ws://h", "bearer": CORE}}}).to_string())
        .unwrap();
    let mut watch = ConfigWatch::new(&path);
    watch.read().await.unwrap();
    assert_eq!(leak(&format!("{watch:?}")), None);
}

#[tokio::test]
async fn a_troupe_tells_no_secret_of_its_configuration_nor_of_those_that_it_refuses() {
    let (log, logged) = mpsc::channel();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || Log(log.clone()))
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let recorder = PrometheusBuilder::new().build_recorder();
    let (scraped, _recording) = (recorder.handle(), metrics::set_default_local_recorder(&recorder));
    let live = [
        ScriptedServer::builder().tool("echo", Script::Echo).start().await,
        ScriptedServer::builder().http().tool("echo", Script::Echo).start().await,
    ];
    let folder = tempfile::tempdir().unwrap();
    let drawn = drawn(80);
    // Files of servers, right and wrong ones; each concerns itself alone.
    for (n, value) in drawn.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{n:03}.json")), value.to_string()).unwrap();
    }
    let file = ConfigFile::parse(&right(&live).await.to_string()).unwrap();
    let servers = file.servers.len();
    let record = Record::at(format!("ws://127.0.0.1:1/api/{CORE}"));
    let troupe = Troupe::builder()
        .config(file)
        .source("files", FileSource::new(folder.path()))
        .source("etcd", EtcdSource::new([format!("http://root:{CORE}@127.0.0.1:1")], "/p/"))
        .source("consul", ConsulSource::new(format!("http://127.0.0.1:1/api/{CORE}"), "s").token(CORE))
        .source("agent", ConsulSource::new(format!("http://u:{CORE}@h"), "s").template(Template::new(record)))
        .start()
        .await
        .unwrap();
    let mut events = troupe.events();
    let mut outputs = Vec::new();
    // Until each server and each source has stood somewhere.
    loop {
        let (known, sources) = (troupe.servers(), troupe.stats().await.sources);
        let tried = |info: &mcp_troupe::stats::ServerInfo| {
            (info.reason.is_some() && info.starting.is_none()) || info.status == ServerStatus::Ready
        };
        let heard = |status: &SourceStatus| matches!(status, SourceStatus::Good | SourceStatus::Failing);
        if known.len() >= servers
            && known.iter().all(tried)
            && sources.iter().all(|source| heard(&source.status))
        {
            break;
        }
        outputs.push(format!("{:?}", events.next().await.expect("the troupe goes on")));
    }
    for tool in
        ["websocket/echo", "http/echo", "lost/echo", "gone/echo", "gone-http/echo", "line/echo", "variable/x"]
    {
        match troupe.call(Call::tool(tool).timeout(Duration::from_secs(5))).await {
            Ok(reply) => outputs.push(format!("{reply:?}")),
            Err(error) => {
                outputs.push(format!("{error} {error:?} {}", serde_json::to_string(&error).unwrap()));
            }
        }
    }
    // What it refuses, or takes, while it plays; then as it was.
    for value in &drawn {
        let Ok(file) = ConfigFile::parse(&value.to_string()) else { continue };
        for server in file.servers.clone() {
            match troupe.register(server).await {
                Ok(()) => troupe.unregister("a").await.unwrap(),
                Err(error) => outputs.push(format!("{error} {error:?}")),
            }
        }
        match troupe.apply(file.clone()).await {
            Ok(applied) => outputs.push(format!("{applied} {applied:?}")),
            Err(error) => outputs.push(format!("{error} {error:?}")),
        }
        match Troupe::builder().config(file).start().await {
            Ok(other) => {
                outputs.push(format!("{:?} {:?}", other.servers(), other.stats().await));
                end(other).await;
            }
            Err(error) => outputs.push(format!("{error} {error:?}")),
        }
    }
    outputs.push(format!("{:?} {:?}", troupe.servers(), troupe.stats().await));
    outputs.push(serde_json::to_string(&troupe.stats().await).unwrap());
    outputs.push(format!("{troupe:?}"));
    end(troupe).await;
    while let Some(event) = events.next().await {
        outputs.push(format!("{event:?} {}", serde_json::to_string(&event).unwrap()));
    }
    outputs.push(scraped.render());
    let lines: Vec<u8> = logged.try_iter().flatten().collect();
    assert!(!lines.is_empty());
    outputs.extend(String::from_utf8_lossy(&lines).lines().map(str::to_owned));
    for output in outputs {
        assert_eq!(leak(&output), None);
    }
}
