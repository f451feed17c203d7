//! Why a graph, or a gradient through it, cannot be compiled, and the sentences that say so.

use fame_core::{Error, ErrorKind, GradientPlace};
use tract_onnx::tract_core::internal::TractError;

/// The engine that a message is about, and what it advises where it has no rule for an operator.
#[derive(Clone, Copy, Debug)]
pub(in crate::backends) struct Engine {
    /// The engine's name.
    pub(in crate::backends) name: &'static str,
    /// The way out where the gradient cannot pass an operator.
    pub(in crate::backends) advice: &'static str,
}

/// Why taps cannot be compiled.
#[derive(Debug)]
pub(in crate::backends) enum Refusal {
    /// The engine has no rule for a node's operator.
    NoRule {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: String,
    },
    /// Relevance has no rule for a node's operator.
    NoRelevance {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: String,
    },
    /// Multipliers have no rule for a node's operator.
    NoMultipliers {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: String,
    },
    /// The box rule cannot be used at a first layer.
    NoBox {
        /// The node's name.
        node: String,
        /// Why, as the end of a sentence.
        why: String,
    },
    /// Whether a product is a convolution of the file cannot be told any more.
    UnclearKind {
        /// The node's name.
        node: String,
    },
    /// No path leads from the place with this index to a tapped layer.
    NoPath(usize),
    /// A rule failed.
    Failed(TractError),
}

impl From<TractError> for Refusal {
    fn from(error: TractError) -> Self {
        Self::Failed(error)
    }
}

/// The error for a gradient that an operator without a rule stops.
pub(in crate::backends) fn no_rule(node: &str, op: &str, engine: Engine) -> Error {
    Error::new(
        "fame::backend::no_gradient_rule",
        format!("no gradient goes through node `{node}`: the {} backend has no rule for the operator `{op}`.", engine.name),
    )
    .with_help(engine.advice)
    .of_kind(ErrorKind::NoGradientRule)
}

/// The error for relevance that an operator without a rule stops.
pub(in crate::backends) fn no_relevance(node: &str, op: &str) -> Error {
    Error::new(
        "fame::backend::no_relevance_rule",
        format!("relevance does not pass node `{node}`: there is no rule for the operator `{op}` there."),
    )
    .with_help("Choose a target layer in front of it, such as the logits before a softmax; `first: Same`, where it stands between the picture and the first layer with weights; a method that needs derivatives only, such as `IntegratedGradients`; or, for a transformer, `LeGrad` or `AttentionRollout`.")
    .of_kind(ErrorKind::NoGradientRule)
}

/// The error for multipliers that an operator without a rule stops.
pub(in crate::backends) fn no_multipliers(node: &str, op: &str) -> Error {
    Error::new(
        "fame::backend::no_multiplier_rule",
        format!("differences from a reference do not pass node `{node}`: there is no rule for the operator `{op}` there."),
    )
    .with_help("Choose a target layer in front of it; or take a method that needs derivatives only and has a reference too, such as `IntegratedGradients`.")
    .of_kind(ErrorKind::NoGradientRule)
}

/// The error for a box rule that cannot be used.
pub(in crate::backends) fn no_box(node: &str, why: &str) -> Error {
    Error::new(
        "fame::backend::no_box_rule",
        format!("the box rule cannot be used at the first layer `{node}`: {why}."),
    )
    .with_help("Ask for another rule of the first layer: `first: Flat`, `first: WSquare`, or `first: Same` as the other layers of its kind.")
    .of_kind(ErrorKind::NoGradientRule)
}

/// The error for a layer of which it cannot be told whose rule it gets.
pub(in crate::backends) fn unclear_kind(node: &str) -> Error {
    Error::new(
        "fame::backend::unclear_layer_kind",
        format!("relevance does not pass node `{node}`: after the engine simplified the graph it cannot be told whether it is a convolution or a dense layer, which have rules of their own."),
    )
    .with_help("Ask for one rule for both, `composite: Epsilon` with `first: Same`, or take a method that needs derivatives only, such as `IntegratedGradients`.")
    .of_kind(ErrorKind::NoGradientRule)
}

/// A place in messages.
fn shown(to: &GradientPlace) -> String {
    match to {
        GradientPlace::Input => "the input".to_owned(),
        GradientPlace::Layer(name) => format!("layer `{name}`"),
    }
}

/// The error for a layer that does not depend on the place where its gradient is asked for.
pub(in crate::backends) fn no_path(layer: &str, to: &GradientPlace) -> Error {
    Error::new(
        "fame::backend::no_gradient_path",
        format!("layer `{layer}` does not depend on {}, so no gradient reaches it.", shown(to)),
    )
}

/// The error for a layer that depends on the place where its gradient is asked for only through the
/// node `node`, whose derivative is zero wherever it has one.
pub(in crate::backends) fn flat(layer: &str, to: &GradientPlace, node: &str, op: &str) -> Error {
    Error::new(
        "fame::backend::zero_gradient",
        format!(
            "no gradient of layer `{layer}` reaches {}: it ends at node `{node}`, whose operator `{op}` is constant almost everywhere, so that its derivative is zero.",
            shown(to)
        ),
    )
    .with_help("Choose a target layer in front of it, or a method that needs no gradient, such as `Rise` or `Occlusion`.")
}

/// The innermost cause of an error of tract's, which is what says something, in one line.
pub(in crate::backends) fn reason(error: &TractError) -> String {
    let outer = error.to_string();
    let inner = error.root_cause().to_string();
    let line =
        |text: &str| text.lines().next().unwrap_or_default().chars().take(300).collect::<String>();
    if outer == inner { line(&outer) } else { format!("{} ({})", line(&inner), line(&outer)) }
}
