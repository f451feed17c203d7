//! What a dataset hands out: pictures by role, with everything known about them.

use crate::{
    Error, Result, Tensor,
    data::{Facts, Marks},
};

/// One decoded picture and how it came to be.
#[derive(Clone, Debug)]
pub struct Picture {
    /// `[3, H, W]`, RGB, values in 0..=1.
    pub pixels: Tensor,
    /// Where it came from, for messages and the record: a path, or a path and a place in it.
    pub source: String,
    /// Maps pixel coordinates of the picture as decoded to those of `pixels`.
    pub geometry: Affine,
    /// The picture as decoded, reduced, for writers that show where `pixels` come from. A run sets
    /// it where prepare steps changed the picture; else `None`.
    pub original: Option<Original>,
    /// Known points and regions, in coordinates of the picture as decoded; [`Picture::map_point`]
    /// takes them along.
    pub annotations: Vec<Annotation>,
    /// Facts for the record: findings and doings of the prepare steps.
    pub facts: Facts,
    /// What whoever reads the results must know, one sentence each: shown while the run goes on,
    /// and kept in the record.
    pub warnings: Vec<String>,
}

impl Picture {
    /// A picture of `pixels` as decoded from `source`.
    ///
    /// # Errors
    /// When `pixels` is not `[3, H, W]` with H, W ≥ 1.
    pub fn new(pixels: Tensor, source: impl Into<String>) -> Result<Self> {
        match pixels.shape() {
            [3, h, w] if *h > 0 && *w > 0 => {}
            other => {
                return Err(Error::bug(format!("a picture must be [3, H, W], not {other:?}.")));
            }
        }
        Ok(Self {
            pixels,
            source: source.into(),
            geometry: Affine::IDENTITY,
            original: None,
            annotations: Vec::new(),
            facts: Facts::new(),
            warnings: Vec::new(),
        })
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.pixels.shape()[1]
    }

    /// Columns of pixels.
    pub fn width(&self) -> usize {
        self.pixels.shape()[2]
    }

    /// A point of the picture as decoded, in coordinates of [`Picture::pixels`].
    pub fn map_point(&self, point: [f32; 2]) -> [f32; 2] {
        self.geometry.apply(point)
    }
}

/// A picture as decoded, reduced by a whole factor so that a run can keep it.
#[derive(Clone, Debug, PartialEq)]
pub struct Original {
    /// `[3, ⌈H / factor⌉, ⌈W / factor⌉]`, RGB, values in 0..=1: each is the mean of a block of
    /// `factor` × `factor` pixels, less at the right and lower border.
    pub pixels: Tensor,
    /// Pixels of the picture as decoded to one of `pixels`, along each axis.
    pub factor: usize,
    /// Rows and columns of the picture as decoded.
    pub size: (usize, usize),
}

impl Original {
    /// The longest side that is kept, in pixels: enough to recognise a scene, 3 MB as a tensor.
    pub const LONGEST: usize = 512;

    /// The reduced copy of `picture`.
    ///
    /// # Errors
    /// Never for a picture made by [`Picture::new`].
    pub fn of(picture: &Picture) -> Result<Self> {
        let (height, width) = (picture.height(), picture.width());
        let factor = height.max(width).div_ceil(Self::LONGEST);
        let pixels = picture.pixels.block_means(factor)?;
        Ok(Self { pixels, factor, size: (height, width) })
    }
}

/// A named, possibly labelled list of points: landmarks, the two corners of a region, an outline.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Name of the annotation, such as `landmarks`.
    pub name: String,
    /// Its label, where there is one.
    pub label: Option<String>,
    /// Points `[x, y]` in pixels of the picture as decoded, x to the right and y down, (0, 0) the
    /// outer corner of the first pixel.
    pub points: Vec<[f32; 2]>,
}

/// An affine map of the plane: `x' = a·x + b·y + c`, `y' = d·x + e·y + f`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [f64; 6]);

impl Affine {
    /// Leaves every point where it is.
    pub const IDENTITY: Affine = Affine([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);

    /// Scales x and y, then shifts.
    pub fn scale_shift(sx: f64, sy: f64, dx: f64, dy: f64) -> Self {
        Self([sx, 0.0, dx, 0.0, sy, dy])
    }

    /// The image of `point`.
    pub fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [a, b, c, d, e, f] = self.0;
        let (x, y) = (f64::from(x), f64::from(y));
        [(a * x + b * y + c) as f32, (d * x + e * y + f) as f32]
    }

    /// First `self`, then `next`.
    #[must_use]
    pub fn then(&self, next: &Affine) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let [p, q, r, s, t, u] = next.0;
        Self([
            p * a + q * d,
            p * b + q * e,
            p * c + q * f + r,
            s * a + t * d,
            s * b + t * e,
            s * c + t * f + u,
        ])
    }

    /// The map back, or `None` when the plane was squashed to a line.
    pub fn inverse(&self) -> Option<Self> {
        let [a, b, c, d, e, f] = self.0;
        let det = a * e - b * d;
        if !det.is_normal() {
            return None;
        }
        let (a, b, d, e) = (e / det, -b / det, -d / det, a / det);
        Some(Self([a, b, -(a * c + b * f), d, e, -(d * c + e * f)]))
    }
}

/// One unit of work: the pictures that are explained together, and what is known about them.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Unique within the run, stable between runs, safe as a folder name.
    pub id: String,
    /// Pictures by role, in the dataset's order. The dataset says what its roles are called.
    pub pictures: Vec<(String, Picture)>,
    /// The class the sample is labelled with, if it is.
    pub label: Option<usize>,
    /// What the dataset knows that metrics and writers read: each [`Mark`](super::Mark) a name and
    /// a type. Part of the item's record, and of every line of `metrics.csv`.
    pub marks: Marks,
    /// What else the dataset knows, for the record only.
    pub facts: Facts,
}

impl Sample {
    /// The picture in `role`.
    pub fn picture(&self, role: &str) -> Option<&Picture> {
        self.pictures.iter().find(|(r, _)| r == role).map(|(_, p)| p)
    }

    /// The roles in order.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.pictures.iter().map(|(r, _)| r.as_str())
    }

    /// The role that `role` is measured against: the only other one.
    ///
    /// # Errors
    /// When the sample has not exactly two pictures.
    pub fn other_role(&self, role: &str) -> Result<&str> {
        let mut others = self.roles().filter(|r| *r != role);
        match (others.next(), others.next()) {
            (Some(other), None) => Ok(other),
            _ => Err(Error::new(
                "fame::data::not_a_pair",
                format!(
                    "sample `{}` has {} picture{}; a loss that compares two pictures needs exactly two.",
                    self.id,
                    self.pictures.len(),
                    if self.pictures.len() == 1 { "" } else { "s" }
                ),
            )
            .with_help(
                "Use a dataset whose samples have two pictures, or a loss that needs one.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_original_is_reduced_by_a_whole_factor() {
        let wide = Picture::new(Tensor::filled([3, 2, 1025], 0.25), "wide").unwrap();
        let original = Original::of(&wide).unwrap();
        assert_eq!((original.factor, original.size), (3, (2, 1025)));
        assert_eq!(original.pixels.shape(), [3, 1, 342]);
        assert!(original.pixels.data().iter().all(|v| *v == 0.25));
        let small = Picture::new(Tensor::filled([3, 4, 5], 0.5), "small").unwrap();
        assert_eq!(Original::of(&small).unwrap().pixels, small.pixels);
    }

    #[test]
    fn affine_maps_compose_and_invert() {
        let m = Affine([0.9, -0.2, 3.0, 0.2, 0.9, -1.0]);
        let n = Affine::scale_shift(2.0, 3.0, 1.0, 1.0);
        let p = [5.0, 7.0];
        let (once, twice) = (m.then(&n).apply(p), n.apply(m.apply(p)));
        // One rounding to f32 against two.
        assert!((once[0] - twice[0]).abs() < 1e-5 && (once[1] - twice[1]).abs() < 1e-5);
        let back = m.inverse().unwrap().apply(m.apply(p));
        assert!((back[0] - p[0]).abs() < 1e-5 && (back[1] - p[1]).abs() < 1e-5);
        assert!(Affine::scale_shift(0.0, 1.0, 0.0, 0.0).inverse().is_none());
    }
}
