//! Captions in an 8×8 bitmap font, which needs no font file and looks the same everywhere.

use image::{Rgb, RgbImage};

/// Width and height of a character at scale 1, in pixels.
pub(super) const GLYPH: u32 = 8;

/// The first character of the second table of glyphs.
const LATIN: usize = 0xA0;

/// Draws `text` with its upper left corner at (`x`, `y`), each dot `scale`×`scale` pixels. What
/// lies outside the picture is left out; characters beyond Latin-1 become `?`.
pub(super) fn draw(on: &mut RgbImage, text: &str, (x, y): (u32, u32), scale: u32, colour: Rgb<u8>) {
    for (i, character) in text.chars().enumerate() {
        let (basic, latin) = (font8x8::legacy::BASIC_LEGACY, font8x8::legacy::LATIN_LEGACY);
        let beyond = || latin.get((character as usize).checked_sub(LATIN)?);
        let glyph = basic.get(character as usize).or_else(beyond);
        let glyph = glyph.unwrap_or(&basic[usize::from(b'?')]);
        for dot in 0..GLYPH * GLYPH {
            let (column, row) = (dot % GLYPH, dot / GLYPH);
            if glyph[row as usize] >> column & 1 == 1 {
                let (left, top) = (x + (i as u32 * GLYPH + column) * scale, y + row * scale);
                for (px, py) in (0..scale * scale).map(|d| (left + d % scale, top + d / scale)) {
                    if let Some(pixel) = on.get_pixel_mut_checked(px, py) {
                        *pixel = colour;
                    }
                }
            }
        }
    }
}

/// Breaks `text` into lines of at most `width` characters, after `_`, `-` or a space where
/// possible. A `width` of 0 counts as 1.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line: Vec<char> = Vec::new();
    for character in text.chars() {
        if line.len() >= width.max(1) {
            let cut = line
                .iter()
                .rposition(|c| matches!(c, '_' | '-' | ' '))
                .map_or(line.len(), |at| at + 1);
            let rest = line.split_off(cut);
            lines.push(line.into_iter().collect());
            line = rest;
        }
        line.push(character);
    }
    if !line.is_empty() {
        lines.push(line.into_iter().collect());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("probe_similar_k49", 9), ["probe_", "similar_", "k49"]);
        assert_eq!(wrap("dissimilar", 4), ["diss", "imil", "ar"]);
        assert_eq!(wrap("ab", 0), ["a", "b"]);
        assert!(wrap("", 5).is_empty());
    }

    #[test]
    fn a_letter_is_where_it_should_be_and_nothing_falls_off_the_edge() {
        let white = Rgb([255; 3]);
        let mut on = RgbImage::new(20, 10);
        draw(&mut on, "|", (2, 1), 1, white);
        // A bar: one stroke two dots wide, columns 3 and 4 of 8.
        let lit: Vec<u32> = (0..20).filter(|x| *on.get_pixel(*x, 1) == white).collect();
        assert_eq!(lit, [5, 6]);
        draw(&mut on, "WWWWé", (15, 5), 3, white);
        let drawn = |text| {
            let mut on = RgbImage::new(8, 8);
            draw(&mut on, text, (0, 0), 1, white);
            on
        };
        assert!(drawn("ü") != drawn("?") && drawn("漢") == drawn("?"));
    }
}
