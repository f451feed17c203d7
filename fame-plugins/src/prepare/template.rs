//! Templates: the places of the five points of an aligned face.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Point;

/// A published place for left eye, right eye, nose, left and right corner of the mouth (left and
/// right as seen in the picture).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Template {
    /// The template of ArcFace, also of AdaFace, CosFace, MagFace and MobileFaceNet, made for
    /// 112×112 pixels.
    #[default]
    ArcFace,
}

/// At 112×112, from the centre of the first pixel as OpenCV counts.
const ARC_FACE: [Point; 5] = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
];

impl Template {
    /// The five points in a frame of `width` × `height` pixels, from the outer corner of the first
    /// pixel.
    ///
    /// As in insightface, a height that is a multiple of 128 (and not of 112) is read as a 112
    /// frame with 8 pixels more to the left and the right and 16 more below; any other height
    /// scales the points by height/112. A frame that is not square keeps the face in the middle:
    /// 96×112 is MTCNN's.
    pub fn points(self, width: usize, height: usize) -> [Point; 5] {
        let Self::ArcFace = self;
        let inner = if height.is_multiple_of(128) && !height.is_multiple_of(112) {
            height / 128 * 112
        } else {
            height
        };
        let scale = inner as f64 / 112.0;
        let left = (width as f64 - inner as f64) / 2.0;
        ARC_FACE.map(|[x, y]| [x * scale + left + 0.5, y * scale + 0.5])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: Point, wanted: Point) {
        // The two published templates agree to four decimals.
        assert!(
            (found[0] - wanted[0]).abs() < 1e-4 && (found[1] - wanted[1]).abs() < 1e-4,
            "{found:?} {wanted:?}"
        );
    }

    #[test]
    fn frames_of_other_sizes_follow_the_published_rules() {
        // Published points count from pixel centres, ours from corners: half a pixel more.
        close(Template::ArcFace.points(112, 112)[0], [38.2946 + 0.5, 51.6963 + 0.5]);
        close(Template::ArcFace.points(224, 224)[2], [2.0 * 56.0252 + 0.5, 2.0 * 71.7366 + 0.5]);
        close(Template::ArcFace.points(128, 128)[3], [41.5493 + 8.0 + 0.5, 92.3655 + 0.5]);
        close(
            Template::ArcFace.points(256, 256)[3],
            [2.0 * (41.5493 + 8.0) + 0.5, 2.0 * 92.3655 + 0.5],
        );
        close(Template::ArcFace.points(96, 112)[0], [30.294_599_53 + 0.5, 51.696_300_51 + 0.5]);
    }
}
