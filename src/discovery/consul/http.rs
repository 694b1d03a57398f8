//! Requests to a Consul agent. Each has a connection of its own, which is driven by who asks: nothing is left running when a
//! watch is given up, and no idle connection has died unnoticed when the next answer is awaited.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::timeout;
use tower_service::Service;

use super::ConsulSource;
use crate::config::{Address, AddressError};
use crate::discovery::SourceError;
use crate::net::root_of;
use crate::net::tls::TlsError;

/// How long a step with Consul may take that does not wait for a change. An agent without a leader says so after 7 s.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(9);

/// The largest answer, in bytes: ten thousand instances with checks.
const BODY_BYTES_MAX: usize = 32 << 20;

/// What Consul answers.
pub(super) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    /// Its words, where it is an error.
    pub(super) fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let words: String = text.trim().chars().take(200).collect();
        if words.is_empty() { self.status.to_string() } else { words }
    }

    /// What an answer other than a success means.
    pub(super) fn success(self) -> Result<Self, SourceError> {
        match self.status {
            status if status.is_success() => Ok(self),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(SourceError::Refused(self.words())),
            StatusCode::NOT_FOUND => Err(SourceError::NotFound(self.words())),
            StatusCode::BAD_REQUEST => Err(SourceError::Unintelligible(self.words())),
            _ => Err(SourceError::Unavailable(self.words())),
        }
    }
}

/// Asks one agent.
#[derive(Clone)]
pub(super) struct Agent {
    base: Uri,
    token: Option<HeaderValue>,
    connector: HttpsConnector<HttpConnector>,
}

impl Agent {
    /// The agent of a source. Files of certificates are read now.
    pub(super) async fn of(source: &ConsulSource) -> Result<Self, SourceError> {
        let wrong = |reason: String| SourceError::NotFound(format!("{}: {reason}", source.shown()));
        let other = || wrong("is no http:// or https:// address".to_owned());
        let address = Address::read(&source.url).map_err(|error| match error {
            AddressError::NoScheme => other(),
            _ => wrong(error.to_string()),
        })?;
        if !matches!(address.scheme, "http" | "https") {
            return Err(other());
        }
        if address.has_user_info {
            return Err(wrong("carries user info, which Consul does not know: say a token".to_owned()));
        }
        let base: Uri = source.url.parse().map_err(|error| wrong(format!("{error}")))?;
        let token = match &source.token {
            Some(token) => {
                let mut value = HeaderValue::try_from(token.as_str())
                    .map_err(|_| SourceError::Refused("the token has forbidden characters".to_owned()))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls = source.tls.clone().unwrap_or_default();
        let refused = |error: TlsError| SourceError::Refused(error.to_string());
        let config = tls.read(move |files| crate::net::tls::config(files).map_err(refused)).await?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let builder = match tls.name() {
            Some(name) => {
                let name = rustls::pki_types::ServerName::try_from(name.to_owned())
                    .map_err(|error| SourceError::Refused(format!("{name}: {error}")))?;
                builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
            }
            None => builder,
        };
        Ok(Self { base, token, connector: builder.enable_http1().wrap_connector(tcp) })
    }

    /// Asks, and waits for the answer `within` that time.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: String,
        within: Duration,
    ) -> Result<Response, SourceError> {
        let asked = timeout(within, self.exchange(method, path, body)).await;
        asked.map_err(|_| SourceError::Silent(within))?
    }

    async fn exchange(&self, method: Method, path: &str, body: String) -> Result<Response, SourceError> {
        let unreachable =
            |error: &(dyn std::error::Error + 'static)| SourceError::Unreachable(root_of(error));
        let stream = timeout(STEP_TIMEOUT, self.connector.clone().call(self.base.clone())).await;
        let stream = stream
            .map_err(|_| SourceError::Silent(STEP_TIMEOUT))?
            .map_err(|error| SourceError::Unreachable(root_of(error.as_ref())))?;
        let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| unreachable(&error))?;
        let path = format!("{}{path}", self.base.path().trim_end_matches('/'));
        let host = self.base.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::builder().method(method).uri(path).header(http::header::HOST, host);
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| SourceError::NotFound(error.to_string()))?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| SourceError::Unreachable(root_of(error.as_ref())))?;
            Ok(Response { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        tokio::pin!(answered);
        tokio::select! { biased;
            answer = &mut answered => answer,
            // A connection that ended may have brought the answer.
            _ = connection => answered.await,
        }
    }
}
