//! What the run came to, in words or as JSON.

use hdrhistogram::Histogram;
use mcp_troupe::testkit::{Tally, Violations};
use serde_json::{Value, json};

use super::Chaos;
use super::callers::Account;
use super::ending::Ending;
use super::schedule::{Deeds, Record};

pub struct Report<'a> {
    pub seed: u64,
    pub chaos: &'a Chaos,
    pub account: &'a Account,
    /// Leases that were had.
    pub leases: u64,
    pub deeds: &'a Deeds,
    pub verdict: &'a Result<Tally, Violations>,
    pub ending: &'a Ending,
    /// Resident bytes, without the account, after the warm-up and at the end.
    pub memory: Option<(u64, u64)>,
}

impl Report<'_> {
    /// Whether nothing was violated.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_ok() && self.ending.is_whole() && self.not_recovered() == 0
    }

    pub fn print(&self) {
        if self.chaos.json { println!("{:#}", self.json()) } else { self.words() }
    }

    fn to_ready(&self) -> Histogram<u64> {
        let mut all = Record::default().to_ready_us;
        for record in self.deeds.records.values() {
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
        if let Ok(tally) = self.verdict {
            let errors = tally.errors.values().sum::<u64>();
            println!("answers   {} ok, {errors} errors, {} not waited for", tally.ok, tally.cancelled);
            for (kind, count) in &tally.errors {
                println!("          {count:>8}  {kind}");
            }
        }
        let violations = self.violations();
        let Violations { lost, doubled, untrue, executed_twice, crossed, late, told } = &violations;
        println!(
            "verdict   {lost} lost, {doubled} doubled, {untrue} untrue, {executed_twice} executed twice, \
             {crossed} crossed, {late} late"
        );
        told.iter().for_each(|told| println!("          {told}"));
        println!("leases    {:>8}", self.leases);
        println!("deeds     {:>8}  of which not recovered from: {}", self.total(), self.not_recovered());
        for (deed, record) in &self.deeds.records {
            println!(
                "          {:>8}  {:<14} {}",
                record.deeds,
                deed.name(),
                spread("to Ready", &record.to_ready_us)
            );
        }
        self.deeds.told.iter().for_each(|told| println!("          {told}"));
        println!("          {:>8}  {:<14} {}", "", "all", spread("to Ready", &self.to_ready()));
        println!("          {:>8}  {:<14} {}", "", "", spread("to error", &self.account.kill_to_error_us));
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
        self.ending_in_words();
    }

    fn ending_in_words(&self) {
        let Ending {
            left_callers,
            unanswering,
            silent,
            left_leases,
            left_open,
            left_actors,
            left_tasks,
            hangs,
        } = self.ending;
        if self.ending.is_whole() {
            return println!("ending    every server answers, every subscription tells, nothing is left");
        }
        println!(
            "ending    left: {left_callers} callers, {left_leases} leases, {left_open} open calls, \
             {left_actors} actors, {left_tasks} tasks"
        );
        unanswering.iter().for_each(|server| println!("          {server} does not answer"));
        silent.iter().for_each(|uri| println!("          nobody is told of {uri}"));
        if *hangs {
            println!("          the shutdown does not end");
        }
    }

    /// What was violated, or nothing.
    fn violations(&self) -> Violations {
        self.verdict.as_ref().err().cloned().unwrap_or_default()
    }

    fn json(&self) -> Value {
        let tally = self.verdict.as_ref().ok().cloned().unwrap_or_default();
        let violations = self.violations();
        let deeds: serde_json::Map<String, Value> = self
            .deeds
            .records
            .iter()
            .map(|(deed, record)| {
                let figures = json!({
                    "deeds": record.deeds,
                    "not_recovered": record.not_recovered,
                    "to_ready_us": quantiles(&record.to_ready_us),
                });
                (deed.name().to_owned(), figures)
            })
            .collect();
        json!({
            "seed": self.seed,
            "calls": self.chaos.calls,
            "duration_s": self.account.elapsed.as_secs_f64(),
            "answers": tally.calls,
            "cancelled": tally.cancelled,
            "ok": tally.ok,
            "errors": tally.errors,
            "lost": violations.lost,
            "doubled": violations.doubled,
            "late": violations.late,
            "untrue": violations.untrue,
            "executed_twice": violations.executed_twice,
            "crossed": violations.crossed,
            "told": violations.told,
            "leases": self.leases,
            "deeds": deeds,
            "deeds_total": self.total(),
            "not_recovered": self.not_recovered(),
            "not_recovered_told": self.deeds.told,
            "kill_to_error_us": quantiles(&self.account.kill_to_error_us),
            "kill_to_ready_us": quantiles(&self.to_ready()),
            "latency_us": quantiles(&self.account.latency_us),
            "unanswering": self.ending.unanswering,
            "silent": self.ending.silent,
            "left_callers": self.ending.left_callers,
            "left_leases": self.ending.left_leases,
            "left_open": self.ending.left_open,
            "left_actors": self.ending.left_actors,
            "left_tasks": self.ending.left_tasks,
            "hangs": self.ending.hangs,
            "memory_bytes": self.memory.map(|(before, after)| json!({"before": before, "after": after})),
        })
    }

    /// How much was done.
    fn total(&self) -> u64 {
        self.deeds.records.values().map(|record| record.deeds).sum()
    }

    fn not_recovered(&self) -> u64 {
        self.deeds.records.values().map(|record| record.not_recovered).sum()
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
