//! Convolutions of our own, forward and backward, for activations whose channels lie side by side.
//!
//! ```text
//! Geometry ── candidates ──▶ Algorithm ── weights laid out once ──▶ Convolution ── run ──▶ rows
//!                                │
//!          ┌─────────────────────┼───────────────────┬──────────────────┐
//!      winograd               direct             depthwise            bf16
//!   forms, product      windows, product          stencil      windows, bf16_tile
//!          └────────────────── epilogue in every store ───────────────────┘
//! ```
//!
//! * Activations are `[row][height][width][channel]`, in `f32`. A run takes one or several
//!   rows, each in memory of its own.
//! * Each kernel is written once, over `vector::Simd`, and compiled for AVX-512, AVX2 with FMA, and
//!   plain code; which one runs is asked of the CPU.
//! * No memory for values is allocated in a run once its scratch memory has grown to its needs.
//! * Beside the convolutions stands what networks without them are made of: `normalisation`,
//!   `softmax` and smooth `activation`s with their gradients, each in one pass over the memory, and the
//!   gradient of max `pooling`.
//! * `bf16` multiplies factors rounded to bfloat16, with instructions of their own (`bf16_tile`: AMX,
//!   AVX-512 BF16) where the CPU has some, else as `direct` does.
//! * `unsafe` stands in `vector` and `bf16_tile` (the instructions), in the innermost loops of
//!   `product`, `bf16`, `tiles` and `depthwise`, and around a call in `subnormal` only.

mod activation;
mod bf16;
mod bf16_tile;
mod buffer;
mod choice;
mod columns;
mod convolution;
mod dense;
mod depthwise;
mod direct;
mod epilogue;
mod exponential;
mod forms;
mod geometry;
mod normalisation;
mod picture;
mod pooling;
mod product;
mod reduce;
mod softmax;
mod subnormal;
#[cfg(test)]
mod tests;
mod tiles;
mod vector;
mod windows;
mod winograd;

pub use activation::Activation;
pub use bf16_tile::bf16_products;
pub use buffer::Scratch;
pub use choice::{Layer, Measured, product_peak, shortest};
pub use convolution::{Algorithm, Convolution, FEW_CHANNELS};
pub use epilogue::{Epilogue, Then};
pub use geometry::{Direction, Geometry};
pub use normalisation::Normalisation;
pub use picture::Picture;
pub use pooling::MaxWindows;
pub use softmax::Softmax;
pub use subnormal::without_subnormals;
pub use vector::Level;
