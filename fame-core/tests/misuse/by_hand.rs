//! A registration made by hand would have no guard: it cannot be made, nor can a guarded one be
//! changed.

use fame_core::registry::{Factory, Registration};

fn made(factory: Factory) -> Registration {
    Registration { name: "Mine", factory }
}

fn changed(mut registration: Registration, other: Registration) -> Registration {
    registration.factory = other.factory;
    registration
}

fn main() {}
