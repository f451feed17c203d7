//! The functions of one variable inside of recurrent cells.

use fame_core::Result;

use super::node::{Node, unsupported};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    Sigmoid,
    Tanh,
    Relu,
    Softsign,
    Softplus,
}

/// A function of a clipped number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gate {
    curve: Curve,
    /// Numbers are clipped to −clip … clip; infinite where none is given.
    clip: f32,
}

impl Gate {
    /// The functions of each direction of `node`, `defaults.len()` for one direction.
    pub(super) fn of(node: &Node, directions: usize, defaults: &[&str]) -> Result<Vec<Vec<Self>>> {
        if node.attributes.contains_key("activation_alpha") {
            return Err(unsupported("its attribute `activation_alpha`"));
        }
        let defaults = defaults.join(" ");
        let words: Vec<&str> = node.text("activations", &defaults).split(' ').collect();
        let count = defaults.split(' ').count();
        let clip = node.float("clip").unwrap_or(f32::INFINITY);
        let gate = |word: &&str| Ok(Self { curve: Self::curve(word)?, clip });
        let gates = words.iter().map(gate).collect::<Result<Vec<_>>>()?;
        match gates.len() {
            n if n == count => Ok(vec![gates; directions]),
            n if n == count * directions => Ok(gates.chunks(count).map(<[Self]>::to_vec).collect()),
            n => Err(unsupported(format_args!("a list of {n} activations"))),
        }
    }

    fn curve(word: &str) -> Result<Curve> {
        Ok(match word.to_ascii_lowercase().as_str() {
            "sigmoid" => Curve::Sigmoid,
            "tanh" => Curve::Tanh,
            "relu" => Curve::Relu,
            "softsign" => Curve::Softsign,
            "softplus" => Curve::Softplus,
            _ => return Err(unsupported(format_args!("the activation `{word}`"))),
        })
    }

    /// The function's value.
    pub(super) fn value(self, x: f32) -> f32 {
        let x = x.clamp(-self.clip, self.clip);
        match self.curve {
            Curve::Sigmoid => (1.0 + (-x).exp()).recip(),
            Curve::Tanh => x.tanh(),
            Curve::Relu => x.max(0.0),
            Curve::Softsign => x / (1.0 + x.abs()),
            Curve::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }

    /// The function's derivative.
    pub(super) fn slope(self, x: f32) -> f32 {
        if x.abs() > self.clip {
            return 0.0;
        }
        match self.curve {
            Curve::Sigmoid => self.value(x) * self.value(-x),
            Curve::Tanh => x.cosh().powi(-2),
            Curve::Relu => f32::from(u8::from(x > 0.0)),
            Curve::Softsign => (1.0 + x.abs()).powi(-2),
            Curve::Softplus => (1.0 + (-x).exp()).recip(),
        }
    }
}
