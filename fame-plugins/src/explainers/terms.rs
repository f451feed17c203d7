//! Several explainers of the same thing, combined map by map: what `Sum` and `Product` share.

use std::{collections::BTreeSet, path::PathBuf};

use fame_core::{
    Error, Explanation, MapId, Model, NamedMap, Result, Sample, Tensor, Witness,
    contract::{ExplainContext, Explainer, ItemRef},
    data::{Facts, Value, facts},
    registry::{Assembly, BuildContext, Built},
    text::Spec,
};

use super::finish::{Draft, Finish, MAP_STEPS};
use crate::maps::stretch;

/// What becomes of the terms of one pixel: `(weight, value)` each, the value in 0..=1, or `None`
/// where a term has no map. Weights add up to 1.
pub(super) type Combine = fn(&[(f32, Option<f32>)]) -> f32;

/// The terms, and how they are combined.
pub(super) struct Terms {
    of: Vec<Built<dyn Explainer>>,
    /// Each above 0; together 1.
    weights: Vec<f32>,
    finish: Finish,
    combine: Combine,
}

/// Fills in the weights and checks that there is one for each term.
pub(super) fn resolve(of: &[Spec], weights: &mut Vec<f32>, assembly: &mut Assembly) {
    assembly.check("of", !of.is_empty(), "must hold at least one explainer");
    if weights.is_empty() {
        *weights = vec![1.0; of.len()];
    }
    let good = weights.len() == of.len() && weights.iter().all(|w| w.is_finite() && *w > 0.0);
    assembly.check("weights", good, "must hold one number above 0 for each of `of`");
}

impl Terms {
    /// Builds the terms standing in `of`, and the steps in `map`.
    pub(super) fn build(
        of: &[Spec],
        weights: &[f32],
        map: &[Spec],
        combine: Combine,
        with: &BuildContext<'_>,
        assembly: &mut Assembly,
    ) -> Self {
        let of = assembly.build_all("of", of, with);
        let total: f32 = weights.iter().sum();
        let weights = weights.iter().map(|w| w / total).collect();
        Self { of, weights, finish: Finish::build(assembly, map, with), combine }
    }

    /// The term as messages call it: "term 2 (GradCam)".
    fn term(&self, n: usize) -> String {
        format!("term {} ({})", n + 1, self.of[n].name)
    }

    /// Combines what every term said of one sample.
    fn together(&self, said: Vec<Result<Explanation>>) -> Result<Explanation> {
        let said = said
            .into_iter()
            .enumerate()
            .map(|(n, one)| one.map_err(|e| e.at(self.term(n))))
            .collect::<Result<Vec<_>>>()?;
        let mut whole = Explanation { facts: self.facts(&said), ..Explanation::default() };
        for (n, one) in said.iter().enumerate() {
            let warnings = one.warnings.iter().map(|w| format!("{}: {w}", self.term(n)));
            whole.warnings.extend(warnings);
            self.witness(n, &one.witnesses, &mut whole.witnesses);
        }
        for id in self.ids(&said)? {
            let find = |one: &Explanation| one.maps.iter().find(|map| map.id == id).cloned();
            let maps: Vec<Option<NamedMap>> = said.iter().map(find).collect();
            self.one(id, &maps, &mut whole)?;
        }
        Ok(whole)
    }

    fn facts(&self, said: &[Explanation]) -> Facts {
        let fact = |(term, one): (&Built<dyn Explainer>, &Explanation)| {
            Value::Map(facts([
                ("explainer", term.name.as_str().into()),
                ("found", Value::Map(one.facts.clone())),
            ]))
        };
        facts([("terms", Value::List(self.of.iter().zip(said).map(fact).collect()))])
    }

    /// Takes over the witnesses of term `n` under names of their own.
    fn witness(&self, n: usize, from: &[Witness], into: &mut Vec<Witness>) {
        for witness in from.iter().filter(|w| !into.contains(w)).cloned().collect::<Vec<_>>() {
            let taken = into.iter().any(|known| known.name == witness.name);
            let name = if taken {
                format!("{} of {}", witness.name, self.term(n))
            } else {
                witness.name.clone()
            };
            into.push(Witness { name, ..witness });
        }
    }

    /// Every map that a term has, in the order in which the terms name them.
    ///
    /// # Errors
    /// Two terms that explain different things of the same picture: a sum of the maps of two
    /// classes would be taken for a map of one.
    fn ids(&self, said: &[Explanation]) -> Result<Vec<MapId>> {
        let mut all: Vec<MapId> = Vec::new();
        for map in said.iter().flat_map(|one| &one.maps) {
            if !all.contains(&map.id) {
                all.push(map.id.clone());
            }
        }
        let roles: BTreeSet<&str> = all.iter().map(|id| id.role.as_str()).collect();
        for role in roles {
            let of_role = |one: &Explanation| -> Vec<MapId> {
                one.maps.iter().filter(|m| m.id.role == role).map(|m| m.id.clone()).collect()
            };
            let mut speaking = said.iter().map(of_role).enumerate().filter(|(_, i)| !i.is_empty());
            let Some((first, known)) = speaking.next() else { continue };
            if let Some((n, ids)) = speaking.find(|(_, ids)| !ids.iter().any(|i| known.contains(i)))
            {
                return Err(self.differ((first, &known), (n, &ids)));
            }
        }
        Ok(all)
    }

    fn differ(&self, (m, known): (usize, &[MapId]), (n, ids): (usize, &[MapId])) -> Error {
        let names = |ids: &[MapId]| {
            ids.iter().map(|id| format!("`{}`", id.name())).collect::<Vec<_>>().join(", ")
        };
        let message = format!(
            "{} explains {}, but {} explains {}.",
            self.term(m),
            names(known),
            self.term(n),
            names(ids)
        );
        Error::new("fame::explain::terms_differ", message)
            .with_help("Give every explainer in `of` the same loss and class.")
    }

    /// Combines the maps of the same thing, one for each term that has it.
    fn one(&self, id: MapId, maps: &[Option<NamedMap>], into: &mut Explanation) -> Result<()> {
        let (mut values, name) = (Vec::new(), id.name());
        for (n, map) in maps.iter().enumerate() {
            let plane = map.as_ref().map(|map| plane(map).map_err(|e| e.at(self.term(n))));
            values.push(plane.transpose()?);
            if map.is_none() {
                let silent = format!("{name}: {} has no map and says nothing in it.", self.term(n));
                into.warnings.push(silent);
            }
        }
        let Some([height, width]) = common_size(values.iter().flatten())? else {
            return Ok(());
        };
        let terms = |i: usize| -> Vec<(f32, Option<f32>)> {
            let value = |v: &Option<Tensor>| v.as_ref().map(|v| v.data()[i]);
            self.weights.iter().copied().zip(values.iter().map(value)).collect()
        };
        let combined = (0..height * width).map(|i| (self.combine)(&terms(i))).collect();
        let about = |map: &NamedMap| Value::Map(map.facts.clone());
        let found: Vec<&NamedMap> = maps.iter().flatten().collect();
        let facts = facts([("terms", Value::List(found.iter().map(|map| about(map)).collect()))]);
        let draft = Draft::new(id, Tensor::new([1, height, width], combined)?);
        let draft = draft.with_facts(shared(&found)).with_facts(facts);
        let (frame, annotations) = match found.first() {
            Some(map) => (map.frame, map.annotations.clone()),
            None => (None, Vec::new()),
        };
        self.finish.finish(Draft { frame, annotations, ..draft }, into)
    }
}

/// What all of `maps` say alike, such as the class that they explain: that is true of them
/// combined, and whoever names the class of a map looks for it there. Their steps are their own.
fn shared(maps: &[&NamedMap]) -> Facts {
    let Some((first, others)) = maps.split_first() else { return Facts::new() };
    let is_shared = |(name, value): &(&String, &Value)| {
        *name != MAP_STEPS && others.iter().all(|map| map.facts.get(*name) == Some(value))
    };
    let alike = first.facts.iter().filter(is_shared);
    alike.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A finished map `[H, W]`, stretched to 0..=1.
///
/// # Errors
/// A map of several channels, or one that says nothing.
pub(super) fn plane(map: &NamedMap) -> Result<Tensor> {
    if map.finished.shape().len() != 2 {
        let message = format!(
            "map `{}` has the shape {:?}; only maps of one channel can be combined.",
            map.name(),
            map.finished.shape()
        );
        return Err(Error::new("fame::map::channels", message)
            .with_help("End its map steps in one channel: Gray() or Channels(…)."));
    }
    let mut values = map.finished.clone();
    stretch(&mut values, 0.0).map_err(|e| e.at(format!("map `{}`", map.name())))?;
    Ok(values)
}

/// Rows and columns of all maps; `None` when there is none.
fn common_size<'a>(mut maps: impl Iterator<Item = &'a Tensor>) -> Result<Option<[usize; 2]>> {
    let Some(first) = maps.next() else { return Ok(None) };
    let &[height, width] = first.shape() else {
        return Err(Error::bug(format!("a map has the shape {:?}.", first.shape())));
    };
    if let Some(other) = maps.find(|map| map.shape() != first.shape()) {
        let (a, b) = (first.shape(), other.shape());
        return Err(Error::bug(format!("maps of one picture have the shapes {a:?} and {b:?}.")));
    }
    Ok(Some([height, width]))
}

impl Explainer for Terms {
    fn check(&self, model: &Model) -> Result<()> {
        let check = |(n, term): (usize, &Built<dyn Explainer>)| {
            term.plugin.check(model).map_err(|e| e.at(self.term(n)))
        };
        self.of.iter().enumerate().try_for_each(check)
    }

    fn files(&self, item: &ItemRef) -> Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        for term in &self.of {
            all.extend(term.plugin.files(item)?);
        }
        Ok(all)
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        let mut of_sample: Vec<Vec<_>> = samples.iter().map(|_| Vec::new()).collect();
        for term in &self.of {
            // The guard has seen to it that there is one for each.
            for (said, one) in of_sample.iter_mut().zip(term.plugin.explain(with, samples)) {
                said.push(one);
            }
        }
        of_sample.into_iter().map(|said| self.together(said)).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use fame_core::{contract::Silent, testkit};

    use super::*;

    /// Finished maps by their names, and warnings.
    type Explained = (Vec<(String, Tensor)>, Vec<String>);

    /// What `spec` makes of a picture by the test kit's model.
    pub(crate) fn explained(spec: &str) -> Result<Explained> {
        let explainer = testkit::build::<dyn Explainer>(spec)?;
        let model = testkit::model()?;
        explainer.plugin.check(&model)?;
        let with = ExplainContext { model: &model, seed: 7, progress: &Silent };
        let sample = testkit::sample("a", &["image"], testkit::SIZE)?;
        let explanation = explainer.plugin.explain(&with, &[sample]).swap_remove(0)?;
        let maps = explanation.maps.into_iter().map(|m| (m.name(), m.finished)).collect();
        Ok((maps, explanation.warnings))
    }

    /// An explainer that walks a few steps.
    pub(crate) fn walk(class: usize) -> String {
        format!(
            "Fame(layer: Output, loss: Logit(class: Index({class})), \
             perturbation: Lots(iterations: 3), map: [Gray()])"
        )
    }

    #[test]
    fn terms_that_explain_different_classes_are_refused_and_not_mixed() {
        let spec = format!("Sum(of: [{}, {}])", walk(0), walk(1));
        let error = explained(&spec).unwrap_err();
        assert_eq!(error.code, "fame::explain::terms_differ");
        assert!(
            error.message.contains("term 1 (Fame) explains `class_0`, but term 2 (Fame)"),
            "{error}"
        );
    }

    #[test]
    fn what_all_terms_say_alike_is_said_of_the_whole() {
        let map = |said: &[(&str, Value)]| {
            let mut map = NamedMap::new(
                MapId::new("image"),
                Tensor::zeros([1, 1, 2]),
                Tensor::new([1, 2], vec![2.0, 4.0]).unwrap(),
            );
            map.facts.extend(said.iter().map(|(name, v)| ((*name).to_owned(), v.clone())));
            map
        };
        let class = ("class_name", Value::from("tiger cat"));
        let steps = (MAP_STEPS, Value::List(Vec::new()));
        let one = map(&[class.clone(), steps.clone(), ("steps", 2_usize.into())]);
        let two = map(&[class, steps, ("steps", 3_usize.into()), ("channels", 4_usize.into())]);
        let names = |maps: &[&NamedMap]| shared(maps).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&[&one, &two]), ["class_name"]);
        assert_eq!(names(&[&one]), ["class_name", "steps"], "of one all but the map's own steps");
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn a_term_that_is_silent_says_so_and_one_of_several_channels_is_refused() {
        let map = |finished: Tensor| {
            NamedMap::new(MapId::new("image"), Tensor::zeros([1, 1, 2]), finished)
        };
        let term = || testkit::build::<dyn Explainer>("RandomMap()").unwrap();
        let terms = Terms {
            of: vec![term(), term()],
            weights: vec![0.5, 0.5],
            finish: Finish::none(),
            combine: super::super::sum::combine,
        };
        let plane = || Tensor::new([1, 2], vec![2.0, 4.0]).unwrap();
        let one = Explanation { maps: vec![map(plane())], ..Explanation::default() };
        let whole = terms.together(vec![Ok(one.clone()), Ok(Explanation::default())]).unwrap();
        assert_eq!(whole.maps[0].finished.data(), [0.0, 0.5]);
        assert!(whole.warnings[0].contains("term 2 (RandomMap) has no map"), "{whole:?}");
        let colours = map(Tensor::zeros([3, 1, 2]));
        let three = Explanation { maps: vec![colours], ..Explanation::default() };
        let error = terms.together(vec![Ok(one), Ok(three)]).unwrap_err();
        assert!(
            error.message.starts_with("term 2 (RandomMap): map `image` has the shape"),
            "{error}"
        );
    }
}
