//! Calls that wait for a free slot, the most urgent first.
//!
//! ```text
//! push ─▶ high    ▸▸▸▸  ─┐
//!         normal  ▸▸     ├─▶ pop: high first, but a class that was overtaken `overtakes_max` times is due
//!         low     ▸▸▸▸▸ ─┘
//! ```
//!
//! First in, first out inside a class. A waiting class counts how often higher ones went before it; at the limit it is *due* and
//! goes next. Of two due classes the lower goes first: it is the one that would otherwise be overtaken beyond its limit, and
//! the other is still overtaken by nothing that is more urgent.
//!
//! Actor mailboxes have no bound, so the bound is here: a full mailbox drops the newest of the least urgent calls for a more
//! urgent one, and otherwise refuses. The newest, since the older ones are nearer to being served.

use std::collections::BTreeMap;

use crate::call::Priority;
use crate::config::MailboxSettings;
use crate::stats::QueuedStats;

/// The place of a waiting item in the mailbox that gave it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    priority: Priority,
    sequence: u64,
}

/// What became of a pushed item.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a shed or refused item still has to be answered"]
pub(crate) enum Pushed<T> {
    /// It waits.
    Queued(Ticket),
    /// It waits, and a less urgent item was dropped for it.
    Shed {
        /// The place of the pushed item.
        ticket: Ticket,
        /// The dropped item: the newest of the lowest class.
        shed: T,
    },
    /// It was refused: the mailbox is full of items at least as urgent.
    Full(T),
}

/// A bounded queue with three priorities.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    /// By priority, most urgent first.
    classes: [Class<T>; 3],
    capacity: usize,
    overtakes_max: u32,
    /// Of the next item, over all classes.
    sequence: u64,
}

/// The items of one priority.
#[derive(Debug)]
struct Class<T> {
    /// By sequence, so that any of them can be taken out.
    items: BTreeMap<u64, T>,
    /// How often a higher class went first since this one was last served, or began to wait.
    overtakes: u32,
}

/// The place of a priority's class.
fn place(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

impl<T> Mailbox<T> {
    /// An empty mailbox.
    pub(crate) fn new(settings: &MailboxSettings) -> Self {
        Self {
            classes: std::array::from_fn(|_| Class { items: BTreeMap::new(), overtakes: 0 }),
            capacity: settings.capacity,
            overtakes_max: settings.overtakes_max,
            sequence: 0,
        }
    }

    /// Takes an item in, if need be in place of a less urgent one.
    pub(crate) fn push(&mut self, priority: Priority, item: T) -> Pushed<T> {
        let shed = if self.len() < self.capacity {
            None
        } else {
            match self.shed(priority) {
                None => return Pushed::Full(item),
                shed => shed,
            }
        };
        let ticket = Ticket { priority, sequence: self.sequence };
        self.sequence += 1;
        let class = &mut self.classes[place(priority)];
        if class.items.is_empty() {
            class.overtakes = 0;
        }
        class.items.insert(ticket.sequence, item);
        match shed {
            None => Pushed::Queued(ticket),
            Some(shed) => Pushed::Shed { ticket, shed },
        }
    }

    /// The item that [`pop`](Self::pop) would give.
    pub(crate) fn peek(&self) -> Option<&T> {
        let class = &self.classes[self.next()?];
        class.items.first_key_value().map(|(_, item)| item)
    }

    /// Takes out the item whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let served = self.next()?;
        let (_, item) = self.classes[served].items.pop_first()?;
        self.classes[served].overtakes = 0;
        for class in self.classes[served + 1..].iter_mut().filter(|class| !class.items.is_empty()) {
            class.overtakes += 1;
        }
        Some(item)
    }

    /// Takes out the item of a ticket; `None` if it no longer waits.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.classes[place(ticket.priority)].items.remove(&ticket.sequence)
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.classes.iter().map(|class| class.items.len()).sum()
    }

    /// Whether no item waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.classes.iter().all(|class| class.items.is_empty())
    }

    /// How many items may wait.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many items of each priority wait.
    pub(crate) fn waiting(&self) -> QueuedStats {
        let [high, normal, low] = &self.classes;
        QueuedStats { high: high.items.len(), normal: normal.items.len(), low: low.items.len() }
    }

    /// Every item that waits: by priority, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.classes.iter().flat_map(|class| class.items.values())
    }

    /// Takes out all items at once: by priority, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.classes
            .each_mut()
            .map(|class| std::mem::take(&mut class.items))
            .into_iter()
            .flat_map(BTreeMap::into_values)
    }

    /// The class whose turn it is: the lowest that is due, else the most urgent that waits.
    fn next(&self) -> Option<usize> {
        let waits = |class: &Class<T>| !class.items.is_empty();
        let due =
            self.classes.iter().rposition(|class| waits(class) && class.overtakes >= self.overtakes_max);
        due.filter(|due| *due > 0).or_else(|| self.classes.iter().position(waits))
    }

    /// Drops the newest item of the lowest class below `priority`.
    fn shed(&mut self, priority: Priority) -> Option<T> {
        let lower = self.classes[place(priority) + 1..].iter_mut().rev();
        lower.filter_map(|class| class.items.pop_last()).map(|(_, item)| item).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{High, Low, Normal};

    fn mailbox(capacity: usize, overtakes_max: u32) -> Mailbox<u32> {
        Mailbox::new(&MailboxSettings { capacity, overtakes_max })
    }

    fn filled(items: &[(Priority, u32)]) -> Mailbox<u32> {
        let mut mailbox = mailbox(items.len(), 8);
        for (priority, item) in items {
            assert!(matches!(mailbox.push(*priority, *item), Pushed::Queued(_)));
        }
        mailbox
    }

    #[test]
    fn the_most_urgent_goes_first_and_equals_in_their_order() {
        let mut mailbox = filled(&[(Low, 1), (Normal, 2), (High, 3), (Normal, 4), (High, 5)]);
        let order: Vec<u32> = std::iter::from_fn(|| mailbox.pop()).collect();
        assert_eq!(order, [3, 5, 2, 4, 1]);
    }

    #[test]
    fn a_low_call_is_served_under_a_stream_of_high_ones() {
        let mut mailbox = mailbox(100, 8);
        let _ = mailbox.push(Low, 0);
        let served = (1..).map(|n| {
            let _ = mailbox.push(High, n);
            mailbox.pop().unwrap()
        });
        assert_eq!(served.take(9).last(), Some(0));
    }

    #[test]
    fn what_an_urgent_call_waits_for_does_not_grow_with_the_calls_below_it() {
        for below in [1, 10, 100_000] {
            let mut mailbox = mailbox(2 * below + 1, 8);
            for n in 0..below as u32 {
                let _ = mailbox.push(Low, n);
                let _ = mailbox.push(Normal, n);
            }
            let mut served_before = 0;
            for _ in 0..100 {
                let _ = mailbox.push(High, u32::MAX);
                let before =
                    std::iter::from_fn(|| mailbox.pop()).take_while(|item| *item != u32::MAX).count();
                served_before = served_before.max(before);
            }
            assert!(served_before <= 2, "an urgent call waited for {served_before} others of {below}");
        }
    }

    #[test]
    fn a_full_mailbox_sheds_the_newest_of_the_lowest_class() {
        let mut mailbox = filled(&[(Low, 1), (Normal, 2), (Low, 3)]);
        assert!(matches!(mailbox.push(High, 4), Pushed::Shed { shed: 3, .. }));
        assert!(matches!(mailbox.push(Normal, 5), Pushed::Shed { shed: 1, .. }));
        assert!(matches!(mailbox.push(High, 6), Pushed::Shed { shed: 5, .. }));
        assert_eq!(mailbox.drain().collect::<Vec<_>>(), [4, 6, 2]);
    }

    #[test]
    fn a_full_mailbox_refuses_what_is_not_more_urgent() {
        let mut mailbox = filled(&[(Normal, 1)]);
        assert_eq!(mailbox.push(Normal, 2), Pushed::Full(2));
        assert_eq!(mailbox.push(Low, 3), Pushed::Full(3));
        assert_eq!(mailbox.len(), mailbox.capacity());
    }

    #[test]
    fn a_ticket_takes_out_its_item_once() {
        let mut mailbox = mailbox(10, 8);
        let Pushed::Queued(ticket) = mailbox.push(Low, 1) else { panic!("there is room") };
        let _ = mailbox.push(Low, 2);
        assert_eq!(mailbox.remove(ticket), Some(1));
        assert_eq!(mailbox.remove(ticket), None);
        assert_eq!(mailbox.pop(), Some(2));
    }

    #[test]
    fn a_drained_mailbox_is_empty_even_if_nobody_takes_the_items() {
        let mut mailbox = filled(&[(Low, 1), (High, 2)]);
        drop(mailbox.drain());
        assert!(mailbox.is_empty());
        assert_eq!(mailbox.waiting(), QueuedStats { high: 0, normal: 0, low: 0 });
    }
}
