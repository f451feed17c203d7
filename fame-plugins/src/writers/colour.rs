//! Colour maps, and pictures coloured with them.

use std::borrow::Cow;

use colorous::Gradient;
use fame_core::{Error, NamedMap, Picture, Result, Tensor, registry::Assembly, text::suggestion};
use fast_image_resize::{FilterType, pixels::U8x3};
use image::RgbImage;

use crate::pictures::{painted, resized, resized_plane, to_byte, to_rgb8};

/// The colours of maps where a recipe asks for none, in pictures and in the page alike: told apart
/// by colour-blind readers too, and brighter with every step (van der Walt & Smith 2015).
pub(super) const SAFE: &str = "viridis";

/// Colours by name, 0 first. `rd_bu` and its like run from the first colour to the last, so red is
/// 0 there.
const GRADIENTS: [(&str, Gradient); 30] = [
    ("turbo", colorous::TURBO),
    ("viridis", colorous::VIRIDIS),
    ("inferno", colorous::INFERNO),
    ("magma", colorous::MAGMA),
    ("plasma", colorous::PLASMA),
    ("cividis", colorous::CIVIDIS),
    ("warm", colorous::WARM),
    ("cool", colorous::COOL),
    ("cubehelix", colorous::CUBEHELIX),
    ("blues", colorous::BLUES),
    ("greens", colorous::GREENS),
    ("oranges", colorous::ORANGES),
    ("purples", colorous::PURPLES),
    ("reds", colorous::REDS),
    ("bu_gn", colorous::BLUE_GREEN),
    ("bu_pu", colorous::BLUE_PURPLE),
    ("gn_bu", colorous::GREEN_BLUE),
    ("or_rd", colorous::ORANGE_RED),
    ("pu_bu", colorous::PURPLE_BLUE),
    ("pu_rd", colorous::PURPLE_RED),
    ("rd_pu", colorous::RED_PURPLE),
    ("yl_gn", colorous::YELLOW_GREEN),
    ("yl_gn_bu", colorous::YELLOW_GREEN_BLUE),
    ("yl_or_rd", colorous::YELLOW_ORANGE_RED),
    ("br_bg", colorous::BROWN_GREEN),
    ("pi_yg", colorous::PINK_GREEN),
    ("pr_gn", colorous::PURPLE_GREEN),
    ("rd_bu", colorous::RED_BLUE),
    ("rd_yl_bu", colorous::RED_YELLOW_BLUE),
    ("spectral", colorous::SPECTRAL),
];

/// 256 colours for values 0 to 1.
pub(super) struct Palette(Vec<[u8; 3]>);

impl Palette {
    /// The colour map called `name`: one of colorous's, `gray` (black to white), or `jet`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let colour: Box<dyn Fn(f64) -> [u8; 3]> = match name {
            "gray" => Box::new(|t| [to_byte(t as f32); 3]),
            "jet" => Box::new(jet),
            _ => {
                let (_, gradient) = GRADIENTS.into_iter().find(|(n, _)| *n == name)?;
                Box::new(move |t| gradient.eval_continuous(t).as_array())
            }
        };
        Some(Self((0..=255).map(|i| colour(f64::from(i) / 255.0)).collect()))
    }

    /// The colour map that parameter `colormap` names; an unknown name is reported.
    pub(super) fn parameter(name: &str, assembly: &mut Assembly) -> Option<Self> {
        let palette = Self::named(name);
        if palette.is_none() {
            let known: Vec<&str> =
                ["jet", "gray"].into_iter().chain(GRADIENTS.map(|(n, _)| n)).collect();
            let help = suggestion(name, &known, "colour map").unwrap_or_default();
            assembly.report("colormap", format!("no colour map is named `{name}`: {help}"));
        }
        palette
    }

    /// The colour of `value`, clamped to 0..=1; NaN counts as 0.
    #[inline]
    pub(super) fn at(&self, value: f32) -> [u8; 3] {
        self.0[usize::from(to_byte(value))]
    }
}

/// Blue, cyan, yellow, red, with dark ends: three trapezoids of slope 4, a quarter apart.
fn jet(t: f64) -> [u8; 3] {
    [3.0, 2.0, 1.0].map(|centre| to_byte((1.5 - (4.0 * t - centre).abs()) as f32))
}

/// A pixel, channel by channel. An array's own `map` is a call for each number.
#[inline]
fn rgb(channel: impl Fn(usize) -> u8) -> [u8; 3] {
    [channel(0), channel(1), channel(2)]
}

/// A finished map as one plane, rows, columns and values: of channels the mean.
///
/// # Errors
/// A map that is no plane: a bug of the explainer.
pub(super) fn plane(map: &NamedMap) -> Result<(usize, usize, Cow<'_, [f32]>)> {
    let channels = map.finished.shape().first().map_or(1.0, |c| *c as f32);
    map.plane(|values| values.sum::<f32>() / channels)
}

/// The map alone, in colour.
pub(super) fn heatmap(map: &NamedMap, palette: &Palette) -> Result<RgbImage> {
    let (h, w, values) = plane(map)?;
    Ok(painted((w as u32, h as u32), |x, y| palette.at(values[y as usize * w + x as usize])))
}

/// Refuses a map of `h` rows and `w` columns over a picture of other ones.
///
/// # Errors
/// A bug of the explainer.
pub(super) fn check_size(
    (rows, columns): (usize, usize),
    map: &NamedMap,
    (h, w): (usize, usize),
) -> Result<()> {
    if (h, w) == (rows, columns) {
        return Ok(());
    }
    let name = map.name();
    let message = format!("map `{name}` is {w}×{h}, but its picture is {columns}×{rows}.");
    Err(Error::bug(message))
}

/// (1 − `opacity`) · picture + `opacity` · colour of the map, `enlarge` times as large: the picture
/// by Lanczos, the map bilinearly.
///
/// # Errors
/// When map and picture differ in size: a bug of the explainer.
pub(super) fn overlay(
    picture: &Picture,
    map: &NamedMap,
    palette: &Palette,
    opacity: f32,
    enlarge: u32,
) -> Result<RgbImage> {
    let (h, w, values) = plane(map)?;
    check_size((picture.height(), picture.width()), map, (h, w))?;
    if enlarge > 1 {
        let (w, h) = (w as u32 * enlarge, h as u32 * enlarge);
        return mixed(picture, map, palette, opacity, (w, h));
    }
    let pixels: &Tensor = &picture.pixels;
    Ok(painted((w as u32, h as u32), |x, y| {
        let i = y as usize * w + x as usize;
        let heat = palette.at(values[i]);
        rgb(|c| {
            to_byte(
                (1.0 - opacity) * pixels.data()[c * h * w + i]
                    + opacity * f32::from(heat[c]) / 255.0,
            )
        })
    }))
}

/// `picture` enlarged by Lanczos.
///
/// # Errors
/// A bug of the caller: a size of 0.
pub(super) fn enlarged(picture: &RgbImage, (width, height): (u32, u32)) -> Result<RgbImage> {
    resized::<U8x3, _>(picture, [width, height], FilterType::Lanczos3)
}

/// How many times a picture is enlarged so that its longer side has about `side` pixels; at least
/// 1.
pub(super) fn enlargement(width: usize, height: usize, side: u32) -> u32 {
    (side / (width.max(height) as u32).max(1)).max(1)
}

/// The overlay in another size.
fn mixed(
    picture: &Picture,
    map: &NamedMap,
    palette: &Palette,
    opacity: f32,
    (width, height): (u32, u32),
) -> Result<RgbImage> {
    let (h, w, values) = plane(map)?;
    let values = resized_plane(&values, [w as u32, h as u32], [width, height])?;
    let below = enlarged(&to_rgb8(&picture.pixels)?, (width, height))?;
    Ok(painted((width, height), |x, y| {
        let heat = palette.at(values[y as usize * width as usize + x as usize]);
        let pixel = below.get_pixel(x, y).0;
        rgb(|c| {
            let mixed = (1.0 - opacity) * f32::from(pixel[c]) + opacity * f32::from(heat[c]);
            to_byte(mixed / 255.0)
        })
    }))
}

/// The map laid back over the picture as decoded, through the inverse of what the prepare steps did
/// (their geometry), `enlarge` times as large as the run keeps it: bilinear in the map, and the
/// picture alone where the network saw nothing of it. `None` where the prepare steps left the
/// picture as it was, or cannot be undone.
///
/// # Errors
/// A map that is no plane, or of another size than its picture: a bug of the explainer.
pub(super) fn over_original(
    picture: &Picture,
    map: &NamedMap,
    palette: &Palette,
    opacity: f32,
    enlarge: u32,
) -> Result<Option<RgbImage>> {
    let known = picture.original.as_ref().filter(|_| picture.geometry.inverse().is_some());
    let Some(original) = known else { return Ok(None) };
    let (h, w, values) = plane(map)?;
    check_size((picture.height(), picture.width()), map, (h, w))?;
    let below = to_rgb8(&original.pixels)?;
    let below = match enlarge {
        0 | 1 => below,
        times => enlarged(&below, (below.width() * times, below.height() * times))?,
    };
    // Pixels of the picture as decoded to one of this.
    let scale = original.factor as f32 / enlarge.max(1) as f32;
    Ok(Some(painted((below.width(), below.height()), |x, y| {
        let pixel = below.get_pixel(x, y).0;
        let seen = picture.map_point([(x as f32 + 0.5) * scale, (y as f32 + 0.5) * scale]);
        let Some(value) = sample(&values, (h, w), seen) else { return pixel };
        let heat = palette.at(value);
        rgb(|c| {
            let under = f32::from(pixel[c]);
            to_byte(((1.0 - opacity) * under + opacity * f32::from(heat[c])) / 255.0)
        })
    })))
}

/// The value of a plane at a point from its outer corner, bilinear, its border continued by half a
/// pixel; `None` outside of it.
pub(super) fn sample(values: &[f32], (h, w): (usize, usize), [x, y]: [f32; 2]) -> Option<f32> {
    // Also false for what is not finite.
    if !(x >= 0.0 && y >= 0.0 && x <= w as f32 && y <= h as f32) {
        return None;
    }
    let near = |at: f32, length: usize| {
        let at = (at - 0.5).clamp(0.0, length as f32 - 1.0);
        let first = at.floor() as usize;
        (first, (first + 1).min(length - 1), at - at.floor())
    };
    let ((left, right, u), (top, bottom, v)) = (near(x, w), near(y, h));
    let across = |row: usize| (1.0 - u) * values[row * w + left] + u * values[row * w + right];
    Some((1.0 - v) * across(top) + v * across(bottom))
}

#[cfg(test)]
mod tests {
    use fame_core::data::{Affine, Original};

    use super::{super::testing::map, *};

    #[test]
    fn a_map_is_laid_back_where_the_network_looked() {
        // The right half of a picture of 2 × 4, twice as large: x' = 2·(x − 2), y' = 2·y.
        let decoded = Picture::new(Tensor::filled([3, 2, 4], 0.0), "p").unwrap();
        let mut picture = Picture::new(Tensor::filled([3, 4, 4], 0.0), "p").unwrap();
        picture.geometry = Affine::scale_shift(2.0, 2.0, -4.0, 0.0);
        let gray = Palette::named("gray").unwrap();
        let top = (0..16).map(|i| if i < 8 { 1.0 } else { 0.0 }).collect();
        let map = map("m", "image", Tensor::new([4, 4], top).unwrap());
        assert!(over_original(&picture, &map, &gray, 1.0, 1).unwrap().is_none());
        picture.original = Some(Original::of(&decoded).unwrap());
        let on = |enlarge| over_original(&picture, &map, &gray, 1.0, enlarge).unwrap().unwrap();
        let shown: Vec<u8> = on(1).pixels().map(|pixel| pixel.0[0]).collect();
        // Its left half was cut away; of the rest the upper row is in the map's upper half.
        assert_eq!(shown, [0, 0, 255, 255, 0, 0, 0, 0]);
        let large = on(4);
        assert_eq!(large.dimensions(), (16, 8));
        let column: Vec<u8> = (0..8).map(|y| large.get_pixel(12, y).0[0]).collect();
        assert_eq!((column[0], column[2], column[5], column[7]), (255, 255, 0, 0));
        assert!(column.windows(2).all(|w| w[0] >= w[1]), "{column:?}");
        assert!((0..8).all(|x| large.get_pixel(x, 0).0 == [0; 3]), "what was cut away is bare");
    }

    #[test]
    fn a_point_outside_of_a_plane_has_no_value() {
        let plane = [0.0, 1.0, 2.0, 3.0];
        let at = |x, y| sample(&plane, (2, 2), [x, y]);
        assert_eq!(
            [at(0.0, 0.0), at(1.0, 0.5), at(1.0, 1.0), at(2.0, 2.0)],
            [0.0, 0.5, 1.5, 3.0].map(Some)
        );
        assert_eq!([at(-0.1, 1.0), at(1.0, 2.1), at(f32::NAN, 1.0)], [None; 3]);
    }

    #[test]
    fn an_enlarged_overlay_keeps_its_colours_and_smooths_between_them() {
        let picture = Picture::new(Tensor::filled([3, 1, 2], 0.5), "p").unwrap();
        let map = map("m", "image", Tensor::new([1, 2], vec![0.0, 1.0]).unwrap());
        let gray = Palette::named("gray").unwrap();
        let on = overlay(&picture, &map, &gray, 1.0, 4).unwrap();
        assert_eq!(on.dimensions(), (8, 4));
        let row: Vec<u8> = (0..8).map(|x| on.get_pixel(x, 2).0[0]).collect();
        assert_eq!((row[0], row[7]), (0, 255));
        assert!(row.windows(2).all(|w| w[0] <= w[1]) && row[3] > 60 && row[4] < 195, "{row:?}");
        assert_eq!([enlargement(112, 112, 448), enlargement(500, 300, 448)], [4, 1]);
    }

    #[test]
    fn every_name_has_colours() {
        for name in GRADIENTS.map(|(n, _)| n).iter().chain(&["jet", "gray"]) {
            assert_eq!(Palette::named(name).unwrap().0.len(), 256, "{name}");
        }
        assert!(Palette::named("Turbo").is_none());
    }

    #[test]
    fn jet_runs_from_dark_blue_over_green_to_dark_red() {
        assert_eq!(
            [0.0, 0.125, 0.5, 0.875, 1.0].map(jet),
            [[0, 0, 128], [0, 0, 255], [128, 255, 128], [255, 0, 0], [128, 0, 0]]
        );
    }

    #[test]
    fn values_are_clamped_and_channels_averaged() {
        let gray = Palette::named("gray").unwrap();
        let signed =
            heatmap(&map("m", "image", Tensor::new([1, 3], vec![-1.0, 0.2, 9.0]).unwrap()), &gray)
                .unwrap();
        assert_eq!(signed.pixels().map(|p| p.0[0]).collect::<Vec<_>>(), [0, 51, 255]);
        let channels =
            heatmap(&map("m", "image", Tensor::new([2, 1, 1], vec![0.0, 0.4]).unwrap()), &gray)
                .unwrap();
        assert_eq!(channels.get_pixel(0, 0).0, [51; 3]);
        assert!(heatmap(&map("m", "image", Tensor::vector(vec![0.0])), &gray).is_err());
    }
}
