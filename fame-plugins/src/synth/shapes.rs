//! One shape on textured ground.

use fame_core::Random;
use image::RgbImage;

use super::canvas::{Colour, Texture, between, colour, direction, grid, mix, paint};

/// The classes, in the order of their numbers.
pub const CLASSES: [&str; 6] = ["disc", "square", "triangle", "ring", "cross", "crescent"];

/// Sine of 60°: half the side of an equilateral triangle whose corners lie on the unit circle.
const HALF_SIDE: f64 = 0.866_025_403_784_438_6;

/// How far, as a distance in RGB, a shape's colour is from its ground's at least.
const CONTRAST: f64 = 0.45;

/// A picture of one shape.
pub struct Shape {
    /// The picture.
    pub picture: RgbImage,
    /// Its class, an index into [`CLASSES`].
    pub label: usize,
    /// The pixels that the shape touches: `[x_min, y_min, x_max, y_max]`, the last two outside.
    pub bounds: [u32; 4],
}

/// Draws the `n`-th shape of `seed`: classes take turns; place, size, turn, colours and textures
/// are drawn at random and say nothing about the class. The shape lies inside the middle square of
/// the picture, and its radius is 0.17 to 0.3 of the shorter side.
pub fn shape(seed: u64, n: usize, width: u32, height: u32) -> Shape {
    let random = &mut Random::stream(seed, n);
    let label = n % CLASSES.len();
    let side = f64::from(width.min(height));
    let radius = side * between(random, 0.17, 0.3);
    let mut place =
        |length: u32| f64::from(length) / 2.0 + (side / 2.0 - radius) * between(random, -1.0, 1.0);
    let (x0, y0) = (place(width), place(height));
    let (cos, sin) = direction(random);
    let ground = ground(random, side);
    let own = shape_texture(random, &ground, side);
    let inside = |x: f64, y: f64| {
        let (u, v) = ((x - x0) / radius, (y - y0) / radius);
        covers(label, cos * u + sin * v, cos * v - sin * u)
    };
    let picture =
        paint(width, height, |x, y| if inside(x, y) { own.at(x, y) } else { ground.0.at(x, y) });
    Shape { picture, label, bounds: bounds(width, height, inside) }
}

/// Whether a shape of radius 1 around the origin covers a point.
fn covers(label: usize, u: f64, v: f64) -> bool {
    let r = u * u + v * v;
    match CLASSES[label] {
        "disc" => r <= 1.0,
        "square" => u.abs().max(v.abs()) <= 0.8,
        // Below all three sides, each half a radius from the middle.
        "triangle" => {
            v >= -0.5 && HALF_SIDE * u + 0.5 * v <= 0.5 && -HALF_SIDE * u + 0.5 * v <= 0.5
        }
        "ring" => (0.36..=1.0).contains(&r),
        "cross" => u.abs().min(v.abs()) <= 0.28 && u.abs().max(v.abs()) <= 1.0,
        _ => r <= 1.0 && (u - 0.5) * (u - 0.5) + v * v > 0.64,
    }
}

/// The ground, and its mean colour.
fn ground(random: &mut Random, side: f64) -> (Texture, Colour) {
    let (a, b) = (colour(random), colour(random));
    // Not from black to white: the shape must stand out everywhere.
    let b = mix(a, b, 0.5);
    let cell = side * between(random, 0.08, 0.3);
    (Texture::new(random, [a, b], cell), mix(a, b, 0.5))
}

fn shape_texture(random: &mut Random, (_, ground): &(Texture, Colour), side: f64) -> Texture {
    let far = |c: &Colour| {
        (0..3).map(|i| (c[i] - ground[i]) * (c[i] - ground[i])).sum::<f64>() >= CONTRAST * CONTRAST
    };
    // Half of the cube of colours is far enough from any ground, so this ends; black or white
    // always is.
    let drawn = (0..64).map(|_| colour(random)).find(far);
    let own =
        drawn.unwrap_or_else(|| if ground.iter().sum::<f64>() > 1.5 { [0.0; 3] } else { [1.0; 3] });
    let other = mix(own, colour(random), 0.2);
    Texture::new(random, [own, other], side * 0.1)
}

fn bounds(width: u32, height: u32, inside: impl Fn(f64, f64) -> bool) -> [u32; 4] {
    let mut all = [width, height, 0, 0];
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        if grid().any(|(i, j)| inside(f64::from(x) + i, f64::from(y) + j)) {
            all = [all[0].min(x), all[1].min(y), all[2].max(x + 1), all[3].max(y + 1)];
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_everywhere() {
        let drawn: Vec<u8> = (0..6).flat_map(|n| shape(7, n, 32, 24).picture.into_raw()).collect();
        // Measured on x86-64; only operations that IEEE 754 rounds exactly are used, so any machine
        // must agree.
        assert_eq!(
            fame_core::data::sha256_hex(&drawn),
            "9d94928382c9f7d6664dfe5431251ee1065bead6bc4cf70d03610442ba92d349"
        );
    }

    #[test]
    fn the_shape_lies_in_its_box_and_in_the_middle_square() {
        for n in 0..60 {
            let drawn = shape(3, n, 64, 48);
            let [x0, y0, x1, y1] = drawn.bounds;
            assert_eq!(drawn.label, n % 6);
            assert!(
                x0 >= 8 && x1 <= 56 && x0 + 6 < x1 && y0 + 6 < y1 && y1 <= 48,
                "{:?}",
                drawn.bounds
            );
        }
    }

    #[test]
    fn pixels_outside_the_box_belong_to_the_ground() {
        // Ground colours lie on a line between two colours; the mean of a shape's pixels is far
        // from all of them.
        for n in 0..30 {
            let drawn = shape(11, n, 48, 48);
            let [x0, y0, x1, y1] = drawn.bounds;
            let mean = |keep: &dyn Fn(u32, u32) -> bool| {
                let pixels: Vec<_> = drawn
                    .picture
                    .enumerate_pixels()
                    .filter(|(x, y, _)| keep(*x, *y))
                    .map(|p| p.2.0)
                    .collect();
                [0, 1, 2].map(|c| {
                    pixels.iter().map(|p| f64::from(p[c])).sum::<f64>()
                        / pixels.len() as f64
                        / 255.0
                })
            };
            let out = mean(&|x, y| x < x0 || x >= x1 || y < y0 || y >= y1);
            let within = mean(&|x, y| x >= x0 && x < x1 && y >= y0 && y < y1);
            let apart = (0..3).map(|c| (out[c] - within[c]).powi(2)).sum::<f64>().sqrt();
            // A shape fills at least a quarter of its box, with 0.45 of contrast less the textures'
            // spread.
            assert!(apart > 0.04, "{n}: {apart}");
        }
    }
}
