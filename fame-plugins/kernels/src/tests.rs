//! Every kernel, at every level of this machine, against a convolution in double precision.

use super::bf16_tile::{Instructions, rounded};
use super::buffer::Scratch;
use super::convolution::{ALL, Algorithm, Convolution};
use super::epilogue::{Epilogue, Then};
use super::geometry::{Direction, Geometry};
use super::picture::Picture;
use super::vector::Level;

/// The largest difference of a sum in single precision from one in double precision, relative to the
/// largest output: a few hundred terms, each rounded to 6e-8, of random sign.
const SUM_TOLERANCE: f64 = 2e-6;
/// The same for F(2×2, 3×3), whose transforms add a few roundings of values up to four times as
/// large.
const WINOGRAD2_TOLERANCE: f64 = 4e-6;
/// The same for F(4×4, 3×3), whose factors go up to 8 · 8 on the way out and 1 / 24² for weights.
const WINOGRAD4_TOLERANCE: f64 = 2e-5;

fn tolerance(algorithm: Algorithm) -> f64 {
    match algorithm {
        Algorithm::Direct | Algorithm::Bf16 | Algorithm::Depthwise | Algorithm::Columns => {
            SUM_TOLERANCE
        }
        Algorithm::Winograd2(_) => WINOGRAD2_TOLERANCE,
        Algorithm::Winograd4(_) => WINOGRAD4_TOLERANCE,
    }
}

/// An algorithm with the instructions that it runs with.
struct Way {
    algorithm: Algorithm,
    level: Level,
    /// For products of bfloat16; none where it has none.
    instructions: Option<Instructions>,
}

impl Way {
    fn map(&self, geometry: Geometry, direction: Direction, weights: &[f32]) -> Convolution {
        let Self { algorithm, level, instructions } = *self;
        Convolution::with(level, instructions, geometry, direction, algorithm, weights)
    }

    /// The factors that it really multiplies.
    fn factors(&self, values: &[f32]) -> Vec<f32> {
        let is_rounded = self.algorithm == Algorithm::Bf16;
        values.iter().map(|&v| if is_rounded { rounded(v) } else { v }).collect()
    }

    fn name(&self) -> String {
        let instructions = self.instructions.map(Instructions::name);
        format!("{:?} {} {instructions:?}", self.algorithm, self.level.name())
    }
}

/// Every algorithm that can, at every level, with all instructions for bfloat16 and without.
fn ways(geometry: &Geometry, direction: Direction) -> Vec<Way> {
    let at = |level: Level| {
        let plain = Algorithm::candidates(geometry, direction).into_iter();
        let plain = plain.map(move |algorithm| Way { algorithm, level, instructions: None });
        let known = Instructions::available(level).into_iter().map(Some).chain([None]);
        let algorithm = Algorithm::Bf16;
        let rounded = known.map(move |instructions| Way { algorithm, level, instructions });
        plain.chain(rounded.filter(|_| algorithm.fits(geometry, direction))).collect::<Vec<_>>()
    };
    Level::available().into_iter().flat_map(at).collect()
}

/// The same with the widest instructions only.
fn best_ways(geometry: &Geometry, direction: Direction) -> Vec<Way> {
    let is_best = |way: &Way| way.level == Level::best();
    ways(geometry, direction).into_iter().filter(is_best).collect()
}

/// Values from −½ to ½, the same for the same seed.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

/// Calls `f(output index, input index if inside, weight index, input channel)` for every product of
/// the convolution of `rows` pictures.
fn each_product(g: &Geometry, rows: usize, mut f: impl FnMut(usize, Option<usize>, usize, usize)) {
    let [oh, ow] = g.output();
    let (inside, outside) = (g.inputs / g.groups, g.outputs / g.groups);
    let within = |at: usize, tap: usize, axis: usize| {
        let at = at * g.stride[axis] + tap * g.dilation[axis];
        at.checked_sub(g.before[axis]).filter(|&at| at < g.extent[axis])
    };
    for row in 0..rows {
        for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
            for k in 0..g.outputs {
                let output = ((row * oh + y) * ow + x) * g.outputs + k;
                for (i, j) in (0..g.kernel[0]).flat_map(|i| (0..g.kernel[1]).map(move |j| (i, j))) {
                    let pixel = within(y, i, 0).zip(within(x, j, 1));
                    for c in 0..inside {
                        let channel = k / outside * inside + c;
                        let input = pixel.map(|(y, x)| {
                            ((row * g.extent[0] + y) * g.extent[1] + x) * g.inputs + channel
                        });
                        let weight = ((k * inside + c) * g.kernel[0] + i) * g.kernel[1] + j;
                        f(output, input, weight, channel);
                    }
                }
            }
        }
    }
}

/// The map in double precision.
fn reference(
    g: &Geometry,
    direction: Direction,
    rows: usize,
    weights: &[f32],
    from: &[f32],
    border: Option<&[f32]>,
    len: usize,
) -> Vec<f64> {
    let mut to = vec![0f64; len];
    let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
    each_product(g, rows, |output, input, weight, channel| match (direction, input) {
        (Direction::Forward, Some(input)) => to[output] += product(from[input], weights[weight]),
        (Direction::Forward, None) => {
            to[output] += border.map_or(0.0, |b| product(b[channel], weights[weight]));
        }
        (Direction::Backward, Some(input)) => to[input] += product(from[output], weights[weight]),
        (Direction::Backward, None) => {}
    });
    to
}

/// Panics where `got` differs from `want` by more than `tolerance` of the largest of `want`.
fn assert_close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    let largest = want.iter().fold(0f64, |m, w| m.max(w.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
    assert!(largest > 0.0, "{what}: nothing to compare");
    assert!(worst <= tolerance * largest, "{what}: {worst:e} of {largest:e}");
    assert!(got.iter().all(|g| g.is_finite()), "{what}: not finite");
}

/// A square geometry.
fn square(inputs: usize, outputs: usize, extent: usize, kernel: usize, stride: usize) -> Geometry {
    let pad = [kernel / 2; 2];
    Geometry {
        inputs,
        outputs,
        groups: 1,
        extent: [extent; 2],
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        before: pad,
        after: pad,
    }
}

/// How many taps a kernel has.
fn taps(geometry: &Geometry) -> usize {
    geometry.kernel[0] * geometry.kernel[1]
}

/// Every algorithm that can, in both directions, at every level, for 1 and 3 rows.
fn check_all(geometry: Geometry) {
    let weights_len = geometry.outputs * geometry.inputs / geometry.groups * taps(&geometry);
    let weights = noise(weights_len, 1);
    let mut scratch = Scratch::default();
    for direction in [Direction::Forward, Direction::Backward] {
        for rows in [1, 3] {
            for way in ways(&geometry, direction) {
                let map = way.map(geometry, direction, &weights);
                let [from, to] = map.lens().map(|len| len * rows);
                let input = noise(from, 2);
                let [w, x] = [&weights, &input].map(|values| way.factors(values));
                let want = reference(&geometry, direction, rows, &w, &x, None, to);
                // What an earlier layer left behind must not show.
                for buffer in [&mut scratch.first, &mut scratch.second] {
                    buffer.values_mut().fill(f32::NAN);
                }
                let mut got = vec![f32::NAN; to];
                let plain = Epilogue::default();
                map.run_batch(&input, None, &mut got, &plain, &mut scratch);
                let what = format!("{geometry:?} {direction:?} {}", way.name());
                assert_close(&got, &want, tolerance(way.algorithm), &what);
            }
        }
    }
}

#[test]
fn three_by_three_agrees_with_double_precision() {
    for (inputs, outputs, extent) in
        [(16, 32, [7, 7]), (5, 19, [13, 17]), (40, 33, [14, 6]), (3, 8, [1, 2]), (64, 40, [7, 9])]
    {
        for pad in [0, 1, 2] {
            let g = Geometry {
                extent,
                before: [pad; 2],
                after: [pad; 2],
                ..square(inputs, outputs, 0, 3, 1)
            };
            if extent.iter().all(|e| e + 2 * pad >= 3) {
                check_all(g);
            }
        }
    }
}

#[test]
fn uneven_padding_agrees_with_double_precision() {
    check_all(Geometry { before: [0, 1], after: [2, 0], ..square(6, 7, 9, 3, 1) });
    check_all(Geometry { before: [0, 1], after: [1, 0], ..square(6, 7, 9, 3, 2) });
}

#[test]
fn pointwise_agrees_with_double_precision() {
    let shapes = [(64, 96, 7), (17, 5, 13), (1, 1, 3), (33, 64, 1), (1024, 70, 4)];
    for (inputs, outputs, extent) in shapes {
        check_all(square(inputs, outputs, extent, 1, 1));
        check_all(square(inputs, outputs, extent, 1, 2));
    }
}

/// Lines of weights whose value is 0 are not read: that changes no byte, whichever other pictures go
/// by them, and weights that are no numbers are not left out.
#[test]
fn a_dense_layer_leaves_out_what_is_zero_and_nothing_else() {
    let (depth, columns) = (37, 2100);
    let geometry = square(depth, columns, 1, 1, 1);
    let mut weights = noise(depth * columns, 1);
    let mut input: Vec<f32> =
        noise(3 * depth, 2).into_iter().map(|x| if x < 0.1 { 0.0 } else { x }).collect();
    input[0] = 0.0;
    for direction in [Direction::Forward, Direction::Backward] {
        for way in ways(&geometry, direction) {
            let mut scratch = Scratch::default();
            let mut run = |weights: &[f32], input: &[f32]| {
                let map = way.map(geometry, direction, weights);
                let [from, to] = map.lens();
                let rows = input.len() / from;
                let (mut got, plain) = (vec![f32::NAN; rows * to], Epilogue::default());
                map.run_batch(&input[..rows * from], None, &mut got, &plain, &mut scratch);
                (got, from)
            };
            let values = match direction {
                Direction::Forward => input.clone(),
                Direction::Backward => {
                    noise(2 * columns, 3).into_iter().map(|x| x.max(0.0)).collect()
                }
            };
            let (got, from) = run(&weights, &values);
            let [w, x] = [&weights, &values].map(|values| way.factors(values));
            let rows = values.len() / from;
            let want = reference(&geometry, direction, rows, &w, &x, None, got.len());
            assert_close(&got, &want, tolerance(way.algorithm), &way.name());
            let alone: Vec<f32> =
                values.chunks_exact(from).flat_map(|row| run(&weights, row).0).collect();
            assert_eq!(alone, got, "{} {direction:?}", way.name());
        }
    }
    // 0 · ∞ in the first output.
    weights[0] = f32::INFINITY;
    for way in ways(&geometry, Direction::Forward) {
        let map = way.map(geometry, Direction::Forward, &weights);
        let mut got = vec![0.0; columns];
        let plain = Epilogue::default();
        map.run_batch(&input[..depth], None, &mut got, &plain, &mut Scratch::default());
        assert!(got[0].is_nan() && got[1].is_finite(), "{}", way.name());
    }
}

/// Whichever rows go by the weights together, a row's sums are the same bytes.
#[test]
fn a_product_in_parts_agrees_with_double_precision_and_with_itself() {
    // 81 rows of 4 KiB: two parts, and four for three pictures.
    let geometry = square(1024, 33, 9, 1, 1);
    check_all(geometry);
    let weights = noise(1024 * 33, 1);
    let (plain, mut scratch) = (Epilogue::default(), Scratch::default());
    for level in Level::available() {
        let map =
            Convolution::new(level, geometry, Direction::Forward, Algorithm::Direct, &weights);
        let [from, to] = map.lens();
        let (input, mut together) = (noise(3 * from, 2), vec![f32::NAN; 3 * to]);
        map.run_batch(&input, None, &mut together, &plain, &mut scratch);
        for (input, together) in input.chunks_exact(from).zip(together.chunks_exact(to)) {
            let mut alone = vec![f32::NAN; to];
            map.run_batch(input, None, &mut alone, &plain, &mut scratch);
            assert_eq!(alone, together, "{}", level.name());
        }
    }
}

#[test]
fn larger_kernels_and_strides_agree_with_double_precision() {
    check_all(square(3, 20, 23, 7, 2));
    check_all(square(10, 6, 12, 5, 1));
    check_all(square(16, 24, 14, 3, 2));
    check_all(square(32, 65, 14, 3, 2));
    check_all(square(64, 20, 7, 3, 2));
    check_all(square(4, 4, 11, 3, 3));
    check_all(Geometry { stride: [2, 1], kernel: [3, 5], ..square(4, 6, 9, 3, 1) });
    check_all(Geometry {
        dilation: [2, 3],
        before: [2, 3],
        after: [2, 3],
        ..square(4, 6, 11, 3, 1)
    });
    check_all(Geometry {
        dilation: [2, 2],
        before: [2, 2],
        after: [2, 2],
        ..square(4, 6, 11, 3, 2)
    });
    check_all(square(4, 5, 9, 2, 4));
}

#[test]
fn groups_agree_with_double_precision() {
    check_all(Geometry { groups: 4, ..square(12, 20, 9, 3, 1) });
    check_all(Geometry { groups: 2, ..square(64, 72, 8, 3, 2) });
    check_all(Geometry { groups: 3, ..square(3, 12, 8, 3, 1) });
}

#[test]
fn depthwise_agrees_with_double_precision() {
    for kernel in [3, 5, 7] {
        for stride in [1, 2] {
            for (channels, extent) in [(16, 14), (21, 13), (3, 2)] {
                check_all(Geometry {
                    groups: channels,
                    ..square(channels, channels, extent, kernel, stride)
                });
            }
        }
    }
    check_all(Geometry {
        groups: 5,
        dilation: [2, 2],
        before: [2, 2],
        after: [2, 2],
        ..square(5, 5, 9, 3, 1)
    });
}

#[test]
fn a_border_stands_for_the_pixels_outside() {
    for geometry in [square(18, 20, 9, 3, 1), square(18, 20, 9, 5, 2)] {
        let weights = noise(18 * 20 * geometry.kernel[0] * geometry.kernel[1], 1);
        let border = noise(18, 5);
        for way in ways(&geometry, Direction::Forward) {
            let map = way.map(geometry, Direction::Forward, &weights);
            let [from, to] = map.lens();
            let (input, mut got) = (noise(from, 2), vec![f32::NAN; to]);
            let plain = Epilogue::default();
            map.run_batch(&input, Some(&border), &mut got, &plain, &mut Scratch::default());
            let [w, x, b] = [&weights, &input, &border].map(|values| way.factors(values));
            let want = reference(&geometry, Direction::Forward, 1, &w, &x, Some(&b), to);
            assert_close(&got, &want, tolerance(way.algorithm), &way.name());
        }
    }
}

/// What [`Epilogue`] says, in double precision.
fn finished(epilogue: &Epilogue, want: &[f64], channels: usize) -> Vec<f64> {
    let of = |v: Option<&[f32]>, i: usize| v.map_or(0.0, |v| f64::from(v[i]));
    let one = |(i, &sum): (usize, &f64)| {
        let channel = i % channels;
        let v = sum + of(epilogue.bias, channel) + of(epilogue.add, i);
        match epilogue.then {
            Then::Relu => v.max(0.0),
            Then::Clamp { low, high } => v.clamp(f64::from(low), f64::from(high)),
            Then::PRelu(slopes) if v <= 0.0 => v * f64::from(slopes[channel]),
            Then::ReluMask(of) if of[i] <= 0.0 => 0.0,
            Then::ClampMask { of, low, high } if of[i] <= low || of[i] >= high => 0.0,
            Then::PReluMask { of, slopes } if of[i] <= 0.0 => v * f64::from(slopes[channel]),
            _ => v,
        }
    };
    want.iter().enumerate().map(one).collect()
}

#[test]
fn epilogues_do_what_they_say_in_every_kernel() {
    let (channels, extent) = (21, 9);
    let depthwise = Geometry { groups: channels, ..square(channels, channels, extent, 3, 1) };
    for geometry in [square(channels, channels, extent, 3, 1), depthwise] {
        let weights = noise(channels * channels / geometry.groups * 9, 1);
        let (slopes, bias) = (noise(channels, 3), noise(channels, 4));
        for way in ways(&geometry, Direction::Forward) {
            let map = way.map(geometry, Direction::Forward, &weights);
            let [from, to] = map.lens();
            let (input, add, of) = (noise(from, 2), noise(to, 5), noise(to, 6));
            let [w, x] = [&weights, &input].map(|values| way.factors(values));
            let sums = reference(&geometry, Direction::Forward, 1, &w, &x, None, to);
            let thens = [
                Then::Keep,
                Then::Relu,
                Then::Clamp { low: -0.25, high: 0.5 },
                Then::PRelu(&slopes),
                Then::ReluMask(&of),
                Then::ClampMask { of: &of, low: -0.25, high: 0.25 },
                Then::PReluMask { of: &of, slopes: &slopes },
            ];
            for then in thens {
                let epilogue = Epilogue { bias: Some(&bias), add: Some(&add), then };
                let mut got = vec![f32::NAN; to];
                map.run_batch(&input, None, &mut got, &epilogue, &mut Scratch::default());
                let want = finished(&epilogue, &sums, channels);
                let what = format!("{} {then:?}", way.name());
                assert_close(&got, &want, tolerance(way.algorithm), &what);
            }
        }
    }
}

#[test]
fn the_few_channels_way_finishes_too() {
    let geometry = square(3, 20, 11, 5, 2);
    let weights = noise(20 * 3 * 25, 1);
    for level in Level::available() {
        let map =
            Convolution::new(level, geometry, Direction::Backward, Algorithm::Columns, &weights);
        let [from, to] = map.lens();
        let (input, of) = (noise(from, 2), noise(to, 6));
        let epilogue = Epilogue { then: Then::ReluMask(&of), ..Epilogue::default() };
        let mut got = vec![f32::NAN; to];
        map.run_batch(&input, None, &mut got, &epilogue, &mut Scratch::default());
        let sums = reference(&geometry, Direction::Backward, 1, &weights, &input, None, to);
        assert_close(&got, &finished(&epilogue, &sums, 3), SUM_TOLERANCE, level.name());
    }
}

/// Results are written into memory that nobody has filled. Most of these geometries leave pixels of
/// the argument unread, for which the transposed map has nothing to add up.
#[test]
fn every_value_of_a_result_is_written() {
    let channels = 18;
    let dense = |geometry: Geometry| [geometry, Geometry { groups: 3, ..geometry }];
    let each = |geometry: Geometry| Geometry { groups: channels, ..geometry };
    let shape = |extent, kernel, stride| Geometry {
        before: [0; 2],
        after: [0; 2],
        extent: [extent, extent + 1],
        ..square(channels, channels, extent, kernel, stride)
    };
    // The last pixels of a line, those between windows, those between the taps of one, or none.
    let read_in_part = [shape(8, 3, 2), shape(9, 2, 4), shape(7, 1, 3), shape(9, 3, 3)];
    let dilated = Geometry { dilation: [3, 2], ..shape(9, 2, 4) };
    let read_whole = [shape(9, 3, 1), square(channels, channels, 6, 3, 1), shape(5, 1, 1)];
    let all = [&read_in_part[..], &[dilated], &read_whole].concat();
    let (bias, rows) = (noise(channels, 4), 2);
    for geometry in all.into_iter().flat_map(|g| [&dense(g)[..], &[each(g)]].concat()) {
        let weights = noise(channels * channels / geometry.groups * taps(&geometry), 1);
        for direction in [Direction::Forward, Direction::Backward] {
            for way in ways(&geometry, direction) {
                let map = way.map(geometry, direction, &weights);
                let [from, to] = map.lens().map(|len| len * rows);
                let (input, of) = (noise(from, 2), noise(to, 3));
                let finished =
                    Epilogue { bias: Some(&bias), add: Some(&of), then: Then::ReluMask(&of) };
                for epilogue in [Epilogue::default(), finished] {
                    let mut got = vec![f32::NAN; to];
                    map.run_batch(&input, None, &mut got, &epilogue, &mut Scratch::default());
                    let left = got.iter().filter(|v| v.is_nan()).count();
                    assert_eq!(left, 0, "{geometry:?} {direction:?} {}", way.name());
                }
            }
        }
    }
}

#[test]
fn not_a_number_passes_through_activations() {
    let geometry = square(4, 4, 3, 1, 1);
    let products = [Algorithm::Direct, Algorithm::Bf16];
    let is_product = |way: &Way| products.contains(&way.algorithm);
    for way in ways(&geometry, Direction::Forward).into_iter().filter(is_product) {
        let map = way.map(geometry, Direction::Forward, &noise(16, 1));
        let mut input = noise(36, 2);
        input[0] = f32::NAN;
        for then in [Then::Relu, Then::Clamp { low: 0.0, high: 6.0 }] {
            let mut got = vec![0.0; 36];
            let epilogue = Epilogue { then, ..Epilogue::default() };
            map.run_batch(&input, None, &mut got, &epilogue, &mut Scratch::default());
            assert!(got[..4].iter().all(|v| v.is_nan()), "{} {then:?}", way.name());
            assert!(got[4..].iter().all(|v| v.is_finite()), "{} {then:?}", way.name());
        }
    }
}

/// Neither a pixel's neighbours nor another picture's values reach a sum that has no part in them.
#[test]
fn values_that_are_not_summed_change_nothing() {
    for geometry in [square(5, 40, 7, 3, 1), square(64, 7, 9, 3, 2), square(33, 20, 5, 1, 1)] {
        let weights = noise(geometry.inputs * geometry.outputs * taps(&geometry), 1);
        for direction in [Direction::Forward, Direction::Backward] {
            for way in best_ways(&geometry, direction) {
                let map = way.map(geometry, direction, &weights);
                let [from, to] = map.lens();
                let (plain, mut scratch) = (Epilogue::default(), Scratch::default());
                let mut input = noise(3 * from, 2);
                let (mut clean, mut spoilt) = (vec![0.0; 3 * to], vec![0.0; 3 * to]);
                map.run_batch(&input, None, &mut clean, &plain, &mut scratch);
                for picture in [0, 2] {
                    input[picture * from..][..from].fill(f32::NAN);
                }
                map.run_batch(&input, None, &mut spoilt, &plain, &mut scratch);
                assert_eq!(clean[to..2 * to], spoilt[to..2 * to], "{geometry:?} {}", way.name());
            }
        }
    }
}

#[test]
fn rows_of_a_batch_do_not_influence_one_another() {
    for geometry in [square(24, 40, 7, 3, 1), square(64, 40, 7, 3, 1), square(70, 40, 1, 1, 1)] {
        let weights = noise(geometry.inputs * 40 * taps(&geometry), 1);
        for way in best_ways(&geometry, Direction::Forward) {
            let map = way.map(geometry, Direction::Forward, &weights);
            let [from, to] = map.lens();
            let (input, plain) = (noise(from * 5, 2), Epilogue::default());
            let mut scratch = Scratch::default();
            let mut together = vec![0.0; to * 5];
            map.run_batch(&input, None, &mut together, &plain, &mut scratch);
            for (input, together) in input.chunks_exact(from).zip(together.chunks_exact(to)) {
                let mut alone = vec![0.0; to];
                map.run_batch(input, None, &mut alone, &plain, &mut scratch);
                assert_eq!(alone, together, "{}", way.name());
            }
        }
    }
    let candidates = Algorithm::candidates(&square(24, 40, 7, 3, 1), Direction::Forward);
    assert!(candidates.contains(&Algorithm::Winograd4(ALL)));
}

/// A picture is computed in pieces by several threads: each piece has the bytes of the whole.
#[test]
fn pieces_of_a_result_are_those_of_the_whole() {
    let mut geometries = vec![
        square(24, 40, 13, 3, 1),
        square(24, 40, 14, 3, 2),
        square(20, 33, 9, 1, 1),
        square(20, 33, 9, 1, 2),
        square(5, 19, 12, 5, 1),
        square(64, 33, 13, 3, 1),
        square(64, 33, 14, 3, 2),
        // A dense layer: its channels are shared out.
        square(70, 100, 1, 1, 1),
        square(70, 100, 1, 1, 2),
    ];
    geometries.push(Geometry { groups: 4, ..square(24, 40, 13, 3, 1) });
    geometries.push(Geometry { groups: 24, outputs: 24, ..square(24, 40, 13, 3, 2) });
    for geometry in geometries {
        let weights =
            noise(geometry.outputs * geometry.inputs / geometry.groups * taps(&geometry), 1);
        for direction in [Direction::Forward, Direction::Backward] {
            for way in best_ways(&geometry, direction) {
                let map = way.map(geometry, direction, &weights);
                let lens = map.lens();
                let channels = match direction {
                    Direction::Forward => geometry.outputs,
                    Direction::Backward => geometry.inputs,
                };
                let (inputs, bias) = ([2, 3].map(|seed| noise(lens[0], seed)), noise(channels, 4));
                let add = [5, 6].map(|seed| noise(lens[1], seed));
                let of = |row: usize| Epilogue {
                    bias: Some(&bias),
                    add: Some(&add[row]),
                    then: Then::ReluMask(&add[1 - row]),
                };
                let mut scratch = Scratch::default();
                let whole = [0, 1].map(|row| {
                    let mut to = vec![f32::NAN; lens[1]];
                    map.run_batch(&inputs[row], None, &mut to, &of(row), &mut scratch);
                    to
                });
                for count in [2, 3, 100] {
                    let mut results = [0, 1].map(|_| vec![f32::NAN; lens[1]]);
                    let pieces = map.pieces(count);
                    assert!(pieces.len() <= count && pieces.last().unwrap().end == lens[1]);
                    let mut parts: Vec<Vec<Picture>> = pieces.iter().map(|_| vec![]).collect();
                    for (row, to) in results.iter_mut().enumerate() {
                        let picture = Picture { from: &inputs[row], to, epilogue: of(row) };
                        let split = picture.into_pieces(&pieces);
                        parts.iter_mut().zip(split).for_each(|(part, piece)| part.push(piece));
                    }
                    for (part, piece) in parts.iter_mut().zip(&pieces) {
                        map.run_piece(part, piece, None, &mut scratch);
                    }
                    let what = format!("{geometry:?} {direction:?} {} {count}", way.name());
                    assert_eq!(results, whole, "{what}");
                }
            }
        }
    }
}

#[test]
fn rounding_is_to_the_nearest_number_and_to_the_even_one_of_two() {
    // Eight bits of a number: from 1 to 2 in steps of 1/128.
    let step = 1.0 / 128.0;
    for (x, want) in [
        (1.0, 1.0),
        (1.0 + 0.49 * step, 1.0),
        (1.0 + 0.5 * step, 1.0),
        (1.0 + 0.51 * step, 1.0 + step),
        (1.0 + 1.5 * step, 1.0 + 2.0 * step),
        (-1.0 - 0.51 * step, -1.0 - step),
        (0.0, 0.0),
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
    ] {
        assert_eq!(rounded(x), want, "{x}");
    }
    assert!(rounded(f32::NAN).is_nan() && rounded(f32::from_bits(0x7f80_0001)).is_nan());
    // The instructions round as we do, wherever a run of values ends.
    for instructions in Instructions::available(Level::best()) {
        for len in 0..70 {
            let values = noise(len, 3);
            let mut halves = vec![0; len + 1];
            instructions.round(&values, &mut halves[..len]);
            let got: Vec<f32> =
                halves.iter().map(|&h| f32::from_bits(u32::from(h) << 16)).collect();
            let want: Vec<f32> = values.iter().copied().map(rounded).chain([0.0]).collect();
            assert_eq!(got, want, "{} {len}", instructions.name());
        }
    }
}
