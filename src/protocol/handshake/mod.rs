//! Agreeing with a fresh link on what is spoken, as a state machine that is driven from outside.
//!
//! ```text
//! mcp, era unknown    server/discover ──result──▶ modern
//!                           │ any other error, a result that says nothing or names legacy versions alone, or silence
//!                           │ (then both may still be answered)
//!                           ▼
//! mcp, legacy         initialize ──result──▶ legacy (then notifications/initialized)
//! mcp, known modern   nothing to say: every request carries what the server needs
//! tool-execute        rpc.discover ──result, error or silence──▶ agreed
//! ```
//!
//! An error that only a modern server can give (-32022 and its kin) never leads to `initialize`, unless it names a legacy
//! version: a server that has answered in the modern era may lock its connection to it.
//!
//! Silence tells nothing of a server that is slow to start: it finds both questions when it reads its first, and answers
//! them in this order or in the other. So whichever it can agree to counts, and `initialize` is refused for good only when
//! the probe has been answered as well, or was waited for once more.
//!
//! Some servers cannot bear the probe: they end, hang, or refuse what comes after it. So what came to nothing after a probe is
//! tried without one the next time ([`Greeting`]).

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::capabilities::WrittenCapabilities;
use super::envelope::{Incoming, Response, Writer};
use super::session::{Era, Known, Session, client_info, early_answer, modern_meta};
use super::{Declared, LEGACY_VERSIONS, MODERN_VERSION};
use crate::config::{Dialect, EraChoice};
use crate::error::RpcError;
use crate::json::RawJson;
use crate::json::members::{members, string};
use crate::peer_text::{ELLIPSIS, cut, reason};
use crate::stats::ServerDetails;

/// The longest name of a server, in bytes: it is for display.
const NAME_BYTES_MAX: usize = 256;

/// The longest instructions of a server, and the longest text of its capabilities, in bytes: some pages for a model, and more than any
/// declares.
const DETAILS_BYTES_MAX: usize = 16 << 10;

/// The longest protocol version, in bytes: those that there are have ten.
const VERSION_BYTES_MAX: usize = 64;

/// Versions that an error names. A server that offers more of them, none of them ours, is no better understood by all.
const OFFERED_MAX: usize = 16;

/// Errors that only a modern server gives: header mismatch, missing capability, unsupported version.
const MODERN_ERRORS: [i64; 3] = [-32020, -32021, -32022];

/// What the driver does next.
#[derive(Debug)]
#[must_use]
pub(crate) enum Step {
    /// Send this, then wait.
    Send {
        /// The request.
        method: &'static str,
        /// The message.
        frame: Bytes,
        /// Its id.
        id: u64,
        /// How long.
        wait: Wait,
    },
    /// Send this and go on waiting.
    Answer(Bytes),
    /// Go on waiting.
    Wait,
    /// Go on waiting, the probe's short time; then [`Handshake::timed_out`] is told.
    WaitForProbe,
    /// Agreed.
    Done {
        /// What was agreed.
        session: Session,
        /// To be sent before anything else.
        farewell: Option<Bytes>,
        /// The first request id that is free.
        next_id: u64,
    },
    /// There is no agreement.
    Failed(HandshakeError),
}

/// How a server whose era is not known is greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Greeting {
    /// With the probe; if its link ends over that, at once again with `initialize` over another one.
    #[default]
    ProbeFirst,
    /// With `initialize` alone: the last attempt came to nothing after the probe.
    Initialize,
    /// With the probe alone: neither way has led to anything, so each has its turn.
    Probe,
}

impl Greeting {
    /// How the server is greeted after an attempt that came to nothing. `probed`: this attempt has sent the probe.
    pub(crate) fn after_failure(self, probed: bool) -> Self {
        match self {
            Self::ProbeFirst if !probed => Self::ProbeFirst,
            Self::ProbeFirst | Self::Probe => Self::Initialize,
            Self::Initialize => Self::Probe,
        }
    }
}

/// Whether a request that came to nothing tells what the next one would meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finality {
    /// Another request may do better.
    ThisRequest,
    /// None would.
    AllRequests,
}

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The probe's short time, since there is another way; then [`Handshake::timed_out`] is told.
    Probe,
    /// As long as the whole handshake may take.
    Answer,
}

/// Why there is no agreement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The server refused `initialize`.
    #[error("the server refused the handshake: {0}")]
    Refused(RpcError),
    /// What answers is no server, but sends everything back.
    #[error("it sends back what it is sent: that is no MCP server")]
    Echo,
    /// A request of the handshake came to nothing.
    #[error("{0}")]
    Failed(String),
    /// The server was said to speak the modern era, and does not.
    #[error("the server does not speak the modern era ({0}): set its era to auto or legacy")]
    WrongEra(String),
    /// No common version.
    #[error("no common protocol version: the server offers {}", if offered.is_empty() { "none".to_owned() } else { offered.join(", ") })]
    UnsupportedVersion {
        /// What it offers, or the first of that.
        offered: Vec<String>,
    },
    /// An answer that cannot be read.
    #[error("the server's answer to {method} cannot be read: {reason}")]
    Invalid {
        /// The request.
        method: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl HandshakeError {
    /// No version of these is ours. They are the server's words: the first are kept, each as far as versions go.
    fn unsupported(offered: Vec<String>) -> Self {
        let offered = offered.into_iter().take(OFFERED_MAX).map(|version| cut(version, VERSION_BYTES_MAX));
        Self::UnsupportedVersion { offered: offered.collect() }
    }

    /// The same with `change` made to each text in it that the peer has a part in.
    pub(crate) fn map_texts(self, change: impl Fn(String) -> String) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(RpcError { message: change(error.message), ..error }),
            Self::Failed(text) => Self::Failed(change(text)),
            Self::WrongEra(text) => Self::WrongEra(change(text)),
            Self::Invalid { method, reason } => Self::Invalid { method, reason: change(reason) },
            Self::Echo | Self::UnsupportedVersion { .. } => self,
        }
    }

    /// An answer cannot be read; what the parser says of it may quote it.
    fn invalid(method: &'static str, error: &serde_json::Error) -> Self {
        Self::Invalid { method, reason: reason(error) }
    }
}

/// What is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    /// The answer to `server/discover`; asked a second time if `again`.
    Discovering {
        again: bool,
    },
    /// The answer to `initialize`.
    Initializing,
    /// The answer to `rpc.discover`.
    Asking,
    Over,
}

/// The state machine; see the module's page.
#[derive(Debug)]
pub(crate) struct Handshake {
    dialect: Dialect,
    choice: EraChoice,
    known: Option<Known>,
    /// The JSON object of what this client answers.
    capabilities: String,
    state: State,
    /// The id of the last request.
    last_id: u64,
    /// The id of the probe, whose answer may come after `initialize` was sent.
    probe_id: u64,
    /// Whether the probe may still be answered.
    probing: bool,
    /// What became of `initialize`, while the probe may still be answered.
    declined: Option<HandshakeError>,
    /// The version that `initialize` asks for.
    wanted: &'static str,
    /// It begins with `initialize`, and the probe comes after that if the server turns out to be a modern one.
    skips_probe: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiscoverResult<'a> {
    supported_versions: Vec<String>,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
}

/// The member of a modern answer's `_meta` in which the server describes itself.
const SERVER_INFO_META: &str = "io.modelcontextprotocol/serverInfo";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult<'a> {
    protocol_version: String,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
}

/// What a server says of itself in its answer `result`, as far as it is kept. It is for display only, so nothing depends on its
/// shape: what is no text says nothing. `info` is its own description, and its place hangs on the era.
fn details(
    protocol_version: &str,
    info: Option<&str>,
    result: &RawJson,
    capabilities: Option<&RawValue>,
) -> ServerDetails {
    let text = |raw: Option<&str>, bytes| raw.and_then(string).map(|text| marked(text, bytes));
    let [name, title, version] =
        info.and_then(|info| members(info, ["name", "title", "version"]).ok()).unwrap_or_default();
    let [instructions] = members(result.as_str(), ["instructions"]).unwrap_or_default();
    let small = |raw: &&RawValue| raw.get().starts_with('{') && raw.get().len() <= DETAILS_BYTES_MAX;
    let capabilities = capabilities.filter(small).and_then(|raw| RawJson::from_text(raw.get()).ok());
    ServerDetails {
        protocol_version: cut(protocol_version.to_owned(), VERSION_BYTES_MAX),
        name: text(name, NAME_BYTES_MAX),
        title: text(title, NAME_BYTES_MAX),
        version: text(version, NAME_BYTES_MAX),
        instructions: text(instructions, DETAILS_BYTES_MAX),
        capabilities: capabilities.unwrap_or_else(RawJson::empty_object),
    }
}

/// A text of so many bytes at most, which shows where it was cut: whoever looks for secrets in it must know that one may begin there.
fn marked(text: String, bytes: usize) -> String {
    match text.len() > bytes {
        true => cut(text, bytes.saturating_sub(ELLIPSIS.len())) + ELLIPSIS,
        false => text,
    }
}

#[derive(Deserialize)]
struct VersionErrorData {
    #[serde(default)]
    supported: Vec<String>,
}

#[derive(Deserialize)]
struct Discovered {
    #[serde(default)]
    version: Option<String>,
}

/// Whether the answer to a probe is that of a server that speaks the modern era. An error that only a modern server can give
/// counts, but for one that names legacy versions alone.
fn offers_modern(outcome: &Result<RawJson, RpcError>) -> bool {
    match outcome {
        Ok(result) => result
            .parse_borrowed::<DiscoverResult<'_>>()
            .is_ok_and(|found| found.supported_versions.iter().any(|version| version == MODERN_VERSION)),
        Err(error) if MODERN_ERRORS.contains(&error.code) => {
            let data = error.data.as_ref().and_then(|data| data.parse::<VersionErrorData>().ok());
            let offered = data.map(|data| data.supported).unwrap_or_default();
            !offered.iter().any(|version| LEGACY_VERSIONS.contains(&version.as_str()))
                || offered.iter().any(|version| version == MODERN_VERSION)
        }
        Err(_) => false,
    }
}

/// What the capabilities in an answer declare; nothing where they are missing or odd.
fn declared(capabilities: Option<&RawValue>) -> Declared {
    let written =
        capabilities.and_then(|raw| serde_json::from_str::<WrittenCapabilities<'_>>(raw.get()).ok());
    written.map(WrittenCapabilities::declared).unwrap_or_default()
}

impl Handshake {
    /// A handshake in `dialect`; `known` is what an earlier link of this server found, `capabilities` the JSON
    /// object of what this client answers.
    pub(crate) fn new(
        dialect: Dialect,
        choice: EraChoice,
        known: Option<Known>,
        capabilities: String,
    ) -> Self {
        Self {
            dialect,
            choice,
            known,
            capabilities,
            state: State::Fresh,
            last_id: 0,
            probe_id: 0,
            probing: false,
            declined: None,
            wanted: LEGACY_VERSIONS[0],
            skips_probe: false,
        }
    }

    /// Begins with `initialize` where the era is not known and may be the legacy one.
    pub(crate) fn without_probe(self) -> Self {
        Self { skips_probe: self.choice == EraChoice::Auto && self.known.is_none(), ..self }
    }

    /// Whether a request of this handshake has this id.
    pub(crate) fn has_asked(&self, id: u64) -> bool {
        (1..=self.last_id).contains(&id)
    }

    /// Whether the probe was sent, and `initialize` would have been another way.
    pub(crate) fn has_probed(&self) -> bool {
        self.probe_id > 0 && self.choice == EraChoice::Auto
    }

    /// Whether the probe is what the server has to answer, and `initialize` would be another way.
    pub(crate) fn is_probing(&self) -> bool {
        self.has_probed() && matches!(self.state, State::Discovering { .. })
    }

    /// The first step.
    pub(crate) fn start(&mut self) -> Step {
        match (self.dialect, self.choice, self.known.map(|known| known.era)) {
            (Dialect::ToolExecute, _, _) => {
                self.state = State::Asking;
                let id = self.next_id();
                let method = "rpc.discover";
                let frame = Writer::request(id, method, 0).finish();
                Step::Send { method, frame, id, wait: Wait::Probe }
            }
            (Dialect::Mcp, EraChoice::Legacy, _) | (Dialect::Mcp, EraChoice::Auto, Some(Era::Legacy)) => {
                self.initialize()
            }
            (Dialect::Mcp, EraChoice::Auto, None) if self.skips_probe => self.initialize(),
            (Dialect::Mcp, _, Some(Era::Modern)) => {
                let declared = self.known.map(|known| known.declared).unwrap_or_default();
                self.modern(None, declared)
            }
            (Dialect::Mcp, EraChoice::Auto | EraChoice::Modern, _) => self.discover(false),
        }
    }

    /// A message came.
    pub(crate) fn receive(&mut self, incoming: Incoming) -> Step {
        match incoming {
            // Clients alone ask that.
            Incoming::Request { method, .. } if matches!(&*method, "initialize" | "server/discover") => {
                Step::Failed(HandshakeError::Echo)
            }
            Incoming::Request { id, method, .. } => Step::Answer(early_answer(&id, &method)),
            Incoming::Notification { .. } | Incoming::MissingOutcome { .. } | Incoming::Foreign { .. } => {
                Step::Wait
            }
            Incoming::Response(Response { id, outcome }) => self.answered(id, outcome),
        }
    }

    /// The probe was not answered in time.
    pub(crate) fn timed_out(&mut self) -> Step {
        match (self.state, self.choice) {
            (State::Discovering { .. }, EraChoice::Auto | EraChoice::Legacy) => self.initialize(),
            // A server that knows no rpc.discover may know tool.list; the listing will tell.
            (State::Asking, _) => self.done(None, String::new(), None, Declared::default(), None),
            (State::Initializing, _) => self.no_answer_to_the_probe(),
            (State::Discovering { .. }, EraChoice::Modern) | (State::Fresh | State::Over, _) => Step::Wait,
        }
    }

    /// A request came to nothing, and the link goes on.
    pub(crate) fn failed(&mut self, id: u64, reason: String, finality: Finality) -> Step {
        match (self.state, self.choice, finality) {
            (State::Fresh | State::Over, _, _) => Step::Wait,
            (State::Initializing, _, Finality::ThisRequest) if self.probing && id == self.probe_id => {
                self.no_answer_to_the_probe()
            }
            _ if id != self.last_id => Step::Wait,
            (State::Discovering { .. }, EraChoice::Auto | EraChoice::Legacy, Finality::ThisRequest) => {
                self.probing = false;
                self.initialize()
            }
            (State::Initializing, _, Finality::ThisRequest) => self.decline(HandshakeError::Failed(reason)),
            (State::Asking, _, Finality::ThisRequest) => {
                self.done(None, String::new(), None, Declared::default(), None)
            }
            (State::Discovering { .. } | State::Initializing | State::Asking, _, _) => {
                self.fail(HandshakeError::Failed(reason))
            }
        }
    }

    fn answered(&mut self, id: Option<u64>, outcome: Result<RawJson, RpcError>) -> Step {
        let to_last = id == Some(self.last_id);
        match self.state {
            State::Discovering { again } if to_last => {
                self.probing = false;
                self.discovered(again, outcome)
            }
            State::Initializing if to_last && self.declined.is_none() => self.initialized(outcome),
            State::Initializing if self.probing && id == Some(self.probe_id) => self.discovered_late(outcome),
            State::Asking if to_last => {
                let found = outcome.ok().and_then(|result| result.parse::<Discovered>().ok());
                let version = found.and_then(|found| found.version).unwrap_or_default();
                self.done(None, version, None, Declared::default(), None)
            }
            // A welcome that nobody asked for, an answer to nothing, a second answer.
            State::Discovering { .. } | State::Initializing | State::Asking | State::Fresh | State::Over => {
                Step::Wait
            }
        }
    }

    fn discover(&mut self, again: bool) -> Step {
        self.state = State::Discovering { again };
        let id = self.next_id();
        (self.probe_id, self.probing, self.declined) = (id, true, None);
        let method = "server/discover";
        let mut writer = Writer::request(id, method, 256);
        let frame =
            writer.raw(r#","params":{"_meta":{"#).raw(&modern_meta(&self.capabilities)).raw("}}").finish();
        let wait = match self.choice {
            EraChoice::Auto | EraChoice::Legacy => Wait::Probe,
            // There is nothing to fall back to, and an interpreter may take seconds to start.
            EraChoice::Modern => Wait::Answer,
        };
        Step::Send { method, frame, id, wait }
    }

    fn discovered(&mut self, again: bool, outcome: Result<RawJson, RpcError>) -> Step {
        match outcome {
            Ok(result) => match result.parse_borrowed::<DiscoverResult<'_>>() {
                Ok(found) if found.supported_versions.iter().any(|version| version == MODERN_VERSION) => {
                    let [meta] = members(result.as_str(), ["_meta"]).unwrap_or_default();
                    let info = meta.and_then(|meta| members(meta, [SERVER_INFO_META]).ok());
                    let [info] = info.unwrap_or_default();
                    let details = details(MODERN_VERSION, info, &result, found.capabilities);
                    self.modern(Some(details), declared(found.capabilities))
                }
                Ok(found) => self.initialize_with(found.supported_versions),
                // Some legacy servers answer what they do not know with an empty result.
                Err(_) if self.choice == EraChoice::Auto && !again => self.initialize(),
                Err(error) => self.fail(HandshakeError::invalid("server/discover", &error)),
            },
            Err(error) if MODERN_ERRORS.contains(&error.code) => {
                let data = error.data.as_ref().and_then(|data| data.parse::<VersionErrorData>().ok());
                let offered = data.map(|data| data.supported).unwrap_or_default();
                if !again && offered.iter().any(|version| version == MODERN_VERSION) {
                    return self.discover(true);
                }
                self.initialize_with(offered)
            }
            Err(error) => match self.choice {
                EraChoice::Modern => self.fail(HandshakeError::WrongEra(reason(error))),
                EraChoice::Auto | EraChoice::Legacy => self.initialize(),
            },
        }
    }

    /// The probe is answered after `initialize` was sent. What says that the server speaks the modern era counts as ever;
    /// anything else leaves the word to the answer to `initialize`.
    fn discovered_late(&mut self, outcome: Result<RawJson, RpcError>) -> Step {
        if !offers_modern(&outcome) {
            return self.no_answer_to_the_probe();
        }
        self.probing = false;
        self.discovered(false, outcome)
    }

    /// The probe is not answered, or not by a modern server: `initialize` decides.
    fn no_answer_to_the_probe(&mut self) -> Step {
        self.probing = false;
        match self.declined.take() {
            Some(error) => self.fail(error),
            None => Step::Wait,
        }
    }

    /// `initialize` came to nothing. A modern server that has yet to answer the probe would refuse it, too.
    fn decline(&mut self, error: HandshakeError) -> Step {
        if !self.probing {
            return self.fail(error);
        }
        self.declined = Some(error);
        Step::WaitForProbe
    }

    /// The server offers these versions, of which none is modern: the best of them that is known is asked for.
    fn initialize_with(&mut self, offered: Vec<String>) -> Step {
        let common = LEGACY_VERSIONS.into_iter().find(|version| offered.iter().any(|other| other == version));
        match common.filter(|_| self.choice != EraChoice::Modern) {
            Some(version) => {
                self.wanted = version;
                self.initialize()
            }
            None => self.fail(HandshakeError::unsupported(offered)),
        }
    }

    fn initialize(&mut self) -> Step {
        self.state = State::Initializing;
        let id = self.next_id();
        let method = "initialize";
        let mut writer = Writer::request(id, method, 256);
        writer.raw(r#","params":{"protocolVersion":"#).string(self.wanted);
        writer.raw(r#","capabilities":"#).raw(&self.capabilities);
        let frame = writer.raw(r#","clientInfo":"#).raw(client_info()).raw("}").finish();
        Step::Send { method, frame, id, wait: Wait::Answer }
    }

    fn initialized(&mut self, outcome: Result<RawJson, RpcError>) -> Step {
        let result = match outcome {
            Ok(result) => result,
            Err(RpcError { code, .. })
                if self.skips_probe
                    && (code == RpcError::METHOD_NOT_FOUND || MODERN_ERRORS.contains(&code)) =>
            {
                self.skips_probe = false;
                return self.discover(false);
            }
            Err(RpcError { code, message, .. }) => {
                // What the handshake's error says is kept for long, and nobody reads its data.
                let message = reason(message);
                return self.decline(HandshakeError::Refused(RpcError { code, message, data: None }));
            }
        };
        match result.parse_borrowed::<InitializeResult<'_>>() {
            Ok(found) if LEGACY_VERSIONS.contains(&found.protocol_version.as_str()) => {
                let farewell = Writer::notification("notifications/initialized").finish();
                let InitializeResult { protocol_version, capabilities } = found;
                let [info] = members(result.as_str(), ["serverInfo"]).unwrap_or_default();
                let details = details(&protocol_version, info, &result, capabilities);
                let declared = declared(capabilities);
                self.done(Some(Era::Legacy), protocol_version, Some(details), declared, Some(farewell))
            }
            Ok(found) => self.decline(HandshakeError::unsupported(vec![found.protocol_version])),
            Err(error) => self.decline(HandshakeError::invalid("initialize", &error)),
        }
    }

    fn modern(&mut self, details: Option<ServerDetails>, declared: Declared) -> Step {
        self.done(Some(Era::Modern), MODERN_VERSION.to_owned(), details, declared, None)
    }

    fn done(
        &mut self,
        era: Option<Era>,
        version: String,
        details: Option<ServerDetails>,
        declared: Declared,
        farewell: Option<Bytes>,
    ) -> Step {
        self.state = State::Over;
        // The server's own words, which are told with every connection.
        let version = cut(version, VERSION_BYTES_MAX);
        let session = Session::new(self.dialect, era, version, details, declared, &self.capabilities);
        Step::Done { session, farewell, next_id: self.last_id + 1 }
    }

    fn fail(&mut self, error: HandshakeError) -> Step {
        self.state = State::Over;
        Step::Failed(error)
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::envelope::decode;

    fn known(era: Era) -> Option<Known> {
        Some(Known { era, declared: Declared::default() })
    }

    fn mcp(choice: EraChoice) -> Handshake {
        Handshake::new(Dialect::Mcp, choice, None, "{}".to_owned())
    }

    /// The method and the id of what is sent.
    fn sent(step: Step) -> (String, u64) {
        let Step::Send { method, frame, id, .. } = step else { panic!("{step:?} sends nothing") };
        let value: Value = serde_json::from_slice(&frame).unwrap();
        assert_eq!(value["id"].as_u64(), Some(id));
        assert_eq!(value["method"], method);
        (method.to_owned(), id)
    }

    fn tell(handshake: &mut Handshake, message: Value) -> Step {
        tell_text(handshake, &message.to_string())
    }

    fn tell_text(handshake: &mut Handshake, message: &str) -> Step {
        let mut step = None;
        decode(message.to_owned().into(), |incoming| step = Some(handshake.receive(incoming))).unwrap();
        step.unwrap()
    }

    fn session(step: Step) -> (Session, Option<Bytes>, u64) {
        let Step::Done { session, farewell, next_id } = step else { panic!("{step:?} is no agreement") };
        (session, farewell, next_id)
    }

    fn failure(step: Step) -> HandshakeError {
        let Step::Failed(error) = step else { panic!("{step:?} is no failure") };
        error
    }

    fn initialize_result(id: u64, version: &str) -> Value {
        json!({"id": id, "result": {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "x"}}})
    }

    #[test]
    fn a_modern_server_is_found_by_one_round_trip() {
        let mut handshake = mcp(EraChoice::Auto);
        assert_eq!(sent(handshake.start()), ("server/discover".into(), 1));
        let step = tell(
            &mut handshake,
            json!({"id": 1, "result": {"supportedVersions": ["2025-11-25", "2026-07-28"],
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "files"}}}}),
        );
        let (session, farewell, next_id) = session(step);
        assert_eq!((session.era(), session.server_name()), (Some(Era::Modern), Some("files")));
        assert_eq!((farewell, next_id), (None, 2));
    }

    #[test]
    fn what_a_server_says_of_itself_or_in_its_errors_is_kept_as_far_as_it_is_of_use() {
        let long = "x".repeat(1 << 20);
        let told = |choice, message: Value| {
            let mut handshake = mcp(choice);
            let _ = handshake.start();
            tell(&mut handshake, message)
        };
        let named = json!({"id": 1, "result": {"supportedVersions": ["2026-07-28"],
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": long}}}});
        let (session, ..) = session(told(EraChoice::Auto, named));
        assert_eq!(session.server_name().unwrap().len(), NAME_BYTES_MAX);

        let mut asking = Handshake::new(Dialect::ToolExecute, EraChoice::Auto, None, "{}".to_owned());
        let _ = asking.start();
        let Step::Done { session, .. } = tell(&mut asking, json!({"id": 1, "result": {"version": long}}))
        else {
            panic!("an answer is all it takes")
        };
        assert_eq!(session.version().len(), VERSION_BYTES_MAX);

        let error = |code| json!({"id": 1, "error": {"code": code, "message": long, "data": long}});
        let others: Vec<&str> = vec![&long; 100];
        for (choice, message) in [
            (EraChoice::Legacy, error(-32603)),
            (EraChoice::Modern, error(-32603)),
            (EraChoice::Auto, json!({"id": 1, "result": {"supportedVersions": others}})),
            (
                EraChoice::Auto,
                json!({"id": 1, "error": {"code": -32022, "message": "", "data": {"supported": others}}}),
            ),
            (EraChoice::Legacy, json!({"id": 1, "result": {"protocolVersion": long}})),
            (EraChoice::Legacy, json!({"id": 1, "result": {"protocolVersion": {"a": long}}})),
            (EraChoice::Modern, json!({"id": 1, "result": {"supportedVersions": long}})),
        ] {
            let told = failure(told(choice, message));
            assert!(format!("{told:?}").len() < 4096, "{choice:?}");
        }
    }

    #[test]
    fn any_other_error_or_silence_leads_to_initialize_on_the_same_link() {
        for code in [-32601, -32602, 0] {
            let mut handshake = mcp(EraChoice::Auto);
            let _ = handshake.start();
            let step = tell(&mut handshake, json!({"id": 1, "error": {"code": code, "message": "no"}}));
            assert_eq!(sent(step), ("initialize".into(), 2), "{code}");
            let (session, farewell, _) = session(tell(&mut handshake, initialize_result(2, "2025-06-18")));
            assert_eq!((session.era(), session.version()), (Some(Era::Legacy), "2025-06-18"));
            let farewell: Value = serde_json::from_slice(&farewell.unwrap()).unwrap();
            assert_eq!(farewell["method"], "notifications/initialized");
        }
        let mut handshake = mcp(EraChoice::Auto);
        let _ = handshake.start();
        assert_eq!(sent(handshake.timed_out()).0, "initialize");
    }

    #[test]
    fn a_result_that_says_nothing_leads_to_initialize_unless_the_era_was_chosen() {
        let mut handshake = mcp(EraChoice::Auto);
        let _ = handshake.start();
        assert_eq!(sent(tell(&mut handshake, json!({"id": 1, "result": {}}))), ("initialize".into(), 2));
        let mut handshake = mcp(EraChoice::Modern);
        let _ = handshake.start();
        let told = failure(tell(&mut handshake, json!({"id": 1, "result": {}})));
        assert!(matches!(told, HandshakeError::Invalid { method: "server/discover", .. }));
    }

    #[test]
    fn an_error_of_the_modern_era_never_leads_to_initialize() {
        for code in MODERN_ERRORS {
            let mut handshake = mcp(EraChoice::Auto);
            let _ = handshake.start();
            let error = json!({"code": code, "message": "no", "data": {"supported": ["2027-01-01"]}});
            let step = tell(&mut handshake, json!({"id": 1, "error": error}));
            assert_eq!(
                failure(step),
                HandshakeError::UnsupportedVersion { offered: vec!["2027-01-01".into()] }
            );
        }
        let mut handshake = mcp(EraChoice::Auto);
        let _ = handshake.start();
        let refusal = |id| json!({"id": id, "error": {"code": -32022, "message": "", "data": {"supported": ["2026-07-28"]}}});
        assert_eq!(sent(tell(&mut handshake, refusal(1))).0, "server/discover");
        assert!(matches!(
            failure(tell(&mut handshake, refusal(2))),
            HandshakeError::UnsupportedVersion { .. }
        ));
    }

    #[test]
    fn a_server_that_offers_legacy_versions_alone_is_asked_for_the_best_that_both_speak() {
        let offers = |versions: &[&str]| {
            [
                json!({"id": 1, "result": {"supportedVersions": versions}}),
                json!({"id": 1, "error": {"code": -32022, "message": "", "data": {"supported": versions}}}),
            ]
        };
        for answer in offers(&["2024-11-05", "2025-06-18", "1999-01-01"]) {
            let mut handshake = mcp(EraChoice::Auto);
            let _ = handshake.start();
            let step = tell(&mut handshake, answer);
            let Step::Send { method: "initialize", frame, .. } = &step else { panic!("{step:?}") };
            let asked: Value = serde_json::from_slice(frame).unwrap();
            assert_eq!(asked["params"]["protocolVersion"], "2025-06-18");
            let (session, ..) = session(tell(&mut handshake, initialize_result(2, "2025-06-18")));
            assert_eq!((session.era(), session.version()), (Some(Era::Legacy), "2025-06-18"));
        }
        for (choice, versions) in
            [(EraChoice::Modern, &["2025-06-18"][..]), (EraChoice::Auto, &["1999-01-01"])]
        {
            for answer in offers(versions) {
                let mut handshake = mcp(choice);
                let _ = handshake.start();
                let told = failure(tell(&mut handshake, answer));
                assert!(matches!(told, HandshakeError::UnsupportedVersion { .. }), "{told}");
            }
        }
        // It comes too late to change anything.
        let mut handshake = mcp(EraChoice::Auto);
        let _ = handshake.start();
        let _ = handshake.timed_out();
        let [late, _] = offers(&["2025-06-18"]);
        assert!(matches!(tell(&mut handshake, late), Step::Wait));
        let _ = session(tell(&mut handshake, initialize_result(2, "2025-06-18")));
    }

    #[test]
    fn what_came_to_nothing_after_a_probe_is_tried_without_one_and_then_by_turns() {
        let first = Greeting::default();
        assert_eq!(first.after_failure(false), Greeting::ProbeFirst);
        let second = first.after_failure(true);
        assert_eq!(second, Greeting::Initialize);
        assert_eq!(second.after_failure(false), Greeting::Probe);
        assert_eq!(second.after_failure(false).after_failure(true), Greeting::Initialize);
        let mut skipping = mcp(EraChoice::Auto).without_probe();
        assert_eq!(sent(skipping.start()).0, "initialize");
        let step = tell(&mut skipping, json!({"id": 1, "error": {"code": -32601, "message": "no"}}));
        assert_eq!(sent(step), ("server/discover".into(), 2), "a modern server after all");
        let step = tell(&mut skipping, json!({"id": 2, "result": {"supportedVersions": ["2026-07-28"]}}));
        assert_eq!(session(step).0.era(), Some(Era::Modern));
        assert_eq!(sent(mcp(EraChoice::Modern).without_probe().start()).0, "server/discover");
        let mut probing = mcp(EraChoice::Auto);
        assert!(!probing.is_probing());
        let _ = probing.start();
        assert!(probing.is_probing() && probing.has_probed());
        let _ = probing.timed_out();
        assert!(!probing.is_probing() && probing.has_probed());
    }

    #[test]
    fn a_modern_answer_that_comes_after_the_fallback_still_counts() {
        let mut handshake = mcp(EraChoice::Auto);
        let _ = handshake.start();
        let _ = handshake.timed_out();
        let step = tell(&mut handshake, json!({"id": 1, "result": {"supportedVersions": ["2026-07-28"]}}));
        assert_eq!(session(step).0.era(), Some(Era::Modern));
        let mut handshake = mcp(EraChoice::Auto);
        let _ = handshake.start();
        let _ = handshake.timed_out();
        let late = tell(&mut handshake, json!({"id": 1, "error": {"code": -32601, "message": ""}}));
        assert!(matches!(late, Step::Wait));
    }

    /// A server that was silent for the probe's time: both questions are with it.
    fn slow() -> Handshake {
        let mut handshake = mcp(EraChoice::Auto);
        assert_eq!(sent(handshake.start()), ("server/discover".into(), 1));
        assert_eq!(sent(handshake.timed_out()), ("initialize".into(), 2));
        handshake
    }

    #[test]
    fn a_slow_server_ends_up_in_its_own_era_in_whichever_order_it_answers_both_questions() {
        let unknown = |id| json!({"id": id, "error": {"code": -32601, "message": "no such method"}});
        let locked = |id| json!({"id": id, "error": {"code": -32022, "message": "", "data": {"supported": ["2026-07-28"]}}});
        let modern = json!({"id": 1, "result": {"supportedVersions": ["2026-07-28"]}});
        let era = |step| session(step).0.era();

        // A legacy one, also one that answers everything, and one that offers its own versions to the probe.
        for probe in [
            unknown(1),
            json!({"id": 1, "result": {}}),
            json!({"id": 1, "result": {"supportedVersions": ["2025-06-18"]}}),
        ] {
            let mut handshake = slow();
            assert!(matches!(tell(&mut handshake, probe), Step::Wait));
            assert_eq!(era(tell(&mut handshake, initialize_result(2, "2025-06-18"))), Some(Era::Legacy));
        }
        assert_eq!(era(tell(&mut slow(), initialize_result(2, "2025-06-18"))), Some(Era::Legacy));

        // A modern one, in its order and in the other.
        assert_eq!(era(tell(&mut slow(), modern.clone())), Some(Era::Modern));
        for refusal in [unknown(2), locked(2), initialize_result(2, "2026-07-28")] {
            let mut handshake = slow();
            assert!(matches!(tell(&mut handshake, refusal), Step::WaitForProbe));
            assert_eq!(era(tell(&mut handshake, modern.clone())), Some(Era::Modern));
        }
        // One that names its version in an error is asked again, and what it says of initialize is passed over.
        let mut handshake = slow();
        assert_eq!(sent(tell(&mut handshake, locked(1))), ("server/discover".into(), 3));
        assert!(matches!(tell(&mut handshake, locked(2)), Step::Wait));
        let third = json!({"id": 3, "result": {"supportedVersions": ["2026-07-28"]}});
        assert_eq!(era(tell(&mut handshake, third)), Some(Era::Modern));
    }

    #[test]
    fn a_slow_server_that_refuses_both_questions_is_told_by_what_it_says_of_initialize() {
        let refusal = |id| json!({"id": id, "error": {"code": -32603, "message": format!("no {id}")}});
        let told = |error: HandshakeError| error.to_string();
        let mut handshake = slow();
        assert!(matches!(tell(&mut handshake, refusal(2)), Step::WaitForProbe));
        assert!(told(failure(tell(&mut handshake, refusal(1)))).contains("no 2"));
        let mut handshake = slow();
        assert!(matches!(tell(&mut handshake, refusal(1)), Step::Wait));
        assert!(told(failure(tell(&mut handshake, refusal(2)))).contains("no 2"));
        // One that never answers the probe is waited for once more.
        let mut handshake = slow();
        assert!(matches!(tell(&mut handshake, refusal(2)), Step::WaitForProbe));
        assert!(matches!(tell(&mut handshake, refusal(2)), Step::Wait), "a second answer");
        assert!(told(failure(handshake.timed_out())).contains("no 2"));
        // The same where each request travels alone.
        let mut handshake = slow();
        assert!(matches!(handshake.failed(2, "400".into(), Finality::ThisRequest), Step::WaitForProbe));
        assert_eq!(
            told(failure(handshake.failed(1, "408".into(), Finality::ThisRequest))),
            "400",
            "what became of initialize"
        );
        let mut handshake = slow();
        assert!(matches!(handshake.failed(1, "408".into(), Finality::ThisRequest), Step::Wait));
        assert_eq!(told(failure(handshake.failed(2, "400".into(), Finality::ThisRequest))), "400");
    }

    #[test]
    fn a_known_or_chosen_era_skips_the_probe() {
        let mut handshake =
            Handshake::new(Dialect::Mcp, EraChoice::Auto, known(Era::Modern), "{}".to_owned());
        assert_eq!(session(handshake.start()).0.era(), Some(Era::Modern));
        let mut handshake =
            Handshake::new(Dialect::Mcp, EraChoice::Auto, known(Era::Legacy), "{}".to_owned());
        assert_eq!(sent(handshake.start()).0, "initialize");
        assert_eq!(sent(mcp(EraChoice::Legacy).start()).0, "initialize");
    }

    #[test]
    fn a_server_that_must_be_modern_has_the_time_of_a_whole_handshake_to_start() {
        let waited_for = |choice| match mcp(choice).start() {
            Step::Send { wait, .. } => wait,
            step => panic!("{step:?} sends nothing"),
        };
        assert_eq!(waited_for(EraChoice::Modern), Wait::Answer);
        assert_eq!(waited_for(EraChoice::Auto), Wait::Probe);
    }

    #[test]
    fn a_wrong_era_is_told_with_its_remedy() {
        let mut handshake = mcp(EraChoice::Modern);
        let _ = handshake.start();
        let step = tell(&mut handshake, json!({"id": 1, "error": {"code": -32601, "message": "no"}}));
        assert!(failure(step).to_string().contains("set its era to auto or legacy"));
        let mut handshake = mcp(EraChoice::Legacy);
        let _ = handshake.start();
        let step = tell(&mut handshake, initialize_result(1, "2030-01-01"));
        assert!(matches!(failure(step), HandshakeError::UnsupportedVersion { .. }));
    }

    #[test]
    fn a_program_that_sends_back_what_it_is_sent_is_told_as_that() {
        for (choice, method) in [(EraChoice::Auto, "server/discover"), (EraChoice::Legacy, "initialize")] {
            let mut handshake = mcp(choice);
            let _ = handshake.start();
            let step = tell(&mut handshake, json!({"id": 1, "method": method, "params": {}}));
            assert_eq!(failure(step), HandshakeError::Echo);
        }
    }

    #[test]
    fn what_comes_before_the_answer_is_survived() {
        let mut handshake = mcp(EraChoice::Legacy);
        let _ = handshake.start();
        assert!(matches!(
            tell(&mut handshake, json!({"method": "notifications/message", "params": {}})),
            Step::Wait
        ));
        assert!(matches!(tell(&mut handshake, json!({"id": 99, "result": {}})), Step::Wait));
        let Step::Answer(pong) = tell(&mut handshake, json!({"id": 0, "method": "ping"})) else { panic!() };
        assert!(std::str::from_utf8(&pong).unwrap().contains(r#""result":{}"#));
        let _ = session(tell(&mut handshake, initialize_result(1, "2025-11-25")));
        assert!(matches!(tell(&mut handshake, initialize_result(1, "2025-11-25")), Step::Wait));
    }

    #[test]
    fn a_probe_that_came_to_nothing_leads_to_initialize_unless_all_requests_would() {
        let mut handshake = mcp(EraChoice::Auto);
        let _ = handshake.start();
        let step = handshake.failed(1, "status 400".into(), Finality::ThisRequest);
        assert_eq!(sent(step), ("initialize".into(), 2));
        assert!(matches!(handshake.failed(1, "late".into(), Finality::ThisRequest), Step::Wait));
        let told = failure(handshake.failed(2, "status 404".into(), Finality::ThisRequest));
        assert_eq!(told, HandshakeError::Failed("status 404".into()));
        let mut handshake = mcp(EraChoice::Auto);
        let _ = handshake.start();
        let told = failure(handshake.failed(1, "status 401".into(), Finality::AllRequests));
        assert_eq!(told, HandshakeError::Failed("status 401".into()));
        let mut handshake = mcp(EraChoice::Modern);
        let _ = handshake.start();
        let _ = failure(handshake.failed(1, "status 400".into(), Finality::ThisRequest));
    }

    #[test]
    fn a_tool_execute_server_may_welcome_answer_refuse_or_be_silent() {
        let ask = || {
            let mut handshake = Handshake::new(Dialect::ToolExecute, EraChoice::Auto, None, "{}".to_owned());
            assert_eq!(sent(handshake.start()).0, "rpc.discover");
            let welcome = json!({"id": null, "result": {"version": "1.0.0", "capabilities": []}});
            assert!(matches!(tell(&mut handshake, welcome), Step::Wait));
            handshake
        };
        let step = tell(&mut ask(), json!({"id": 1, "result": {"version": "1.0.0", "tools": ["t"]}}));
        assert_eq!(session(step).0.version(), "1.0.0");
        let step = tell(&mut ask(), json!({"id": 1, "error": {"code": -32601, "message": ""}}));
        assert_eq!(session(step).0.era(), None);
        let _ = session(ask().timed_out());
    }

    #[test]
    fn nothing_depends_on_the_shape_of_what_a_server_says_of_itself() {
        for said in [
            r#""serverInfo":{"name":"x","version":1.2}"#,
            r#""serverInfo":{"name":"x","title":{"en":"X"}}"#,
            r#""serverInfo":{"name":"y","name":"x"},"instructions":["a","b"]"#,
            r#""instructions":1,"instructions":"twice","serverInfo":{"name":"x"}"#,
        ] {
            let mut handshake = mcp(EraChoice::Legacy);
            let (_, id) = sent(handshake.start());
            let text = format!(
                r#"{{"id":{id},"result":{{"protocolVersion":"2025-11-25","capabilities":{{}},{said}}}}}"#
            );
            let (agreed, ..) = session(tell_text(&mut handshake, &text));
            assert_eq!(agreed.server_name(), Some("x"), "{said}");
        }
        let mut handshake = mcp(EraChoice::Legacy);
        let (_, id) = sent(handshake.start());
        let (session, ..) = session(tell(
            &mut handshake,
            json!({"id": id, "result":
            {"protocolVersion": "2025-11-25", "capabilities": [], "serverInfo": "x"}}),
        ));
        assert_eq!(session.details().map(|details| details.capabilities.as_str()), Some("{}"));
    }
}
