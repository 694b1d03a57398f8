//! Servers in a real Consul agent, and what becomes of them when Consul itself is in trouble.

use std::process::Command;
use std::time::Duration;

use mcp_troupe::discovery::{Announcement, AnnouncementNews, ConsulSource, Record, Source};
use mcp_troupe::event::SourceStatus;
use mcp_troupe::testkit::ScriptedServer;
use mcp_troupe::{Event, Readiness, Settings, Troupe};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::common::{echo, end, event};
use super::directory::{Certificates, Program, STARTS, free_port, installed, skip, until};
use super::{plays, prompt, scripted, source, stands};

const TOKEN: &str = "e95b599e-166e-7d80-08ad-aee76e7ddf19";

/// How an agent is run.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Alone, its data in memory.
    Dev,
    /// The same, where nothing is shown to who has no token.
    Guarded,
    /// Alone, its data on disk.
    Server,
    /// Alone, and over TLS besides.
    Tls,
    /// One of two servers, the other of which never comes.
    Leaderless,
}

struct Consul {
    program: Option<Program>,
    folder: TempDir,
    ports: [u16; 5],
    binary: String,
    certificates: Certificates,
}

impl Consul {
    /// Starts an agent. None where it is not installed.
    async fn start(test: &str, mode: Mode) -> Option<Self> {
        let mut consul = Self::stopped(test)?;
        for _ in 0..STARTS {
            if consul.try_run(mode).await {
                return Some(consul);
            }
            consul.ports = std::array::from_fn(|_| free_port());
        }
        panic!("Consul does not start")
    }

    fn stopped(test: &str) -> Option<Self> {
        let Some(binary) = installed("consul") else {
            skip(test, "consul", "consul, of bullseye");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let (ports, certificates) = (std::array::from_fn(|_| free_port()), Certificates::new());
        Some(Self { program: None, folder, ports, binary, certificates })
    }

    async fn run(&mut self, mode: Mode) {
        assert!(self.try_run(mode).await, "Consul ended at its start");
    }

    /// The same. False where it ends at once, as where somebody else has its ports.
    async fn try_run(&mut self, mode: Mode) -> bool {
        let guard = format!(
            r#", "acl": {{"enabled": true, "default_policy": "deny", "tokens": {{"master": "{TOKEN}"}}}}"#
        );
        let path = |name| self.certificates.path(name);
        let tls = format!(
            r#", "ports": {{"https": {}}}, "cert_file": "{}", "key_file": "{}", "ca_file": "{}",
                "verify_incoming_https": true"#,
            self.ports[4],
            path("server.pem"),
            path("server.key"),
            path("client.pem")
        );
        let more = match mode {
            Mode::Guarded => guard,
            Mode::Tls => tls,
            Mode::Dev | Mode::Server | Mode::Leaderless => String::new(),
        };
        let config = format!(r#"{{"disable_update_check": true, "leave_on_terminate": false {more}}}"#);
        let file = self.folder.path().join("consul.json");
        std::fs::write(&file, config).unwrap();
        let [http, dns, server, lan, _https] = self.ports.map(|port| port.to_string());
        let mut command = Command::new(&self.binary);
        command.args(["agent", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-serf-wan-port", "-1"]);
        command.args(["-grpc-port", "-1", "-http-port", &http, "-dns-port", &dns, "-server-port", &server]);
        command.args(["-serf-lan-port", &lan, "-config-file"]).arg(file);
        let data = self.folder.path().join("data");
        match mode {
            Mode::Dev | Mode::Guarded | Mode::Tls => command.arg("-dev"),
            Mode::Server => command.args(["-server", "-bootstrap-expect", "1", "-data-dir"]).arg(data),
            Mode::Leaderless => command.args(["-server", "-bootstrap-expect", "2", "-data-dir"]).arg(data),
        };
        let mut program = Program::start(&mut command);
        let leads = mode != Mode::Leaderless;
        let serves = program.serves("the agent", || async {
            // It answers before it has a leader.
            match self.try_ask("GET", "/v1/status/leader", "").await {
                Some((200, leader)) => !leads || leader.trim() != "\"\"",
                Some(_) => !leads,
                None => false,
            }
        });
        let serves = serves.await;
        self.program = Some(program);
        if serves && leads {
            until("the catalogue", || async {
                matches!(self.try_ask("GET", "/v1/catalog/nodes", "").await, Some((200, nodes)) if nodes.contains("Node"))
            })
            .await;
        }
        serves
    }

    fn kill(&mut self) {
        self.program = None;
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// A request to the agent by hand: status and body.
    async fn try_ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0])).await.ok()?;
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: consul\r\nX-Consul-Token: {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let (status, answer) = self.try_ask(method, path, body).await.expect("the agent answers");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn register(&self, id: &str, server: &ScriptedServer, more: Value) {
        let port: u16 = server.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
        let mut service = json!({"ID": id, "Name": "echo", "Address": "127.0.0.1", "Port": port});
        service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ask("PUT", "/v1/agent/service/register", &service.to_string()).await;
    }

    async fn deregister(&self, id: &str) {
        self.ask("PUT", &format!("/v1/agent/service/deregister/{id}"), "").await;
    }

    fn source(&self) -> ConsulSource {
        ConsulSource::new(self.url(), "echo")
    }

    async fn troupe(&self) -> Troupe {
        start(prompt(), self.source()).await
    }
}

async fn start(settings: Settings, source: ConsulSource) -> Troupe {
    Troupe::builder().settings(settings).seed(7).source("consul", source).start().await.unwrap()
}

#[tokio::test]
async fn instances_join_move_and_leave_and_only_while_their_checks_pass() {
    let Some(consul) = Consul::start("instances_join_move_and_leave", Mode::Dev).await else { return };
    let (a, b) = (scripted().await, scripted().await);
    consul.register("a", &a, json!({"Tags": ["eu"], "Meta": {"version": "1.4"}})).await;
    let troupe = consul.troupe().await;
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(troupe.call(echo().tag("eu")).await.unwrap().group, "echo");
    assert_eq!(troupe.servers()[0].metadata["version"], "1.4");
    let check = json!({"Check": {"TTL": "60s", "Status": "critical"}});
    consul.register("b", &b, check).await;
    consul.register("c", &b, json!({})).await;
    plays(&troupe, &["a", "c"]).await;
    consul.ask("PUT", "/v1/agent/check/pass/service:b", "").await;
    plays(&troupe, &["a", "b", "c"]).await;
    consul.register("a", &b, json!({"Tags": ["eu"]})).await;
    while b.calls("echo") == 0 {
        assert!(troupe.call(echo()).await.is_ok());
    }
    consul.ask("PUT", "/v1/agent/check/fail/service:b", "").await;
    consul.deregister("c").await;
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn only_instances_with_all_the_tags_are_asked_for() {
    let Some(consul) = Consul::start("only_instances_with_all_the_tags", Mode::Dev).await else { return };
    let a = scripted().await;
    consul.register("a", &a, json!({"Tags": ["mcp", "eu"]})).await;
    consul.register("b", &a, json!({"Tags": ["mcp"]})).await;
    let troupe = start(prompt(), consul.source().tag("mcp").tag("eu").datacenter("dc1")).await;
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn to_a_stranger_an_empty_list_is_no_answer_and_a_wrong_token_is_refused() {
    let Some(consul) = Consul::start("to_a_stranger_an_empty_list", Mode::Guarded).await else { return };
    let a = scripted().await;
    until("the access control's start", || async {
        matches!(consul.try_ask("GET", "/v1/acl/token/self", "").await, Some((200, _)))
    })
    .await;
    consul.register("a", &a, json!({})).await;
    for (source, says) in [
        (consul.source(), "doubtful: no instance is shown"),
        (consul.source().token("no such token"), "refused: ACL not found"),
    ] {
        let troupe = start(prompt(), source).await;
        let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
        assert!(reason.starts_with(says), "{reason}");
        end(troupe).await;
    }
    let troupe = start(prompt(), consul.source().token(TOKEN)).await;
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_agent_that_dies_and_returns_with_a_smaller_index_is_followed_again() {
    let Some(mut consul) = Consul::start("an_agent_that_dies_and_returns", Mode::Dev).await else { return };
    let (a, b) = (scripted().await, scripted().await);
    for _ in 0..20 {
        // The index of its next life begins far below.
        consul.register("b", &b, json!({})).await;
        consul.deregister("b").await;
    }
    consul.register("a", &a, json!({})).await;
    let troupe = consul.troupe().await;
    troupe.ready(Readiness::All).await.unwrap();
    consul.kill();
    let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
    assert!(reason.starts_with("not reachable: "), "{reason}");
    assert!(troupe.call(echo()).await.is_ok());
    let mut events = troupe.events();
    consul.run(Mode::Dev).await;
    event(&mut events, |event| matches!(event, Event::DiscoveryDoubted { .. })).await;
    consul.register("a", &a, json!({})).await;
    stands(&troupe, SourceStatus::Good).await;
    consul.register("b", &b, json!({})).await;
    plays(&troupe, &["a", "b"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_keeps_its_data_is_followed_over_its_death() {
    let Some(mut consul) = Consul::start("a_server_that_keeps_its_data", Mode::Server).await else { return };
    let (a, b) = (scripted().await, scripted().await);
    consul.register("a", &a, json!({})).await;
    let troupe = consul.troupe().await;
    plays(&troupe, &["a"]).await;
    consul.kill();
    stands(&troupe, SourceStatus::Failing).await;
    consul.run(Mode::Server).await;
    stands(&troupe, SourceStatus::Good).await;
    plays(&troupe, &["a"]).await;
    consul.register("b", &b, json!({})).await;
    plays(&troupe, &["a", "b"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_cluster_without_a_leader_says_so_and_takes_no_server() {
    let Some(mut consul) = Consul::start("a_cluster_without_a_leader", Mode::Dev).await else { return };
    let a = scripted().await;
    consul.register("a", &a, json!({})).await;
    let troupe = consul.troupe().await;
    plays(&troupe, &["a"]).await;
    consul.kill();
    consul.run(Mode::Leaderless).await;
    while source(&troupe).await.reason.as_deref() != Some("unavailable: No cluster leader") {
        assert!(troupe.call(echo()).await.is_ok());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn certificates_are_shown_and_verified_and_wrong_ones_are_one_clear_status() {
    let Some(consul) = Consul::start("certificates_are_shown_and_verified", Mode::Tls).await else { return };
    let a = scripted().await;
    consul.register("a", &a, json!({})).await;
    let secured = || ConsulSource::new(format!("https://127.0.0.1:{}", consul.ports[4]), "echo");
    let made = &consul.certificates;
    for (tls, says) in [
        (made.trusting("stranger"), "not reachable: invalid peer certificate"),
        (made.trusting("server"), "not reachable: "),
        (made.trusting("missing"), "refused: "),
    ] {
        let troupe = start(prompt(), secured().tls(tls)).await;
        let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
        assert!(reason.starts_with(says), "{reason}");
        end(troupe).await;
    }
    let troupe = start(prompt(), secured().tls(made.tls())).await;
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

/// Something that is no Consul: it answers each request with this.
async fn impostor(answer: &'static str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, serving)
}

#[tokio::test]
async fn what_is_no_answer_of_consul_is_told() {
    for (answer, says) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage", "unintelligible: expected value"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[{\"x\": 1}]", "unintelligible: missing field"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "not found: 404"),
        ("SSH-2.0-OpenSSH\r\n", "not reachable: "),
        ("", "not reachable: "),
        (
            "HTTP/1.1 200 OK\r\nX-Consul-KnownLeader: false\r\nContent-Length: 2\r\n\r\n[]",
            "unavailable: the agent knows no leader",
        ),
    ] {
        let (url, serving) = impostor(answer).await;
        let troupe = start(prompt(), ConsulSource::new(url, "echo")).await;
        let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
        assert!(reason.starts_with(says), "{answer}: {reason}");
        end(troupe).await;
        serving.abort();
    }
    let error = ConsulSource::new("127.0.0.1:8500", "echo").watch().next().await.unwrap_err();
    assert!(error.to_string().contains("is no http:// or https:// address"), "{error}");
}

/// What an agent by hand is asked, and how it answers.
type Question = (String, oneshot::Sender<&'static str>);

/// An agent by hand: what it is asked goes to the test, which answers.
async fn by_hand() -> (String, mpsc::Receiver<Question>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, questions) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let head = String::from_utf8_lossy(&request[..length]);
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let (answer, answered) = oneshot::channel::<&str>();
                asked.send((path, answer)).await.unwrap();
                let answer = answered.await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    (url, questions)
}

/// The next question. There is one, or the test has failed.
async fn asked(questions: &mut mpsc::Receiver<Question>) -> Question {
    let waited = tokio::time::timeout(Duration::from_secs(60), questions.recv()).await;
    waited.expect("the agent is asked nothing more").expect("it listens")
}

const DONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// An announcement at an agent by hand: how to end it, and what it tells.
fn announced(url: &str) -> (oneshot::Sender<()>, mpsc::Receiver<AnnouncementNews>) {
    let record = Record::parse(br#"{"address": "h", "port": 1}"#).unwrap();
    let source = ConsulSource::new(url, "echo");
    let announcement = Announcement::in_consul(source, "a", record, Duration::from_secs(3)).unwrap();
    let (over, until_over) = oneshot::channel::<()>();
    let (told, news) = mpsc::channel(64);
    tokio::spawn(async move {
        let until = async {
            let _ = until_over.await;
        };
        announcement.keep(until, move |news| told.try_send(news).unwrap()).await;
    });
    (over, news)
}

#[tokio::test]
async fn an_announcement_that_ends_while_it_is_made_is_taken_away() {
    let (url, mut questions) = by_hand().await;
    let (over, mut news) = announced(&url);
    let (path, answer) = asked(&mut questions).await;
    assert_eq!(path, "/v1/agent/service/register");
    over.send(()).unwrap();
    answer.send(DONE).unwrap();
    let (path, answer) = asked(&mut questions).await;
    assert_eq!(path, "/v1/agent/service/deregister/a");
    answer.send(DONE).unwrap();
    assert_eq!(news.recv().await, Some(AnnouncementNews::Made));
    assert_eq!(news.recv().await, Some(AnnouncementNews::Withdrawn));
    assert_eq!(news.recv().await, None);
}

#[tokio::test]
async fn an_announcement_that_may_have_been_lost_is_taken_away_at_the_end_or_said_to_be_left() {
    for (answer, withdrawn) in [(DONE, true), (BROKEN, false)] {
        let (url, mut questions) = by_hand().await;
        let (over, mut news) = announced(&url);
        // The agent has it, and says that it failed.
        asked(&mut questions).await.1.send(BROKEN).unwrap();
        assert!(matches!(news.recv().await, Some(AnnouncementNews::Lost { .. })));
        over.send(()).unwrap();
        // It may be made again before the end is seen.
        loop {
            let (path, port) = asked(&mut questions).await;
            if path == "/v1/agent/service/deregister/a" {
                port.send(answer).unwrap();
                break;
            }
            port.send(BROKEN).unwrap();
        }
        let mut last = None;
        while let Some(told) = news.recv().await {
            last = Some(told);
        }
        assert_eq!(matches!(last, Some(AnnouncementNews::Withdrawn)), withdrawn, "{last:?}");
        assert_eq!(matches!(last, Some(AnnouncementNews::Left(_))), !withdrawn, "{last:?}");
    }
}

#[tokio::test]
async fn by_an_answer_from_which_a_token_filtered_instances_none_leaves() {
    let instance = |id: &str| json!({"Node": {"Node": "n", "Address": "127.0.0.1"}, "Service": {"ID": id, "Address": "127.0.0.1", "Port": 1}});
    let answer = |head: &str, instances: Value| {
        let body = instances.to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n");
        &*Box::leak((head + &body).into_boxed_str())
    };
    let filtered = "X-Consul-Results-Filtered-By-ACLs: true\r\n";
    let (url, mut questions) = by_hand().await;
    let troupe = start(prompt(), ConsulSource::new(url, "echo")).await;
    let mut events = troupe.events();
    let both = answer("X-Consul-Index: 2\r\n", json!([instance("a"), instance("b")]));
    asked(&mut questions).await.1.send(both).unwrap();
    plays(&troupe, &["a", "b"]).await;
    let half = answer(&format!("X-Consul-Index: 3\r\n{filtered}"), json!([instance("a"), instance("c")]));
    asked(&mut questions).await.1.send(half).unwrap();
    plays(&troupe, &["a", "b", "c"]).await;
    let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    assert!(matches!(skipped, Event::RecordSkipped { reason, .. } if reason.contains("may not see all")));
    let whole = answer("X-Consul-Index: 4\r\n", json!([instance("a"), instance("c")]));
    asked(&mut questions).await.1.send(whole).unwrap();
    plays(&troupe, &["a", "c"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_server_announced_in_consul_is_found_made_again_and_withdrawn() {
    let Some(mut consul) = Consul::start("a_server_announced_in_consul", Mode::Dev).await else { return };
    let a = scripted().await;
    let port: u16 = a.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    let record = json!({"address": "127.0.0.1", "port": port, "group": "echo", "tags": ["eu"], "weight": 7,
        "metadata": {"version": "2"}});
    let record = Record::parse(record.to_string().as_bytes()).unwrap();
    let announcement = Announcement::in_consul(consul.source(), "a", record, Duration::from_secs(3)).unwrap();
    let (over, until_over) = oneshot::channel::<()>();
    let (told, mut news) = mpsc::channel(64);
    let keeping = tokio::spawn(async move {
        let until = async {
            let _ = until_over.await;
        };
        announcement.keep(until, move |news| told.try_send(news).unwrap()).await;
    });
    assert_eq!(news.recv().await, Some(AnnouncementNews::Made));
    let troupe = consul.troupe().await;
    plays(&troupe, &["a"]).await;
    assert_eq!(troupe.servers()[0].tags, ["eu"]);
    assert_eq!(troupe.servers()[0].metadata["version"], "2");
    // Longer than the time to live without a beat.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(super::playing(&troupe), ["a"]);
    consul.kill();
    assert!(matches!(news.recv().await, Some(AnnouncementNews::Lost { .. })));
    consul.run(Mode::Dev).await;
    while !matches!(news.recv().await.expect("it goes on"), AnnouncementNews::Made) {}
    stands(&troupe, SourceStatus::Good).await;
    plays(&troupe, &["a"]).await;
    over.send(()).unwrap();
    keeping.await.unwrap();
    assert_eq!(news.recv().await, Some(AnnouncementNews::Withdrawn));
    assert!(!consul.ask("GET", "/v1/agent/services", "").await.contains("\"a\""));
    let url = Announcement::in_consul(consul.source(), "a", Record::at("ws://h"), Duration::from_secs(3));
    assert!(url.map(drop).unwrap_err().to_string().starts_with("record: url: "));
    end(troupe).await;
}
