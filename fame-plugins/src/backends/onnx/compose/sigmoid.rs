//! The sigmoid far from zero. tract's kernel is clamped: from −14.5 on it gives 4.5e-7 whatever the
//! input. Inside a network that is below the rounding of the sums it goes into; at its end, where a
//! probability is read, it is wrong by orders of magnitude.

use std::collections::HashSet;

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::op::{Outputs, composed, tracts};
use super::writer::Writer;

/// The attribute that marks a sigmoid at the end of a network.
const FAR: &str = "far";

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("Sigmoid", |ctx, node| {
        if node.attribute.iter().any(|a| a.name == FAR) {
            return composed(ctx, node, &[], sigmoid);
        }
        tracts("Sigmoid", ctx, node)
    });
}

/// Operators that sum over what they are given, and those whose inside is not looked at.
const SUMMING: [&str; 16] = [
    "Attention",
    "Conv",
    "ConvTranspose",
    "Einsum",
    "FusedConv",
    "FusedMatMul",
    "GRU",
    "Gemm",
    "If",
    "LSTM",
    "Loop",
    "MatMul",
    "MultiHeadAttention",
    "RNN",
    "Scan",
    "DeformConv",
];

/// Marks each sigmoid that no convolution or product follows: these are few, small, and read as
/// probabilities. The others keep tract's fast kernel, and the fusions that begin with it.
pub(in crate::backends::onnx) fn mark_far_sigmoids(graph: &mut GraphProto) {
    let mut summed: HashSet<String> = HashSet::new();
    for node in graph.node.iter_mut().rev() {
        let is_summed = SUMMING.contains(&node.op_type.as_str())
            || node.output.iter().any(|name| summed.contains(name));
        if is_summed {
            summed.extend(node.input.iter().cloned());
        } else if node.op_type == "Sigmoid" && node.domain.is_empty() {
            node.attribute.push(AttributeProto {
                name: FAR.to_owned(),
                r#type: AttributeType::Int as i32,
                i: 1,
                ..AttributeProto::default()
            });
        }
    }
}

/// `eⁿ / (eⁿ + eⁿ⁻ˣ)` with `n = min(x, 0)`: no exponential is above one, both tails keep all their
/// digits, and the slope at zero does not depend on how an engine breaks the tie of the minimum.
fn sigmoid(w: &mut Writer) -> TractResult<Outputs> {
    /// Below it the value is no `f32`.
    const LOWEST: f32 = -103.0;
    let x = w.needed(0)?;
    let x = w.at_least(x, LOWEST)?;
    let n = w.at_most(x, 0.0)?;
    let rest = w.sub(n, x)?;
    let (above, below) = (w.wire(math::exp(), &[n])?, w.wire(math::exp(), &[rest])?);
    let sum = w.add(above, below)?;
    Ok(tvec!(Some(w.div(above, sum)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::NodeProto;

    #[test]
    fn only_sigmoids_at_the_end_are_marked() {
        let node = |op: &str, input: &str, output: &str| NodeProto {
            op_type: op.into(),
            input: vec![input.into()],
            output: vec![output.into()],
            ..NodeProto::default()
        };
        let mut graph = GraphProto {
            node: vec![
                node("Sigmoid", "x", "gate"),
                node("Mul", "gate", "gated"),
                node("Conv", "gated", "logits"),
                node("Sigmoid", "logits", "probabilities"),
                node("Reshape", "probabilities", "y"),
            ],
            ..GraphProto::default()
        };
        mark_far_sigmoids(&mut graph);
        let marked: Vec<bool> = graph.node.iter().map(|n| !n.attribute.is_empty()).collect();
        assert_eq!(marked, [false, false, false, true, false]);
    }
}
