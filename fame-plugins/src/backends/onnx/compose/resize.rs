//! `Resize` where tract's own is not onnxruntime's or has no gradient: `keep_aspect_ratio_policy`,
//! and `align_corners` by scales that are no whole numbers.
//!
//! Source: ONNX's Resize. Along each axis the operator is a matrix; it is computed here in f64 and
//! multiplied. In one thing the sources differ. `align_corners` by the scale 1.3 makes 10 elements
//! of 8: ONNX's text then divides by 1.3 · 8 − 1 = 9.4, so that corners are *not* aligned, and
//! onnxruntime and PyTorch, which exports such nodes, by 10 − 1. Networks are trained with the
//! second, which is taken here for enlarging. For shrinking ONNX tests its own text, and
//! onnxruntime fails; nobody's numbers are right there, and it is refused.

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_core::internal::*;

use super::op::{Outputs, composed};
use super::writer::{Writer, axis};

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("Resize", |ctx, node| {
        if keeps_aspect(node) || has_fractional_corners(ctx, node) {
            return composed(ctx, node, &[2, 3], resize);
        }
        super::super::operators::resize(ctx, node)
    });
}

fn text<'n>(node: &'n NodeProto, name: &str) -> &'n [u8] {
    node.attribute.iter().find(|a| a.name == name).map_or(b"", |a| a.s.as_slice())
}

fn is_given(node: &NodeProto, ix: usize) -> bool {
    node.input.get(ix).is_some_and(|name| !name.is_empty())
}

fn keeps_aspect(node: &NodeProto) -> bool {
    let policy = text(node, "keep_aspect_ratio_policy");
    !policy.is_empty() && policy != b"stretch" && is_given(node, 3)
}

/// Whether the scales of `align_corners` leave tract's corners unaligned.
fn has_fractional_corners(ctx: &ParsingContext, node: &NodeProto) -> bool {
    if text(node, "coordinate_transformation_mode") != b"align_corners" || !is_given(node, 2) {
        return false;
    }
    let Some(graph) = ctx.model.graph.as_ref() else { return false };
    let weight = graph.initializer.iter().find(|weight| weight.name == node.input[2]);
    let constant = || {
        let node = graph.node.iter().find(|n| n.output.first() == node.input.get(2))?;
        node.attribute.iter().find(|a| a.name == "value")?.t.as_ref()
    };
    let scales = |tensor: &TensorProto| -> Option<Vec<f32>> {
        let tensor = ctx.load_tensor(tensor).ok()?;
        Some(tensor.to_plain_array_view::<f32>().ok()?.iter().copied().collect())
    };
    let scales = weight.or_else(constant).and_then(scales).unwrap_or_default();
    scales.iter().any(|scale| scale.fract() != 0.0)
}

fn resize(w: &mut Writer) -> TractResult<Outputs> {
    let mut x = w.needed(0)?;
    let shape = w.shape(x)?;
    let rank = shape.len();
    let axes: Vec<usize> = match w.ints("axes") {
        Some(axes) => axes.iter().map(|at| axis(*at, rank)).collect::<TractResult<_>>()?,
        None => (0..rank).collect(),
    };
    let frame = Frame::new(w)?;
    let by_scales = w.input(2).is_some();
    for (axis, along) in axes.iter().zip(extents(w, &shape, &axes)?) {
        if along.to == along.from && along.scale == 1.0 {
            continue;
        }
        ensure!(
            !by_scales || along.scale >= 1.0,
            "for align_corners with the scale {}, ONNX's text and onnxruntime give different \
             numbers; with sizes instead of scales they agree",
            along.scale as f32
        );
        x = product(w, x, *axis, &along, &frame.matrix(&along)?)?;
    }
    Ok(tvec!(Some(x)))
}

/// How one axis is resized.
struct Along {
    from: usize,
    to: usize,
    scale: f64,
}

/// How the axes are resized by the scales or sizes that are given.
fn extents(w: &Writer, shape: &[usize], axes: &[usize]) -> TractResult<Vec<Along>> {
    if let Some(scales) = w.floats_input(2)?.filter(|scales| !scales.is_empty()) {
        ensure!(scales.len() == axes.len(), "{} scales for {} axes", scales.len(), axes.len());
        let along = |(axis, scale): (&usize, f32)| {
            let (from, scale) = (shape[*axis], f64::from(scale));
            Along { from, to: (from as f64 * scale).floor() as usize, scale }
        };
        return Ok(axes.iter().zip(scales).map(along).collect());
    }
    let sizes = w.integers_input(3)?.context("Resize without scales and sizes")?;
    ensure!(sizes.len() == axes.len(), "{} sizes for {} axes", sizes.len(), axes.len());
    let ratios = axes.iter().zip(&sizes).map(|(axis, size)| *size as f64 / shape[*axis] as f64);
    let scale = match w.text("keep_aspect_ratio_policy").as_deref() {
        Some("not_larger") => ratios.fold(f64::INFINITY, f64::min),
        Some("not_smaller") => ratios.fold(0.0, f64::max),
        policy => bail!("the policy {policy:?} of Resize is not known"),
    };
    let along = |axis: &usize| {
        let from = shape[*axis];
        Along { from, to: (from as f64 * scale + 0.5).floor() as usize, scale }
    };
    Ok(axes.iter().map(along).collect())
}

/// `x` with the row-major matrix `[to, from]` applied along `axis`.
fn product(
    w: &mut Writer,
    x: OutletId,
    axis: usize,
    along: &Along,
    matrix: &[f32],
) -> TractResult<OutletId> {
    let matrix = w.floats(&[along.to, along.from], matrix)?;
    let letters: Vec<char> = ('a'..='y').take(w.rank(x)?).collect();
    ensure!(axis < letters.len(), "Resize of too many axes");
    let word = |new: char| -> String {
        letters.iter().enumerate().map(|(at, old)| if at == axis { new } else { *old }).collect()
    };
    let expression = format!("{},Z{}->{}", word(letters[axis]), letters[axis], word('Z'));
    w.einsum(&expression, &[x, matrix])
}

/// Where an element of the output lies in the input, and which elements it is made of.
struct Frame {
    transform: String,
    mode: String,
    nearest: String,
    cubic: f64,
    exclude_outside: bool,
}

impl Frame {
    fn new(w: &Writer) -> TractResult<Self> {
        ensure!(
            w.int("antialias").unwrap_or(0) == 0,
            "`antialias` together with `keep_aspect_ratio_policy` or align_corners is not supported"
        );
        let text = |name: &str, default: &str| w.text(name).unwrap_or_else(|| default.to_owned());
        Ok(Self {
            transform: text("coordinate_transformation_mode", "half_pixel"),
            mode: text("mode", "nearest"),
            nearest: text("nearest_mode", "round_prefer_floor"),
            cubic: f64::from(w.float("cubic_coeff_a").unwrap_or(-0.75)),
            exclude_outside: w.int("exclude_outside").unwrap_or(0) != 0,
        })
    }

    /// The place in the input of element `at` of the output.
    fn place(&self, at: f64, along: &Along) -> TractResult<f64> {
        let (from, scale) = (along.from as f64, along.scale);
        let width = from * scale;
        let centre = (at + 0.5) / scale - 0.5;
        Ok(match self.transform.as_str() {
            "align_corners" if along.to <= 1 => 0.0,
            "align_corners" => at * (from - 1.0) / (along.to as f64 - 1.0),
            "asymmetric" => at / scale,
            "pytorch_half_pixel" if (width - 1.0).abs() < f64::EPSILON => -0.5,
            "half_pixel" | "pytorch_half_pixel" => centre,
            "half_pixel_symmetric" => from / 2.0 * (1.0 - along.to as f64 / width) + centre,
            other => bail!("the frame `{other}` of Resize is not supported here"),
        })
    }

    /// The first element that counts at `place`, and what each counts from there on.
    fn weights(&self, place: f64) -> TractResult<(i64, Vec<f64>)> {
        let below = place.floor();
        let r = place - below;
        let below = below as i64;
        Ok(match self.mode.as_str() {
            "nearest" => {
                let up = match self.nearest.as_str() {
                    "floor" => false,
                    "ceil" => r > 0.0,
                    "round_prefer_floor" => r > 0.5,
                    "round_prefer_ceil" => r >= 0.5,
                    other => bail!("the rounding `{other}` of Resize is not known"),
                };
                (below + i64::from(up), vec![1.0])
            }
            "linear" => (below, vec![1.0 - r, r]),
            "cubic" => (below - 1, [1.0 + r, r, 1.0 - r, 2.0 - r].map(|d| self.kernel(d)).to_vec()),
            other => bail!("the mode `{other}` of Resize is not known"),
        })
    }

    /// Keys' cubic convolution kernel at distance `d`.
    fn kernel(&self, d: f64) -> f64 {
        let a = self.cubic;
        if d <= 1.0 {
            ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
        } else {
            ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
        }
    }

    /// The row-major matrix `[to, from]`.
    fn matrix(&self, along: &Along) -> TractResult<Vec<f32>> {
        let mut matrix = vec![0f64; along.to * along.from];
        for (at, row) in matrix.chunks_mut(along.from).enumerate() {
            let (first, mut weights) = self.weights(self.place(at as f64, along)?)?;
            let inside = |at: i64| (0..along.from as i64).contains(&at);
            if self.exclude_outside {
                for (k, weight) in weights.iter_mut().enumerate() {
                    *weight *= f64::from(u8::from(inside(first + k as i64)));
                }
                let sum: f64 = weights.iter().sum();
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
            for (k, weight) in weights.into_iter().enumerate() {
                let at = (first + k as i64).clamp(0, along.from as i64 - 1);
                row[usize::try_from(at)?] += weight;
            }
        }
        Ok(matrix.into_iter().map(|v| v as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(transform: &str, mode: &str) -> Frame {
        Frame {
            transform: transform.into(),
            mode: mode.into(),
            nearest: "round_prefer_floor".into(),
            cubic: -0.75,
            exclude_outside: false,
        }
    }

    #[test]
    fn corners_are_aligned_whatever_the_scale() {
        // 4 · 1.4 = 5.6 → 5 elements; the second lies at 3 / 4.
        let along = Along { from: 4, to: 5, scale: 1.4 };
        let matrix = frame("align_corners", "linear").matrix(&along).unwrap();
        let want = [1.0, 0.0, 0.0, 0.0, 0.25, 0.75, 0.0, 0.0];
        assert!(matrix.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(matrix[16..], [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn every_row_sums_to_one() {
        let along = Along { from: 5, to: 8, scale: 1.6 };
        for mode in ["nearest", "linear", "cubic"] {
            for transform in ["half_pixel", "asymmetric", "half_pixel_symmetric"] {
                let matrix = frame(transform, mode).matrix(&along).unwrap();
                assert!(matrix.chunks(5).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
            }
        }
    }
}
