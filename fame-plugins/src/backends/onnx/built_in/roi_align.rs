//! `RoiAlign`: regions of a picture pooled to one size.
//!
//! Each output is made of samples between elements, as in torchvision. The gradient goes to the
//! picture and to the corners of the regions, which move the samples.

use std::sync::Arc;

use fame_core::{Result, Tensor};

use super::BuiltIn;
use super::node::{Node, index_of, mismatch, unsupported};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[BuiltIn::new("RoiAlign", &[], build)];

struct RoiAlign {
    size: [usize; 2],
    /// Samples of a bin along each axis; 0: as many as it has elements.
    samples: usize,
    /// Elements of the picture for one of the regions' units.
    scale: f64,
    /// Coordinates are those of corners, not of middles, of elements.
    half_pixel: bool,
    /// The largest weighted element instead of the mean.
    max: bool,
}

fn build(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let count = |name: &str, default: i64| {
        let count = usize::try_from(node.int(name, default));
        count.map_err(|_| mismatch(format_args!("its {name} is negative")))
    };
    // Before opset 16 there was only the one without the half.
    let default = if node.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match node.text("coordinate_transformation_mode", default) {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return Err(unsupported(format_args!("the coordinate transformation `{other}`"))),
    };
    let max = match node.text("mode", "avg") {
        "avg" => false,
        "max" => true,
        other => return Err(unsupported(format_args!("the mode `{other}`"))),
    };
    Ok(Arc::new(RoiAlign {
        size: [count("output_height", 1)?, count("output_width", 1)?],
        samples: count("sampling_ratio", 0)?,
        scale: f64::from(node.float("spatial_scale").unwrap_or(1.0)),
        half_pixel,
        max,
    }))
}

/// One region along one axis.
struct Span {
    start: f64,
    length: f64,
    bins: usize,
    samples: usize,
    /// The derivative of the length with respect to the region's end.
    stretch: f64,
}

/// An element of the picture that a sample reads: where it is along an axis, its weight, and the
/// derivatives of that with respect to the region's start and end.
#[derive(Clone, Copy)]
struct Tap {
    at: usize,
    weight: f64,
    of_start: f64,
    of_end: f64,
}

impl Span {
    /// The elements that sample `k` of `bin` reads on an axis of `extent`; none outside.
    fn taps(&self, bin: usize, k: usize, extent: usize) -> Option<[Tap; 2]> {
        let share = (bin as f64 + (k as f64 + 0.5) / self.samples as f64) / self.bins as f64;
        let mut at = self.start + share * self.length;
        if at < -1.0 || at > extent as f64 {
            return None;
        }
        let (mut of_start, mut of_end) = (1.0 - share * self.stretch, share * self.stretch);
        let last = extent - 1;
        if at <= 0.0 || at >= last as f64 {
            at = at.clamp(0.0, last as f64);
            (of_start, of_end) = (0.0, 0.0);
        }
        let low = (at as usize).min(last);
        let t = at - low as f64;
        Some([
            Tap { at: low, weight: 1.0 - t, of_start: -of_start, of_end: -of_end },
            Tap { at: (low + 1).min(last), weight: t, of_start, of_end },
        ])
    }
}

impl RoiAlign {
    /// The region `roi` (x₁, y₁, x₂, y₂) along height and width.
    fn spans(&self, roi: &[f32]) -> [Span; 2] {
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let span = |axis: usize| {
            let place = |ix: usize| f64::from(roi[ix]) * self.scale - offset;
            let start = place(1 - axis);
            let length = place(3 - axis) - start;
            let is_short = !self.half_pixel && length < 1.0;
            let length = if is_short { 1.0 } else { length };
            let bins = self.size[axis];
            let own = (length / bins as f64).ceil().max(0.0) as usize;
            let samples = if self.samples > 0 { self.samples } else { own };
            Span { start, length, bins, samples, stretch: if is_short { 0.0 } else { 1.0 } }
        };
        [span(0), span(1)]
    }

    /// For every output of every region, row-major without channels, the region, the picture in
    /// the batch, and the pairs of taps with the number of samples.
    fn each_bin(
        &self,
        inputs: &[Tensor],
        mut f: impl FnMut(usize, usize, usize, &[[Tap; 2]], f64),
    ) -> Result<()> {
        let [x, rois, batch] = inputs else { return Err(mismatch("it takes three inputs")) };
        let [pictures, _, height, width] = x.shape()[..] else {
            return Err(mismatch("its picture is not four-dimensional"));
        };
        for (region, (roi, picture)) in rois.data().chunks(4).zip(batch.data()).enumerate() {
            let picture = index_of(*picture, pictures)?;
            let [rows, columns] = self.spans(roi);
            let count = (rows.samples * columns.samples).max(1) as f64;
            for bin in 0..self.size[0] * self.size[1] {
                let (y, x) = (bin / self.size[1], bin % self.size[1]);
                let mut taps = vec![];
                for sample in 0..rows.samples * columns.samples {
                    let (i, j) = (sample / columns.samples, sample % columns.samples);
                    let (Some(row), Some(column)) =
                        (rows.taps(y, i, height), columns.taps(x, j, width))
                    else {
                        continue;
                    };
                    taps.extend(row.iter().flat_map(|r| column.iter().map(move |c| [*r, *c])));
                }
                f(region, picture, bin, &taps, count);
            }
        }
        Ok(())
    }

    /// Those of `taps` that make the value in a plane, and what they are divided by.
    fn chosen<'t>(
        &self,
        taps: &'t [[Tap; 2]],
        value: impl Fn(&[Tap; 2]) -> f64,
        count: f64,
    ) -> (&'t [[Tap; 2]], f64) {
        if !self.max {
            return (taps, count);
        }
        let best = (0..taps.len()).max_by(|a, b| value(&taps[*a]).total_cmp(&value(&taps[*b])));
        (best.map_or(&[], |best| &taps[best..=best]), 1.0)
    }
}

/// What a pair of taps reads in a plane.
fn read(plane: &[f32], width: usize, [row, column]: &[Tap; 2]) -> f64 {
    row.weight * column.weight * f64::from(plane[row.at * width + column.at])
}

impl HostOperator for RoiAlign {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        match inputs {
            [x, rois, batch] if x.len() == 4 && rois[..] == [batch[0], 4] => {
                Ok(vec![rois[0], x[1], self.size[0], self.size[1]])
            }
            _ => Err(mismatch(format_args!("inputs of shapes {inputs:?}"))),
        }
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape().to_vec()).collect();
        let mut y = Tensor::zeros(self.shape(&shapes)?);
        let (channels, bins) = (inputs[0].shape()[1], self.size[0] * self.size[1]);
        let plane: usize = inputs[0].shape()[2..].iter().product();
        let width = inputs[0].shape()[3];
        self.each_bin(inputs, |region, picture, bin, taps, count| {
            for c in 0..channels {
                let plane = &inputs[0].data()[(picture * channels + c) * plane..][..plane];
                let (taps, count) = self.chosen(taps, |taps| read(plane, width, taps), count);
                let sum: f64 = taps.iter().map(|taps| read(plane, width, taps)).sum();
                y.data_mut()[(region * channels + c) * bins + bin] = (sum / count) as f32;
            }
        })?;
        Ok(y)
    }

    fn pull_back(&self, inputs: &[Tensor], _: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (mut of_x, mut of_rois) =
            (Tensor::zeros(inputs[0].shape()), Tensor::zeros(inputs[1].shape()));
        let (channels, bins) = (inputs[0].shape()[1], self.size[0] * self.size[1]);
        let size: usize = inputs[0].shape()[2..].iter().product();
        let width = inputs[0].shape()[3];
        self.each_bin(inputs, |region, picture, bin, taps, count| {
            for channel in 0..channels {
                let begin = (picture * channels + channel) * size;
                let plane = &inputs[0].data()[begin..][..size];
                let (taps, count) = self.chosen(taps, |taps| read(plane, width, taps), count);
                let arrived =
                    f64::from(c.data()[(region * channels + channel) * bins + bin]) / count;
                for [row, column] in taps {
                    let at = row.at * width + column.at;
                    of_x.data_mut()[begin + at] += (arrived * row.weight * column.weight) as f32;
                    let value = arrived * f64::from(plane[at]) * self.scale;
                    let moved = [
                        column.of_start * row.weight,
                        row.of_start * column.weight,
                        column.of_end * row.weight,
                        row.of_end * column.weight,
                    ];
                    for (k, moved) in moved.iter().enumerate() {
                        of_rois.data_mut()[region * 4 + k] += (value * moved) as f32;
                    }
                }
            }
        })?;
        Ok(vec![Some(of_x), Some(of_rois), None])
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check_at;
    use super::*;
    use crate::backends::onnx::fixtures::batch;

    #[test]
    fn regions_move_and_are_moved() {
        let rois = vec![0.23, 0.41, 2.87, 3.43, 1.12, -0.71, 3.57, 2.36];
        let inputs = [
            batch(&[2, 2, 4, 4], 0),
            Tensor::new([2, 4], rois).unwrap(),
            Tensor::vector(vec![1.0, 0.0]),
        ];
        for half_pixel in [false, true] {
            for max in [false, true] {
                let size = [2, 3];
                let operator = RoiAlign { size, samples: 2, scale: 1.0, half_pixel, max };
                check_at(&operator, &inputs, &[0, 1]);
            }
        }
    }
}
