//! A registration that does not say its kind.

struct Mine;

fame_core::register!(Mine);

fn main() {}
