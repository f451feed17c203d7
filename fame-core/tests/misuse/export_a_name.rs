//! `export_plugin!` with a name instead of kinds and types.

fame_core::export_plugin!("my_plugin");

fn main() {}
