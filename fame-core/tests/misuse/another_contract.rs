//! Contracts are fame-core's: a type of one's own cannot become one.

use fame_core::registry::{Contract, Kind};

struct Mine;

impl Contract for Mine {
    const KIND: Kind = Kind::Loss;
}

fn main() {}
