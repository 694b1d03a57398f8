//! Names that look like one that nobody knows.
//!
//! To compare two names for likeness costs as much as placing a call, and names come from whoever invents them. So only a few
//! are compared, those that share the most letters with the one that was asked for, and no more of each than its beginning.
//! It is looked for by whoever asked, beside the actors.

use std::collections::BinaryHeap;

use super::shelf::{Entry, qualified};
use crate::call::head;

/// Near names that an unknown one is answered with.
const NEAR_MAX: usize = 5;

/// Names that are compared for likeness.
const COMPARED_MAX: usize = 48;

/// Of a name, that is compared: most names end before that, and the time grows with the square of it.
const COMPARED_BYTES_MAX: usize = 64;

/// Likeness (Jaro-Winkler) below which a name is no suggestion.
const LIKENESS_MIN: f64 = 0.8;

/// What is seen of a name at a glance.
#[derive(Debug, Clone, Copy)]
pub struct Outline {
    /// A bit for each letter, digit or sign that is in it.
    signs: u64,
    bytes: u8,
}

impl Outline {
    /// Of a name without its group.
    pub fn of(name: &str) -> Self {
        let name = &name.as_bytes()[..name.len().min(COMPARED_BYTES_MAX)];
        let signs = name.iter().fold(0, |signs, byte| signs | 1 << (byte.to_ascii_lowercase() % 64));
        Self { signs, bytes: name.len() as u8 }
    }

    /// How different two names must be at least, by signs and length.
    fn apart(self, other: Self) -> u32 {
        (self.signs ^ other.signs).count_ones() + u32::from(self.bytes.abs_diff(other.bytes))
    }
}

/// The names among `entries` that look like `name`, best first; `outlines` are those of the entries' bare names.
pub fn near<E: Entry>(
    name: &str,
    entries: &[E],
    outlines: &[Outline],
    shared: impl Fn(&E) -> bool,
) -> Vec<String> {
    let wanted = Outline::of(name.rsplit_once('/').map_or(name, |(_, bare)| bare));
    let mut likely: BinaryHeap<(u32, usize)> = BinaryHeap::with_capacity(COMPARED_MAX + 1);
    for (place, outline) in outlines.iter().enumerate() {
        let candidate = (wanted.apart(*outline), place);
        if likely.len() < COMPARED_MAX {
            likely.push(candidate);
        } else if let Some(mut worst) = likely.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }
    let mut near: Vec<(f64, String)> = likely
        .into_iter()
        .filter_map(|(_, place)| {
            let entry = &entries[place];
            let qualified = qualified(entry);
            let best = likeness(name, entry.name()).max(likeness(name, &qualified));
            let shown = if shared(entry) { qualified } else { entry.name().to_string() };
            (best >= LIKENESS_MIN).then_some((best, shown))
        })
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    near.truncate(NEAR_MAX);
    near.into_iter().map(|(_, name)| name).collect()
}

fn likeness(a: &str, b: &str) -> f64 {
    #[cfg(test)]
    work::COMPARED.set(work::compared() + 1);
    strsim::jaro_winkler(head(a, COMPARED_BYTES_MAX), head(b, COMPARED_BYTES_MAX))
}

/// How much was compared, for tests that say who does not.
#[cfg(test)]
pub mod work {
    use std::cell::Cell;

    thread_local! {
        pub(super) static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    /// Names that this thread has compared so far.
    pub fn compared() -> u64 {
        COMPARED.get()
    }
}
