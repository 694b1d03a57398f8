//! What the run came to, in words or as JSON.

use hdrhistogram::Histogram;
use mcp_troupe::testkit::{Tally, Violations};
use serde_json::{Value, json};

use super::Chaos;
use super::callers::Account;
use super::schedule::{Kills, Record};

pub struct Report<'a> {
    pub seed: u64,
    pub chaos: &'a Chaos,
    pub account: &'a Account,
    pub kills: &'a Kills,
    pub verdict: &'a Result<Tally, Violations>,
    /// Calls that are still open in the router when all callers are done.
    pub left_open: usize,
    /// Actors that live after shutdown.
    pub left_actors: usize,
    /// Resident bytes, without the account, after the warm-up and at the end.
    pub memory: Option<(u64, u64)>,
}

impl Report<'_> {
    /// Whether nothing was violated.
    pub fn is_clean(&self) -> bool {
        let recovered = self.kills.values().all(|record| record.not_recovered == 0);
        self.verdict.is_ok()
            && self.account.crossed == 0
            && self.left_open == 0
            && self.left_actors == 0
            && recovered
    }

    pub fn print(&self) {
        if self.chaos.json { println!("{:#}", self.json()) } else { self.words() }
    }

    fn to_ready(&self) -> Histogram<u64> {
        let mut all = Record::default().to_ready_us;
        for record in self.kills.values() {
            // A histogram that resizes by itself takes every other.
            let _ = all.add(&record.to_ready_us);
        }
        all
    }

    fn words(&self) {
        let Chaos { calls, concurrency, servers, threads, .. } = self.chaos;
        let secs = self.account.elapsed.as_secs_f64();
        println!(
            "{calls} calls in {secs:.1} s ({:.0}/s) over {servers} servers, {concurrency} at once, {threads} threads, seed {}",
            *calls as f64 / secs,
            self.seed
        );
        match self.verdict {
            Ok(tally) => {
                println!("answers   {} ok, {} errors", tally.ok, tally.errors.values().sum::<u64>());
                for (kind, count) in &tally.errors {
                    println!("          {count:>8}  {kind}");
                }
                println!("verdict   0 lost, 0 doubled, 0 late, 0 untrue, {} crossed", self.account.crossed);
            }
            Err(violations) => println!("verdict   {violations}, {} crossed", self.account.crossed),
        }
        println!("kills     {:>8}  of which not recovered from: {}", self.total(), self.not_recovered());
        for (prey, record) in self.kills {
            println!(
                "          {:>8}  {:<13} {}",
                record.kills,
                prey.name(),
                spread("to Ready", &record.to_ready_us)
            );
        }
        println!("          {:>8}  {:<13} {}", "", "all", spread("to Ready", &self.to_ready()));
        println!("          {:>8}  {:<13} {}", "", "", spread("to error", &self.account.kill_to_error_us));
        println!("calls     {}", spread("latency", &self.account.latency_us));
        if let Some((before, after)) = self.memory {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let growth = 100.0 * (after as f64 / before as f64 - 1.0);
            println!(
                "memory    {:.1} MiB after three tenths of the calls, {:.1} MiB at the end: {growth:+.1} %",
                mib(before),
                mib(after),
            );
        }
        if self.left_open + self.left_actors > 0 {
            println!("left      {} open calls, {} actors", self.left_open, self.left_actors);
        }
    }

    fn json(&self) -> Value {
        let (tally, violations) = match self.verdict {
            Ok(tally) => (tally.clone(), Violations::default()),
            Err(violations) => (Tally::default(), violations.clone()),
        };
        let kills: serde_json::Map<String, Value> = self
            .kills
            .iter()
            .map(|(prey, record)| {
                let figures = json!({"kills": record.kills, "to_ready_us": quantiles(&record.to_ready_us)});
                (prey.name().to_owned(), figures)
            })
            .collect();
        json!({
            "seed": self.seed,
            "calls": self.chaos.calls,
            "duration_s": self.account.elapsed.as_secs_f64(),
            "answers": tally.calls,
            "ok": tally.ok,
            "errors": tally.errors,
            "lost": violations.lost,
            "doubled": violations.doubled,
            "late": violations.late,
            "untrue": violations.untrue,
            "crossed": self.account.crossed,
            "told": violations.told,
            "kills": kills,
            "kills_total": self.total(),
            "not_recovered": self.not_recovered(),
            "kill_to_error_us": quantiles(&self.account.kill_to_error_us),
            "kill_to_ready_us": quantiles(&self.to_ready()),
            "latency_us": quantiles(&self.account.latency_us),
            "left_open": self.left_open,
            "left_actors": self.left_actors,
            "memory_bytes": self.memory.map(|(before, after)| json!({"before": before, "after": after})),
        })
    }

    fn total(&self) -> u64 {
        self.kills.values().map(|record| record.kills).sum()
    }

    fn not_recovered(&self) -> u64 {
        self.kills.values().map(|record| record.not_recovered).sum()
    }
}

fn spread(what: &str, us: &Histogram<u64>) -> String {
    let ms = |quantile| us.value_at_quantile(quantile) as f64 / 1e3;
    let max = us.max() as f64 / 1e3;
    format!(
        "{what} p50 {:>7.2} ms  p99 {:>7.2} ms  max {max:>7.2} ms  ({} samples)",
        ms(0.5),
        ms(0.99),
        us.len()
    )
}

fn quantiles(us: &Histogram<u64>) -> Value {
    let at = |quantile| us.value_at_quantile(quantile);
    json!({"p50": at(0.5), "p99": at(0.99), "max": us.max(), "samples": us.len()})
}
