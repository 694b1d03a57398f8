//! The account of a scripted server that is a process of its own: the numbers of calls, in a file that outlives it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::NUMBERS_MAX;

/// Bytes of a number.
const NUMBER_BYTES: usize = size_of::<u64>();

/// A file to which numbers are appended. Several processes may write into one.
#[derive(Debug, Clone)]
pub(super) struct Ledger(Arc<File>);

impl Ledger {
    /// Opens a ledger, or begins one.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub(super) fn open(file: &Path) -> Self {
        let file = File::options().append(true).create(true).open(file);
        Self(Arc::new(file.expect("the ledger of a scripted server can be written")))
    }

    /// Writes a number down.
    ///
    /// # Panics
    /// If that fails: an account with gaps would accuse others.
    pub(super) fn note(&self, number: u64) {
        let written = (&*self.0).write_all(&number.to_le_bytes());
        written.expect("the ledger of a scripted server can be written");
    }
}

/// How often each call of an [`AnswerChecker`](crate::testkit::AnswerChecker) arrived at the servers that wrote this
/// [`ledger`](super::ScriptedBuilder::ledger), by its number.
///
/// # Errors
/// If the file cannot be read.
pub fn read_ledger(file: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let written = std::fs::read(file)?;
    let mut arrivals: Vec<u8> = Vec::new();
    for number in written.chunks_exact(NUMBER_BYTES) {
        let number = number.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        let Ok(number @ ..NUMBERS_MAX) = usize::try_from(number) else { continue };
        if arrivals.len() <= number {
            arrivals.resize(number + 1, 0);
        }
        arrivals[number] = arrivals[number].saturating_add(1);
    }
    Ok(arrivals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_counts_what_several_processes_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ledger");
        let (one, other) = (Ledger::open(&file), Ledger::open(&file));
        one.note(2);
        other.note(0);
        other.note(2);
        assert_eq!(read_ledger(&file).expect("it was written"), [1, 0, 2]);
    }
}
