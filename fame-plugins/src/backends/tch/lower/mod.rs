//! From one node of the graph to one kernel of libtorch.
//!
//! A value that depends on the input has the batch axis in front of the graph's own axes; constants
//! have not. So axis `k` of the graph is axis `k + 1` of a batched tensor, and broadcasting, which
//! libtorch aligns at the last axis, needs no care.
//!
//! **A new operator** is one function `fn(&mut Lower) -> TractResult<Lowered>` in the file of its
//! family, and one line in that file's `RULES`.

mod arithmetic;
mod conv;
mod einsum;
mod elementwise;
mod host;
mod logic;
mod norm;
mod pool;
mod quantize;
mod reduce;
mod resample;
mod rule;
mod shape;
mod site;
mod slots;
mod table;

pub(super) use site::Lowered;
pub(super) use slots::Slots;
pub(super) use table::{has_gradient, lower};
