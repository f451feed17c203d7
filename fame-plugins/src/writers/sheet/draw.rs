//! From a layout to pixels.

use fame_core::{Error, Frame, Result};
use fame_letters::{draw, line_height, wrap};
use image::{
    Rgb, RgbImage,
    imageops::{replace, thumbnail},
};

use super::{
    super::{
        colour::{Palette, enlarged, enlargement, overlay},
        plate::{BAR_ROOM, LONGEST, bar, cut},
    },
    layout::{Cell, Line, Shows},
};
use crate::pictures::to_rgb8;

/// The sheet itself.
pub(super) const PAPER: Rgb<u8> = Rgb([255; 3]);
/// The place of a map that does not exist.
pub(super) const BLANK: Rgb<u8> = Rgb([224; 3]);
const INK: Rgb<u8> = Rgb([0; 3]);
const FRAME: Rgb<u8> = Rgb([255; 3]);

/// Larger sheets are shrunk to this many pixels: viewers give up on more.
const MAX_SHEET: u64 = 64_000_000;
/// Pictures of at least this width get large letters and frames of double width.
const WIDE: u32 = 200;
/// Sizes of small and large letters, in pixels.
const LETTERS: [u32; 2] = [12, 16];
/// Labels longer than this many times the letters' size are broken.
const LABEL: u32 = 9;
/// Titles are not broken before they are this many times the letters' size wide.
const TITLE: u32 = 20;
/// Beside lower pictures there is no bar of colours.
const LOWEST: u32 = 48;
/// Captions of up to this many times the letters' size are not broken, however narrow the pictures.
const CAPTION: u32 = 5;

/// The look of a sheet; see [`super::Sheet`].
pub(super) struct Style {
    pub(super) palette: Palette,
    pub(super) opacity: f32,
    pub(super) frames: bool,
    pub(super) gap: u32,
    /// Pictures are enlarged as long as their longer side has at most this many pixels.
    pub(super) side: u32,
    /// Whether the colours stand beside the pictures.
    pub(super) bar: bool,
}

/// Draws the sheet.
///
/// # Errors
/// `fame::writer::sheet_too_large` when even pictures of one pixel would not fit.
pub(super) fn sheet(lines: &[Line<'_>], style: &Style) -> Result<RgbImage> {
    let (measures, (width, height)) = fit(lines, style)?;
    let gap = measures.gap;
    let mut on = RgbImage::from_pixel(width, height, PAPER);
    let mut y = gap;
    let mut colours = Some(&style.palette).filter(|_| measures.bar > 0);
    for line in lines {
        measures.write(&mut on, &measures.titles(line), (gap, y));
        let below = y + measures.title(line) + measures.captions(line);
        let label = measures.label(&line.label);
        measures.write(
            &mut on,
            &label,
            (gap, below + (measures.tile.1.saturating_sub(measures.height(label.len()))) / 2),
        );
        for (i, cell) in line.cells.iter().enumerate() {
            let x = measures.gutter + gap + i as u32 * (measures.column + gap);
            let caption = measures.caption(cell);
            // Short captions stand right above their picture.
            measures.write(&mut on, &caption, (x, below - measures.height(caption.len())));
            replace(&mut on, &measures.picture(cell, style)?, i64::from(x), i64::from(below));
        }
        if let Some(palette) = colours.take_if(|_| !line.cells.is_empty()) {
            bar(&mut on, palette, (measures.wide, below), measures.tile.1);
        }
        y = below + measures.row(line) + gap;
    }
    Ok(on)
}

/// Sizes in pixels that all rows share.
struct Measures {
    /// Width and height of the largest picture, shrunk.
    tile: (u32, u32),
    /// Pictures are shrunk to one in this many pixels per axis.
    shrink: u32,
    /// Or enlarged by this.
    enlarge: u32,
    /// Width of a column without its gap.
    column: u32,
    /// Width of the labels, their gap included.
    gutter: u32,
    /// Size of the letters.
    letter: u32,
    /// Width of frames.
    frame: u32,
    /// Width of all columns with their gaps and labels.
    wide: u32,
    /// Width of the bar of colours, with its room; 0 without one.
    bar: u32,
    gap: u32,
}

/// The measures that keep the sheet below [`MAX_SHEET`], and its size.
fn fit(lines: &[Line<'_>], style: &Style) -> Result<(Measures, (u32, u32))> {
    let most = enlargement_of(lines, style.side);
    let sizes = (1..=most).rev().map(|enlarge| (enlarge, 1)).chain((2..).map(|shrink| (1, shrink)));
    for (enlarge, shrink) in sizes {
        let m = Measures::new(lines, style, enlarge, shrink);
        let height = |l: &Line<'_>| u64::from(m.title(l) + m.captions(l) + m.row(l) + m.gap);
        let title = |l: &Line<'_>| {
            m.titles(l).iter().map(|row| m.width(row.trim_end()) + 2 * m.gap).max().unwrap_or(0)
        };
        let height = lines.iter().map(height).sum::<u64>() + u64::from(m.gap);
        let titles = lines.iter().map(title).max().unwrap_or(0);
        let width = u64::from(titles.max(m.wide.saturating_add(m.bar)));
        if width * height <= MAX_SHEET {
            return Ok((m, (width as u32, height as u32)));
        }
        if m.tile == (1, 1) {
            break;
        }
    }
    Err(Error::new(
        "fame::writer::sheet_too_large",
        format!("{} rows of pictures do not fit on a sheet.", lines.len()),
    )
    .with_help("Leave Sheet out, or explain fewer cells at once."))
}

/// Width and height of the largest picture.
fn largest(lines: &[Line<'_>]) -> (u32, u32) {
    lines.iter().flat_map(|l| &l.cells).fold((1, 1), |(w, h), c| match c.shows {
        Shows::Blank => (w, h),
        Shows::Picture(p) | Shows::Map(p, _) => (w.max(p.width() as u32), h.max(p.height() as u32)),
    })
}

/// How many times all pictures can be enlarged so that the largest keeps to `side`.
fn enlargement_of(lines: &[Line<'_>], side: u32) -> u32 {
    let (width, height) = largest(lines);
    enlargement(width as usize, height as usize, side)
}

impl Measures {
    fn new(lines: &[Line<'_>], style: &Style, enlarge: u32, shrink: u32) -> Self {
        let gap = style.gap;
        let cells = || lines.iter().flat_map(|l| &l.cells);
        let largest = largest(lines);
        let of = |side: u32| (side * enlarge).div_ceil(shrink);
        let tile = (of(largest.0), of(largest.1));
        let large = tile.0 >= WIDE;
        let (letter, frame) = (LETTERS[usize::from(large)], if large { 2 } else { 1 });
        let (column, gutter, wide) = (tile.0, 0, 0);
        let bar = if style.bar && tile.1 >= LOWEST { BAR_ROOM } else { 0 };
        let mut measures =
            Self { tile, shrink, enlarge, column, gutter, letter, frame, wide, bar, gap };
        let longest = cells().map(|c| measures.width(&cut(&c.caption, LONGEST))).max().unwrap_or(0);
        measures.column = tile.0.max(longest.min(CAPTION * letter));
        let labels = lines.iter().flat_map(|l| measures.label(&l.label));
        let label = labels.map(|l| measures.width(&l)).max();
        measures.gutter = label.map_or(0, |l| l + gap);
        let columns = lines.iter().map(|l| l.cells.len()).max().unwrap_or(0);
        let wide =
            u64::from(measures.gutter + gap) + columns as u64 * u64::from(measures.column + gap);
        measures.wide = u32::try_from(wide).unwrap_or(u32::MAX);
        measures
    }

    fn width(&self, text: &str) -> u32 {
        fame_letters::width(text, self.letter)
    }

    /// Height of rows of text.
    fn height(&self, rows: usize) -> u32 {
        rows as u32 * line_height(self.letter)
    }

    fn title(&self, line: &Line<'_>) -> u32 {
        // Half a letter more below: the title belongs to all captions, not to the first.
        match self.titles(line).len() {
            0 => 0,
            rows => self.height(rows) + self.letter / 2,
        }
    }

    /// The rows of a line's title, none of which makes the sheet wider than its pictures do, unless
    /// these are very narrow.
    fn titles(&self, line: &Line<'_>) -> Vec<String> {
        let most = self.wide.saturating_sub(2 * self.gap).max(TITLE * self.letter);
        wrap(&cut(&line.title, LONGEST), most, self.letter)
    }

    /// Height of a line's pictures, if it has any.
    fn row(&self, line: &Line<'_>) -> u32 {
        if line.cells.is_empty() { 0 } else { self.tile.1 }
    }

    fn captions(&self, line: &Line<'_>) -> u32 {
        self.height(line.cells.iter().map(|c| self.caption(c).len()).max().unwrap_or(0))
    }

    fn caption(&self, cell: &Cell<'_>) -> Vec<String> {
        wrap(&cut(&cell.caption, LONGEST), self.column, self.letter)
    }

    fn label(&self, label: &str) -> Vec<String> {
        wrap(label, LABEL * self.letter, self.letter)
    }

    fn write(&self, on: &mut RgbImage, rows: &[String], (x, y): (u32, u32)) {
        for (k, row) in rows.iter().enumerate() {
            draw(on, row.trim_end(), (x, y + self.height(k)), self.letter, INK);
        }
    }

    fn picture(&self, cell: &Cell<'_>, style: &Style) -> Result<RgbImage> {
        let mut picture = match cell.shows {
            Shows::Blank => RgbImage::from_pixel(self.tile.0, self.tile.1, BLANK),
            Shows::Picture(p) => {
                let picture = to_rgb8(&p.pixels)?;
                let size = (picture.width() * self.enlarge, picture.height() * self.enlarge);
                self.shrunk(if self.enlarge > 1 { enlarged(&picture, size)? } else { picture })
            }
            Shows::Map(p, map) => {
                self.shrunk(overlay(p, map, &style.palette, style.opacity, self.enlarge)?)
            }
        };
        if let Shows::Map(_, map) = &cell.shows
            && let Some(frame) = map.frame.filter(|_| style.frames)
        {
            self.frame(&mut picture, frame);
        }
        Ok(picture)
    }

    fn shrunk(&self, picture: RgbImage) -> RgbImage {
        match self.shrink {
            1 => picture,
            k => thumbnail(&picture, picture.width().div_ceil(k), picture.height().div_ceil(k)),
        }
    }

    /// Draws the border of `frame`, inside it.
    fn frame(&self, on: &mut RgbImage, frame: Frame) {
        let to = |v: usize| u32::try_from(v).unwrap_or(u32::MAX).saturating_mul(self.enlarge);
        let [top, left] = [frame.top, frame.left].map(|v| to(v) / self.shrink);
        let [bottom, right] = [frame.bottom, frame.right].map(|v| to(v).div_ceil(self.shrink));
        for (x, y) in (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y))) {
            let depth = (x - left).min(y - top).min(right - 1 - x).min(bottom - 1 - y);
            if depth < self.frame
                && let Some(pixel) = on.get_pixel_mut_checked(x, y)
            {
                *pixel = FRAME;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{Picture, Tensor};

    use super::*;

    #[test]
    fn a_sheet_too_large_is_shrunk() {
        // 20×20 pictures of 500×500 pixels: 100 megapixels at full size.
        let picture = Picture::new(Tensor::filled([3, 500, 500], 0.2), "p").unwrap();
        let line = || Line {
            cells: (0..20)
                .map(|_| Cell { caption: String::new(), shows: Shows::Picture(&picture) })
                .collect(),
            ..Line::default()
        };
        let lines: Vec<_> = (0..20).map(|_| line()).collect();
        let style = Style {
            palette: Palette::named("gray").unwrap(),
            opacity: 0.5,
            frames: true,
            gap: 0,
            side: 224,
            bar: false,
        };
        let (measures, size) = fit(&lines, &style).unwrap();
        assert_eq!((measures.shrink, measures.tile, size), (2, (250, 250), (5000, 5000)));
        assert_eq!(measures.picture(&lines[0].cells[0], &style).unwrap().dimensions(), (250, 250));
    }

    #[test]
    fn a_frame_beyond_the_picture_is_cut_off() {
        let measures = Measures {
            tile: (4, 4),
            shrink: 1,
            enlarge: 1,
            column: 4,
            gutter: 0,
            letter: 12,
            frame: 1,
            wide: 4,
            bar: 0,
            gap: 0,
        };
        let mut on = RgbImage::new(4, 4);
        measures.frame(&mut on, Frame { top: 2, left: 2, bottom: 99, right: 99 });
        measures.frame(&mut on, Frame { top: 1, left: 1, bottom: 1, right: 1 });
        assert_eq!(on.pixels().filter(|p| **p == FRAME).count(), 3);
    }
}
