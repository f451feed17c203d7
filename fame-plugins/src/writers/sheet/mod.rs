//! `Sheet`: everything about an item on one page.

mod draw;
mod layout;

use std::path::Path;

use fame_core::{
    Result,
    contract::{FinishedItem, Writer},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::colour::{Palette, SAFE};
use draw::Style;

/// All maps of all explanations as overlays on one contact sheet, `sheet.png`.
///
/// * Maps about the cells of a feature map lie in the cells' own rows and columns. A cell without a
///   map stays blank (light gray).
/// * Several explainers are rows; their maps are columns, by name. With one map each they are
///   wrapped, each under its name.
/// * One explainer with up to eight pictures fills a row; more make a near-square.
///
/// Above all stands what the network answered, the class with its probability or the similarity;
/// above the pictures of a pair the names of their files; and beside them the colours from 0 to 1.
/// A white frame shows the part of the picture that a map is about. Small pictures are enlarged by a
/// whole number (the picture by Lanczos, maps bilinearly) as long as `side` allows; all are shrunk
/// where the sheet would pass 64 megapixels.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sheet {
    /// Colours from 0 to 1: `viridis`, `cividis`, `inferno` or `magma`, which colour-blind readers
    /// tell apart too; `jet` (the authors' choice), `turbo`, `gray`, `plasma`, `reds`, `rd_bu`, ….
    pub colormap: String,
    /// Opacity of a map over its picture, from 0 to 1.
    pub opacity: f32,
    /// Packs each explainer's maps into this many columns, in order. Default: as said above.
    pub columns: Option<usize>,
    /// Whether white frames are drawn.
    pub frames: bool,
    /// Whether the prepared picture itself stands before its maps. Default: yes, but not before a
    /// feature map's cells.
    pub picture: Option<bool>,
    /// Whether names and the network's answer are written.
    pub captions: bool,
    /// Whether the colours from 0 to 1 stand beside the pictures; not where these are less than 48
    /// pixels high.
    pub bar: bool,
    /// Pixels between pictures.
    pub gap: u32,
    /// Pictures are enlarged as long as their longer side has at most this many pixels; 0 to 4096.
    pub side: u32,
}

impl Default for Sheet {
    fn default() -> Self {
        Self {
            colormap: SAFE.to_owned(),
            opacity: 0.5,
            columns: None,
            frames: true,
            picture: None,
            captions: true,
            bar: true,
            gap: 4,
            side: 224,
        }
    }
}

impl Plugin<dyn Writer> for Sheet {
    const NAME: &'static str = "Sheet";
    const SUMMARY: &'static str = "One contact sheet of all maps of an item, as PNG";
    const EXAMPLE: &'static str = r#"Sheet(colormap: "jet", columns: 4, gap: 2)"#;
    const REFERENCE: &'static str =
        "The layout of Figs. 1, 2, 3 and 5 of Zhang & Günther, FAME (2026)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("opacity", (0.0..=1.0).contains(&self.opacity), "must be between 0 and 1");
        assembly.check(
            "columns",
            self.columns.is_none_or(|c| (1..=1000).contains(&c)),
            "must be between 1 and 1000",
        );
        assembly.check("gap", self.gap <= 200, "must be at most 200");
        assembly.check("side", self.side <= 4096, "must be at most 4096");
    }

    fn build(self, _: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Writer>> {
        let palette = Palette::parameter(&self.colormap, assembly)?;
        let style = Style {
            palette,
            opacity: self.opacity,
            frames: self.frames,
            gap: self.gap,
            side: self.side,
            bar: self.bar,
        };
        Some(Box::new(Built {
            style,
            columns: self.columns,
            picture: self.picture,
            captions: self.captions,
        }))
    }
}

fame_core::register!(Writer: Sheet);

struct Built {
    style: Style,
    columns: Option<usize>,
    picture: Option<bool>,
    captions: bool,
}

impl Writer for Built {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let mut lines = layout::lines(item, self.columns, self.picture)?;
        if !self.captions {
            lines.iter_mut().for_each(layout::Line::silence);
            lines.retain(|line| !line.cells.is_empty());
        }
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![super::save(folder, "sheet.png".to_owned(), &draw::sheet(&lines, &self.style)?)?])
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{Frame, Tensor};
    use image::RgbImage;

    use super::{
        super::{
            plate::BAR_ROOM,
            testing::{build, explanation, map, sample, write},
        },
        draw::{BLANK, PAPER},
    };

    /// Pixels at the right in which the numbers of the bar stand.
    const LETTER_ROOM: u32 = 20;

    const BARE: &str = r#"Sheet(colormap: "gray", opacity: 1.0, captions: false, gap: 2, side: 0)"#;

    fn sheet(
        writer: &str,
        roles: &[&str],
        explanations: &[(String, fame_core::Explanation)],
    ) -> RgbImage {
        let (_dir, mut files) = write(writer, &sample(roles, 8, 8), explanations);
        assert_eq!((files.len(), files[0].0.as_str()), (1, "sheet.png"));
        files.remove(0).1.unwrap()
    }

    fn cell(row: usize, column: usize) -> fame_core::NamedMap {
        let mut m = map(&format!("cell_{row}_{column}"), "image", Tensor::filled([8, 8], 0.4));
        m.frame = Some(Frame {
            top: 4 * row,
            left: 4 * column,
            bottom: 4 * row + 4,
            right: 4 * column + 4,
        });
        m
    }

    #[test]
    fn a_dead_cell_leaves_its_place_blank() {
        let mut e = explanation(vec![cell(0, 0), cell(1, 0), cell(1, 1)]);
        e.warnings.push("cell_0_1 has no map".into());
        let png = sheet(BARE, &["image"], &[("cells".to_owned(), e)]);
        // Two columns and rows of 8 pixels with gaps of 2 all around.
        assert_eq!(png.dimensions(), (22, 22));
        assert_eq!(*png.get_pixel(1, 1), PAPER);
        assert_eq!(*png.get_pixel(15, 5), BLANK);
        // Cell (1, 1): its frame is the lower right quarter, white; 0.4 is 102 of 255 elsewhere.
        assert_eq!(
            [png.get_pixel(12, 12).0[0], png.get_pixel(16, 16).0[0], png.get_pixel(17, 17).0[0]],
            [102, 255, 102]
        );
        assert_eq!(png.get_pixel(19, 18).0[0], 255);
    }

    #[test]
    fn frames_can_be_left_out() {
        let writer = r#"Sheet(colormap: "gray", opacity: 1.0, captions: false, gap: 2, frames: false, side: 0)"#;
        let png = sheet(
            writer,
            &["image"],
            &[("cells".to_owned(), explanation(vec![cell(0, 0), cell(1, 1)]))],
        );
        assert_eq!(png.get_pixel(2, 2).0[0], 102);
    }

    #[test]
    fn captions_make_room_for_themselves() {
        let e = || {
            vec![(
                "fame".to_owned(),
                explanation(vec![map("image", "image", Tensor::filled([8, 8], 0.4))]),
            )]
        };
        let (with, without) = (
            sheet("Sheet(side: 0)", &["image"], &e()),
            sheet("Sheet(captions: false, side: 0)", &["image"], &e()),
        );
        assert_eq!(without.dimensions(), (28, 16));
        // Enlarged to 28 times 8 pixels; two pictures and three gaps.
        let enlarged = sheet("Sheet(captions: false, bar: false)", &["image"], &e());
        assert_eq!(enlarged.dimensions(), (2 * 224 + 12, 224 + 8));
        assert!(with.height() > without.height() && with.pixels().any(|p| p.0 == [0; 3]));
    }

    #[test]
    fn the_colours_stand_beside_the_pictures() {
        let e =
            [("a".to_owned(), explanation(vec![map("m", "image", Tensor::filled([8, 8], 0.4))]))];
        let png = sheet(r#"Sheet(colormap: "gray", captions: false)"#, &["image"], &e);
        assert_eq!(png.dimensions(), (2 * 224 + 12 + BAR_ROOM, 224 + 8));
        // 1 is white and above, 0 black and below.
        let bar = |y| png.get_pixel(2 * 224 + 12 + 10, y).0;
        assert_eq!([bar(4), bar(4 + 223)], [[255; 3], [0; 3]]);
        let numbers =
            png.enumerate_pixels().filter(|(x, y, _)| x + LETTER_ROOM > png.width() && *y < 24);
        assert!(numbers.map(|(.., p)| p.0[0]).min() < Some(128), "the 1 above");
    }

    #[test]
    fn a_sheet_says_what_the_network_answered_in_lines_that_fit() {
        let of = |name: &str| {
            let mut map = map("m", "image", Tensor::filled([8, 8], 0.4));
            map.facts.insert("probability_before".into(), 0.731.into());
            map.facts.insert("class_name".into(), name.into());
            sheet("Sheet(bar: false)", &["image"], &[("a".to_owned(), explanation(vec![map]))])
        };
        let [disc, ring] = ["disc", "ring"].map(of);
        assert!(disc != ring && disc.width() == 2 * 224 + 12);
        // A long name takes further lines, not a wider sheet, and one without an end is cut.
        let [long, endless] = [60, 1_000_000].map(|n| of(&"disc ".repeat(n)));
        assert_eq!([long.width(), endless.width()], [disc.width(); 2]);
        assert!(long.height() > disc.height() && endless.height() < 2 * disc.height());
        let silent = sheet(
            "Sheet(bar: false, captions: false)",
            &["image"],
            &[("a".to_owned(), {
                let mut map = map("m", "image", Tensor::filled([8, 8], 0.4));
                map.facts.insert("similarity_before".into(), 0.4.into());
                explanation(vec![map])
            })],
        );
        assert_eq!(silent.dimensions(), (2 * 224 + 12, 224 + 8));
    }

    #[test]
    fn nothing_to_show_is_no_sheet() {
        let (_dir, files) = write("Sheet()", &sample(&["image"], 8, 8), &[]);
        assert!(files.is_empty());
        assert_eq!(build("Sheet(columns: 0, opacity: -1.0, gap: 999)").err().unwrap().len(), 3);
    }
}
