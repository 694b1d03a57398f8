//! Known lists: what servers listed at their last run is shown before they have listed in this one.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{child, end, event, kind, servers_json};
use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Fault, FaultProxy, Script, ScriptedServer, Target, inject};
use mcp_troupe::{Call, CallErrorKind, ConfigFile, Event, OnChange, Readiness, Server, Settings, Troupe};
use serde_json::{Value, json};

/// A folder and the file in it.
struct Lists(tempfile::TempDir);

impl Lists {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("cache/known-lists.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Puts another file in its place, as this program would write it.
    fn put(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    /// How many files are in the folder.
    fn files(&self) -> usize {
        fs::read_dir(self.path().parent().unwrap()).unwrap().count()
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.known_lists = Some(self.path());
        settings
    }

    async fn start(&self, servers: impl IntoIterator<Item = Server>) -> Troupe {
        let builder = Troupe::builder().settings(self.settings()).seed(7);
        servers.into_iter().fold(builder, |builder, server| builder.server(server)).start().await.unwrap()
    }

    /// A whole run in which all of these list.
    async fn run(&self, servers: impl IntoIterator<Item = Server>) {
        let troupe = self.start(servers).await;
        troupe.ready(Readiness::All).await.unwrap();
        end(troupe).await;
    }
}

/// A server behind a line that can be held.
struct Weather {
    server: ScriptedServer,
    line: FaultProxy,
}

impl Weather {
    async fn start() -> Self {
        let server = ScriptedServer::builder()
            .tool("forecast", Script::Echo)
            .tool("today", Script::Echo)
            .prompt("ask", "How is it?")
            .resource("weather://now", "rain")
            .template("weather://{day}")
            .tells_changes()
            .start()
            .await;
        let line = FaultProxy::start(&server.url()).await.unwrap();
        Self { server, line }
    }

    /// As a server of the troupe.
    fn described(&self, id: &str) -> Server {
        Server::websocket(id, self.line.url())
    }

    fn one(&self) -> [Server; 1] {
        [self.described("weather")]
    }

    /// It says nothing until it is let.
    fn hold(&self) {
        self.line.change(|line| line.stalled = true);
    }
}

fn known(names: &[&str], confirmed: bool) -> Vec<(String, bool)> {
    names.iter().map(|name| ((*name).to_owned(), confirmed)).collect()
}

fn names(troupe: &Troupe) -> Vec<(String, bool)> {
    troupe.tools().iter().map(|tool| (tool.name.to_string(), tool.confirmed)).collect()
}

/// Waits until this is shown, which is told when it is.
async fn until(troupe: &Troupe, shown: impl Fn(&Troupe) -> bool) {
    let mut events = troupe.events();
    while !shown(troupe) {
        events.next().await.expect("the troupe goes on");
    }
}

/// Waits until these tools are shown, from the last run.
async fn shows(troupe: &Troupe, tools: &[&str]) {
    until(troupe, |troupe| names(troupe) == known(tools, false)).await;
}

fn is_failure(event: &Event) -> bool {
    matches!(event, Event::KnownListsFailed { .. })
}

#[tokio::test]
async fn tools_of_the_last_run_are_shown_at_once_and_a_call_to_one_waits_for_its_server() {
    let (lists, weather) = (Lists::new(), Weather::start().await);
    lists.run(weather.one()).await;
    weather.hold();
    let troupe = lists.start(weather.one()).await;
    let mut events = troupe.events();
    shows(&troupe, &["forecast", "today"]).await;
    let catalogue = troupe.catalogue();
    assert!(catalogue.prompts().all(|prompt| !prompt.confirmed) && catalogue.prompts().len() == 1);
    assert_eq!((catalogue.resources().len(), catalogue.resource_templates().len()), (1, 1));
    let info = &troupe.servers()[0];
    assert!(info.tools == 2 && info.status != ServerStatus::Ready);
    let mut call = Box::pin(troupe.call(Call::tool("forecast").args(json!({"n": 1}))));
    assert!(futures_util::poll!(&mut call).is_pending());
    weather.line.heal();
    call.await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(names(&troupe), known(&["forecast", "today"], true));
    assert!(troupe.prompts().iter().all(|prompt| prompt.confirmed));
    // Nothing differs, and nothing was told until something does.
    weather.server.remove_tool("today");
    weather.server.announce_tools();
    let told = event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    let Event::CatalogueChanged { added, removed, changed, .. } = told else { unreachable!() };
    assert_eq!((added.len(), removed, changed.len()), (0, vec!["today".to_owned()], 0));
    end(troupe).await;
}

#[tokio::test]
async fn what_a_server_lists_replaces_what_was_known_and_true_differences_alone_are_told() {
    let (lists, weather) = (Lists::new(), Weather::start().await);
    lists.run(weather.one()).await;
    weather.server.remove_tool("today");
    weather.server.set_script("tomorrow", Script::Echo);
    weather.server.say("forecast", json!({"description": "another"}));
    weather.hold();
    let troupe = lists.start(weather.one()).await;
    let mut events = troupe.events();
    shows(&troupe, &["forecast", "today"]).await;
    // It waits for a tool that is gone when the server has listed.
    let gone = troupe.call(Call::tool("today"));
    weather.line.heal();
    let told = event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    let Event::CatalogueChanged { added, removed, changed, .. } = told else { unreachable!() };
    let one = |name: &str| vec![name.to_owned()];
    assert_eq!((added, removed, changed), (one("tomorrow"), one("today"), one("forecast")));
    let gone = kind(gone.await);
    assert!(matches!(&gone, CallErrorKind::UnknownTool { .. }), "{gone}");
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(names(&troupe), known(&["forecast", "tomorrow"], true));
    end(troupe).await;
    assert!(lists.text().contains("tomorrow") && !lists.text().contains("today"));
}

#[tokio::test]
async fn a_call_to_a_known_tool_of_a_server_that_is_down_says_why() {
    let (lists, mut weather) = (Lists::new(), Weather::start().await);
    lists.run(weather.one()).await;
    weather.line.stop().await;
    let troupe = lists.start(weather.one()).await;
    // It is refused at once, and yet not settled before the file was read.
    troupe.ready(Readiness::Settled).await.unwrap();
    assert_eq!(names(&troupe), known(&["forecast", "today"], false));
    for tool in ["forecast", "of-none"] {
        let down = kind(troupe.call(Call::tool(tool)).await);
        assert!(
            matches!(&down, CallErrorKind::Unavailable { servers } if servers[0].server == "weather"),
            "{down}"
        );
    }
    end(troupe).await;
    assert!(lists.text().contains("forecast"), "what could not be confirmed is kept all the same");
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_has_no_secret() {
    let (lists, weather) = (Lists::new(), Weather::start().await);
    let secret = "s3cr3t-0123456789";
    let over_headers = weather.described("weather").header("X-Key", secret).bearer(secret);
    let process = child("process", ["--say", secret]).env("API_KEY", secret);
    lists.run([over_headers, process]).await;
    let text = lists.text();
    assert!(text.contains("forecast") && text.contains("hang-up"));
    for word in [secret, "X-Key", "API_KEY", "scripted_child", "127.0.0.1", "weather\"", "--say"] {
        assert!(!text.contains(word), "{word}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&lists.path()), mode(lists.path().parent().unwrap())), (0o600, 0o700));
    }
    assert_eq!(lists.files(), 1, "nothing unfinished is left");
}

#[tokio::test]
async fn a_stdio_server_and_one_over_http_are_known_as_well() {
    let lists = Lists::new();
    let web = ScriptedServer::builder().tool("ask", Script::Echo).http().start().await;
    let servers =
        |arguments: &[&'static str]| [Server::http("web", web.url()), child("process", arguments.to_vec())];
    lists.run(servers(&[])).await;
    assert_eq!(lists.json()["servers"].as_object().unwrap().len(), 2);
    for method in ["server/discover", "initialize"] {
        web.neglect(method, 1_000_000);
    }
    let of = |troupe: &Troupe, group: &str| {
        let mut tools = troupe.tools();
        tools.retain(|tool| tool.group == group);
        (tools.len(), tools.iter().filter(|tool| tool.confirmed).count())
    };
    let troupe = lists.start(servers(&[])).await;
    until(&troupe, |troupe| of(troupe, "web") == (1, 0)).await;
    troupe.call(Call::tool("process/echo")).await.unwrap();
    end(troupe).await;
    // Started with something else, it is another one.
    let troupe = lists.start(servers(&["--silent"])).await;
    until(&troupe, |troupe| of(troupe, "web") == (1, 0)).await;
    assert_eq!(of(&troupe, "process"), (0, 0));
    end(troupe).await;
    let troupe = lists.start([child("process", []).env("ANY", "x").cwd("/")]).await;
    troupe.ready(Readiness::All).await.unwrap();
    end(troupe).await;
    assert_eq!(lists.json()["servers"].as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn a_tool_that_breaks_its_pin_is_not_shown_from_the_file() {
    let (lists, weather) = (Lists::new(), Weather::start().await);
    let troupe = lists.start(weather.one()).await;
    troupe.ready(Readiness::All).await.unwrap();
    let pins = troupe.pins().await;
    end(troupe).await;
    let tampered = lists.text().replacen(r#""forecast""#, r#""forecast","description":"obey""#, 1);
    assert_ne!(tampered, lists.text());
    lists.put(&tampered);
    weather.hold();
    for on_change in [OnChange::Block, OnChange::Warn, OnChange::Allow] {
        let builder =
            weather.one().into_iter().fold(Troupe::builder(), |builder, server| builder.server(server));
        let builder = builder.settings(lists.settings()).pins(pins.clone(), on_change);
        let troupe = builder.start().await.unwrap();
        shows(&troupe, &["today"]).await;
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_told_once_and_servers_play_without_it() {
    let weather = Weather::start().await;
    let beginning = r#"{"format":"mcp-troupe known lists","version":"#;
    let newer = format!(r#"{beginning}2,"what":"ever"}}"#);
    let broken = format!(r#"{beginning}1,"salt":"#);
    for (text, says, replaced) in [
        ("{\"mcpServers\": {}}", "no file of known lists", false),
        ("", "broken", true),
        (&*newer, "version is 2", false),
        (&*broken, "broken", true),
    ] {
        let lists = Lists::new();
        lists.run(weather.one()).await;
        lists.put(text);
        let troupe = lists.start(weather.one()).await;
        let mut events = troupe.events();
        let told = event(&mut events, is_failure).await;
        assert!(told.to_string().contains(says), "{told}");
        troupe.ready(Readiness::All).await.unwrap();
        assert_eq!(names(&troupe), known(&["forecast", "today"], true));
        end(troupe).await;
        while let Some(event) = events.next().await {
            assert!(!is_failure(&event), "told twice: {event}");
        }
        assert_eq!(lists.text() != text, replaced, "{text}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_others_may_touch_and_a_link_are_neither_read_nor_written() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let weather = Weather::start().await;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let loose = |lists: &Lists| set(&lists.path(), 0o620);
    let open_folder = |lists: &Lists| set(lists.path().parent().unwrap(), 0o755);
    let link = |lists: &Lists| {
        let other = lists.0.path().join("other");
        fs::rename(lists.path(), &other).unwrap();
        symlink(&other, lists.path()).unwrap();
    };
    for (spoil, says) in
        [(&loose as &dyn Fn(&Lists), "chmod go-rwx"), (&open_folder, "chmod go-rwx"), (&link, "is a link")]
    {
        let lists = Lists::new();
        lists.run(weather.one()).await;
        spoil(&lists);
        let before = lists.text();
        weather.server.set_script("more", Script::Echo);
        let troupe = lists.start(weather.one()).await;
        let mut events = troupe.events();
        let told = event(&mut events, is_failure).await;
        assert!(told.to_string().contains(says), "{told}");
        troupe.ready(Readiness::All).await.unwrap();
        end(troupe).await;
        assert_eq!(lists.text(), before);
        weather.server.remove_tool("more");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_can_be_used_again_is_written_again() {
    use std::os::unix::fs::PermissionsExt;
    let (lists, weather) = (Lists::new(), Weather::start().await);
    lists.run(weather.one()).await;
    let before = lists.text();
    fs::set_permissions(lists.path(), fs::Permissions::from_mode(0o620)).unwrap();
    weather.server.set_script("more", Script::Echo);
    let troupe = lists.start(weather.one()).await;
    event(&mut troupe.events(), is_failure).await;
    troupe.ready(Readiness::All).await.unwrap();
    fs::set_permissions(lists.path(), fs::Permissions::from_mode(0o600)).unwrap();
    end(troupe).await;
    assert!(lists.text().contains("more") && !before.contains("more"));
}

#[tokio::test]
async fn a_file_that_is_deleted_or_broken_while_it_is_used_is_written_with_all_that_was_in_it() {
    for spoiled in [None, Some(r#"{"format":"mcp-troupe known lists","version":1,"salt":"#)] {
        let (lists, weather) = (Lists::new(), Weather::start().await);
        let other = ScriptedServer::builder().tool("elsewhere", Script::Echo).tells_changes().start().await;
        let both = || weather.one().into_iter().chain([Server::websocket("other", other.url())]);
        lists.run(both()).await;
        let troupe = lists.start(both()).await;
        troupe.ready(Readiness::All).await.unwrap();
        match spoiled {
            None => fs::remove_file(lists.path()).unwrap(),
            Some(text) => lists.put(text),
        }
        other.set_script("new", Script::Echo);
        let mut events = troupe.events();
        other.announce_tools();
        event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
        end(troupe).await;
        assert_eq!(lists.json()["servers"].as_object().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_full_disk_is_an_event_and_stops_nothing() {
    let (lists, weather) = (Lists::new(), Weather::start().await);
    // A file where its folder should be cannot be written into, whoever asks.
    fs::write(lists.path().parent().unwrap(), "").unwrap();
    let troupe = lists.start(weather.one()).await;
    let mut events = troupe.events();
    troupe.ready(Readiness::All).await.unwrap();
    event(&mut events, is_failure).await;
    troupe.call(Call::tool("forecast")).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn killed_actors_lose_neither_what_is_shown_nor_what_is_kept() {
    let (lists, weather) = (Lists::new(), Weather::start().await);
    lists.run(weather.one()).await;
    weather.hold();
    let troupe = lists.start(weather.one()).await;
    let mut events = troupe.events();
    shows(&troupe, &["forecast", "today"]).await;
    let is_down = |event: &Event| matches!(event, Event::ServerDown { .. });
    let is_routed = |event: &Event| matches!(event, Event::RouterRestarted { .. });
    let is_registered = |event: &Event| matches!(event, Event::RegistryRestarted { .. });
    inject(&troupe, Target::KnownLists, Fault::Kill).await.unwrap();
    for (target, ended) in [
        (Target::server("weather"), &is_down as &dyn Fn(&Event) -> bool),
        (Target::Router, &is_routed),
        (Target::Registry, &is_registered),
    ] {
        inject(&troupe, target, Fault::Kill).await.unwrap();
        event(&mut events, ended).await;
        shows(&troupe, &["forecast", "today"]).await;
    }
    weather.line.heal();
    troupe.ready(Readiness::All).await.unwrap();
    // Its successor is told what was listed before it came.
    fs::remove_file(lists.path()).unwrap();
    inject(&troupe, Target::KnownLists, Fault::Panic).await.unwrap();
    while !lists.path().exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    end(troupe).await;
    assert!(lists.text().contains("forecast"));
}

#[tokio::test]
async fn the_death_of_the_registry_takes_no_tool_out_of_the_catalogue() {
    let (lists, weather) = (Lists::new(), Weather::start().await);
    lists.run(weather.one()).await;
    for confirmed in [true, false] {
        if !confirmed {
            weather.hold();
        }
        let troupe = lists.start(weather.one()).await;
        let mut events = troupe.events();
        until(&troupe, |troupe| names(troupe) == known(&["forecast", "today"], confirmed)).await;
        let mut changes = troupe.catalogue_changes();
        let watched = tokio::spawn(async move {
            let mut least = 2;
            while let Some(catalogue) = changes.next().await {
                least = least.min(catalogue.tools().count());
            }
            least
        });
        for _ in 0..3 {
            inject(&troupe, Target::Registry, Fault::Kill).await.unwrap();
            event(&mut events, |event| matches!(event, Event::ServerRegistered { .. })).await;
        }
        if confirmed {
            troupe.ready(Readiness::All).await.unwrap();
        }
        end(troupe).await;
        assert_eq!(watched.await.unwrap(), 2, "confirmed: {confirmed}");
    }
}

#[tokio::test]
async fn another_description_is_another_server_and_the_same_one_is_known_again() {
    let (lists, one, other) = (Lists::new(), Weather::start().await, Weather::start().await);
    other.server.remove_tool("today");
    lists.run(one.one()).await;
    lists.run(other.one()).await;
    assert_eq!(lists.json()["servers"].as_object().unwrap().len(), 2, "both are kept");
    one.hold();
    other.hold();
    let file = |server: Value| {
        let text = json!({"mcpServers": {"weather": server}, "troupe": {"knownLists": lists.path()}});
        ConfigFile::parse(&servers_json(text)).unwrap()
    };
    let troupe = Troupe::builder().config(file(json!({"url": one.line.url()}))).start().await.unwrap();
    shows(&troupe, &["forecast", "today"]).await;
    troupe.apply(file(json!({"url": other.line.url()}))).await.unwrap();
    shows(&troupe, &["forecast"]).await;
    troupe.apply(file(json!({"url": "ws://127.0.0.1:9"}))).await.unwrap();
    shows(&troupe, &[]).await;
    troupe.apply(file(json!({"url": one.line.url(), "weight": 2}))).await.unwrap();
    shows(&troupe, &["forecast", "today"]).await;
    // What does not concern its connections leaves it as it is.
    troupe.apply(file(json!({"url": one.line.url(), "weight": 3}))).await.unwrap();
    assert_eq!(names(&troupe), known(&["forecast", "today"], false));
    troupe.apply(file(json!({"url": one.line.url(), "disabled": true}))).await.unwrap();
    shows(&troupe, &[]).await;
    troupe.apply(file(json!({"url": one.line.url()}))).await.unwrap();
    shows(&troupe, &["forecast", "today"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn two_servers_that_differ_in_a_secret_alone_do_not_see_each_others_lists() {
    let (lists, weather) = (Lists::new(), Weather::start().await);
    let of = |id: &str, key: &str| weather.described(id).header("X-Key", key);
    lists.run([of("work", "1")]).await;
    weather.hold();
    let troupe = lists.start([of("work", "1"), of("home", "2")]).await;
    shows(&troupe, &["forecast", "today"]).await;
    assert!(troupe.tools().iter().all(|tool| tool.group == "work"));
    end(troupe).await;
    // A key that is renewed makes no other server.
    let troupe = lists.start([of("work", "3")]).await;
    shows(&troupe, &["forecast", "today"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_drained_server_stays_shown_and_its_calls_say_that_it_rests() {
    let (lists, weather) = (Lists::new(), Weather::start().await);
    lists.run(weather.one()).await;
    weather.hold();
    let troupe = lists.start(weather.one()).await;
    shows(&troupe, &["forecast", "today"]).await;
    troupe.drain("weather", Duration::from_secs(1)).await.unwrap();
    assert_eq!(names(&troupe), known(&["forecast", "today"], false));
    let rests = kind(troupe.call(Call::tool("forecast")).await);
    assert!(rests.to_string().contains("it was drained"), "{rests}");
    weather.line.heal();
    troupe.resume("weather").await.unwrap();
    troupe.call(Call::tool("forecast")).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn replicas_are_described_by_one_that_has_listed_it() {
    let (lists, old, new) = (Lists::new(), Weather::start().await, Weather::start().await);
    let servers = || [("a", &old), ("b", &new)].map(|(id, of)| of.described(id).group("weather"));
    old.server.say("forecast", json!({"description": "old"}));
    lists.run(servers()).await;
    new.server.say("forecast", json!({"description": "new"}));
    old.hold();
    let troupe = lists.start(servers()).await;
    troupe.ready(Readiness::Any).await.unwrap();
    let both = |troupe: &Troupe| troupe.tools().iter().all(|tool| tool.servers.len() == 2);
    until(&troupe, |troupe| names(troupe) == known(&["forecast", "today"], true) && both(troupe)).await;
    let definition = &troupe.tools()[0].definition;
    assert!(definition.as_str().contains("new"), "{definition}");
    end(troupe).await;
}

#[tokio::test]
async fn without_a_setting_nothing_is_kept() {
    let weather = Weather::start().await;
    let troupe = common::ready(weather.one()).await;
    assert!(inject(&troupe, Target::KnownLists, Fault::Kill).await.is_err());
    end(troupe).await;
}

/// Two troupes of this process write one file at once, over and over: neither tears it, and each finds its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_never_tear_the_file() {
    let (lists, one, other) = (Lists::new(), Weather::start().await, Weather::start().await);
    for _ in 0..5 {
        tokio::join!(lists.run(one.one()), lists.run(other.one()));
        let servers = lists.json()["servers"].as_object().unwrap().len();
        assert!((1..=2).contains(&servers), "{servers}");
    }
    assert_eq!(lists.files(), 1, "nothing unfinished is left");
}

/// A minute in which a server offers another tool each second: each change is listed, and few are written.
#[tokio::test(start_paused = true)]
async fn however_often_lists_change_the_file_is_written_every_ten_seconds_at_most() {
    let lists = Lists::new();
    let scripted = ScriptedServer::builder().tool("forecast", Script::Echo).tells_changes();
    let (server, connector) = scripted.start_in_memory();
    let builder = Troupe::builder().settings(lists.settings()).seed(7);
    let troupe = builder.server_via(Server::custom("weather"), connector).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    let (mut written, mut writes) = (String::new(), 0);
    for n in 1..=60 {
        server.set_script(format!("tool-{n}"), Script::Echo);
        server.announce_tools();
        event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let text = fs::read_to_string(lists.path()).unwrap_or_default();
        writes += u32::from(text != written);
        written = text;
    }
    assert!((4..=7).contains(&writes), "{writes} for 60 changes");
    let newest = "tool-60";
    assert!(!written.contains(newest));
    end(troupe).await;
    assert!(lists.text().contains(newest), "the last of them is written at the end");
}
