//! What an output is: scores, probabilities, an embedding, a map of classes, tokens.
//!
//! It is read off the graph, by operators and shapes, for whoever must choose a loss, and so that
//! no probability is put through a softmax a second time.

use std::fmt;

use super::Layer;

/// How many operators may lie between an embedding and the division by its length.
const NORM_DEPTH: usize = 6;

/// What a layer's values are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputForm {
    /// One score for each class, or the numbers of an embedding.
    Vector {
        /// How many.
        length: usize,
    },
    /// Probabilities, made from scores by a softmax or a sigmoid.
    Probabilities {
        /// `Softmax` or `Sigmoid`.
        by: String,
        /// The layer of the scores, if it is one.
        of: Option<String>,
    },
    /// An embedding that was divided by its length.
    UnitVector {
        /// How many numbers.
        length: usize,
    },
    /// A score for each class and pixel.
    ClassMap {
        /// Classes.
        classes: usize,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// A vector for each of many tokens, candidates or boxes.
    Tokens {
        /// Tokens.
        tokens: usize,
        /// Numbers of each.
        channels: usize,
    },
    /// Anything else.
    Other,
}

impl fmt::Display for OutputForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vector { length } => {
                write!(f, "{length} numbers: one score for each class, or an embedding")
            }
            Self::Probabilities { by, of: Some(of) } => write!(
                f,
                "probabilities, the {by} of `{of}`; a recipe that names no layer explains `{of}`"
            ),
            Self::Probabilities { by, of: None } => write!(f, "probabilities, by a {by}"),
            Self::UnitVector { length } => {
                write!(f, "an embedding of {length} numbers, divided by its length")
            }
            Self::ClassMap { classes, rows, columns } => write!(
                f,
                "{classes} numbers for each of {rows}×{columns} pixels: a segmentation or a feature map"
            ),
            Self::Tokens { tokens, channels } => {
                write!(f, "{channels} numbers for each of {tokens} tokens, candidates or boxes")
            }
            Self::Other => write!(f, "neither a vector nor a map nor tokens"),
        }
    }
}

/// The form of `layer`, one of `layers`.
pub fn form_of(layer: &Layer, layers: &[Layer]) -> OutputForm {
    if squashes(&layer.op) && layer.shape.len() <= 1 {
        let of = logits_of(layer, layers).map(|l| l.name.clone());
        return OutputForm::Probabilities { by: layer.op.clone(), of };
    }
    match *layer.shape {
        [length] if is_unit(layer, layers) => OutputForm::UnitVector { length },
        [length] => OutputForm::Vector { length },
        [classes, rows, columns] if rows > 1 && columns > 1 => {
            OutputForm::ClassMap { classes, rows, columns }
        }
        [tokens, channels] if tokens > 1 => OutputForm::Tokens { tokens, channels },
        _ => OutputForm::Other,
    }
}

/// Whether the operator makes probabilities of scores.
fn squashes(op: &str) -> bool {
    matches!(op, "Softmax" | "Sigmoid")
}

/// The layer whose scores `layer` turns into probabilities: `None` if it does not, or if the scores
/// are no layer that depends on the input. Only for one vector: over tokens or pixels a softmax may
/// be attention.
pub(super) fn logits_of<'l>(layer: &Layer, layers: &'l [Layer]) -> Option<&'l Layer> {
    if !squashes(&layer.op) || layer.shape.len() != 1 {
        return None;
    }
    let read = layer.reads.first()?;
    layers.iter().find(|l| l.name == *read && l.shape == layer.shape && l.depends_on_input)
}

/// Whether `layer` is a vector divided by its own length: one operator for it, or a quotient whose
/// divisor is made from the root of a sum of the dividend's squares.
fn is_unit(layer: &Layer, layers: &[Layer]) -> bool {
    if layer.op == "LpNormalization" {
        return true;
    }
    let ([dividend, divisor], "Div") = (layer.reads.as_slice(), layer.op.as_str()) else {
        return false;
    };
    let layer_of = |name: &String| layers.iter().find(|l| l.name == *name);
    let (mut open, mut roots) = (vec![divisor], false);
    for _ in 0..NORM_DEPTH {
        let above: Vec<&Layer> = open.iter().filter_map(|name| layer_of(name)).collect();
        roots |= above.iter().any(|l| matches!(l.op.as_str(), "ReduceL2" | "Sqrt"));
        open = above.iter().flat_map(|l| &l.reads).collect();
        if open.contains(&dividend) {
            return roots;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, op: &str, shape: &[usize], reads: &[&str]) -> Layer {
        Layer {
            name: name.into(),
            op: op.into(),
            shape: shape.into(),
            is_output: false,
            depends_on_input: true,
            reads: reads.iter().map(|&r| r.into()).collect(),
        }
    }

    #[test]
    fn probabilities_know_their_scores_unless_they_are_attention() {
        let layers = [
            layer("logits", "Gemm", &[5], &["x", "w"]),
            layer("p", "Softmax", &[5], &["logits"]),
            layer("scores", "MatMul", &[7, 7], &["q", "k"]),
            layer("attention", "Softmax", &[7, 7], &["scores"]),
        ];
        assert_eq!(logits_of(&layers[1], &layers).map(|l| l.name.as_str()), Some("logits"));
        assert_eq!(logits_of(&layers[3], &layers), None);
        assert_eq!(logits_of(&layers[0], &layers), None);
        let told = form_of(&layers[1], &layers).to_string();
        assert!(told.contains("the Softmax of `logits`"), "{told}");
        assert_eq!(form_of(&layers[0], &layers), OutputForm::Vector { length: 5 });
        let tokens = OutputForm::Tokens { tokens: 7, channels: 7 };
        assert_eq!(form_of(&layers[3], &layers), tokens);
    }

    #[test]
    fn a_vector_divided_by_its_length_is_known_and_one_divided_by_another_is_not() {
        let layers = [
            layer("e", "Gemm", &[4], &["x", "w"]),
            layer("square", "Mul", &[4], &["e", "e"]),
            layer("sum", "ReduceSum", &[1], &["square", "axes"]),
            layer("length", "Sqrt", &[1], &["sum"]),
            layer("unit", "Div", &[4], &["e", "length"]),
            layer("mean", "Div", &[4], &["e", "sum"]),
            layer("short", "LpNormalization", &[4], &["e"]),
        ];
        assert_eq!(form_of(&layers[4], &layers), OutputForm::UnitVector { length: 4 });
        assert_eq!(form_of(&layers[5], &layers), OutputForm::Vector { length: 4 });
        assert_eq!(form_of(&layers[6], &layers), OutputForm::UnitVector { length: 4 });
        let map = form_of(&layer("m", "Conv", &[21, 8, 9], &[]), &layers);
        assert_eq!(map, OutputForm::ClassMap { classes: 21, rows: 8, columns: 9 });
    }
}
