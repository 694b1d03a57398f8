//! `announce`: a server in a directory, for as long as this runs.

use std::time::Duration;

use clap::Args;

use crate::output::note;
use crate::signals::Stop;
use crate::{Config, MISUSED};

#[derive(Args)]
pub struct AnnounceArgs {
    #[command(flatten)]
    config: Config,
    /// The source of the `servers.json` that names the directory; needed where there are several.
    #[arg(long)]
    source: Option<String>,
    /// How long the directory keeps the server when it is no longer heard of.
    #[arg(long, value_parser = crate::some_time, default_value = "10s")]
    ttl: Duration,
    /// The server's id.
    server: String,
    /// What the directory says of it, such as {"url": "ws://10.0.0.7:3000", "group": "files"}.
    record: String,
}

#[cfg(not(any(feature = "consul", feature = "etcd")))]
pub async fn run(args: &AnnounceArgs, _: &Stop) -> u8 {
    let AnnounceArgs { config: Config { config }, source: _, ttl: _, server, record: _ } = args;
    note!(
        "{}: {server}: this build has no directories: turn on the feature etcd or consul",
        config.display()
    );
    MISUSED
}

#[cfg(any(feature = "consul", feature = "etcd"))]
pub async fn run(args: &AnnounceArgs, stop: &Stop) -> u8 {
    use mcp_troupe::discovery::{Announcement, AnnouncementNews};

    use crate::configuration::text_of;
    use crate::output::say;
    use crate::signals::aside;

    let config = args.config.config.clone();
    let text = match aside(stop, move || text_of(&config)).await {
        Ok(text) => text,
        Err(code) => return code,
    };
    let announcement: Announcement = match text.and_then(|text| announcement(args, &text)) {
        Ok(announcement) => announcement,
        Err(mistake) => {
            note!("{mistake}");
            return MISUSED;
        }
    };
    let server = &args.server;
    let mut left = false;
    let until = async {
        stop.asked().await;
    };
    announcement
        .keep(until, |news| match news {
            AnnouncementNews::Made => say!("{server} is announced"),
            AnnouncementNews::Lost { error, retry_in } => {
                note!("{server} is not announced: {error}; again in {retry_in:?}");
            }
            AnnouncementNews::Withdrawn => say!("{server} is withdrawn"),
            AnnouncementNews::Left(error) => {
                left = true;
                note!("{server} is not withdrawn, and gone in {:?}: {error}", args.ttl);
            }
            other => note!("{server}: {other:?}"),
        })
        .await;
    if left { crate::FAILED } else { 0 }
}

#[cfg(any(feature = "consul", feature = "etcd"))]
fn announcement(args: &AnnounceArgs, text: &str) -> Result<mcp_troupe::discovery::Announcement, String> {
    use mcp_troupe::ConfigFile;
    use mcp_troupe::discovery::{Announcement, Record};

    let path = crate::configuration::name(&args.config.config).display();
    let file = ConfigFile::parse(text).map_err(|error| format!("{path}: {error}"))?;
    let named = |source: &&mcp_troupe::config::SourceConfig| {
        args.source.as_ref().is_none_or(|name| source.name == *name)
    };
    let source = match (file.sources.iter().filter(named).collect::<Vec<_>>().as_slice(), &args.source) {
        ([source], _) => *source,
        ([], Some(name)) => return Err(format!("{path}: discovery: no source is called {name}")),
        ([], None) => return Err(format!("{path}: discovery: names no source")),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|source| source.name.as_str()).collect();
            return Err(format!("{path}: discovery: say --source, one of {}", names.join(", ")));
        }
    };
    let record = Record::parse(args.record.as_bytes()).map_err(|error| format!("record: {error}"))?;
    Announcement::named(source, &args.server, record, args.ttl).map_err(|error| error.to_string())
}
