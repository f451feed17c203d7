//! The network's answers to the clean pictures: its most likely classes, or the similarity of a pair.

use fame_core::{
    Layer, LayerChoice, Model, Result, Taps, Tensor,
    ask::softmax,
    contract::{OutputForm, form_of},
    run::Preview,
};

use super::detector;

/// How many classes are shown.
const CLASSES: usize = 5;

/// Beyond this distance of its sum from 1 an output is no list of probabilities: f32 sums of a
/// thousand of them stay within 1e-5.
const SUM: f64 = 1e-4;

/// One line for each picture, or for the pair. Where `has_numbers`, what the network answers are no
/// classes, and is told as it is.
///
/// # Errors
/// A network that cannot be run.
pub(super) fn of(preview: &Preview, has_numbers: bool) -> Result<Vec<String>> {
    let model = &preview.model;
    if detector::is_one(model) {
        return of_detector(preview);
    }
    let (layer, are_probabilities) = answers_layer(model)?;
    if layer.shape.iter().filter(|extent| **extent > 1).count() > 1 {
        let shape = &layer.shape;
        return Ok(vec![format!("the output `{}` is {shape:?}, no list of classes", layer.name)]);
    }
    let mut lines = Vec::new();
    for sample in &preview.samples {
        let outputs: Vec<(&str, Tensor)> = sample
            .pictures
            .iter()
            .map(|(role, picture)| {
                let input = model.manifest.input.to_input(&picture.pixels)?;
                Ok((role.as_str(), output_of(preview, &layer.name, &input)?))
            })
            .collect::<Result<_>>()?;
        lines.push(match outputs.as_slice() {
            [(_, gallery), (_, probe)] => {
                format!("{}: similarity {:.3}", sample.id, cosine(gallery.data(), probe.data()))
            }
            [(_, one), ..] if has_numbers => format!("{}: {}", sample.id, numbers(one.data())),
            [(_, one), ..] => {
                let values = one.data();
                let all = if are_probabilities { given(values) } else { probabilities(values) };
                format!("{}: {}", sample.id, first(&all, &model.labels))
            }
            [] => continue,
        });
    }
    Ok(lines)
}

/// What a detector sees on each picture, a line for each.
fn of_detector(preview: &Preview) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for sample in &preview.samples {
        let Some((_, picture)) = sample.pictures.first() else { continue };
        let input = preview.model.manifest.input.to_input(&picture.pixels)?;
        let told = detector::told(&preview.model, &input)?;
        lines.extend(told.map(|told| format!("{}: {told}", sample.id)));
    }
    Ok(lines)
}

/// The layer that answers, and whether its values are probabilities: the network's output, with the
/// softmax or sigmoid at its end.
pub(super) fn answers_layer(model: &Model) -> Result<(&Layer, bool)> {
    let layers = model.network.layers();
    let ends = layers.iter().filter(|layer| layer.is_output);
    let squashed =
        |layer: &&Layer| matches!(form_of(layer, layers), OutputForm::Probabilities { .. });
    match ends.clone().find(squashed) {
        Some(layer) => Ok((layer, true)),
        None => Ok((model.layer(&LayerChoice::Output)?, false)),
    }
}

/// The values of `layer` for one input.
pub(super) fn output_of(preview: &Preview, layer: &str, input: &Tensor) -> Result<Tensor> {
    let pass = preview.model.network.forward(&Tensor::stack([input])?, &Taps::of([layer]))?;
    Ok(pass.output(layer)?.row_tensor(0))
}

/// The output as probabilities: as it is if it is that already, else its softmax.
pub(super) fn probabilities(output: &[f32]) -> Vec<f64> {
    let sum: f64 = output.iter().map(|p| f64::from(*p)).sum();
    let are_given = output.iter().all(|p| (0.0..=1.0).contains(p)) && (sum - 1.0).abs() < SUM;
    if are_given { given(output) } else { softmax(output) }
}

/// The output as it is.
pub(super) fn given(output: &[f32]) -> Vec<f64> {
    output.iter().map(|p| f64::from(*p)).collect()
}

/// "tabby 62.1 %, tiger cat 20.3 %, …", highest first.
fn first(all: &[f64], labels: &[String]) -> String {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| all[*b].total_cmp(&all[*a]));
    let one = |class: &usize| {
        let name = labels.get(*class).map_or(String::new(), |name| format!(" {name}"));
        format!("[{class}]{name} {:.1} %", all[*class] * 100.0)
    };
    order.iter().take(CLASSES).map(one).collect::<Vec<_>>().join(", ")
}

/// "136 numbers from -0.021 to 0.983, no classes".
fn numbers(all: &[f32]) -> String {
    let least = all.iter().copied().fold(f32::INFINITY, f32::min);
    let most = all.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    format!("{} numbers from {least:.3} to {most:.3}, no classes", all.len())
}

/// The cosine of two embeddings; 0 where one of them has no direction.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_not_normalised_twice() {
        assert_eq!(probabilities(&[0.25, 0.75]), [0.25, 0.75]);
        let of_logits = probabilities(&[0.0, 3f32.ln()]);
        assert!((of_logits[1] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn classes_are_named_and_ordered() {
        let labels = ["cat".to_owned(), "dog".to_owned()];
        assert_eq!(first(&[0.25, 0.75], &labels), "[1] dog 75.0 %, [0] cat 25.0 %");
        assert_eq!(first(&[0.25, 0.75], &[]), "[1] 75.0 %, [0] 25.0 %");
    }

    #[test]
    fn an_embedding_without_direction_is_like_nothing() {
        assert!((cosine(&[1.0, 0.0], &[2.0, 0.0]) - 1.0).abs() < 1e-12);
        assert_eq!(cosine(&[0.0, 0.0], &[2.0, 0.0]), 0.0);
    }
}
