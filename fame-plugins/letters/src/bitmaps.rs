//! GNU Unifont: a bitmap, 8 or 16 pixels wide and 16 high, of nearly every character.

use std::sync::LazyLock;

use super::fonts::unpacked;

/// Height of every glyph.
pub(crate) const HEIGHT: u32 = 16;
/// Rows of a glyph above the line that letters stand on.
pub(crate) const ASCENT: u32 = 14;

/// A glyph: rows of dots, each row one or two bytes, the left dot in the highest bit.
#[derive(Clone, Copy)]
pub(crate) struct Bitmap {
    rows: &'static [u8],
    /// 8 or 16 dots.
    pub(crate) width: u32,
}

/// Neighbours of the same width.
struct Run {
    first: u32,
    count: u32,
    width: u32,
    /// Where the dots of the first one begin.
    at: usize,
}

/// The runs, ascending, and all dots. The file begins with the number of runs and each one's first
/// character, number and width, as 32-bit numbers, lowest byte first.
static UNIFONT: LazyLock<(Vec<Run>, Vec<u8>)> = LazyLock::new(|| read().unwrap_or_default());

fn read() -> Option<(Vec<Run>, Vec<u8>)> {
    let bytes = unpacked(include_bytes!("../fonts/Unifont.bin.gz"))?;
    let number = |n: usize| {
        let four = bytes.get(4 * n..4 * n + 4)?;
        Some(u32::from_le_bytes(four.try_into().ok()?))
    };
    let count = number(0)? as usize;
    let mut at = 0;
    let mut runs = Vec::with_capacity(count);
    for n in (0..count).map(|run| 1 + 3 * run) {
        let run = Run { first: number(n)?, count: number(n + 1)?, width: number(n + 2)?, at };
        at += (run.count * run.width * HEIGHT / 8) as usize;
        runs.push(run);
    }
    Some((runs, bytes.get(4 * (1 + 3 * count)..)?.to_vec()))
}

impl Bitmap {
    /// The glyph of `character`, if there is one.
    pub(crate) fn of(character: char) -> Option<Self> {
        let (runs, dots) = &*UNIFONT;
        let code = u32::from(character);
        let run = &runs[runs.partition_point(|run| run.first <= code).checked_sub(1)?];
        let place = (code - run.first < run.count).then_some(code - run.first)?;
        let bytes = (run.width * HEIGHT / 8) as usize;
        let start = run.at + place as usize * bytes;
        Some(Self { rows: dots.get(start..start + bytes)?, width: run.width })
    }

    fn dot(&self, column: u32, row: u32) -> bool {
        let byte = self.rows[((row * self.width + column) / 8) as usize];
        byte >> (7 - column % 8) & 1 == 1
    }

    /// Width and coverage, from 0 to 255, of the glyph drawn `size` pixels high: each pixel's is
    /// the part of it that dots lie on, in whole numbers, so that it is the same everywhere.
    pub(crate) fn scaled(&self, size: u32) -> (u32, Vec<u8>) {
        let width = (self.width * size).div_ceil(HEIGHT);
        // Positions in units that both dots and pixels are whole numbers of: a dot is `size` of
        // them, a pixel `HEIGHT`.
        let shared = |pixel: u32, dot: u32| {
            let (from, to) = (pixel * HEIGHT, (pixel + 1) * HEIGHT);
            to.min((dot + 1) * size).saturating_sub(from.max(dot * size))
        };
        let dots = |pixel: u32, most: u32| {
            let last = ((pixel + 1) * HEIGHT).div_ceil(size.max(1)).min(most);
            (pixel * HEIGHT / size.max(1)).min(most)..last
        };
        let cover = |x: u32, y: u32| {
            let rows = dots(y, HEIGHT).flat_map(|row| dots(x, self.width).map(move |c| (c, row)));
            let lit = rows.filter(|(column, row)| self.dot(*column, *row));
            let area: u32 = lit.map(|(column, row)| shared(x, column) * shared(y, row)).sum();
            (area * 255 / (HEIGHT * HEIGHT)) as u8
        };
        let pixels = (0..size).flat_map(|y| (0..width).map(move |x| (x, y)));
        (width, pixels.map(|(x, y)| cover(x, y)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glyph_is_the_one_of_its_character() {
        // The bar is one stroke, in column 4 of 8, through rows 2 to 15.
        let bar = Bitmap::of('|').unwrap();
        let lit: Vec<u32> = (0..8).filter(|column| bar.dot(*column, 8)).collect();
        assert_eq!((bar.width, lit), (8, vec![4]));
        assert_eq!(Bitmap::of('漢').unwrap().width, 16);
        assert!(Bitmap::of('🐕').is_some() && Bitmap::of('힣').is_some());
        assert!(Bitmap::of('\u{1}').is_none() && Bitmap::of('𠮷').is_none());
    }

    #[test]
    fn scaling_keeps_the_ink() {
        let glyph = Bitmap::of('漢').unwrap();
        let ink = |size: u32| {
            let (width, cover) = glyph.scaled(size);
            assert_eq!((width, cover.len()), (size, (size * size) as usize));
            cover.iter().map(|c| f64::from(*c)).sum::<f64>() / f64::from(size * size)
        };
        let dots = glyph.scaled(16).1;
        assert!(dots.iter().all(|c| [0, 255].contains(c)), "at its own size dots are pixels");
        for size in [11, 12, 24, 32] {
            // Each pixel's coverage is rounded down by less than one of 255.
            assert!((ink(size) - ink(16)).abs() < 1.0, "{size}: {} {}", ink(size), ink(16));
        }
        assert_eq!(glyph.scaled(0).1.len(), 0);
    }
}
