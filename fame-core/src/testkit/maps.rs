//! Are maps honest?

use super::{Check, fail, relative};
use crate::{
    AttributionMap, Explanation, Model, NamedMap, Random, Result, Sample, Tensor,
    contract::{ExplainContext, Explainer, MapSource, MapStep, Recorded, Silent},
    data::{ChannelOrder, InputConvention, safe_name},
};

/// A batch against a loop: the same sums, perhaps in another order, after a walk of a few steps.
const BATCH_TOLERANCE: f32 = 1e-4;

/// A signed map of the given channels and size.
fn field(channels: &[&str], height: usize, width: usize) -> AttributionMap {
    let mut values = Tensor::zeros([channels.len(), height, width]);
    Random::stream(13, channels.len()).fill_normal(values.data_mut());
    AttributionMap { values, channels: channels.iter().map(|c| (*c).to_owned()).collect() }
}

/// A picture that a field may lie over, in the field's channels: it grows brighter to the right.
fn picture(channels: &[&str]) -> Result<(Tensor, InputConvention)> {
    let order = match channels {
        ["B", ..] => ChannelOrder::Bgr,
        ["Y"] => ChannelOrder::Gray,
        _ => ChannelOrder::Rgb,
    };
    let (height, width, n) = (12, 17, channels.len());
    let ramp = (0..n * height * width).map(|i| (i % width) as f32 / width as f32);
    let pixels = Tensor::new([n, height, width], ramp.collect())?;
    let (mean, std) = (vec![0.5; n], vec![0.25; n]);
    Ok((pixels, InputConvention { channels: n, height, width, order, mean, std }))
}

/// Runs `step` over fields of RGB, BGR and one channel: height and width stay, channels are named,
/// values are finite, the same map gives the same map; and a NaN in the field is never hidden: it
/// is an error, or still there. Each field comes with a picture, and with one that was `recorded`.
///
/// A step that cannot take some of the channels (an error that says so) passes, as long as it takes
/// one of the three.
///
/// # Errors
/// One sentence about the first promise that is broken.
pub fn check_map_step(step: &dyn MapStep) -> Result<()> {
    let mut last = None;
    let mut taken = 0;
    for channels in [&["R", "G", "B"][..], &["B", "G", "R"], &["Y"]] {
        let map = field(channels, 12, 17);
        let (pixels, convention) = picture(channels)?;
        let apply = |map: AttributionMap| {
            let recorded = [Recorded { name: "recorded".into(), values: map.values.clone() }];
            let source =
                MapSource { pixels: &pixels, convention: &convention, recorded: &recorded };
            step.apply_to(map, &source)
        };
        let out = match apply(map.clone()) {
            Ok(out) => out,
            Err(e) => {
                last = Some(e);
                continue;
            }
        };
        taken += 1;
        let shape = out.values.shape();
        if shape.len() != 3 || shape[1..] != [12, 17] || shape[0] != out.channels.len() {
            return Err(fail(format!(
                "a field of [{}, 12, 17] became {shape:?} with channels {:?}.",
                channels.len(),
                out.channels
            )));
        }
        if !out.values.is_finite() {
            return Err(fail(format!(
                "a finite field of channels {channels:?} became a map that is not finite."
            )));
        }
        if apply(map.clone())? != out {
            return Err(fail("the same field became another map."));
        }
        let mut broken = map;
        broken.values.data_mut()[5] = f32::NAN;
        if apply(broken).is_ok_and(|map| map.values.is_finite()) {
            return Err(fail(
                "a NaN in the field was hidden: let it through, or make it an error.",
            ));
        }
    }
    match last {
        Some(e) if taken == 0 => Err(fail(format!("the step takes no field at all: {e}"))),
        _ => Ok(()),
    }
}

/// Whether `step` refuses an all-zero map, as every normalisation must: there is nothing to show,
/// and a black picture would pretend that there is.
///
/// # Errors
/// When it does not.
pub fn check_refuses_constant(step: &dyn MapStep) -> Result<()> {
    let map = AttributionMap { values: Tensor::zeros([1, 4, 4]), channels: vec!["Y".into()] };
    match step.apply(map) {
        Err(_) => Ok(()),
        Ok(_) => Err(fail("an all-zero map was finished as if it said something.")),
    }
}

/// Explains `samples` with `model` together, one by one and again: one result each, in order; the
/// same maps either way (1e-4 of the largest value); names unique and safe in a file name; raw
/// `[C, H, W]` and finished `[H, W]` or `[C, H, W]` of the picture's size; every map finite and not
/// the same everywhere; its role one of the sample's.
///
/// # Errors
/// One sentence about the first promise that is broken, or the explainer's own error.
pub fn check_explainer(
    explainer: &dyn Explainer,
    model: &Model,
    samples: &[Sample],
) -> Result<Check> {
    explainer.check(model)?;
    let with = ExplainContext { model, seed: 1, progress: &Silent };
    let run = |samples: &[Sample]| -> Result<Vec<Explanation>> {
        let results = explainer.explain(&with, samples);
        if results.len() != samples.len() {
            return Err(fail(format!("{} samples gave {} results.", samples.len(), results.len())));
        }
        results.into_iter().collect()
    };
    let mut check = Check::new("explaining together against alone", BATCH_TOLERANCE);
    let (together, again) = (run(samples)?, run(samples)?);
    for (n, sample) in samples.iter().enumerate() {
        check_explanation(sample, &together[n])?;
        let alone = run(std::slice::from_ref(sample))?.swap_remove(0);
        for (other, what) in [(&alone, "alone"), (&again[n], "again")] {
            let names = |e: &Explanation| e.maps.iter().map(NamedMap::name).collect::<Vec<_>>();
            if names(other) != names(&together[n]) {
                return Err(fail(format!(
                    "sample `{}` {what} has maps {:?}, not {:?}.",
                    sample.id,
                    names(other),
                    names(&together[n])
                )));
            }
            for (a, b) in other.maps.iter().zip(&together[n].maps) {
                check.see(relative(a.finished.data(), b.finished.data()), || {
                    format!("sample `{}` {what}, map `{}`", sample.id, a.name())
                });
            }
        }
    }
    check
        .verdict("maps depend on which samples are explained together, or differ from call to call")
}

fn check_explanation(sample: &Sample, explanation: &Explanation) -> Result<()> {
    if explanation.maps.is_empty() {
        return Err(fail(format!(
            "sample `{}` has no map. {}",
            sample.id,
            explanation.warnings.join(" ")
        )));
    }
    for (i, map) in explanation.maps.iter().enumerate() {
        let name = map.name();
        let at = |what: String| Err(fail(format!("sample `{}`, map `{name}`: {what}.", sample.id)));
        if safe_name(&name) != name || explanation.maps[..i].iter().any(|m| m.name() == name) {
            return at("its name is not unique, or not safe in a file name (letters, digits, `.`, `_`, `-`)".into());
        }
        let Some(picture) = sample.picture(&map.id.role) else {
            return at(format!("the sample has no picture in the role `{}`", map.id.role));
        };
        let size = [picture.height(), picture.width()];
        let fits = |shape: &[usize]| shape.len() >= 2 && shape[shape.len() - 2..] == size;
        let (raw, finished) = (map.raw.shape(), map.finished.shape());
        if !(fits(raw) && raw.len() == 3 && fits(finished) && finished.len() <= 3) {
            return at(format!(
                "raw is {raw:?} and finished is {finished:?}, for a picture of {size:?}"
            ));
        }
        let values = map.finished.data();
        if !map.finished.is_finite()
            || !map.raw.is_finite()
            || values.iter().all(|v| *v == values[0])
        {
            return at("it is not finite, or the same everywhere; a picture with nothing to show has no map but a warning".into());
        }
    }
    Ok(())
}
