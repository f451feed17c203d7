//! A loaded model: its layers, its sessions, and the lanes that run them.

use std::collections::HashMap;

use fame_core::contract::{Network, Pass};
use fame_core::text::suggestion;
use fame_core::{
    Bias, Error, GradientPlace, Layer, LayerCotangent, LoadRequest, Result, Taps, Tensor,
};
use ort::environment::Environment;
use ort::value::TensorElementType;
use rayon::prelude::*;
use tract_onnx::pb::tensor_proto::DataType;

use super::session::{Compiled, Fed, Got, Options, reason};
use super::source::{Replaced, Source};
use crate::backends::onnx::cache::CompiledTaps;
use crate::backends::onnx::loaded_model::{check_batch, check_replaced};
use crate::backends::onnx::skeleton::row_shape;

/// Sessions keep weights each for themselves: all lanes together may hold this much.
const MOST_WEIGHT_BYTES: usize = 1 << 30;

/// A network run by onnxruntime.
pub(super) struct OrtNetwork {
    source: Source,
    environment: Environment,
    options: Options,
    pool: rayon::ThreadPool,
    /// The input's full shape, N = 1, and its number type.
    input: (Vec<usize>, TensorElementType),
    layers: Vec<Layer>,
    /// The full shape, N = 1, and the number type of each layer.
    values: HashMap<String, (Vec<usize>, TensorElementType)>,
    notes: Vec<String>,
    sessions: CompiledTaps<Compiled>,
}

impl OrtNetwork {
    /// Loads the network of `request` and learns its layers by running it once, on zeros, with
    /// every tensor given out. `threads` run at once, and operators are fused where `optimize` says
    /// so.
    pub(super) fn load(
        environment: Environment,
        request: &LoadRequest,
        threads: usize,
        optimize: bool,
    ) -> Result<Self> {
        let source = Source::read(request)?;
        let input_shape = input_shape(&source, request.input_shape.clone())?;
        let lanes = (MOST_WEIGHT_BYTES / source.size.max(1)).clamp(1, threads);
        let options =
            Options { lanes, threads: threads / lanes, optimize, folder: source.folder.clone() };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(lanes)
            .thread_name(|ix| format!("ort-{ix}"))
            .build();
        let pool = pool.map_err(|e| {
            Error::new("fame::backend::threads", format!("cannot start {lanes} threads: {e}."))
        })?;
        let mut full = vec![1];
        full.extend(input_shape);
        let mut network = Self {
            source,
            environment,
            options,
            pool,
            input: (full, TensorElementType::Float32),
            layers: vec![],
            values: HashMap::new(),
            notes: vec![],
            sessions: CompiledTaps::default(),
        };
        network.learn()?;
        Ok(network)
    }

    fn learn(&mut self) -> Result<()> {
        let names: Vec<String> = self.source.tensors.iter().map(|(name, _)| name.clone()).collect();
        let once = Options { lanes: 1, optimize: false, ..self.options.clone() };
        let compiled = self.compile(&names, None, &once)?;
        let unknown = || self.source.refuse("its input is no tensor");
        self.input.1 = compiled.input_element(&self.source.input).ok_or_else(unknown)?;
        let zeros = vec![0.0; self.input.0.iter().product()];
        let got = compiled.run(0, &[self.fed(&zeros)], &names);
        let got = got.map_err(|e| self.source.refuse(onnxruntime_says(&e)))?;
        let (shape, element) = self.input.clone();
        self.add(self.source.input.clone(), "Input".to_owned(), shape, element);
        for ((name, op), got) in self.source.tensors.clone().into_iter().zip(got) {
            if let Some(Got { element, shape, .. }) = got {
                self.add(name, op, shape, element);
            }
        }
        self.notes.append(&mut self.source.notes);
        self.notes.push(format!("forward passes by onnxruntime ({})", version()));
        Ok(())
    }

    fn add(&mut self, name: String, op: String, shape: Vec<usize>, element: TensorElementType) {
        self.layers.push(Layer {
            op,
            shape: row_shape(&shape).to_vec(),
            is_output: self.source.outputs.contains(&name),
            depends_on_input: self.source.depends.contains(&name),
            reads: self.source.reads.get(&name).cloned().unwrap_or_default(),
            name: name.clone(),
        });
        self.values.insert(name, (shape, element));
    }

    fn compile(
        &self,
        outputs: &[String],
        replaced: Option<&Replaced>,
        options: &Options,
    ) -> Result<Compiled> {
        let model = self.source.model(outputs, replaced)?;
        Compiled::new(&self.environment, &model, options).map_err(|e| {
            self.source.refuse(onnxruntime_says(&e)).with_help(
                "onnxruntime does not know every operator for every number type; `Tract()` may run it.",
            )
        })
    }

    /// One row of the input.
    fn fed<'a>(&'a self, values: &'a [f32]) -> Fed<'a> {
        Fed { name: &self.source.input, element: self.input.1, shape: &self.input.0, values }
    }

    fn value_of(&self, layer: &str) -> Result<&(Vec<usize>, TensorElementType)> {
        self.values.get(layer).ok_or_else(|| {
            let text = format!("the network has no layer `{layer}`.");
            let mut error = Error::new("fame::backend::unknown_layer", text);
            let names: Vec<&str> = self.layers.iter().map(|l| l.name.as_str()).collect();
            error.help = suggestion(layer, &names, "layer");
            error
        })
    }

    fn pass<'n>(
        &'n self,
        batch: &Tensor,
        replaced: Option<(&str, &Tensor)>,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        if !taps.gradients.is_empty() {
            return Err(forward_only());
        }
        taps.layers.iter().try_for_each(|layer| self.value_of(layer).map(|_| ()))?;
        let given = replaced.map(|(layer, value)| Ok((layer, value, self.value_of(layer)?)));
        let given = given.transpose()?;
        let part = given.map(|(layer, _, (shape, element))| Replaced {
            layer,
            shape,
            element: onnx_type(*element),
        });
        // What is given or fed is not asked for again.
        let is_known = |name: &str| {
            name == self.source.input || given.is_some_and(|(layer, ..)| layer == name)
        };
        let mut names: Vec<String> = vec![];
        for name in taps.layers.iter().filter(|name| !is_known(name)) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let asked = Taps::of(names.clone());
        let compiled = self.sessions.get(&asked, part.as_ref().map(|p| p.layer), || {
            self.compile(&names, part.as_ref(), &self.options)
        })?;
        let row = |index: usize| -> Result<Vec<(String, Vec<f32>)>> {
            let mut fed = vec![self.fed(batch.row(index))];
            let mut known = vec![(self.source.input.clone(), batch.row(index).to_vec())];
            if let Some((layer, value, (shape, element))) = given {
                let values = value.row(index);
                fed.push(Fed { name: layer, element: *element, shape, values });
                known.push((layer.to_owned(), values.to_vec()));
            }
            let lane = rayon::current_thread_index().unwrap_or_default();
            let got = compiled.run(lane, &fed, &names).map_err(|e| failed(&e))?;
            for (name, got) in names.iter().zip(got) {
                known.push((name.clone(), self.same_shape(name, got)?));
            }
            Ok(known)
        };
        let rows: Result<Vec<_>> = self
            .pool
            .install(|| (0..batch.rows()).into_par_iter().with_max_len(1).map(row).collect());
        Ok(Box::new(OrtPass { network: self, rows: rows?, taps: taps.clone() }))
    }

    /// The values of a layer, whose shape must be what it was when the layers were learnt.
    fn same_shape(&self, name: &str, got: Option<Got>) -> Result<Vec<f32>> {
        let (shape, _) = self.value_of(name)?;
        match got {
            Some(got) if got.shape == *shape => Ok(got.values),
            _ => {
                let text = format!(
                    "layer `{name}` has another shape for this input than {shape:?}, which it has for zeros."
                );
                Err(Error::new("fame::backend::shape", text))
            }
        }
    }
}

impl Network for OrtNetwork {
    fn input_shape(&self) -> &[usize] {
        &self.layers[0].shape
    }

    fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn check_gradient(&self, _: &str, _: &GradientPlace) -> Result<()> {
        Err(forward_only())
    }

    fn preferred_rows(&self) -> usize {
        self.options.lanes
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        check_batch("the batch", batch, self.input_shape())?;
        self.pass(batch, None, taps)
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        let (shape, _) = self.value_of(layer)?;
        check_batch("the batch", batch, self.input_shape())?;
        check_replaced(layer, value, batch, row_shape(shape))?;
        if layer == self.source.input {
            return self.pass(value, None, taps);
        }
        self.pass(batch, Some((layer, value)), taps)
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        Err(forward_only())
    }
}

/// A forward pass: the tapped values of each row.
struct OrtPass<'n> {
    network: &'n OrtNetwork,
    rows: Vec<Vec<(String, Vec<f32>)>>,
    taps: Taps,
}

impl Pass for OrtPass<'_> {
    fn output(&self, layer: &str) -> Result<Tensor> {
        if !self.taps.layers.iter().any(|tapped| tapped == layer) {
            let text = format!("layer `{layer}` was not tapped in this pass.");
            return Err(Error::new("fame::backend::not_tapped", text));
        }
        let (full, _) = self.network.value_of(layer)?;
        let mut shape = vec![self.rows.len()];
        shape.extend(row_shape(full));
        let of_row = |row: &Vec<(String, Vec<f32>)>| {
            let found = row.iter().find(|(name, _)| name == layer);
            found.map(|(_, values)| values.clone()).unwrap_or_default()
        };
        Tensor::new(shape, self.rows.iter().flat_map(of_row).collect())
    }

    fn gradient(&self, _: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        Err(forward_only())
    }
}

/// The shape of one row: what is asked for, where the file allows it, else what the file declares.
fn input_shape(source: &Source, asked: Option<Vec<usize>>) -> Result<Vec<usize>> {
    let Some(declared) = &source.declared else {
        return asked.ok_or_else(|| source.refuse("it leaves the shape of its input open"));
    };
    let Some((_, row)) = declared.split_first() else {
        return Err(source.refuse("its input is a single number"));
    };
    let fits = |asked: &Vec<usize>| {
        asked.len() == row.len() && asked.iter().zip(row).all(|(a, r)| r.is_none_or(|r| r == *a))
    };
    if let Some(asked) = asked.as_ref().filter(|a| !fits(a)) {
        let open = |extent: &Option<usize>| extent.map_or("?".to_owned(), |e| e.to_string());
        let declared: Vec<String> = declared.iter().map(open).collect();
        let text = format!(
            "its input is declared as [{}], and onnxruntime takes nothing else; rows of shape {asked:?} would be fed",
            declared.join(", "),
        );
        return Err(source.refuse(text).with_help(
            "Export the model with open height and width, or correct `input.size` in its manifest.",
        ));
    }
    asked.or_else(|| row.iter().copied().collect()).ok_or_else(|| {
        source
            .refuse("it leaves the shape of its input open")
            .with_help("Give its size in the manifest: `input: (size: (3, 224, 224))`.")
    })
}

fn forward_only() -> Error {
    Error::new("fame::backend::forward_only", "Ort computes forwards only: onnxruntime has no gradients.")
        .with_help("Methods that need a gradient run on `Tract()` or `Tch()`; `Ort()` serves Rise, CorrRise, Occlusion, metrics, and `check: ForwardCheck(backend: Ort())`.")
}

fn onnxruntime_says(error: &ort::Error) -> String {
    format!("onnxruntime says: {}", reason(error))
}

fn failed(error: &ort::Error) -> Error {
    let text = format!("the forward pass failed in onnxruntime: {}.", reason(error));
    Error::new("fame::backend::failed", text)
}

/// onnxruntime's version, from what it says about its build.
fn version() -> String {
    let info = ort::info();
    let branch = info.split("git-branch=").nth(1).and_then(|rest| rest.split(',').next());
    branch.unwrap_or(info).trim_start_matches("rel-").to_owned()
}

/// ONNX's number for a type of floats.
fn onnx_type(element: TensorElementType) -> i32 {
    let kind = match element {
        TensorElementType::Float64 => DataType::Double,
        TensorElementType::Float16 => DataType::Float16,
        TensorElementType::Bfloat16 => DataType::Bfloat16,
        _ => DataType::Float,
    };
    kind as i32
}
