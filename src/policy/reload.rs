//! What a new configuration means for each server: who joins, who leaves, who changes, and how much.

use crate::config::ServerSpec;
use crate::event::Origin;
use crate::id::ServerId;

/// What has to happen so that the servers of the configuration are those that it describes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// Nobody of that id plays.
    pub added: Vec<ServerSpec>,
    /// The configuration brought it and does not name it any more.
    pub removed: Vec<ServerId>,
    /// Its connections cannot serve the new description.
    pub replaced: Vec<ServerSpec>,
    /// Its connections serve the new description as well.
    pub amended: Vec<ServerSpec>,
    /// It is as it was.
    pub unchanged: Vec<ServerId>,
    /// The host has given a description of its own, which goes before.
    pub kept: Vec<ServerId>,
}

/// Compares the servers that play with those that a configuration describes, no id twice. Those that are leaving do not
/// play. A server that is no business of a configuration ([`ServerSpec::endpoint`] is the host's own connector, or the host
/// registered it) is left alone.
pub(crate) fn changes<'a>(
    playing: impl Iterator<Item = (&'a ServerSpec, &'a Origin)> + Clone,
    wanted: Vec<ServerSpec>,
) -> Changes {
    let mut changes = Changes::default();
    let ours = |spec: &ServerSpec, origin: &Origin| match origin {
        Origin::Configured => !spec.is_custom(),
        Origin::Registered | Origin::Source(_) => false,
    };
    let named: std::collections::BTreeMap<&ServerId, usize> =
        wanted.iter().enumerate().map(|(place, spec)| (&spec.id, place)).collect();
    let gone = playing.clone().filter(|(spec, origin)| ours(spec, origin) && !named.contains_key(&spec.id));
    changes.removed = gone.map(|(spec, _)| spec.id.clone()).collect();
    let playing: std::collections::BTreeMap<&ServerId, (&ServerSpec, &Origin)> =
        playing.map(|(spec, origin)| (&spec.id, (spec, origin))).collect();
    for spec in wanted {
        match playing.get(&spec.id) {
            None => changes.added.push(spec),
            // What a source found becomes the configuration's.
            Some((present, Origin::Source(_))) if present.reaches_alike(&spec) => changes.amended.push(spec),
            Some((_, Origin::Source(_))) => changes.replaced.push(spec),
            Some((present, origin)) if !ours(present, origin) => changes.kept.push(spec.id),
            Some((present, _)) if **present == spec => changes.unchanged.push(spec.id),
            Some((present, _)) if present.reaches_alike(&spec) => changes.amended.push(spec),
            Some(_) => changes.replaced.push(spec),
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BreakerSettings, PoolSettings, Server, Settings};

    fn spec(server: Server) -> ServerSpec {
        server.settle(&Settings::default(), 0).unwrap()
    }

    fn at(id: &str) -> Server {
        Server::websocket(id, "ws://h")
    }

    fn compare(playing: &[(ServerSpec, Origin)], wanted: Vec<ServerSpec>) -> Changes {
        changes(playing.iter().map(|(spec, origin)| (spec, origin)), wanted)
    }

    fn ids<'a>(specs: impl IntoIterator<Item = &'a ServerSpec>) -> Vec<&'a str> {
        specs.into_iter().map(|spec| spec.id.as_str()).collect()
    }

    #[test]
    fn servers_join_leave_and_stay() {
        let playing = [(spec(at("a")), Origin::Configured), (spec(at("b")), Origin::Configured)];
        let changes = compare(&playing, vec![spec(at("b")), spec(at("c"))]);
        assert_eq!(ids(&changes.added), ["c"]);
        assert_eq!(changes.removed, [playing[0].0.id.clone()]);
        assert_eq!(changes.unchanged, [playing[1].0.id.clone()]);
        assert_eq!(ids(changes.replaced.iter().chain(&changes.amended)), [""; 0]);
    }

    #[test]
    fn only_what_connections_and_breaker_depend_on_takes_another_life() {
        let playing = [(spec(at("a")), Origin::Configured)];
        let breaker = BreakerSettings { failure_threshold: 1, ..BreakerSettings::default() };
        let pool = PoolSettings { max: 9, ..PoolSettings::default() };
        for server in [
            Server::websocket("a", "ws://i"),
            at("a").header("Authorization", "t"),
            at("a").era(crate::config::EraChoice::Legacy),
            at("a").dialect(crate::config::Dialect::ToolExecute),
            at("a").breaker(breaker),
            at("a").pool(pool),
        ] {
            let changes = compare(&playing, vec![spec(server.clone())]);
            assert_eq!((changes.replaced.len(), changes.amended.len()), (1, 0), "{server:?}");
        }
        let second = std::time::Duration::from_secs(1);
        for server in [at("a").weight(1), at("a").tag("t"), at("a").group("g"), at("a").timeout(second)] {
            let changes = compare(&playing, vec![spec(server.clone())]);
            assert_eq!((changes.replaced.len(), changes.amended.len()), (0, 1), "{server:?}");
        }
        let moved = ServerSpec { order: 3, ..spec(at("a")) };
        assert_eq!(compare(&playing, vec![moved]).amended.len(), 1);
    }

    #[test]
    fn another_trust_or_another_certificate_takes_another_life() {
        let tls = crate::config::TlsOptions::new;
        let secure = |tls| spec(Server::websocket("a", "wss://h").tls(tls));
        let playing = [(secure(tls().ca_file("/old.pem")), Origin::Configured)];
        for other in [tls(), tls().ca_file("/new.pem")] {
            let changes = compare(&playing, vec![secure(other)]);
            assert_eq!((changes.replaced.len(), changes.amended.len()), (1, 0));
        }
        let unchanged = compare(&playing, vec![secure(tls().ca_file("/old.pem"))]).unchanged;
        assert_eq!(unchanged, [playing[0].0.id.clone()]);
    }

    #[test]
    fn another_provider_of_tokens_takes_another_life() {
        struct Provider;
        impl crate::token::TokenProvider for Provider {
            fn token(
                &self,
                _: crate::token::TokenNeed,
            ) -> futures_util::future::BoxFuture<'_, Result<crate::token::Token, crate::token::TokenError>>
            {
                Box::pin(std::future::pending())
            }
        }
        let playing =
            [(spec(at("a").tokens(Provider)), Origin::Source(crate::id::SourceId::new("s").unwrap()))];
        let changes = compare(&playing, vec![spec(at("a").tokens(Provider))]);
        assert_eq!((changes.replaced.len(), changes.amended.len()), (1, 0));
        let same = playing[0].0.clone();
        assert_eq!(compare(&playing, vec![same]).amended.len(), 1, "it becomes the configuration's");
    }

    #[test]
    fn what_the_host_registered_is_kept_and_told() {
        let playing = [
            (spec(at("named")), Origin::Registered),
            (spec(at("unnamed")), Origin::Registered),
            (spec(Server::custom("own")), Origin::Configured),
        ];
        let changes = compare(&playing, vec![spec(Server::websocket("named", "ws://elsewhere"))]);
        let expected = Changes { kept: vec![playing[0].0.id.clone()], ..Changes::default() };
        assert_eq!(changes, expected);
    }
}
