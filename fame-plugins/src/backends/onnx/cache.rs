//! A cache of what engines compile: one entry for each distinct set of taps.

use std::sync::{Arc, Mutex, PoisonError};

use fame_core::{Result, Taps};

/// How many compiled sets of taps are kept: a method that taps many layers one after another must
/// not fill the memory. A plan of ResNet-50 holds its weights twice, 200 MB.
const MOST_KEPT: usize = 16;

/// As how many a set that shares out relevance counts: a rule such as αβ or γ has up to four
/// changes of the weights, each with its transpose.
const WITH_RELEVANCE: usize = 4;

/// As how many an entry counts.
fn size((taps, _): &Key) -> usize {
    if taps.relevance.is_some() { WITH_RELEVANCE } else { 1 }
}

/// What an entry was compiled for: the taps, and the layer replaced from outside.
type Key = (Taps, Option<String>);

/// Compiled sets of taps by what they were compiled for. The one used last comes last.
pub(in crate::backends) struct CompiledTaps<T>(Mutex<Vec<(Key, Arc<T>)>>);

impl<T> Default for CompiledTaps<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> CompiledTaps<T> {
    /// The entry for these taps, compiled if it is not there yet. The lock is held meanwhile: two
    /// threads that want the same shall not both compile it.
    pub(in crate::backends) fn get(
        &self,
        taps: &Taps,
        replaced: Option<&str>,
        compile: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let key = (taps.clone(), replaced.map(str::to_owned));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match kept.iter().position(|(known, _)| *known == key) {
            Some(at) => kept.remove(at),
            None => (key, Arc::new(compile()?)),
        };
        let compiled = entry.1.clone();
        kept.push(entry);
        let mut all: usize = kept.iter().map(|(key, _)| size(key)).sum();
        while all > MOST_KEPT && kept.len() > 1 {
            all -= size(&kept.remove(0).0);
        }
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::contract::{RelevanceRules, WeightRule};

    use super::*;

    fn taps(layer: usize, relevance: bool) -> Taps {
        let rules = RelevanceRules {
            first: None,
            convolution: WeightRule::Epsilon,
            dense: WeightRule::Epsilon,
            epsilon: 0.0.into(),
            stabilizer: 0.0.into(),
        };
        Taps { relevance: relevance.then_some(rules), ..Taps::of([format!("layer{layer}")]) }
    }

    /// How many of the first `count` sets are still there when the last has been compiled.
    fn kept(count: usize, relevance: bool) -> usize {
        let cache = CompiledTaps::default();
        for layer in 0..count {
            cache.get(&taps(layer, relevance), None, || Ok(layer)).unwrap();
        }
        let all = cache.0.lock().unwrap();
        assert!(all.iter().map(|(_, at)| **at).eq(count - all.len()..count), "the last ones");
        all.len()
    }

    #[test]
    fn plans_with_relevance_count_as_several() {
        assert_eq!((kept(16, false), kept(20, false)), (16, 16));
        assert_eq!((kept(4, true), kept(20, true)), (4, 4));
    }

    #[test]
    fn what_was_used_last_stays_longest() {
        let cache = CompiledTaps::default();
        for layer in (0..16).chain([0, 16]) {
            cache.get(&taps(layer, false), None, || Ok(layer)).unwrap();
        }
        let again = cache.get(&taps(0, false), None, || Ok(100)).unwrap();
        assert_eq!((*again, *cache.get(&taps(1, false), None, || Ok(100)).unwrap()), (0, 100));
    }
}
