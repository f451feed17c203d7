//! A question to a detector: its loss, its way of being fed, and what it sees.

use fame_core::{Layer, Model, Result, Tensor};

/// How many detections are told of a picture.
#[cfg(feature = "detection")]
const TOLD: usize = 3;

/// What a manifest asks a detector.
#[derive(Clone)]
pub(super) struct Detector {
    /// The loss, as a manifest writes it.
    pub(super) loss: String,
    /// The layers that the loss reads.
    pub(super) layers: Vec<String>,
    /// Whether its family is fed 0 to 1: YOLO, which has no mean and deviation.
    pub(super) is_fed_unit: bool,
}

/// The detector that `layers` with so many labels (0: not known) are of, if they are of one that
/// can be asked.
#[cfg(feature = "detection")]
pub(super) fn known(layers: &[Layer], labels: usize, size: (usize, usize)) -> Option<Detector> {
    let found = fame_detection::recognise_layers(layers, labels, size)?;
    let is_fed_unit = matches!(found.head, fame_detection::Head::Yolo { .. });
    Some(Detector { loss: found.loss_spec()?, layers: found.layers, is_fed_unit })
}

/// The detector that `model` is, if it is one that can be asked.
pub(super) fn of(model: &Model) -> Option<Detector> {
    let input = &model.manifest.input;
    known(model.network.layers(), model.labels.len(), (input.height, input.width))
}

/// What there is to say of `model` if it is a detector that nobody here can ask, because its boxes
/// are not decoded.
#[cfg(feature = "detection")]
pub(super) fn undecoded(model: &Model) -> Option<String> {
    let found = fame_detection::recognise(model).filter(|found| !found.is_decoded)?;
    Some(found.to_string())
}

/// Whether `model` is a detector that can be asked.
#[cfg(feature = "detection")]
pub(super) fn is_one(model: &Model) -> bool {
    fame_detection::recognise(model).is_some_and(|found| found.is_decoded)
}

/// The score of the best detection on `input`; `None` where the model is no detector.
///
/// # Errors
/// A network that cannot be run.
#[cfg(feature = "detection")]
pub(super) fn surest(model: &Model, input: &Tensor) -> Result<Option<f64>> {
    let found = fame_detection::recognise(model).filter(|found| found.is_decoded);
    let Some(found) = found else { return Ok(None) };
    let best = found.detect(model, input, 1)?;
    Ok(Some(best.first().map_or(0.0, |best| f64::from(best.score))))
}

/// "cat 0.91 at (10, 20)–(90, 80); …, in pixels of the network's input": what is detected on
/// `input`, the best first, by the left upper and the right lower corner; `None` where the model is
/// no detector.
///
/// # Errors
/// A network that cannot be run.
#[cfg(feature = "detection")]
pub(super) fn told(model: &Model, input: &Tensor) -> Result<Option<String>> {
    let found = fame_detection::recognise(model).filter(|found| found.is_decoded);
    let Some(found) = found else { return Ok(None) };
    let each = found.detect(model, input, TOLD)?;
    let each: Vec<String> = each
        .iter()
        .map(|detection| {
            let [left, top, right, bottom] = detection.rect.0;
            let label = model
                .labels
                .get(detection.class)
                .map_or_else(|| format!("class {}", detection.class), Clone::clone);
            format!(
                "{label} {:.2} at ({left:.0}, {top:.0})–({right:.0}, {bottom:.0})",
                detection.score
            )
        })
        .collect();
    let all = format!("{}, in pixels of the network's input", each.join("; "));
    Ok(Some(if each.is_empty() { "no box at all".to_owned() } else { all }))
}

/// Without the feature nobody knows detectors.
#[cfg(not(feature = "detection"))]
pub(super) fn known(_: &[Layer], _: usize, _: (usize, usize)) -> Option<Detector> {
    None
}

/// The same.
#[cfg(not(feature = "detection"))]
pub(super) fn undecoded(_: &Model) -> Option<String> {
    None
}

/// The same.
#[cfg(not(feature = "detection"))]
pub(super) fn is_one(_: &Model) -> bool {
    false
}

/// The same.
#[cfg(not(feature = "detection"))]
pub(super) fn surest(_: &Model, _: &Tensor) -> Result<Option<f64>> {
    Ok(None)
}

/// The same.
#[cfg(not(feature = "detection"))]
pub(super) fn told(_: &Model, _: &Tensor) -> Result<Option<String>> {
    Ok(None)
}
