//! A file of pins, put in the place of the one that was there.

use std::collections::BTreeSet;
use std::io::{Error, Read};
use std::path::Path;

use mcp_troupe::Pins;

use crate::output::note;
use crate::{FAILED, import};

/// The largest file of pins that is read: that of some 100,000 tools.
const BYTES_MAX: u64 = 16 << 20;

/// Puts pins into a file. Of servers that are switched off those stay that are in it: their tools are not known now, and would
/// not be pinned any more when they come back.
pub fn write(file: &Path, mut pins: Pins, switched_off: &BTreeSet<String>) -> u8 {
    let former = former(file);
    for server in switched_off {
        pins.keep(server, &former);
    }
    tell_unpinned(&pins, switched_off);
    let described = |server: &str| pins.servers().any(|(pinned, _)| pinned.as_str() == server);
    let gone = former.servers().map(|(server, _)| server.as_str()).filter(|server| !described(server));
    let gone: Vec<&str> = gone.collect();
    if !gone.is_empty() {
        note!(
            "pins that the file had are dropped, since the configuration has no such server: {}",
            gone.join(", ")
        );
    }
    let written = serde_json::to_string_pretty(&pins).map_err(Error::from);
    match written.and_then(|text| import::disk::write(file, &format!("{text}\n"), true)) {
        Ok(()) => {
            note!("the pins are in {}", file.display());
            0
        }
        Err(error) => {
            note!("{}: {error}", file.display());
            FAILED
        }
    }
}

/// Says which servers have no pins, since they are switched off.
pub fn tell_unpinned(pins: &Pins, switched_off: &BTreeSet<String>) {
    let pinned = |server: &str| pins.servers().any(|(pinned, _)| pinned.as_str() == server);
    let unpinned: Vec<&str> =
        switched_off.iter().map(String::as_str).filter(|server| !pinned(server)).collect();
    if !unpinned.is_empty() {
        note!("not pinned, since they are switched off: {}", unpinned.join(", "));
    }
}

/// The pins that a file has; none where there is no such file, or it holds something else.
fn former(file: &Path) -> Pins {
    let mut text = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text));
    read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or_default()
}
