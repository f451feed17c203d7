//! Updates written into a tensor at index tensors, one after another.

use std::sync::Arc;

use fame_core::{Result, Tensor};

use super::BuiltIn;
use super::node::{Node, axis_of, index_of, indices, mismatch, strides, unsupported};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[
    BuiltIn::new("ScatterElements", &[], elements),
    // Its name before opset 11.
    BuiltIn::new("Scatter", &[], elements),
    BuiltIn::new("ScatterND", &[], |node| {
        Ok(Arc::new(Scatter { place: Place::Slices, join: Join::of(node)? }))
    }),
];

fn elements(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let place = Place::Elements { axis: node.int("axis", 0) };
    Ok(Arc::new(Scatter { place, join: Join::of(node)? }))
}

/// What becomes of an element that an update meets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Join {
    /// The update takes its place.
    Replace,
    Add,
    Multiply,
    Max,
    Min,
}

impl Join {
    fn of(node: &Node) -> Result<Self> {
        Ok(match node.text("reduction", "none") {
            "none" => Self::Replace,
            "add" => Self::Add,
            "mul" => Self::Multiply,
            "max" => Self::Max,
            "min" => Self::Min,
            other => return Err(unsupported(format_args!("the reduction `{other}`"))),
        })
    }

    fn of_two(self, old: f32, update: f32) -> f32 {
        match self {
            Self::Replace => update,
            Self::Add => old + update,
            Self::Multiply => old * update,
            Self::Max => old.max(update),
            Self::Min => old.min(update),
        }
    }
}

/// How indices name places.
enum Place {
    /// Each index is that of one element along an axis.
    Elements { axis: i64 },
    /// The last axis of the indices names a slice.
    Slices,
}

/// The first input with updates (the third) at indices (the second).
struct Scatter {
    place: Place,
    join: Join,
}

impl Scatter {
    /// The element of the data that each update meets.
    fn targets(&self, data: &[usize], places: &Tensor, updates: &[usize]) -> Result<Vec<usize>> {
        let steps = strides(data);
        match self.place {
            Place::Elements { axis } => {
                let axis = axis_of(axis, data.len())?;
                let target = |(mut index, at): (Vec<usize>, &f32)| {
                    index[axis] = index_of(*at, data[axis])?;
                    Ok(index.iter().zip(&steps).map(|(i, step)| i * step).sum())
                };
                indices(updates).zip(places.data()).map(target).collect()
            }
            Place::Slices => {
                let depth = places.shape().last().copied().unwrap_or(0);
                let slice: usize = data[depth..].iter().product();
                let mut targets = vec![];
                for row in places.data().chunks(depth.max(1)) {
                    let mut start = 0;
                    for (k, at) in row.iter().enumerate() {
                        start += index_of(*at, data[k])? * steps[k];
                    }
                    targets.extend(start..start + slice);
                }
                Ok(targets)
            }
        }
    }

    fn read(inputs: &[Tensor]) -> Result<[&Tensor; 3]> {
        match inputs {
            [data, places, updates] => Ok([data, places, updates]),
            _ => Err(mismatch("it takes data, indices and updates")),
        }
    }
}

impl HostOperator for Scatter {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let [data, places, updates] = inputs else {
            return Err(mismatch("it takes data, indices and updates"));
        };
        let fits = match self.place {
            Place::Elements { axis } => {
                let axis = axis_of(axis, data.len())?;
                let inside = |k: usize| k == axis || updates[k] <= data[k];
                places == updates && data.len() == updates.len() && (0..data.len()).all(inside)
            }
            Place::Slices => places.split_last().is_some_and(|(depth, outer)| {
                *depth <= data.len() && *updates == [outer, &data[*depth..]].concat()
            }),
        };
        let wrong = || mismatch(format_args!("updates {updates:?} at {places:?} in {data:?}"));
        fits.then(|| data.clone()).ok_or_else(wrong)
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let [data, places, updates] = Self::read(inputs)?;
        let mut output = data.clone();
        let targets = self.targets(data.shape(), places, updates.shape())?;
        for (target, update) in targets.into_iter().zip(updates.data()) {
            let cell = &mut output.data_mut()[target];
            *cell = self.join.of_two(*cell, *update);
        }
        Ok(output)
    }

    fn pull_back(
        &self,
        inputs: &[Tensor],
        output: &Tensor,
        cotangent: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let [data, places, updates] = Self::read(inputs)?;
        let targets = self.targets(data.shape(), places, updates.shape())?;
        let mut of_data = cotangent.clone();
        let mut of_updates = Tensor::zeros(updates.shape());
        // Which updates meet each element, in order.
        let mut met: Vec<Vec<usize>> = vec![vec![]; data.len()];
        targets.iter().enumerate().for_each(|(update, target)| met[*target].push(update));
        for (place, met) in met.iter().enumerate().filter(|(_, met)| !met.is_empty()) {
            let c = cotangent.data()[place];
            let values: Vec<f32> = std::iter::once(data.data()[place])
                .chain(met.iter().map(|update| updates.data()[*update]))
                .collect();
            let shares = self.shares(&values, output.data()[place]);
            of_data.data_mut()[place] = c * shares[0];
            for (update, share) in met.iter().zip(&shares[1..]) {
                of_updates.data_mut()[*update] = c * share;
            }
        }
        Ok(vec![Some(of_data), None, Some(of_updates)])
    }
}

impl Scatter {
    /// The derivative of `joined` with respect to each of `values`, the first of which was there.
    fn shares(&self, values: &[f32], joined: f32) -> Vec<f32> {
        let last = values.len() - 1;
        match self.join {
            Join::Replace => (0..=last).map(|k| if k == last { 1.0 } else { 0.0 }).collect(),
            Join::Add => vec![1.0; values.len()],
            // The product of the others, without a division: one may be zero.
            Join::Multiply => {
                let others = |k: usize| values[..k].iter().chain(&values[k + 1..]).product();
                (0..=last).map(others).collect()
            }
            // Ties share the cotangent evenly.
            Join::Max | Join::Min => {
                let ties = values.iter().filter(|v| **v == joined).count().max(1) as f32;
                values.iter().map(|v| if *v == joined { 1.0 / ties } else { 0.0 }).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check_at;
    use super::*;
    use crate::backends::onnx::fixtures::batch;

    fn at(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape, values.to_vec()).unwrap()
    }

    #[test]
    fn every_way_of_joining_has_its_gradient() {
        for join in [Join::Replace, Join::Add, Join::Multiply, Join::Max, Join::Min] {
            let elements = Scatter { place: Place::Elements { axis: 1 }, join };
            let places = at(&[2, 2], &[1.0, 1.0, 0.0, -1.0]);
            let inputs = [batch(&[2, 3], 0), places, batch(&[2, 2], 50)];
            check_at(&elements, &inputs, &[0, 2]);
            let slices = Scatter { place: Place::Slices, join };
            let inputs = [batch(&[3, 2], 0), at(&[3, 1], &[2.0, 0.0, 2.0]), batch(&[3, 2], 50)];
            check_at(&slices, &inputs, &[0, 2]);
        }
    }

    #[test]
    fn the_last_update_of_a_place_stays() {
        let slices = Scatter { place: Place::Slices, join: Join::Replace };
        let inputs = [at(&[3], &[0.0; 3]), at(&[2, 1], &[1.0, 1.0]), at(&[2], &[5.0, 6.0])];
        assert_eq!(slices.forward(&inputs).unwrap().data(), [0.0, 6.0, 0.0]);
        assert!(slices.shape(&[vec![3], vec![2, 1], vec![3]]).is_err());
    }
}
