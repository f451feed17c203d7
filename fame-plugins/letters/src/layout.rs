//! From a text to marks of ink: direction, choice of font, shaping, outlines.

use std::ops::Range;

use harfrust::{Buffer, Direction, ShapeOptions, ShaperFont, Tag};
use skrifa::{
    GlyphId, MetadataProvider as _,
    instance::{LocationRef, Size},
    outline::{DrawSettings, HintingInstance, HintingOptions, OutlinePen, SmoothMode, Target},
};
use unicode_bidi::ParagraphBidiInfo;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};
use unicode_script::{Script, UnicodeScript as _};
use zeno::{Command, Mask, Point};

use super::{
    bitmaps::{ASCENT, Bitmap, HEIGHT},
    fonts::{FONTS, Font},
};

/// A label laid out in one line.
pub(crate) struct Label {
    /// Its width in pixels, rounded up.
    pub(crate) width: u32,
    pub(crate) marks: Vec<Mark>,
}

/// A glyph's ink; places are from the line's upper left corner.
pub(crate) struct Mark {
    pub(crate) left: i32,
    pub(crate) top: i32,
    pub(crate) width: u32,
    /// How much of each pixel is ink, row by row, from 0 to 255.
    pub(crate) cover: Vec<u8>,
}

/// What draws a piece of text.
#[derive(Clone, Copy, PartialEq)]
enum Hand {
    /// The n-th outline font.
    Outlines(usize),
    Bitmaps,
}

/// Text of one direction, one script and one hand.
struct Item {
    range: Range<usize>,
    script: Script,
    hand: Hand,
}

impl Label {
    /// `text` with its ink.
    pub(crate) fn new(text: &str, size: u32) -> Self {
        Self::laid_out(text, size, true)
    }

    /// `text` without ink: how wide it is.
    pub(crate) fn measured(text: &str, size: u32) -> Self {
        Self::laid_out(text, size, false)
    }

    fn laid_out(text: &str, size: u32, ink: bool) -> Self {
        let text = written(text);
        if text.is_empty() {
            return Self { width: 0, marks: Vec::new() };
        }
        // A quarter above the letters' bodies for accents upon accents, the rest below.
        let baseline = (size * 15).div_ceil(16) as i32;
        let mut pen = Pen { x: 0.0, baseline, size, ink, marks: Vec::new() };
        let direction = ParagraphBidiInfo::new(&text, None);
        let (levels, runs) = direction.visual_runs(0..text.len());
        for run in runs {
            let leftwards = levels[run.start].is_rtl();
            let mut items = items(&text, run);
            if leftwards {
                items.reverse();
            }
            for item in items {
                let part = &text[item.range];
                match item.hand {
                    Hand::Outlines(n) => pen.outlines(&FONTS[n], part, item.script, leftwards),
                    Hand::Bitmaps => pen.bitmaps(part, leftwards),
                }
            }
        }
        Self { width: pen.x.ceil() as u32, marks: pen.marks }
    }
}

/// `text` as it can be drawn: spaces for control characters and line ends, `[U+20BB7]` for what no
/// font has. Characters that turn the direction of all that follows are left out: a name that ends
/// without taking its own back would turn the numbers behind it, 31 into 13.
fn written(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {}
            '\u{2028}' | '\u{2029}' => written.push(' '),
            c if c.is_control() => written.push(' '),
            c if hand(c).is_some() || is_hidden(c) => written.push(c),
            c => written.extend(format!("[U+{:X}]", u32::from(c)).chars()),
        }
    }
    written
}

/// What can draw `character`.
fn hand(character: char) -> Option<Hand> {
    let outlines = FONTS.iter().position(|font| font.has(character)).map(Hand::Outlines);
    outlines.or_else(|| Bitmap::of(character).map(|_| Hand::Bitmaps))
}

/// Whether `hand` can draw `character`.
fn can_draw(hand: Hand, character: char) -> bool {
    match hand {
        Hand::Outlines(n) => FONTS[n].has(character),
        Hand::Bitmaps => Bitmap::of(character).is_some(),
    }
}

/// Cuts a run of one direction into items.
fn items(text: &str, run: Range<usize>) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for (at, character) in text[run.clone()].char_indices() {
        let (start, end) = (run.start + at, run.start + at + character.len_utf8());
        let script = character.script();
        let shared = matches!(script, Script::Common | Script::Inherited | Script::Unknown);
        if let Some(last) = items.last_mut() {
            // Digits, spaces and marks stay with what they stand beside, and so does the letter
            // after them.
            let same = shared || last.script == script || last.script == Script::Common;
            let draws = is_hidden(character) || can_draw(last.hand, character);
            let marks = joins_previous(character);
            let prefers = last.hand != Hand::Bitmaps || hand(character) == Some(Hand::Bitmaps);
            if same && draws && (prefers || marks || shared && character != ' ') {
                last.range.end = end;
                if !shared {
                    last.script = script;
                }
                continue;
            }
        }
        let script = if shared { Script::Common } else { script };
        let hand = hand(character).unwrap_or(Hand::Bitmaps);
        items.push(Item { range: start..end, script, hand });
    }
    items
}

/// Whether `character` is drawn upon or glued to the one before it.
pub(crate) fn joins_previous(character: char) -> bool {
    let inherited = character.script() == Script::Inherited;
    inherited || is_hidden(character) || is_mark(character)
}

/// Whether `character` has no look of its own: it joins, parts or varies others.
fn is_hidden(character: char) -> bool {
    let varies = matches!(character, '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}');
    varies || character.general_category() == GeneralCategory::Format
}

/// Whether `character` is a mark upon or around another.
fn is_mark(character: char) -> bool {
    let category = character.general_category();
    matches!(
        category,
        GeneralCategory::NonspacingMark
            | GeneralCategory::SpacingMark
            | GeneralCategory::EnclosingMark
    )
}

/// Whether a line may be broken on both sides of `character`: a syllable or a word of its own.
pub(crate) fn stands_alone(character: char) -> bool {
    let script = character.script();
    matches!(script, Script::Han | Script::Hiragana | Script::Katakana)
}

/// The pieces of `text` that no line break may cut: letters with their marks.
pub(crate) fn clusters(text: &str) -> Vec<&str> {
    let starts = text.char_indices().filter(|(at, c)| *at == 0 || !joins_previous(*c));
    let starts: Vec<usize> = starts.map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect()
}

/// Where the next glyph comes, and what was drawn.
struct Pen {
    x: f32,
    baseline: i32,
    size: u32,
    /// Whether anything is drawn.
    ink: bool,
    marks: Vec<Mark>,
}

impl Pen {
    /// Draws `text` with a font's outlines.
    fn outlines(&mut self, font: &Font, text: &str, script: Script, leftwards: bool) {
        let Some(font) = font.open() else { return };
        let mut buffer = Buffer::new();
        buffer.push_str(text);
        let (right, left) = (Direction::LeftToRight, Direction::RightToLeft);
        buffer.set_direction(if leftwards { left } else { right });
        let tag = Tag::from_be_bytes(script.as_iso15924_tag().to_be_bytes());
        buffer.set_script(harfrust::Script::from_iso15924_tag(tag));
        let shaper = ShaperFont::new(&font.shapes);
        if harfrust::shape(&shaper, &mut buffer, ShapeOptions::new()).is_err() {
            return;
        }
        let size = self.size as f32;
        let scale = size / f32::from(font.shapes.units_per_em().max(1));
        if !self.ink {
            self.x +=
                buffer.glyph_positions().iter().map(|at| at.x_advance as f32 * scale).sum::<f32>();
            return;
        }
        let glyphs = font.outlines.outline_glyphs();
        let place = LocationRef::default();
        let hinted = HintingInstance::new(&glyphs, Size::new(size), place, HINTING);
        for (info, at) in buffer.glyph_infos().iter().zip(buffer.glyph_positions()) {
            let x = self.x + at.x_offset as f32 * scale;
            let mut path = Path { commands: Vec::new(), shift: x - x.floor() };
            let settings = match &hinted {
                Ok(hinted) => DrawSettings::hinted(hinted, false),
                Err(_) => DrawSettings::unhinted(Size::new(size), place),
            };
            let drawn = glyphs
                .get(GlyphId::new(info.glyph_id))
                .is_some_and(|glyph| glyph.draw(settings, &mut path).is_ok());
            if drawn && !path.commands.is_empty() {
                let (cover, place) = Mask::new(&path.commands).render();
                // Whole pixels up and down: hinting put the outline's edges there.
                let up = (at.y_offset as f32 * scale).round() as i32;
                let (left, top) = (x.floor() as i32 + place.left, self.baseline + place.top - up);
                self.marks.push(Mark { left, top, width: place.width, cover });
            }
            self.x += at.x_advance as f32 * scale;
        }
    }

    /// Draws `text` with bitmaps.
    fn bitmaps(&mut self, text: &str, leftwards: bool) {
        let mut pieces = clusters(text);
        if leftwards {
            pieces.reverse();
        }
        for character in pieces.into_iter().flat_map(str::chars) {
            let hidden = is_hidden(character);
            let Some(bitmap) = Bitmap::of(character).filter(|_| !hidden) else { continue };
            let advance = (bitmap.width * self.size) as f32 / HEIGHT as f32;
            // A mark is drawn in a cell of its own, to be laid over the cell before it.
            let upon = is_mark(character);
            let left = if upon { self.x - advance } else { self.x };
            let top = self.baseline - (ASCENT * self.size / HEIGHT) as i32;
            if self.ink {
                let (width, cover) = bitmap.scaled(self.size);
                self.marks.push(Mark { left: left.round() as i32, top, width, cover });
            }
            self.x += if upon { 0.0 } else { advance };
        }
    }
}

/// Edges on whole pixels up and down, places between pixels left and right, as shaping puts them.
const HINTING: HintingOptions = HintingOptions {
    engine: skrifa::outline::Engine::AutoFallback,
    target: Target::Smooth {
        mode: SmoothMode::Lcd,
        symmetric_rendering: false,
        preserve_linear_metrics: true,
    },
};

/// An outline with y growing downwards, `shift` pixels further right.
struct Path {
    commands: Vec<Command>,
    shift: f32,
}

impl Path {
    fn point(&self, x: f32, y: f32) -> Point {
        Point::new(x + self.shift, -y)
    }
}

impl OutlinePen for Path {
    fn move_to(&mut self, x: f32, y: f32) {
        self.commands.push(Command::MoveTo(self.point(x, y)));
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.commands.push(Command::LineTo(self.point(x, y)));
    }

    fn quad_to(&mut self, cx: f32, cy: f32, x: f32, y: f32) {
        self.commands.push(Command::QuadTo(self.point(cx, cy), self.point(x, y)));
    }

    fn curve_to(&mut self, cx: f32, cy: f32, dx: f32, dy: f32, x: f32, y: f32) {
        let (first, second) = (self.point(cx, cy), self.point(dx, dy));
        self.commands.push(Command::CurveTo(first, second, self.point(x, y)));
    }

    fn close(&mut self) {
        self.commands.push(Command::Close);
    }
}
