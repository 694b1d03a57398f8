//! What clients' requests ask for, read no further than that.

use super::id::ClientId;
use super::message::{not_once, rpc_error};
use crate::error::RpcError;
use crate::json::RawJson;
use crate::json::members::{given, members, members_once, string};

/// The longest cursor that is looked at, in bytes: ours are shorter.
const CURSOR_BYTES_MAX: usize = 4 << 10;

fn wrong(message: impl Into<String>) -> RpcError {
    rpc_error(RpcError::INVALID_PARAMS, message)
}

/// The members of the params, of which each may stand once.
fn params_once<'a, const N: usize>(
    params: Option<&'a RawJson>,
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], RpcError> {
    let Some(params) = params else { return Ok([None; N]) };
    members_once(params.as_str(), names)
        .map_err(|wrong| not_once("the params", RpcError::INVALID_PARAMS, wrong))
}

fn slice(params: Option<&RawJson>, raw: &str) -> RawJson {
    params.map_or_else(RawJson::null, |params| RawJson::trusted(params.bytes().slice_ref(raw.as_bytes())))
}

/// An object that a client passes on; none where it gives none.
fn object(params: Option<&RawJson>, name: &str, raw: Option<&str>) -> Result<Option<RawJson>, RpcError> {
    match given(raw) {
        Some(raw) if raw.starts_with('{') => Ok(Some(slice(params, raw))),
        Some(_) => Err(wrong(format!("{name} must be an object"))),
        None => Ok(None),
    }
}

/// A request that is passed on to a server: of a tool, a prompt or a resource.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PassedOn {
    /// The name or URI, as the client knows it.
    pub name: String,
    /// With what: an object, as the client wrote it.
    pub arguments: Option<RawJson>,
    /// Answers to what an earlier result asked, by its keys, and what came with it.
    pub input: Option<(RawJson, Option<RawJson>)>,
}

impl PassedOn {
    /// Reads the params of `tools/call` or `prompts/get`.
    ///
    /// # Errors
    /// What is answered where they are wrong.
    pub(crate) fn by_name(params: Option<&RawJson>) -> Result<Self, RpcError> {
        Self::read(params, "name")
    }

    /// The same of `resources/read`.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name).
    pub(crate) fn by_uri(params: Option<&RawJson>) -> Result<Self, RpcError> {
        Self::read(params, "uri")
    }

    fn read(params: Option<&RawJson>, key: &'static str) -> Result<Self, RpcError> {
        let names = [key, "arguments", "inputResponses", "requestState"];
        let [name, arguments, responses, state] = params_once(params, names)?;
        let name = given(name).and_then(string).ok_or_else(|| wrong(format!("{key} must be a string")))?;
        let arguments = object(params, "arguments", arguments)?;
        let responses = object(params, "inputResponses", responses)?;
        let state = given(state).map(|raw| slice(params, raw));
        let input = match (responses, state) {
            (None, None) => None,
            (responses, state) => Some((responses.unwrap_or_else(RawJson::empty_object), state)),
        };
        Ok(Self { name, arguments, input })
    }
}

/// What `completion/complete` asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Completion {
    /// Whether an argument of a prompt is completed, or a variable of a template.
    pub of_prompt: bool,
    /// The prompt's name, or the template, as the client knows it.
    pub name: String,
    /// The argument, and what was chosen before it: an object of those members, as the client wrote them.
    pub rest: RawJson,
}

impl Completion {
    /// Reads the params.
    ///
    /// # Errors
    /// What is answered where they are wrong.
    pub(crate) fn read(params: Option<&RawJson>) -> Result<Self, RpcError> {
        let [of, argument, context] = params_once(params, ["ref", "argument", "context"])?;
        let of = given(of).ok_or_else(|| wrong("ref must be an object"))?;
        let of = members_once(of, ["type", "name", "uri"]);
        let [kind, name, uri] = of.map_err(|wrong| not_once("ref", RpcError::INVALID_PARAMS, wrong))?;
        let (of_prompt, name) = match kind.and_then(string).as_deref() {
            Some("ref/prompt") => (true, name),
            Some("ref/resource") => (false, uri),
            _ => return Err(wrong("the type of ref must be ref/prompt or ref/resource")),
        };
        let name = given(name).and_then(string).ok_or_else(|| wrong("ref must have a name or a uri"))?;
        let argument =
            object(params, "argument", argument)?.ok_or_else(|| wrong("argument must be an object"))?;
        let context = object(params, "context", context)?;
        let context = context.map(|context| format!(r#","context":{context}"#)).unwrap_or_default();
        let rest = RawJson::trusted(format!(r#"{{"argument":{argument}{context}}}"#).into());
        Ok(Self { of_prompt, name, rest })
    }
}

/// The cursor of a request for a page.
///
/// # Errors
/// What is answered where it is none.
pub(crate) fn cursor(params: Option<&RawJson>) -> Result<Option<String>, RpcError> {
    let [cursor] = params_once(params, ["cursor"])?;
    let Some(raw) = given(cursor) else { return Ok(None) };
    let cursor = string(raw).filter(|cursor| cursor.len() <= CURSOR_BYTES_MAX);
    cursor.map(Some).ok_or_else(|| wrong("the cursor is none of this server's"))
}

/// The level of `logging/setLevel`.
///
/// # Errors
/// What is answered where it is none.
pub(crate) fn level(params: Option<&RawJson>) -> Result<crate::call_update::LogLevel, RpcError> {
    let [level] = params_once(params, ["level"])?;
    let level = given(level).and_then(string).and_then(|name| crate::call_update::LogLevel::named(&name));
    level.ok_or_else(|| {
        wrong("level must be one of debug, info, notice, warning, error, critical, alert, emergency")
    })
}

/// The request that `notifications/cancelled` calls off; none where it names none.
pub(crate) fn cancelled(params: Option<&RawJson>) -> Option<ClientId> {
    let [id] = members(params?.as_str(), ["requestId"]).ok()?;
    ClientId::read(id?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> RawJson {
        RawJson::from_text(text).unwrap()
    }

    #[test]
    fn arguments_are_passed_on_as_they_were_written() {
        let params = raw(
            r#"{"name":"a\u0062","arguments":{ "n" : 1.00 },"inputResponses":{"k":1},"requestState":"s"}"#,
        );
        let call = PassedOn::by_name(Some(&params)).unwrap();
        assert_eq!((&*call.name, call.arguments.unwrap().as_str()), ("ab", r#"{ "n" : 1.00 }"#));
        let (responses, state) = call.input.unwrap();
        assert_eq!((responses.as_str(), state.unwrap().as_str()), (r#"{"k":1}"#, "\"s\""));
        let null = PassedOn::by_uri(Some(&raw(r#"{"uri":"x:y","arguments":null}"#))).unwrap();
        assert_eq!((null.arguments, null.input), (None, None));
    }

    #[test]
    fn wrong_params_are_told() {
        for params in [
            r#"{}"#,
            r#"{"name":7}"#,
            r#"{"name":"a","arguments":[1]}"#,
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","arguments":{},"arguments":{}}"#,
        ] {
            assert_eq!(PassedOn::by_name(Some(&raw(params))).unwrap_err().code, -32602, "{params}");
        }
        assert_eq!(PassedOn::by_name(None).unwrap_err().code, -32602);
        assert_eq!(cursor(Some(&raw(r#"{"cursor":7}"#))).unwrap_err().code, -32602);
        assert_eq!(cursor(Some(&raw(r#"{"cursor":null}"#))).unwrap(), None);
        assert!(level(Some(&raw(r#"{"level":"loud"}"#))).is_err());
    }

    #[test]
    fn a_completion_names_a_prompt_or_a_template() {
        let read = |text: &str| Completion::read(Some(&raw(text)));
        let prompt = read(
            r#"{"ref":{"type":"ref/prompt","name":"a"},"argument":{"name":"x","value":"y"},"context":{"arguments":{}}}"#,
        );
        let Completion { of_prompt, name, rest } = prompt.unwrap();
        assert!(of_prompt && name == "a");
        assert_eq!(rest.as_str(), r#"{"argument":{"name":"x","value":"y"},"context":{"arguments":{}}}"#);
        let template = read(r#"{"ref":{"type":"ref/resource","uri":"x:{a}"},"argument":{}}"#).unwrap();
        assert_eq!((template.of_prompt, &*template.name), (false, "x:{a}"));
        for wrong in [
            r#"{}"#,
            r#"{"ref":{"type":"ref/tool","name":"a"},"argument":{}}"#,
            r#"{"ref":{"type":"ref/prompt","name":"a"}}"#,
        ] {
            assert_eq!(read(wrong).unwrap_err().code, -32602, "{wrong}");
        }
    }

    #[test]
    fn what_is_called_off_is_named_as_its_client_named_it() {
        assert_eq!(cancelled(Some(&raw(r#"{"requestId":"7"}"#))).unwrap().as_str(), "\"7\"");
        assert_eq!(cancelled(Some(&raw(r#"{"requestId":null}"#))), None);
    }
}
