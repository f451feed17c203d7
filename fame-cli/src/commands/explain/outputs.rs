//! What a network answers that is asked without a word from its manifest: the scores of classes, or
//! plainly something else.

use fame_core::{
    Error, Layer, Model, Result,
    contract::{OutputForm, form_of},
};

use super::{answers::answers_layer, detector};

/// Words in the name of an output whose numbers are no scores of classes. Words that classifiers
/// answer too, such as `mask`, `pose` or `age`, are not among them.
const NO_CLASSES: [&str; 20] = [
    "bbox",
    "box",
    "boxes",
    "coord",
    "coordinate",
    "depth",
    "descriptor",
    "embed",
    "embedding",
    "feature",
    "heatmap",
    "keypoint",
    "kpt",
    "landmark",
    "lmk",
    "offset",
    "point",
    "pts",
    "regression",
    "vertex",
];

/// Words in the name of an output that holds scores of classes, whatever else it says.
const CLASSES: [&str; 8] =
    ["class", "classes", "cls", "label", "logit", "prob", "probability", "score"];

/// The fewest numbers that anybody makes an embedding of; fewer are not taken for one.
const SHORTEST_EMBEDDING: usize = 16;

/// Why a network's answer is no list of classes.
#[derive(Debug, PartialEq)]
pub(super) struct NoClasses {
    /// The reason, to stand behind the name of the network.
    why: String,
    /// What can be asked instead.
    help: String,
    /// Whether one number of it can be asked as if it were a class: `--class N`.
    pub(super) has_numbers: bool,
    /// Whether two pictures can be compared by it.
    is_embedding: bool,
}

impl NoClasses {
    /// The error of a question for the class that `model` predicts.
    pub(super) fn error(self, model: &str) -> Error {
        let Self { why, help, .. } = self;
        let message = format!("`{model}` says nothing of classes: {why}.");
        Error::new("fame::explain::no_classes", message).with_help(help)
    }

    /// What is assumed where number `class` is asked all the same.
    pub(super) fn told_of_number(&self, class: usize) -> String {
        let pair = if self.is_embedding { "; --pair A B compares two pictures by it" } else { "" };
        format!("number {class} is explained as if it were a class: {}{pair}", self.why)
    }
}

/// What is assumed of the numbers that `model` answers where it is asked for a class and nothing
/// tells what they are: neither labels, nor a softmax or sigmoid, nor a name.
///
/// # Errors
/// A network without an output.
pub(super) fn taken_for_classes(model: &Model) -> Result<Option<String>> {
    let (layer, form, names) = answer(model)?;
    Ok(taken(layer, &form, &names, model.labels.len()))
}

/// The same of an output of this form, with these names and so many names of classes.
fn taken(layer: &Layer, form: &OutputForm, names: &[&str], labels: usize) -> Option<String> {
    let OutputForm::Vector { length } = *form else { return None };
    let is_told = labels == length || names.iter().any(|name| has_word(name, &CLASSES));
    (!is_told && length >= SHORTEST_EMBEDDING).then(|| {
        format!(
            "its output `{}` holds {length} numbers, and nothing says of what: taken for the scores \
             of {length} classes; if they are an embedding, compare two pictures: --pair A B",
            layer.name
        )
    })
}

/// Why what `model` answers is no list of classes, if that is plain: by its shape, by what it is
/// computed with, by its name in the file or in the manifest.
///
/// # Errors
/// A network without an output.
pub(super) fn no_classes(model: &Model) -> Result<Option<NoClasses>> {
    if let Some(told) = detector::undecoded(model) {
        return Ok(Some(NoClasses {
            why: format!("it is {}", told.trim_end_matches('.')),
            help: "Or name a layer in front of its output that holds one score for each class: --method 'Fame(layer: \"NAME\")'.".to_owned(),
            has_numbers: false,
            is_embedding: false,
        }));
    }
    let (layer, form, names) = answer(model)?;
    Ok(judged(layer, &form, &names, model.labels.len()))
}

/// The layer that answers, its form, and its names in the file and in the manifest.
fn answer(model: &Model) -> Result<(&Layer, OutputForm, Vec<&str>)> {
    let (layer, _) = answers_layer(model)?;
    let form = form_of(layer, model.network.layers());
    let aliases = model.manifest.layers.iter();
    let aliases = aliases.filter(|(_, tensor)| **tensor == layer.name).map(|(alias, _)| alias);
    let names = std::iter::once(&layer.name).chain(aliases).map(String::as_str).collect();
    Ok((layer, form, names))
}

/// The same of an output of this form, with these names and so many names of classes.
fn judged(layer: &Layer, form: &OutputForm, names: &[&str], labels: usize) -> Option<NoClasses> {
    let output = &layer.name;
    if layer.shape.iter().filter(|extent| **extent > 1).count() > 1 {
        let help = match form {
            OutputForm::ClassMap { .. } => {
                "Of a segmentation ask --method 'Fame(layer: Output, loss: SegmentClass())', of a feature map 'Fame(layer: Output, loss: FeatureMapCell())'; or name a layer with one score for each class: 'Fame(layer: \"NAME\")'."
            }
            _ => {
                "Name a layer that holds one score for each class, --method 'Fame(layer: \"NAME\")', or say what else to ask: --method 'Fame(layer: …, loss: …)'. `fame-cli describe loss` lists what can be asked."
            }
        };
        return Some(NoClasses {
            why: format!("its output `{output}` holds {form}"),
            help: help.to_owned(),
            has_numbers: false,
            is_embedding: false,
        });
    }
    let length: usize = layer.shape.iter().product();
    let by_softmax = matches!(form, OutputForm::Probabilities { by, .. } if by == "Softmax");
    if by_softmax || labels == length || names.iter().any(|name| has_word(name, &CLASSES)) {
        return None;
    }
    let pair = "Two pictures are compared with --pair A B. ";
    let number = format!(
        "One of its {length} numbers is explained with --class N, N from 0 to {}; if they are the scores of classes after all, say so: --method 'Fame(loss: Logit(), layer: Output)', or `ask: (loss: Logit(), layer: Output)` in the manifest.",
        length.saturating_sub(1)
    );
    if matches!(form, OutputForm::UnitVector { .. }) {
        return Some(NoClasses {
            why: format!("its output `{output}` is {form}"),
            help: format!("{pair}{number}"),
            has_numbers: true,
            is_embedding: true,
        });
    }
    let name = names.iter().find(|name| has_word(name, &NO_CLASSES))?;
    let called = if name == output {
        String::new()
    } else {
        format!(", which the manifest calls `{name}`,")
    };
    let is_embedding = has_word(name, &["embed", "embedding", "feature", "descriptor"]);
    Some(NoClasses {
        why: format!("by its name its output `{output}`{called} holds something else"),
        help: format!("{}{number}", if is_embedding { pair } else { "" }),
        has_numbers: true,
        is_embedding,
    })
}

/// Whether `name`, cut at whatever is no letter and where a capital begins, has one of `words` in
/// it, or several of its kind: `face_landmarks`, `boxCoords`, `points.1`.
fn has_word(name: &str, words: &[&str]) -> bool {
    let mut cut = String::new();
    let mut was_small = false;
    for letter in name.chars() {
        if was_small && letter.is_uppercase() {
            cut.push(' ');
        }
        was_small = letter.is_lowercase();
        let letter = if letter.is_alphabetic() { letter } else { ' ' };
        cut.extend(letter.to_lowercase());
    }
    let is_one = |part: &str| {
        words.contains(&part) || part.strip_suffix('s').is_some_and(|part| words.contains(&part))
    };
    cut.split(' ').any(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, op: &str, shape: &[usize]) -> Layer {
        Layer {
            name: name.into(),
            op: op.into(),
            shape: shape.to_vec(),
            is_output: true,
            depends_on_input: true,
            reads: Vec::new(),
        }
    }

    fn of(layer: &Layer, alias: Option<&str>, labels: usize) -> Option<NoClasses> {
        let names: Vec<&str> = std::iter::once(layer.name.as_str()).chain(alias).collect();
        judged(layer, &form_of(layer, std::slice::from_ref(layer)), &names, labels)
    }

    #[test]
    fn names_tell_what_is_no_class() {
        let answer = |name: &str| layer(name, "Gemm", &[136]);
        for (name, alias) in [
            ("output", Some("points")),
            ("face_landmarks", None),
            ("boxCoords", None),
            ("embedding", None),
            ("fc1_features.1", None),
        ] {
            let told = of(&answer(name), alias, 0).unwrap_or_else(|| panic!("{name}"));
            assert!(told.has_numbers && told.help.contains("--class N"), "{told:?}");
            assert_eq!(told.why.contains("the manifest calls"), alias.is_some(), "{told:?}");
        }
        for (name, alias) in [
            ("output", None),
            ("logits", None),
            ("output", Some("logits")),
            ("keypoint_scores", None),
            ("pointwise", None),
            ("mailbox", None),
        ] {
            assert_eq!(of(&answer(name), alias, 0), None, "{name} {alias:?}");
        }
        assert_eq!(of(&answer("points"), None, 136), None, "as many labels as numbers");
        assert_eq!(of(&layer("box", "Softmax", &[3]), None, 0), None, "probabilities");
    }

    #[test]
    fn numbers_that_nothing_tells_of_are_said_to_be_taken_for_classes() {
        let told = |layer: &Layer, alias: Option<&str>, labels| {
            let names: Vec<&str> = std::iter::once(layer.name.as_str()).chain(alias).collect();
            taken(layer, &form_of(layer, std::slice::from_ref(layer)), &names, labels)
        };
        let answer = |name: &str| layer(name, "Gemm", &[512]);
        let said = told(&answer("683"), None, 0).unwrap();
        for part in ["`683` holds 512 numbers", "of 512 classes", "--pair A B"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(told(&answer("683"), None, 512), None, "as many labels");
        assert_eq!(told(&answer("683"), Some("logits"), 0), None);
        assert_eq!(told(&layer("y", "Softmax", &[512]), None, 0), None, "probabilities");
        assert_eq!(told(&layer("y", "Gemm", &[10]), None, 0), None, "too short an embedding");
    }

    #[test]
    fn shapes_and_lengths_tell_what_is_no_class() {
        let map = of(&layer("logits", "Conv", &[21, 8, 9]), None, 21).unwrap();
        assert!(!map.has_numbers && map.help.contains("SegmentClass()"), "{map:?}");
        let tokens = of(&layer("scores", "Softmax", &[4420, 2]), None, 2).unwrap();
        assert!(
            !tokens.has_numbers && tokens.help.contains("one score for each class"),
            "{tokens:?}"
        );
        let unit = of(&layer("y", "LpNormalization", &[512]), None, 0).unwrap();
        assert!(unit.has_numbers && unit.help.contains("--pair A B"), "{unit:?}");
        assert_eq!(of(&layer("y", "Reshape", &[10, 1, 1]), None, 0), None);
        let said = unit.error("arc.onnx").message;
        assert!(
            said.starts_with("`arc.onnx` says nothing of classes: its output `y` is"),
            "{said}"
        );
    }
}
