//! `watch`: the supervision tree, live or once.
//!
//! The picture is a pure function of a snapshot. A task collects snapshots, four a second; a thread of its own shows the newest
//! of them and hears the keys, so a terminal that takes nothing holds up that thread alone.

mod picture;
mod screen;

use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::FutureExt;
use mcp_troupe::{EventStream, Troupe};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::metrics::MetricsArgs;
use crate::output::note;
use crate::signals::Stop;
use crate::waiting::while_waiting;
use crate::{FAILED, File, Wait, output, start};
use picture::{Look, Snapshot, Story};

/// How often the figures are asked for: often enough to look alive, seldom enough to cost the troupe nothing.
const FIGURES_INTERVAL: Duration = Duration::from_millis(250);

/// The width where none is known: that of the terminals which the picture is made for.
const USUAL_WIDTH: u16 = 80;

/// Why the picture ended by itself.
#[derive(Debug, thiserror::Error)]
enum ScreenError {
    #[error("the terminal cannot be used: {0}")]
    Unusable(std::io::Error),
    #[error("the picture cannot be drawn: {0}")]
    Broken(tokio::task::JoinError),
}

#[derive(Args)]
pub struct WatchArgs {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    metrics: MetricsArgs,
    /// Wait for the servers, print one picture as plain text, and end; so it is where stdout is no terminal.
    #[arg(long)]
    once: bool,
    /// Columns of that picture; those of the terminal unless said, and 80 without one.
    #[arg(long, value_parser = clap::value_parser!(u16).range(20..=1000))]
    width: Option<u16>,
}

impl WatchArgs {
    /// Whether the terminal is taken, with all that is written to it.
    pub fn is_live(&self) -> bool {
        !self.once && std::io::stdout().is_terminal()
    }
}

pub async fn run(args: &WatchArgs, stop: &Stop) -> u8 {
    if let Err(code) = args.metrics.serve() {
        return code;
    }
    let (troupe, absent) = match start(args.file.path(), stop).await {
        Ok(started) => started,
        Err(code) => return code,
    };
    let mut watched = Watched::new(&troupe, args.file.path());
    if absent.left_out().len() > 0 {
        let left_out: Vec<&str> = absent.left_out().collect();
        watched.title = format!("{} (left out: {})", watched.title, left_out.join(", "));
    }
    let code = if args.is_live() {
        let until = async {
            stop.asked().await;
        };
        match watched.live(&troupe, until).await {
            Ok(()) => 0,
            Err(error) => {
                note!("{error}; --once needs no terminal");
                FAILED
            }
        }
    } else {
        let ready = async {
            // Servers that are down are shown as such; they are no reason to show nothing.
            while_waiting(&troupe, troupe.settled_within(args.wait.wait)).await;
        };
        match stop.unless(watched.once(&troupe, ready)).await {
            Ok(snapshot) => {
                output::stdout(format_args!("{}", picture::plain(&snapshot, args.columns())));
                0
            }
            Err(code) => code,
        }
    };
    troupe.shutdown().await;
    code
}

/// Does some work, and shows the picture meanwhile where stdout is a terminal. Who leaves the picture lets the work go on.
pub async fn during<T>(troupe: &Troupe, config: &Path, work: impl Future<Output = T>) -> T {
    let (over, until) = oneshot::channel::<Infallible>();
    let work = async move {
        let done = work.await;
        drop(over);
        done
    };
    if !std::io::stdout().is_terminal() {
        return work.await;
    }
    let watched = Watched::new(troupe, config);
    let over = async {
        let _ = until.await;
    };
    let (done, shown) = tokio::join!(work, watched.live(troupe, over));
    if let Err(error) = shown {
        note!("{error}");
    }
    done
}

impl WatchArgs {
    fn columns(&self) -> u16 {
        let of_terminal = || std::io::stdout().is_terminal().then(ratatui::crossterm::terminal::size)?.ok();
        let columns = || of_terminal().map(|(columns, _)| columns).filter(|columns| *columns > 0);
        self.width.or_else(columns).unwrap_or(USUAL_WIDTH)
    }
}

/// How long the screen may take to give the terminal back.
const SCREEN_END_WAIT: Duration = Duration::from_secs(1);

/// A troupe, and what has been heard of it.
struct Watched {
    title: String,
    events: EventStream,
    story: Story,
    begun: Instant,
}

impl Watched {
    fn new(troupe: &Troupe, config: &Path) -> Self {
        Self {
            title: crate::configuration::name(config).display().to_string(),
            events: troupe.events(),
            story: Story::default(),
            begun: Instant::now(),
        }
    }

    /// One picture, when `ready` has come; what happens until then is heard as it happens.
    async fn once(mut self, troupe: &Troupe, ready: impl Future<Output = ()>) -> Snapshot {
        let mut ready = std::pin::pin!(ready);
        loop {
            tokio::select! { biased;
                () = &mut ready => break,
                event = self.events.next() => match event {
                    Some(event) => self.story.tell(&event, Instant::now()),
                    None => break,
                },
            }
        }
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.story.tell(&event, Instant::now());
        }
        self.snapshot(troupe).await
    }

    async fn snapshot(&mut self, troupe: &Troupe) -> Snapshot {
        let stats = troupe.stats().await;
        self.story.keep(&stats.servers);
        Snapshot {
            title: self.title.clone(),
            stats,
            servers: troupe.servers(),
            story: self.story.clone(),
            begun: self.begun,
            at: Instant::now(),
        }
    }

    /// Pictures until somebody leaves, `until` comes, or the troupe has ended.
    async fn live(mut self, troupe: &Troupe, until: impl Future<Output = ()>) -> Result<(), ScreenError> {
        let look = Look::wanted(std::env::var_os("NO_COLOR"));
        let (newest, snapshots) = watch::channel(Arc::new(self.snapshot(troupe).await));
        let mut screen = tokio::task::spawn_blocking(move || screen::show(snapshots, look));
        let left = {
            let mut ended = std::pin::pin!(async {
                tokio::select! { left = &mut screen => Some(left), () = until => None }
            });
            let mut ticks = tokio::time::interval(FIGURES_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! { biased;
                    left = &mut ended => break left,
                    _ = ticks.tick() => {}
                    event = self.events.next() => match event {
                        Some(event) => {
                            self.story.tell(&event, Instant::now());
                            continue;
                        }
                        None => break None,
                    },
                }
                // An actor that is silent is waited for here, and nobody waits for that.
                tokio::select! { biased;
                    left = &mut ended => break left,
                    snapshot = self.snapshot(troupe) => newest.send_replace(Arc::new(snapshot)),
                };
            }
        };
        drop(newest);
        let left = match left {
            Some(left) => left,
            // Where the terminal is gone, what reads its keys may never end.
            None => match tokio::time::timeout(SCREEN_END_WAIT, &mut screen).await {
                Ok(left) => left,
                Err(_) => return Ok(()),
            },
        };
        match left {
            Ok(shown) => shown.map_err(ScreenError::Unusable),
            Err(error) => Err(ScreenError::Broken(error)),
        }
    }
}
