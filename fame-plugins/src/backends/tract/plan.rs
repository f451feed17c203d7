//! The pair of plans, forward and backward, for one set of taps.

use fame_core::{Result, Taps};
use tract_onnx::tract_core::internal::*;

use super::arrange::arrange;
use super::fuse_norms::fuse_norms;
use super::gradient::{Asked, LayerKinds, Row, differentiate, multiply, share_out};
use super::kernel_rates::{Rating, without_tiles};
use super::one_pass::in_one_pass;
use super::order::Order;
use super::place_kernels::place;
use super::runner::Runner;
use crate::backends::onnx::declutter::declutter;
use crate::backends::onnx::file::guarded;
use crate::backends::onnx::import::typed_model;
use crate::backends::onnx::loaded_model::LoadedModel;
use crate::backends::onnx::refusal::{Engine, Refusal};
use crate::backends::onnx::taps::ResolvedTaps;

/// This engine in messages.
pub(super) const ENGINE: Engine = Engine {
    name: "tract",
    advice: "Choose a target layer in front of it, or use the `Tch` backend.",
};

/// A compiled set of taps.
pub(super) struct Plan {
    /// Gives the tapped layers, then the residuals.
    pub(super) forward: Runner,
    /// Takes what `reads` names, then a cotangent for each tapped layer; gives the gradients.
    pub(super) backward: Option<Runner>,
    /// Whose value of which residual each input of the backward plan is, the cotangents left out.
    pub(super) reads: Vec<(Row, usize)>,
    /// Whether a gradient is of a row and the one behind it, its reference.
    pub(super) in_pairs: bool,
    /// The tapped layers with their full shapes, in the order of the forward plan's outputs.
    pub(super) layers: Vec<(String, Vec<usize>)>,
    /// The full shape of each place.
    pub(super) places: Vec<Vec<usize>>,
}

impl Plan {
    /// Compiles `taps`, with the value of `replaced` given from outside. Our kernels compute the
    /// convolutions for which `rating` says so; without one, none.
    pub(super) fn compile(
        model: &LoadedModel,
        rating: Option<Rating>,
        taps: &Taps,
        replaced: Option<&str>,
    ) -> Result<Self> {
        let resolved = ResolvedTaps::new(&model.skeleton, taps, replaced)?;
        let compiled = guarded("compiling", || Ok(compile(model, rating, &resolved, taps)));
        let Compiled { forward, backward, reads } = compiled
            .map_err(Refusal::Failed)
            .flatten()
            .map_err(|refusal| resolved.error(&model.file, ENGINE, refusal))?;
        let places = resolved.places.iter().map(|(_, shape)| shape.clone()).collect();
        let in_pairs = taps.multipliers;
        Ok(Self { forward, backward, reads, in_pairs, layers: resolved.layers, places })
    }

    /// How many rows of a batch one run of the backward plan is for: in pairs, every second row is
    /// the reference of the one before it.
    pub(super) fn rows_of_a_gradient(&self) -> usize {
        if self.in_pairs { 2 } else { 1 }
    }
}

/// Weights that our kernels lay out may take so many times the model's own bytes more than plain
/// ones, in each of the two plans: Winograd's F(4×4, 3×3) takes 3 times more, but pays most where
/// pictures are large and weights few.
const MORE_WEIGHTS: usize = 1;

/// Arranges `plan` around our kernels, where there is a rating to choose them by, and optimises.
/// Its inputs have the orders given; outputs from the index `free` on may have any, which is told.
fn finish(
    mut plan: TypedModel,
    model: &LoadedModel,
    rating: Option<Rating>,
    inputs: &[Order],
    free: usize,
) -> TractResult<(Runner, Vec<Order>)> {
    let mut outputs = vec![Order::First; plan.outputs.len()];
    if let Some(rating) = rating {
        let budget = model.file.weight_bytes().saturating_mul(MORE_WEIGHTS);
        let placed = place(&mut plan, budget, rating)?;
        let arranged = arrange(&plan, placed, inputs, free)?;
        (plan, outputs) = (arranged.model, arranged.outputs);
    }
    in_one_pass(&mut plan)?;
    plan.optimize()?;
    Ok((Runner::new(plan)?, outputs))
}

/// The two plans, and what the backward one reads of the forward one.
struct Compiled {
    forward: Runner,
    backward: Option<Runner>,
    reads: Vec<(Row, usize)>,
}

/// Imports, differentiates and optimises.
fn compile(
    model: &LoadedModel,
    rating: Option<Rating>,
    resolved: &ResolvedTaps,
    taps: &Taps,
) -> Result<Compiled, Refusal> {
    let rating =
        if taps.relevance.is_some() { rating.map(|_| without_tiles as Rating) } else { rating };
    let mut forward = typed_model(&model.file, &model.operators, &resolved.wanted())?;
    let kinds = LayerKinds::of(&forward);
    declutter(&mut forward)?;
    // Relevance and multipliers have rules of their own for the parts.
    if taps.relevance.is_none() && !taps.multipliers {
        fuse_norms(&mut forward)?;
    }
    let outlet = |(name, _): &(String, Vec<usize>)| forward.outputs[resolved.output(name)];
    let layers: Vec<OutletId> = resolved.layers.iter().map(outlet).collect();
    let places: Vec<OutletId> = resolved.places.iter().map(outlet).collect();
    let as_they_are = vec![Order::First; forward.inputs.len()];
    forward.select_output_outlets(&layers)?;
    if places.is_empty() {
        let (forward, _) = finish(forward, model, rating, &as_they_are, layers.len())?;
        return Ok(Compiled { forward, backward: None, reads: vec![] });
    }
    let kernels = rating.is_some();
    let mut backward = match &taps.relevance {
        None if taps.multipliers => multiply(&forward, &layers, &places, kernels)?,
        None => differentiate(&forward, &layers, &places, taps.relu, kernels)?,
        Some(rules) => {
            let asked = Asked { rules, kinds: &kinds };
            share_out(&forward, &layers, &places, asked, kernels)?
        }
    };
    forward.select_output_outlets(&[layers.as_slice(), &backward.residuals].concat())?;
    let (forward, outputs) = finish(forward, model, rating, &as_they_are, layers.len())?;
    declutter(&mut backward.model)?;
    // The residuals as the forward plan gives them, then the cotangents as the file says.
    let order_of = |(_, at): &(Row, usize)| outputs[layers.len() + at];
    let mut inputs: Vec<Order> = backward.reads.iter().map(order_of).collect();
    inputs.resize(backward.model.inputs.len(), Order::First);
    let reads = backward.reads;
    let (backward, _) = finish(backward.model, model, rating, &inputs, places.len())?;
    Ok(Compiled { forward, backward: Some(backward), reads })
}
