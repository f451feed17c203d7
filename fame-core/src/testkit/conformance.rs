//! Conformance of a network: every sentence of its contract that can be measured.

use super::{Check, device::check_device_rows, fail, relative};
use crate::{
    GradientPlace, Layer, LayerCotangent, Random, Result, Taps, Tensor, contract::Network,
};

/// A batch against a loop, and a pass restarted at a layer against the whole: the same sums,
/// perhaps in another order.
pub const BATCH_TOLERANCE: f32 = 1e-5;
/// Pull-backs are linear up to rounding.
pub const LINEARITY_TOLERANCE: f32 = 1e-4;
/// Slopes by differences of f32 values: rounding over a small step, and the kinks of ReLU networks
/// that the step crosses. A wrong rule is off by the size of the slope itself.
pub const SLOPE_TOLERANCE: f32 = 2e-2;

/// The name of no layer.
const NO_LAYER: &str = "no such layer, surely";
/// Rows of the batches.
const ROWS: usize = 3;
/// Steps of the differences, relative to the inputs' size. The best counts: kinks on the way spoil
/// a large step, rounding spoils a small one, and a wrong gradient is wrong at each.
const STEPS: [f64; 4] = [4e-3, 5e-4, 6e-5, 1e-5];
/// At most this many inner layers are looked at, evenly spread.
const MOST_LAYERS: usize = 6;

/// Measures whether `network` keeps the promises of [`Network`] and
/// [`Pass`](crate::contract::Pass): what it says about its layers is so; a batch is a loop;
/// gradients at the input and at inner layers are slopes; pull-backs are linear and repeatable; a
/// pass restarted at a layer with the layer's own value changes nothing; biases belong to layers;
/// unknown layers, untapped layers and wrong shapes are errors; rows that are walked on its device,
/// if it does that, go where [`HostRows`](super::HostRows) go. One [`Check`] for each comparison.
///
/// # Errors
/// One sentence about the first promise that is broken.
pub fn check_network(network: &dyn Network) -> Result<Vec<Check>> {
    let suite = Suite::new(network, &|layer, to| network.check_gradient(layer, to).is_ok())?;
    suite.refusals()?;
    suite.gradient_refusals()?;
    suite.biases()?;
    let mut checks = vec![suite.batch_is_loop(true)?];
    for layer in &suite.seeded {
        checks.push(suite.linear(layer)?);
        checks.push(suite.slope_at_input(layer)?);
    }
    for layer in &suite.inner {
        checks.push(suite.restart(layer)?);
        checks.extend(suite.slope_at_layer(layer)?);
    }
    checks.extend(check_device_rows(network, &suite.seeded[0].name)?);
    Ok(checks)
}

/// Measures what [`check_network`] does for a network that computes forwards only: what it says
/// about its layers, a batch against a loop, restarts, errors; and that every gradient is refused.
///
/// # Errors
/// One sentence about the first promise that is broken.
pub fn check_forward_network(network: &dyn Network) -> Result<Vec<Check>> {
    let suite = Suite::new(network, &|_, _| true)?;
    suite.refusals()?;
    suite.no_gradients()?;
    let mut checks = vec![suite.batch_is_loop(false)?];
    for layer in &suite.inner {
        checks.push(suite.restart(layer)?);
    }
    Ok(checks)
}

struct Suite<'a> {
    network: &'a dyn Network,
    batch: Tensor,
    /// The outputs that can be explained.
    seeded: Vec<&'a Layer>,
    /// Layers between the input and the first of `seeded`.
    inner: Vec<&'a Layer>,
}

impl<'a> Suite<'a> {
    /// The suite for `network`, in which `reaches` says where gradients should go.
    fn new(
        network: &'a dyn Network,
        reaches: &dyn Fn(&str, &GradientPlace) -> bool,
    ) -> Result<Self> {
        let layers = network.layers();
        let Some((first, rest)) = layers.split_first() else {
            return Err(fail("the network names no layers."));
        };
        if first.op != "Input" || first.shape != network.input_shape() || !first.depends_on_input {
            return Err(fail(format!(
                "the first layer must be the input, op `Input`, of shape {:?}; it is {first:?}.",
                network.input_shape()
            )));
        }
        if let Some(twice) =
            layers.iter().enumerate().find(|(i, l)| layers[..*i].iter().any(|m| m.name == l.name))
        {
            return Err(fail(format!("two layers are called `{}`.", twice.1.name)));
        }
        if network.preferred_rows() == 0 {
            return Err(fail("preferred_rows is 0: nothing would ever be computed."));
        }
        let explained = |l: &&Layer, to: &GradientPlace| l.depends_on_input && reaches(&l.name, to);
        let seeded: Vec<&Layer> =
            rest.iter().filter(|l| l.is_output && explained(l, &GradientPlace::Input)).collect();
        let Some(top) = seeded.first() else {
            return Err(fail("no output's gradient reaches the input."));
        };
        let inner: Vec<&Layer> = rest
            .iter()
            .filter(|l| {
                !l.is_output
                    && l.depends_on_input
                    && reaches(&top.name, &GradientPlace::Layer(l.name.clone()))
            })
            .collect();
        let step = inner.len().div_ceil(MOST_LAYERS).max(1);
        let inner = inner.into_iter().step_by(step).collect();
        let mut shape = vec![ROWS];
        shape.extend(network.input_shape());
        Ok(Self { network, batch: normal(&shape, 1), seeded, inner })
    }

    /// What no network takes, gradients aside.
    fn refusals(&self) -> Result<()> {
        let top = self.seeded[0];
        let forward = |batch: &Tensor, taps: &Taps| self.network.forward(batch, taps).map(|_| ());
        let name = NO_LAYER;
        refused("tapping an unknown layer", forward(&self.batch, &Taps::of([name])).is_err())?;
        let mut shape = self.batch.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last += 1;
        }
        refused(
            "a batch of the wrong shape",
            forward(&Tensor::zeros(shape), &Taps::of([&top.name])).is_err(),
        )?;
        refused(
            "a batch without batch axis",
            forward(&self.batch.row_tensor(0), &Taps::of([&top.name])).is_err(),
        )?;
        let pass = self.network.forward(&self.batch, &Taps::of([&top.name]))?;
        refused("reading a layer that was not tapped", pass.output(name).is_err())?;
        refused(
            "a gradient that was not asked for",
            pass.gradient(&[random_seed(top, 2)?]).is_err(),
        )
    }

    fn gradient_refusals(&self) -> Result<()> {
        let (top, name) = (self.seeded[0], NO_LAYER);
        let elsewhere = Taps::of([&top.name]).with_gradient(GradientPlace::Layer(name.into()));
        refused(
            "a gradient at an unknown layer",
            self.network.forward(&self.batch, &elsewhere).is_err(),
        )?;
        refused(
            "check_gradient of an unknown layer",
            self.network.check_gradient(name, &GradientPlace::Input).is_err(),
        )?;
        let pass = self
            .network
            .forward(&self.batch, &Taps::of([&top.name]).with_gradient(GradientPlace::Input))?;
        let seed = |layer: &str, shape: &[usize]| LayerCotangent {
            layer: layer.into(),
            cotangent: Tensor::zeros(shape),
        };
        let mut wrong = pass.output(&top.name)?.shape().to_vec();
        wrong[0] += 1;
        refused(
            "a cotangent of the wrong shape",
            pass.gradient(&[seed(&top.name, &wrong)]).is_err(),
        )?;
        refused(
            "seeding a layer that was not tapped",
            pass.gradient(&[seed(name, &[ROWS])]).is_err(),
        )
    }

    /// A network without gradients says so before anything is run, and does not run.
    fn no_gradients(&self) -> Result<()> {
        let top = self.seeded[0];
        let taps = Taps::of([&top.name]).with_gradient(GradientPlace::Input);
        refused("a pass with gradients", self.network.forward(&self.batch, &taps).is_err())?;
        let asked = self
            .network
            .layers()
            .iter()
            .find(|l| self.network.check_gradient(&l.name, &GradientPlace::Input).is_ok());
        match asked {
            Some(layer) => Err(fail(format!("check_gradient promises one of `{}`.", layer.name))),
            None => Ok(()),
        }
    }

    fn biases(&self) -> Result<()> {
        for bias in self.network.biases()? {
            let Some(layer) = self.network.layers().iter().find(|l| l.name == bias.layer) else {
                return Err(fail(format!(
                    "a bias belongs to `{}`, which is no layer.",
                    bias.layer
                )));
            };
            let (own, whole) = (bias.value.shape(), &layer.shape);
            if own.len() != whole.len() || own.iter().zip(whole).any(|(b, l)| *b != 1 && b != l) {
                return Err(fail(format!(
                    "the bias of `{}` has shape {own:?}, which does not broadcast to {whole:?}.",
                    bias.layer
                )));
            }
        }
        Ok(())
    }

    /// All layers that are looked at, in one forward pass, and row by row; the gradient at the
    /// input too, where there are some.
    fn batch_is_loop(&self, with_gradient: bool) -> Result<Check> {
        let layers: Vec<&&Layer> = self.inner.iter().chain(&self.seeded).collect();
        let mut taps = Taps::of(layers.iter().map(|l| l.name.clone()));
        if with_gradient {
            taps = taps.with_gradient(GradientPlace::Input);
        }
        let seed = random_seed(self.seeded[0], 3)?;
        let whole = self.network.forward(&self.batch, &taps)?;
        let gradient = with_gradient
            .then(|| only(whole.gradient(std::slice::from_ref(&seed))?))
            .transpose()?;
        let mut check = Check::new("a batch against a loop", BATCH_TOLERANCE);
        for n in 0..ROWS {
            let single =
                self.network.forward(&Tensor::stack([&self.batch.row_tensor(n)])?, &taps)?;
            for layer in &layers {
                let (together, alone) = (whole.output(&layer.name)?, single.output(&layer.name)?);
                if together.shape()[0] != ROWS || together.row_shape() != layer.shape {
                    let message = format!(
                        "layer `{}` should be {:?} per sample, but a batch of {ROWS} gave {:?}",
                        layer.name,
                        layer.shape,
                        together.shape()
                    );
                    return Err(fail(message));
                }
                check.see(relative(together.row(n), alone.data()), || {
                    format!("layer `{}`, row {n}", layer.name)
                });
            }
            let Some(gradient) = &gradient else { continue };
            let one = LayerCotangent {
                layer: seed.layer.clone(),
                cotangent: Tensor::stack([&seed.cotangent.row_tensor(n)])?,
            };
            let alone = only(single.gradient(&[one])?)?;
            check.see(relative(gradient.row(n), alone.data()), || {
                format!("gradient at the input, row {n}")
            });
        }
        check.verdict("rows of a batch are not what they are alone")
    }

    /// gradient(2a − 3b) = 2·gradient(a) − 3·gradient(b), and asking again changes nothing.
    fn linear(&self, layer: &Layer) -> Result<Check> {
        let pass = self
            .network
            .forward(&self.batch, &Taps::of([&layer.name]).with_gradient(GradientPlace::Input))?;
        let (a, b) = (random_seed(layer, 4)?, random_seed(layer, 5)?);
        let mix = |a: &Tensor, b: &Tensor| {
            a.data().iter().zip(b.data()).map(|(a, b)| 2.0 * a - 3.0 * b).collect::<Vec<_>>()
        };
        let both = LayerCotangent {
            layer: layer.name.clone(),
            cotangent: Tensor::new(a.cotangent.shape(), mix(&a.cotangent, &b.cotangent))?,
        };
        let pull = |seed: &LayerCotangent| only(pass.gradient(std::slice::from_ref(seed))?);
        let (ga, gb, together) = (pull(&a)?, pull(&b)?, pull(&both)?);
        let mut check = Check::new("linearity of pull-backs", LINEARITY_TOLERANCE);
        check.see(relative(together.data(), &mix(&ga, &gb)), || {
            format!("2a − 3b at `{}`", layer.name)
        });
        check.see(relative(pull(&a)?.data(), ga.data()), || {
            format!("the same seed at `{}` again", layer.name)
        });
        check.verdict("pull-backs are not linear, or not repeatable")
    }

    fn slope_at_input(&self, layer: &Layer) -> Result<Check> {
        let taps = Taps::of([&layer.name]);
        let seed = random_seed(layer, 6)?;
        let pass =
            self.network.forward(&self.batch, &taps.clone().with_gradient(GradientPlace::Input))?;
        let gradient = only(pass.gradient(std::slice::from_ref(&seed))?)?;
        let value = |batch: &Tensor| self.network.forward(batch, &taps)?.output(&layer.name);
        slope(
            &format!("from `{}` to the input", layer.name),
            &self.batch,
            &gradient,
            &seed.cotangent,
            &value,
        )
    }

    /// Nothing for a layer that holds exact zeros, as after a ReLU: a max pooling of equal values
    /// has no slope there, whatever a backend answers.
    fn slope_at_layer(&self, layer: &Layer) -> Result<Option<Check>> {
        let (top, at) = (self.seeded[0], GradientPlace::Layer(layer.name.clone()));
        let taps = Taps::of([&top.name]);
        let seed = random_seed(top, 7)?;
        let mut with_layer = Taps::of([&top.name, &layer.name]);
        with_layer.gradients.push(at);
        let pass = self.network.forward(&self.batch, &with_layer)?;
        let inner = pass.output(&layer.name)?;
        if inner.data().contains(&0.0) {
            return Ok(None);
        }
        let gradient = only(pass.gradient(std::slice::from_ref(&seed))?)?;
        let value = |inner: &Tensor| {
            self.network.forward_from(&layer.name, inner, &self.batch, &taps)?.output(&top.name)
        };
        let what = format!("from `{}` to `{}`", top.name, layer.name);
        slope(&what, &inner, &gradient, &seed.cotangent, &value).map(Some)
    }

    /// A pass restarted at `layer` with what the layer gave.
    fn restart(&self, layer: &Layer) -> Result<Check> {
        let top = self.seeded[0];
        let whole = self.network.forward(&self.batch, &Taps::of([&top.name, &layer.name]))?;
        let again = self.network.forward_from(
            &layer.name,
            &whole.output(&layer.name)?,
            &self.batch,
            &Taps::of([&top.name]),
        )?;
        let mut check =
            Check::new("a pass restarted at a layer against the whole", BATCH_TOLERANCE);
        let (there, here) = (whole.output(&top.name)?, again.output(&top.name)?);
        check.see(relative(here.data(), there.data()), || {
            format!("`{}` from `{}`", top.name, layer.name)
        });
        check.verdict("forward_from with a layer's own value gives something else")
    }
}

fn refused(what: &str, refused: bool) -> Result<()> {
    if refused { Ok(()) } else { Err(fail(format!("{what} is not an error."))) }
}

/// A random cotangent for `layer`.
fn random_seed(layer: &Layer, stream: usize) -> Result<LayerCotangent> {
    let mut shape = vec![ROWS];
    shape.extend(&layer.shape);
    if layer.shape.contains(&0) {
        return Err(fail(format!("layer `{}` is empty: shape {:?}.", layer.name, layer.shape)));
    }
    Ok(LayerCotangent { layer: layer.name.clone(), cotangent: normal(&shape, stream) })
}

/// Compares ⟨gradient, d⟩ with (⟨cotangent, y(x + h·d)⟩ − ⟨cotangent, y(x − h·d)⟩) / 2h, d random
/// or along the gradient.
fn slope(
    what: &str,
    x: &Tensor,
    gradient: &Tensor,
    cotangent: &Tensor,
    y: &dyn Fn(&Tensor) -> Result<Tensor>,
) -> Result<Check> {
    if gradient.shape() != x.shape() {
        return Err(fail(format!(
            "the gradient {what} has shape {:?}, not {:?}.",
            gradient.shape(),
            x.shape()
        )));
    }
    let (size, length) = (norm(x.data()) / (x.len() as f64).sqrt(), norm(gradient.data()));
    if !(length.is_finite() && length > 0.0) {
        return Err(fail(format!("the gradient {what} is zero or not finite.")));
    }
    let size = if size > 0.0 { size } else { 1.0 };
    let along: Vec<f32> = gradient.data().iter().map(|g| (f64::from(*g) / length) as f32).collect();
    let mut check = Check::new(&format!("gradient {what} against slopes"), SLOPE_TOLERANCE);
    for (name, direction) in [
        ("a random direction", normal(x.shape(), 8).into_data()),
        ("the gradient's direction", along),
    ] {
        // Every component moves by about h, whatever the direction's length.
        let unit = norm(&direction) / (direction.len() as f64).sqrt();
        let at = |step: f64| -> Result<f64> {
            let mut moved = x.clone();
            moved
                .data_mut()
                .iter_mut()
                .zip(&direction)
                .for_each(|(x, d)| *x += (step * f64::from(*d)) as f32);
            Ok(product(cotangent.data(), y(&moved)?.data()))
        };
        let expected = product(gradient.data(), &direction);
        let scale = (length * unit).max(expected.abs());
        let mut best = (f64::INFINITY, f64::NAN);
        for step in STEPS.map(|s| s * size / unit) {
            let found = (at(step)? - at(-step)?) / (2.0 * step);
            let off = (found - expected).abs() / scale;
            if off < best.0 {
                best = (off, found);
            }
        }
        let (off, found) = best;
        check.see(off as f32, || {
            format!(
                "{what}, along {name}: the gradient says {expected:.6e}, the network {found:.6e}"
            )
        });
    }
    check.verdict("a gradient is not the network's slope")
}

/// The only tensor of a pull-back to one place.
fn only(mut gradients: Vec<Tensor>) -> Result<Tensor> {
    match (gradients.pop(), gradients.is_empty()) {
        (Some(gradient), true) => Ok(gradient),
        _ => Err(fail("a pull-back to one place did not give one tensor.")),
    }
}

fn normal(shape: &[usize], stream: usize) -> Tensor {
    let mut values = Tensor::zeros(shape);
    Random::stream(5, stream).fill_normal(values.data_mut());
    values
}

fn norm(values: &[f32]) -> f64 {
    product(values, values).sqrt()
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
