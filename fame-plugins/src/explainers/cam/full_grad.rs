//! `FullGrad`: the input's and every bias's share of y, put together.

use fame_core::{
    Bias, GradientPlace, LayerChoices, Result, Tensor,
    ask::Aim,
    contract::{ExplainContext, Explainer, Target},
    data::{Facts, InputConvention, Layout, facts},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::normalisation::{Normalisation, min_max};
use crate::{
    Preset,
    ask::{usual_layer, usual_loss},
    explainers::{
        aimed::{self, AimedExplainer, InputRow, Method, MethodOutcome, Scalar},
        enlarge::{Corners, bilinear},
        finish::{Finish, one_channel},
    },
};

/// The two published programs that are called FullGrad. They differ in layers, normalisation and
/// enlarging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum FullGradForm {
    /// The authors' (idiap/fullgrad-saliency): every bias with a place in the picture; |b · dy/db|
    /// stretched to 0..=1 over all channels of a layer at once (ε = 1e-6), enlarged with aligned
    /// corners, added up.
    #[default]
    Idiap,
    /// pytorch-grad-cam's, the FAME paper's "FullGradCAM": biases of `Conv` and
    /// `BatchNormalization` only; each **channel** stretched to 0..=1 on its own (ε = 1e-7),
    /// enlarged from pixel centres, added up. A channel that hardly matters weighs as much as one
    /// that does.
    PytorchGradCam,
}

/// The input whose share of y is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum InputShare {
    /// x ⊙ dy/dx of the network's input, after normalisation.
    Network,
    /// The same of the pixels in 0..=1, before normalisation. A black pixel has no share.
    Pixels,
}

fame_core::parameters! {
    /// FullGrad: y of a piecewise linear network is x · dy/dx plus Σ b · dy/db over all its biases,
    /// place by place. The map is ψ(x ⊙ dy/dx) + Σ ψ(b ⊙ dy/db) with ψ the absolute value,
    /// stretched and enlarged to the picture.
    ///
    /// How well the sum adds up to y is recorded as `completeness_delta` (y less the sum) and
    /// `completeness` (its share of |y|): near 0 for networks of convolutions, ReLU, PReLU, pooling
    /// and linear layers under `Logit()` or `Similarity(norms: Frozen)`. It is not where an
    /// activation brings constants of its own, as ReLU6 does above 6, nor for GELU, sigmoid, layer
    /// normalisation or live norms.
    ///
    /// Biases are those of the graph as the file has it. Exporters fold batch normalisation into
    /// the convolution before it; then the convolution carries one bias in place of the
    /// normalisation's: the sum stays the same, and so does this pair's share of the map. A
    /// normalisation that stands on its own carries β − γμ/√(σ²+ε).
    ///
    /// y is the loss's value as it is. The map ends in 0..=1 over the pixels of the picture.
    pub struct FullGrad {
        /// Whose program: `Idiap` (preset Paper) or `PytorchGradCam` (preset Authors).
        form: FullGradForm = open,
        /// The input whose share is shown: the `Network`'s (preset Paper), or the picture's
        /// `Pixels` in 0..=1 (preset Authors, who put the normalisation into the network). What the
        /// record says about completeness counts the network's.
        input: InputShare = open,
        /// What to explain: any loss; y is its value. Default: what the model's manifest asks for,
        /// else `Logit()`, the class the network sees.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
        /// How the sum is normalised. Default: `MaxNorm` (form Idiap, whose own map has no scale),
        /// `PytorchGradCam` (form PytorchGradCam).
        finish: Normalisation = open,
        /// Which pictures of a sample to explain, by role. Default: all, each against the other
        /// frozen.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for FullGrad {
    type Typed = typed::FullGrad;

    fn fill(typed: typed::FullGrad, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        let (usual_form, input) = match Preset::of(with) {
            Preset::Paper | Preset::Fast => (FullGradForm::Idiap, InputShare::Network),
            Preset::Authors => (FullGradForm::PytorchGradCam, InputShare::Pixels),
        };
        let form = typed.form.unwrap_or(usual_form);
        let finish = match form {
            FullGradForm::Idiap => Normalisation::MaxNorm,
            FullGradForm::PytorchGradCam => Normalisation::PytorchGradCam,
        };
        Some(typed.or(form, input, usual_loss(with), usual_layer(with), finish))
    }
}

impl Plugin<dyn Explainer> for FullGrad {
    const NAME: &'static str = "FullGrad";
    const SUMMARY: &'static str = "The input's and every bias's share of the score, put together";
    const CLAIM: &'static str = "Shows the input's and every bias's share of the asked value put together, smoothed and without sign; not evidence against.";
    const EXAMPLE: &'static str = "FullGrad(form: PytorchGradCam)";
    const REFERENCE: &'static str = "Srinivas & Fleuret, Full-Gradient Representation, NeurIPS 2019, arXiv 1905.00780; pytorch-grad-cam, FullGrad";
    const PRESETS: &'static [&'static str] = Preset::NAMES;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        aimed::check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let FullGrad { form, input, loss, layer, finish, roles } = self;
        let scalar = Scalar::build(&loss, layer, roles, with, assembly)?;
        let method = OfBiases { form, input, normalisation: finish };
        Some(Box::new(AimedExplainer { scalar, method, finish: Finish::none() }))
    }
}

fame_core::register!(Explainer: FullGrad);

/// FullGrad with its parameters resolved.
struct OfBiases {
    form: FullGradForm,
    input: InputShare,
    normalisation: Normalisation,
}

/// A bias that reaches the target.
struct Term {
    bias: Bias,
    /// How it lies over the picture, if it has a place there and the form wants it in the map.
    shown: Option<Layout>,
}

impl OfBiases {
    /// The biases that y depends on, in the graph's order.
    fn terms(&self, aim: &Aim<'_>) -> Result<Vec<Term>> {
        let network = aim.model.network.as_ref();
        let reaches = |b: &Bias| {
            aim.layers.iter().any(|target| {
                network.check_gradient(target, &GradientPlace::Layer(b.layer.clone())).is_ok()
            })
        };
        let term = |bias: Bias| {
            let layer = network.layers().iter().find(|l| l.name == bias.layer);
            let of_module =
                layer.is_some_and(|l| matches!(l.op.as_str(), "Conv" | "BatchNormalization"));
            let layout = layer.and_then(|l| aim.model.layout(l));
            let shown = layout.filter(|_| of_module || self.form == FullGradForm::Idiap);
            Term { bias, shown }
        };
        Ok(network.biases()?.into_iter().filter(reaches).map(term).collect())
    }

    /// Adds ψ of `share` `[C, h, w]` to `map`, which has `size` rows and columns.
    fn add(&self, share: &Tensor, map: &mut [f32], size: (usize, usize)) {
        let &[channels, height, width] = share.shape() else { return };
        let area = height * width;
        let mut psi: Vec<f32> = share.data().iter().map(|v| v.abs()).collect();
        let corners = match self.form {
            FullGradForm::Idiap => {
                min_max(&mut psi, 1e-6);
                Corners::Aligned
            }
            FullGradForm::PytorchGradCam => {
                psi.chunks_exact_mut(area).for_each(|channel| min_max(channel, 1e-7));
                Corners::HalfPixel
            }
        };
        // Enlarging is linear, so channels are added first: a layer is enlarged once.
        let (sum, rest) = psi.split_at_mut(area);
        for channel in rest.chunks_exact(area).take(channels) {
            sum.iter_mut().zip(channel).for_each(|(s, v)| *s += v);
        }
        map.iter_mut()
            .zip(bilinear(sum, (height, width), size, corners))
            .for_each(|(m, v)| *m += v);
    }

    fn made(
        &self,
        convention: &InputConvention,
        row: &InputRow,
        value: f32,
        terms: &[Term],
        gradients: &[Tensor],
        n: usize,
    ) -> Result<MethodOutcome> {
        let &[_, height, width] = row.input.shape() else {
            return Err(fame_core::Error::bug("a picture without three axes."));
        };
        let mut map = vec![0.0; height * width];
        let product =
            |a: &[f32], b: &[f32]| -> Vec<f32> { a.iter().zip(b).map(|(a, b)| a * b).collect() };
        let sum = |share: &Tensor| share.data().iter().map(|v| f64::from(*v)).sum::<f64>();
        let input = Tensor::new(row.input.shape(), product(row.input.data(), gradients[0].row(n)))?;
        let shown = match self.input {
            InputShare::Network => input.clone(),
            InputShare::Pixels => of_pixels(convention, &row.input, gradients[0].row(n))?,
        };
        self.add(&shown, &mut map, (height, width));
        let (of_input, mut of_biases) = (sum(&input), 0.0);
        for (term, gradient) in terms.iter().zip(&gradients[1..]) {
            let share = times(&term.bias.value, gradient.row_tensor(n));
            of_biases += sum(&share);
            if let Some(layout) = term.shown {
                self.add(&channels_first(share, layout)?, &mut map, (height, width));
            }
        }
        let delta = f64::from(value) - of_input - of_biases;
        let about = facts([
            ("value", value.into()),
            ("from_input", of_input.into()),
            ("from_biases", of_biases.into()),
            ("completeness_delta", delta.into()),
            ("completeness", (delta.abs() / f64::from(value.abs()).max(1e-12)).into()),
        ]);
        let raw = Tensor::new([1, height, width], map.clone())?;
        let shown = if map.iter().any(|v| !v.is_finite()) {
            Err("a gradient is NaN or infinite.".to_owned())
        } else if self.normalisation.normalise(&mut map) {
            Ok(one_channel(Tensor::new([1, height, width], map)?))
        } else {
            Err(format!("no pixel and no bias moves y (y = {value})."))
        };
        Ok(MethodOutcome { raw, shown, facts: about, warnings: Vec::new() })
    }
}

/// `share`, which lies as `layout` says, as `[C, h, w]`.
fn channels_first(share: Tensor, layout: Layout) -> Result<Tensor> {
    let (&[height, width, channels], Layout::ChannelsLast) = (share.shape(), layout) else {
        return Ok(share);
    };
    let of_channel = |c: usize| share.data().iter().skip(c).step_by(channels);
    let values = (0..channels).flat_map(of_channel).copied().collect();
    Tensor::new([channels, height, width], values)
}

/// pixels ⊙ dy/d pixels, from the network's `input` and dy/d input.
fn of_pixels(convention: &InputConvention, input: &Tensor, gradient: &[f32]) -> Result<Tensor> {
    let mut share = input.clone();
    convention.denormalise(&mut share)?;
    let channels = share.shape()[0];
    for channel in 0..channels {
        let plane = share.row_mut(channel);
        let area = plane.len();
        let gradient = &gradient[channel * area..(channel + 1) * area];
        // d input / d pixel is 1/std.
        plane.iter_mut().zip(gradient).for_each(|(p, g)| *p *= g / convention.std[channel]);
    }
    Ok(share)
}

/// `gradient ⊙ bias`, the bias broadcast: an axis of extent 1 does not vary.
fn times(bias: &Tensor, mut gradient: Tensor) -> Tensor {
    let shape = gradient.shape().to_vec();
    // Position in the bias of every position in the gradient, one axis after another.
    let mut at = vec![0usize];
    for (extent, of_bias) in shape.iter().zip(bias.shape()) {
        let step = |from: &usize, i: usize| from * of_bias + if *of_bias == 1 { 0 } else { i };
        at = at.iter().flat_map(|from| (0..*extent).map(move |i| step(from, i))).collect();
    }
    gradient.data_mut().iter_mut().zip(at).for_each(|(g, i)| *g *= bias.data()[i]);
    gradient
}

impl Method for OfBiases {
    fn check(&self, aim: &Aim<'_>) -> Result<()> {
        aim.layers
            .iter()
            .try_for_each(|target| aim.model.network.check_gradient(target, &GradientPlace::Input))
    }

    fn facts(&self, aim: &Aim<'_>) -> Result<Facts> {
        let terms = self.terms(aim)?;
        let shown = terms.iter().filter(|t| t.shown.is_some()).count();
        Ok(facts([("biased_layers", terms.len().into()), ("biased_layers_shown", shown.into())]))
    }

    fn explain(
        &self,
        _: &ExplainContext<'_>,
        aim: &Aim<'_>,
        rows: &[InputRow],
    ) -> Result<Vec<Result<MethodOutcome>>> {
        let terms = self.terms(aim)?;
        let mut taps = aim.taps().with_gradient(GradientPlace::Input);
        taps.gradients.extend(terms.iter().map(|t| GradientPlace::Layer(t.bias.layer.clone())));
        let batch = Tensor::stack(rows.iter().map(|r| &r.input))?;
        let pass = aim.model.network.forward(&batch, &taps)?;
        let targets: Vec<&Target> = rows.iter().map(|r| &r.aimed.target).collect();
        let evaluation = aim.evaluate(pass.as_ref(), &targets)?;
        let gradients = pass.gradient(&aim.layer_cotangents(evaluation.cotangents))?;
        let made = rows.iter().zip(&evaluation.values).enumerate();
        let input = &aim.model.manifest.input;
        let one = |(n, (row, value)): (usize, (&InputRow, &f32))| {
            self.made(input, row, *value, &terms, &gradients, n)
        };
        Ok(made.map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_broadcast_along_axes_of_extent_one() {
        let ones = Tensor::filled([2, 1, 2], 1.0);
        let bias = |shape: [usize; 3], v: &[f32]| Tensor::new(shape, v.to_vec()).unwrap();
        assert_eq!(times(&bias([2, 1, 1], &[3., 5.]), ones.clone()).data(), [3., 3., 5., 5.]);
        assert_eq!(times(&bias([1, 1, 2], &[3., 5.]), ones.clone()).data(), [3., 5., 3., 5.]);
        assert_eq!(times(&bias([2, 1, 2], &[1., 2., 3., 4.]), ones).data(), [1., 2., 3., 4.]);
    }

    #[test]
    fn the_forms_stretch_over_the_layer_or_over_each_channel() {
        let share = Tensor::new([2, 1, 2], vec![0.0, -4.0, 1.0, 0.0]).unwrap();
        let map = |form| {
            let mut map = vec![0.0; 2];
            let (input, normalisation) = (InputShare::Network, Normalisation::MaxNorm);
            OfBiases { form, input, normalisation }.add(&share, &mut map, (1, 2));
            map
        };
        let close = |a: Vec<f32>, b: [f32; 2]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(map(FullGradForm::Idiap), [0.25, 1.0]));
        assert!(close(map(FullGradForm::PytorchGradCam), [1.0, 1.0]));
    }
}
