//! One convolution, or its transposed map, by one of the algorithms.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::bf16::Bf16;
use super::bf16_tile::Instructions;
use super::buffer::Scratch;
use super::columns::Columns;
use super::dense::Dense;
use super::depthwise::Depthwise;
use super::direct::{Channels, Direct};
use super::epilogue::Epilogue;
use super::geometry::{Direction, Geometry};
use super::picture::Picture;
use super::vector::Level;
use super::winograd::{Shape, Size, Winograd};

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Algorithm {
    /// A product over windows.
    Direct,
    /// The same of factors rounded to bfloat16, summed in `f32`. Never a candidate: it gives other
    /// numbers.
    Bf16,
    /// Channel by channel.
    Depthwise,
    /// A product into windows, which are added up.
    Columns,
    /// Winograd's F(2×2, 3×3), at most so many tiles at once.
    Winograd2(usize),
    /// Winograd's F(4×4, 3×3), at most so many tiles at once.
    Winograd4(usize),
}

/// Input channels below which most of each vector of them is empty, as the three of a picture are.
pub const FEW_CHANNELS: usize = 16;

/// All tiles at once, of all rows.
pub(crate) const ALL: usize = usize::MAX;

impl Algorithm {
    /// What can compute the convolution, the one that always can first.
    pub fn candidates(geometry: &Geometry, direction: Direction) -> Vec<Self> {
        if geometry.is_depthwise() {
            return vec![Self::Depthwise];
        }
        let mut candidates = vec![Self::Direct];
        if direction == Direction::Backward
            && geometry.groups == 1
            && geometry.inputs < FEW_CHANNELS
        {
            candidates.push(Self::Columns);
        }
        let is_plain = geometry.stride == [1, 1] && geometry.dilation == [1, 1];
        let reaches = |pads: [usize; 2]| pads.iter().all(|&pad| pad <= 2);
        if geometry.kernel == [3, 3]
            && is_plain
            && geometry.groups == 1
            && reaches(geometry.before)
            && reaches(geometry.after)
        {
            candidates.extend([24, 64, 200, ALL].map(Self::Winograd4));
            candidates.extend([96, ALL].map(Self::Winograd2));
        }
        candidates
    }
}

impl Algorithm {
    /// Whether it can compute the convolution.
    pub fn fits(self, geometry: &Geometry, direction: Direction) -> bool {
        let candidates = Self::candidates(geometry, direction);
        let is_bf16 = self == Self::Bf16 && geometry.groups == 1;
        is_bf16 || candidates.into_iter().any(|known| known.shares_weights(self))
    }

    /// Both lay the weights out in the same way.
    pub(crate) fn shares_weights(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// At most how many tiles are worked on at once, where it works on tiles.
    pub(crate) fn strip(self) -> Option<usize> {
        match self {
            Self::Winograd2(strip) | Self::Winograd4(strip) => Some(strip),
            Self::Direct | Self::Bf16 | Self::Depthwise | Self::Columns => None,
        }
    }
}

/// As in papers: `F(4×4, 3×3)`, `product`.
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "product",
            Self::Bf16 => "bf16 product",
            Self::Depthwise => "depthwise",
            Self::Columns => "windows added up",
            Self::Winograd2(_) => "F(2×2, 3×3)",
            Self::Winograd4(_) => "F(4×4, 3×3)",
        })
    }
}

/// A convolution or its transposed map, with its weights laid out for one algorithm.
///
/// Activations are `[row][height][width][channel]`.
#[derive(Debug)]
pub struct Convolution {
    geometry: Geometry,
    direction: Direction,
    algorithm: Algorithm,
    kernel: Kernel,
}

#[derive(Debug)]
enum Kernel {
    Direct(Direct),
    /// A product where there is a single pixel.
    Dense(Dense),
    Bf16(Bf16),
    Depthwise(Depthwise),
    Columns(Columns),
    Winograd(Winograd),
}

impl Convolution {
    /// Lays out `weights` of `[output][input / groups][height][width]`.
    ///
    /// Panics where the algorithm is none of the geometry's candidates, or the weights are not as
    /// many as it says.
    pub fn new(
        level: Level,
        geometry: Geometry,
        direction: Direction,
        algorithm: Algorithm,
        weights: &[f32],
    ) -> Self {
        // Asked for only where they are used: a process that has tiles has more state to be saved.
        let is_bf16 = algorithm == Algorithm::Bf16;
        let instructions = is_bf16.then(|| Instructions::available(level).pop()).flatten();
        Self::with(level, instructions, geometry, direction, algorithm, weights)
    }

    /// The same with other instructions for products of bfloat16, or none.
    pub(crate) fn with(
        level: Level,
        instructions: Option<Instructions>,
        geometry: Geometry,
        direction: Direction,
        algorithm: Algorithm,
        weights: &[f32],
    ) -> Self {
        let fits = algorithm.fits(&geometry, direction);
        assert!(fits, "{algorithm:?} cannot compute {geometry:?}");
        let taps = geometry.kernel[0] * geometry.kernel[1];
        let inside = geometry.inputs / geometry.groups;
        assert_eq!(weights.len(), geometry.outputs * inside * taps, "the number of weights");
        let at = |output: usize, input: usize, tap: usize| {
            weights[(output * inside + input) * taps + tap]
        };
        let kernel = match algorithm {
            Algorithm::Direct => direct(level, &geometry, direction, at),
            Algorithm::Bf16 => bf16(level, instructions, &geometry, direction, at),
            Algorithm::Depthwise => {
                let stencil = geometry.stencil(direction);
                let at = |channel, tap| at(channel, 0, tap);
                Kernel::Depthwise(Depthwise::new(level, stencil, geometry.inputs, taps, at))
            }
            Algorithm::Columns => Kernel::Columns(Columns::new(level, geometry, at)),
            Algorithm::Winograd2(strip) => {
                Kernel::Winograd(winograd(level, &geometry, direction, (Size::Two, strip), at))
            }
            Algorithm::Winograd4(strip) => {
                Kernel::Winograd(winograd(level, &geometry, direction, (Size::Four, strip), at))
            }
        };
        Self { geometry, direction, algorithm, kernel }
    }

    /// How it is computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Works on at most `strip` tiles at once from now on, where it works on tiles.
    pub(crate) fn set_strip(&mut self, strip: usize) {
        if let (Kernel::Winograd(kernel), Algorithm::Winograd2(now) | Algorithm::Winograd4(now)) =
            (&mut self.kernel, &mut self.algorithm)
        {
            kernel.set_strip(strip);
            *now = strip;
        }
    }

    /// Bytes of the weights as they are laid out.
    pub fn bytes(&self) -> usize {
        match &self.kernel {
            Kernel::Direct(kernel) => kernel.bytes(),
            Kernel::Dense(kernel) => kernel.bytes(),
            Kernel::Bf16(kernel) => kernel.bytes(),
            Kernel::Depthwise(kernel) => kernel.bytes(),
            Kernel::Columns(kernel) => kernel.bytes(),
            Kernel::Winograd(kernel) => kernel.bytes(),
        }
    }

    /// Whether pictures take less time together than one by one: where the weights outweigh what a
    /// picture reads and writes, to read them once for all is worth more than to have a picture's
    /// values in the cache.
    pub fn gains_from_pictures(&self) -> bool {
        let [from, to] = self.lens();
        let has_own = matches!(self.kernel, Kernel::Depthwise(_) | Kernel::Columns(_));
        !has_own && self.bytes() > (from + to) * size_of::<f32>()
    }

    /// Values of one row of the argument and of the result.
    pub fn lens(&self) -> [usize; 2] {
        let geometry = &self.geometry;
        let len = |[h, w]: [usize; 2], channels: usize| h * w * channels;
        let input = len(geometry.extent, geometry.inputs);
        let output = len(geometry.output(), geometry.outputs);
        match self.direction {
            Direction::Forward => [input, output],
            Direction::Backward => [output, input],
        }
    }

    /// Maps pictures. `border` is what pixels outside of a picture are, one value for each channel; 0
    /// where there is none. A picture's result is the same whichever others are mapped with it.
    ///
    /// Panics where a length does not fit, or a border is given to an algorithm that takes none.
    pub fn run(&self, pictures: &mut [Picture], border: Option<&[f32]>, scratch: &mut Scratch) {
        self.run_piece(pictures, &(0..self.lens()[1]), border, scratch);
    }

    /// At most `count` pieces of a picture's result, as nearly equal as may be, one behind the other:
    /// each can be computed by a thread of its own. The values of a piece are the same bytes that
    /// they are in the whole.
    pub fn pieces(&self, count: usize) -> Vec<Range<usize>> {
        let len = self.lens()[1];
        // Values of the least piece: lines, or the channels of a panel where there is one pixel.
        let unit = match &self.kernel {
            // Windows of several lines add up to one.
            Kernel::Columns(_) => len,
            Kernel::Winograd(kernel) => kernel.tile() * self.line(),
            Kernel::Depthwise(_) => self.line(),
            Kernel::Direct(_) | Kernel::Dense(_) | Kernel::Bf16(_) => {
                self.panels().map_or(self.line(), |[_, panel]| panel)
            }
        };
        let units = len.div_ceil(unit);
        let count = count.clamp(1, units);
        let at = |index: usize| (index * units / count * unit).min(len);
        (0..count).map(|index| at(index)..at(index + 1)).collect()
    }

    /// Maps pictures to one of the [`Convolution::pieces`] of their results, which is all that they
    /// have room for.
    ///
    /// Panics as [`Convolution::run`] does.
    pub fn run_piece(
        &self,
        pictures: &mut [Picture],
        piece: &Range<usize>,
        border: Option<&[f32]>,
        scratch: &mut Scratch,
    ) {
        let [from, to] = match self.direction {
            Direction::Forward => [self.geometry.inputs, self.geometry.outputs],
            Direction::Backward => [self.geometry.outputs, self.geometry.inputs],
        };
        let lens = [self.lens()[0], piece.len()];
        let panels = self.panels().filter(|_| piece.len() < to);
        for Picture { from, to: result, epilogue } in &*pictures {
            assert_eq!([from.len(), result.len()], lens, "lengths of a picture");
            epilogue.check(result.len(), to);
        }
        assert!(border.is_none_or(|border| border.len() == from), "a border's length");
        let pads_with_zeros = matches!(self.kernel, Kernel::Depthwise(_) | Kernel::Columns(_));
        assert!(border.is_none() || !pads_with_zeros, "{:?} pads with 0", self.algorithm);
        let panels = panels.map(|[_, panel]| piece.start / panel..piece.end.div_ceil(panel));
        let line = self.line();
        let lines = piece.start / line..piece.end / line;
        match (&self.kernel, panels) {
            (Kernel::Dense(kernel), panels) => {
                let panels = panels.unwrap_or(0..kernel.panels()[0]);
                kernel.run(pictures, panels, &mut scratch.steps);
            }
            (Kernel::Direct(kernel), _) => kernel.run(pictures, &lines, border, scratch),
            (Kernel::Bf16(kernel), Some(panels)) => kernel.run_panels(pictures, panels, scratch),
            (Kernel::Bf16(kernel), None) => kernel.run(pictures, &lines, border, scratch),
            (Kernel::Depthwise(kernel), _) => {
                pictures.iter_mut().for_each(|p| kernel.run(p, &lines));
            }
            (Kernel::Columns(kernel), _) => {
                pictures.iter_mut().for_each(|p| kernel.run(p, scratch));
            }
            (Kernel::Winograd(kernel), _) => kernel.run(pictures, &lines, border, scratch),
        }
    }

    /// The panels of a product whose result is a single pixel, and how many channels each has.
    fn panels(&self) -> Option<[usize; 2]> {
        match &self.kernel {
            Kernel::Dense(kernel) => Some(kernel.panels()),
            Kernel::Bf16(kernel) if self.geometry.is_one_pixel() => Some(kernel.panels()),
            _ => None,
        }
    }

    /// Values of a line of the result: of a pixel, where all of them are one line.
    fn line(&self) -> usize {
        let [height, width] = match self.direction {
            Direction::Forward => self.geometry.output(),
            Direction::Backward => self.geometry.extent,
        };
        let is_one = match &self.kernel {
            Kernel::Direct(kernel) => kernel.is_one_line(),
            Kernel::Dense(_) => true,
            Kernel::Bf16(kernel) => kernel.is_one_line(),
            Kernel::Depthwise(_) | Kernel::Columns(_) | Kernel::Winograd(_) => false,
        };
        self.lens()[1] / if is_one { height * width } else { height }
    }

    /// Channels, kernel, stride and the argument's extent: `64→128 3×3/2 on 56×56`. Of a transposed
    /// map, the convolution's, from its result to its argument: `128→64 3×3/2 to 56×56`.
    pub fn shape(&self) -> String {
        let Geometry { inputs, outputs, extent: [height, width], kernel, stride, .. } =
            self.geometry;
        let stride = match stride {
            [1, 1] => String::new(),
            [y, x] if y == x => format!("/{y}"),
            [y, x] => format!("/{y}×{x}"),
        };
        let [from, to, word] = match self.direction {
            Direction::Forward => [inputs.to_string(), outputs.to_string(), "on".to_owned()],
            Direction::Backward => [outputs.to_string(), inputs.to_string(), "to".to_owned()],
        };
        let [tall, wide] = kernel;
        format!("{from}→{to} {tall}×{wide}{stride} {word} {height}×{width}")
    }

    /// Multiplications and additions of a picture, as a direct sum has them.
    pub fn flops(&self) -> f64 {
        self.geometry.flops()
    }

    /// Maps the pictures of a batch whose rows lie side by side, in the epilogue's tensors too.
    ///
    /// Panics as [`Convolution::run`] does.
    pub fn run_batch(
        &self,
        input: &[f32],
        border: Option<&[f32]>,
        output: &mut [f32],
        epilogue: &Epilogue,
        scratch: &mut Scratch,
    ) {
        let mut pictures = Picture::of_batch(input, output, epilogue, self.lens());
        self.run(&mut pictures, border, scratch);
    }
}

/// The product of `f32`.
fn direct(
    level: Level,
    geometry: &Geometry,
    direction: Direction,
    at: impl Fn(usize, usize, usize) -> f32,
) -> Kernel {
    let (inputs, outputs, groups) = (geometry.inputs, geometry.outputs, geometry.groups);
    let (from, to) = match direction {
        Direction::Forward => (inputs, outputs),
        Direction::Backward => (outputs, inputs),
    };
    if geometry.is_one_pixel() {
        let dense = match direction {
            Direction::Forward => Dense::new(level, [from, to], |from, to| at(to, from, 0)),
            Direction::Backward => Dense::new(level, [from, to], |from, to| at(from, to, 0)),
        };
        return Kernel::Dense(dense);
    }
    let (stencil, channels) = (geometry.stencil(direction), Channels { from, to, groups });
    let group = outputs / groups;
    Kernel::Direct(match direction {
        Direction::Forward => {
            Direct::new(level, stencil, channels, |g, to, from, tap| at(g * group + to, from, tap))
        }
        Direction::Backward => {
            Direct::new(level, stencil, channels, |g, to, from, tap| at(g * group + from, to, tap))
        }
    })
}

/// The product of rounded factors with the instructions for it, or without any.
fn bf16(
    level: Level,
    instructions: Option<Instructions>,
    geometry: &Geometry,
    direction: Direction,
    at: impl Fn(usize, usize, usize) -> f32,
) -> Kernel {
    let stencil = geometry.stencil(direction);
    let [from, to] = match direction {
        Direction::Forward => [geometry.inputs, geometry.outputs],
        Direction::Backward => [geometry.outputs, geometry.inputs],
    };
    let at = |to, from, tap| match direction {
        Direction::Forward => at(to, from, tap),
        Direction::Backward => at(from, to, tap),
    };
    if let Some(instructions) = instructions {
        return Kernel::Bf16(Bf16::new(level, instructions, stencil, [from, to], at));
    }
    if geometry.is_one_pixel() {
        return Kernel::Dense(Dense::rounded(level, [from, to], |from, to| at(to, from, 0)));
    }
    let channels = Channels { from, to, groups: 1 };
    let at = |_, to, from, tap| at(to, from, tap);
    Kernel::Direct(Direct::rounded(level, stencil, channels, at))
}

fn winograd(
    level: Level,
    geometry: &Geometry,
    direction: Direction,
    (size, strip): (Size, usize),
    at: impl Fn(usize, usize, usize) -> f32,
) -> Winograd {
    let (extent, output, before) = (geometry.extent, geometry.output(), geometry.before);
    let (inputs, outputs) = (geometry.inputs, geometry.outputs);
    match direction {
        Direction::Forward => {
            let shape = Shape { inputs, outputs, from: extent, to: output, before };
            Winograd::new(level, size, strip, shape, at)
        }
        // The transposed map is the convolution with the kernel turned by 180°, outputs and inputs
        // exchanged.
        Direction::Backward => {
            let before = before.map(|pad| 2 - pad);
            let (from, to) = (output, extent);
            let shape = Shape { inputs: outputs, outputs: inputs, from, to, before };
            Winograd::new(level, size, strip, shape, |to, from, tap| at(from, to, 8 - tap))
        }
    }
}
