//! `Identification`: what puts one enrolled face before another.

use fame_core::{
    Claim, Error, Result, Subject, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss, Reference, per_row},
    data::{Facts, Value, facts},
    registry::{Assembly, BuildContext, Parameters, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Norms,
    cosine::{length_is_zero, one_layer, similarity, similarity_and_gradient},
};
use crate::{Preset, datasets::MATE};

/// The fact of a map that names the first candidate.
const RANK_1: &str = "rank_1";
/// The fact that names its rival.
const RIVAL: &str = "rival";
/// The fact that holds the rival's similarity.
const RIVAL_SIMILARITY: &str = "rival_similarity";

/// The roles of the first candidate and its rival, where a map with `facts` is about them.
pub(crate) fn set_against(facts: &Facts) -> Option<[&str; 2]> {
    Some([facts.get(RANK_1)?.as_str()?, facts.get(RIVAL)?.as_str()?])
}

/// The same in words, with their similarities: `ann 0.612 before bob 0.305`, each name as `named`
/// writes it.
pub(crate) fn ranking(facts: &Facts, named: impl Fn(&str) -> String) -> Option<String> {
    let [first, rival] = set_against(facts)?.map(named);
    let similarity = |name: &str| facts.get(name).and_then(Value::as_f64);
    let (near, far) = (similarity("similarity_before")?, similarity(RIVAL_SIMILARITY)?);
    Some(format!("{first} {near:.3} before {rival} {far:.3}"))
}

/// How many of the nearest candidates are recorded.
const RECORDED: usize = 5;

/// Whom the first candidate is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Rival {
    /// The second candidate.
    #[default]
    RunnerUp,
    /// The picture of the same identity, where another one is first; the second candidate, where it
    /// is first itself.
    Mate,
}

fame_core::parameters! {
    /// Descends s(φ, φ_1) − s(φ, φ_rival), the cosine similarity to the first candidate less that
    /// to its rival: which pixels decide that the one and not the other is found. Value in −2..=2,
    /// at the start the margin, which is 0 or above.
    ///
    /// The sample's first picture is the one that is searched for; all its other pictures, one for
    /// each identity, are the gallery (dataset `Gallery`). They are ranked by the clean similarity,
    /// equals in the gallery's order; ranks and embeddings are frozen then. The five nearest are
    /// recorded as `candidates`, with their similarities. Pictures of the gallery have no map of
    /// their own.
    pub struct Identification {
        /// `RunnerUp`, the second candidate; or `Mate`, where the dataset knows the identity: the
        /// picture that should have been first, or the second candidate, if it is.
        against: Rival = Rival::RunnerUp,
        /// Whether the embedding's length takes part in the derivative. Default: `Frozen`; under
        /// preset Authors `Live` where a walk descends the loss, as in `Fame`, and `Frozen` where a
        /// method explains its value, as CAMs do.
        norms: Norms = open,
    }
}

impl Parameters for Identification {
    type Typed = typed::Identification;

    fn fill(
        typed: typed::Identification,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(Norms::of(Preset::of(with))))
    }
}

impl Plugin<dyn Loss> for Identification {
    const NAME: &'static str = "Identification";
    const SUMMARY: &'static str =
        "Similarity to the first candidate of a gallery less that to its rival: why this one (1:N)";
    const EXAMPLE: &'static str = "Identification(against: RunnerUp)";
    const REFERENCE: &'static str =
        "the similarity is that of Zhang & Günther, FAME (2026), Eq. 6; its difference is ours";
    const PRESETS: &'static [&'static str] = Preset::NAMES;

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: Identification);

/// A picture of the gallery.
struct Candidate<'a> {
    /// Its role.
    name: &'a str,
    embedding: &'a [f32],
    similarity: f32,
}

impl Loss for Identification {
    fn reference(&self) -> Reference {
        Reference::EveryOtherRole
    }

    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        // The gallery is what is searched, and searches for nobody.
        if about.sample.roles().next() != Some(about.role) {
            return Ok(Vec::new());
        }
        let ranked = ranked(about)?;
        let mate = about.sample.marks.get(&MATE);
        let place = |name: &String| ranked.iter().position(|c| c.name == name);
        let mate_at = mate.as_ref().and_then(place);
        let rival = match (self.against, mate_at) {
            (Rival::RunnerUp, _) => 1,
            (Rival::Mate, Some(at)) => at.max(1),
            (Rival::Mate, None) => return Err(no_mate(about)),
        };
        let ([first, ..], Some(rival)) = (ranked.as_slice(), ranked.get(rival)) else {
            return Err(no_gallery(about));
        };
        let mut facts = facts([
            ("similarity_before", first.similarity.into()),
            (RANK_1, first.name.into()),
            (RIVAL, rival.name.into()),
            (RIVAL_SIMILARITY, rival.similarity.into()),
            ("margin_before", (first.similarity - rival.similarity).into()),
            ("gallery_size", ranked.len().into()),
            ("candidates", shown(&ranked)),
        ]);
        if let (Some(mate), Some(at)) = (mate, mate_at) {
            facts.extend(mate_facts(mate, at));
        }
        Ok(vec![Target {
            subject: Subject::Named(RANK_1.to_owned()),
            claim: Claim::For,
            values: [first.embedding, rival.embedding].concat(),
            facts,
            ..Target::default()
        }])
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |phi, target, gradient| {
            let (first, rival) = target.values.split_at(target.values.len() / 2);
            let mut away = vec![0.0; phi[0].len()];
            let near = similarity_and_gradient(phi[0], first, self.norms, 1.0, gradient[0])?;
            let far = similarity_and_gradient(phi[0], rival, self.norms, -1.0, &mut away)?;
            gradient[0].iter_mut().zip(away).for_each(|(g, a)| *g += a);
            Ok(near - far)
        })
    }
}

/// The gallery, the nearest first.
///
/// # Errors
/// Several target layers, fewer than two pictures, or an embedding that is zero.
fn ranked<'a>(about: &TargetRequest<'a>) -> Result<Vec<Candidate<'a>>> {
    let [clean] = about.clean else { return Err(one_layer(about)) };
    let names: Vec<&str> = about.sample.roles().filter(|role| *role != about.role).collect();
    if names.len() < 2 {
        return Err(no_gallery(about));
    }
    if names.len() != about.reference.len() {
        let (pictures, outputs) = (names.len(), about.reference.len());
        let message = format!("{pictures} pictures of a gallery came with {outputs} embeddings.");
        return Err(Error::bug(message));
    }
    let all = std::iter::once((about.role, clean)).chain(names.into_iter().zip(about.reference));
    if let Some((name, _)) = all.clone().find(|(_, output)| length_is_zero(output.data())) {
        let message = format!(
            "the embedding of the picture `{name}` is zero, so no similarity to it is defined."
        );
        return Err(Error::new("fame::loss::no_direction", message));
    }
    let candidate = |(name, output): (&'a str, &'a Tensor)| {
        let embedding = output.data();
        Ok(Candidate { name, embedding, similarity: similarity(clean.data(), embedding)? })
    };
    let mut ranked = all.skip(1).map(candidate).collect::<Result<Vec<_>>>()?;
    ranked.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    Ok(ranked)
}

/// The first candidates with their similarities.
fn shown(ranked: &[Candidate<'_>]) -> Value {
    let one = |c: &Candidate<'_>| facts([("name", c.name.into()), ("s", c.similarity.into())]);
    ranked.iter().take(RECORDED).map(one).collect::<Vec<Facts>>().into()
}

/// Who should be first, and at which rank it is, from 1.
fn mate_facts(mate: String, at: usize) -> Facts {
    facts([("mate", mate.into()), ("mate_rank", (at + 1).into())])
}

fn no_gallery(about: &TargetRequest<'_>) -> Error {
    let others = about.sample.pictures.len().saturating_sub(1);
    let s = if others == 1 { "" } else { "s" };
    let message = format!(
        "sample `{}` has {others} other picture{s}; identification needs a gallery of at least two.",
        about.sample.id
    );
    Error::new("fame::loss::no_gallery", message).with_help(
        "Use the dataset Gallery(), or Similarity() to ask what makes two pictures match.",
    )
}

fn no_mate(about: &TargetRequest<'_>) -> Error {
    let message = format!(
        "nobody says which picture of the gallery shows the identity of sample `{}`.",
        about.sample.id
    );
    Error::new("fame::loss::no_mate", message).with_help(
        "Ask against the second candidate, `against: RunnerUp`, or enrol the identity under the \
         name that the dataset gives it.",
    )
}

#[cfg(test)]
mod tests {
    use fame_core::{
        Marks,
        testkit::{self, SIZE, check_loss},
    };

    use super::*;

    /// Similarities are rounded to single precision once each, and subtracted.
    const ROUNDING: f32 = 1e-6;

    /// Cosines with (1, 0): 0.6, 0.8, 0 and −1.
    const GALLERY: [[f32; 2]; 4] = [[3.0, 4.0], [0.8, -0.6], [0.0, 2.0], [-5.0, 0.0]];

    fn vector(values: [f32; 2]) -> Tensor {
        Tensor::vector(values.to_vec())
    }

    fn loss(against: Rival) -> Identification {
        Identification { against, norms: Norms::Live }
    }

    /// What `loss` asks of the picture in `role` of a sample whose mate is `mate`.
    fn asked(loss: &Identification, role: &str, mate: Option<&str>) -> Result<Vec<Target>> {
        let mut sample = testkit::sample("s", &["new", "ann", "bob", "cy", "dee"], SIZE).unwrap();
        sample.marks = Marks::default().with(&MATE, mate.map(str::to_owned));
        let (clean, reference) = ([vector([2.0, 0.0])], GALLERY.map(vector));
        loss.targets(&TargetRequest {
            sample: &sample,
            role,
            layers: &["embedding".to_owned()],
            clean: &clean,
            reference: &reference,
            input_size: (SIZE, SIZE),
            labels: &[],
            holds_probabilities: false,
            layout: None,
        })
    }

    fn value(loss: &Identification, target: &Target, phi: [f32; 2]) -> f32 {
        let rows = Tensor::new([1, 2], phi.to_vec()).unwrap();
        loss.evaluate(&[rows], &[target]).unwrap().values[0]
    }

    #[test]
    fn the_gallery_is_ranked_and_the_first_two_are_set_against_each_other() {
        let loss = loss(Rival::RunnerUp);
        let target = asked(&loss, "new", None).unwrap().remove(0);
        assert_eq!(target.values, [0.8, -0.6, 3.0, 4.0]);
        let text = |name: &str| target.facts[name].as_str().unwrap().to_owned();
        assert_eq!([text("rank_1"), text("rival")], ["bob", "ann"]);
        assert!(!target.facts.contains_key("mate_rank"));
        assert_eq!(set_against(&target.facts), Some(["bob", "ann"]));
        assert_eq!(ranking(&target.facts, str::to_owned).unwrap(), "bob 0.800 before ann 0.600");
        let Value::List(candidates) = &target.facts["candidates"] else { panic!("a list") };
        let names: Vec<_> = candidates.iter().filter_map(|c| c.get("name")?.as_str()).collect();
        assert_eq!(names, ["bob", "ann", "cy", "dee"]);
        let similarities = candidates.iter().filter_map(|c| c.get("s")?.as_f64());
        for (found, expected) in similarities.zip([0.8, 0.6, 0.0, -1.0]) {
            assert!((found - expected).abs() < 1e-6, "{candidates:?}");
        }
        // The margin, on the way from which the cosines are those of the picture that is walked:
        // at (0, 1) they are −0.6 and 0.8.
        assert!((value(&loss, &target, [2.0, 0.0]) - 0.2).abs() < ROUNDING);
        assert!((value(&loss, &target, [0.0, 1.0]) + 1.4).abs() < ROUNDING);
    }

    #[test]
    fn the_mate_is_the_rival_unless_it_is_first() {
        let loss = loss(Rival::Mate);
        let missed = asked(&loss, "new", Some("dee")).unwrap().remove(0);
        assert_eq!(missed.values, [0.8, -0.6, -5.0, 0.0]);
        assert_eq!(missed.facts["mate_rank"], 4usize.into());
        let found = asked(&loss, "new", Some("bob")).unwrap().remove(0);
        assert_eq!(found.values, [0.8, -0.6, 3.0, 4.0]);
        assert_eq!(found.facts["mate_rank"], 1usize.into());
        for unknown in [None, Some("eve")] {
            let error = asked(&loss, "new", unknown).unwrap_err();
            assert_eq!(error.code, "fame::loss::no_mate");
        }
    }

    #[test]
    fn the_gallery_asks_for_nobody() {
        assert!(asked(&loss(Rival::RunnerUp), "bob", None).unwrap().is_empty());
    }

    #[test]
    fn the_cotangent_is_the_derivative_of_the_margin() {
        let clean = Tensor::vector(vec![1.2, -0.7, 0.4, 2.1, -1.5]);
        check_loss(&loss(Rival::RunnerUp), &[clean]).unwrap();
        // Frozen lengths: both references, each by the product of the lengths.
        let frozen = Identification { norms: Norms::Frozen, ..loss(Rival::RunnerUp) };
        let target = Target { values: vec![3.0, 4.0, 0.0, 2.0], ..Target::default() };
        let rows = Tensor::new([1, 2], vec![2.0, 0.0]).unwrap();
        let slopes = frozen.evaluate(&[rows], &[&target]).unwrap().cotangents.remove(0);
        for (found, expected) in slopes.data().iter().zip([0.3, 0.4 - 0.5]) {
            assert!((found - expected).abs() < ROUNDING, "{slopes:?}");
        }
    }

    #[test]
    fn one_other_picture_and_no_direction_are_told() {
        let loss = loss(Rival::RunnerUp);
        let error = |clean: [f32; 2], reference: &[[f32; 2]]| {
            let reference: Vec<Tensor> = reference.iter().copied().map(vector).collect();
            testkit::targets(&loss, &[vector(clean)], &reference).unwrap_err()
        };
        let lonely = error([1.0, 0.0], &[[0.0, 1.0]]);
        assert_eq!(lonely.code, "fame::loss::no_gallery");
        assert!(lonely.message.contains("has 1 other picture"), "{lonely}");
        let zero = error([1.0, 0.0], &[[0.0, 1.0], [0.0, 0.0]]);
        assert_eq!(zero.code, "fame::loss::no_direction");
        assert!(zero.message.contains("`picture_2`"), "{zero}");
        assert!(error([0.0, 0.0], &[[0.0, 1.0], [1.0, 0.0]]).message.contains("`picture_0`"));
    }
}
