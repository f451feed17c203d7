//! The usual conventions of a network's input, compared by what the network makes of them.

use fame_core::{
    Error, Result, Tensor,
    data::{ChannelOrder, InputConvention, Layout},
    run::Preview,
    store::ModelManifest,
};

use super::{
    answers::{answers_layer, cosine, given, output_of, probabilities},
    detector,
};

/// A way to feed a network, as the manifest says it.
pub(super) struct Convention {
    /// What people call it.
    name: String,
    /// The manifest's `input`.
    pub(super) text: String,
    /// Height and width of the input.
    pub(super) size: (usize, usize),
    parsed: Option<InputConvention>,
}

/// A usual form: its name, and its mean and deviation, red first.
type Form = (&'static str, [f32; 3], [f32; 3]);

/// The usual forms. The first is the one
/// that is taken unless another is clearly better.
const FORMS: [Form; 4] = [
    ("ImageNet mean and deviation", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ("-1 to 1", [0.5; 3], [0.5; 3]),
    ("0 to 1", [0.0; 3], [1.0; 3]),
    ("0 to 255", [0.0; 3], [1.0 / 255.0; 3]),
];

/// How many of [`FORMS`], the last ones, feed whole numbers.
const WHOLE_FORMS: usize = 1;

/// By how much another convention must be surer than the usual one before it is taken: below that
/// the difference says more about the picture than about the convention.
const CLEARLY: f64 = 0.1;

impl Convention {
    /// What the user says.
    ///
    /// # Errors
    /// What a manifest with this `input` is told.
    pub(super) fn given(text: &str) -> Result<Self> {
        let input = ModelManifest::parse("--input", &format!("(input: {text})"), None)?.input;
        let size = (input.height, input.width);
        Ok(Self { name: "given".to_owned(), text: text.to_owned(), size, parsed: None })
    }

    /// The usual conventions of an input of the shape `asked`, the usual one first. A file that is fed whole
    /// numbers (`is_whole`) wants the bytes of a picture and nothing else.
    ///
    /// # Errors
    /// An input that is no picture.
    pub(super) fn usual(asked: &[usize], is_whole: bool) -> Result<Vec<Self>> {
        let forms = if is_whole { &FORMS[FORMS.len() - WHOLE_FORMS..] } else { &FORMS[..] };
        let (shape, layout) = match *asked {
            // More rows than there are colours: the last axis holds them.
            [height, width, channels @ (1 | 3)] if height > 3 => {
                ([channels, height, width], Layout::ChannelsLast)
            }
            [a, b, c] => ([a, b, c], Layout::ChannelsFirst),
            _ => ([0; 3], Layout::ChannelsFirst),
        };
        let all = |order| {
            let [_, height, width] = shape;
            move |form: &Form| Self::of(order, *form, (height, width), layout)
        };
        match shape {
            [3, ..] => Ok([ChannelOrder::Rgb, ChannelOrder::Bgr]
                .into_iter()
                .flat_map(|order| forms.iter().map(all(order)))
                .collect()),
            // ImageNet's form is one of colours.
            [1, ..] => Ok(forms
                .iter()
                .filter(|(_, mean, _)| mean.iter().all(|value| *value == mean[0]))
                .map(all(ChannelOrder::Gray))
                .collect()),
            _ => Err(Error::new(
                "fame::explain::no_picture",
                format!(
                    "the network takes {asked:?}, and that is no picture [3, H, W] or [1, H, W]."
                ),
            )
            .with_help("fame explains networks that see one picture, its channels first or last.")),
        }
    }

    /// What is said of it where there is no picture by which it could be compared with others.
    pub(super) fn unseen(&self) -> Vec<String> {
        vec![
            format!("no manifest; assumed input: {} ({})", self.text, self.name),
            "  give a picture, and the usual conventions are compared".to_owned(),
        ]
    }

    /// Whether the network is fed what a picture's bytes count.
    fn feeds_whole_numbers(&self) -> bool {
        self.parsed.as_ref().is_some_and(|input| input.std.iter().all(|std| *std < 0.01))
    }

    /// Whether the network is fed -1 to 1.
    fn is_symmetric(&self) -> bool {
        let is_half = |value: &f32| *value == 0.5;
        self.parsed
            .as_ref()
            .is_some_and(|input| input.mean.iter().all(is_half) && input.std.iter().all(is_half))
    }

    fn of(
        order: ChannelOrder,
        (name, mean, std): Form,
        (height, width): (usize, usize),
        layout: Layout,
    ) -> Self {
        let channels = order.channels();
        let in_order = |mut values: [f32; 3]| {
            if order == ChannelOrder::Bgr {
                values.reverse();
            }
            values[..channels].to_vec()
        };
        let (mean, std) = (in_order(mean), in_order(std));
        let text = format!(
            "(size: ({channels}, {height}, {width}), order: {order:?}, mean: {}, std: {}{})",
            numbers(&mean),
            numbers(&std),
            if layout == Layout::ChannelsLast { ", layout: ChannelsLast" } else { "" }
        );
        let parsed = InputConvention { channels, height, width, order, mean, std };
        let (name, size) = (format!("{order:?}, {name}"), (height, width));
        Self { name, text, size, parsed: Some(parsed) }
    }
}

/// Puts the conventions of 0 to 1 first, so that one of them is the usual one: that of networks
/// which have no mean and deviation.
pub(super) fn unit_first(known: &mut [Convention]) {
    known.sort_by_key(|one| one.parsed.as_ref().is_none_or(|input| !is_unit(input)));
}

/// Whether a network is fed the pixels as they are, in 0 to 1.
fn is_unit(input: &InputConvention) -> bool {
    input.mean.iter().all(|mean| *mean == 0.0) && input.std.iter().all(|std| *std == 1.0)
}

/// One number where all are alike, else all of them.
fn numbers(values: &[f32]) -> String {
    if values.iter().all(|v| *v == values[0]) {
        return values[0].to_string();
    }
    format!("({})", values.iter().map(f32::to_string).collect::<Vec<_>>().join(", "))
}

/// The convention to assume, and why, in lines for the reader. Classifiers are compared by the
/// probability of their most likely class, detectors by the score of their best detection, embeddings by
/// the similarity of the pair, each as a mean over the samples.
///
/// # Errors
/// A network that cannot be run.
pub(super) fn choose<'a>(
    known: &'a [Convention],
    preview: &Preview,
    is_classifier: bool,
) -> Result<(&'a Convention, Vec<String>)> {
    if known.len() == 1 {
        let only = &known[0];
        return Ok((only, vec![format!("no manifest; input as given: {}", only.text)]));
    }
    let mut scored = Vec::new();
    for convention in known {
        scored.push((score(convention, preview, is_classifier)?, convention));
    }
    let (score, chosen) = preferred(&scored, is_classifier);
    let what = match is_classifier {
        true if detector::is_one(&preview.model) => "score of its best detection",
        true => "probability of its most likely class",
        false => "similarity",
    };
    let each: Vec<String> =
        scored.iter().map(|(score, one)| format!("{} {score:.2}", one.name)).collect();
    Ok((
        chosen,
        vec![
            format!("no manifest; assumed input: {} ({what} {score:.2})", chosen.text),
            format!("  {what} by convention: {}", each.join("; ")),
        ],
    ))
}

/// The convention that is taken, of all with their scores: the usual one, unless another is clearly
/// better.
///
/// Of a pair the highest similarity proves little: a network that is fed far too large numbers
/// answers alike whatever it sees. So whole numbers are never taken for one that may be fed others,
/// and the usual form is that of face networks, -1 to 1.
fn preferred<'s, 'a>(
    scored: &'s [(f64, &'a Convention)],
    is_classifier: bool,
) -> &'s (f64, &'a Convention) {
    let all_are_whole = scored.iter().all(|(_, one)| one.feeds_whole_numbers());
    let may_be = |one: &Convention| is_classifier || all_are_whole || !one.feeds_whole_numbers();
    let usual = scored.iter().find(|(_, one)| !is_classifier && one.is_symmetric());
    let usual = usual.unwrap_or(&scored[0]);
    let best = scored.iter().filter(|(_, one)| may_be(one));
    let best = best.fold(usual, |a, b| if b.0 > a.0 { b } else { a });
    if best.0 > usual.0 + CLEARLY { best } else { usual }
}

fn score(convention: &Convention, preview: &Preview, is_classifier: bool) -> Result<f64> {
    let Some(parsed) = &convention.parsed else { return Ok(0.0) };
    let mut scores = Vec::new();
    let (layer, are_probabilities) = answers_layer(&preview.model)?;
    for sample in &preview.samples {
        if let (true, Some((_, picture))) = (is_classifier, sample.pictures.first()) {
            let input = parsed.to_input(&picture.pixels)?;
            if let Some(best) = detector::surest(&preview.model, &input)? {
                scores.push(if best.is_finite() { best } else { 0.0 });
                continue;
            }
        }
        let outputs: Vec<Tensor> = sample
            .pictures
            .iter()
            .map(|(_, picture)| output_of(preview, &layer.name, &parsed.to_input(&picture.pixels)?))
            .collect::<Result<_>>()?;
        scores.push(match outputs.as_slice() {
            [gallery, probe] if !is_classifier => cosine(gallery.data(), probe.data()),
            [one, ..] if is_classifier => surest(one.data(), are_probabilities),
            _ => 0.0,
        });
    }
    Ok(scores.iter().sum::<f64>() / scores.len().max(1) as f64)
}

/// The probability of the most likely class; 0 where there is none.
fn surest(output: &[f32], are_probabilities: bool) -> f64 {
    let all = if are_probabilities { given(output) } else { probabilities(output) };
    let top = all.into_iter().fold(0.0, f64::max);
    if top.is_finite() { top } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_conventions_are_written_as_a_manifest_reads_them() {
        let known = Convention::usual(&[3, 8, 9], false).unwrap();
        assert_eq!(known.len(), 8);
        assert_eq!(
            known[0].text,
            "(size: (3, 8, 9), order: Rgb, mean: (0.485, 0.456, 0.406), std: (0.229, 0.224, 0.225))"
        );
        // The model's channel order, as a manifest counts.
        assert_eq!(
            known[4].text,
            "(size: (3, 8, 9), order: Bgr, mean: (0.406, 0.456, 0.485), std: (0.225, 0.224, 0.229))"
        );
        assert_eq!(known[1].text, "(size: (3, 8, 9), order: Rgb, mean: 0.5, std: 0.5)");
        let gray = Convention::usual(&[1, 8, 8], false).unwrap();
        assert_eq!(gray[0].text, "(size: (1, 8, 8), order: Gray, mean: 0.5, std: 0.5)");
        assert!(Convention::usual(&[7, 7], false).is_err());
    }

    #[test]
    fn networks_without_mean_and_deviation_are_fed_0_to_1_first() {
        let mut known = Convention::usual(&[3, 8, 9], false).unwrap();
        unit_first(&mut known);
        let first: Vec<&str> = known[..3].iter().map(|one| one.name.as_str()).collect();
        assert_eq!(first, ["Rgb, 0 to 1", "Bgr, 0 to 1", "Rgb, ImageNet mean and deviation"]);
    }

    #[test]
    fn channels_behind_rows_and_columns_are_seen() {
        let known = Convention::usual(&[8, 9, 3], false).unwrap();
        let text = "(size: (3, 8, 9), order: Rgb, mean: 0, std: 1, layout: ChannelsLast)";
        assert_eq!(known[2].text, text);
        assert!(ModelManifest::parse("net", &format!("(input: {text})"), None).is_ok());
        assert!(!Convention::usual(&[3, 3, 3], false).unwrap()[0].text.contains("layout"));
    }

    #[test]
    fn a_file_that_is_fed_bytes_is_fed_bytes() {
        for (shape, count) in [([3, 8, 9], 2), ([1, 8, 9], 1)] {
            let known = Convention::usual(&shape, true).unwrap();
            assert_eq!(known.len(), count);
            for one in known {
                let input = one.parsed.unwrap();
                let pixels = Tensor::filled(shape, 1.0);
                let pixels = if shape[0] == 1 { Tensor::filled([3, 8, 9], 1.0) } else { pixels };
                let fed = input.to_input(&pixels).unwrap();
                assert!(
                    fed.data().iter().all(|value| (value - 255.0).abs() < 1e-3),
                    "{}",
                    one.text
                );
            }
        }
    }

    #[test]
    fn a_pair_is_not_fed_whole_numbers_because_all_faces_look_alike_then() {
        let known = Convention::usual(&[3, 8, 8], false).unwrap();
        let scored = |scores: [f64; 8]| scores.into_iter().zip(&known).collect::<Vec<_>>();
        let name = |scores: [f64; 8], is_classifier: bool| {
            preferred(&scored(scores), is_classifier).1.name.clone()
        };
        // What MobileFaceNet answers of two people, and of one.
        let two = [0.02, -0.02, 0.03, 0.99, 0.02, -0.03, 0.01, 0.96];
        assert_eq!(name(two, false), "Rgb, -1 to 1");
        let one = [0.5, 0.6, 0.55, 0.99, 0.6, 0.78, 0.6, 0.99];
        assert_eq!(name(one, false), "Bgr, -1 to 1");
        assert_eq!(name(two, true), "Rgb, 0 to 255");
        let bytes = Convention::usual(&[3, 8, 8], true).unwrap();
        let scored: Vec<_> = [0.1, 0.9].into_iter().zip(&bytes).collect();
        assert_eq!(preferred(&scored, false).1.name, "Bgr, 0 to 255");
    }

    #[test]
    fn a_network_that_is_sure_of_nothing_scores_nothing() {
        assert_eq!(surest(&[f32::NAN, 1.0], false), 0.0);
        assert!((surest(&[0.0, 0.0], false) - 0.5).abs() < 1e-12);
    }
}
