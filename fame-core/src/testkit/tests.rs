//! A kit that lets a fault pass is worse than none: every check is shown one that is right and
//! several that are wrong.

use super::*;
use crate::{
    AttributionMap, Bias, GradientPlace, Layer, LayerCotangent, Parameter, Taps,
    contract::{
        Dataset, DeviceRows, ExplainContext, Explainer, Files, FinishedItem, ItemRef, MapStep,
        Measurement, Metric, Network, Pass, Perturbation, PlainStep, PrepareContext, PrepareStep,
        Start, Stop, Walk, Writer,
    },
};

#[test]
fn the_kits_own_network_conforms() {
    let checks = check_network(&FakeNetwork::new(SIZE, CLASSES, 1).unwrap()).unwrap();
    assert!(checks.len() > 5 && checks.iter().all(|c| c.compared > 0), "{checks:#?}");
    let exact: Vec<_> = checks.iter().filter(|c| c.tolerance != SLOPE_TOLERANCE).collect();
    // Five layers in double precision: one rounding, far below the tolerances for f32 engines.
    assert!(exact.len() > 2 && exact.iter().all(|c| c.worst < 1e-6), "{checks:#?}");
}

/// A fault that a network may have.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Gradients at the input are a tenth too long.
    Gradient,
    /// Gradients at inner layers are.
    InnerGradient,
    /// The first row leaks into the second.
    Rows,
    /// A pass restarted at a layer ignores the value.
    Restart,
    /// An unknown layer gives zeros.
    Unknown,
    /// The second pull-back of a pass adds to the first.
    Memory,
    /// Layers say another shape.
    Shape,
    /// Rows on the device step a hundredth too far.
    Device,
}

struct Faulty {
    right: FakeNetwork,
    layers: Vec<Layer>,
    fault: Fault,
}

struct FaultyPass<'n> {
    right: Box<dyn Pass + 'n>,
    fault: Fault,
    inner: bool,
    calls: std::cell::Cell<f32>,
}

impl Faulty {
    fn with(fault: Fault) -> Self {
        let right = FakeNetwork::new(SIZE, CLASSES, 1).unwrap();
        let mut layers = right.layers().to_vec();
        if fault == Fault::Shape {
            layers[3].shape[1] += 1;
        }
        Self { right, layers, fault }
    }

    fn pass<'n>(
        &self,
        right: Result<Box<dyn Pass + 'n>>,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        let inner = taps.gradients.iter().any(|p| *p != GradientPlace::Input);
        Ok(Box::new(FaultyPass {
            right: right?,
            fault: self.fault,
            inner,
            calls: std::cell::Cell::new(0.0),
        }))
    }
}

impl Network for Faulty {
    fn input_shape(&self) -> &[usize] {
        self.right.input_shape()
    }
    fn layers(&self) -> &[Layer] {
        &self.layers
    }
    fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()> {
        self.right.check_gradient(layer, to)
    }
    fn preferred_rows(&self) -> usize {
        1
    }
    fn notes(&self) -> &[String] {
        &[]
    }
    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        if self.fault == Fault::Unknown
            && taps.layers.iter().any(|l| self.right.layers().iter().all(|m| m.name != *l))
        {
            return self.right.forward(batch, &Taps::of(["logits"]));
        }
        self.pass(self.right.forward(batch, taps), taps)
    }
    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        let value =
            if self.fault == Fault::Restart { &Tensor::filled(value.shape(), 0.5) } else { value };
        self.pass(self.right.forward_from(layer, value, batch, taps), taps)
    }
    fn device_rows<'n>(
        &'n self,
        step: &PlainStep,
        layers: &[String],
    ) -> Result<Option<Box<dyn DeviceRows + 'n>>> {
        let step = PlainStep { size: step.size * 1.01, ..step.clone() };
        let rows: Box<dyn DeviceRows + 'n> = Box::new(HostRows::new(self, &step, layers));
        Ok((self.fault == Fault::Device).then_some(rows))
    }
    fn biases(&self) -> Result<Vec<Bias>> {
        self.right.biases()
    }
}

impl Pass for FaultyPass<'_> {
    fn output(&self, layer: &str) -> Result<Tensor> {
        let mut out = self.right.output(layer)?;
        if self.fault == Fault::Rows && out.rows() > 1 {
            let leak = out.row(0)[0] * 0.01;
            out.row_mut(1)[0] += leak;
        }
        Ok(out)
    }
    fn gradient(&self, seeds: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        let mut gradients = self.right.gradient(seeds)?;
        self.calls.set(self.calls.get() + 1.0);
        let scale = match self.fault {
            Fault::Gradient if !self.inner => 1.1,
            Fault::InnerGradient if self.inner => 1.1,
            Fault::Memory => self.calls.get(),
            _ => 1.0,
        };
        gradients.iter_mut().flat_map(Tensor::data_mut).for_each(|g| *g *= scale);
        Ok(gradients)
    }
}

#[test]
fn every_fault_of_a_network_is_found() {
    for (fault, said) in [
        (Fault::Gradient, "a gradient is not the network's slope: from `logits` to the input"),
        (
            Fault::InnerGradient,
            "a gradient is not the network's slope: from `logits` to `features`",
        ),
        (Fault::Rows, "rows of a batch are not what they are alone"),
        (Fault::Restart, "forward_from with a layer's own value gives something else"),
        (Fault::Unknown, "tapping an unknown layer is not an error"),
        (Fault::Memory, "pull-backs are not linear, or not repeatable"),
        (Fault::Shape, "layer `pooled` should be [4, 5, 4] per sample"),
        (Fault::Device, "rows on the device are not where the host's are: Largest in pixels"),
    ] {
        let error = check_network(&Faulty::with(fault)).expect_err(said);
        assert!(error.message.contains(said), "{error}");
    }
}

/// A walk with a fault.
#[derive(Clone)]
struct Walker {
    fault: &'static str,
    now: Tensor,
    origin: Tensor,
}

impl Perturbation for Walker {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        let mut now = from.pixels.clone();
        from.convention.normalise(&mut now)?;
        let origin = now.clone();
        if self.fault == "start" {
            now.data_mut()[0] += 0.1;
        }
        Ok(Box::new(Walker { fault: self.fault, now, origin }))
    }
    fn max_steps(&self) -> usize {
        3
    }
}

impl Walk for Walker {
    fn image(&self) -> Result<Tensor> {
        Ok(self.now.clone())
    }
    fn observe(&mut self, _: f32) -> Result<Option<Stop>> {
        Ok(None)
    }
    fn step(&mut self, gradient: &Tensor) -> Result<Option<Stop>> {
        let length = gradient.max_abs();
        if self.fault == "nan" && length.is_nan() || self.fault == "zero" && length == 0.0 {
            return Ok(None);
        }
        if length == 0.0
            || !length.is_finite()
            || (self.fault != "shape" && gradient.shape() != self.now.shape())
        {
            return Ok(Some(Stop::ZeroGradient));
        }
        let step = if self.fault == "bound" { 0.011 } else { 0.01 };
        self.now
            .data_mut()
            .iter_mut()
            .zip(gradient.data())
            .for_each(|(x, g)| *x -= step * g / length);
        if self.fault == "random" {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .subsec_nanos();
            self.now.data_mut()[0] += now as f32 * 1e-12;
        }
        Ok(None)
    }
    fn field(&self) -> Result<Tensor> {
        let mut field = self.now.clone();
        field.data_mut().iter_mut().zip(self.origin.data()).for_each(|(x, o)| *x -= o);
        Ok(field)
    }
}

#[test]
fn every_fault_of_a_walk_is_found() {
    let check = |fault| {
        let walker = Walker { fault, now: Tensor::default(), origin: Tensor::default() };
        check_perturbation(&walker, true, Some(0.01))
            .map_or_else(|e| e.message, |_| "fine".to_owned())
    };
    assert_eq!(check("none"), "fine");
    for (fault, said) in [
        ("start", "the walk does not start at the picture"),
        ("bound", "after 1 steps the field reaches 0.01"),
        ("random", "two walks with the same seed went different ways"),
        ("zero", "a gradient that is zero everywhere did not stop the walk"),
        ("nan", "a gradient that is NaN everywhere did not stop the walk"),
        ("shape", "a gradient of another shape"),
    ] {
        assert!(check(fault).contains(said), "{fault}: {}", check(fault));
    }
}

/// A plugin of any kind made of a function.
struct By<F>(F);

impl<F: Fn(AttributionMap) -> Result<AttributionMap> + Send + Sync> MapStep for By<F> {
    fn apply(&self, map: AttributionMap) -> Result<AttributionMap> {
        self.0(map)
    }
}

impl<F: Fn(Picture) -> Result<Picture> + Send + Sync> PrepareStep for By<F> {
    fn apply(&self, picture: Picture, _: &PrepareContext<'_>) -> Result<Picture> {
        self.0(picture)
    }
}

impl<F: Fn(&Path) -> Vec<&'static str> + Send + Sync> Writer for By<F> {
    fn write(&self, _: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        Ok(self.0(folder).into_iter().map(String::from).collect())
    }
}

impl<F: Fn(&Explanation) -> Vec<(&'static str, f64)> + Send + Sync> Metric for By<F> {
    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let measured = |(map, value): (&str, f64)| Measurement {
            map: map.into(),
            name: "mean".into(),
            parameter: Parameter::None,
            value,
        };
        Ok(self.0(explanation).into_iter().map(measured).collect())
    }
}

impl<F: Fn() -> Vec<&'static str> + Send + Sync> Dataset for By<F> {
    fn files(&self) -> Vec<String> {
        Vec::new()
    }
    fn index(&self, _: &dyn Files) -> Result<Vec<ItemRef>> {
        Ok(self.0()
            .into_iter()
            .map(|id| ItemRef { id: id.into(), files: Vec::new(), note: String::new() })
            .collect())
    }
    fn load(&self, item: &ItemRef, _: &dyn Files) -> Result<Sample> {
        sample(&item.id, if item.id == "bare" { &[] } else { &["image"] }, SIZE)
    }
}

fn told<T>(result: Result<T>) -> String {
    result.map_or_else(|e| e.message, |_| "fine".to_owned())
}

#[test]
fn a_map_step_that_hides_a_nan_or_loses_its_channels_is_found() {
    let mapped = |change: fn(&mut AttributionMap)| {
        let step = By(move |mut map: AttributionMap| {
            change(&mut map);
            Ok(map)
        });
        (told(check_map_step(&step)), told(check_refuses_constant(&step)))
    };
    assert_eq!(mapped(|map| map.values.data_mut().iter_mut().for_each(|v| *v *= 2.0)).0, "fine");
    let hidden = mapped(|map| map.values.data_mut().iter_mut().for_each(|v| *v = v.max(0.0)));
    assert!(hidden.0.contains("a NaN in the field was hidden"), "{hidden:?}");
    assert!(hidden.1.contains("an all-zero map was finished"), "{hidden:?}");
    assert!(mapped(|map| map.channels.clear()).0.contains("channels []"));
    let refusing = By(|_: AttributionMap| Err(Error::new("x", "never.")));
    assert!(told(check_map_step(&refusing)).contains("takes no field at all: never."));
    assert_eq!(told(check_refuses_constant(&refusing)), "fine");
}

#[test]
fn a_prepare_step_whose_geometry_lies_is_found() {
    // Turned over left to right: x' = W − x.
    let mirror = |told_so: bool| {
        By(move |mut picture: Picture| {
            let width = picture.width();
            picture.pixels.data_mut().chunks_exact_mut(width).for_each(<[f32]>::reverse);
            if told_so {
                picture.geometry = picture.geometry.then(&crate::Affine::scale_shift(
                    -1.0,
                    1.0,
                    width as f64,
                    0.0,
                ));
            }
            Ok(picture)
        })
    };
    assert_eq!(told(check_prepare(&mirror(true))), "fine");
    assert!(
        told(check_prepare(&mirror(false)))
            .contains("the geometry does not follow the pixels: the dot at")
    );
    let bright = By(|mut picture: Picture| {
        picture.pixels.data_mut()[0] = 1.5;
        Ok(picture)
    });
    assert!(told(check_prepare(&bright)).contains("holds 1.5, outside of 0..=1"));
}

#[test]
fn a_writer_that_forgets_or_invents_a_file_is_found() {
    let (sample, explanation) =
        (sample("a", &["image"], SIZE).unwrap(), explanation(SIZE).unwrap());
    let writes = |files: &'static [&'static str], named: &'static [&'static str]| {
        let writer = By(move |folder: &Path| {
            files.iter().for_each(|f| std::fs::write(folder.join(f), "x").unwrap());
            named.to_vec()
        });
        told(check_writer(&writer, &sample, &explanation))
    };
    assert_eq!(writes(&["a.txt"], &["a.txt"]), "fine");
    assert!(writes(&["a.txt", "b.txt"], &["a.txt"]).contains(r#"["a.txt", "b.txt"] are there"#));
    assert!(writes(&[], &["a.txt"]).contains("[] are there"));
}

#[test]
fn a_metric_that_measures_nothing_real_is_found() {
    let (model, sample, explanation) =
        (model().unwrap(), sample("a", &["image"], SIZE).unwrap(), explanation(SIZE).unwrap());
    let measures = |map: &'static str, value: f64| {
        told(check_metric(
            &By(move |_: &Explanation| vec![(map, value)]),
            &model,
            &sample,
            &explanation,
        ))
    };
    assert_eq!(measures("image", 0.5), "fine");
    assert!(measures("elsewhere", 0.5).contains("a map `elsewhere` that does not exist"));
    assert!(measures("image", f64::NAN).contains("`mean` of map `image` is NaN"));
}

#[test]
fn a_dataset_with_doubtful_ids_is_found() {
    let ids =
        |ids: &'static [&'static str]| check_dataset(&By(move || ids.to_vec()), Path::new("."));
    assert_eq!(ids(&["a", "b"]).unwrap(), 2);
    assert!(told(ids(&["a", "a"])).contains("two items are called `a`"));
    assert!(told(ids(&["../a"])).contains("not safe as a folder name"));
    assert!(told(ids(&["bare"])).contains("has no picture"));
}

/// An explainer whose maps depend on how many samples there are, or say nothing.
struct Odd(bool);

impl Explainer for Odd {
    fn check(&self, _: &Model) -> Result<()> {
        Ok(())
    }
    fn explain(&self, _: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        let one = |_: &Sample| {
            let mut e = explanation(SIZE)?;
            let shown = e.maps[0].finished.data_mut();
            if self.0 {
                shown.fill(0.0);
            } else {
                shown[0] = samples.len() as f32;
            }
            Ok(e)
        };
        samples.iter().map(one).collect()
    }
}

#[test]
fn an_explainer_that_mixes_samples_or_shows_nothing_is_found() {
    let samples = [sample("a", &["image"], SIZE).unwrap(), sample("b", &["image"], SIZE).unwrap()];
    let check =
        |explainer: &dyn Explainer| told(check_explainer(explainer, &model().unwrap(), &samples));
    let walk = build::<dyn Explainer>("FakeWalk()").unwrap();
    assert_eq!(check(walk.plugin.as_ref()), "fine");
    assert!(check(&Odd(false)).contains("maps depend on which samples are explained together"));
    assert!(check(&Odd(true)).contains("it is not finite, or the same everywhere"));
}

#[test]
fn the_kits_own_plugins_keep_their_promises() {
    check_plugin::<dyn crate::contract::Backend, Fake>().unwrap();
    check_plugin::<dyn Dataset, FakePictures>().unwrap();
    check_plugin::<dyn Explainer, FakeWalk>().unwrap();
    check_plugin::<dyn crate::contract::Loss, FakeLoss>().unwrap();
    check_plugin::<dyn Perturbation, FakeSteps>().unwrap();
    let steps = build::<dyn Perturbation>("FakeSteps(step: 0.02)").unwrap();
    check_perturbation(steps.plugin.as_ref(), true, Some(0.02)).unwrap();
    let pictures = build::<dyn Dataset>("FakePictures(items: 3, pairs: true)").unwrap();
    assert_eq!(check_dataset(pictures.plugin.as_ref(), Path::new(".")).unwrap(), 3);
    let refused = build::<dyn Dataset>("FakePictures(items: 0)").err().unwrap();
    assert_eq!(
        refused.message,
        "`FakePictures(items: 0)` cannot be used: `items` must be at least 1."
    );
}

#[test]
fn a_recipe_runs_whole_and_its_errors_are_told() {
    let trial = Trial::run("data: FakePictures(items: 3)").unwrap();
    assert_eq!((trial.summary.done, trial.item("fake_3").exists()), (3, true));
    let record = trial.record().unwrap();
    assert_eq!(record.get("status").and_then(crate::data::Value::as_str), Some("complete"));
    let wrong = Trial::run("data: FakePicture()").err().unwrap();
    assert!(wrong.message.contains("no dataset is named `FakePicture`"), "{wrong}");
    // Pictures of another size than the model's: the item's own error comes out.
    let sized = Trial::run(r#"model: "big.ron""#).err().unwrap();
    assert!(sized.message.contains("big.ron"), "{sized}");
}
