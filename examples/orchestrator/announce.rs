//! `announce`: a server in a directory, for as long as this runs.

use std::time::Duration;

use clap::Args;

use super::{Config, MISUSED};

#[derive(Args)]
pub struct AnnounceArgs {
    #[command(flatten)]
    config: Config,
    /// The source of the `servers.json` that names the directory; needed where there are several.
    #[arg(long)]
    source: Option<String>,
    /// How long the directory keeps the server when it is no longer heard of.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s")]
    ttl: Duration,
    /// The server's id.
    server: String,
    /// What the directory says of it, such as {"url": "ws://10.0.0.7:3000", "group": "files"}.
    record: String,
}

#[cfg(not(any(feature = "consul", feature = "etcd")))]
pub async fn run(args: &AnnounceArgs) -> u8 {
    let AnnounceArgs { config: Config { config, .. }, source: _, ttl: _, server, record: _ } = args;
    eprintln!(
        "{}: {server}: this build has no directories: turn on the feature etcd or consul",
        config.display()
    );
    MISUSED
}

#[cfg(any(feature = "consul", feature = "etcd"))]
pub async fn run(args: &AnnounceArgs) -> u8 {
    use mcp_troupe::discovery::{Announcement, AnnouncementNews};

    let announcement: Announcement = match announcement(args) {
        Ok(announcement) => announcement,
        Err(mistake) => {
            eprintln!("{mistake}");
            return MISUSED;
        }
    };
    let server = &args.server;
    let mut left = false;
    announcement
        .keep(crate::signals::interrupted(), |news| match news {
            AnnouncementNews::Made => println!("{server} is announced"),
            AnnouncementNews::Lost { error, retry_in } => {
                eprintln!("{server} is not announced: {error}; again in {retry_in:?}");
            }
            AnnouncementNews::Withdrawn => println!("{server} is withdrawn"),
            AnnouncementNews::Left(error) => {
                left = true;
                eprintln!("{server} is not withdrawn, and gone in {:?}: {error}", args.ttl);
            }
            other => eprintln!("{server}: {other:?}"),
        })
        .await;
    if left { crate::FAILED } else { 0 }
}

#[cfg(any(feature = "consul", feature = "etcd"))]
fn announcement(args: &AnnounceArgs) -> Result<mcp_troupe::discovery::Announcement, String> {
    use mcp_troupe::ConfigFile;
    use mcp_troupe::discovery::{Announcement, Record};

    let path = args.config.config.display();
    let text = crate::text_of(&args.config.config)?;
    let file = ConfigFile::parse(&text).map_err(|error| format!("{path}: {error}"))?;
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
