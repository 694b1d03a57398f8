//! What servers ask of a legacy client: requests of ours to it.

use bytes::Bytes;

use super::answer::in_one_line;
use super::repair::renamed;
use crate::json::RawJson;
use crate::json::members::{given, members, string};
use crate::question::{ServerRequest, ServerRequestKind};

/// The kinds of requests that a legacy client answers, by the capabilities of its `initialize`.
pub(crate) fn answered_kinds(capabilities: &RawJson) -> Vec<ServerRequestKind> {
    let names = ["elicitation", "sampling", "roots"];
    let [elicitation, sampling, roots] = members(capabilities.as_str(), names).unwrap_or_default();
    let mut kinds = Vec::new();
    if let Some(elicitation) = given(elicitation) {
        let [form, url] = members(elicitation, ["form", "url"]).unwrap_or_default();
        // Before there were two modes it meant forms.
        if given(form).is_some() || given(url).is_none() {
            kinds.push(ServerRequestKind::Elicitation);
        }
        kinds.extend(given(url).map(|_| ServerRequestKind::UrlElicitation));
    }
    kinds.extend(given(sampling).map(|_| ServerRequestKind::Sampling));
    kinds.extend(given(roots).map(|_| ServerRequestKind::Roots));
    kinds
}

/// A server's request as the client gets it. What its user is shown begins with the server's name, since the user knows the gateway
/// alone and has to know who asks.
pub(crate) fn request_line(id: u64, request: &ServerRequest) -> Bytes {
    let (method, shows_message) = match request.kind {
        ServerRequestKind::Elicitation | ServerRequestKind::UrlElicitation => ("elicitation/create", true),
        ServerRequestKind::Sampling => ("sampling/createMessage", false),
        ServerRequestKind::Roots => ("roots/list", false),
    };
    let [message] = members(request.params.as_str(), ["message"]).unwrap_or_default();
    let params = match message.and_then(string).filter(|_| shows_message) {
        Some(message) => renamed(&request.params, "message", &format!("{}: {message}", request.server)),
        None => request.params.clone(),
    };
    in_one_line(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#))
}

/// Which of our requests a client's answer is to; none where it is to none.
pub(crate) fn answered_id(id: &RawJson) -> Option<u64> {
    id.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ServerId;

    fn raw(text: &str) -> RawJson {
        RawJson::from_text(text).unwrap()
    }

    #[test]
    fn a_client_answers_what_it_declares() {
        use ServerRequestKind::{Elicitation, Roots, Sampling, UrlElicitation};
        for (capabilities, kinds) in [
            ("{}", &[][..]),
            (r#"{"elicitation":{}}"#, &[Elicitation]),
            (r#"{"elicitation":{"url":{}}}"#, &[UrlElicitation]),
            (r#"{"elicitation":{"form":{},"url":{}}}"#, &[Elicitation, UrlElicitation]),
            (r#"{"sampling":{},"roots":{"listChanged":true}}"#, &[Sampling, Roots]),
            (r#"{"sampling":null,"other":{}}"#, &[]),
        ] {
            assert_eq!(answered_kinds(&raw(capabilities)), kinds, "{capabilities}");
        }
    }

    #[test]
    fn the_user_is_told_which_server_asks() {
        let params = raw("{ \"message\" :\n\"Who?\",\"requestedSchema\":{\"message\":1.00}}");
        let server = ServerId::new("files").unwrap();
        let request = ServerRequest::new(server.clone(), ServerRequestKind::Elicitation, params);
        assert_eq!(
            request_line(7, &request),
            r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{ "message" : "files: Who?","requestedSchema":{"message":1.00}}}"#
        );
        let request = ServerRequest::new(server, ServerRequestKind::Roots, RawJson::empty_object());
        assert_eq!(
            request_line(8, &request),
            r#"{"jsonrpc":"2.0","id":8,"method":"roots/list","params":{}}"#
        );
    }
}
