//! Labels in any script, drawn with the same bytes on every machine.
//!
//! A label is any text: a class name in Greek, a file's name in Hangul, an emoji. No font of the
//! system is asked, since a run's pictures are compared byte for byte with those of another
//! machine: the fonts are part of this crate. Outlines draw what an outline font of moderate size
//! has, the alphabets of Europe and the Near East and the scripts of South and Southeast Asia, with
//! their joins and ligatures. GNU Unifont's bitmaps draw the rest of Unicode's first plane,
//! Chinese, Japanese and Korean above all, and the emoji. What not even these have is written as
//! its number, `[U+20BB7]`.

mod bitmaps;
mod fonts;
mod layout;

use image::{Rgb, RgbImage};

use layout::Label;

/// The distance between the tops of two lines of letters of `size` pixels.
pub const fn line_height(size: u32) -> u32 {
    size + size.div_ceil(4)
}

/// The width of `text` in one line of letters of `size` pixels.
pub fn width(text: &str, size: u32) -> u32 {
    Label::measured(text, size).width
}

/// Draws `text` in one line of letters of `size` pixels, whose upper left corner is (`x`, `y`).
/// What lies outside of the picture is left out.
pub fn draw(on: &mut RgbImage, text: &str, (x, y): (u32, u32), size: u32, colour: Rgb<u8>) {
    for mark in &Label::new(text, size).marks {
        for (i, &cover) in mark.cover.iter().enumerate() {
            let (column, row) = ((i as u32 % mark.width) as i32, (i as u32 / mark.width) as i32);
            let at = |from: u32, by: i32| u32::try_from(i64::from(from) + i64::from(by)).ok();
            let place = at(x, mark.left + column).zip(at(y, mark.top + row));
            if let Some(pixel) = place.and_then(|(x, y)| on.get_pixel_mut_checked(x, y)) {
                *pixel = blend(*pixel, colour, cover);
            }
        }
    }
}

/// `over` laid on `under` where `cover` of 255 parts of the pixel are ink.
fn blend(under: Rgb<u8>, over: Rgb<u8>, cover: u8) -> Rgb<u8> {
    let part = |c: usize| {
        let ink = u32::from(over.0[c]) * u32::from(cover);
        ((ink + u32::from(under.0[c]) * u32::from(255 - cover) + 127) / 255) as u8
    };
    Rgb([part(0), part(1), part(2)])
}

/// Breaks `text` into lines that are at most `most` pixels wide in letters of `size` pixels: after
/// a space, `_`, `-` or `/` or beside a character that stands for a syllable or a word, and within
/// words where these are too long. A line has one character at least, however narrow.
pub fn wrap(text: &str, most: u32, size: u32) -> Vec<String> {
    let fits = |line: &str| width(line.trim_end(), size) <= most;
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        if fits(&format!("{line}{word}")) {
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for piece in if fits(word) { vec![word] } else { layout::clusters(word) } {
            if !line.is_empty() && !fits(&format!("{line}{piece}")) {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(piece);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `text` with `kept` behind it in at most `most` pixels of letters of `size`: where both are
/// wider, `…` stands for the end of `text`, and `kept` stays whole as long as there is room for it.
/// Empty where there is not even room for `…`.
pub fn shortened(text: &str, kept: &str, most: u32, size: u32) -> String {
    let fits = |line: &str| width(line, size) <= most;
    let pieces = layout::clusters(text);
    // No letter is narrower than a pixel: a text without an end need not be measured.
    let room = pieces.len().min(most as usize);
    let whole = format!("{text}{kept}");
    if room == pieces.len() && fits(&whole) {
        return whole;
    }
    let cut = |n: usize| format!("{}…{kept}", pieces[..n].concat().trim_end());
    let (mut least, mut beyond) = (0, room + 1);
    while least + 1 < beyond {
        let middle = usize::midpoint(least, beyond);
        if fits(&cut(middle)) { least = middle } else { beyond = middle }
    }
    match cut(least) {
        cut if fits(&cut) => cut,
        _ if kept.is_empty() => String::new(),
        _ => shortened(&whole, "", most, size),
    }
}

/// The pieces of `text` between which a line may be broken.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        let after_break = matches!(before, ' ' | '_' | '-' | '/') && character != ' ';
        let ideograph = layout::stands_alone(before) || layout::stands_alone(character);
        // No line begins with a mark that ends a sentence.
        let closes =
            layout::joins_previous(character) || "，。、；：！？）」』".contains(character);
        if at > start && (after_break || ideograph) && !closes {
            words.push(&text[start..at]);
            start = at;
        }
        before = character;
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}

#[cfg(test)]
mod tests;
