//! The whole troupe as one MCP server, for the client that has started this program.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use mcp_troupe::{ClientChannel, Gateway, Troupe};
use tokio::io::{Stdin, Stdout};

use crate::configuration::{self, Reader};
use crate::output::{account, note};
use crate::signals::Stop;
use crate::{Config, FAILED, MISUSED};

/// How long servers may take to end when the client has gone, before they are killed: clients wait about two seconds for all of it.
const SERVERS_END_WAIT: Duration = Duration::from_millis(700);

/// How long the last answers may take to be written to a client that is told to go.
const ANSWERS_WAIT: Duration = Duration::from_secs(1);

/// The variable that says in how many troupes this program runs, and how many there may be: more than anybody nests on purpose.
const DEPTH: &str = "MCP_TROUPE_DEPTH";
const DEPTH_MAX: u32 = 3;

#[derive(Args)]
pub struct ServeArgs {
    #[command(flatten)]
    config: Config,
    /// Serve the client at the other end of stdin and stdout.
    #[arg(long, required = true)]
    stdio: bool,
    /// Show it no more than this profile of `gateway.profiles`.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    profile: Option<String>,
}

/// Serves until the client closes stdin, or the program is asked to end. Nothing but messages goes to stdout.
pub async fn run(args: &ServeArgs, stop: &Stop) -> u8 {
    let path = args.config.config.as_path();
    if configuration::is_stdin(path) {
        note!("the client is on stdin: name the configuration by --config FILE");
        return MISUSED;
    }
    let depth = std::env::var(DEPTH).ok().and_then(|depth| depth.parse::<u32>().ok());
    if let Some(depth) = depth.filter(|depth| *depth > DEPTH_MAX) {
        note!("{}: {depth} troupes have started each other, this one the last", path.display());
        note!("hint: an entry of the configuration starts mcp-troupe itself: take it out");
        return MISUSED;
    }
    let channel = match stop.unless(ClientChannel::open(tokio::io::stdin(), tokio::io::stdout())).await {
        Ok(channel) => channel,
        Err(code) => return code,
    };
    let (troupe, gateway) = match start(path, args.profile.as_deref(), &channel, stop).await {
        Ok(started) => started,
        Err(code) => return code,
    };
    let mut serving = pin!(gateway.serve_channel(channel));
    let served = tokio::select! { biased;
        code = stop.asked() => Err(code),
        served = &mut serving => Ok(served),
    };
    match served {
        Ok(served) => {
            // Nobody waits for an answer any more, and whoever started this waits for its end.
            let _ = tokio::time::timeout(SERVERS_END_WAIT, troupe.shutdown()).await;
            match served {
                Ok(()) => 0,
                Err(error) => {
                    account(&error.to_string());
                    FAILED
                }
            }
        }
        Err(code) => {
            // Open calls may finish, and their answers are written meanwhile.
            tokio::select! {
                () = troupe.shutdown() => drop(tokio::time::timeout(ANSWERS_WAIT, &mut serving).await),
                _ = &mut serving => {}
            }
            code
        }
    }
}

/// The channel on which the client is.
type Channel = ClientChannel<Stdin, Stdout>;

async fn start(
    path: &Path,
    profile: Option<&str>,
    channel: &Channel,
    stop: &Stop,
) -> Result<(Troupe, Gateway), u8> {
    let mut file = configuration::read(&mut configuration::watch(path), path, stop).await?;
    configuration::tell_mistakes(path, &mut file);
    let settings = file.gateway.clone();
    let asked_by = |builder| channel.asked_by(builder);
    let (troupe, _) = crate::play_built(file, path, Reader::People, asked_by).await?;
    let wrong = |error: String| {
        note!("{}: {error}", configuration::name(path).display());
        MISUSED
    };
    let gateway = troupe.gateway(settings).map_err(|error| wrong(error.to_string()))?;
    let gateway = match profile {
        Some(profile) => gateway.profile(profile).map_err(|error| wrong(error.to_string()))?,
        None => gateway,
    };
    Ok((troupe, gateway))
}
