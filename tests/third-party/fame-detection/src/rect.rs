//! Rectangles of pixels, and how much two of them overlap.

use fame_core::{
    Annotation, Frame,
    data::{Value, facts},
};

/// A rectangle `[left, top, right, bottom]` in pixels of the network's input, measured from the
/// outer corner of the first pixel; right and bottom are where it ends. It may reach beyond the
/// picture, as a detector's boxes do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect(pub [f64; 4]);

impl Rect {
    /// right − left; below 0 when the sides are swapped.
    pub fn width(&self) -> f64 {
        self.0[2] - self.0[0]
    }

    /// bottom − top; below 0 when the sides are swapped.
    pub fn height(&self) -> f64 {
        self.0[3] - self.0[1]
    }

    /// Whether it has an inside, and all of it is finite.
    pub fn is_proper(&self) -> bool {
        self.0.iter().all(|v| v.is_finite()) && self.width() > 0.0 && self.height() > 0.0
    }

    /// Intersection over union with `other`, 0..=1; 0 when one of the two has no inside.
    pub fn overlap(&self, other: &Rect) -> f64 {
        self.overlap_and_slopes(other).0
    }

    /// The overlap with a fixed `other`, and its derivative by each side of `self`.
    ///
    /// With I the intersection, A and B the areas: IoU = I / (A + B − I), d IoU = (dI·(A + B) −
    /// I·dA) / (A + B − I)². Where two sides coincide the intersection has a kink, and the mean of
    /// its two slopes is taken, as central differences do: so the derivative where both boxes are
    /// equal, the maximum, is exactly 0.
    pub fn overlap_and_slopes(&self, other: &Rect) -> (f64, [f64; 4]) {
        if !self.is_proper() || !other.is_proper() {
            return (0.0, [0.0; 4]);
        }
        let side = |low: usize| self.0[low + 2].min(other.0[low + 2]) - self.0[low].max(other.0[low]);
        let (across, down) = (side(0), side(1));
        if across <= 0.0 || down <= 0.0 {
            return (0.0, [0.0; 4]);
        }
        let both = across * down;
        let sum = self.width() * self.height() + other.width() * other.height();
        let union = sum - both;
        let slopes = std::array::from_fn(|k| {
            let (length, breadth) = if k % 2 == 0 { (self.height(), down) } else { (self.width(), across) };
            // Growing: the right and bottom sides outwards, left and top inwards.
            let outwards = if k < 2 { -1.0 } else { 1.0 };
            let binds = if self.0[k] == other.0[k] {
                0.5
            } else if (self.0[k] > other.0[k]) == (k < 2) {
                1.0
            } else {
                0.0
            };
            outwards * (binds * breadth * sum - both * length) / (union * union)
        });
        (both / union, slopes)
    }

    /// The pixels of a picture of `height` × `width` whose centres lie inside; `None` when there
    /// are none.
    pub fn frame(&self, height: usize, width: usize) -> Option<Frame> {
        let [left, top, right, bottom] = self.0;
        // The first pixel whose centre is at or beyond `at`.
        let first = |at: f64, extent: usize| (at - 0.5).ceil().clamp(0.0, extent as f64) as usize;
        let frame = Frame { top: first(top, height), left: first(left, width), bottom: first(bottom, height), right: first(right, width) };
        (self.is_proper() && frame.top < frame.bottom && frame.left < frame.right).then_some(frame)
    }

    /// Left, top, right and bottom for the record, to a hundredth of a pixel.
    pub fn fact(&self) -> Value {
        self.0.map(|v| (v * 100.0).round() / 100.0).to_vec().into()
    }

    /// Its two corners as an annotation.
    pub fn annotation(&self, name: &str, label: Option<String>) -> Annotation {
        let [left, top, right, bottom] = self.0.map(|v| v as f32);
        Annotation { name: name.to_owned(), label, points: vec![[left, top], [right, bottom]] }
    }

    /// The rectangle between the two corners of an annotation.
    pub fn between(annotation: &Annotation) -> Option<Self> {
        let &[[left, top], [right, bottom]] = annotation.points.as_slice() else { return None };
        Some(Self([left, top, right, bottom].map(f64::from)))
    }
}

/// A box with its class and score, for the record.
pub(crate) fn scored_fact(rect: &Rect, label: &str, score: f32) -> Value {
    Value::Map(facts([("box", rect.fact()), ("label", label.into()), ("score", score.into())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Rect = Rect([10.0, 20.0, 50.0, 60.0]);

    #[test]
    fn overlap_is_intersection_over_union() {
        assert_eq!(TARGET.overlap(&TARGET), 1.0);
        assert_eq!(TARGET.overlap(&Rect([30.0, 20.0, 70.0, 60.0])), 20.0 / 60.0);
        for none in [Rect([50.0, 20.0, 90.0, 60.0]), Rect([20.0, 30.0, 20.0, 40.0]), Rect([f64::NAN, 0.0, 90.0, 60.0])] {
            assert_eq!(none.overlap_and_slopes(&TARGET), (0.0, [0.0; 4]));
        }
    }

    #[test]
    fn slopes_are_central_differences_also_where_sides_coincide() {
        // At a kink a central difference is off by about h times the curvature (below 1e-2 here),
        // elsewhere by h².
        const H: f64 = 1e-5;
        const TOLERANCE: f64 = 1e-7;
        let boxes =
            [[12.0, 17.0, 45.0, 70.0], [0.0, 30.0, 49.0, 50.0], [10.0, 20.0, 50.0, 60.0], [10.0, 25.0, 40.0, 60.0], [5.0, 5.0, 90.0, 90.0]];
        for at in boxes {
            let (_, slopes) = Rect(at).overlap_and_slopes(&TARGET);
            for k in 0..4 {
                let moved = |by: f64| {
                    let mut sides = at;
                    sides[k] += by;
                    Rect(sides).overlap(&TARGET)
                };
                let numeric = (moved(H) - moved(-H)) / (2.0 * H);
                assert!((slopes[k] - numeric).abs() < TOLERANCE, "{at:?} side {k}: {} against {numeric}", slopes[k]);
            }
        }
        assert_eq!(TARGET.overlap_and_slopes(&TARGET).1, [0.0; 4], "nothing improves a perfect match");
    }

    #[test]
    fn a_frame_holds_the_pixels_whose_centres_are_inside() {
        let frame = |sides| Rect(sides).frame(10, 12).map(|f| [f.left, f.top, f.right, f.bottom]);
        assert_eq!(frame([0.4, 0.6, 3.5, 3.6]), Some([0, 1, 3, 4]));
        assert_eq!(frame([-5.0, -5.0, 99.0, 99.0]), Some([0, 0, 12, 10]));
        assert_eq!((frame([20.0, 0.0, 30.0, 5.0]), frame([3.6, 0.0, 4.4, 9.0])), (None, None));
    }

    #[test]
    fn an_annotation_comes_back() {
        let rect = Rect([1.25, 2.0, 3.0, 4.0]);
        assert_eq!(Rect::between(&rect.annotation("target", None)), Some(rect));
        assert_eq!(Rect::between(&Annotation { name: "point".into(), label: None, points: vec![[0.0, 0.0]] }), None);
    }
}
