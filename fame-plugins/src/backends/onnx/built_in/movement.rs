//! Operators whose output is made of elements of the first input, and of zeros: each says where
//! every element comes from.

use std::sync::Arc;

use fame_core::{Error, Result, Tensor};

use super::BuiltIn;
use super::node::{Lines, Node, axis_of, indices, mismatch, strides, unsupported};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[
    BuiltIn::new("Compress", &[1], compress),
    BuiltIn::new("Trilu", &[1], trilu),
    BuiltIn::new("MaxUnpool", &[2], max_unpool),
    BuiltIn { whole: &[1], ..BuiltIn::new("TopK", &[1], top_k) },
];

/// Where the elements of an output come from.
pub(super) trait Movement: Send + Sync {
    /// The shape of the output for inputs of these shapes.
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>>;

    /// For each element of the output, row-major, the element of the first input that it is; `None`
    /// for a zero.
    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>>;
}

/// A movement as an operator.
pub(super) struct Moved<M>(pub(super) M);

pub(super) fn first(inputs: &[Tensor]) -> Result<&Tensor> {
    inputs.first().ok_or_else(|| Error::bug("an operator without its input."))
}

impl<M: Movement> HostOperator for Moved<M> {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        self.0.shape(inputs)
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = first(inputs)?;
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape().to_vec()).collect();
        let values = self.0.sources(inputs)?;
        let values = values.into_iter().map(|from| from.map_or(0.0, |from| x.data()[from]));
        Tensor::new(self.0.shape(&shapes)?, values.collect())
    }

    fn pull_back(&self, inputs: &[Tensor], _: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let mut gradient = Tensor::zeros(first(inputs)?.shape());
        for (from, c) in self.0.sources(inputs)?.into_iter().zip(c.data()) {
            if let Some(from) = from {
                gradient.data_mut()[from] += c;
            }
        }
        let mut pulled = vec![None; inputs.len()];
        pulled[0] = Some(gradient);
        Ok(pulled)
    }
}

pub(super) fn data_of(inputs: &[Vec<usize>]) -> Result<&Vec<usize>> {
    inputs.first().ok_or_else(|| mismatch("its input is missing"))
}

/// The elements along an axis at which a condition holds.
struct Compress {
    /// `None`: all axes are one.
    axis: Option<i64>,
    kept: Vec<usize>,
}

fn compress(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let condition = node.setting(1).ok_or_else(|| mismatch("its condition is missing"))?;
    let kept = condition.data().iter().enumerate().filter(|(_, holds)| **holds != 0.0);
    let kept = kept.map(|(ix, _)| ix).collect();
    let axis = node.attributes.contains_key("axis").then(|| node.int("axis", 0));
    Ok(Arc::new(Moved(Compress { axis, kept })))
}

impl Compress {
    fn lines(&self, shape: &[usize]) -> Result<(Lines, Option<usize>)> {
        let lines = match self.axis {
            None => (Lines { outer: 1, extent: shape.iter().product(), inner: 1 }, None),
            Some(axis) => {
                let axis = axis_of(axis, shape.len())?;
                (Lines::new(shape, axis), Some(axis))
            }
        };
        match self.kept.iter().find(|ix| **ix >= lines.0.extent) {
            Some(ix) => Err(mismatch(format_args!("it keeps element {ix} of {}", lines.0.extent))),
            None => Ok(lines),
        }
    }
}

impl Movement for Compress {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let mut shape = data_of(inputs)?.clone();
        match self.lines(&shape)? {
            (_, None) => shape = vec![self.kept.len()],
            (_, Some(axis)) => shape[axis] = self.kept.len(),
        }
        Ok(shape)
    }

    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>> {
        let (lines, _) = self.lines(first(inputs)?.shape())?;
        let mut sources = vec![];
        for outer in 0..lines.outer {
            for kept in &self.kept {
                let from = (outer * lines.extent + kept) * lines.inner;
                sources.extend((from..from + lines.inner).map(Some));
            }
        }
        Ok(sources)
    }
}

/// The triangle of a matrix above or below a diagonal.
struct Trilu {
    diagonal: i64,
    upper: bool,
}

#[allow(clippy::unnecessary_wraps)] // as the table of operators wants it
fn trilu(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let diagonal = node.whole(1).and_then(|k| k.first().copied()).unwrap_or(0);
    Ok(Arc::new(Moved(Trilu { diagonal, upper: node.int("upper", 1) == 1 })))
}

impl Movement for Trilu {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let shape = data_of(inputs)?;
        if shape.len() < 2 {
            return Err(mismatch("its input is no matrix"));
        }
        Ok(shape.clone())
    }

    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>> {
        let shape = first(inputs)?.shape();
        let source = |(place, index): (usize, Vec<usize>)| {
            let [.., row, column] = index[..] else { return None };
            let above = column as i64 - row as i64;
            let is_in = if self.upper { above >= self.diagonal } else { above <= self.diagonal };
            is_in.then_some(place)
        };
        Ok(indices(shape).enumerate().map(source).collect())
    }
}

/// Maxima put back to where they were found.
struct MaxUnpool {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    pads: Vec<usize>,
    /// The output's shape, where the node says it.
    shape: Option<Vec<usize>>,
}

fn max_unpool(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let counts = |values: &[i64]| -> Result<Vec<usize>> {
        let counts: Option<_> = values.iter().map(|v| usize::try_from(*v).ok()).collect();
        counts.ok_or_else(|| mismatch("a negative size"))
    };
    let kernel = counts(node.ints("kernel_shape").unwrap_or_default())?;
    let axes = kernel.len();
    let ones = vec![1; axes];
    Ok(Arc::new(Moved(MaxUnpool {
        strides: counts(node.ints("strides").unwrap_or(&ones))?,
        pads: counts(node.ints("pads").unwrap_or(&vec![0; 2 * axes]))?,
        shape: node.whole(2).map(|shape| counts(&shape)).transpose()?,
        kernel,
    })))
}

impl MaxUnpool {
    /// The shape that was pooled, as the window says; the indices count in it.
    fn pooled(&self, shape: &[usize]) -> Result<Vec<usize>> {
        let axes = self.kernel.len();
        if shape.len() != axes + 2 || self.strides.len() != axes || self.pads.len() != 2 * axes {
            return Err(mismatch(format_args!("its window does not fit {shape:?}")));
        }
        let mut pooled = shape.to_vec();
        for k in 0..axes {
            let full = (shape[k + 2].max(1) - 1) * self.strides[k] + self.kernel[k];
            let padding = self.pads[k] + self.pads[axes + k];
            pooled[k + 2] = full
                .checked_sub(padding)
                .ok_or_else(|| mismatch("its padding is larger than its output"))?;
        }
        Ok(pooled)
    }
}

impl Movement for MaxUnpool {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let pooled = self.pooled(data_of(inputs)?)?;
        match &self.shape {
            None => Ok(pooled),
            Some(shape) if shape.len() == pooled.len() => Ok(shape.clone()),
            Some(shape) => {
                Err(mismatch(format_args!("its output_shape {shape:?} is of another rank")))
            }
        }
    }

    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>> {
        let [x, places, ..] = inputs else { return Err(mismatch("its indices are missing")) };
        let shape = self.shape(&[x.shape().to_vec()])?;
        let mut sources = vec![None; shape.iter().product()];
        // The indices count in the shape that was pooled, which may be smaller than the output.
        let (from, to) = (strides(&self.pooled(x.shape())?), strides(&shape));
        for (k, place) in places.data().iter().enumerate() {
            let mut rest = *place as usize;
            let mut at = 0;
            for (from, to) in from.iter().zip(&to) {
                at += rest / from * to;
                rest %= from;
            }
            let cell = sources.get_mut(at);
            *cell.ok_or_else(|| mismatch(format_args!("the index {place} is outside")))? = Some(k);
        }
        Ok(sources)
    }
}

/// The largest or smallest elements along an axis, sorted; of equal ones the first.
struct TopK {
    count: usize,
    axis: i64,
    largest: bool,
    /// The places along the axis are asked for, not the values.
    places: bool,
}

fn top_k(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let count = node.whole(1).and_then(|k| k.first().copied()).or_else(|| {
        // Before opset 10 it was an attribute.
        node.attributes.contains_key("k").then(|| node.int("k", 0))
    });
    let count = count.and_then(|k| usize::try_from(k).ok());
    let count = count.ok_or_else(|| mismatch("its count is missing or negative"))?;
    if node.output > 1 {
        return Err(unsupported("a third output"));
    }
    let (axis, largest) = (node.int("axis", -1), node.int("largest", 1) == 1);
    let top = TopK { count, axis, largest, places: node.output == 1 };
    if top.places { Ok(Arc::new(TopPlaces(top))) } else { Ok(Arc::new(Moved(top))) }
}

impl Movement for TopK {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let mut shape = data_of(inputs)?.clone();
        let axis = axis_of(self.axis, shape.len())?;
        if self.count > shape[axis] {
            return Err(mismatch(format_args!("the first {} of {}", self.count, shape[axis])));
        }
        shape[axis] = self.count;
        Ok(shape)
    }

    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>> {
        let x = first(inputs)?;
        let lines = Lines::new(x.shape(), axis_of(self.axis, x.shape().len())?);
        let mut sources = vec![None; lines.outer * self.count * lines.inner];
        for (line, start) in lines.starts().enumerate() {
            let mut places: Vec<usize> =
                (0..lines.extent).map(|k| start + k * lines.inner).collect();
            // A stable sort: of equal elements the first stays first.
            places.sort_by(|a, b| {
                let (a, b) = (x.data()[*a], x.data()[*b]);
                if self.largest { b.total_cmp(&a) } else { a.total_cmp(&b) }
            });
            let (outer, inner) = (line / lines.inner, line % lines.inner);
            for (k, place) in places.into_iter().take(self.count).enumerate() {
                sources[(outer * self.count + k) * lines.inner + inner] = Some(place);
            }
        }
        Ok(sources)
    }
}

/// Where the elements of a [`TopK`] are along its axis.
struct TopPlaces(TopK);

impl HostOperator for TopPlaces {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        self.0.shape(inputs)
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = first(inputs)?;
        let lines = Lines::new(x.shape(), axis_of(self.0.axis, x.shape().len())?);
        let places = self.0.sources(inputs)?.into_iter().flatten();
        let places = places.map(|place| (place / lines.inner % lines.extent) as f32).collect();
        Tensor::new(self.0.shape(&[x.shape().to_vec()])?, places)
    }

    fn pull_back(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None])
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::difference::{check, check_at};
    use super::*;

    pub(in super::super) fn run<M: Movement>(
        movement: M,
        shape: &[usize],
        more: Vec<Tensor>,
    ) -> Vec<f32> {
        let count = shape.iter().product();
        let x = Tensor::new(shape, (0..count).map(|i: usize| i as f32 + 1.0).collect()).unwrap();
        let inputs: Vec<Tensor> = std::iter::once(x).chain(more).collect();
        let operator = Moved(movement);
        check_at(&operator, &inputs, &[0]);
        operator.forward(&inputs).unwrap().into_data()
    }

    #[test]
    fn elements_go_where_the_operator_says() {
        let kept = Compress { axis: Some(1), kept: vec![0, 2] };
        assert_eq!(run(kept, &[2, 3], vec![]), [1.0, 3.0, 4.0, 6.0]);
        let flat = Compress { axis: None, kept: vec![1, 5] };
        assert_eq!(run(flat, &[2, 3], vec![]), [2.0, 6.0]);
        let upper = Trilu { diagonal: 1, upper: true };
        assert_eq!(run(upper, &[2, 3], vec![]), [0.0, 2.0, 3.0, 0.0, 0.0, 6.0]);
        let lower = Trilu { diagonal: 0, upper: false };
        assert_eq!(run(lower, &[2, 3], vec![]), [1.0, 0.0, 0.0, 4.0, 5.0, 0.0]);
        let window = MaxUnpool { kernel: vec![2], strides: vec![2], pads: vec![0, 0], shape: None };
        let places = Tensor::new([1, 1, 2], vec![1.0, 2.0]).unwrap();
        assert_eq!(run(window, &[1, 1, 2], vec![places]), [0.0, 1.0, 2.0, 0.0]);
    }

    #[test]
    fn the_largest_are_sorted_and_their_places_told() {
        let top = |largest, places| TopK { count: 2, axis: -1, largest, places };
        let x = Tensor::new([2, 3], vec![1.0, 3.0, 2.0, 5.0, 5.0, 4.0]).unwrap();
        let values = Moved(top(true, false)).forward(std::slice::from_ref(&x)).unwrap();
        assert_eq!(values.data(), [3.0, 2.0, 5.0, 5.0]);
        let places = TopPlaces(top(true, true)).forward(std::slice::from_ref(&x)).unwrap();
        assert_eq!(places.data(), [1.0, 2.0, 0.0, 1.0]);
        let values = Moved(top(false, false)).forward(&[x]).unwrap();
        assert_eq!(values.data(), [1.0, 2.0, 4.0, 5.0]);
        check(&Moved(top(true, false)), &[&[2, 5]], &[0]);
    }
}
