//! Nodes that cannot be computed rightly, and the sentences that say so.

use fame_core::Error;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::TractError;

use super::file::{OnnxFile, shown};
use super::refusal::reason;

/// A node that cannot be computed rightly, and why. It travels inside of tract's errors.
#[derive(Debug)]
pub(in crate::backends) struct Unsupported {
    node: String,
    op: String,
    reason: String,
}

impl Unsupported {
    /// About `node`, as messages show it, of the operator `op`.
    pub(super) fn new(node: &str, op: &str, reason: impl Into<String>) -> Self {
        Self { node: node.to_owned(), op: op.to_owned(), reason: reason.into() }
    }
}

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, op, reason } = self;
        write!(f, "node {node} cannot be computed: the operator `{op}`: {reason}")
    }
}

impl std::error::Error for Unsupported {}

/// The error for a file that tract does not import with an input of shape `input`.
pub(super) fn not_imported(file: &OnnxFile, input: &[usize], error: &TractError) -> Error {
    let unsupported = |text: &Unsupported| {
        Error::new("fame::backend::unsupported", format!("`{}`: {text}.", file.path)).with_help(
            "Export the model without it, with another opset, or bring the operator as a plugin.",
        )
    };
    if let Some(known) = error.root_cause().downcast_ref::<Error>() {
        return known.clone();
    }
    if let Some(known) = error.root_cause().downcast_ref::<Unsupported>() {
        return unsupported(known);
    }
    if let Some(node) = named_in(file, error) {
        // What is around the innermost cause speaks of tract's own steps.
        let cause = error.root_cause().to_string();
        let reason = match cause.lines().next().unwrap_or_default().to_owned() {
            text if is_inner(&text) => {
                format!("the way it is used here is not supported, for an input of shape {input:?}")
            }
            text => text,
        };
        return unsupported(&Unsupported::new(&shown(node), &node.op_type, reason));
    }
    let refused = file.refuse(format_args!(
        "tract cannot import it for input shape {input:?}: {}",
        reason(error)
    ));
    refused.with_help(
        "Give the shape of the input if the file leaves it open, or export the model with another \
         opset.",
    )
}

/// The node that the error is about, by the quoted names in its chain, the innermost first.
fn named_in<'f>(file: &'f OnnxFile, error: &TractError) -> Option<&'f NodeProto> {
    let told: Vec<String> = error.chain().map(ToString::to_string).collect();
    let names = |node: &NodeProto| {
        let own = std::iter::once(&node.name).chain(node.output.first());
        own.filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>()
    };
    told.iter().rev().find_map(|text| {
        file.graph().node.iter().find(|node| {
            names(node).iter().any(|name| {
                text.contains(&format!("\"{name}\"")) || text.contains(&format!(" {name} ("))
            })
        })
    })
}

/// Whether a reason speaks of tract's inside, which says nothing to a reader.
fn is_inner(text: &str) -> bool {
    const INNER: [&str; 14] = [
        "unify",
        "Val(",
        "Sym(",
        "TDim",
        "Fact",
        "DatumType",
        "Condition failed",
        "unwrap",
        "downcast",
        "Failed analyse",
        "wire_node",
        "panicked",
        "can not be typed",
        "#",
    ];
    INNER.iter().any(|word| text.contains(word))
}
