//! The similarity transform that brings points nearest to other points.

use fame_core::{Affine, Error, Result};

use super::Point;

/// Points nearer to their mean than this part of their distance from the origin cannot be told
/// apart in `f64` after the mean is taken off.
const ROUNDING: f64 = 1e-9;

/// Scale, rotation and translation, no reflection: `x' = z·x + t` with points as complex numbers.
///
/// `from` is least squares over all such maps, and so is Umeyama's estimate: in the plane, the best
/// rotation and scale together are one complex number, z = Σ ā·b / Σ |a|² over the centred points,
/// whose determinant |z|² is never negative. No singular value decomposition is needed, and no case
/// distinction against reflections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// The map.
    pub affine: Affine,
    /// Root of the mean squared distance between mapped and wanted points, in the wanted points'
    /// pixels.
    pub residual: f64,
    /// Root of the mean squared distance of the wanted points from their mean: what `residual`
    /// would be if the points had nothing in common.
    pub spread: f64,
}

impl Similarity {
    /// The map that brings `from` nearest to `to`, pair by pair.
    ///
    /// # Errors
    /// `fame::prepare::degenerate_points` when it is not determined: fewer than two pairs, all
    /// points the same, a point that is not finite, or points that are a mirror image of each other
    /// in such a way that every rotation is equally bad.
    pub fn fit(from: &[Point], to: &[Point]) -> Result<Self> {
        let n = from.len();
        if n != to.len() || n < 2 {
            return Err(Error::bug(format!(
                "a similarity needs two or more pairs of points, not {n} and {}.",
                to.len()
            )));
        }
        let (centre, goal) = (mean(from), mean(to));
        let mut norm = 0.0;
        let mut spread = 0.0;
        let (mut re, mut im) = (0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let (a, b) = ([p[0] - centre[0], p[1] - centre[1]], [q[0] - goal[0], q[1] - goal[1]]);
            norm += a[0] * a[0] + a[1] * a[1];
            spread += b[0] * b[0] + b[1] * b[1];
            re += a[0] * b[0] + a[1] * b[1];
            im += a[0] * b[1] - a[1] * b[0];
        }
        let size = n as f64 * (centre[0] * centre[0] + centre[1] * centre[1]) + norm;
        let together = re.hypot(im);
        // Written so that anything not finite fails, too.
        let determined = norm > ROUNDING * ROUNDING * size
            && spread > 0.0
            && together > ROUNDING * (norm * spread).sqrt();
        if !determined || !together.is_finite() {
            return Err(Error::new("fame::prepare::degenerate_points", format!("the points {} determine no alignment.", list(from)))
                .with_help("They must be finite, not all the same, and in the order left eye, right eye, nose, left and right corner of the mouth, as seen in the picture."));
        }
        let (c, s) = (re / norm, im / norm);
        let affine = Affine([
            c,
            -s,
            goal[0] - c * centre[0] + s * centre[1],
            s,
            c,
            goal[1] - s * centre[0] - c * centre[1],
        ]);
        let apart: f64 =
            from.iter().zip(to).map(|(p, q)| distance_squared(apply(&affine, *p), *q)).sum();
        Ok(Self { affine, residual: (apart / n as f64).sqrt(), spread: (spread / n as f64).sqrt() })
    }

    /// Factor by which lengths grow.
    pub fn scale(&self) -> f64 {
        self.affine.0[0].hypot(self.affine.0[3])
    }

    /// By how much things turn, in degrees, −180..=180; positive is clockwise as seen, because y
    /// points down.
    pub fn degrees(&self) -> f64 {
        self.affine.0[3].atan2(self.affine.0[0]).to_degrees()
    }
}

/// [`Affine::apply`] in double precision.
pub(super) fn apply(map: &Affine, [x, y]: Point) -> Point {
    let [a, b, c, d, e, f] = map.0;
    [a * x + b * y + c, d * x + e * y + f]
}

/// Points as people write them.
pub(super) fn list(points: &[Point]) -> String {
    let each: Vec<String> = points.iter().map(|[x, y]| format!("({x:.1}, {y:.1})")).collect();
    each.join(", ")
}

fn mean(points: &[Point]) -> Point {
    let n = points.len() as f64;
    [points.iter().map(|p| p[0]).sum::<f64>() / n, points.iter().map(|p| p[1]).sum::<f64>() / n]
}

fn distance_squared(p: Point, q: Point) -> f64 {
    (p[0] - q[0]).powi(2) + (p[1] - q[1]).powi(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prepare::Template;

    fn face() -> [Point; 5] {
        Template::ArcFace.points(112, 112)
    }

    /// Coordinates reach 3e3 and f64 keeps 16 digits; a thousandfold reserve for the sums.
    const RECOVERED: f64 = 1e-9;

    fn determinant(map: &Affine) -> f64 {
        map.0[0] * map.0[4] - map.0[1] * map.0[3]
    }

    #[test]
    fn a_mirrored_face_is_turned_but_never_reflected() {
        let mirrored = face().map(|[x, y]| [112.0 - x, y]);
        let fit = Similarity::fit(&mirrored, &face()).unwrap();
        assert!(determinant(&fit.affine) > 0.0);
        assert!(
            fit.residual > 0.5 * fit.spread,
            "and it does not fit: {} of {}",
            fit.residual,
            fit.spread
        );
    }

    #[test]
    fn points_that_determine_nothing_are_refused() {
        let same = [[3.0, 4.0]; 5];
        let mut broken = face();
        broken[2][1] = f64::NAN;
        let square = [[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]];
        assert!(Similarity::fit(&same, &face()).is_err());
        assert!(Similarity::fit(&same.map(|[x, y]| [x * 1e12 + 0.1, y]), &face()).is_err());
        assert!(Similarity::fit(&face(), &same).is_err());
        assert!(Similarity::fit(&broken, &face()).is_err());
        assert!(
            Similarity::fit(&square, &square.map(|[x, y]| [-x, y])).is_err(),
            "every rotation of a mirrored square is equally bad"
        );
    }

    #[test]
    fn no_small_change_of_the_map_brings_the_points_nearer() {
        let from = [[210.0, 190.0], [330.0, 170.0], [285.0, 250.0], [240.0, 330.0], [330.0, 310.0]];
        let fit = Similarity::fit(&from, &face()).unwrap();
        let error = |m: [f64; 6]| {
            from.iter()
                .zip(face())
                .map(|(p, q)| distance_squared(apply(&Affine(m), *p), q))
                .sum::<f64>()
        };
        let best = error(fit.affine.0);
        for (i, j, sign) in [(0, 4, 1.0), (1, 3, -1.0), (2, 2, 0.0), (5, 5, 0.0)] {
            for step in [-1e-4, 1e-4] {
                let mut m = fit.affine.0;
                m[i] += step;
                m[j] += sign * step;
                assert!(error(m) > best, "{i} {step}");
            }
        }
    }

    proptest! {
        /// Any similarity is found again from five points of any face that is not smaller than a
        /// pixel.
        #[test]
        fn similarities_are_recovered(
            scale in 0.05f64..20.0, angle in -3.1f64..3.1, dx in -1e3f64..1e3, dy in -1e3f64..1e3,
            jitter in proptest::collection::vec(-10f64..10.0, 10),
        ) {
            let mut from = face();
            for (i, p) in from.iter_mut().enumerate() {
                p[0] += jitter[2 * i];
                p[1] += jitter[2 * i + 1];
            }
            let (c, s) = (scale * angle.cos(), scale * angle.sin());
            let truth = Affine([c, -s, dx, s, c, dy]);
            let fit = Similarity::fit(&from, &from.map(|p| apply(&truth, p))).unwrap();
            for (found, wanted) in fit.affine.0.iter().zip(truth.0) {
                prop_assert!((found - wanted).abs() < RECOVERED * wanted.abs().max(1.0), "{found} {wanted}");
            }
            prop_assert!((fit.scale() / scale - 1.0).abs() < RECOVERED && (fit.degrees() - angle.to_degrees()).abs() < 100.0 * RECOVERED);
            prop_assert!(fit.residual < RECOVERED);
        }

        /// Whatever the points, the plane is never mirrored.
        #[test]
        fn nothing_is_ever_reflected(points in proptest::collection::vec((0f64..500.0, 0f64..500.0), 5)) {
            let from: Vec<Point> = points.iter().map(|(x, y)| [*x, *y]).collect();
            if let Ok(fit) = Similarity::fit(&from, &face()) {
                prop_assert!(determinant(&fit.affine) > 0.0);
            }
        }
    }
}
