//! `DeformConv`: a convolution whose taps are moved, and weighted, by what the network says.

use std::sync::Arc;

use fame_core::{Result, Tensor};

use super::BuiltIn;
use super::node::{Node, mismatch};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[BuiltIn::new("DeformConv", &[1, 3], build)];

/// The taps of a picture `[N, C, H, W]`, moved by offsets `[N, groups · taps · 2, …]` and weighted
/// by a mask `[N, groups · taps, …]`.
struct DeformConv {
    /// `[outputs, C / group, rows, columns]`.
    kernel: Tensor,
    bias: Option<Tensor>,
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Before and after each axis.
    pads: [usize; 4],
    group: usize,
    /// In how many groups of channels the offsets are shared.
    offset_groups: usize,
    has_mask: bool,
}

fn build(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let kernel = node.setting(1).ok_or_else(|| mismatch("its kernel is missing"))?;
    if kernel.shape().len() != 4 {
        return Err(mismatch("its kernel is not that of pictures"));
    }
    let sizes = |name: &str, default: usize, count: usize| -> Result<Vec<usize>> {
        let Some(values) = node.ints(name) else { return Ok(vec![default; count]) };
        let sizes: Option<Vec<usize>> = values.iter().map(|v| usize::try_from(*v).ok()).collect();
        let sizes = sizes.filter(|sizes| sizes.len() == count);
        sizes.ok_or_else(|| mismatch(format_args!("its {name} are {values:?}")))
    };
    let pair = |values: Vec<usize>| [values[0], values[1]];
    let pads = sizes("pads", 0, 4)?;
    let groups = |name: &str| {
        let groups = usize::try_from(node.int(name, 1)).ok().filter(|groups| *groups > 0);
        groups.ok_or_else(|| mismatch(format_args!("its {name} is not positive")))
    };
    Ok(Arc::new(DeformConv {
        kernel: kernel.clone(),
        bias: node.setting(3).cloned(),
        strides: pair(sizes("strides", 1, 2)?),
        dilations: pair(sizes("dilations", 1, 2)?),
        pads: [pads[0], pads[1], pads[2], pads[3]],
        group: groups("group")?,
        offset_groups: groups("offset_group")?,
        has_mask: node.input(4).is_some(),
    }))
}

/// One of the four elements around a point: its offset in the plane, its weight, and the weight's
/// derivatives along both axes.
type Corner = (usize, f64, [f64; 2]);

/// The elements around a point of a plane of `height` rows; outside of it is zero.
fn corners(y: f64, x: f64, height: usize, width: usize) -> Vec<Corner> {
    let (top, left) = (y.floor(), x.floor());
    let (dy, dx) = (y - top, x - left);
    let mut found = vec![];
    for (row, wy, sy) in [(top, 1.0 - dy, -1.0), (top + 1.0, dy, 1.0)] {
        for (column, wx, sx) in [(left, 1.0 - dx, -1.0), (left + 1.0, dx, 1.0)] {
            let inside =
                (0.0..height as f64).contains(&row) && (0.0..width as f64).contains(&column);
            if inside {
                let at = row as usize * width + column as usize;
                found.push((at, wy * wx, [sy * wx, wy * sx]));
            }
        }
    }
    found
}

/// A tap of one output position: where its offsets and mask are, and what it reads.
struct Tap {
    /// The offset's place in its tensor, along the first axis; the other is `step` behind.
    offset: usize,
    step: usize,
    mask: usize,
    corners: Vec<Corner>,
}

impl DeformConv {
    fn output(&self, x: &[usize]) -> Result<[usize; 2]> {
        let one = |axis: usize| {
            let padded = x[2 + axis] + self.pads[axis] + self.pads[2 + axis];
            let reach = (self.kernel.shape()[2 + axis] - 1) * self.dilations[axis] + 1;
            let room = padded.checked_sub(reach);
            room.map(|room| room / self.strides[axis].max(1) + 1)
                .ok_or_else(|| mismatch("its kernel is larger than its input"))
        };
        Ok([one(0)?, one(1)?])
    }

    fn taps(&self) -> usize {
        self.kernel.shape()[2] * self.kernel.shape()[3]
    }

    /// The tap `k` of group `g` for picture `n` at output position `at`.
    fn tap(
        &self,
        inputs: &[Tensor],
        out: [usize; 2],
        n: usize,
        g: usize,
        k: usize,
        at: usize,
    ) -> Tap {
        let (plane, taps, groups) = (out[0] * out[1], self.taps(), self.offset_groups);
        let channel = (n * groups + g) * taps + k;
        let (offset, mask) = (2 * channel * plane + at, channel * plane + at);
        let columns = self.kernel.shape()[3];
        let place = |axis: usize, position: usize, tap: usize| {
            let grid = position * self.strides[axis] + tap * self.dilations[axis];
            let moved = f64::from(inputs[1].data()[offset + axis * plane]);
            grid as f64 - self.pads[axis] as f64 + moved
        };
        let (y, x) = (place(0, at / out[1], k / columns), place(1, at % out[1], k % columns));
        let shape = inputs[0].shape();
        Tap { offset, step: plane, mask, corners: corners(y, x, shape[2], shape[3]) }
    }

    fn mask(&self, inputs: &[Tensor], at: usize) -> f64 {
        if self.has_mask { f64::from(inputs[2].data()[at]) } else { 1.0 }
    }

    /// Calls `f` with every channel `c` of the picture, tap and output position: the picture, the
    /// channel, the tap's number, and the tap.
    fn each_tap(
        &self,
        inputs: &[Tensor],
        out: [usize; 2],
        mut f: impl FnMut(usize, usize, usize, usize, &Tap),
    ) {
        let (pictures, channels) = (inputs[0].shape()[0], inputs[0].shape()[1]);
        let shared = channels / self.offset_groups;
        for n in 0..pictures {
            for g in 0..self.offset_groups {
                for k in 0..self.taps() {
                    for at in 0..out[0] * out[1] {
                        let tap = self.tap(inputs, out, n, g, k, at);
                        (g * shared..(g + 1) * shared).for_each(|c| f(n, c, k, at, &tap));
                    }
                }
            }
        }
    }

    /// The outputs that channel `c` of `channels` goes into, each with the kernel's element of tap
    /// `k`.
    fn uses(&self, c: usize, channels: usize, k: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let (outputs, each) = (self.kernel.shape()[0] / self.group, channels / self.group);
        let (group, inside) = (c / each, c % each);
        (group * outputs..(group + 1) * outputs)
            .map(move |o| (o, f64::from(self.kernel.data()[(o * each + inside) * self.taps() + k])))
    }
}

impl HostOperator for DeformConv {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let (Some(x), Some(offsets)) = (inputs.first(), inputs.get(1)) else {
            return Err(mismatch("it takes a picture and offsets"));
        };
        let kernel = self.kernel.shape();
        if x.len() != 4 || x[1] != kernel[1] * self.group || x[1] % self.offset_groups != 0 {
            return Err(mismatch(format_args!("a kernel {kernel:?} on {x:?}")));
        }
        let out = self.output(x)?;
        let channels = self.offset_groups * self.taps();
        let fits = offsets[..] == [x[0], 2 * channels, out[0], out[1]]
            && (!self.has_mask || inputs[2][..] == [x[0], channels, out[0], out[1]]);
        fits.then(|| vec![x[0], kernel[0], out[0], out[1]])
            .ok_or_else(|| mismatch(format_args!("offsets {offsets:?} for an output {out:?}")))
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape().to_vec()).collect();
        let shape = self.shape(&shapes)?;
        let (outputs, out) = (shape[1], [shape[2], shape[3]]);
        let (plane, channels) = (out[0] * out[1], shapes[0][1]);
        let size = shapes[0][2] * shapes[0][3];
        let mut y = vec![0f64; shape.iter().product()];
        if let Some(bias) = &self.bias {
            y.iter_mut()
                .enumerate()
                .for_each(|(at, y)| *y = f64::from(bias.data()[at / plane % outputs]));
        }
        self.each_tap(inputs, out, |n, c, k, at, tap| {
            let picture = &inputs[0].data()[(n * channels + c) * size..][..size];
            let read = |(place, weight, _): &Corner| weight * f64::from(picture[*place]);
            let value = self.mask(inputs, tap.mask) * tap.corners.iter().map(read).sum::<f64>();
            for (o, weight) in self.uses(c, channels, k) {
                y[(n * outputs + o) * plane + at] += weight * value;
            }
        });
        Tensor::new(shape, y.into_iter().map(|v| v as f32).collect())
    }

    fn pull_back(&self, inputs: &[Tensor], y: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let mut pulled: Vec<Tensor> = inputs.iter().map(|x| Tensor::zeros(x.shape())).collect();
        let (outputs, out) = (y.shape()[1], [y.shape()[2], y.shape()[3]]);
        let (plane, channels) = (out[0] * out[1], inputs[0].shape()[1]);
        let size = inputs[0].shape()[2] * inputs[0].shape()[3];
        self.each_tap(inputs, out, |n, channel, k, at, tap| {
            let begin = (n * channels + channel) * size;
            let picture = &inputs[0].data()[begin..][..size];
            let arrived: f64 = self
                .uses(channel, channels, k)
                .map(|(o, weight)| weight * f64::from(c.data()[(n * outputs + o) * plane + at]))
                .sum();
            let mask = self.mask(inputs, tap.mask);
            for (place, weight, slopes) in &tap.corners {
                let value = f64::from(picture[*place]);
                pulled[0].data_mut()[begin + place] += (arrived * mask * weight) as f32;
                for (axis, slope) in slopes.iter().enumerate() {
                    let moved = (arrived * mask * slope * value) as f32;
                    pulled[1].data_mut()[tap.offset + axis * tap.step] += moved;
                }
                if self.has_mask {
                    pulled[2].data_mut()[tap.mask] += (arrived * weight * value) as f32;
                }
            }
        });
        Ok(pulled.into_iter().map(Some).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check_at;
    use super::*;
    use crate::backends::onnx::fixtures::batch;

    #[test]
    fn picture_offsets_and_mask_have_gradients() {
        let operator = DeformConv {
            kernel: batch(&[4, 2, 2, 2], 700),
            bias: Some(batch(&[4], 900)),
            strides: [1, 2],
            dilations: [1, 1],
            pads: [1, 0, 0, 1],
            group: 2,
            offset_groups: 2,
            has_mask: true,
        };
        let out = operator.output(&[1, 4, 3, 4]).unwrap();
        // Away from whole numbers, where the slope jumps.
        let mut offsets = batch(&[1, 16, out[0], out[1]], 40);
        offsets.data_mut().iter_mut().for_each(|v| *v = v.signum() * (0.2 + 0.6 * v.abs()));
        let inputs = [batch(&[1, 4, 3, 4], 0), offsets, batch(&[1, 8, out[0], out[1]], 90)];
        check_at(&operator, &inputs, &[0, 1, 2]);
    }

    #[test]
    fn without_offsets_it_is_a_convolution() {
        let operator = DeformConv {
            kernel: Tensor::new([1, 1, 1, 2], vec![1.0, 10.0]).unwrap(),
            bias: None,
            strides: [1, 1],
            dilations: [1, 1],
            pads: [0; 4],
            group: 1,
            offset_groups: 1,
            has_mask: false,
        };
        let x = Tensor::new([1, 1, 1, 3], vec![1.0, 2.0, 3.0]).unwrap();
        let y = operator.forward(&[x, Tensor::zeros([1, 4, 1, 2])]).unwrap();
        assert_eq!(y.data(), [21.0, 32.0]);
    }
}
