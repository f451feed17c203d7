//! An item's explanations: restored from parts where they are there, else made and checked.

use super::{
    super::{events::Steps, parts::Part},
    Items, OpenItem,
};
use crate::{Error, Explanation, Result, Sample, contract::ExplainContext};

impl Items<'_> {
    /// Explains with the `n`-th explainer what no part explains yet, measures what no part holds,
    /// and hands on the items that did not fail.
    pub(super) fn explain(&self, n: usize, open: Vec<OpenItem>) -> Result<Vec<OpenItem>> {
        let (name, _) = &self.plan.explain[n];
        let progress = Steps { explainer: name, observer: self.observer };
        let with = ExplainContext { model: &self.model, seed: self.plan.seed, progress: &progress };
        let restored: Vec<Option<Part>> = open.iter().map(|item| self.restored(n, item)).collect();
        let samples: Vec<Sample> = open
            .iter()
            .zip(&restored)
            .filter(|(_, part)| part.is_none())
            .map(|(item, _)| item.sample.clone())
            .collect();
        let mut results = self.results(n, &with, &samples)?.into_iter();
        let mut still_open = Vec::new();
        for (mut item, restored) in open.into_iter().zip(restored) {
            let part = match restored {
                Some(part) => Ok(part),
                None => {
                    let result =
                        results.next().unwrap_or_else(|| Err(Error::bug("a result was lost.")));
                    self.new_part(n, &mut item, result)
                }
            };
            let explained = part
                .map_err(|e| e.at(format!("explainer `{name}`")))
                .and_then(|part| self.measure(&with, name, &mut item, part));
            match explained {
                Ok(explanation) => {
                    item.explanations.push((name.clone(), explanation));
                    still_open.push(item);
                }
                Err(e) => self.failed(&item.item, item.clock, e)?,
            }
        }
        Ok(still_open)
    }

    /// The explanation that an earlier run has kept.
    fn restored(&self, n: usize, item: &OpenItem) -> Option<Part> {
        if self.options.force {
            return None;
        }
        let key = self.keys.explanation(n, &item.inputs);
        self.parts.read(&item.item.id, &self.plan.explain[n].0, &key)
    }

    /// One result per sample, by the `n`-th explainer.
    fn results(
        &self,
        n: usize,
        with: &ExplainContext<'_>,
        samples: &[Sample],
    ) -> Result<Vec<Result<Explanation>>> {
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let (name, explainer) = &self.plan.explain[n];
        let results = explainer.plugin.explain(with, samples);
        if results.len() == samples.len() {
            return Ok(results);
        }
        let (got, wanted) = (results.len(), samples.len());
        Err(Error::bug(format!("explainer `{name}` returned {got} results for {wanted} samples.")))
    }

    /// A new explanation that passes the recipe's check, with nothing measured of it yet.
    fn new_part(&self, n: usize, item: &mut OpenItem, result: Result<Explanation>) -> Result<Part> {
        let (name, _) = &self.plan.explain[n];
        item.computed.push(name.clone());
        let explanation = self.checked(name, item, require_content(result?)?)?;
        let key = self.keys.explanation(n, &item.inputs);
        Ok(Part { key, explanation, measured: [].into() })
    }

    /// `explanation` with the verdict of the recipe's check.
    fn checked(
        &self,
        name: &str,
        item: &OpenItem,
        explanation: Explanation,
    ) -> Result<Explanation> {
        let Some(checker) = &self.check else { return Ok(explanation) };
        checker.check(&self.model, &item.sample, explanation).or_else(|(error, facts)| {
            self.options.stop.write(|record| {
                record.check_failed(&item.item.id, name, facts);
                Err(error)
            })
        })
    }
}

/// Refuses a map that says nothing: the same value everywhere, or no number.
fn require_content(mut explanation: Explanation) -> Result<Explanation> {
    if explanation.maps.is_empty() && explanation.warnings.is_empty() {
        explanation.warnings.push("no map came out.".to_owned());
    }
    for map in &explanation.maps {
        let values = map.finished.data();
        let constant = values.iter().all(|v| *v == values[0]);
        if values.is_empty() || constant || !map.finished.is_finite() {
            let what = if map.finished.is_finite() { "the same everywhere" } else { "not finite" };
            return Err(Error::empty_map(format!("map `{}` is {what}.", map.name())));
        }
    }
    Ok(explanation)
}
