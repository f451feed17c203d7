//! A layer as channels over a grid, however its network stores it.

use fame_core::{
    Error, Layer, Model, Result, contract::layout_not_told, data::Layout as MapLayout,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a layer's values lie over the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Layout {
    /// Three axes are `[C, H, W]` or `[H, W, C]`, as the operators around the layer tell, or else
    /// the proportions of the picture. Tokens `[T, D]` become a square grid of D channels: all
    /// of them when T is a square, else all but the first (the class token) when T − 1 is one.
    /// Anything else is an error.
    #[default]
    Auto,
    /// `[C, H, W]`, as convolutions have it.
    ChannelsFirst,
    /// `[H, W, C]`, as Swin and the inside of ConvNeXt's blocks have it.
    ChannelsLast,
    /// Tokens `[T, D]`: `skip` at the front belong to no place (class, distillation, registers),
    /// then `rows × columns` of the grid, row by row. Tokens behind the grid are ignored.
    Tokens {
        /// Tokens in front of the grid.
        skip: usize,
        /// Rows of the grid.
        rows: usize,
        /// Columns of the grid.
        columns: usize,
    },
}

/// Where the values of a channel are in a layer's row-major values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Position of channel 0 at the first cell.
    first: usize,
    /// From one channel to the next at the same cell.
    channel_step: usize,
    /// From one cell to the next in the same channel.
    cell_step: usize,
}

impl Grid {
    /// The grid of `layer` of `model` under `layout`.
    ///
    /// # Errors
    /// When the layer's shape does not fit, or nothing tells which of its axes are the channels.
    pub(super) fn of_model(model: &Model, layer: &Layer, layout: Layout) -> Result<Self> {
        let is_map = layer.shape.len() == 3;
        let layout = match model.layout(layer) {
            Some(MapLayout::ChannelsFirst) if layout == Layout::Auto => Layout::ChannelsFirst,
            Some(MapLayout::ChannelsLast) if layout == Layout::Auto => Layout::ChannelsLast,
            None if layout == Layout::Auto && is_map => {
                return Err(layout_not_told(&layer.name, &layer.shape));
            }
            _ => layout,
        };
        Self::of(layer, layout)
    }

    /// The grid of `layer` under `layout`, which says of three axes what they are.
    fn of(layer: &Layer, layout: Layout) -> Result<Self> {
        let last = |channels: usize, height: usize, width: usize, skip: usize| Self {
            channels,
            height,
            width,
            first: skip * channels,
            channel_step: 1,
            cell_step: channels,
        };
        let grid = match (layout, layer.shape.as_slice()) {
            (Layout::ChannelsFirst, &[channels, height, width]) => {
                let area = height * width;
                Some(Self { channels, height, width, first: 0, channel_step: area, cell_step: 1 })
            }
            (Layout::Auto, &[tokens, channels]) => [0, 1].into_iter().find_map(|skip| {
                let side = tokens.saturating_sub(skip).isqrt();
                (side > 1 && side * side + skip == tokens).then(|| last(channels, side, side, skip))
            }),
            (Layout::ChannelsLast, &[height, width, channels]) => {
                Some(last(channels, height, width, 0))
            }
            (Layout::Tokens { skip, rows, columns }, &[tokens, channels]) => {
                let fits = rows
                    .checked_mul(columns)
                    .and_then(|n| n.checked_add(skip))
                    .is_some_and(|n| n <= tokens);
                fits.then(|| last(channels, rows, columns, skip))
            }
            _ => None,
        };
        grid.filter(|g| g.channels * g.height * g.width > 0).ok_or_else(|| {
            Error::new(
                "fame::cam::no_grid",
                format!("layer `{}` of shape {:?} cannot be laid over the picture (layout: {layout:?}).", layer.name, layer.shape),
            )
            .with_help(
                "Name a layer with three axes, or say how its values lie: layout: ChannelsLast, or \
                 layout: Tokens(skip: 1, rows: 14, columns: 14).",
            )
        })
    }

    /// The channels of one row of the layer, each a plane of `height × width`.
    pub(super) fn read(&self, row: &[f32]) -> Planes {
        let area = self.height * self.width;
        let mut data = Vec::with_capacity(self.channels * area);
        for c in 0..self.channels {
            let at = self.first + c * self.channel_step;
            data.extend((0..area).map(|i| row[at + i * self.cell_step]));
        }
        Planes { channels: self.channels, height: self.height, width: self.width, data }
    }

    /// Overwrites channel `c` of one row of the layer, in every cell and, for tokens, in the tokens
    /// without a place too.
    pub(super) fn overwrite(&self, row: &mut [f32], c: usize, value: f32) {
        if self.cell_step == 1 {
            let area = self.height * self.width;
            row[c * area..(c + 1) * area].fill(value);
        } else {
            row.iter_mut().skip(c).step_by(self.cell_step).for_each(|v| *v = value);
        }
    }
}

/// Channels over a grid: `[channels, height, width]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planes {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) data: Vec<f32>,
}

impl Planes {
    /// Cells of the grid.
    pub(super) fn area(&self) -> usize {
        self.height * self.width
    }

    /// The planes in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.area())
    }

    /// `Σ_c weights_c · plane_c`, one value for each cell.
    pub(super) fn weighted_sum(&self, weights: &[f32]) -> Vec<f32> {
        let mut sum = vec![0.0f64; self.area()];
        for (plane, weight) in self.iter().zip(weights) {
            sum.iter_mut().zip(plane).for_each(|(s, v)| *s += f64::from(*weight) * f64::from(*v));
        }
        sum.into_iter().map(|s| s as f32).collect()
    }

    /// `Σ_c f(self, other)` cell by cell.
    pub(super) fn sum_with(&self, other: &Planes, f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        let mut sum = vec![0.0f64; self.area()];
        for (mine, theirs) in self.iter().zip(other.iter()) {
            sum.iter_mut()
                .zip(mine.iter().zip(theirs))
                .for_each(|(s, (a, b))| *s += f64::from(f(*a, *b)));
        }
        sum.into_iter().map(|s| s as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(shape: &[usize]) -> Layer {
        Layer {
            name: "l".into(),
            op: "Add".into(),
            shape: shape.to_vec(),
            is_output: false,
            depends_on_input: true,
            reads: Vec::new(),
        }
    }

    #[test]
    fn tokens_become_a_grid_without_the_class_token() {
        let row: Vec<f32> = (0..10u8).map(f32::from).collect();
        let planes = Grid::of(&layer(&[5, 2]), Layout::Auto).unwrap().read(&row);
        assert_eq!((planes.channels, planes.height, planes.width), (2, 2, 2));
        assert_eq!(planes.data, [2., 4., 6., 8., 3., 5., 7., 9.]);
        // Sixteen tokens are a grid of four by four, not fifteen and a class token.
        assert_eq!(Grid::of(&layer(&[16, 2]), Layout::Auto).unwrap().first, 0);
    }

    #[test]
    fn a_layout_overrides_the_guess_and_nonsense_is_refused() {
        let row: Vec<f32> = (0..12u8).map(f32::from).collect();
        let tokens = Layout::Tokens { skip: 2, rows: 1, columns: 4 };
        assert_eq!(
            Grid::of(&layer(&[6, 2]), tokens).unwrap().read(&row).data,
            [4., 6., 8., 10., 5., 7., 9., 11.]
        );
        let last = Grid::of(&layer(&[2, 3, 2]), Layout::ChannelsLast).unwrap().read(&row);
        assert_eq!(last.data, [0., 2., 4., 6., 8., 10., 1., 3., 5., 7., 9., 11.]);
        assert!(
            Grid::of(&layer(&[7, 2]), Layout::Auto).is_err()
                && Grid::of(&layer(&[48]), Layout::Auto).is_err()
        );
        assert!(
            Grid::of(&layer(&[6, 2]), Layout::Tokens { skip: 0, rows: usize::MAX, columns: 2 })
                .is_err()
        );
    }

    #[test]
    fn a_channel_is_overwritten_wherever_it_is() {
        let mut row = [0.0; 6];
        Grid::of(&layer(&[2, 1, 3]), Layout::ChannelsFirst).unwrap().overwrite(&mut row, 1, 7.0);
        assert_eq!(row, [0., 0., 0., 7., 7., 7.]);
        let mut row = [0.0; 10];
        Grid::of(&layer(&[5, 2]), Layout::Auto).unwrap().overwrite(&mut row, 0, 7.0);
        assert_eq!(row, [7., 0., 7., 0., 7., 0., 7., 0., 7., 0.]);
    }
}
