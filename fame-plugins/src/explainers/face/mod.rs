//! Explainers of face pairs: what speaks for a match, and what against it.
//!
//! Each explains both pictures of a pair, one against the other as it is, and names its maps
//! `{role}_similar` and `{role}_dissimilar`.

mod corr_rise;
mod dot_decomposition;
mod embedding;
mod fggb;
mod pull;
mod xssab;

pub(crate) use corr_rise::average_ranks;
pub use corr_rise::{CorrRise, Correlation, Ties};
pub use dot_decomposition::{BiasTerm, DotDecomposition};
pub use embedding::Through;
pub use fggb::{Fggb, ThresholdForm};
pub use xssab::Xssab;
