//! The server that belongs to the call's affinity key, by hash alone: several hosts agree on it without shared state.
//!
//! Highest random weight (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM Transactions on
//! Networking, 1998): key and server give each server a score, the highest wins. When a server leaves, only its own keys move,
//! each to its second choice, and they come back with it. Weights enter by the logarithmic method: `weight / -ln(u)` with
//! `u` the hash as a number between 0 and 1 makes the chance to win exactly proportional to the weight.
//!
//! It balances keys, and not load: a server gets as many calls as its keys make, and the keys of a slow one wait for it.
//!
//! A call without a key belongs to nobody and goes by `least-connections`.

use super::{Candidates, LeastConnections, Pick, Strategy};

/// `rendezvous`: the same server for the same affinity key, in every process.
#[derive(Debug, Default, Clone, Copy)]
pub struct Rendezvous;

/// The hash of an affinity key for [`Pick::key`]: FNV-1a, then mixed. The same in every process, on every machine and in every
/// version, which the standard library's hashers do not promise.
pub(crate) fn hash_key(key: &str) -> u64 {
    mix(fnv1a(key.as_bytes()))
}

/// FNV-1a with 64 bits: simple, fixed for ever, and good enough with [`mix`] behind it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of SplitMix64: each bit of the input changes half of the output.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// How well a server suits a key.
fn score(key: u64, server: &str, weight: u32) -> f64 {
    // The key is mixed again since a host may pass one that is no good hash.
    let hash = mix(mix(key) ^ fnv1a(server.as_bytes()));
    // 53 bits are what a float holds; the half keeps u off 0, where the logarithm ends.
    let u = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(weight.max(1)) / -u.ln()
}

impl Strategy for Rendezvous {
    fn name(&self) -> &str {
        "rendezvous"
    }

    fn pick(&mut self, candidates: &dyn Candidates, pick: Pick<'_>) -> Option<usize> {
        let Some(key) = pick.key else { return LeastConnections.pick(candidates, pick) };
        let scores = candidates
            .admitting()
            .map(|(index, candidate)| (index, score(key, candidate.server.as_str(), candidate.weight)));
        scores.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Strategy;
    use super::super::tests::{Servers, rng, tally};
    use super::*;
    use proptest::prelude::*;

    fn pick(servers: &Servers, key: u64) -> Option<usize> {
        Rendezvous.pick(servers, Pick { set: 0, key: Some(key), now: servers.start, rng: &mut rng(0) })
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    /// Hosts of different versions must agree: these may never change.
    #[test]
    fn a_key_keeps_its_server_over_all_versions() {
        let servers = Servers::fresh(10);
        let picked: Vec<_> =
            (0..12).map(|n| pick(&servers, hash_key(&format!("user-{n}"))).unwrap()).collect();
        assert_eq!(picked, [4, 2, 9, 3, 9, 1, 0, 0, 1, 0, 3, 1]);
    }

    #[test]
    fn keys_spread_evenly_over_equal_servers() {
        let servers = Servers::fresh(8);
        let mut counts = [0; 8];
        (0..8000).for_each(|n| counts[pick(&servers, hash_key(&format!("session {n}"))).unwrap()] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn keys_spread_by_weight() {
        let mut servers = Servers::fresh(3);
        servers.weights = vec![100, 200, 500];
        let mut counts = [0; 3];
        // Consecutive numbers: keys that are no good hashes do no harm.
        (0..8000).for_each(|key| counts[pick(&servers, key).unwrap()] += 1);
        assert!((850..1150).contains(&counts[0]) && (4800..5200).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn a_call_without_a_key_goes_where_least_is_in_flight() {
        let mut servers = Servers::fresh(3);
        servers.in_flight = vec![2, 0, 2];
        assert_eq!(tally(&mut Rendezvous, &servers, 50), [0, 50, 0]);
    }

    #[test]
    fn load_and_chance_do_not_matter() {
        let mut servers = Servers::fresh(5);
        let picked = pick(&servers, 7).unwrap();
        servers.in_flight[picked] = 1000;
        assert_eq!(pick(&servers, 7), Some(picked));
    }

    proptest! {
        #[test]
        fn only_the_keys_of_a_server_that_left_move(
            weights in prop::collection::vec(1u32..=1000, 2..20),
            keys in prop::collection::vec(any::<u64>(), 1..100),
            gone in any::<prop::sample::Index>(),
        ) {
            let mut servers = Servers::fresh(weights.len());
            servers.weights = weights;
            let gone = gone.index(servers.admits.len());
            let before: Vec<_> = keys.iter().map(|key| pick(&servers, *key).unwrap()).collect();
            servers.admits[gone] = false;
            for (key, before) in keys.iter().zip(&before) {
                let after = pick(&servers, *key).unwrap();
                prop_assert_ne!(after, gone);
                prop_assert!(after == *before || *before == gone);
            }
            servers.admits[gone] = true;
            for (key, before) in keys.iter().zip(&before) {
                prop_assert_eq!(pick(&servers, *key), Some(*before));
            }
        }
    }
}
