//! Servers in DNS: the SRV records of a name, or its addresses with a port.
//!
//! DNS names hosts, and nothing else: what kind of servers they are is said by the operator ([`Template`]). Servers of one name
//! are replicas; their group is the name without its `_service._tcp.` unless the template says another. Their ids are their
//! targets and ports, since DNS has no others.
//!
//! A name that does not exist is a failure and no empty answer: a zone in which the last record was deleted looks like one that
//! was misspelt. So servers that vanish from DNS altogether stay, and their connections tell whether they live.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::record::fitted_id;
use super::{Answer, BoxFuture, Next, Record, Skipped, Source, SourceError, Template, Watch};
use crate::config::WEIGHT_MAX;
use crate::id::ServerId;

/// A name server that is silent is asked again after this time, and the next one with it.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const QUERY_ATTEMPTS: usize = 2;

/// Bounds of how long an answer holds. Its own time to live decides within them: 0 means that it is not to be kept, not that it
/// is to be asked for without a pause; and one of a day would hide a day of changes.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(300);

/// An answer of DNS may name only some of the servers, in turn.
const REMOVAL_GRACE: Duration = Duration::from_secs(30);

/// A target whose addresses were not to be had is asked for again within this time, however long the other answers hold: as
/// often as the name servers' own timeouts allow.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Targets whose addresses are looked up at once.
const LOOKUPS_AT_ONCE: usize = 16;

/// A source of servers in DNS.
///
/// ```no_run
/// use mcp_troupe::Troupe;
/// use mcp_troupe::discovery::DnsSource;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // _mcp._tcp.files.example.com. 30 IN SRV 0 100 3000 files-1.example.com.
/// let dns = DnsSource::srv("_mcp._tcp.files.example.com");
/// let troupe = Troupe::builder().source("dns", dns).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DnsSource {
    name: String,
    /// None: the name's SRV records say.
    port: Option<u16>,
    servers: Vec<SocketAddr>,
    template: Template,
}

impl DnsSource {
    /// The SRV records of a name, with their ports, weights and priorities.
    pub fn srv(name: impl Into<String>) -> Self {
        Self { name: name.into(), port: None, servers: Vec::new(), template: Template::default() }
    }

    /// The addresses (A and AAAA) of a name, each a server on this port.
    pub fn addresses(name: impl Into<String>, port: u16) -> Self {
        Self { port: Some(port), ..Self::srv(name) }
    }

    /// Asks this name server, and others that were named so, instead of the system's.
    #[must_use]
    pub fn name_server(mut self, server: SocketAddr) -> Self {
        self.servers.push(server);
        self
    }

    /// What is added to each record.
    #[must_use]
    pub fn template(mut self, template: Template) -> Self {
        self.template = template;
        self
    }

    /// Makes a resolver. It keeps no answers: how long one holds is decided here.
    fn resolver(&self) -> Result<TokioResolver, SourceError> {
        let unusable = |error: NetError| SourceError::Unreachable(format!("no name server: {error}"));
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(unusable)?
        } else {
            let servers = self.servers.iter().map(|server| {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                NameServerConfig::new(server.ip(), true, connections)
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = QUERY_TIMEOUT;
        options.attempts = QUERY_ATTEMPTS;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = match self.servers.is_empty() {
            true => ResolveHosts::Auto,
            false => ResolveHosts::Never,
        };
        builder.build().map_err(unusable)
    }

    /// The group of servers that the template gives none: the name without labels such as `_mcp`.
    fn group(&self) -> String {
        let labels = self.name.trim_end_matches('.').split('.').filter(|label| !label.starts_with('_'));
        labels.collect::<Vec<_>>().join(".")
    }
}

impl Source for DnsSource {
    fn watch(&self) -> Box<dyn Watch> {
        Box::new(DnsWatch { source: self.clone(), resolver: None })
    }

    fn place(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(SocketAddr::to_string).collect();
        let at = if servers.is_empty() { String::new() } else { format!(" @{}", servers.join(",")) };
        match self.port {
            Some(port) => format!("dns {}:{port}{at}", self.name),
            None => format!("dns {} SRV{at}", self.name),
        }
    }

    fn removal_grace(&self) -> Duration {
        REMOVAL_GRACE
    }
}

struct DnsWatch {
    source: DnsSource,
    resolver: Option<Arc<TokioResolver>>,
}

impl Watch for DnsWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Answer, SourceError>> {
        Box::pin(async {
            let resolver = match &self.resolver {
                Some(resolver) => resolver.clone(),
                None => {
                    // The system's configuration is a file.
                    let source = self.source.clone();
                    let resolver = crate::config::files::aside(move || source.resolver()).await;
                    let resolver = resolver.map_err(|_| SourceError::Ended)??;
                    self.resolver.insert(Arc::new(resolver)).clone()
                }
            };
            let mut sheet =
                Sheet { source: &self.source, found: Vec::new(), skipped: Vec::new(), ttl: TTL_MAX };
            // With its final dot a name is complete, and no search list is tried.
            let name = Name::from_utf8(format!("{}.", self.source.name.trim_end_matches('.')))
                .map_err(|error| SourceError::NotFound(format!("{}: {error}", self.source.name)))?;
            match self.source.port {
                Some(port) => sheet.addresses(&resolver, name, port).await?,
                None => sheet.srv(&resolver, name).await?,
            }
            let mut answer = Answer::of(sheet.found, Next::After(sheet.ttl.max(TTL_MIN)));
            answer.skipped = sheet.skipped;
            Ok(answer)
        })
    }
}

/// An answer that is being put together.
struct Sheet<'a> {
    source: &'a DnsSource,
    found: Vec<super::Found>,
    skipped: Vec<Skipped>,
    ttl: Duration,
}

impl Sheet<'_> {
    /// The addresses of a name, each a server.
    async fn addresses(
        &mut self,
        resolver: &TokioResolver,
        name: Name,
        port: u16,
    ) -> Result<(), SourceError> {
        let (addresses, ttl) = addresses(resolver, &name).await?;
        self.ttl = self.ttl.min(ttl);
        for address in addresses {
            self.take(&address.to_string(), &address.to_string(), port, Record::default());
        }
        Ok(())
    }

    /// The SRV records of a name, each a server at the first address of its target.
    async fn srv(&mut self, resolver: &TokioResolver, name: Name) -> Result<(), SourceError> {
        let lookup = match resolver.lookup(name, RecordType::SRV).await {
            Ok(lookup) => lookup,
            Err(error) => return no_records(&error),
        };
        let mut records: Vec<SRV> = Vec::new();
        for record in lookup.answers() {
            // What else is there leads to them: an alias.
            if let RData::SRV(srv) = &record.data {
                self.ttl = self.ttl.min(Duration::from_secs(u64::from(record.ttl)));
                records.push(srv.clone());
            }
        }
        // A target of nothing but the root says that there is no such service.
        records.retain(|record| !record.target.is_root());
        let heaviest = records.iter().map(|record| u32::from(record.weight)).max().unwrap_or_default();
        for some in records.chunks(LOOKUPS_AT_ONCE) {
            let lookups = some.iter().map(|record| addresses(resolver, &record.target));
            for (record, found) in some.iter().zip(join_all(lookups).await) {
                let target = record.target.to_utf8();
                let target = target.trim_end_matches('.');
                let described = Record {
                    weight: Some(scaled(u32::from(record.weight), heaviest)),
                    priority: Some(record.priority),
                    ..Record::default()
                };
                match found {
                    Ok((addresses, ttl)) => {
                        self.ttl = self.ttl.min(ttl);
                        // The same one in whatever order they come.
                        let address = addresses.iter().min().map(IpAddr::to_string);
                        match address {
                            Some(address) => self.take(target, &address, record.port, described),
                            None => self.skip(target, record.port, "it has no address".to_owned()),
                        }
                    }
                    Err(error) => {
                        if !matches!(error, SourceError::NotFound(_)) {
                            self.ttl = self.ttl.min(ASK_AGAIN);
                        }
                        self.skip(target, record.port, error.to_string());
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a server. `host` is what DNS calls it, `address` where it is.
    fn take(&mut self, host: &str, address: &str, port: u16, record: Record) {
        let template = &self.source.template;
        // A certificate is for a name, not for an address.
        let by_name = template.encrypts() && host.parse::<IpAddr>().is_err();
        let record = Record {
            address: Some(if by_name { host } else { address }.to_owned()),
            port: Some(port),
            ..record
        };
        let defaults = Record { group: Some(self.source.group()), ..Record::default() };
        match template.found_or(&id(host, port), record, &defaults) {
            Ok(found) => self.found.push(found),
            Err(error) => self.skip(host, port, error.to_string()),
        }
    }

    fn skip(&mut self, host: &str, port: u16, reason: String) {
        let server = ServerId::new(id(host, port)).ok();
        self.skipped.push(Skipped { record: format!("{host}:{port}"), server, reason });
    }
}

/// The id of a server, made of what DNS has: its host and its port.
fn id(host: &str, port: u16) -> String {
    fitted_id(&format!("{}-{port}", host.replace(':', "-")))
}

/// A weight of DNS, 0 to 65,535, among others of which `heaviest` is the largest, as one of ours. Those that fit stay as they
/// are; 0 asks for next to nothing.
fn scaled(weight: u32, heaviest: u32) -> u32 {
    let weight = if heaviest <= WEIGHT_MAX { weight } else { weight * WEIGHT_MAX / heaviest };
    weight.clamp(1, WEIGHT_MAX)
}

/// The addresses of a host, and how long they hold. What is not known of one family is not known of the host: its servers of
/// that family would leave, or move to the other.
async fn addresses(resolver: &TokioResolver, host: &Name) -> Result<(Vec<IpAddr>, Duration), SourceError> {
    let (four, six) = tokio::join!(
        resolver.lookup(host.clone(), RecordType::A),
        resolver.lookup(host.clone(), RecordType::AAAA)
    );
    let mut found = BTreeMap::new();
    let mut missing = None;
    for lookup in [four, six] {
        match lookup {
            Ok(lookup) => {
                for record in lookup.answers() {
                    let ttl = Duration::from_secs(u64::from(record.ttl));
                    match &record.data {
                        RData::A(address) => found.insert(IpAddr::V4(address.0), ttl),
                        RData::AAAA(address) => found.insert(IpAddr::V6(address.0), ttl),
                        _ => None,
                    };
                }
            }
            Err(error) => match no_records(&error) {
                Ok(()) => {}
                // Some name servers say so of a name that has addresses of the other family.
                Err(error @ SourceError::NotFound(_)) => missing = Some(error),
                Err(error) => return Err(error),
            },
        }
    }
    let ttl = found.values().min().copied().unwrap_or(TTL_MAX);
    match missing {
        Some(error) if found.is_empty() => Err(error),
        Some(_) | None => Ok((found.into_keys().collect(), ttl)),
    }
}

/// Nothing, where a name exists and has no such records; why, where there is no answer.
fn no_records(error: &NetError) -> Result<(), SourceError> {
    let text = error.to_string();
    Err(match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NoError => return Ok(()),
            ResponseCode::NXDomain => SourceError::NotFound(format!("{} does not exist", none.query.name())),
            ResponseCode::Refused => SourceError::Refused("the name server refuses to answer".to_owned()),
            code => SourceError::Unavailable(format!("the name server answered {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => {
            SourceError::Refused("the name server refuses to answer".to_owned())
        }
        NetError::Dns(_) => SourceError::Unavailable(text),
        NetError::Proto(_) => SourceError::Unintelligible(text),
        _ => SourceError::Unreachable(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_host_and_port_and_long_ones_stay_apart() {
        assert_eq!(id("files-1.example.com", 3000), "files-1.example.com-3000");
        assert_eq!(id("2001:db8::1", 80), "2001-db8--1-80");
        let long = |end: &str| id(&format!("{}.{end}", "a".repeat(60)), 1);
        assert_ne!(long("x"), long("y"));
        for id in [long("x"), id("2001:db8::1", 80)] {
            assert!(ServerId::new(&id).is_ok(), "{id}");
        }
    }

    #[test]
    fn weights_that_fit_stay_and_others_keep_their_proportions() {
        assert_eq!((scaled(0, 200), scaled(100, 200), scaled(200, 200)), (1, 100, 200));
        assert_eq!((scaled(0, 60_000), scaled(30_000, 60_000), scaled(60_000, 60_000)), (1, 500, 1000));
    }

    #[test]
    fn the_group_is_the_name_without_the_service() {
        assert_eq!(DnsSource::srv("_mcp._tcp.files.example.com.").group(), "files.example.com");
    }
}
