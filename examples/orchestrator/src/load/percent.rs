//! Shares in per cent, rounded so that they are still true.

/// A share: only nothing is 0.0 %, and only all is 100.0 %.
pub fn percent(count: u64, of: u64) -> String {
    let percent = 100.0 * count as f64 / of.max(1) as f64;
    match count {
        0 => "0.0 %".to_owned(),
        all if all == of => "100.0 %".to_owned(),
        _ if percent < 0.1 => "<0.1 %".to_owned(),
        _ if percent > 99.9 => ">99.9 %".to_owned(),
        _ => format!("{percent:.1} %"),
    }
}
