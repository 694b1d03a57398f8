//! What the router's judgement costs: one call admitted, one given to a server, one settled, over many servers and many
//! calls that wait, without actors and sockets. Times are those of the shortest run.
//!
//! `cargo bench -p mcp-troupe-benches --bench policies` fails when the cost grows with the number of servers or of waiting calls by more than what
//! caches and logarithms explain.

mod harness;

use std::process::ExitCode;

use harness::pure::{Timed, Turn, alternate};
use harness::report::{Bound, Cell, Kind, Limit, Report, Table};
use mcp_troupe::testkit::bench::{Company, Round};

const SERVERS: [usize; 4] = [3, 30, 300, 3_000];

const QUEUED: [usize; 3] = [1, 1_000, 100_000];

/// How much more a call may cost with a thousand times as many servers. Trees and heaps grow by a factor of 7 from 3 to 3,000
/// and are a part of the cost; what is no longer in the cache costs the rest. Whatever looks at each server is far above.
const GROWTH_MAX_BY_SERVERS: f64 = 4.0;

/// The same with a hundred thousand times as many waiting calls: 50 MB of them, of which the next one is in no cache.
const GROWTH_MAX_BY_QUEUED: f64 = 6.0;

/// Strategies, and whether their cost is not to grow. The others look at each server, as their pages say.
const STRATEGIES: [(&str, bool); 5] = [
    ("peak-ewma", true),
    ("round-robin", true),
    ("least-connections", false),
    ("weighted", false),
    ("rendezvous", false),
];

/// The default strategy.
const DEFAULT: &str = STRATEGIES[0].0;

fn main() -> ExitCode {
    let mut report = Report::new("policies");
    let mut open = Table::new(
        "ns per call, no call waits",
        &["servers are", "strategy", "3 servers", "30", "300", "3,000", "growth"],
    );
    for (strategy, flat) in STRATEGIES {
        by_servers("replicas", Company::OneGroup, strategy, flat, &mut open, &mut report);
    }
    by_servers("groups", Company::OwnGroups, DEFAULT, true, &mut open, &mut report);
    report.table(open);
    queued(&mut report);
    report.finish()
}

/// Times the same round over few and many servers.
fn by_servers(
    are: &'static str,
    company: Company,
    strategy: &'static str,
    flat: bool,
    table: &mut Table,
    report: &mut Report,
) {
    eprintln!("{are}, {strategy}");
    let timed = time(SERVERS.map(|servers| Round::new(strategy, company, servers, 0)));
    let growth = timed[SERVERS.len() - 1].least() / timed[0].least();
    let mut row: Vec<Cell> = vec![are.into(), strategy.into()];
    row.extend(timed.iter().map(|timed| Cell::Number(timed.least(), 0)));
    row.push(Cell::Number(growth, 2));
    table.row(row);
    if flat {
        report.bound(Bound {
            what: format!("{are}, {strategy}: 3,000 servers beside 3"),
            limit: Limit::AtMost(GROWTH_MAX_BY_SERVERS),
            aim: None,
            measured: growth,
            kind: Kind::Count,
        });
    }
}

/// Times rounds over replicas that are all busy, with few and many calls that wait for one of them.
fn queued(report: &mut Report) {
    let columns = ["servers", "1 waits", "1,000", "100,000", "growth"];
    let mut table = Table::new("ns per call, all servers busy", &columns);
    let mut all: Vec<Vec<Timed>> = Vec::new();
    for servers in SERVERS {
        eprintln!("{servers} busy servers");
        let timed = time(QUEUED.map(|queued| Round::new(DEFAULT, Company::OneGroup, servers, queued)));
        let growth = timed[QUEUED.len() - 1].least() / timed[0].least();
        let mut row: Vec<Cell> = vec![servers.into()];
        row.extend(timed.iter().map(|timed| Cell::Number(timed.least(), 0)));
        row.push(Cell::Number(growth, 2));
        table.row(row);
        report.bound(Bound {
            what: format!("{servers} busy servers: 100,000 waiting calls beside 1"),
            limit: Limit::AtMost(GROWTH_MAX_BY_QUEUED),
            aim: None,
            measured: growth,
            kind: Kind::Count,
        });
        all.push(timed);
    }
    report.table(table);
    for (place, queued) in QUEUED.into_iter().enumerate() {
        let growth = all[SERVERS.len() - 1][place].least() / all[0][place].least();
        report.bound(Bound {
            what: format!("{queued} waiting calls: 3,000 busy servers beside 3"),
            limit: Limit::AtMost(GROWTH_MAX_BY_SERVERS),
            aim: None,
            measured: growth,
            kind: Kind::Count,
        });
    }
}

fn time<const N: usize>(mut rounds: [Round; N]) -> Vec<Timed> {
    alternate(rounds.iter_mut().map(|round| Box::new(|| round.turn()) as Turn<'_>).collect())
}
