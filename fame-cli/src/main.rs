//! The `fame-cli` binary.
fn main() {}
