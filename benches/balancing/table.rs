//! The figures as Markdown.

use std::fmt::Write;
use std::time::Duration;

use super::{Cell, Row};

/// The 99th percentile of each strategy under each scenario, and its share of errors where there are any.
pub fn summary(rows: &[Row]) -> String {
    let mut table = String::from("| | scenario |");
    for Cell { strategy, .. } in &rows[0].cells {
        let _ = write!(table, " {strategy} |");
    }
    let _ = writeln!(table, "\n| --- | --- |{}", " ---: |".repeat(rows[0].cells.len()));
    for Row { scenario, cells } in rows {
        let _ = write!(table, "| {} | {} |", scenario.name(), scenario.about());
        for Cell { p99, errors, .. } in cells {
            let errors = if *errors > 0.0 { format!(" ({})", percent(*errors)) } else { String::new() };
            let _ = write!(table, " {}{errors} |", ms(*p99));
        }
        table.push('\n');
    }
    table
}

/// All figures, a line for each scenario and strategy.
pub fn figures(rows: &[Row]) -> String {
    let mut table = String::from(
        "| scenario | strategy | p50 ms | p99 ms | p99.9 ms | errors | goodput/s | most in flight | Jain |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for Row { scenario, cells } in rows {
        for cell in cells {
            let Cell { strategy, p50, p99, p999, errors, goodput, in_flight_max, jain } = cell;
            let [p50, p99, p999] = [p50, p99, p999].map(|time| ms(*time));
            let _ = writeln!(
                table,
                "| {} | {strategy} | {p50} | {p99} | {p999} | {} | {goodput:.0} | {in_flight_max:.0} | {jain:.3} |",
                scenario.name(),
                percent(*errors),
            );
        }
    }
    table
}

/// Milliseconds, with thousands apart and a decimal where it says something.
fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms.round() as u64 {
        0..100 => format!("{ms:.1}"),
        whole @ 100..1000 => whole.to_string(),
        whole => format!("{},{:03}", whole / 1000, whole % 1000),
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if percent == 0.0 || percent >= 1.0 { 1 } else { 3 };
    format!("{percent:.digits$} %")
}
