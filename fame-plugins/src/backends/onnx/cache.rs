//! A cache of what engines compile: one entry for each distinct set of taps.

use std::sync::{Arc, Mutex, PoisonError};

use fame_core::{Result, Taps};

/// How many compiled sets of taps are kept: a method that taps many layers one after another must
/// not fill the memory. A plan of ResNet-50 holds its weights twice, 200 MB.
const MOST_KEPT: usize = 16;

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
        if kept.len() >= MOST_KEPT {
            kept.remove(0);
        }
        kept.push(entry);
        Ok(compiled)
    }
}
