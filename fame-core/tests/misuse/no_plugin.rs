//! A type that is no plugin at all.

struct Mine;

fame_core::register!(Loss: Mine);

fn main() {}
