//! Small pictures of an item's maps, and the network's answer in words: for whoever shows items
//! while a run is at work.

use std::collections::BTreeSet;

use fame_core::{
    NamedMap, Result,
    contract::FinishedItem,
    data::{Facts, Value},
};
use fast_image_resize::{FilterType, pixels::U8x3};

use super::{
    colour::{Palette, SAFE, overlay},
    maps, picture_of,
};
use crate::{losses::ranking, pictures::resized};

/// How much a map covers its picture, as in `Overlay`.
const OPACITY: f32 = 0.5;

/// A map in colour over its picture, small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// Explainer and map: `fame: class_282`.
    pub title: String,
    /// Pixels in a line.
    pub width: usize,
    /// Red, green and blue of each pixel, line by line.
    pub pixels: Vec<[u8; 3]>,
}

impl Thumbnail {
    /// Lines.
    pub fn height(&self) -> usize {
        self.pixels.len() / self.width.max(1)
    }

    /// The pixel in column `x` and line `y`; `None` outside.
    pub fn pixel(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        (x < self.width).then(|| self.pixels.get(y * self.width + x).copied())?
    }
}

/// The first `most` maps of `item`, each with its longer side of `side` pixels, and how many there
/// are beyond.
///
/// # Errors
/// A map without its picture, or of another size: a bug of the explainer.
pub fn thumbnails(
    item: &FinishedItem<'_>,
    side: usize,
    most: usize,
) -> Result<(Vec<Thumbnail>, usize)> {
    let palette = Palette::named(SAFE);
    let small = |(explainer, map): (&str, &NamedMap)| {
        let palette = palette.as_ref().ok_or_else(|| fame_core::Error::bug("no colours."))?;
        let whole = overlay(picture_of(item.sample, map)?, map, palette, OPACITY, 1)?;
        let longer = whole.width().max(whole.height()).max(1);
        let scaled = |length: u32| (length * side.max(1) as u32 / longer).max(1);
        let (width, height) = (scaled(whole.width()), scaled(whole.height()));
        let pixels = resized::<U8x3, _>(&whole, [width, height], FilterType::Bilinear)?;
        let title = format!("{explainer}: {}", map.name());
        let pixels = pixels.pixels().map(|pixel| pixel.0).collect();
        Ok(Thumbnail { title, width: width as usize, pixels })
    };
    let shown = maps(item).take(most).map(small).collect::<Result<Vec<_>>>()?;
    let left = maps(item).count() - shown.len();
    Ok((shown, left))
}

/// What the network answered for the clean pictures of `item`, by the facts of its maps, each
/// answer once: `tabby 87 %`, `similarity 0.412`, `rank 1 ann 0.612 before bob 0.305`. Of more than
/// two only the first two.
pub fn answers(item: &FinishedItem<'_>) -> Vec<String> {
    let facts = maps(item).map(|(_, map)| &map.facts);
    told(facts, str::to_owned).into_iter().map(|answer| answer.text).collect()
}

/// What the network answered for the clean picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// In words: `tabby 87 %`.
    pub(super) text: String,
    /// The probability or similarity in it, to sort by.
    pub(super) value: f64,
}

/// The first two answers that maps with these facts explain, each once.
pub(super) fn told<'f>(
    facts: impl IntoIterator<Item = &'f Facts>,
    named: impl Fn(&str) -> String,
) -> Vec<Answer> {
    let mut seen = BTreeSet::new();
    let all = facts.into_iter().filter_map(|facts| answer(facts, &named));
    all.filter(|answer| seen.insert(answer.text.clone())).take(2).collect()
}

/// The answer that a map with `facts` explains: the class with its probability, whom a search has
/// found and before whom, or the similarity. Names of classes and people are written as `named`
/// does, which keeps those in Hebrew or Arabic from turning the numbers behind them.
pub(super) fn answer(facts: &Facts, named: impl Fn(&str) -> String) -> Option<Answer> {
    let number = |name: &str| facts.get(name).and_then(Value::as_f64);
    if let Some(value) = number("probability_before") {
        let name = facts.get("class_name").and_then(Value::as_str).map(str::to_owned);
        let class = name.or_else(|| number("class").map(|class| format!("class {class}")));
        let class = class.map_or_else(String::new, |class| format!("{} ", named(&class)));
        return Some(Answer { text: format!("{class}{:.0} %", 100.0 * value), value });
    }
    let value = number("similarity_before")?;
    let text = match ranking(facts, named) {
        Some(ranking) => format!("rank 1 {ranking}"),
        None => format!("similarity {value:.3}"),
    };
    Some(Answer { text, value })
}

#[cfg(test)]
mod tests {
    use fame_core::{Explanation, Tensor};

    use super::{
        super::testing::{explanation, map, sample},
        *,
    };

    fn of(maps: Vec<NamedMap>) -> [(String, Explanation); 1] {
        [("cam".to_owned(), explanation(maps))]
    }

    #[test]
    fn a_thumbnail_has_the_proportions_of_its_picture() {
        let half = |name| map(name, "image", Tensor::filled([10, 20], 1.0));
        let explanations = of(vec![half("image"), half("a"), half("b")]);
        let sample = sample(&["image"], 10, 20);
        let item = FinishedItem { sample: &sample, explanations: &explanations };
        let (shown, left) = thumbnails(&item, 38, 2).unwrap();
        assert_eq!((shown.len(), left), (2, 1));
        let first = &shown[0];
        assert_eq!((first.title.as_str(), first.width, first.height()), ("cam: image", 38, 19));
        // Viridis' last colour, (253, 231, 37), half over gray 0.5.
        let [r, g, b] = first.pixel(37, 18).unwrap();
        assert!(r.abs_diff(190) < 3 && g.abs_diff(179) < 3 && b.abs_diff(82) < 3, "{r} {g} {b}");
        assert_eq!((first.pixel(38, 0), first.pixel(0, 19)), (None, None));
    }

    #[test]
    fn an_answer_is_told_once() {
        let said = |facts: &[(&str, Value)]| {
            let mut map = map("image", "image", Tensor::filled([2, 2], 0.5));
            map.facts.extend(facts.iter().map(|(name, v)| ((*name).to_owned(), v.clone())));
            map
        };
        let class = ("class_name", Value::from("disc"));
        let likely = ("probability_before", Value::from(0.731));
        let alike = ("similarity_before", Value::from(0.4124));
        let number = ("class", Value::from(3_usize));
        let all = [
            said(&[]),
            said(&[class, likely.clone()]),
            said(&[("class_name", "disc".into()), likely.clone()]),
            said(&[number, likely]),
            said(&[alike]),
        ];
        let sample = sample(&["image"], 2, 2);
        let told = |maps: &[NamedMap]| {
            let explanations = of(maps.to_vec());
            answers(&FinishedItem { sample: &sample, explanations: &explanations })
        };
        assert_eq!(told(&all), ["disc 73 %", "class 3 73 %"]);
        assert_eq!(told(&all[4..]), ["similarity 0.412"]);
        let found = [("rank_1", "ann".into()), ("rival", "bob".into())];
        let near = [("similarity_before", 0.612.into()), ("rival_similarity", 0.3049.into())];
        let searched = said(&[found, near].concat());
        assert_eq!(told(&[searched]), ["rank 1 ann 0.612 before bob 0.305"]);
        assert!(told(&all[..1]).is_empty());
    }
}
