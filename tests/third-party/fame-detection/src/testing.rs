//! A detector whose evidence is known, for tests: no file, no weights.

use fame_core::{
    Error, Explanation, GradientPlace, Layer, LayerCotangent, LoadRequest, Model, Picture, Result, Sample, Taps, Tensor,
    contract::{Backend, Bias, ExplainContext, Explainer, Measurement, Metric, Network, Pass, Silent},
    data::{ChannelOrder, InputConvention},
    registry::{BuildContext, Registry},
    store::ModelManifest,
    text::Spec,
};

/// Sees bright blobs: a grid of 4 × 4 cells of 8 × 8 pixels over a picture of 32 × 32; the heat of
/// a cell is its mean brightness to the fourth, its box reaches 4 pixels each way.
struct Blobs(Vec<Layer>);

struct HeadOutputs {
    heat: Tensor,
    wh: Tensor,
}

impl Network for Blobs {
    fn input_shape(&self) -> &[usize] {
        &[3, 32, 32]
    }
    fn layers(&self) -> &[Layer] {
        &self.0
    }
    fn check_gradient(&self, _: &str, _: &GradientPlace) -> Result<()> {
        Err(Error::bug("no gradient here."))
    }
    fn preferred_rows(&self) -> usize {
        3
    }
    fn notes(&self) -> &[String] {
        &[]
    }
    fn forward<'n>(&'n self, batch: &Tensor, _: &Taps) -> Result<Box<dyn Pass + 'n>> {
        let mut heat = Tensor::zeros([batch.rows(), 1, 4, 4]);
        for n in 0..batch.rows() {
            let row = batch.row(n);
            for (i, heat) in heat.row_mut(n).iter_mut().enumerate() {
                let pixels = (0..192).map(|p| row[p / 64 * 1024 + (i / 4 * 8 + p / 8 % 8) * 32 + i % 4 * 8 + p % 8]);
                *heat = (pixels.sum::<f32>() / 192.0).powi(4);
            }
        }
        let wh = Tensor::filled([batch.rows(), 4, 4, 4], 4.0);
        Ok(Box::new(HeadOutputs { heat, wh }))
    }
    fn forward_from<'n>(&'n self, _: &str, _: &Tensor, _: &Tensor, _: &Taps) -> Result<Box<dyn Pass + 'n>> {
        Err(Error::bug("not here."))
    }
    fn biases(&self) -> Result<Vec<Bias>> {
        Ok(Vec::new())
    }
}

impl Pass for HeadOutputs {
    fn output(&self, layer: &str) -> Result<Tensor> {
        Ok(if layer == "heatmap" { self.heat.clone() } else { self.wh.clone() })
    }
    fn gradient(&self, _: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        Err(Error::bug("no gradient here."))
    }
}

struct Loads;

impl Backend for Loads {
    fn check(&self) -> Result<()> {
        Ok(())
    }
    fn load(&self, _: &LoadRequest) -> Result<Box<dyn Network>> {
        let layer = |name: &str, shape: &[usize]| Layer {
            name: name.into(),
            op: "Test".into(),
            shape: shape.to_vec(),
            is_output: true,
            depends_on_input: true,
            reads: Vec::new(),
        };
        Ok(Box::new(Blobs(vec![layer("heatmap", &[1, 4, 4]), layer("wh", &[4, 4, 4])])))
    }
}

/// The detector, loaded.
pub(crate) fn blob_model() -> Model {
    let convention =
        InputConvention { channels: 3, height: 32, width: 32, order: ChannelOrder::Rgb, mean: vec![0.0; 3], std: vec![1.0; 3] };
    let manifest = ModelManifest::for_file(std::path::Path::new("blobs.onnx"), convention).unwrap();
    Model::load(manifest, "blobs.onnx".into(), String::new(), vec!["blob".into()], &Loads).unwrap()
}

/// A picture with two bright cells: (row 1, column 2), and less bright (row 3, column 0).
pub(crate) fn blob_sample() -> Sample {
    let bright = |y: usize, x: usize| match (y / 8, x / 8) {
        (1, 2) => 1.0,
        (3, 0) => 0.9,
        _ => 0.1,
    };
    let pixels = (0..3 * 1024).map(|i| bright(i % 1024 / 32, i % 32)).collect();
    let picture = Picture::new(Tensor::new([3, 32, 32], pixels).unwrap(), "blobs").unwrap();
    Sample { id: "blobs".into(), pictures: vec![("image".into(), picture)], ..Sample::default() }
}

fn build<T: ?Sized + fame_core::registry::Contract>(spec: &str) -> Box<T> {
    let registry = Registry::builtin().unwrap();
    let with = BuildContext::new(&registry, std::path::Path::new("."));
    registry.build::<T>(&Spec::from_text(spec).unwrap(), &with).unwrap_or_else(|p| panic!("{spec}: {p:?}")).plugin
}

/// Builds an explainer from a spec and explains one sample.
pub(crate) fn explain(spec: &str, model: &Model, sample: &Sample) -> Result<Explanation> {
    let explainer = build::<dyn Explainer>(spec);
    explainer.check(model)?;
    explainer.explain(&ExplainContext { model, seed: 0, progress: &Silent }, std::slice::from_ref(sample)).remove(0)
}

/// Builds a metric from a spec and measures one explanation.
pub(crate) fn measure(spec: &str, model: &Model, sample: &Sample, explanation: &Explanation) -> Result<Vec<Measurement>> {
    build::<dyn Metric>(spec).measure(&ExplainContext { model, seed: 0, progress: &Silent }, sample, explanation)
}

/// An explanation of one map of 32 × 32 pixels, as made by a method that knows nothing of
/// detections.
pub(crate) fn map_of(value: impl Fn(usize, usize) -> f32) -> Explanation {
    let finished = Tensor::new([32, 32], (0..1024).map(|i| value(i / 32, i % 32)).collect()).unwrap();
    let map = fame_core::NamedMap::new(fame_core::MapId::new("image").alone(true), finished.clone(), finished);
    Explanation { maps: vec![map], ..Explanation::default() }
}
