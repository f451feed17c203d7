//! One forward pass over a batch, ready to be read and differentiated.

use fame_core::{Error, LayerCotangent, Result, Tensor};
use std::sync::Arc;
use tch::TchError;

use super::failure::failed;
use super::program::{Program, Values};
use super::settings::Settings;
use super::values::{dims, download, upload};
use crate::backends::onnx::skeleton::row_shape;

/// The values of a batch, with autograd's graph behind them.
pub(super) struct TchPass {
    /// How to compute.
    pub(super) settings: Settings,
    /// The program that was run.
    pub(super) program: Arc<Program>,
    /// How many rows the batch has.
    pub(super) rows: usize,
    /// What the program left.
    pub(super) values: Values,
}

impl TchPass {
    fn position(&self, layer: &str) -> Result<usize> {
        self.program.layers.iter().position(|(name, ..)| name == layer).ok_or_else(|| {
            let tapped: Vec<&str> =
                self.program.layers.iter().map(|(name, ..)| name.as_str()).collect();
            Error::new(
                "fame::backend::not_tapped",
                format!("layer `{layer}` was not tapped in this pass."),
            )
            .with_help(format!("Tapped are: {}.", tapped.join(", ")))
        })
    }

    /// The shape of a value of the whole batch.
    fn batch_shape(&self, full: &[usize]) -> Vec<usize> {
        std::iter::once(self.rows).chain(row_shape(full).iter().copied()).collect()
    }

    /// Each seed as a scalar whose derivative with respect to its layer is the cotangent.
    fn scalars(&self, seeds: &[LayerCotangent]) -> Result<Vec<tch::Tensor>> {
        let mut scalars = vec![];
        for seed in seeds {
            let at = self.position(&seed.layer)?;
            let expected = self.batch_shape(&self.program.layers[at].1);
            if seed.cotangent.shape() != expected {
                return Err(Error::new(
                    "fame::backend::cotangent_shape",
                    format!(
                        "the cotangent of layer `{}` has shape {:?}, but the layer has {expected:?}.",
                        seed.layer,
                        seed.cotangent.shape()
                    ),
                ));
            }
            let value = &self.values.layers[at];
            // A layer that no place leads to: its cotangent says nothing.
            if value.requires_grad() {
                let cotangent = upload(&value.size(), seed.cotangent.data(), self.settings.device);
                let scalar = cotangent
                    .and_then(|c| product(value, &c))
                    .map_err(|e| failed("the gradient", &e))?;
                scalars.push(scalar);
            }
        }
        Ok(scalars)
    }

    /// The gradients of the sum of `scalars` at the places; `None` where none arrives.
    fn pull(&self, mut scalars: Vec<tch::Tensor>) -> Result<Vec<Option<tch::Tensor>>> {
        let told = |e: TchError| failed("the gradient", &e);
        // From the last cut to the first: what arrives behind a cut is pulled through it, and goes
        // on in front of it.
        for cut in self.values.cuts.iter().rev() {
            let arrived = derivative(&scalars, &[&cut.output]).map_err(told)?.remove(0);
            let Some(arrived) = arrived else { continue };
            let pulled = self.program.pull_through(cut, &arrived)?;
            for (input, cotangent) in cut.inputs.iter().zip(pulled) {
                if let Some(cotangent) = cotangent.filter(|_| input.requires_grad()) {
                    scalars.push(product(input, &cotangent).map_err(told)?);
                }
            }
        }
        derivative(&scalars, &self.values.places.iter().collect::<Vec<_>>()).map_err(told)
    }
}

/// `Σ value · cotangent`, in f32.
fn product(value: &tch::Tensor, cotangent: &tch::Tensor) -> Result<tch::Tensor, TchError> {
    value
        .f_to_kind(tch::Kind::Float)?
        .f_mul(&cotangent.f_to_kind(tch::Kind::Float)?)?
        .f_sum(tch::Kind::Float)
}

/// d(Σ scalars)/d(each place). The graph is kept: a pass may be pulled back again.
fn derivative(
    scalars: &[tch::Tensor],
    places: &[&tch::Tensor],
) -> Result<Vec<Option<tch::Tensor>>, TchError> {
    if scalars.is_empty() || places.is_empty() {
        return Ok(places.iter().map(|_| None).collect());
    }
    let gradients = tch::Tensor::f_run_backward(scalars, places, true, false)?;
    Ok(gradients.into_iter().map(|g| g.defined().then_some(g)).collect())
}

impl TchPass {
    /// Whether a gradient was asked for.
    pub(super) fn has_places(&self) -> bool {
        !self.program.places.is_empty()
    }

    /// The gradients at the places, on the device; `None` where none arrives.
    pub(super) fn pull_back(&self, seeds: &[LayerCotangent]) -> Result<Vec<Option<tch::Tensor>>> {
        self.settings.compute(|| self.pull(self.scalars(seeds)?))
    }

    /// The output of a tapped layer, `[N, …]`.
    pub(super) fn read(&self, layer: &str) -> Result<Tensor> {
        let at = self.position(layer)?;
        let shape = self.batch_shape(&self.program.layers[at].1);
        let values =
            download(&self.values.layers[at]).map_err(|e| failed("reading a layer", &e))?;
        let volume: usize = shape.iter().product();
        if values.len() * self.rows == volume && self.rows > 1 {
            // A layer that does not depend on the input is computed once.
            return Tensor::new(shape, values.repeat(self.rows));
        }
        Tensor::new(shape, values)
    }
}

impl fame_core::contract::Pass for TchPass {
    fn output(&self, layer: &str) -> Result<Tensor> {
        self.read(layer)
    }

    fn gradient(&self, seeds: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        if !self.has_places() {
            return Err(Error::new(
                "fame::backend::no_places",
                "no gradient was asked for when this pass was run.",
            )
            .with_help("Name the places with `Taps::with_gradient`."));
        }
        let gradients = self.pull_back(seeds)?;
        let read = |((shape, _), gradient): (&(Vec<usize>, usize), Option<tch::Tensor>)| {
            let shape = self.batch_shape(shape);
            match gradient {
                Some(gradient) => {
                    Tensor::new(shape, download(&gradient).map_err(|e| failed("the gradient", &e))?)
                }
                None => Ok(Tensor::zeros(shape)),
            }
        };
        self.program.places.iter().zip(gradients).map(read).collect()
    }
}

/// The shape of a graph input for a whole batch, batch axis in front of the graph's own.
pub(super) fn source_shape(rows: usize, full: &[usize]) -> Vec<i64> {
    std::iter::once(rows as i64).chain(dims(full)).collect()
}
