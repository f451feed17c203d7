//! `Logit`: a class score, descended: which pixels carry this class?

use std::borrow::Cow;

use fame_core::{
    Claim, Error, Random, Result, Subject, Target, TargetRequest, Tensor,
    ask::softmax,
    contract::{Evaluation, Loss, per_row},
    data::facts,
    registry::{Assembly, BuildContext, Plugin},
    seed_of,
    text::{parse, suggestion},
};
use ron::value::RawValue;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::top::{TOP_BEFORE, top_classes};

/// Which class is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// The one with the highest score on the clean picture.
    #[default]
    Predicted,
    /// The one the dataset labels the sample with.
    Label,
    /// The one with this index, from 0.
    Index(usize),
    /// Any but the one with the highest score, drawn from the sample's id: for the random-class
    /// check, whether a map of another class is another map.
    Other,
    /// The one that the manifest's labels call so.
    Named(String),
}

/// A class as it is typed, unless by its name.
#[derive(Deserialize, Serialize)]
#[serde(rename = "Class")]
enum TypedClass {
    Predicted,
    Label,
    Index(usize),
    Other,
}

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get_ron().trim();
        let parsed = if raw.starts_with(['"', 'r']) {
            parse(raw).map(Self::Named)
        } else {
            parse(raw).map(|typed| match typed {
                TypedClass::Predicted => Self::Predicted,
                TypedClass::Label => Self::Label,
                TypedClass::Index(n) => Self::Index(n),
                TypedClass::Other => Self::Other,
            })
        };
        parsed.map_err(|problem| D::Error::custom(problem.message))
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Named(name) => serializer.serialize_str(name),
            Self::Predicted => TypedClass::Predicted.serialize(serializer),
            Self::Label => TypedClass::Label.serialize(serializer),
            Self::Index(n) => TypedClass::Index(*n).serialize(serializer),
            Self::Other => TypedClass::Other.serialize(serializer),
        }
    }
}

impl JsonSchema for Class {
    fn schema_name() -> Cow<'static, str> {
        "Class".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": "Predicted | Label | Index(n) | Other | \"name\"" })
    }
}

impl Class {
    /// The index meant, of `classes` many; `predicted` says which one the network prefers.
    pub(super) fn index(
        &self,
        about: &TargetRequest<'_>,
        classes: usize,
        predicted: impl FnOnce() -> usize,
    ) -> Result<usize> {
        let class = match self {
            Self::Index(n) => *n,
            Self::Predicted => predicted(),
            Self::Other => {
                let top = predicted();
                let drawn = Random::new(seed_of(0, &format!("{}/other class", about.sample.id)))
                    .below(classes.saturating_sub(1));
                // Counted without the highest.
                if drawn < top { drawn } else { drawn + 1 }
            }
            Self::Label => about.sample.label.ok_or_else(|| no_label(about))?,
            Self::Named(name) => named(name, about.labels)?,
        };
        if class < classes {
            return Ok(class);
        }
        let text = format!(
            "class {class} does not exist: layer `{}` has {classes} of them.",
            about.layers.join("`, `")
        );
        let help = format!("Classes are counted from 0 to {}.", classes.saturating_sub(1));
        Err(Error::new("fame::loss::class_range", text).with_help(help))
    }
}

fn no_label(about: &TargetRequest<'_>) -> Error {
    let text = format!("sample `{}` has no label, but the loss asks for Label.", about.sample.id);
    Error::new("fame::loss::no_label", text)
        .with_help("Use class: Predicted, class: Index(n) or a dataset with labels.")
}

/// The class that `labels` call `name`.
fn named(name: &str, labels: &[String]) -> Result<usize> {
    let mut found = labels.iter().enumerate().filter(|(_, label)| *label == name);
    match (found.next(), found.next()) {
        (Some((class, _)), None) => Ok(class),
        (Some((first, _)), Some((second, _))) => Err(Error::new(
            "fame::loss::class_name",
            format!("both class {first} and class {second} are called `{name}`."),
        )
        .with_help(format!("Say which: class: Index({first}) or class: Index({second})."))),
        (None, _) => {
            let text = format!("no class is called `{name}`.");
            let mut error = Error::new("fame::loss::class_name", text);
            let known: Vec<&str> = labels.iter().map(String::as_str).collect();
            let none = "The manifest has no `labels`; use class: Index(n).".to_owned();
            error.help =
                if known.is_empty() { Some(none) } else { suggestion(name, &known, "class") };
            Err(error)
        }
    }
}

/// Descends the score z_o of one class (the paper's L_cls), or |z_o|, which the authors' original
/// script descended: the same while z_o > 0, but it stops at 0 instead of going below. The value is
/// a raw logit: any number.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Logit {
    /// Which class: `Predicted`, `Label`, `Index(n)`, `Other`, or a label of the manifest in quotes.
    pub class: Class,
    /// Descend |z_o| instead of z_o.
    pub absolute: bool,
}

impl Plugin<dyn Loss> for Logit {
    const NAME: &'static str = "Logit";
    const SUMMARY: &'static str = "A class logit z_o, descended: which pixels carry this class";
    const EXAMPLE: &'static str = "Logit(class: Index(281), absolute: false)";
    const REFERENCE: &'static str =
        "Zhang & Günther, FAME (2026), section 3.2; |z_o|: the authors' code";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: Logit);

impl Loss for Logit {
    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        let logits = one_vector(about)?;
        if logits.iter().any(|z| z.is_nan()) {
            return Err(Error::new("fame::loss::not_finite", "the clean logits are not finite."));
        }
        let class = self.class.index(about, logits.len(), || argmax(logits))?;
        let mut about_class =
            facts([("class", class.into()), ("logit_before", logits[class].into())]);
        if let Some(name) = about.labels.get(class) {
            about_class.insert("class_name".into(), name.as_str().into());
        }
        // Probabilities are not put through a softmax once more.
        let probability =
            if about.holds_probabilities { logits[class] } else { softmax(logits)[class] as f32 };
        about_class.insert("probability_before".into(), probability.into());
        let top = top_classes(logits, about.labels, about.holds_probabilities);
        about_class.insert(TOP_BEFORE.into(), top);
        Ok(vec![Target {
            subject: Subject::Class(class),
            claim: Claim::For,
            values: vec![class as f32],
            frame: None,
            annotations: Vec::new(),
            facts: about_class,
        }])
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |logits, target, gradient| {
            let class = target.values[0] as usize;
            let z = logits[0][class];
            // The derivative of |z| at 0 is taken as 0: the walk has arrived.
            let (value, slope) = if self.absolute {
                (z.abs(), if z == 0.0 { 0.0 } else { z.signum() })
            } else {
                (z, 1.0)
            };
            gradient[0][class] = slope;
            Ok(value)
        })
    }
}

/// The clean scores, if they are one vector.
pub(super) fn one_vector<'a>(about: &TargetRequest<'a>) -> Result<&'a [f32]> {
    let shape = about.clean.first().map(Tensor::shape).unwrap_or_default();
    if let ([_], [clean]) = (shape, about.clean) {
        return Ok(clean.data());
    }
    let layers = about.layers.join("`, `");
    let help = match shape {
        [_, _, _] => {
            "For a segmentation [classes, rows, columns] use SegmentClass(), for a cell of a feature map FeatureMapCell()."
        }
        [_, _] => {
            "Of tokens or boxes, name the layer behind them that holds one score for each class; Target() works at any layer."
        }
        _ => "Name the layer of the class scores; Target() works at any layer.",
    };
    let text =
        format!("Logit needs one score for each class, but layer `{layers}` has shape {shape:?}.");
    Err(Error::new("fame::loss::not_a_vector", text).with_help(help))
}

/// The index of the largest value; the first of equals, as numpy's argmax.
pub(super) fn argmax(values: &[f32]) -> usize {
    let best = values.iter().enumerate().reduce(|best, v| if v.1 > best.1 { v } else { best });
    best.map(|(i, _)| i).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use fame_core::testkit::targets;

    use super::*;

    fn evaluate(absolute: bool, z: f32) -> (f32, Vec<f32>) {
        let target = Target { values: vec![1.0], ..Target::default() };
        let outputs = [Tensor::new([1, 3], vec![9.0, z, -9.0]).unwrap()];
        let e = Logit { class: Class::Predicted, absolute }.evaluate(&outputs, &[&target]).unwrap();
        (e.values[0], e.cotangents[0].data().to_vec())
    }

    #[test]
    fn the_absolute_form_turns_round_below_zero() {
        assert_eq!(evaluate(false, -2.0), (-2.0, vec![0.0, 1.0, 0.0]));
        assert_eq!(evaluate(true, -2.0), (2.0, vec![0.0, -1.0, 0.0]));
        assert_eq!(evaluate(true, 2.0), evaluate(false, 2.0));
        assert_eq!(evaluate(true, 0.0), (0.0, vec![0.0, 0.0, 0.0]));
    }

    #[test]
    fn the_first_of_equal_classes_wins_and_nan_has_no_class() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        let nan = Tensor::vector(vec![1.0, f32::NAN]);
        let error = targets(&Logit::default(), &[nan], &[]).unwrap_err();
        assert_eq!(error.code, "fame::loss::not_finite");
    }

    #[test]
    fn a_class_is_found_by_its_label_or_refused_with_the_nearest() {
        let labels = ["tabby", "hen", "hen"].map(str::to_owned);
        assert_eq!(named("tabby", &labels).unwrap(), 0);
        let error = named("taby", &labels).unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean `tabby`?"));
        assert!(named("hen", &labels).unwrap_err().message.contains("class 1 and class 2"));
        assert!(named("hen", &[]).unwrap_err().help.unwrap().contains("no `labels`"));
        let typed: Logit = parse("(class: \"tabby\")").unwrap();
        assert_eq!(typed.class, Class::Named("tabby".into()));
        let typed: Logit = parse("(class: Index(3))").unwrap();
        assert_eq!(typed.class, Class::Index(3));
        assert!(parse::<Logit>("(class: Predictd)").is_err());
    }

    #[test]
    fn only_a_vector_has_logits() {
        let refused = |shape: &[usize]| {
            let error = targets(&Logit::default(), &[Tensor::zeros(shape)], &[]).unwrap_err();
            assert_eq!(error.code, "fame::loss::not_a_vector");
            error.help.unwrap()
        };
        assert!(refused(&[21, 8, 8]).contains("SegmentClass"));
        assert!(refused(&[196, 768]).contains("tokens"));
    }
}
