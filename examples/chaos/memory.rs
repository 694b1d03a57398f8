//! How much memory the process holds.

use mcp_troupe::testkit::AnswerChecker;

/// Resident bytes, where the system tells them (Linux).
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Bytes of the account: the checker's, and a byte per call at each server.
pub fn account(checker: &AnswerChecker, servers: u32) -> usize {
    checker.account_bytes() + checker.calls() * servers as usize
}

/// Resident bytes, without those of the account of every call: that grows with the calls by its nature.
pub fn resident_without(account: usize) -> Option<u64> {
    resident().map(|bytes| bytes.saturating_sub(account as u64))
}
