//! The protocol: which pair scored what, clean and along both curves, and at which threshold it is
//! decided.

use std::collections::{BTreeMap, BTreeSet};

use fame_core::{Error, Result, contract::MetricRow};

use super::threshold::{Score, Threshold};
use crate::datasets::{FOLD, GENUINE};

/// The rows again, by explainer and pair.
pub(super) struct Pairs {
    /// Every pair once.
    pub(super) clean: Vec<Clean>,
    /// For each explainer (and map, where it has several) the curves of its pairs: genuine, delete,
    /// insert.
    pub(super) series: Vec<(String, Vec<Curves>)>,
}

/// A pair as it is.
pub(super) struct Clean {
    pub(super) item: String,
    pub(super) score: Score,
    pub(super) fold: Option<String>,
}

/// The threshold that each pair is decided at, by item.
pub(super) type Cuts = BTreeMap<String, f64>;

/// One pair's similarities along both curves.
#[derive(Clone, Default)]
pub(super) struct Curves {
    pub(super) item: String,
    pub(super) genuine: bool,
    delete: Vec<f64>,
    insert: Vec<f64>,
}

impl Curves {
    /// 1 where the decision is right, along a curve.
    pub(super) fn right(&self, which: Which, cuts: &Cuts) -> Vec<f64> {
        let scores = if which == Which::Delete { &self.delete } else { &self.insert };
        let t = cuts.get(&self.item).copied().unwrap_or(f64::NAN);
        scores.iter().map(|s| f64::from(u8::from((*s >= t) == self.genuine))).collect()
    }
}

/// One of the two curves.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Which {
    /// The top pixels go.
    Delete,
    /// Only the top pixels are there.
    Insert,
}

impl Pairs {
    pub(super) fn of(rows: &[MetricRow], percents: &[f64]) -> Option<Self> {
        let (mut order, mut found): (Vec<String>, BTreeMap<String, Vec<Curves>>) =
            (Vec::new(), BTreeMap::new());
        let (mut clean, mut seen) = (Vec::new(), BTreeSet::new());
        let several = |explainer: &str| {
            let first = rows.iter().find(|r| r.explainer == explainer).map(|r| (&r.item, &r.map));
            rows.iter().any(|r| {
                r.explainer == explainer
                    && first.is_some_and(|(item, map)| r.item == *item && r.map != *map)
            })
        };
        let mut names: BTreeMap<&str, bool> = BTreeMap::new();
        for row in rows {
            let Some(genuine) = row.marks.get(&GENUINE) else { continue };
            let split = *names.entry(&row.explainer).or_insert_with(|| several(&row.explainer));
            let series = if split {
                format!("{} {}", row.explainer, row.map)
            } else {
                row.explainer.clone()
            };
            if !found.contains_key(&series) {
                order.push(series.clone());
            }
            let of = found.entry(series).or_default();
            if of.last().is_none_or(|c| c.item != row.item) {
                of.push(Curves { item: row.item.clone(), genuine, ..Curves::default() });
            }
            if let Some(curves) = of.last_mut() {
                if row.quantity == "delete" { &mut curves.delete } else { &mut curves.insert }
                    .push(row.value);
            }
            if row.quantity == "delete"
                && row.parameter.value() == Some(0.0)
                && seen.insert(&row.item)
            {
                clean.push(Clean {
                    item: row.item.clone(),
                    score: (row.value, genuine),
                    fold: row.marks.get(&FOLD),
                });
            }
        }
        // A pair whose curves are not whole is not counted.
        let whole =
            |c: &Curves| c.delete.len() == percents.len() && c.insert.len() == percents.len();
        let series: Vec<(String, Vec<Curves>)> = order
            .into_iter()
            .map(|name| {
                let curves = found.remove(&name).unwrap_or_default();
                (name, curves.into_iter().filter(whole).collect())
            })
            .collect();
        (!clean.is_empty()).then_some(Self { clean, series })
    }

    pub(super) fn scores(&self) -> Vec<Score> {
        self.clean.iter().map(|c| c.score).collect()
    }

    pub(super) fn all_at(&self, threshold: f64) -> Cuts {
        self.clean.iter().map(|c| (c.item.clone(), threshold)).collect()
    }

    /// The names of the folds; fewer than two are none.
    pub(super) fn folds(&self) -> BTreeSet<&str> {
        let names: BTreeSet<&str> = self.clean.iter().filter_map(|c| c.fold.as_deref()).collect();
        if names.len() < 2 { BTreeSet::new() } else { names }
    }

    /// The scores inside a fold, or outside of it.
    pub(super) fn part(&self, fold: &str, inside: bool) -> Vec<Score> {
        self.clean
            .iter()
            .filter(|c| (c.fold.as_deref() == Some(fold)) == inside)
            .map(|c| c.score)
            .collect()
    }

    /// For each pair the threshold of the other folds' pairs.
    pub(super) fn cross_validated(&self, rule: &Threshold) -> Result<Cuts> {
        let mut of_fold: BTreeMap<&str, f64> = BTreeMap::new();
        for fold in self.folds() {
            of_fold.insert(
                fold,
                rule.of(&self.part(fold, false))
                    .map_err(|e| e.at(format!("without fold {fold}")))?
                    .threshold,
            );
        }
        if of_fold.is_empty() {
            return Err(Error::new(
                "fame::metric::no_folds",
                "the pairs have no folds, so there is nothing to cross-validate.",
            )
            .with_help("Use a dataset with folds, or cross_validate: false."));
        }
        let cut = |c: &Clean| {
            let fold = c.fold.as_deref().and_then(|f| of_fold.get(f));
            fold.map(|t| (c.item.clone(), *t)).ok_or_else(|| {
                Error::new("fame::metric::no_folds", format!("pair `{}` has no fold.", c.item))
            })
        };
        self.clean.iter().map(cut).collect()
    }
}
