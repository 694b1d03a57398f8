//! A source of servers whose answers a test dictates.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Server;
use crate::discovery::{Answer, BoxFuture, Found, Next, Skipped, Source, SourceError, Watch};
use crate::transport::Connector;

/// What a watch of the source meets.
#[derive(Clone)]
enum Scene {
    Answers(Vec<(Server, Option<Arc<dyn Connector>>)>, Vec<Skipped>),
    Fails(SourceError),
    Silent,
    Panics,
}

/// What the source shows, and what was seen of it.
struct Stage {
    scene: Scene,
    /// Grows with each scene.
    number: u64,
    watches: u64,
    answers: u64,
}

/// A source of servers that says what it is told to say. Clones share one script.
///
/// ```
/// use mcp_troupe::testkit::{ScriptedServer, ScriptedSource};
/// use mcp_troupe::{Readiness, Server, Troupe};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = ScriptedServer::builder().tool("echo", Default::default()).start().await;
/// let source = ScriptedSource::new();
/// source.answer([Server::websocket("echo", server.url())]);
/// let troupe = Troupe::builder().source("directory", source.clone()).start().await?;
/// troupe.ready(Readiness::All).await?;
/// # troupe.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ScriptedSource {
    stage: Arc<watch::Sender<Stage>>,
}

impl Default for ScriptedSource {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedSource {
    /// A source that is silent.
    pub fn new() -> Self {
        let stage = Stage { scene: Scene::Silent, number: 0, watches: 0, answers: 0 };
        Self { stage: Arc::new(watch::Sender::new(stage)) }
    }

    /// From now on it names these servers.
    pub fn answer(&self, servers: impl IntoIterator<Item = Server>) {
        self.answer_beside(servers, []);
    }

    /// From now on it names these servers, and beside them records that are none.
    pub fn answer_beside(
        &self,
        servers: impl IntoIterator<Item = Server>,
        skipped: impl IntoIterator<Item = Skipped>,
    ) {
        let servers = servers.into_iter().map(|server| (server, None));
        self.show(Scene::Answers(servers.collect(), skipped.into_iter().collect()));
    }

    /// From now on it names these servers, each with the way to it.
    pub fn answer_via(&self, servers: impl IntoIterator<Item = (Server, Arc<dyn Connector>)>) {
        let servers = servers.into_iter().map(|(server, way)| (server, Some(way)));
        self.show(Scene::Answers(servers.collect(), Vec::new()));
    }

    /// From now on it fails.
    pub fn fail(&self, error: SourceError) {
        self.show(Scene::Fails(error));
    }

    /// From now on it does not answer.
    pub fn hush(&self) {
        self.show(Scene::Silent);
    }

    /// From now on it panics.
    pub fn panic(&self) {
        self.show(Scene::Panics);
    }

    fn show(&self, scene: Scene) {
        self.stage.send_modify(|stage| {
            stage.scene = scene;
            stage.number += 1;
        });
    }

    /// Waits until so many watches were begun, ever.
    pub async fn watched(&self, times: u64) {
        let _ = self.stage.subscribe().wait_for(|stage| stage.watches >= times).await;
    }

    /// How many answers were asked for and given, failures among them.
    pub fn answers(&self) -> u64 {
        self.stage.borrow().answers
    }
}

impl Source for ScriptedSource {
    fn watch(&self) -> Box<dyn Watch> {
        self.stage.send_modify(|stage| stage.watches += 1);
        Box::new(ScriptedWatch { stage: self.stage.clone(), seen: None })
    }

    fn place(&self) -> String {
        "a script".to_owned()
    }
}

struct ScriptedWatch {
    stage: Arc<watch::Sender<Stage>>,
    /// The scene that was answered last.
    seen: Option<u64>,
}

impl Watch for ScriptedWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Answer, SourceError>> {
        Box::pin(async {
            let mut stage = self.stage.subscribe();
            let new =
                |stage: &Stage| self.seen != Some(stage.number) && !matches!(stage.scene, Scene::Silent);
            let shown = match stage.wait_for(new).await {
                Ok(stage) => (stage.scene.clone(), stage.number),
                Err(_) => return Err(SourceError::Ended),
            };
            let (scene, number) = shown;
            self.seen = Some(number);
            self.stage.send_modify(|stage| stage.answers += 1);
            match scene {
                Scene::Answers(servers, skipped) => {
                    let servers = servers.into_iter().map(|(server, connector)| Found { server, connector });
                    let mut answer =
                        Answer::of(servers, Next::OnChange { within: Duration::from_secs(3600) });
                    answer.skipped = skipped;
                    Ok(answer)
                }
                Scene::Fails(error) => Err(error),
                Scene::Panics => panic!("ordered by the test"),
                Scene::Silent => unreachable!("a silent scene is waited out"),
            }
        })
    }
}
