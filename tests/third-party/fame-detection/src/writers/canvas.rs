//! Drawing on a picture: boxes and short captions.

use font8x8::legacy::BASIC_LEGACY;
use image::{Rgb, RgbImage};

use crate::rect::Rect;

/// A picture enlarged by a whole factor, drawn on in the coordinates of the small one.
pub(super) struct Canvas {
    picture: RgbImage,
    scale: u32,
}

/// Side of a glyph.
const GLYPH: i64 = 8;

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
    /// picture's edge. What is not ASCII becomes `?`.
    pub(super) fn caption(&mut self, rect: &Rect, text: &str, colour: [u8; 3]) {
        let [left, top, ..] = self.corners(rect);
        let width = (text.chars().count() as i64 + 1) * GLYPH;
        let x0 = left.min(i64::from(self.picture.width()) - width).max(0);
        let y0 = if top >= GLYPH + 2 { top - GLYPH - 2 } else { top };
        (y0..y0 + GLYPH + 2).for_each(|y| (x0..x0 + width).for_each(|x| self.put(x, y, colour)));
        for (n, letter) in text.chars().enumerate() {
            let letter = if letter.is_ascii() { letter } else { '?' };
            let x = x0 + GLYPH / 2 + n as i64 * GLYPH;
            for (row, bits) in BASIC_LEGACY[letter as usize].iter().enumerate() {
                (0..8).filter(|bit| bits & (1 << bit) != 0).for_each(|bit| self.put(x + bit, y0 + 1 + row as i64, [0; 3]));
            }
        }
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

    #[test]
    fn a_caption_is_dark_letters_on_colour_whatever_the_text() {
        let mut canvas = Canvas::new(30, 60, 1, |_, _| [9; 3]);
        canvas.caption(&Rect([2.0, 20.0, 9.0, 28.0]), "é犬", [0, 255, 0]);
        let picture = canvas.finish();
        let count = |colour: [u8; 3]| picture.pixels().filter(|p| p.0 == colour).count();
        assert_eq!(count([0, 255, 0]) + count([0; 3]), 24 * 10);
        assert!(count([0; 3]) > 10);
    }
}
