//! Every additive constant of the graph, as FullGrad needs them.
//!
//! They are read from the ONNX graph as it stands in the file, before anything is folded. A batch
//! normalisation adds `β − γμ/√(σ²+ε)` to its output, and that is its bias; a convolution in front
//! of it keeps its own bias, belonging to the convolution's output.

use std::collections::HashMap;

use fame_core::{Bias, Layer, Result, Tensor};
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_core::internal::TractResult;

use super::file::OnnxFile;
use super::fold::batch_norm;
use super::loaded_model::LoadedModel;

/// The biases of the graph, in topological order of the layers they add to.
pub(in crate::backends) fn biases(model: &LoadedModel) -> Result<Vec<Bias>> {
    let (file, layers) = (&model.file, &model.skeleton.layers);
    let constants = file.constants();
    let shapes: HashMap<&str, &Layer> =
        layers.iter().filter(|l| l.depends_on_input).map(|l| (l.name.as_str(), l)).collect();
    let mut found = vec![];
    let is_built_in = |node: &&NodeProto| model.operators.host_kind(&model.file, node).is_none();
    for node in file.graph().node.iter().filter(is_built_in) {
        let Some(layer) = node.output.first().and_then(|name| shapes.get(name.as_str())) else {
            continue;
        };
        let values = bias_of(file, &constants, node, &layer.shape).map_err(|e| {
            file.refuse(format_args!("the bias of layer `{}` cannot be read: {e}", layer.name))
        })?;
        if let Some((shape, values)) = values {
            found.push(Bias { layer: layer.name.clone(), value: Tensor::new(shape, values)? });
        }
    }
    Ok(found)
}

/// A shape and its values, row-major.
type Shaped = (Vec<usize>, Vec<f32>);

/// The bias of one node with its shape, broadcastable to the layer's per-row shape.
fn bias_of(
    file: &OnnxFile,
    constants: &HashMap<&str, &TensorProto>,
    node: &NodeProto,
    layer: &[usize],
) -> TractResult<Option<Shaped>> {
    let constant =
        |ix: usize| node.input.get(ix).and_then(|name| constants.get(name.as_str()).copied());
    let per_channel = |values: Vec<f32>| {
        let mut shape = vec![1; layer.len()];
        shape[0] = values.len();
        (shape, values)
    };
    Ok(match node.op_type.as_str() {
        "Conv" | "ConvTranspose" => match constant(2) {
            Some(bias) => Some(per_channel(file.floats(bias)?)),
            None => None,
        },
        "BatchNormalization" => Some(per_channel(batch_norm(file, constants, node)?.shift)),
        "Gemm" => match constant(2) {
            Some(bias) => {
                let beta = node.attribute.iter().find(|a| a.name == "beta").map_or(1.0, |a| a.f);
                let values = file.floats(bias)?.iter().map(|v| v * beta).collect();
                broadcastable(&bias.dims, layer, values)
            }
            None => None,
        },
        "Add" | "Sub" => match (constant(0), constant(1)) {
            (Some(summand), None) => broadcastable(&summand.dims, layer, file.floats(summand)?),
            (None, Some(summand)) => {
                let sign = if node.op_type == "Sub" { -1.0 } else { 1.0 };
                broadcastable(
                    &summand.dims,
                    layer,
                    file.floats(summand)?.iter().map(|v| sign * v).collect(),
                )
            }
            _ => None,
        },
        _ => None,
    })
}

/// Gives a constant of ONNX shape `dims` the rank of a row of the layer: axes are added in front,
/// and the batch axis is dropped.
fn broadcastable(dims: &[i64], layer: &[usize], values: Vec<f32>) -> Option<Shaped> {
    let mut shape: Vec<usize> = dims.iter().map(|&d| d as usize).collect();
    while shape.len() <= layer.len() {
        shape.insert(0, 1);
    }
    (shape.len() == layer.len() + 1 && shape[0] == 1).then(|| (shape[1..].to_vec(), values))
}
