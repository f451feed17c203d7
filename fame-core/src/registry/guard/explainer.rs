//! Guard of [`Explainer`].

use std::{collections::BTreeSet, path::PathBuf};

use super::{Guard, Guarded, Who, file_name};
use crate::{
    Explanation, Model, Result, Sample,
    contract::{ExplainContext, Explainer, ItemRef},
};

impl Guard for dyn Explainer {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        Ok(Box::new(GuardedExplainer(Guarded::new(who, inner))))
    }
}

struct GuardedExplainer(Guarded<dyn Explainer>);

impl GuardedExplainer {
    /// One result for each sample, or why there are none.
    fn batch(
        &self,
        with: &ExplainContext<'_>,
        samples: &[Sample],
    ) -> Result<Vec<Result<Explanation>>> {
        let results = self.0.call("explain", |e| e.explain(with, samples))?;
        if results.len() != samples.len() {
            return Err(self.0.wrong(
                "explain",
                format!("{} results for {} samples", results.len(), samples.len()),
            ));
        }
        let checked = results.into_iter().zip(samples).map(|(result, sample)| {
            let explanation = result?;
            check(&explanation, sample).map_err(|what| self.0.wrong("explain", what))?;
            Ok(explanation)
        });
        Ok(checked.collect())
    }
}

impl Explainer for GuardedExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        self.0.call("check", |e| e.check(model))?
    }

    fn files(&self, item: &ItemRef) -> Result<Vec<PathBuf>> {
        self.0.call("files", |e| e.files(item))?
    }

    /// A whole batch that failed may be the fault of one sample (a panic takes all with it): each
    /// is tried alone then.
    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        let all = self
            .batch(with, samples)
            .unwrap_or_else(|e| samples.iter().map(|_| Err(e.clone())).collect());
        if samples.len() < 2 || all.iter().any(Result::is_ok) {
            return all;
        }
        let alone = |sample| {
            self.batch(with, std::slice::from_ref(sample))
                .map_or_else(Err, |mut one| one.swap_remove(0))
        };
        samples.iter().map(alone).collect()
    }
}

/// Names become file names, and maps lie over their pictures. What a map's values must be is the
/// run's business: it judges the maps of every origin.
fn check(explanation: &Explanation, sample: &Sample) -> std::result::Result<(), String> {
    let mut seen = BTreeSet::new();
    for map in &explanation.maps {
        let name = map.name();
        file_name("a map", &name)?;
        if !seen.insert(name.clone()) {
            return Err(format!("two maps called `{name}`"));
        }
        let Some(picture) = sample.picture(&map.id.role) else {
            return Err(format!(
                "a map for the role `{}`, in which the sample `{}` has no picture",
                map.id.role, sample.id
            ));
        };
        let shape = map.finished.shape();
        let over = shape.len().checked_sub(2).map(|at| &shape[at..]);
        if shape.len() > 3 || over != Some(&[picture.height(), picture.width()]) {
            return Err(format!(
                "a map `{name}` of shape {shape:?} for a picture of {} rows and {} columns",
                picture.height(),
                picture.width()
            ));
        }
    }
    Ok(())
}
