//! From a raw attribution to a map a reader can trust: the map steps, and what is said when there
//! is nothing to show. Every explainer's maps come about here.

use std::fmt::Write as _;

use fame_core::{
    Annotation, AttributionMap, Claim, ErrorKind, Explanation, Frame, MapId, NamedMap, Result,
    Target, Tensor,
    ask::AimedRow,
    contract::{MapSource, MapStep},
    data::{ChannelOrder, Facts, Value},
    registry::{Assembly, BuildContext, Built},
    text::Spec,
};

/// One way to finish an explainer's maps: the map steps, and its name where there are several ways.
pub(super) struct Finish {
    name: Option<String>,
    steps: Vec<Built<dyn MapStep>>,
}

/// A map before its steps.
#[derive(Clone)]
pub(super) struct Draft {
    /// Which map it will be.
    pub(super) id: MapId,
    /// The attribution as it came out, `[C, H, W]`, signed.
    pub(super) raw: Tensor,
    /// The part of it that the steps begin with.
    pub(super) shown: AttributionMap,
    /// The part of the picture it is about.
    pub(super) frame: Option<Frame>,
    /// What shows it.
    pub(super) annotations: Vec<Annotation>,
    /// A few words for the explanation's summary, such as `loss 0.71 → 0.02 in 120 steps`. May be
    /// empty.
    pub(super) note: String,
    /// What made it.
    pub(super) facts: Facts,
}

impl Draft {
    /// A map of one channel, shown as it is.
    pub(super) fn new(id: MapId, raw: Tensor) -> Self {
        let shown = one_channel(raw.clone());
        let (annotations, note, facts) = (Vec::new(), String::new(), Facts::new());
        Self { id, raw, shown, frame: None, annotations, note, facts }
    }

    /// The map of an aimed row, with what its target says.
    pub(super) fn of_row(row: &AimedRow, raw: Tensor) -> Self {
        let Target { frame, annotations, facts, .. } = row.target.clone();
        Self { frame, annotations, facts, ..Self::new(row.id.clone(), raw) }
    }

    /// Begins the steps with `values`, `[1, H, W]`.
    pub(super) fn showing(self, values: Tensor) -> Self {
        Self { shown: one_channel(values), ..self }
    }

    /// Adds to what made it.
    pub(super) fn with_facts(mut self, facts: Facts) -> Self {
        self.facts.extend(facts);
        self
    }
}

/// `values`, `[1, H, W]`, for map steps.
pub(super) fn one_channel(values: Tensor) -> AttributionMap {
    AttributionMap { values, channels: vec!["Y".into()] }
}

/// Values in a model's channels, `[C, H, W]`, for map steps.
pub(super) fn model_channels(values: Tensor, order: ChannelOrder) -> AttributionMap {
    let names: &[&str] = match order {
        ChannelOrder::Rgb => &["R", "G", "B"],
        ChannelOrder::Bgr => &["B", "G", "R"],
        ChannelOrder::Gray => &["Y"],
    };
    AttributionMap { values, channels: names.iter().map(|n| (*n).to_owned()).collect() }
}

/// `texts` as specs, for defaults.
pub(super) fn specs(texts: &[&str]) -> Vec<Spec> {
    texts.iter().filter_map(|text| Spec::from_text(text).ok()).collect()
}

/// The fact of a map's steps.
pub(super) const MAP_STEPS: &str = "map_steps";

/// How many maps of an explanation its summary speaks of.
const SUMMED_UP: usize = 2;

/// Adds a map's note to the summary, if it has one and is among the first.
fn note_in_summary(id: &MapId, note: &str, into: &mut Explanation) {
    if note.is_empty() || into.maps.len() >= SUMMED_UP {
        return;
    }
    let comma = if into.summary.is_empty() { "" } else { ", " };
    let _ = write!(into.summary, "{comma}{} {note}", id.name());
}

/// Says in `into` why a map is missing.
pub(super) fn no_map(id: &MapId, why: &str, into: &mut Explanation) {
    into.warnings.push(format!("{} has no map: {why}", id.name()));
}

impl Finish {
    /// Builds the steps standing in parameter `map`.
    pub(super) fn build(assembly: &mut Assembly, map: &[Spec], with: &BuildContext<'_>) -> Self {
        Self { name: None, steps: assembly.build_all("map", map, with) }
    }

    /// Builds the finish that stands under `name` in parameter `maps`.
    pub(super) fn build_named(
        assembly: &mut Assembly,
        name: String,
        steps: &[Spec],
        with: &BuildContext<'_>,
    ) -> Self {
        let steps = assembly.build_all(&format!("maps.{name}"), steps, with);
        Self { name: Some(name), steps }
    }

    /// No steps: for maps that come finished.
    pub(super) fn none() -> Self {
        Self { name: None, steps: Vec::new() }
    }

    /// Finishes `draft` into a map of `into`, or into a warning when it says nothing: zero, not
    /// finite, or the same everywhere.
    ///
    /// # Errors
    /// What a step says about anything else than an empty map.
    pub(super) fn finish(&self, draft: Draft, into: &mut Explanation) -> Result<()> {
        self.finish_from(draft, None, into)
    }

    /// As [`Finish::finish`], for the draft of a walk: map steps may look at where it comes from.
    ///
    /// # Errors
    /// As [`Finish::finish`].
    pub(super) fn finish_walk(
        &self,
        draft: Draft,
        source: &MapSource<'_>,
        into: &mut Explanation,
    ) -> Result<()> {
        self.finish_from(draft, Some(source), into)
    }

    fn finish_from(
        &self,
        draft: Draft,
        source: Option<&MapSource<'_>>,
        into: &mut Explanation,
    ) -> Result<()> {
        let Draft { id, raw, shown, frame, annotations, note, mut facts } = draft;
        // A draft that is one of several readings of a walk is named already.
        let names: Vec<String> = id.finish.iter().chain(&self.name).cloned().collect();
        let id = id.finished((!names.is_empty()).then(|| names.join("_")));
        match self.finished(&id, shown, source)? {
            Err(why) => no_map(&id, &why, into),
            Ok(finished) => {
                let steps = self.steps.iter().map(Built::record).collect();
                facts.insert(MAP_STEPS.into(), Value::List(steps));
                note_in_summary(&id, &note, into);
                into.maps.push(NamedMap { id, raw, finished, frame, annotations, facts });
            }
        }
        Ok(())
    }

    /// Runs the steps: the finished map, or why it says nothing.
    fn finished(
        &self,
        id: &MapId,
        mut map: AttributionMap,
        source: Option<&MapSource<'_>>,
    ) -> Result<std::result::Result<Tensor, String>> {
        if !map.values.is_finite() {
            return Ok(Err("its values are NaN or infinite.".into()));
        }
        if map.values.max_abs() == 0.0 {
            return Ok(Err("no pixel speaks for it: the attribution is zero everywhere.".into()));
        }
        for step in &self.steps {
            let applied = match source {
                Some(source) => step.plugin.apply_to(map, source),
                None => step.plugin.apply(map),
            };
            map = match applied {
                Ok(map) => map,
                Err(e) if e.kind == ErrorKind::EmptyMap => return Ok(Err(e.message)),
                Err(e) => return Err(e.at(format!("{}: map step {}", id.name(), step.name))),
            };
        }
        let finished = match map.values.shape() {
            &[1, h, w] => map.values.reshaped([h, w])?,
            _ => map.values,
        };
        if !finished.is_finite() || finished.data().iter().all(|v| *v == finished.data()[0]) {
            let why = "its map steps leave the same value everywhere, or none that is finite.";
            return Ok(Err(why.into()));
        }
        Ok(Ok(finished))
    }

    /// Finishes a draft whose raw attribution is signed, `[1, H, W]`, as two maps: what is above
    /// zero is for the subject (or against it, if the draft claims so), what is below is the
    /// opposite. Where one speaks the other is silent.
    ///
    /// # Errors
    /// As [`Finish::finish`].
    pub(super) fn finish_both(&self, draft: &Draft, into: &mut Explanation) -> Result<()> {
        let above = if draft.id.claim == Claim::Against { Claim::Against } else { Claim::For };
        for (sign, claim) in [(1.0, above), (-1.0, above.opposite())] {
            let shown = part(&draft.raw, sign)?;
            let one = Draft { id: draft.id.clone().claiming(claim), ..draft.clone() };
            self.finish(one.showing(shown), into)?;
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
    use fame_core::{Error, Subject};

    use super::*;

    #[test]
    fn an_empty_map_is_a_warning_and_never_a_black_picture() {
        for (raw, says) in [
            (vec![0.0, 0.0], "zero everywhere"),
            (vec![f32::NAN, 1.0], "NaN"),
            (vec![2.0, 2.0], "same value"),
        ] {
            let mut into = Explanation::default();
            let raw = Tensor::new([1, 1, 2], raw).unwrap();
            Finish::none().finish(Draft::new(MapId::new("probe"), raw), &mut into).unwrap();
            assert!(into.maps.is_empty() && into.warnings[0].contains(says), "{:?}", into.warnings);
        }
    }

    /// A step that refuses its map.
    struct Refusing(Error);

    impl MapStep for Refusing {
        fn apply(&self, _: AttributionMap) -> Result<AttributionMap> {
            Err(self.0.clone())
        }
    }

    /// What decides is the error's kind: a plugin may call its refusal what it likes.
    #[test]
    fn a_refusal_is_known_by_its_kind_and_not_by_its_code() {
        let finished = |error: Error| {
            let (plugin, mut into) = (Box::new(Refusing(error)), Explanation::default());
            let step = Built {
                name: "Refusing".into(),
                plugin: plugin as _,
                parameters: Value::Null,
                reads: Vec::new(),
            };
            let raw = Tensor::new([1, 1, 2], vec![0.0, 1.0]).unwrap();
            let finish = Finish { name: None, steps: vec![step] };
            finish.finish(Draft::new(MapId::new("probe"), raw), &mut into).map(|()| into.warnings)
        };
        let mine = Error::new("mine::nothing_left", "nothing is left.");
        assert_eq!(finished(mine.clone()).unwrap_err().code, "mine::nothing_left");
        assert_eq!(
            finished(mine.of_kind(ErrorKind::EmptyMap)).unwrap(),
            ["probe has no map: nothing is left."]
        );
        assert!(finished(Error::new("fame::map::empty", "by code only.")).is_err());
    }

    #[test]
    fn where_one_side_speaks_the_other_is_silent() {
        let raw = Tensor::new([1, 1, 3], vec![0.5, -0.25, 0.0]).unwrap();
        let id = MapId::new("probe").about(Subject::Match);
        let both = |id: MapId| {
            let mut into = Explanation::default();
            Finish::none().finish_both(&Draft::new(id, raw.clone()), &mut into).unwrap();
            into.maps.iter().map(|m| (m.name(), m.finished.data().to_vec())).collect::<Vec<_>>()
        };
        let (above, below) = (vec![0.5, 0.0, 0.0], vec![0.0, 0.25, 0.0]);
        assert_eq!(
            both(id.clone()),
            [("probe_similar".into(), above.clone()), ("probe_dissimilar".into(), below.clone())]
        );
        // Of an attribution to what tells the two apart, what is above zero is e−.
        assert_eq!(
            both(id.claiming(Claim::Against)),
            [("probe_dissimilar".into(), above), ("probe_similar".into(), below)]
        );
        assert!(part(&Tensor::filled([1], f32::NAN), 1.0).unwrap().data()[0].is_nan());
    }
}
