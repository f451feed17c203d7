//! Guard of [`MapStep`].

use super::{Guard, Guarded, Who, finite};
use crate::{AttributionMap, Result, contract::MapStep};

impl Guard for dyn MapStep {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        Ok(Box::new(GuardedStep(Guarded::new(who, inner))))
    }
}

struct GuardedStep(Guarded<dyn MapStep>);

impl MapStep for GuardedStep {
    fn apply(&self, map: AttributionMap) -> Result<AttributionMap> {
        let (before, was_finite) = (map.values.shape().to_vec(), map.values.is_finite());
        let after = self.0.call("apply", |s| s.apply(map))??;
        check(&after, &before, was_finite).map_err(|what| self.0.wrong("apply", what))?;
        Ok(after)
    }
}

/// Rows and columns stay: a map lies over its picture.
fn check(
    map: &AttributionMap,
    before: &[usize],
    was_finite: bool,
) -> std::result::Result<(), String> {
    let shape = map.values.shape();
    if shape.len() != 3 || before.len() == 3 && shape[1..] != before[1..] {
        return Err(format!(
            "a map of shape {shape:?} for one of {before:?}; rows and columns must stay"
        ));
    }
    if map.channels.len() != shape[0] {
        return Err(format!(
            "names for {} channels of a map that has {}",
            map.channels.len(),
            shape[0]
        ));
    }
    if was_finite { finite("a map", &map.values) } else { Ok(()) }
}
