//! What servers list and the troupe leaves out: how much of each list, and why.

use std::collections::BTreeMap;
use std::pin::pin;

use mcp_troupe::id::ServerId;
use mcp_troupe::offer::EntryKind;
use mcp_troupe::{Event, EventStream};

use crate::output;

/// What is left out, heard as it is told.
pub struct Skipped {
    events: EventStream,
    lists: BTreeMap<(ServerId, EntryKind), List>,
}

/// How much of one list is left out, and the first entry with its reason.
struct List {
    count: usize,
    first: String,
}

impl Skipped {
    /// Among these events, which begin with the troupe: a server may list its tools at once.
    pub fn among(events: EventStream) -> Self {
        Self { events, lists: BTreeMap::new() }
    }

    /// Does some work, and hears meanwhile what is told. Of what nobody hears the stream keeps the first events alone.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! { biased;
                done = &mut work => return done,
                Some(event) = self.events.next() => self.hear(event),
            }
        }
    }

    /// Prints a line for each list, once the troupe has ended. By then all is told, and nothing is waited for.
    pub async fn tell(mut self) {
        while let Some(event) = self.events.next().await {
            self.hear(event);
        }
        for ((server, kind), List { count, first }) in &self.lists {
            let plural = if *count == 1 { "" } else { "s" };
            output::account(&format!("{server}: {count} {kind}{plural} left out: {first}"));
        }
    }

    fn hear(&mut self, event: Event) {
        let Event::EntrySkipped { server, kind, entry, reason } = event else { return };
        let list = self.lists.entry((server, kind)).or_insert_with(|| {
            // A name with a line break must not begin a line of its own.
            let first = format!("{entry}: {reason}").replace('\n', "\\u000a");
            List { count: 0, first }
        });
        list.count = list.count.saturating_add(entries(&entry));
    }
}

/// How many entries an event tells. Those that are not told one by one are `42 more`.
fn entries(entry: &str) -> usize {
    let more = entry.strip_suffix(" more").and_then(|number| number.parse::<usize>().ok());
    more.unwrap_or(1).max(1)
}
