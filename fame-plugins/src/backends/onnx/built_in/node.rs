//! One node of the graph, as the makers of built-in operators read it.

use std::collections::BTreeMap;

use fame_core::{Error, Result, Tensor};

use crate::backends::onnx::host_operator::{Attribute, Attributes};

/// A node of a built-in operator: its attributes, its constant inputs, and which of its outputs is
/// asked for.
pub(super) struct Node {
    /// The attributes by name.
    pub(super) attributes: Attributes,
    /// The inputs that must be constant, by position.
    pub(super) settings: BTreeMap<usize, Tensor>,
    /// The positions of the other inputs that are given: the operator's inputs, in this order.
    pub(super) inputs: Vec<usize>,
    /// The output to compute, by position.
    pub(super) output: usize,
    /// The version of ONNX's operators.
    pub(super) opset: i64,
}

impl Node {
    /// A whole number, or `default`.
    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    /// A real number, if it is given.
    pub(super) fn float(&self, name: &str) -> Option<f32> {
        match self.attributes.get(name) {
            Some(Attribute::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// A word, or `default`.
    pub(super) fn text<'n>(&'n self, name: &str, default: &'n str) -> &'n str {
        match self.attributes.get(name) {
            Some(Attribute::Text(value)) => value,
            _ => default,
        }
    }

    /// A list of whole numbers, if it is given.
    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// The constant input at this position, if it is given.
    pub(super) fn setting(&self, position: usize) -> Option<&Tensor> {
        self.settings.get(&position)
    }

    /// The whole numbers of the constant input at this position, if it is given.
    pub(super) fn whole(&self, position: usize) -> Option<Vec<i64>> {
        Some(self.setting(position)?.data().iter().map(|v| *v as i64).collect())
    }

    /// Which of the operator's inputs the node's input at `position` is, if it is given.
    pub(super) fn input(&self, position: usize) -> Option<usize> {
        self.inputs.iter().position(|given| *given == position)
    }
}

/// The error of a node that asks for what is not supported.
pub(super) fn unsupported(what: impl std::fmt::Display) -> Error {
    Error::new("fame::backend::unsupported", format!("{what} is not supported"))
}

/// The error of inputs that do not go together.
pub(super) fn mismatch(what: impl std::fmt::Display) -> Error {
    Error::new("fame::backend::operator", what.to_string())
}

/// `axis`, counted from the end where it is negative, as an axis of `rank`.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    let axis_in = usize::try_from(counted).ok().filter(|axis| *axis < rank);
    axis_in.ok_or_else(|| mismatch(format_args!("there is no axis {axis} of {rank}")))
}

/// `index`, counted from the end where it is negative, as an index below `extent`.
pub(super) fn index_of(index: f32, extent: usize) -> Result<usize> {
    let counted = if index < 0.0 { index + extent as f32 } else { index };
    if counted >= 0.0 && counted < extent as f32 {
        return Ok(counted as usize);
    }
    Err(mismatch(format_args!("the index {index} is outside of an axis of {extent}")))
}

/// The elements of a row-major tensor along one axis: how many lines there are before and after it.
pub(super) struct Lines {
    /// The product of the extents in front of the axis.
    pub(super) outer: usize,
    /// The axis's extent.
    pub(super) extent: usize,
    /// The product of the extents behind the axis.
    pub(super) inner: usize,
}

impl Lines {
    /// The lines of `shape` along `axis`.
    pub(super) fn new(shape: &[usize], axis: usize) -> Self {
        Self {
            outer: shape[..axis].iter().product(),
            extent: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        }
    }

    /// Where each line begins.
    pub(super) fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        let (extent, inner) = (self.extent, self.inner);
        (0..self.outer).flat_map(move |o| (0..inner).map(move |i| o * extent * inner + i))
    }
}

/// The steps between neighbours along each axis of a row-major tensor.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Every index of `shape`, row-major.
pub(super) fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product()).map(move |mut linear: usize| {
        let mut index = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            index[axis] = linear % shape[axis];
            linear /= shape[axis];
        }
        index
    })
}
