//! Casts to floats of 8 and 4 bits. Their values are rounded as the type would, and kept in `f32`;
//! the gradient passes rounding as if it were the identity, and stops beyond the largest number
//! (straight-through, clipped), as it does for quantised whole numbers.

use std::sync::Arc;

use fame_core::{Error, Result, Tensor};

use super::BuiltIn;
use super::node::{Node, unsupported};
use crate::backends::onnx::few_bits::Format;
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[BuiltIn {
    op_type: "Cast",
    settings: &[],
    whole: &[],
    applies: |node| node.attribute.iter().any(|a| a.name == "to" && Format::of_onnx(a.i).is_some()),
    build: cast,
}];

fn cast(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let to = node.int("to", 0);
    let format = Format::of_onnx(to).ok_or_else(|| unsupported(format_args!("the type {to}")))?;
    Ok(Arc::new(Rounding { format, saturates: node.int("saturate", 1) == 1 }))
}

/// Every number rounded to one of a format.
pub(in crate::backends::onnx) struct Rounding {
    /// The format.
    pub(in crate::backends::onnx) format: Format,
    /// Whether what lies beyond the largest number becomes that.
    pub(in crate::backends::onnx) saturates: bool,
}

fn only(inputs: &[Tensor]) -> Result<&Tensor> {
    inputs.first().ok_or_else(|| Error::bug("a rounding without its input."))
}

impl HostOperator for Rounding {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        inputs.first().cloned().ok_or_else(|| Error::bug("a rounding without its input."))
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = only(inputs)?;
        let round = |x: &f32| self.format.round(*x, self.saturates);
        Tensor::new(x.shape(), x.data().iter().map(round).collect())
    }

    fn pull_back(
        &self,
        inputs: &[Tensor],
        _: &Tensor,
        cotangent: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let passed = |(x, c): (&f32, &f32)| if self.format.is_inside(*x) { *c } else { 0.0 };
        let values = only(inputs)?.data().iter().zip(cotangent.data()).map(passed).collect();
        Ok(vec![Some(Tensor::new(cotangent.shape(), values)?)])
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::tensor_proto::DataType;

    use super::*;

    #[test]
    fn the_gradient_passes_rounding_and_stops_beyond_the_largest_number() {
        let format = Format::of(DataType::Float4e2m1).unwrap();
        let rounding = Rounding { format, saturates: true };
        let x = Tensor::vector(vec![0.3, 1.2, -7.0, -6.5]);
        let y = rounding.forward(std::slice::from_ref(&x)).unwrap();
        assert_eq!(y.data(), [0.5, 1.0, -6.0, -6.0]);
        let c = Tensor::vector(vec![1.0, 2.0, 3.0, 4.0]);
        let pulled = rounding.pull_back(&[x], &y, &c).unwrap();
        // −7 is the half between −6 and the −8 that is not there.
        assert_eq!(pulled[0].as_ref().unwrap().data(), [1.0, 2.0, 0.0, 4.0]);
    }
}
