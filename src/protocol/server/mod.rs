//! The server's half of the protocol: what clients of both eras send, and how they are answered.
//!
//! A message belongs to an era by itself. What names a version in its `_meta` is modern and needs nothing before it; `initialize`
//! begins a legacy session, to which the messages without such a `_meta` belong. Both may come over one channel.
//!
//! What a client passes on to a server (arguments, `_meta`) and what a server answers stays as it was written. Of a client's
//! message each member that is read here may stand once: somebody before us may have judged the other one.

mod answer;
mod asking;
mod failure;
mod handshake;
mod id;
mod listen;
mod message;
mod meta;
mod repair;
mod requests;
mod told;

pub(crate) use answer::{error_line, notification_line, result_line};
pub(crate) use asking::{answered_id, answered_kinds, request_line};
pub(crate) use failure::{busy, failure, lost, no_result, not_found, not_known_yet, unanswered};
pub(crate) use handshake::{agree, discover_result, initialize_result};
pub(crate) use id::{ClientId, id_of_ends};
pub(crate) use listen::{Listened, acknowledged_line, changed_line, listen_result};
pub(crate) use message::{ClientMessage, Refused, read};
pub(crate) use meta::{ClientMeta, read_meta};
pub(crate) use repair::{Freshness, NoResult, modern_members, renamed, write_repaired};
pub(crate) use requests::{Completion, PassedOn, cancelled, cursor, level};
pub(crate) use told::{log_line, progress_line};
