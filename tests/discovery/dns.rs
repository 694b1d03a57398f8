//! Servers in a real DNS server: SRV records and addresses, and what becomes of them when DNS itself is in trouble.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use mcp_troupe::discovery::{DnsSource, Record, Source, Template};
use mcp_troupe::event::SourceStatus;
use mcp_troupe::testkit::ScriptedServer;
use mcp_troupe::{Event, Readiness, Server, Settings, Troupe};
use tempfile::TempDir;
use tokio::net::UdpSocket;

use super::common::{echo, end, event};
use super::directory::{Program, STARTS, free_port, installed, skip, until};
use super::{plays, prompt, scripted, source, stands};

const NAME: &str = "_mcp._tcp.files.example.test";

/// A name server with one zone.
struct Knot {
    program: Option<Program>,
    folder: TempDir,
    port: u16,
    binary: String,
    serial: u32,
}

impl Knot {
    /// Starts it with these records. None where it is not installed.
    async fn start(test: &str, records: &str) -> Option<Self> {
        let Some(binary) = installed("knotd") else {
            skip(test, "knotd", "knot");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let mut knot = Self { program: None, folder, port: free_port(), binary, serial: 0 };
        knot.write(records);
        for _ in 0..STARTS {
            knot.configure();
            if knot.try_run().await {
                return Some(knot);
            }
            knot.port = free_port();
        }
        panic!("knot does not start")
    }

    fn configure(&self) {
        let path = self.folder.path().display();
        let config = format!(
            "server:\n  listen: 127.0.0.1@{}\n  rundir: {path}\n  pidfile: {path}/pid\n\
             control:\n  listen: {path}/sock\n\
             database:\n  storage: {path}/db\n\
             zone:\n- domain: example.test.\n  file: {path}/zone\n  zonefile-sync: -1\n  journal-content: none\n",
            self.port
        );
        std::fs::write(self.folder.path().join("knot.conf"), config).unwrap();
    }

    async fn run(&mut self) {
        assert!(self.try_run().await, "knot ended at its start");
    }

    /// Starts it. False where it ends at once, as where somebody else has its port.
    async fn try_run(&mut self) -> bool {
        let config = self.folder.path().join("knot.conf");
        let mut program = Program::start(Command::new(&self.binary).arg("-c").arg(config));
        let serves = program.serves("knot", || self.has_zone()).await;
        self.program = Some(program);
        serves
    }

    /// Whether its present zone is served.
    async fn has_zone(&self) -> bool {
        let name = format!("serial-{}.example.test", self.serial);
        let wanted = DnsSource::addresses(name, 1).name_server(self.at());
        let looked = tokio::time::timeout(Duration::from_secs(1), async { wanted.watch().next().await });
        matches!(looked.await, Ok(Ok(answer)) if !answer.servers.is_empty())
    }

    fn at(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn write(&mut self, records: &str) {
        self.serial += 1;
        let serial = self.serial;
        let zone = format!(
            "$ORIGIN example.test.\n$TTL 1\n@ SOA ns admin {serial} 60 60 60 1\n@ NS ns\nns A 127.0.0.1\n\
             serial-{serial} A 127.0.0.1\n{records}\n"
        );
        std::fs::write(self.folder.path().join("zone"), zone).unwrap();
    }

    /// Gives the zone other records.
    async fn change(&mut self, records: &str) {
        self.write(records);
        self.program.as_ref().expect("it runs").reload();
        until("the zone's loading", || self.has_zone()).await;
    }

    fn source(&self) -> DnsSource {
        DnsSource::srv(NAME).name_server(self.at())
    }
}

/// The SRV record of a server, and the address of its target.
fn srv(target: &str, priority: u16, weight: u16, server: &ScriptedServer) -> String {
    let port = server.url().rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    format!("_mcp._tcp.files SRV {priority} {weight} {port} {target}\n{target} A 127.0.0.1\n")
}

fn id(target: &str, server: &ScriptedServer) -> String {
    let url = server.url();
    let port = url.rsplit(':').next().unwrap().trim_end_matches('/');
    format!("{target}.example.test-{port}")
}

fn settings() -> Settings {
    let mut settings = prompt();
    settings.discovery.removal_grace = Some(Duration::ZERO);
    settings.reconnect.min = Duration::from_millis(10);
    settings.reconnect.max = Duration::from_millis(50);
    settings
}

async fn troupe(source: DnsSource) -> Troupe {
    Troupe::builder().settings(settings()).seed(7).source("dns", source).start().await.unwrap()
}

#[tokio::test]
async fn the_srv_records_of_a_name_join_and_leave_within_their_time_to_live() {
    let (a, b) = (scripted().await, scripted().await);
    let records = srv("a", 0, 100, &a);
    let Some(mut knot) = Knot::start("the_srv_records_of_a_name", &records).await else { return };
    let troupe = troupe(knot.source()).await;
    troupe.ready(Readiness::All).await.unwrap();
    let reply = troupe.call(echo()).await.unwrap();
    assert_eq!((reply.server.to_string(), reply.group.as_str()), (id("a", &a), "files.example.test"));
    knot.change(&format!("{}{}", srv("a", 0, 100, &a), srv("b", 0, 300, &b))).await;
    plays(&troupe, &[&id("a", &a), &id("b", &b)]).await;
    knot.change(&srv("b", 0, 300, &b)).await;
    plays(&troupe, &[&id("b", &b)]).await;
    end(troupe).await;
}

#[tokio::test]
async fn the_second_priority_takes_over_when_all_of_the_first_are_down_and_gives_back() {
    let (mut a, mut b, z) = (scripted().await, scripted().await, scripted().await);
    let records = [srv("a", 10, 100, &a), srv("b", 10, 100, &b), srv("z", 20, 100, &z)].concat();
    let Some(knot) = Knot::start("the_second_priority_takes_over", &records).await else { return };
    let troupe = troupe(knot.source()).await;
    troupe.ready(Readiness::All).await.unwrap();
    let ask = async |calls: usize| {
        let mut servers = std::collections::BTreeSet::new();
        for _ in 0..calls {
            servers.insert(troupe.call(echo().idempotent()).await.unwrap().server.to_string());
        }
        servers.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(ask(20).await, [id("a", &a), id("b", &b)]);
    a.stop_listening().await;
    a.cut_all();
    while ask(1).await != [id("b", &b)] {}
    assert_eq!(z.calls("echo"), 0, "one of the first is up");
    b.stop_listening().await;
    b.cut_all();
    assert_eq!(ask(20).await, [id("z", &z)]);
    b.resume().await;
    troupe.ready(Readiness::Named(vec![id("b", &b)])).await.unwrap();
    assert_eq!(ask(20).await, [id("b", &b)]);
    end(troupe).await;
}

#[tokio::test]
async fn the_addresses_of_a_name_are_servers_on_its_port() {
    let a = scripted().await;
    let records = "files A 127.0.0.1\nfiles AAAA ::1\nalias CNAME files\n";
    let Some(knot) = Knot::start("the_addresses_of_a_name", records).await else { return };
    let port: u16 = a.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    let template = Template::new(Record::parse(br#"{"group": "echo"}"#).unwrap());
    let source = DnsSource::addresses("alias.example.test", port).name_server(knot.at()).template(template);
    let troupe = troupe(source).await;
    let (four, six) = (format!("127.0.0.1-{port}"), format!("--1-{port}"));
    plays(&troupe, &[&six, &four]).await;
    troupe.ready(Readiness::Named(vec![four.clone()])).await.unwrap();
    let reply = troupe.call(echo()).await.unwrap();
    assert_eq!((reply.server.to_string(), reply.group.as_str()), (four, "echo"));
    end(troupe).await;
}

#[tokio::test]
async fn an_answer_that_fits_no_datagram_is_read_whole() {
    let mut records = String::new();
    for n in 0..120 {
        writeln!(records, "_mcp._tcp.files SRV 0 1 {} server-{n}", 1000 + n).unwrap();
        writeln!(records, "server-{n} A 127.0.0.{n}").unwrap();
    }
    let Some(knot) = Knot::start("an_answer_that_fits_no_datagram", &records).await else { return };
    let answer = knot.source().watch().next().await.unwrap();
    assert_eq!((answer.servers.len(), answer.skipped), (120, Vec::new()));
    assert_eq!(
        answer
            .servers
            .iter()
            .find(|found| found.server.id().starts_with("server-7."))
            .map(|found| &found.server),
        Some(
            &Server::websocket("server-7.example.test-1007", "ws://127.0.0.7:1007/")
                .group("files.example.test")
                .weight(1)
        )
    );
}

#[tokio::test]
async fn a_target_without_an_address_is_named_and_stays_as_it_was() {
    let (a, b) = (scripted().await, scripted().await);
    let both = format!("{}{}", srv("a", 0, 1, &a), srv("b", 0, 1, &b));
    let Some(mut knot) = Knot::start("a_target_without_an_address", &both).await else { return };
    let troupe = troupe(knot.source()).await;
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    knot.change(&both.replace("a A 127.0.0.1\n", "")).await;
    let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    assert!(matches!(skipped, Event::RecordSkipped { record, reason, .. }
        if record.starts_with("a.example.test:") && reason.contains("does not exist")));
    plays(&troupe, &[&id("a", &a), &id("b", &b)]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_wrong_name_or_zone_is_one_clear_status() {
    let Some(knot) = Knot::start("a_wrong_name_or_zone", "text TXT hello\n").await else { return };
    for (name, says) in [
        ("_mcp._tcp.misspelt.example.test", "not found: _mcp._tcp.misspelt.example.test. does not exist"),
        ("_mcp._tcp.files.elsewhere.test", "refused: the name server refuses to answer"),
        ("not..a.name", "not found: not..a.name: "),
    ] {
        let troupe = troupe(DnsSource::srv(name).name_server(knot.at())).await;
        let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
        assert!(reason.starts_with(says), "{reason}");
        end(troupe).await;
    }
    // The name is there, and has no such records: an answer without servers.
    let troupe = troupe(DnsSource::srv("text.example.test").name_server(knot.at())).await;
    assert_eq!(stands(&troupe, SourceStatus::Good).await.servers, 0);
    end(troupe).await;
}

#[tokio::test]
async fn a_zone_that_loses_its_records_or_its_server_takes_no_server_with_it() {
    let (a, b) = (scripted().await, scripted().await);
    let both = format!("{}{}", srv("a", 0, 1, &a), srv("b", 0, 1, &b));
    let Some(mut knot) = Knot::start("a_zone_that_loses_its_records", &both).await else { return };
    let troupe = troupe(knot.source()).await;
    troupe.ready(Readiness::All).await.unwrap();
    knot.change("").await;
    let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
    assert!(reason.starts_with("not found: "), "{reason}");
    knot.program = None;
    while !source(&troupe).await.reason.unwrap().starts_with("not reachable: ") {
        assert!(troupe.call(echo()).await.is_ok());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    plays(&troupe, &[&id("a", &a), &id("b", &b)]).await;
    knot.write(&srv("b", 0, 1, &b));
    knot.run().await;
    plays(&troupe, &[&id("b", &b)]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_name_server_that_answers_garbage_is_told() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let garbage = tokio::spawn(async move {
        let mut query = [0; 2048];
        loop {
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            // Its own query, with the rest of it all ones.
            query[12..length].fill(0xff);
            let _ = socket.send_to(&query[..length], from).await;
        }
    });
    let troupe = troupe(DnsSource::srv(NAME).name_server(at)).await;
    assert!(stands(&troupe, SourceStatus::Failing).await.reason.is_some());
    end(troupe).await;
    garbage.abort();
}

/// What a name server by hand says to a question.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    /// This record, as its type and its data.
    Record(u16, &'static [u8]),
    /// That the name has none of this type.
    Nothing,
    /// That there is no such name.
    NoName,
    /// That it failed.
    Fails,
}

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// A name server by hand, which answers each question by its type, as the test says now.
async fn by_hand() -> (SocketAddr, tokio::sync::watch::Sender<fn(u16) -> Says>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let (says, said) = tokio::sync::watch::channel::<fn(u16) -> Says>(|_| Says::Nothing);
    tokio::spawn(async move {
        let mut query = [0; 2048];
        loop {
            let (_, from) = socket.recv_from(&mut query).await.unwrap();
            // A header of 12 bytes, a name that ends with an empty label, a type and a class.
            let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
            let said = said.borrow()(kind);
            let (code, count) = match said {
                Says::Record(..) => (0, 1),
                Says::Nothing => (0, 0),
                Says::Fails => (2, 0),
                Says::NoName => (3, 0),
            };
            // Its id; an answer, authoritative; one question, so many answers, and nothing beside them.
            let mut answer = vec![query[0], query[1], 0x84, code, 0, 1, 0, count, 0, 0, 0, 0];
            answer.extend_from_slice(&query[12..end]);
            if let Says::Record(kind, data) = said {
                // The name of the question, a type, the class of the internet, and a time to live of one second.
                answer.extend_from_slice(&[0xc0, 12]);
                answer.extend_from_slice(&kind.to_be_bytes());
                answer.extend_from_slice(&[0, 1, 0, 0, 0, 1]);
                answer.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
                answer.extend_from_slice(data);
            }
            let _ = socket.send_to(&answer, from).await;
        }
    });
    (at, says)
}

const FOUR: Says = Says::Record(A, &[127, 0, 0, 1]);
const SIX: Says = Says::Record(AAAA, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

#[tokio::test]
async fn a_host_of_which_one_address_family_fails_has_no_answer() {
    let (at, says) = by_hand().await;
    let source = DnsSource::addresses("files.example.test", 1).name_server(at);
    let looked = || async {
        let answer = source.watch().next().await?;
        let servers = answer.servers.iter().map(|found| found.server.id().to_owned());
        Ok::<Vec<String>, mcp_troupe::discovery::SourceError>(servers.collect())
    };
    let both: fn(u16) -> Says = |kind| if kind == A { FOUR } else { SIX };
    says.send_replace(both);
    assert_eq!(looked().await.unwrap(), ["127.0.0.1-1", "--1-1"]);
    for half in [(|kind| if kind == A { Says::Fails } else { SIX }) as fn(u16) -> Says, |kind| {
        if kind == A { FOUR } else { Says::Fails }
    }] {
        says.send_replace(half);
        let error = looked().await.unwrap_err().to_string();
        assert!(error.starts_with("unavailable: "), "{error}");
    }
    // What is surely not there is an answer.
    for half in [(|kind| if kind == A { Says::Nothing } else { SIX }) as fn(u16) -> Says, |kind| {
        if kind == A { Says::NoName } else { SIX }
    }] {
        says.send_replace(half);
        assert_eq!(looked().await.unwrap(), ["--1-1"]);
    }
}

#[tokio::test]
async fn a_target_of_which_one_address_family_fails_stays_as_it_was() {
    // Priority 0, weight 1, port 1, the target "a".
    const TARGET: Says = Says::Record(SRV, &[0, 0, 0, 1, 0, 1, 1, b'a', 0]);
    let (at, says) = by_hand().await;
    says.send_replace(|kind| match kind {
        SRV => TARGET,
        A => FOUR,
        _ => Says::Nothing,
    });
    let troupe = troupe(DnsSource::srv(NAME).name_server(at)).await;
    plays(&troupe, &["a-1"]).await;
    assert_eq!(troupe.servers()[0].endpoint, "ws://127.0.0.1:1/");
    let mut events = troupe.events();
    says.send_replace(|kind| match kind {
        SRV => TARGET,
        A => Says::Fails,
        _ => SIX,
    });
    let told =
        event(&mut events, |event| matches!(event, Event::RecordSkipped { .. } | Event::ServerMoved { .. }));
    let told = told.await;
    assert!(
        matches!(&told, Event::RecordSkipped { record, reason, .. }
        if record == "a:1" && reason.starts_with("unavailable: ")),
        "{told:?}"
    );
    assert_eq!(troupe.servers()[0].endpoint, "ws://127.0.0.1:1/");
    end(troupe).await;
}
