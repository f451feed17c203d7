//! Backends: the engines that run networks and pull gradients back through them.

pub mod tract;
