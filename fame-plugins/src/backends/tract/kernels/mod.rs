//! Convolutions of our own, forward and backward, for activations whose channels lie side by side.
//!
//! ```text
//! Geometry ── candidates ──▶ Algorithm ── weights laid out once ──▶ Convolution ── run ──▶ rows
//!                                │
//!          ┌─────────────────────┼───────────────────┐
//!      winograd               direct             depthwise
//!   forms, product      stencil, product          stencil
//!          └───────── epilogue in every store ───────┘
//! ```
//!
//! * Activations are `[row][height][width][channel]`, in `f32`. A run takes one or several rows.
//! * Each kernel is written once, over `vector::Simd`, and compiled for AVX-512, AVX2 with FMA, and
//!   plain code; which one runs is asked of the CPU.
//! * No memory for values is allocated in a run once its scratch memory has grown to its needs.
//! * `unsafe` stands in `vector` (the instructions) and in the innermost loops of `product`, `tiles`
//!   and `depthwise` only.

#![allow(
    dead_code,
    unused_imports,
    reason = "each of the engine, the tests and the benchmark uses a part"
)]

mod buffer;
mod choice;
mod columns;
mod convolution;
mod depthwise;
mod direct;
mod epilogue;
mod forms;
mod geometry;
mod product;
#[cfg(test)]
mod tests;
mod tiles;
mod vector;
mod winograd;

pub(super) use buffer::Scratch;
pub(super) use choice::{Layer, Measured, shortest};
pub(super) use convolution::{Algorithm, Convolution};
pub(super) use epilogue::{Epilogue, Then};
pub(super) use geometry::{Direction, Geometry};
pub(super) use vector::Level;
