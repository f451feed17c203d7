//! Map steps.

mod power;

pub use power::Power;
