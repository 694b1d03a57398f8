//! Messages of clients over the channels on which they come: what transports are to servers.

pub(crate) mod lines;
