//! Servers in a real etcd: what is put, moved, deleted and leased there, and what becomes of it when etcd itself is in trouble.

use std::time::Duration;

use etcd_client::{Client, PutOptions, WatchOptions};
use mcp_troupe::discovery::{Announcement, AnnouncementNews, EtcdSource, Record, Source};
use mcp_troupe::event::SourceStatus;
use mcp_troupe::testkit::ScriptedServer;
use mcp_troupe::{Event, Readiness, Settings, Troupe};
use serde_json::json;

use super::common::{echo, end, event};
use super::directory::Certificates;
pub use super::etcd_member::Etcd;
use super::etcd_member::PREFIX;
use super::{plays, prompt, scripted, source, stands};

impl Etcd {
    pub async fn client(&self) -> Client {
        Client::connect([self.url()], None).await.unwrap()
    }

    pub async fn put(&self, id: &str, server: &ScriptedServer) {
        let record = json!({"url": server.url(), "group": "echo"}).to_string();
        self.put_text(id, &record).await;
    }

    async fn put_text(&self, id: &str, text: &str) {
        self.client().await.put(format!("{PREFIX}{id}"), text, None).await.unwrap();
    }

    pub async fn delete(&self, id: &str) {
        self.client().await.delete(format!("{PREFIX}{id}"), None).await.unwrap();
    }

    pub async fn troupe(&self) -> Troupe {
        self.troupe_with(prompt()).await
    }

    pub async fn troupe_with(&self, settings: Settings) -> Troupe {
        start(settings, self.source()).await
    }
}

async fn start(settings: Settings, source: EtcdSource) -> Troupe {
    Troupe::builder().settings(settings).seed(7).source("etcd", source).start().await.unwrap()
}

#[tokio::test]
async fn what_is_put_moved_and_deleted_in_etcd_joins_moves_and_leaves() {
    let Some(etcd) = Etcd::start("what_is_put_moved_and_deleted_in_etcd").await else { return };
    let (a, b) = (scripted().await, scripted().await);
    etcd.put("a", &a).await;
    let troupe = etcd.troupe().await;
    troupe.ready(Readiness::All).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    etcd.put("b", &b).await;
    plays(&troupe, &["a", "b"]).await;
    etcd.put("a", &b).await;
    b.wait_for(|seen| seen.accepted >= 2).await;
    etcd.delete("b").await;
    plays(&troupe, &["a"]).await;
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_key_whose_lease_runs_out_is_withdrawn() {
    let Some(etcd) = Etcd::start("a_key_whose_lease_runs_out").await else { return };
    let (a, b) = (scripted().await, scripted().await);
    etcd.put("a", &a).await;
    let mut client = etcd.client().await;
    let lease = client.lease_grant(1, None).await.unwrap().id();
    let record = json!({"url": b.url(), "group": "echo"}).to_string();
    client.put(format!("{PREFIX}b"), record, Some(PutOptions::new().with_lease(lease))).await.unwrap();
    let troupe = etcd.troupe().await;
    plays(&troupe, &["a", "b"]).await;
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_record_of_etcd_that_is_garbage_is_named_and_leaves_its_server_as_it_was() {
    let Some(etcd) = Etcd::start("a_record_of_etcd_that_is_garbage").await else { return };
    let a = scripted().await;
    etcd.put("a", &a).await;
    let troupe = etcd.troupe().await;
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    for (id, text, says) in [
        ("a", "\u{0}garbage", "record: it is no JSON object"),
        ("b", r#"{"url": "ws://h", "wieght": 1}"#, "wieght: unknown field"),
        ("c/d", r#"{"url": "ws://h"}"#, "\"c/d\" is no valid id"),
        ("e", r#"{"url": "gopher://h"}"#, "e.url: invalid endpoint"),
    ] {
        etcd.put_text(id, text).await;
        let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
        let Event::RecordSkipped { record, reason, .. } = skipped else { unreachable!() };
        assert!(record.ends_with(id) && reason.starts_with(says), "{record}: {reason}");
    }
    assert!(troupe.call(echo()).await.is_ok());
    assert_eq!(a.observed().accepted, 1, "the server was left alone");
    end(troupe).await;
}

#[tokio::test]
async fn an_etcd_that_is_down_at_start_is_told_and_found_when_it_comes() {
    let Some(mut etcd) = Etcd::stopped("an_etcd_that_is_down_at_start") else { return };
    let a = scripted().await;
    let troupe = etcd.troupe().await;
    let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
    assert!(reason.starts_with("not reachable: "), "{reason}");
    etcd.run().await;
    etcd.put("a", &a).await;
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_etcd_that_dies_and_returns_empty_or_changed_takes_no_server_by_mistake() {
    let Some(mut etcd) = Etcd::start("an_etcd_that_dies_and_returns").await else { return };
    let (a, b) = (scripted().await, scripted().await);
    etcd.put("a", &a).await;
    let troupe = etcd.troupe().await;
    troupe.ready(Readiness::All).await.unwrap();
    etcd.kill();
    stands(&troupe, SourceStatus::Failing).await;
    assert!(troupe.call(echo()).await.is_ok());
    etcd.run().await;
    stands(&troupe, SourceStatus::Good).await;
    // Without its data its revisions begin anew, below those that were seen.
    let mut events = troupe.events();
    etcd.wipe();
    stands(&troupe, SourceStatus::Failing).await;
    etcd.run().await;
    event(&mut events, |event| matches!(event, Event::DiscoveryDoubted { .. })).await;
    etcd.put("b", &b).await;
    etcd.put("a", &a).await;
    plays(&troupe, &["a", "b"]).await;
    etcd.delete("b").await;
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_etcd_that_freezes_is_told_and_changes_nothing() {
    let Some(etcd) = Etcd::start("an_etcd_that_freezes").await else { return };
    let a = scripted().await;
    etcd.put("a", &a).await;
    let troupe = etcd.troupe().await;
    troupe.ready(Readiness::All).await.unwrap();
    etcd.program().freeze();
    // Within the time of a sign of life and the wait for it.
    let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
    assert!(reason.starts_with("not reachable: "), "{reason}");
    assert!(troupe.call(echo()).await.is_ok());
    etcd.program().thaw();
    stands(&troupe, SourceStatus::Good).await;
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_compaction_under_the_watch_is_answered_by_a_fresh_get() {
    let Some(etcd) = Etcd::start("a_compaction_under_the_watch").await else { return };
    let (a, b) = (scripted().await, scripted().await);
    etcd.put("a", &a).await;
    let troupe = etcd.troupe().await;
    plays(&troupe, &["a"]).await;
    // While the troupe is cut off, etcd forgets what happened meanwhile.
    for round in 0..3 {
        etcd.put("b", &b).await;
        etcd.delete("b").await;
        let mut client = etcd.client().await;
        let revision = client.get("k", None).await.unwrap().header().unwrap().revision();
        client.compact(revision, None).await.unwrap();
        etcd.put("b", &b).await;
        plays(&troupe, &["a", "b"]).await;
        etcd.delete("b").await;
        plays(&troupe, &["a"]).await;
        assert_eq!(source(&troupe).await.failures, 0, "round {round}");
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_watch_that_was_outrun_and_compacted_ends_at_what_there_is() {
    let Some(etcd) = Etcd::start("a_watch_that_was_outrun_and_compacted").await else { return };
    etcd.put_text("a", r#"{"url": "ws://h"}"#).await;
    let mut watch = etcd.source().watch();
    assert_eq!(watch.next().await.unwrap().servers.len(), 1);
    // Nobody reads the watch, whose buffers hold a thousand changes and more; then etcd forgets what it could not send.
    let mut client = etcd.client().await;
    let writers = (0..100).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move {
            for _ in 0..40 {
                client.put(format!("{PREFIX}large"), "x".repeat(4096), None).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    client.delete(format!("{PREFIX}large"), None).await.unwrap();
    let last = client.put(format!("{PREFIX}b"), r#"{"url": "ws://h"}"#, None).await.unwrap();
    client.compact(last.header().unwrap().revision(), None).await.unwrap();
    loop {
        let answer = watch.next().await.unwrap();
        let found: Vec<&str> = answer.servers.iter().map(|found| found.server.id()).collect();
        if found == ["a", "b"] {
            assert!(answer.skipped.is_empty());
            break;
        }
    }
}

#[tokio::test]
async fn a_wrong_user_or_password_is_one_clear_status_and_the_right_one_reads() {
    let Some(etcd) = Etcd::start("a_wrong_user_or_password").await else { return };
    let a = scripted().await;
    etcd.put("a", &a).await;
    let mut client = etcd.client().await;
    client.user_add("root", "secret", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.user_add("nobody", "secret", None).await.unwrap();
    client.auth_enable().await.unwrap();
    let refused = [
        (etcd.source(), "user name is empty"),
        (etcd.source().user("root", "wrong"), "invalid user ID or password"),
        (etcd.source().user("nobody", "secret"), "permission denied"),
    ];
    for (source, says) in refused {
        let troupe = start(prompt(), source).await;
        let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
        assert!(reason.starts_with("refused: ") && reason.contains(says), "{reason}");
        end(troupe).await;
    }
    let troupe = start(prompt(), etcd.source().user("root", "secret")).await;
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_announcement_that_ends_while_it_is_made_is_taken_away() {
    let Some(etcd) = Etcd::start("an_announcement_that_ends_while_it_is_made").await else { return };
    for _ in 0..10 {
        let mut client = etcd.client().await;
        let mut changes = client.watch(PREFIX, Some(WatchOptions::new().with_prefix())).await.unwrap();
        // It ends as soon as its key is there, which is before its lease is first kept alive.
        let until = async move { while changes.message().await.unwrap().unwrap().events().is_empty() {} };
        let ttl = Duration::from_secs(60);
        let announcement = Announcement::in_etcd(etcd.source(), "a", Record::at("ws://h"), ttl).unwrap();
        let mut news = Vec::new();
        announcement.keep(until, |told| news.push(told)).await;
        assert_eq!(news.last(), Some(&AnnouncementNews::Withdrawn), "{news:?}");
        assert!(client.get(format!("{PREFIX}a"), None).await.unwrap().kvs().is_empty(), "its key is left");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_told_without_what_it_hides() {
    for (endpoint, says) in [
        ("http://root:s3cret@127.0.0.1:1", "endpoint 2: it carries user info"),
        ("root:s3cret@127.0.0.1:1", "endpoint 2: it carries user info"),
        ("http:/root:s3cret@127.0.0.1:1", "endpoint 2: the URL is invalid"),
        ("http://root:s3/cret@127.0.0.1:1", "endpoint 2: the URL is invalid"),
        ("tcp://127.0.0.1:1", "endpoint 2: the URL does not begin with http:// or https://"),
    ] {
        let source = EtcdSource::new(["http://127.0.0.1:1", endpoint], PREFIX);
        let told = source.watch().next().await.unwrap_err().to_string();
        assert!(told.starts_with(&format!("not found: {says}")), "{endpoint}: {told}");
        let shown = format!("{told} {}", source.place());
        assert!(!shown.contains("cret"), "{endpoint}: {shown}");
    }
}

#[tokio::test]
async fn a_server_that_no_troupe_would_take_is_not_announced() {
    let ttl = Duration::from_secs(10);
    let refused = |id: &str, record: &str, ttl: Duration| {
        let etcd = EtcdSource::new(["http://127.0.0.1:1"], PREFIX);
        let record = Record::parse(record.as_bytes()).unwrap();
        Announcement::in_etcd(etcd, id, record, ttl).map(drop).unwrap_err().to_string()
    };
    assert_eq!(refused("a", "{}", ttl), "record: address is missing");
    assert!(refused("a/b", r#"{"url":"ws://h"}"#, ttl).starts_with("record: \"a/b\" is no valid id"));
    assert_eq!(refused("a", r#"{"url":"ws://h"}"#, Duration::from_secs(1)), "ttl: 1s is less than 3s");
    let for_ever = refused("a", r#"{"url":"ws://h"}"#, Duration::MAX);
    assert!(for_ever.starts_with("ttl: must be a day at most"), "{for_ever}");
}

#[tokio::test]
async fn certificates_are_shown_and_verified_and_wrong_ones_are_one_clear_status() {
    let Some(mut etcd) = Etcd::stopped("certificates_are_shown_and_verified") else { return };
    etcd.certificates = Some(Certificates::new());
    etcd.run().await;
    let made = etcd.certificates.as_ref().unwrap();
    let plain = EtcdSource::new([etcd.url()], PREFIX);
    for (tls, says) in [
        (
            made.trusting("stranger").client_certificate(made.path("client.pem"), made.path("client.key")),
            "not reachable: ",
        ),
        (made.trusting("server"), "not reachable: "),
        (made.trusting("missing"), "refused: "),
    ] {
        let troupe = start(prompt(), plain.clone().tls(tls)).await;
        let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
        assert!(reason.starts_with(says) && !reason.ends_with("transport error"), "{reason}");
        end(troupe).await;
    }
    let troupe = etcd.troupe().await;
    stands(&troupe, SourceStatus::Good).await;
    end(troupe).await;
}
