//! Control flow that is settled before anything runs: branches whose condition follows from shapes,
//! loops and recurrences whose number of rounds does. What remains is a plain graph, which every
//! engine computes and differentiates.

mod branch;
mod rounds;
mod unroll;

pub(super) use branch::import as import_if;
pub(super) use rounds::write_out_loops;
pub(super) use unroll::unroll_scans;

/// The most rounds that are written out: more is a graph that takes minutes to compile.
const MOST_ROUNDS: usize = 512;
