//! From a raw attribution to a map a reader can trust: the map steps, and what is said when there
//! is nothing to show.

use fame_core::{
    AttributionMap, Explanation, Frame, NamedMap, Result, Tensor,
    contract::MapStep,
    data::{Facts, Value},
    registry::{BuildContext, Built, Parts},
    text::Spec,
};

/// The map steps of an explainer.
pub(super) struct Finish {
    steps: Vec<Built<dyn MapStep>>,
}

/// A map before its steps.
pub(super) struct Draft {
    /// Name within the explanation.
    pub(super) name: String,
    /// Role of the picture it scores.
    pub(super) role: String,
    /// The attribution as it came out, `[C, H, W]`, signed.
    pub(super) raw: Tensor,
    /// The part of it to show, `[1, H, W]`; `None` shows `raw` itself.
    pub(super) shown: Option<Tensor>,
    /// The part of the picture it is about.
    pub(super) frame: Option<Frame>,
    /// What made it.
    pub(super) facts: Facts,
}

/// `texts` as specs, for defaults.
pub(super) fn specs(texts: &[&str]) -> Vec<Spec> {
    texts.iter().filter_map(|text| Spec::from_text(text).ok()).collect()
}

impl Finish {
    /// Builds the steps standing in parameter `map`.
    pub(super) fn build(parts: &mut Parts, map: &[Spec], with: &BuildContext<'_>) -> Self {
        Self { steps: parts.build_all("map", map, with) }
    }

    /// No steps: for maps that come finished.
    pub(super) fn none() -> Self {
        Self { steps: Vec::new() }
    }

    /// Finishes `draft` into a map of `into`, or into a warning when it says nothing: zero, not
    /// finite, or the same everywhere.
    ///
    /// # Errors
    /// What a step says about anything else than an empty map.
    pub(super) fn finish(&self, draft: Draft, into: &mut Explanation) -> Result<()> {
        let Draft { name, role, raw, shown, frame, mut facts } = draft;
        let mut empty = |why: &str| {
            into.warnings.push(format!("{name} has no map: {why}"));
            Ok(())
        };
        let values = shown.unwrap_or_else(|| raw.clone());
        if !values.is_finite() {
            return empty("its values are NaN or infinite.");
        }
        if values.max_abs() == 0.0 {
            return empty("no pixel speaks for it: the attribution is zero everywhere.");
        }
        let mut map = AttributionMap { values, channels: vec!["Y".into()] };
        for step in &self.steps {
            map = match step.plugin.apply(map) {
                Ok(map) => map,
                Err(e) if e.code == "fame::map::empty" => return empty(&e.message),
                Err(e) => return Err(e.at(format!("{name}: map step {}", step.name))),
            };
        }
        let finished = match map.values.shape() {
            &[1, h, w] => map.values.reshaped([h, w])?,
            _ => map.values,
        };
        if !finished.is_finite() || finished.data().iter().all(|v| *v == finished.data()[0]) {
            return empty("its map steps leave the same value everywhere, or none that is finite.");
        }
        facts.insert(
            "map_steps".into(),
            Value::List(self.steps.iter().map(Built::record).collect()),
        );
        into.maps.push(NamedMap { name, role, raw, finished, frame, facts });
        Ok(())
    }

    /// Finishes a signed attribution `[1, H, W]` as two maps: `{name}_similar` from what is above
    /// zero, `{name}_dissimilar` from what is below. Where one speaks the other is silent.
    ///
    /// # Errors
    /// As [`Finish::finish`].
    pub(super) fn finish_both(
        &self,
        name: &str,
        role: &str,
        raw: &Tensor,
        facts: &Facts,
        into: &mut Explanation,
    ) -> Result<()> {
        for (suffix, sign) in [("similar", 1.0), ("dissimilar", -1.0)] {
            let shown = Some(part(raw, sign)?);
            let draft = Draft {
                name: format!("{name}_{suffix}"),
                role: role.to_owned(),
                raw: raw.clone(),
                shown,
                frame: None,
                facts: facts.clone(),
            };
            self.finish(draft, into)?;
        }
        Ok(())
    }
}

/// max(sign · values, 0). A NaN stays one: it must not pass for a zero.
pub(super) fn part(values: &Tensor, sign: f32) -> Result<Tensor> {
    let kept = values.data().iter().map(|v| if v.is_nan() { *v } else { (sign * v).max(0.0) });
    Tensor::new(values.shape(), kept.collect())
}

/// A plane accumulated in double precision as `[1, h, w]`.
pub(super) fn plane(values: &[f64], h: usize, w: usize) -> Result<Tensor> {
    Tensor::new([1, h, w], values.iter().map(|v| *v as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_map_is_a_warning_and_never_a_black_picture() {
        let finish = Finish { steps: Vec::new() };
        for (raw, says) in [
            (vec![0.0, 0.0], "zero everywhere"),
            (vec![f32::NAN, 1.0], "NaN"),
            (vec![2.0, 2.0], "same value"),
        ] {
            let mut into = Explanation::default();
            let raw = Tensor::new([1, 1, 2], raw).unwrap();
            let draft = Draft {
                name: "probe".into(),
                role: "probe".into(),
                raw,
                shown: None,
                frame: None,
                facts: Facts::new(),
            };
            finish.finish(draft, &mut into).unwrap();
            assert!(into.maps.is_empty() && into.warnings[0].contains(says), "{:?}", into.warnings);
        }
    }

    #[test]
    fn where_one_side_speaks_the_other_is_silent() {
        let mut into = Explanation::default();
        let raw = Tensor::new([1, 1, 3], vec![0.5, -0.25, 0.0]).unwrap();
        Finish { steps: Vec::new() }
            .finish_both("probe", "probe", &raw, &Facts::new(), &mut into)
            .unwrap();
        let [similar, dissimilar] = &into.maps[..] else { panic!("{into:?}") };
        assert_eq!(
            (similar.finished.data(), dissimilar.finished.data()),
            (&[0.5, 0.0, 0.0][..], &[0.0, 0.25, 0.0][..])
        );
        assert!(part(&Tensor::filled([1], f32::NAN), 1.0).unwrap().data()[0].is_nan());
    }
}
