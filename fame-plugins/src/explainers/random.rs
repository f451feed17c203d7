//! Random numbers: see [`fame_core::Random`].

pub(super) use fame_core::Random;
