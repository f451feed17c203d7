//! Verification at a threshold: a pair is accepted when its similarity is at least t.

use fame_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the decision threshold is found from the clean scores.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub enum Threshold {
    /// The paper's: the highest score t at which |FMR − FNMR| is smallest. On a set that it
    /// separates without error this is the weakest genuine score itself, so that the least change
    /// rejects that pair.
    Eer,
    /// The same decisions on clean scores, but midway between that score and the next lower one.
    #[default]
    EerMiddle,
    /// The lowest score with a false match rate of at most this much, 0..=1.
    Fmr(f64),
    /// This number: one set's threshold applied to another.
    Fixed(f64),
    /// The threshold of another run's pairs: its output folder, whose
    /// `tables/verification_thresholds.csv` is read, or a CSV file with a column `thr` (the
    /// authors' `scores_eer.csv`), of which the first row counts. Relative to the recipe; read when
    /// the recipe is.
    From(String),
}

/// A clean score and whether the pair is genuine.
pub(super) type Score = (f64, bool);

/// What a threshold does to scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    /// The threshold.
    pub(super) threshold: f64,
    /// Share of impostor pairs accepted.
    pub(super) fmr: f64,
    /// Share of genuine pairs rejected.
    pub(super) fnmr: f64,
    /// Share of all pairs decided rightly.
    pub(super) accuracy: f64,
}

/// The rates at `threshold`.
pub(super) fn rates(scores: &[Score], threshold: f64) -> Rates {
    let share = |genuine: bool, wrong: &dyn Fn(f64) -> bool| {
        let of: Vec<f64> = scores.iter().filter(|s| s.1 == genuine).map(|s| s.0).collect();
        of.iter().filter(|s| wrong(**s)).count() as f64 / of.len().max(1) as f64
    };
    let right = scores.iter().filter(|(s, genuine)| (*s >= threshold) == *genuine).count();
    Rates {
        threshold,
        fmr: share(false, &|s| s >= threshold),
        fnmr: share(true, &|s| s < threshold),
        accuracy: right as f64 / scores.len().max(1) as f64,
    }
}

/// Every score that occurs, once, from the highest down.
pub(super) fn distinct(scores: &[Score]) -> Vec<f64> {
    let mut found: Vec<f64> = scores.iter().map(|s| s.0).collect();
    found.sort_by(|a, b| b.total_cmp(a));
    found.dedup();
    found
}

impl Threshold {
    /// The same with what [`Threshold::From`] names read: then it is [`Threshold::Fixed`].
    ///
    /// # Errors
    /// A file that is not there or holds no threshold.
    pub(super) fn read(&self, folder: &std::path::Path) -> Result<Threshold> {
        let Threshold::From(path) = self else { return Ok(self.clone()) };
        let mut file = folder.join(path);
        if file.is_dir() {
            file = file.join("tables/verification_thresholds.csv");
        }
        let text = std::fs::read_to_string(&file).map_err(|e| Error::io("read", &file, &e))?;
        let broken = |why: &str| {
            Error::new("fame::metric::no_threshold", format!("`{}` {why}.", file.display()))
                .with_help("It must be a CSV file with a column `thr`, or a folder that a run with Verification() left.")
        };
        let mut lines = text.lines();
        let column = lines
            .next()
            .and_then(|head| head.split(',').position(|c| c.trim() == "thr"))
            .ok_or_else(|| broken("has no column `thr`"))?;
        let cell = lines
            .next()
            .and_then(|row| row.split(',').nth(column))
            .ok_or_else(|| broken("has no row"))?;
        match cell.trim().parse::<f64>() {
            Ok(t) if t.is_finite() => Ok(Threshold::Fixed(t)),
            _ => Err(broken(&format!("gives the threshold as `{cell}`, which is no number"))),
        }
    }

    /// The threshold that `scores` give, with its rates on them.
    ///
    /// # Errors
    /// When there are no genuine or no impostor pairs and the rule needs both.
    pub(super) fn of(&self, scores: &[Score]) -> Result<Rates> {
        match self {
            Threshold::Fixed(t) => return Ok(rates(scores, *t)),
            Threshold::From(path) => {
                return Err(Error::bug(format!("the threshold of `{path}` was not read.")));
            }
            _ => {}
        }
        let genuine = scores.iter().filter(|s| s.1).count();
        if genuine == 0 || genuine == scores.len() {
            let what = if genuine == 0 { "genuine" } else { "impostor" };
            return Err(Error::new(
                "fame::metric::one_class",
                format!("there is no {what} pair, so no threshold can be found."),
            )
            .with_help("Use a list with both, or threshold: Fixed(…)."));
        }
        let candidates = distinct(scores);
        if let Threshold::Fmr(allowed) = *self {
            // FMR grows as the threshold falls: the last candidate within the allowance. Above
            // every impostor it is zero.
            let within = candidates
                .iter()
                .map(|t| rates(scores, *t))
                .take_while(|r| r.fmr <= allowed)
                .last();
            return Ok(within.unwrap_or_else(|| {
                rates(scores, candidates[0] + f64::EPSILON.max(candidates[0].abs() * 1e-9))
            }));
        }
        let gap = |r: &Rates| (r.fmr - r.fnmr).abs();
        let mut best = (0, rates(scores, candidates[0]));
        for (i, t) in candidates.iter().enumerate().skip(1) {
            let r = rates(scores, *t);
            // Equal gaps of counts differ by rounding once they are rates.
            if gap(&r) < gap(&best.1) - 1e-12 {
                best = (i, r);
            }
        }
        match (self, candidates.get(best.0 + 1)) {
            (Threshold::EerMiddle, Some(below)) => {
                Ok(rates(scores, f64::midpoint(best.1.threshold, *below)))
            }
            _ => Ok(best.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use fame_core::Random;

    use super::*;

    #[test]
    fn the_eer_is_that_of_a_search_over_all_thresholds() {
        let mut random = Random::new(5);
        for set in 0..1000 {
            let n = 4 + random.below(40);
            // Coarse scores, so that ties are common.
            let mut scores: Vec<Score> = (0..n)
                .map(|i| {
                    (
                        (random.below(20) as f64 + if i % 2 == 0 { 4.0 } else { 0.0 }) / 20.0,
                        i % 2 == 0,
                    )
                })
                .collect();
            scores.reverse();
            let found = Threshold::Eer.of(&scores).unwrap();
            // By counting, from the highest candidate down; a later one must be better by more than
            // rounding.
            let mut best = (f64::INFINITY, f64::NAN);
            for step in (0..=24).rev() {
                let t = f64::from(step) / 20.0;
                if !scores.iter().any(|s| s.0 == t) {
                    continue;
                }
                let accepted = |g: bool| {
                    scores.iter().filter(|s| s.1 == g && s.0 >= t).count() as f64
                        / scores.iter().filter(|s| s.1 == g).count() as f64
                };
                let gap = (accepted(false) - (1.0 - accepted(true))).abs();
                if gap < best.0 - 1e-12 {
                    best = (gap, t);
                }
            }
            assert_eq!(found.threshold, best.1, "set {set}");
            assert!(((found.fmr - found.fnmr).abs() - best.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_separable_set_shows_why_the_middle_is_kinder() {
        let scores = [(0.9, true), (0.6, true), (0.2, false), (0.1, false)];
        assert_eq!(
            Threshold::Eer.of(&scores).unwrap(),
            Rates { threshold: 0.6, fmr: 0.0, fnmr: 0.0, accuracy: 1.0 }
        );
        assert_eq!(Threshold::EerMiddle.of(&scores).unwrap().threshold, 0.4);
        assert_eq!(Threshold::Fixed(0.15).of(&scores).unwrap().fmr, 0.5);
        assert!(Threshold::Eer.of(&scores[..2]).is_err());
    }

    #[test]
    fn the_threshold_of_another_set_is_read_from_its_table() {
        let dir = tempfile::tempdir().unwrap();
        let read = |path: &str| Threshold::From(path.into()).read(dir.path());
        std::fs::write(
            dir.path().join("scores_eer.csv"),
            "model_name,thr,eer\nArcFace,0.2857,0.01\n",
        )
        .unwrap();
        assert_eq!(read("scores_eer.csv").unwrap(), Threshold::Fixed(0.2857));
        std::fs::create_dir_all(dir.path().join("out/tables")).unwrap();
        std::fs::write(
            dir.path().join("out/tables/verification_thresholds.csv"),
            "rule,thr\nEer,0.5\n",
        )
        .unwrap();
        assert_eq!(read("out").unwrap(), Threshold::Fixed(0.5));
        for (text, says) in [
            ("a,b\n1,2\n", "no column `thr`"),
            ("thr\n", "no row"),
            ("thr\nhigh\n", "`high`"),
            ("thr\nNaN\n", "no number"),
        ] {
            std::fs::write(dir.path().join("x.csv"), text).unwrap();
            let e = read("x.csv").unwrap_err();
            assert!(e.message.contains(says), "{e}");
        }
        assert!(read("nowhere.csv").is_err());
        assert!(Threshold::From("x".into()).of(&[]).is_err(), "reading comes first");
    }

    #[test]
    fn a_false_match_rate_is_kept() {
        let scores: Vec<Score> = (0..100).map(|i| (f64::from(i) / 100.0, i % 2 == 1)).collect();
        let found = Threshold::Fmr(0.1).of(&scores).unwrap();
        // Five of fifty impostors: scores .98, .96, .94, .92 and .90.
        assert_eq!((found.fmr, found.threshold), (0.1, 0.89));
        assert!(Threshold::Fmr(0.0).of(&[(0.9, false), (0.5, true)]).unwrap().fmr == 0.0);
    }
}
