//! `RandomWeights`: a network that has forgotten what it learnt.

use std::{collections::BTreeSet, path::PathBuf};

use fame_core::{
    Error, LoadRequest, Random, Result,
    contract::{Backend, Network},
    registry::{Assembly, BuildContext, Built, Plugin},
    text::Spec,
};
use prost::Message as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::{ModelProto, NodeProto, TensorProto, tensor_proto::DataType};

use super::{onnx::file::OnnxFile, tract::Tract};

/// Which layers forget, counted from the output: 1 is the last. A layer is a convolution or a
/// matrix with constant weights, together with the biases, slopes and normalisations that follow
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Layers {
    /// Every one.
    #[default]
    All,
    /// The last n.
    Last(usize),
    /// The n-th from the output alone.
    Only(usize),
}

/// Loads the model with weights drawn anew, and runs it with another backend: for Adebayo et al.'s
/// sanity checks. Every weight tensor of the layers chosen is replaced by normal numbers of its own
/// mean and standard deviation, biases and slopes as well, so that activations keep their scale;
/// means and variances of a normalisation stay. A tensor is drawn from the seed and its place in
/// the file, so that the last three layers of `Last(5)` are those of `Last(3)`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomWeights {
    /// What runs it. Default: `Tract()`.
    #[serde(default = "tract")]
    pub of: Spec,
    /// `All`, `Last(n)` or `Only(n)`.
    #[serde(default)]
    pub layers: Layers,
    /// Seed of the weights.
    #[serde(default)]
    pub seed: u64,
}

fn tract() -> Spec {
    Spec::named(Tract::NAME)
}

impl Plugin<dyn Backend> for RandomWeights {
    const NAME: &'static str = "RandomWeights";
    const SUMMARY: &'static str =
        "Another backend, on the model with some or all weights drawn anew";
    const EXAMPLE: &'static str = "RandomWeights(of: Tract(), layers: Last(3), seed: 1)";
    const REFERENCE: &'static str =
        "Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv 1810.03292";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let counted = !matches!(self.layers, Layers::Last(0) | Layers::Only(0));
        assembly.check("layers", counted, "counts from 1, the last layer");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Backend>> {
        let of = assembly.build::<dyn Backend>("of", &self.of, with)?;
        Some(Box::new(RedrawingBackend { of, layers: self.layers, seed: self.seed }))
    }
}

fame_core::register!(Backend: RandomWeights);

/// A backend that loads every model with weights drawn anew.
struct RedrawingBackend {
    of: Built<dyn Backend>,
    layers: Layers,
    seed: u64,
}

impl Backend for RedrawingBackend {
    fn check(&self) -> Result<()> {
        self.of.plugin.check()
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        load(self.of.plugin.as_ref(), request, self.layers, self.seed)
    }

    fn files(&self, request: &LoadRequest) -> Result<Vec<PathBuf>> {
        self.of.plugin.files(request)
    }
}

/// Loads `request` with `backend` after its `layers` were drawn anew.
///
/// # Errors
/// What the backend says, or a layer that the file does not have.
pub(crate) fn load(
    backend: &dyn Backend,
    request: &LoadRequest,
    layers: Layers,
    seed: u64,
) -> Result<Box<dyn Network>> {
    let file = OnnxFile::read(&request.file)?;
    let redrawn = redraw(&file, layers, seed)?;
    // Backends read files: both engines then load it as they load any other.
    let folder = tempfile::tempdir().map_err(|e| Error::io("create", &std::env::temp_dir(), &e))?;
    let path = folder.path().join(request.file.file_name().unwrap_or_default());
    std::fs::write(&path, redrawn.encode_to_vec()).map_err(|e| Error::io("write", &path, &e))?;
    let copy = LoadRequest { file: path, ..request.clone() };
    backend.load(&copy).map_err(|mut error| {
        // Whoever reads it knows the model's file, not our copy of it.
        let (ours, theirs) = (copy.file.display().to_string(), request.file.display().to_string());
        error.message = error.message.replace(&ours, &theirs);
        error
    })
}

/// How many layers `file` has in the sense of [`Layers`].
///
/// # Errors
/// A file that is no model.
pub(crate) fn count(file: &std::path::Path) -> Result<usize> {
    Ok(layers_of(&OnnxFile::read(file)?).len())
}

/// The weight tensors of each layer by name, from the input to the output.
fn layers_of(file: &OnnxFile) -> Vec<Vec<String>> {
    let constants = file.constants();
    let is_weight = |name: &&String| {
        constants.get(name.as_str()).is_some_and(|t| {
            t.data_type == DataType::Float as i32 && t.dims.iter().product::<i64>() > 1
        })
    };
    let weights = |node: &NodeProto| -> Vec<String> {
        let learnt: &[usize] = match node.op_type.as_str() {
            // Mean and variance are no weights, and a variance below zero would be none.
            "BatchNormalization"
            | "Conv"
            | "ConvTranspose"
            | "Gemm"
            | "LayerNormalization"
            | "InstanceNormalization" => &[1, 2],
            "MatMul" | "Add" | "PRelu" => &[0, 1],
            _ => &[],
        };
        learnt.iter().filter_map(|i| node.input.get(*i)).filter(is_weight).cloned().collect()
    };
    let mut layers: Vec<Vec<String>> = Vec::new();
    for node in &file.graph().node {
        let of = weights(node);
        let begins = !of.is_empty()
            && matches!(node.op_type.as_str(), "Conv" | "ConvTranspose" | "Gemm" | "MatMul");
        if begins {
            layers.push(of);
        } else if let Some(layer) = layers.last_mut() {
            layer.extend(of);
        }
    }
    layers
}

fn redraw(file: &OnnxFile, layers: Layers, seed: u64) -> Result<ModelProto> {
    let of = layers_of(file);
    let last = |n: usize| {
        of.len().checked_sub(n).ok_or_else(|| {
            let message = format!(
                "`{}` has {} layers with weights, and the {n}-th from the output is asked for.",
                file.path,
                of.len()
            );
            Error::new("fame::backend::no_such_layer", message)
        })
    };
    let chosen = match layers {
        Layers::All => &of[..],
        Layers::Last(n) => &of[last(n)?..],
        Layers::Only(n) => &of[last(n)?..=last(n)?],
    };
    let names: BTreeSet<&str> = chosen.iter().flatten().map(String::as_str).collect();
    if names.is_empty() {
        return Err(Error::new(
            "fame::backend::no_weights",
            format!("`{}` has no layer with weights.", file.path),
        ));
    }
    let mut proto = file.proto.clone();
    let Some(graph) = &mut proto.graph else { return Ok(proto) };
    let constants = graph.node.iter_mut().filter(|n| n.op_type == "Constant").filter_map(|n| {
        let name = n.output.first()?.clone();
        Some((name, n.attribute.iter_mut().find(|a| a.name == "value")?.t.as_mut()?))
    });
    for (n, (name, tensor)) in
        graph.initializer.iter_mut().map(|t| (t.name.clone(), t)).chain(constants).enumerate()
    {
        let is_chosen = names.contains(name.as_str());
        // The copy stands in another folder: weights beside the file must come along.
        if is_chosen || !tensor.external_data.is_empty() {
            let failed = |e: &dyn std::fmt::Display| {
                file.refuse(format!("the weight `{name}` cannot be read: {e}"))
            };
            if !is_chosen && tensor.data_type != DataType::Float as i32 {
                return Err(failed(&"it is stored in another file and is not f32"));
            }
            let values = file.floats(tensor).map_err(|e| failed(&e))?;
            let values =
                if is_chosen { drawn(&values, &mut Random::stream(seed, n)) } else { values };
            store(tensor, &values);
        }
    }
    Ok(proto)
}

/// As many normal numbers with the mean and the standard deviation of `values`.
fn drawn(values: &[f32], random: &mut Random) -> Vec<f32> {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let deviation = (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let mut new = vec![0.0; values.len()];
    random.fill_normal(&mut new);
    new.iter_mut().for_each(|v| *v = (mean + deviation * f64::from(*v)) as f32);
    new
}

fn store(tensor: &mut TensorProto, values: &[f32]) {
    *tensor = TensorProto {
        name: std::mem::take(&mut tensor.name),
        dims: std::mem::take(&mut tensor.dims),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..TensorProto::default()
    };
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn file() -> OnnxFile {
        OnnxFile::read(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nets/iresnet50_slim.onnx"),
        )
        .unwrap()
    }

    fn weights(proto: &ModelProto, file: &OnnxFile) -> Vec<(String, Vec<f32>)> {
        let floats = |t: &TensorProto| (t.name.clone(), file.floats(t).unwrap());
        proto
            .graph
            .as_ref()
            .unwrap()
            .initializer
            .iter()
            .filter(|t| t.data_type == DataType::Float as i32)
            .map(floats)
            .collect()
    }

    fn changed(a: &ModelProto, b: &ModelProto, file: &OnnxFile) -> BTreeSet<String> {
        weights(a, file)
            .into_iter()
            .zip(weights(b, file))
            .filter(|(x, y)| x.1 != y.1)
            .map(|(x, _)| x.0)
            .collect()
    }

    #[test]
    fn the_last_layers_forget_and_deeper_ones_are_nested() {
        let file = file();
        let layers = layers_of(&file);
        assert!(layers.len() > 50, "{}", layers.len());
        let (three, five, only) = (
            redraw(&file, Layers::Last(3), 7).unwrap(),
            redraw(&file, Layers::Last(5), 7).unwrap(),
            redraw(&file, Layers::Only(2), 7).unwrap(),
        );
        // A tensor of equal values (the ones and zeros of a normalisation without parameters) has
        // no deviation to be drawn with.
        let varies: BTreeSet<String> = weights(&file.proto, &file)
            .into_iter()
            .filter(|(_, v)| v.iter().any(|x| *x != v[0]))
            .map(|(name, _)| name)
            .collect();
        let of = |layers: &[Vec<String>]| {
            layers
                .iter()
                .flatten()
                .filter(|name| varies.contains(*name))
                .cloned()
                .collect::<BTreeSet<_>>()
        };
        let n = layers.len();
        assert_eq!(changed(&three, &file.proto, &file), of(&layers[n - 3..]));
        assert_eq!(changed(&only, &file.proto, &file), of(&layers[n - 2..n - 1]));
        assert_eq!(
            changed(&five, &three, &file),
            of(&layers[n - 5..n - 3]),
            "what three changed, five changed in the same way"
        );
        assert!(
            changed(&three, &redraw(&file, Layers::Last(3), 8).unwrap(), &file)
                == of(&layers[n - 3..])
        );
        assert_eq!(
            redraw(&file, Layers::Last(n + 1), 7).unwrap_err().code,
            "fame::backend::no_such_layer"
        );
    }

    #[test]
    fn an_error_names_the_file_of_the_model_and_not_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("strange.onnx");
        let mut proto = file().proto;
        proto.graph.as_mut().unwrap().node[0].op_type = "Frobnicate".into();
        std::fs::write(&model, proto.encode_to_vec()).unwrap();
        let request = LoadRequest::new(model.clone());
        let backend = crate::backends::tract::Tract::default();
        let error = load(&backend, &request, Layers::Last(1), 7).err().unwrap();
        assert_eq!(error.code, "fame::backend::unknown_operator");
        assert!(error.message.contains(&model.display().to_string()), "{error}");
    }

    #[test]
    fn mean_and_deviation_stay() {
        let old: Vec<f32> = (0..4096).map(|i| 3.0 + (i % 7) as f32).collect();
        let new = drawn(&old, &mut Random::new(1));
        let moments = |v: &[f32]| {
            let mean = v.iter().sum::<f32>() / v.len() as f32;
            (mean, (v.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / v.len() as f32).sqrt())
        };
        let ((m, s), (n, t)) = (moments(&old), moments(&new));
        // Standard errors of 4096 draws with σ = 2: 0.03 of the mean, 0.02 of the deviation.
        assert!((m - n).abs() < 0.12 && (s - t).abs() < 0.09, "{m} {n} {s} {t}");
    }
}
