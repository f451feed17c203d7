//! Reverse-mode differentiation as a graph transform.
//!
//! Given a decluttered forward model, [`differentiate`] writes a second model that takes
//! *residuals* (values of the forward model) and *cotangents* (derivatives with respect to seeded
//! outlets) and gives the gradients at the asked places. Both are ordinary tract models: the
//! backward one is decluttered and optimised like any other. Weights are constants, so only the
//! paths from the asked places to the seeded outlets are walked.
//!
//! [`share_out`] writes the backward model of layer-wise relevance propagation likewise, and
//! [`multiply`] that of multipliers between two rows, with these same rules at work inside of their
//! own.
//!
//! **A new operator** is one function `fn(&mut Pull) -> TractResult<Pulled>` in the file of its
//! family, one line in that file's `RULES`, and one test there. Nothing else changes.

mod arithmetic;
mod conv;
mod deconv;

mod einsum;
mod elementwise;
mod host;
mod multipliers;
mod norm;
mod pool;
mod quantize;
mod reduce;
mod relevance;
mod resample;
mod rule;
mod shape;
mod table;
mod tape;
mod transform;

pub(super) use multipliers::multiply;
pub(super) use relevance::{Asked, LayerKinds, share_out};
pub(super) use table::rule_for;
pub(super) use tape::Row;
pub(in crate::backends) use transform::differentiate;
