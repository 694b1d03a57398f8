//! The body of an answer, as far as there is room for it.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::net::root_of;

/// What became of a body.
pub(super) enum Collected {
    Whole(Bytes),
    TooLarge,
    Broken(String),
}

/// Reads a body into `gathered`, up to so many bytes. Whether that is all of it.
pub(super) async fn beginning(mut body: Incoming, limit: usize, gathered: &mut BytesMut) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let piece = frame.into_data().unwrap_or_default();
        let room = limit.saturating_sub(gathered.len());
        gathered.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return false;
        }
    }
    true
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn collect(headers: &HeaderMap, mut body: Incoming, limit: usize) -> Collected {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Collected::TooLarge;
    }
    let mut whole = Bytes::new();
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let piece = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => return Collected::Broken(root_of(&error)),
        };
        if whole.len() + gathered.len() + piece.len() > limit {
            return Collected::TooLarge;
        }
        // A body of one piece is not copied.
        if whole.is_empty() && gathered.is_empty() {
            whole = piece;
        } else {
            gathered.extend_from_slice(&std::mem::take(&mut whole));
            gathered.extend_from_slice(&piece);
        }
    }
    Collected::Whole(if gathered.is_empty() { whole } else { gathered.freeze() })
}
