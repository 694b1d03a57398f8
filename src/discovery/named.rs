//! From a source's configuration to the source.

use std::sync::Arc;

use super::{FileSource, Source};
#[cfg(any(feature = "consul", feature = "dns", feature = "etcd"))]
use super::{Record, Template};
use crate::config::{ConfigError, Place, SourceConfig};

/// The source that a configuration names.
///
/// # Errors
/// Defaults that are no record, or a kind that this build does not have.
pub(crate) fn source_named(config: &SourceConfig) -> Result<Arc<dyn Source>, ConfigError> {
    match &config.place {
        Place::File { path, interval } => {
            let source = FileSource::new(path);
            Ok(Arc::new(match interval {
                Some(interval) => source.every(*interval),
                None => source,
            }))
        }
        #[cfg(feature = "dns")]
        Place::Dns { name, port, name_servers } => {
            let source = match port {
                Some(port) => super::DnsSource::addresses(name, *port),
                None => super::DnsSource::srv(name),
            };
            let source = name_servers.iter().fold(source, |source, server| source.name_server(*server));
            Ok(Arc::new(source.template(template(config)?)))
        }
        #[cfg(not(feature = "dns"))]
        Place::Dns { .. } => Err(not_built("dns")),
        #[cfg(feature = "consul")]
        Place::Consul { .. } => Ok(Arc::new(consul(config)?)),
        #[cfg(not(feature = "consul"))]
        Place::Consul { .. } => Err(not_built("consul")),
        #[cfg(feature = "etcd")]
        Place::Etcd { .. } => Ok(Arc::new(etcd(config)?)),
        #[cfg(not(feature = "etcd"))]
        Place::Etcd { .. } => Err(not_built("etcd")),
    }
}

/// The service in Consul that a configuration names.
#[cfg(feature = "consul")]
pub(super) fn consul(config: &SourceConfig) -> Result<super::ConsulSource, ConfigError> {
    let Place::Consul { url, service, token, datacenter, tags, tls } = &config.place else {
        return Err(ConfigError::new("type", "is not consul"));
    };
    let mut source = super::ConsulSource::new(url, service).template(template(config)?);
    if let Some(token) = token {
        source = source.token(token.expose());
    }
    if let Some(datacenter) = datacenter {
        source = source.datacenter(datacenter);
    }
    if let Some(tls) = tls {
        source = source.tls(self::tls(tls)?);
    }
    Ok(tags.iter().fold(source, |source, tag| source.tag(tag)))
}

/// The place in etcd that a configuration names.
#[cfg(feature = "etcd")]
pub(super) fn etcd(config: &SourceConfig) -> Result<super::EtcdSource, ConfigError> {
    let Place::Etcd { endpoints, prefix, user, tls } = &config.place else {
        return Err(ConfigError::new("type", "is not etcd"));
    };
    let mut source = super::EtcdSource::new(endpoints, prefix).template(template(config)?);
    if let Some((name, password)) = user {
        source = source.user(name, password.expose());
    }
    Ok(match tls {
        Some(tls) => source.tls(self::tls(tls)?),
        None => source,
    })
}

#[cfg(not(all(feature = "consul", feature = "dns", feature = "etcd")))]
pub(super) fn not_built(feature: &str) -> ConfigError {
    ConfigError::new("type", format!("this build has no {feature} sources: turn on the feature {feature}"))
}

#[cfg(any(feature = "consul", feature = "dns", feature = "etcd"))]
fn template(config: &SourceConfig) -> Result<Template, ConfigError> {
    let defaults = match &config.defaults {
        Some(defaults) => Record::parse(defaults.to_string().as_bytes())
            .map_err(|error| ConfigError::new("defaults", error.to_string()))?,
        None => Record::default(),
    };
    let template = Template::new(defaults);
    Ok(config.headers.iter().fold(template, |template, (name, value)| template.header(name, value.expose())))
}

#[cfg(any(feature = "consul", feature = "etcd"))]
fn tls(config: &crate::config::TlsConfig) -> Result<super::Tls, ConfigError> {
    let mut tls = super::Tls::new();
    if let Some(file) = &config.ca_file {
        tls = tls.ca_file(file);
    }
    match (&config.cert_file, &config.key_file) {
        (Some(certificate), Some(key)) => tls = tls.client_certificate(certificate, key),
        (Some(_), None) => {
            return Err(ConfigError::new(
                "tls.keyFile",
                "is missing: certFile is given, and they belong together",
            ));
        }
        (None, Some(_)) => {
            return Err(ConfigError::new(
                "tls.certFile",
                "is missing: keyFile is given, and they belong together",
            ));
        }
        (None, None) => {}
    }
    Ok(match &config.server_name {
        Some(name) => tls.server_name(name),
        None => tls,
    })
}
