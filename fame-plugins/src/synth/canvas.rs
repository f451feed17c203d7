//! Painting by asking each point for its colour.

use fame_core::Random;
use image::RgbImage;

use crate::pictures::painted;

/// Red, green and blue in 0..=1.
pub(super) type Colour = [f64; 3];

/// Points asked along each side of a pixel.
const GRID: u32 = 4;

/// A picture whose pixels are the mean colour of a grid of points, rounded to bytes. Coordinates
/// are pixels from the outer corner of the first one.
pub(super) fn paint(width: u32, height: u32, at: impl Fn(f64, f64) -> Colour) -> RgbImage {
    painted((width, height), |px, py| {
        let mut sum = [0.0; 3];
        for (i, j) in grid() {
            let colour = at(f64::from(px) + i, f64::from(py) + j);
            sum = [sum[0] + colour[0], sum[1] + colour[1], sum[2] + colour[2]];
        }
        let byte = |sum: f64| ((sum / f64::from(GRID * GRID)).clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
        [byte(sum[0]), byte(sum[1]), byte(sum[2])]
    })
}

/// The points of a pixel, from its outer corner.
pub(super) fn grid() -> impl Iterator<Item = (f64, f64)> {
    let place = |i: u32| (f64::from(i) + 0.5) / f64::from(GRID);
    (0..GRID).flat_map(move |j| (0..GRID).map(move |i| (place(i), place(j))))
}

/// Uniform in `low..high`.
pub(super) fn between(random: &mut Random, low: f64, high: f64) -> f64 {
    low + (high - low) * random.uniform()
}

/// Any colour.
pub(super) fn colour(random: &mut Random) -> Colour {
    std::array::from_fn(|_| random.uniform())
}

/// `a` for 0, `b` for 1.
pub(super) fn mix(a: Colour, b: Colour, t: f64) -> Colour {
    [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t]
}

/// Cosine and sine of an angle that is spread over the whole turn, by the rational parametrisation
/// of the circle: no function whose last bits differ between machines.
pub(super) fn direction(random: &mut Random) -> (f64, f64) {
    let t = between(random, -1.0, 1.0);
    let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
    if random.uniform() < 0.5 { (cos, sin) } else { (-cos, -sin) }
}

/// A mottled ground: values at the corners of a lattice, joined smoothly, in two sizes of mottles;
/// between two colours.
pub(super) struct Texture {
    colours: [Colour; 2],
    seed: u64,
    cell: f64,
}

impl Texture {
    /// A texture between `colours`, its larger mottles `cell` pixels wide.
    pub(super) fn new(random: &mut Random, colours: [Colour; 2], cell: f64) -> Self {
        Self { colours, seed: random.below(usize::MAX) as u64, cell }
    }

    pub(super) fn at(&self, x: f64, y: f64) -> Colour {
        let t = 0.65 * self.smooth(x / self.cell, y / self.cell, 0)
            + 0.35 * self.smooth(3.0 * x / self.cell, 3.0 * y / self.cell, 1);
        mix(self.colours[0], self.colours[1], t)
    }

    fn smooth(&self, x: f64, y: f64, layer: u64) -> f64 {
        let (i, j) = (x.floor(), y.floor());
        let ease = |t: f64| t * t * (3.0 - 2.0 * t);
        let (u, v) = (ease(x - i), ease(y - j));
        let corner = |di: f64, dj: f64| {
            let (i, j) = ((i + di) as i64 as u64, (j + dj) as i64 as u64);
            // Far apart, so that no two corners or layers share a stream.
            Random::stream(
                self.seed,
                (i.wrapping_mul(0x1_0001).wrapping_add(j.wrapping_mul(0x100_0193)) ^ (layer << 40))
                    as usize,
            )
            .uniform()
        };
        let top = corner(0.0, 0.0) * (1.0 - u) + corner(1.0, 0.0) * u;
        let bottom = corner(0.0, 1.0) * (1.0 - u) + corner(1.0, 1.0) * u;
        top * (1.0 - v) + bottom * v
    }
}
