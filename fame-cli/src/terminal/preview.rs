//! Maps in the terminal, as half blocks: `▀` has a pixel in its own colour above one in the colour
//! behind it, so a character is two pixels.
//!
//! Of our own, in 24-bit colours: for these few lines the crate `viuer` 0.11 would bring a terminal
//! library and three more crates with it.

use std::{fmt::Write as _, io::IsTerminal as _};

use clap::ValueEnum;
use fame_core::{contract::FinishedItem, report::escape};
use fame_plugins::writers::{Thumbnail, thumbnails};

use super::layout::{columns, shortened};

/// The columns of one map, where there are so many.
const WIDE: usize = 38;

/// How many maps of an item are shown.
const MOST: usize = 4;

/// Whether maps are shown while a run is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Where standard error is a terminal with colours.
    Auto,
    /// Also in a pipe or a file.
    Always,
}

/// Shows the maps of finished items.
pub(crate) struct Preview {
    /// Whether they go to a terminal, which has so many columns, or elsewhere.
    on_terminal: bool,
}

impl Preview {
    /// What is asked for, unless nobody would see it: `json` is read by programs.
    pub(crate) fn wanted(when: Option<When>, json: bool) -> Option<Self> {
        let is_seen = match when? {
            When::Always => true,
            When::Auto => super::has_bars() && std::env::var_os("NO_COLOR").is_none(),
        };
        let on_terminal = std::io::stderr().is_terminal();
        (is_seen && !json).then_some(Self { on_terminal })
    }

    /// The first maps of `item` over their pictures, as many beside one another as there is room
    /// for.
    pub(super) fn drawn(&self, item: &FinishedItem<'_>) -> Vec<String> {
        let wide = if self.on_terminal { WIDE.min(columns()) } else { WIDE };
        let (shown, left) = match thumbnails(item, wide, MOST) {
            Ok(shown) => shown,
            // The maps are written; that they cannot be shown is no reason to fail.
            Err(e) => return vec![escape::terminal_line(&format!("no preview: {e}")).into_owned()],
        };
        let beside = if self.on_terminal { (columns() + 2) / (wide + 2) } else { 2 };
        let rows = shown.chunks(beside.max(1)).flat_map(|maps| row(maps, wide));
        let mut lines: Vec<String> = rows.collect();
        if left > 0 {
            lines.push(format!("… and {left} more map{}", if left == 1 { "" } else { "s" }));
        }
        lines
    }
}

/// Maps beside one another, each under its name, in `wide` columns each.
fn row(maps: &[Thumbnail], wide: usize) -> Vec<String> {
    let height = maps.iter().map(|map| map.height().div_ceil(2)).max().unwrap_or(0);
    let names = maps.iter().map(|map| {
        let name = escape::terminal_line(&map.title);
        let name = shortened(&name, wide).into_owned();
        let blank = wide.saturating_sub(console::measure_text_width(&name));
        name + &" ".repeat(blank)
    });
    let lines =
        (0..height).map(|n| maps.iter().map(|map| half_blocks(map, n, wide)).collect::<Vec<_>>());
    std::iter::once(names.collect::<Vec<_>>()).chain(lines).map(|cells| cells.join("  ")).collect()
}

/// Two lines of pixels, in the `wide` columns of a map.
fn half_blocks(map: &Thumbnail, n: usize, wide: usize) -> String {
    let mut line = String::new();
    for x in 0..map.width {
        let Some([r, g, b]) = map.pixel(x, 2 * n) else { break };
        let _ = write!(line, "\u{1b}[38;2;{r};{g};{b}m");
        if let Some([r, g, b]) = map.pixel(x, 2 * n + 1) {
            let _ = write!(line, "\u{1b}[48;2;{r};{g};{b}m");
        }
        line.push('▀');
    }
    let used = if line.is_empty() { 0 } else { map.width };
    line + "\u{1b}[0m" + &" ".repeat(wide.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use console::{measure_text_width, strip_ansi_codes};

    use super::*;

    fn map(width: usize, height: usize) -> Thumbnail {
        let pixels = (0..width * height).map(|n| [n as u8, 0, 255]).collect();
        Thumbnail { title: "fame: \u{1b}[8mclass_1".to_owned(), width, pixels }
    }

    #[test]
    fn a_character_is_two_pixels_and_the_colours_end_with_the_line() {
        let line = half_blocks(&map(2, 3), 0, WIDE);
        assert!(line.starts_with("\u{1b}[38;2;0;0;255m\u{1b}[48;2;2;0;255m▀"), "{line:?}");
        assert!(line.trim_end().ends_with("\u{1b}[0m"), "{line:?}");
        // An odd last line has nothing below it.
        assert!(!half_blocks(&map(2, 3), 1, WIDE).contains("[48;"));
    }

    #[test]
    fn maps_of_different_heights_stand_beside_one_another_in_eighty_columns() {
        let lines = row(&[map(WIDE, 5), map(WIDE, 2)], WIDE);
        assert_eq!(lines.len(), 1 + 3);
        assert!(lines.iter().all(|line| measure_text_width(line) <= 80), "{lines:?}");
        assert!(!lines[0].contains('\u{1b}'), "a name colours nothing: {:?}", lines[0]);
        let blocks = |n: usize| strip_ansi_codes(&lines[n]).matches('▀').count();
        assert_eq!([blocks(1), blocks(2), blocks(3)], [2 * WIDE, WIDE, WIDE]);
    }

    #[test]
    fn a_narrow_terminal_gets_narrow_maps() {
        let lines = row(&[map(12, 4), map(5, 12)], 12);
        assert!(lines.iter().all(|line| measure_text_width(line) == 2 * 12 + 2), "{lines:?}");
        let lines = row(&[map(12, 4)], 12);
        assert!(lines.iter().all(|line| measure_text_width(line) == 12), "{lines:?}");
    }

    #[test]
    fn programs_get_no_pictures() {
        assert!(Preview::wanted(Some(When::Always), true).is_none());
        assert!(Preview::wanted(None, false).is_none());
        assert!(Preview::wanted(Some(When::Always), false).is_some());
    }
}
