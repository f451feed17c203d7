//! The pair of plans for one set of taps.

use std::sync::{Mutex, PoisonError};

use fame_core::contract::ReluRule;
use fame_core::{Error, ErrorKind, Place, Result, Taps};
use tract_onnx::tract_core::internal::*;

use super::gradient::{Refusal, differentiate};
use super::import::{Wanted, outlets, typed_model};
use super::onnx::{OnnxFile, guarded};
use super::skeleton::{Skeleton, no_path, no_rule, reason};

/// A plan and the idle states to run it with: a state is made once and used again, by one run at a
/// time.
pub(super) struct Runner {
    plan: Arc<TypedSimplePlan>,
    idle: Mutex<Vec<TypedSimpleState>>,
}

impl Runner {
    fn new(model: TypedModel) -> TractResult<Self> {
        Ok(Self { plan: SimplePlan::new(model)?, idle: Mutex::default() })
    }

    /// Runs one row.
    pub(super) fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut state = idle.map_or_else(|| self.plan.spawn(), Ok)?;
        let outputs = state.run(inputs)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(state);
        Ok(outputs)
    }
}

/// A compiled set of taps.
pub(super) struct Plan {
    /// Gives the tapped layers, then the residuals.
    pub(super) forward: Runner,
    /// Takes the residuals, then a cotangent for each tapped layer; gives the gradients.
    pub(super) backward: Option<Runner>,
    /// The tapped layers with their full shapes, in the order of the forward plan's outputs.
    pub(super) layers: Vec<(String, Vec<usize>)>,
    /// The full shape of each place.
    pub(super) places: Vec<Vec<usize>>,
}

impl Plan {
    /// Compiles `taps`, with the value of `replaced` given from outside.
    pub(super) fn compile(
        file: &OnnxFile,
        skeleton: &Skeleton,
        taps: &Taps,
        replaced: Option<&str>,
    ) -> Result<Self> {
        let input_name = &skeleton.layers[0].name;
        let mut layers: Vec<(String, Vec<usize>)> = vec![];
        for name in &taps.layers {
            if !layers.iter().any(|(known, _)| known == name) {
                layers.push((name.clone(), skeleton.shape(name)?.to_vec()));
            }
        }
        let place_name = |place: &Place| match place {
            Place::Input => input_name.clone(),
            Place::Layer(name) => name.clone(),
        };
        let places: Vec<String> = taps.gradients.iter().map(place_name).collect();
        let shapes = places
            .iter()
            .map(|name| skeleton.shape(name).map(<[usize]>::to_vec))
            .collect::<Result<Vec<_>>>()?;
        for (name, place) in layers
            .iter()
            .flat_map(|(name, _)| taps.gradients.iter().map(move |place| (name, place)))
        {
            // A place behind a tapped layer is fine as long as another tap lies behind the place;
            // the transform finds out.
            if let Err(error) = skeleton.check_gradient(name, place)
                && error.kind == ErrorKind::NoGradientRule
                && replaced.is_none()
            {
                return Err(error);
            }
        }
        let mut outputs: Vec<String> = layers.iter().map(|(name, _)| name.clone()).collect();
        outputs.extend(
            places.iter().filter(|name| !layers.iter().any(|(known, _)| known == *name)).cloned(),
        );
        outputs.dedup();
        let replaced =
            replaced.map(|name| skeleton.shape(name).map(|shape| (name, shape))).transpose()?;
        let wanted =
            Wanted { outputs: &outputs, replaced, input: skeleton.shape(input_name)?, fold: true };
        let compiled =
            guarded("compiling", || Ok(compile(file, &wanted, layers.len(), &places, taps.relu)));
        let (forward, backward) =
            compiled.map_err(Refusal::Failed).flatten().map_err(|refusal| match refusal {
                Refusal::NoRule { node, op } => no_rule(&node, &op, Skeleton::TRACT),
                Refusal::NoPath(ix) => no_path(&taps.layers.join("`, `"), &taps.gradients[ix]),
                Refusal::Failed(error) => Error::new(
                    "fame::backend::planning",
                    format!(
                        "`{}` cannot be compiled for layers {:?}: {}.",
                        file.path,
                        taps.layers,
                        reason(&error)
                    ),
                ),
            })?;
        Ok(Self { forward, backward, layers, places: shapes })
    }
}

/// Imports, differentiates and optimises.
fn compile(
    file: &OnnxFile,
    wanted: &Wanted,
    layers: usize,
    places: &[String],
    relu: ReluRule,
) -> Result<(Runner, Option<Runner>), Refusal> {
    let mut model = typed_model(file, wanted)?.into_decluttered()?;
    let known = outlets(&model, wanted.outputs);
    let taps = model.outputs[..layers].to_vec();
    model.select_output_outlets(&taps)?;
    if places.is_empty() {
        model.optimize()?;
        return Ok((Runner::new(model)?, None));
    }
    let places: Vec<OutletId> = places.iter().map(|name| known[name]).collect();
    let mut backward = differentiate(&model, &taps, &places, relu)?;
    model.select_output_outlets(&[taps.as_slice(), &backward.residuals].concat())?;
    model.optimize()?;
    backward.model.declutter()?;
    backward.model.optimize()?;
    Ok((Runner::new(model)?, Some(Runner::new(backward.model)?)))
}
