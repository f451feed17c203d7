//! Drawing on a picture: boxes and short captions.

use fame_letters::{draw, line_height, shortened};
use image::{Rgb, RgbImage};

use crate::rect::Rect;

/// A picture enlarged by a whole factor, drawn on in the coordinates of the small one.
pub(super) struct Canvas {
    picture: RgbImage,
    scale: u32,
}

/// Sizes of letters on narrow and on wide pictures, in pixels.
const LETTERS: [u32; 2] = [12, 16];
/// Pictures of at least this width have large letters.
const WIDE: u32 = 400;
/// Pixels left and right of a caption.
const MARGIN: u32 = 4;

/// `text`, a name and perhaps its score, in at most `most` pixels.
fn fitting(text: &str, most: u32, letter: u32) -> String {
    // Around a name in Hebrew or Arabic, that the score stays behind it.
    const LEFT_TO_RIGHT: char = '\u{200E}';
    let score = text.rsplit_once(' ').filter(|(_, score)| score.parse::<f32>().is_ok());
    let (name, score) = score.unwrap_or((text, ""));
    let gap = if score.is_empty() { "" } else { " " };
    let name = format!("{LEFT_TO_RIGHT}{name}");
    shortened(&name, &format!("{LEFT_TO_RIGHT}{gap}{score}"), most, letter)
}

impl Canvas {
    /// `height` × `width` pixels, each `scale` × `scale` large, of the colours
    /// `colour(row, column)`.
    pub(super) fn new(height: usize, width: usize, scale: usize, colour: impl Fn(usize, usize) -> [u8; 3]) -> Self {
        let scale = scale as u32;
        let picture =
            RgbImage::from_fn(width as u32 * scale, height as u32 * scale, |x, y| Rgb(colour((y / scale) as usize, (x / scale) as usize)));
        Self { picture, scale }
    }

    pub(super) fn finish(self) -> RgbImage {
        self.picture
    }

    fn put(&mut self, x: i64, y: i64, colour: [u8; 3]) {
        if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
            && x < self.picture.width()
            && y < self.picture.height()
        {
            self.picture.put_pixel(x, y, Rgb(colour));
        }
    }

    /// The outline of `rect`, `thick` pixels inwards.
    pub(super) fn outline(&mut self, rect: &Rect, colour: [u8; 3], thick: i64) {
        let [left, top, right, bottom] = self.corners(rect);
        for k in 0..thick {
            (left..right).for_each(|x| [top + k, bottom - 1 - k].into_iter().for_each(|y| self.put(x, y, colour)));
            (top..bottom).for_each(|y| [left + k, right - 1 - k].into_iter().for_each(|x| self.put(x, y, colour)));
        }
    }

    /// `text` in black on `colour`, above the upper left corner of `rect`, or below it at the
    /// picture's edge. It stays inside the picture: it is moved to the left, and what is longer than
    /// the picture is wide is shortened, but for the number that it ends with.
    pub(super) fn caption(&mut self, rect: &Rect, text: &str, colour: [u8; 3]) {
        let [left, top, ..] = self.corners(rect);
        let (width, height) = self.picture.dimensions();
        let letter = LETTERS[usize::from(width >= WIDE)];
        let text = fitting(text, width.saturating_sub(2 * MARGIN), letter);
        if text.is_empty() {
            return;
        }
        let (wide, high) = (fame_letters::width(&text, letter) + 2 * MARGIN, line_height(letter));
        let (left, top) = (left as u32, top as u32);
        let x = left.min(width.saturating_sub(wide));
        let y = top.checked_sub(high).unwrap_or(top).min(height.saturating_sub(high));
        for (x, y) in (y..y + high).flat_map(|y| (x..x + wide).map(move |x| (x, y))) {
            self.put(x.into(), y.into(), colour);
        }
        draw(&mut self.picture, &text, (x + MARGIN, y), letter, Rgb([0; 3]));
    }

    /// The sides of `rect` in enlarged pixels, cut off at the picture.
    fn corners(&self, rect: &Rect) -> [i64; 4] {
        let extents = [self.picture.width(), self.picture.height()];
        std::array::from_fn(|k| {
            let at = (rect.0[k] * f64::from(self.scale)).round();
            at.clamp(0.0, f64::from(extents[k % 2])) as i64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_lies_on_the_boxs_edge_and_stays_on_the_picture() {
        let mut canvas = Canvas::new(4, 5, 2, |_, _| [9; 3]);
        canvas.outline(&Rect([1.0, 1.0, 3.0, 99.0]), [255, 0, 0], 1);
        let picture = canvas.finish();
        let red = |x, y| picture.get_pixel(x, y).0 == [255, 0, 0];
        assert!(red(2, 2) && red(5, 2) && red(2, 7) && red(5, 7) && !red(3, 3) && !red(6, 4));
        assert_eq!((picture.width(), picture.height()), (10, 8));
    }

    /// A caption on a gray picture of 80 × 40, and where its colour is: left, top, right, bottom.
    fn captioned(text: &str, rect: [f64; 4]) -> (RgbImage, [u32; 4]) {
        let mut canvas = Canvas::new(40, 80, 1, |_, _| [9; 3]);
        canvas.caption(&Rect(rect), text, [0, 255, 0]);
        let picture = canvas.finish();
        let green = picture.enumerate_pixels().filter(|(.., p)| p.0 == [0, 255, 0]);
        let bounds = green.fold([u32::MAX, u32::MAX, 0, 0], |[l, t, r, b], (x, y, _)| [l.min(x), t.min(y), r.max(x + 1), b.max(y + 1)]);
        (picture, bounds)
    }

    #[test]
    fn a_caption_has_the_letters_of_its_script() {
        let at = [2.0, 20.0, 9.0, 28.0];
        let [dog, cat, question] = ["犬 0.5", "猫 0.5", "? 0.5"].map(|text| captioned(text, at).0);
        assert!(dog != cat && dog != question && captioned("é", at).0 != captioned("e", at).0);
        // A name that runs leftwards has its score behind it, as any other.
        let (hebrew, other) = (captioned("כלב 0.5", at).0, captioned("כלב 0.7", at).0);
        let differs = hebrew.enumerate_pixels().filter(|(x, y, p)| other.get_pixel(*x, *y) != *p);
        assert!(differs.map(|(x, ..)| x).min().unwrap() > 2 + MARGIN + fame_letters::width("כלב", LETTERS[0]));
    }

    #[test]
    fn a_caption_stays_inside_the_picture_and_keeps_its_score() {
        let high = line_height(LETTERS[0]);
        let (_, above) = captioned("a 0.5", [2.0, 20.0, 9.0, 28.0]);
        assert_eq!((above[0], above[1], above[3]), (2, 20 - high, 20));
        // No room above, no room at the right, no room below.
        assert_eq!(captioned("a 0.5", [2.0, 3.0, 9.0, 28.0]).1[1], 3);
        assert_eq!(captioned("a 0.5", [75.0, 20.0, 80.0, 28.0]).1[2], 80);
        assert_eq!(captioned("a 0.5", [2.0, 40.0, 9.0, 40.0]).1[3], 40);
        let long = |score: &str| captioned(&format!("Deutscher Schäferhund {score}"), [20.0, 20.0, 30.0, 28.0]);
        let (picture, bounds) = long("0.873");
        assert!(bounds[2] <= 80 && picture != long("0.111").0, "the score is there");
        assert!(fitting("Deutscher Schäferhund 0.873", 72, 12).ends_with("…\u{200E} 0.873"));
        // Where there is room for nothing there is nothing.
        let mut tiny = Canvas::new(4, 4, 1, |_, _| [9; 3]);
        tiny.caption(&Rect([0.0, 0.0, 4.0, 4.0]), "dog 0.5", [0, 255, 0]);
        assert!(tiny.finish().pixels().all(|p| p.0 == [9; 3]));
    }
}
