//! The built-in strategies under every scenario of the balancing simulation: what callers feel when servers are equal, unequal,
//! slow, failing or new. Hours of virtual time in a minute or two, and the same figures in each run.
//!
//! `cargo bench -p mcp-troupe-benches --bench balancing` prints the figures, writes them to `balancing/` in the target directory (`figures.md`,
//! `figures.json`, `figures.svg`), and fails when a strategy breaks what it is there for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_troupe::strategy::{LeastConnections, PeakEwma, Rendezvous, RoundRobin, Strategy, Weighted};
use mcp_troupe::testkit::balancing::{Figures, Scenario, simulate};
use serde_json::{Value, json};

mod plot;
mod table;

/// Each strategy plays each scenario once under each of them; the means count.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// How a built-in strategy is made; a run begins with a new one.
type Make = fn() -> Box<dyn Strategy>;

/// In the order of the tables.
const STRATEGIES: [Make; 5] = [
    || Box::new(PeakEwma),
    || Box::new(LeastConnections),
    || Box::new(Weighted::default()),
    || Box::new(RoundRobin::default()),
    || Box::new(Rendezvous),
];

/// A scenario and what each strategy made of it.
struct Row {
    scenario: Scenario,
    cells: Vec<Cell>,
}

/// What one strategy made of one scenario: means over the seeds.
struct Cell {
    strategy: String,
    p50: Duration,
    p99: Duration,
    p999: Duration,
    /// Share of the calls that failed, 0 to 1.
    errors: f64,
    goodput: f64,
    in_flight_max: f64,
    jain: f64,
}

impl Row {
    fn play(scenario: Scenario) -> Self {
        let cells = STRATEGIES.iter().map(|make| Cell::play(&scenario, *make)).collect();
        Self { scenario, cells }
    }

    fn cell(&self, strategy: &str) -> &Cell {
        let found = self.cells.iter().find(|cell| cell.strategy == strategy);
        found.expect("every strategy plays every scenario")
    }
}

impl Cell {
    fn play(scenario: &Scenario, make: Make) -> Self {
        let runs: Vec<Figures> = std::thread::scope(|scope| {
            let run = |seed| scope.spawn(move || simulate(scenario, make().as_mut(), seed));
            let runs = SEEDS.map(run);
            runs.into_iter().map(|run| run.join().expect("a run ends in order")).collect()
        });
        let time = |of: fn(&Figures) -> Duration| runs.iter().map(of).sum::<Duration>() / SEEDS.len() as u32;
        let mean = |of: fn(&Figures) -> f64| runs.iter().map(of).sum::<f64>() / SEEDS.len() as f64;
        Self {
            strategy: make().name().to_owned(),
            p50: time(|run| run.p50),
            p99: time(|run| run.p99),
            p999: time(|run| run.p999),
            errors: mean(|run| run.errors as f64 / run.calls as f64),
            goodput: mean(|run| run.goodput),
            in_flight_max: mean(|run| run.in_flight_max as f64),
            jain: mean(|run| run.jain),
        }
    }

    fn json(&self) -> Value {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        json!({
            "strategy": self.strategy,
            "p50Ms": ms(self.p50),
            "p99Ms": ms(self.p99),
            "p999Ms": ms(self.p999),
            "errors": self.errors,
            "goodputPerSecond": self.goodput,
            "inFlightMax": self.in_flight_max,
            "jain": self.jain,
        })
    }
}

/// What must hold, and whether it does.
fn claims(rows: &[Row]) -> Vec<(String, bool)> {
    let cell = |scenario: &str, strategy: &str| {
        let row = rows.iter().find(|row| row.scenario.name() == scenario);
        row.expect("every scenario is played").cell(strategy)
    };
    let mut claims = vec![
        (
            "one server ten times slower: peak-ewma's p99 is at most 1/100 of round-robin's".to_owned(),
            cell("D", "peak-ewma").p99 * 100 <= cell("D", "round-robin").p99,
        ),
        (
            "one server fails fast: peak-ewma has at most round-robin's errors".to_owned(),
            cell("E", "peak-ewma").errors <= cell("E", "round-robin").errors,
        ),
    ];
    for Cell { strategy, .. } in &rows[0].cells {
        claims.push((
            format!("one server fails fast: with breakers, {strategy} has at most one error in 10,000 calls"),
            cell("G", strategy).errors <= 1e-4,
        ));
    }
    claims
}

fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let cells: Vec<Value> = row.cells.iter().map(Cell::json).collect();
        json!({ "scenario": row.scenario.name(), "about": row.scenario.about(), "strategies": cells })
    };
    json!({ "seeds": SEEDS, "scenarios": rows.iter().map(row).collect::<Vec<_>>() })
}

/// `balancing/` in the target directory; what cargo gives to benches is a folder in it.
fn folder() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(temporary).join("balancing")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows: Vec<Row> = Scenario::all().into_iter().map(Row::play).collect();
    let (summary, figures) = (table::summary(&rows), table::figures(&rows));
    println!("p99 in ms (errors)\n\n{summary}\n{figures}");
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("figures.md"), figures)?;
    std::fs::write(folder.join("figures.json"), serde_json::to_string_pretty(&json(&rows))?)?;
    std::fs::write(folder.join("figures.svg"), plot::draw(&rows)?)?;
    println!("written to {}\n", folder.display());
    let broken = claims(&rows).into_iter().filter(|(claim, holds)| {
        println!("{} {claim}", if *holds { "holds: " } else { "BROKEN:" });
        !holds
    });
    if broken.count() > 0 {
        std::process::exit(1);
    }
    Ok(())
}
