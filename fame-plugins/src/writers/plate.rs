//! A plate: a picture with a title above it and a bar of colours beside it.

use std::borrow::Cow;

use image::{Rgb, RgbImage, imageops::replace};

use fame_letters::{draw, line_height, wrap};

use super::colour::Palette;

const PAPER: Rgb<u8> = Rgb([255; 3]);
const INK: Rgb<u8> = Rgb([0; 3]);

/// Size of the letters, in pixels.
const LETTER: u32 = 16;
/// Pixels around the title, and beside the bar.
const MARGIN: u32 = 8;
/// Width of the bar.
const BAR: u32 = 16;
/// Narrower pictures have no room for words or a bar.
const NARROWEST: u32 = 96;
/// Longer titles are cut: the longest name of a class of ImageNet has 121 characters, and a file
/// may give a class a name of a million.
pub(super) const LONGEST: usize = 300;
/// So much of a name stands in a title.
const LONGEST_NAME: usize = 150;

/// `picture` with `title` above it, broken into lines where it is long and cut where it is very
/// long, and with the colours from 0 (below) to 1 (above) at its right. An empty title and no `palette` leave it as it is, and so
/// does a picture of less than 96 pixels.
pub(super) fn plate(picture: &RgbImage, title: &str, palette: Option<&Palette>) -> RgbImage {
    let (width, height) = picture.dimensions();
    if width < NARROWEST || height < NARROWEST || (title.is_empty() && palette.is_none()) {
        return picture.clone();
    }
    let right = if palette.is_some() { BAR_ROOM } else { 0 };
    let lines = wrap(&cut(title, LONGEST), (width + right).saturating_sub(2 * MARGIN), LETTER);
    let line = line_height(LETTER);
    let top = if lines.is_empty() { 0 } else { lines.len() as u32 * line + 2 * MARGIN };
    let mut on = RgbImage::from_pixel(width + right, top + height, PAPER);
    for (n, text) in lines.iter().enumerate() {
        draw(&mut on, text.trim(), (MARGIN, MARGIN + n as u32 * line), LETTER, INK);
    }
    replace(&mut on, picture, 0, i64::from(top));
    if let Some(palette) = palette {
        bar(&mut on, palette, (width, top), height);
    }
    on
}

/// The width of a [`bar`] with its numbers and the room around them.
pub(super) const BAR_ROOM: u32 = MARGIN + BAR + MARGIN + LETTER;

/// Draws the colours from 0 (below) to 1 (above), `height` pixels high, with their numbers, into the
/// [`BAR_ROOM`] pixels right of a corner.
pub(super) fn bar(on: &mut RgbImage, palette: &Palette, (left, top): (u32, u32), height: u32) {
    let left = left + MARGIN;
    for y in 0..height {
        let value = 1.0 - y as f32 / height.saturating_sub(1).max(1) as f32;
        for x in left..left + BAR {
            if let Some(pixel) = on.get_pixel_mut_checked(x, top + y) {
                *pixel = Rgb(palette.at(value));
            }
        }
    }
    let beside = left + BAR + MARGIN / 2;
    draw(on, "1", (beside, top), LETTER, INK);
    draw(on, "0", (beside, top + height.saturating_sub(LETTER)), LETTER, INK);
}

/// `text`, or as much of it as there is room for.
pub(super) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// A name within a title: cut, so that the number behind it is not; and with a mark, without which
/// that number would be drawn before a name in Hebrew or Arabic.
pub(super) fn marked(name: &str) -> String {
    format!("{}\u{200E}", cut(name, LONGEST_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_runs_from_one_above_to_zero_below() {
        let picture = RgbImage::from_pixel(100, 120, Rgb([7; 3]));
        let gray = Palette::named("gray").unwrap();
        let on = plate(&picture, "", Some(&gray));
        assert_eq!(on.height(), 120);
        let bar = |y| on.get_pixel(100 + MARGIN, y).0[0];
        assert_eq!((bar(0), bar(119)), (255, 0));
        assert_eq!(on.get_pixel(50, 50).0, [7; 3]);
    }

    #[test]
    fn a_title_stands_above_and_small_pictures_stay_as_they_are() {
        let picture = RgbImage::from_pixel(100, 100, Rgb([7; 3]));
        let on = plate(&picture, "fame: a title that is long", None);
        assert!(on.height() > 100 + 2 * line_height(LETTER), "more than one line");
        assert!(on.pixels().any(|p| *p == INK));
        assert_eq!(on.get_pixel(0, on.height() - 1).0, [7; 3]);
        // Titles in different scripts are different pictures, not rows of `?`.
        let titled = |title: &str| plate(&picture, title, None);
        assert!(titled("犬") != titled("猫") && titled("кот") != titled("кит"));
        // A title without an end is cut.
        let long = |n: usize| plate(&picture, &"犬".repeat(n), None).height();
        assert!(long(LONGEST) > long(LONGEST / 2));
        assert_eq!(long(100 * LONGEST), long(LONGEST + 1));
        let small = RgbImage::new(40, 40);
        assert_eq!(plate(&small, "x", Some(&Palette::named("gray").unwrap())), small);
    }
}
