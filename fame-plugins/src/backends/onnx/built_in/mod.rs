//! Built-in operators on host tensors: those that are rare enough for speed not to matter, or that
//! tract computes and no engine differentiates. Each is a [`HostOperator`], so every engine has it
//! at once, with its gradient.
//!
//! **A new operator** is one type in the file of its family, one line in that file's `OPERATORS`,
//! and one test there. The formulas are those of ONNX's own operator texts.

mod arithmetic;
mod deform_conv;
#[cfg(test)]
mod difference;
pub(super) mod few_bits;
mod gate;
mod gather;
mod grid_sample;
mod gru;
mod import;
mod lstm;
mod movement;
mod node;
mod pad;
mod product;
mod recurrence;
mod rnn;
mod roi_align;
mod scatter;
mod spectral;

use std::sync::Arc;

use fame_core::Result;
use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;

use super::host_operator::HostOperator;
use node::Node;

/// An ONNX operator and how one of its nodes becomes a [`HostOperator`].
pub(super) struct BuiltIn {
    /// The operator's name.
    op_type: &'static str,
    /// Inputs that say what to do (axes, sizes, conditions). They must be constant, and
    /// [`BuiltIn::build`] reads them; the other inputs are the operator's own.
    settings: &'static [usize],
    /// Outputs that are whole numbers, such as indices.
    whole: &'static [usize],
    /// Whether a node is one of ours; else tract imports it.
    applies: fn(&NodeProto) -> bool,
    /// Makes the operator that computes one output of a node.
    build: fn(&Node) -> Result<Arc<dyn HostOperator>>,
}

impl BuiltIn {
    /// An operator all of whose outputs are real numbers.
    const fn new(
        op_type: &'static str,
        settings: &'static [usize],
        build: fn(&Node) -> Result<Arc<dyn HostOperator>>,
    ) -> Self {
        Self { op_type, settings, whole: &[], applies: |_| true, build }
    }
}

/// Every family's operators.
const FAMILIES: &[&[BuiltIn]] = &[
    arithmetic::OPERATORS,
    deform_conv::OPERATORS,
    few_bits::OPERATORS,
    gather::OPERATORS,
    grid_sample::OPERATORS,
    gru::OPERATORS,
    lstm::OPERATORS,
    movement::OPERATORS,
    pad::OPERATORS,
    product::OPERATORS,
    rnn::OPERATORS,
    roi_align::OPERATORS,
    scatter::OPERATORS,
    spectral::OPERATORS,
];

/// The operator of this name.
fn find(op_type: &str) -> Option<&'static BuiltIn> {
    FAMILIES.iter().flat_map(|family| family.iter()).find(|kind| kind.op_type == op_type)
}

/// Puts these operators in place of tract's, and beside them.
pub(super) fn register(known: &mut OnnxOpRegister) {
    for kind in FAMILIES.iter().flat_map(|family| family.iter()) {
        known.insert(kind.op_type, import::import);
    }
}
