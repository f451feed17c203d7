//! Folding of a batch normalisation into the convolution in front of it.
//!
//! tract fuses the resulting product and sum into its convolutions going forward, but going
//! backward the scale would be a pass of its own over every activation. So it is multiplied into
//! the weights before anything is compiled. A convolution that is tapped stays.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::{TractResult, ensure, format_err};

use super::file::OnnxFile;

/// `y = scale · x + shift`, one pair for each channel.
pub(super) struct Affine {
    /// The factor of each channel.
    pub(super) scale: Vec<f32>,
    /// The summand of each channel.
    pub(super) shift: Vec<f32>,
}

/// The affine map that an inference-time `BatchNormalization` with constant statistics is.
pub(super) fn batch_norm(
    file: &OnnxFile,
    constants: &HashMap<&str, &TensorProto>,
    node: &NodeProto,
) -> TractResult<Affine> {
    let values = |ix: usize| -> TractResult<Vec<f32>> {
        let name = node.input.get(ix).ok_or_else(|| format_err!("input {ix} is missing"))?;
        let constant = constants.get(name.as_str());
        file.floats(constant.ok_or_else(|| format_err!("`{name}` is not constant"))?)
    };
    let (gamma, beta, mean, variance) = (values(1)?, values(2)?, values(3)?, values(4)?);
    ensure!(
        [beta.len(), mean.len(), variance.len()].iter().all(|&n| n == gamma.len()),
        "its parameters differ in length"
    );
    let epsilon =
        node.attribute.iter().find(|a| a.name == "epsilon").map_or(1e-5, |a| f64::from(a.f));
    // In f64: the rounding of a scale is shared by a whole channel.
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(g, v)| f64::from(*g) / (f64::from(*v) + epsilon).sqrt())
        .collect();
    let shift = beta
        .iter()
        .zip(&mean)
        .zip(&scale)
        .map(|((b, m), s)| (f64::from(*b) - f64::from(*m) * s) as f32)
        .collect();
    Ok(Affine { scale: scale.iter().map(|s| *s as f32).collect(), shift })
}

/// Rewrites `graph` in place; the outputs of `keep` stay as they are.
pub(super) fn fold_batch_norms(file: &OnnxFile, graph: &mut GraphProto, keep: &HashSet<&str>) {
    let constants = file.constants();
    let mut users: HashMap<String, usize> = HashMap::new();
    for name in graph.node.iter().flat_map(|n| &n.input) {
        *users.entry(name.clone()).or_default() += 1;
    }
    let producers: HashMap<String, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(ix, n)| n.output.iter().map(move |o| (o.clone(), ix)))
        .collect();
    let mut folded = HashSet::new();
    for ix in 0..graph.node.len() {
        let norm = graph.node[ix].clone();
        if norm.op_type != "BatchNormalization" || norm.output.iter().skip(1).any(|o| !o.is_empty())
        {
            continue;
        }
        let Some(&conv) = producers.get(&norm.input[0]) else { continue };
        let alone = users.get(&norm.input[0]) == Some(&1) && !keep.contains(norm.input[0].as_str());
        if !alone || graph.node[conv].op_type != "Conv" {
            continue;
        }
        // A normalisation that cannot be folded is still computed: the error, if it is one, comes
        // from tract.
        if let Ok((weight, bias)) = scaled(file, &constants, &graph.node[conv], &norm) {
            let node = &mut graph.node[conv];
            node.input = vec![node.input[0].clone(), weight.name.clone(), bias.name.clone()];
            node.output = vec![norm.output[0].clone()];
            graph.initializer.extend([weight, bias]);
            folded.insert(ix);
        }
    }
    let mut ix = 0;
    graph.node.retain(|_| (!folded.contains(&ix), ix += 1).0);
}

/// The convolution's weight and bias with the normalisation multiplied in.
fn scaled(
    file: &OnnxFile,
    constants: &HashMap<&str, &TensorProto>,
    conv: &NodeProto,
    norm: &NodeProto,
) -> TractResult<(TensorProto, TensorProto)> {
    let Affine { scale, shift } = batch_norm(file, constants, norm)?;
    let kernel = constants
        .get(conv.input[1].as_str())
        .ok_or_else(|| format_err!("the kernel is not constant"))?;
    let mut weights = file.floats(kernel)?;
    ensure!(kernel.dims.first() == Some(&(scale.len() as i64)), "the kernel has other channels");
    let mut bias = shift;
    if let Some(name) = conv.input.get(2).filter(|name| !name.is_empty()) {
        let constant = constants.get(name.as_str());
        let old = file.floats(constant.ok_or_else(|| format_err!("the bias is not constant"))?)?;
        ensure!(old.len() == bias.len(), "the bias has other channels");
        bias.iter_mut().zip(old).zip(&scale).for_each(|((b, old), s)| *b += old * s);
    }
    let block = weights.len() / scale.len();
    weights
        .chunks_exact_mut(block)
        .zip(&scale)
        .for_each(|(row, s)| row.iter_mut().for_each(|w| *w *= s));
    let tensor = |suffix: &str, dims: Vec<i64>, float_data: Vec<f32>| TensorProto {
        name: format!("{}.folded.{suffix}", norm.output[0]),
        dims,
        data_type: DataType::Float as i32,
        float_data,
        ..TensorProto::default()
    };
    let channels = scale.len() as i64;
    Ok((tensor("weight", kernel.dims.clone(), weights), tensor("bias", vec![channels], bias)))
}
