//! From rows to finished maps, for every formula alike.

use fame_core::{
    GradientPlace, Layer, LayerChoices, Result, Tensor,
    ask::Aim,
    contract::{ExplainContext, Target},
    data::{Facts, Value, facts},
    seed_of,
};

use super::{
    Cam, LayerMap,
    normalisation::{Normalisation, relu},
    planes::{Grid, Layout, Planes},
    probe::Live,
};
use crate::explainers::{
    aimed::{InputRow, Method, MethodOutcome},
    enlarge::{Corners, bilinear},
    finish::one_channel,
};

/// A formula at its layers.
pub(crate) struct OfLayers<C> {
    pub(super) formula: C,
    pub(super) layer: LayerChoices,
    pub(super) layout: Layout,
    pub(super) normalisation: Normalisation,
}

/// A row of a pass at one layer, taken out of it.
struct LayerReading {
    output: Tensor,
    gradient: Option<Tensor>,
}

impl<C: Cam> Method for OfLayers<C> {
    fn check(&self, aim: &Aim<'_>) -> Result<()> {
        for (layer, _) in self.layers(aim)? {
            if C::GRADIENT {
                let to = GradientPlace::Layer(layer.name.clone());
                aim.layers
                    .iter()
                    .try_for_each(|target| aim.model.network.check_gradient(target, &to))?;
            }
        }
        Ok(())
    }

    fn facts(&self, aim: &Aim<'_>) -> Result<Facts> {
        let about = |(layer, grid): (&Layer, Grid)| {
            Value::Map(facts([
                ("name", layer.name.as_str().into()),
                ("op", layer.op.as_str().into()),
                ("shape", layer.shape.clone().into()),
                ("grid", vec![grid.height, grid.width].into()),
            ]))
        };
        Ok(facts([("layers", Value::List(self.layers(aim)?.into_iter().map(about).collect()))]))
    }

    fn explain(
        &self,
        with: &ExplainContext<'_>,
        aim: &Aim<'_>,
        rows: &[InputRow],
    ) -> Result<Vec<Result<MethodOutcome>>> {
        let layers = self.layers(aim)?;
        let (values, seen) = look::<C>(aim, rows, &layers)?;
        let made = rows
            .iter()
            .zip(values)
            .zip(seen)
            .map(|((row, value), seen)| self.made(with, aim, row, value, &layers, seen));
        Ok(made.collect())
    }
}

/// One pass over all rows: y of each, and each row's outputs and gradients at `layers`.
fn look<C: Cam>(
    aim: &Aim<'_>,
    rows: &[InputRow],
    layers: &[(&Layer, Grid)],
) -> Result<(Vec<f32>, Vec<Vec<LayerReading>>)> {
    let mut taps = aim.taps();
    for (layer, _) in layers {
        if !taps.layers.contains(&layer.name) {
            taps.layers.push(layer.name.clone());
        }
        if C::GRADIENT {
            taps = taps.with_gradient(GradientPlace::Layer(layer.name.clone()));
        }
    }
    let batch = Tensor::stack(rows.iter().map(|r| &r.input))?;
    let pass = aim.model.network.forward(&batch, &taps)?;
    let targets: Vec<&Target> = rows.iter().map(|r| &r.aimed.target).collect();
    let evaluation = aim.evaluate(pass.as_ref(), &targets)?;
    let outputs =
        layers.iter().map(|(layer, _)| pass.output(&layer.name)).collect::<Result<Vec<_>>>()?;
    let gradients = if C::GRADIENT {
        pass.gradient(&aim.layer_cotangents(evaluation.cotangents))?
    } else {
        Vec::new()
    };
    let row = |n: usize| {
        let at = |(l, output): (usize, &Tensor)| LayerReading {
            output: output.row_tensor(n),
            gradient: gradients.get(l).map(|g| g.row_tensor(n)),
        };
        outputs.iter().enumerate().map(at).collect()
    };
    Ok((evaluation.values, (0..rows.len()).map(row).collect()))
}

impl<C: Cam> OfLayers<C> {
    fn layers<'m>(&self, aim: &Aim<'m>) -> Result<Vec<(&'m Layer, Grid)>> {
        let resolve = |choice| {
            let layer = aim.model.layer(choice)?;
            Ok((layer, Grid::of_model(aim.model, layer, self.layout)?))
        };
        self.layer.0.iter().map(resolve).collect()
    }

    /// The normalised map of one row.
    fn made(
        &self,
        with: &ExplainContext<'_>,
        aim: &Aim<'_>,
        row: &InputRow,
        value: f32,
        layers: &[(&Layer, Grid)],
        seen: Vec<LayerReading>,
    ) -> Result<MethodOutcome> {
        let input = &aim.model.manifest.input;
        let size = (input.height, input.width);
        let mut raw = vec![0.0f32; size.0 * size.1];
        let mut sum = raw.clone();
        let (mut of_layers, mut warnings, mut why) = (Vec::new(), Vec::new(), None);
        for (&(layer, grid), seen) in layers.iter().zip(seen) {
            let LayerMap { mut values, facts, warning } =
                self.of_layer(with, aim, row, value, (layer, grid), seen)?;
            of_layers.push(Value::Map(facts));
            warnings.extend(warning);
            let enlarged = |values: &[f32]| {
                bilinear(values, (grid.height, grid.width), size, Corners::HalfPixel)
            };
            raw.iter_mut().zip(enlarged(&values)).for_each(|(r, v)| *r += v / layers.len() as f32);
            let reason = empty(&layer.name, value, &values);
            relu(&mut values);
            if !self.normalisation.normalise(&mut values) || reason.is_some() {
                let reason = reason.unwrap_or_else(|| {
                    format!("its map of layer `{}` is the same everywhere.", layer.name)
                });
                // A layer among several is only missing from the mean, as in the library the mean
                // is taken from.
                if layers.len() > 1 {
                    warnings.push(format!("a layer adds nothing: {reason}"));
                }
                why.get_or_insert(reason);
                continue;
            }
            sum.iter_mut().zip(enlarged(&values)).for_each(|(s, v)| *s += v / layers.len() as f32);
        }
        let seen = self.normalisation.normalise(&mut sum);
        let shown = match why {
            _ if seen => Ok(one_channel(Tensor::new([1, size.0, size.1], sum)?)),
            why => Err(why.unwrap_or_else(|| "it is the same everywhere.".into())),
        };
        let about = facts([("value", value.into()), ("of_layers", Value::List(of_layers))]);
        Ok(MethodOutcome {
            raw: Tensor::new([1, size.0, size.1], raw)?,
            shown,
            facts: about,
            warnings,
        })
    }

    /// The formula's map of one layer.
    fn of_layer(
        &self,
        with: &ExplainContext<'_>,
        aim: &Aim<'_>,
        row: &InputRow,
        value: f32,
        (layer, grid): (&Layer, Grid),
        seen: LayerReading,
    ) -> Result<LayerMap> {
        let a = grid.read(seen.output.data());
        let g = match &seen.gradient {
            Some(gradient) => grid.read(gradient.data()),
            None => Planes { data: vec![0.0; a.data.len()], ..a },
        };
        let seed = seed_of(row.seed, &layer.name);
        self.formula.map(
            &a,
            &g,
            &Live { with, aim, row, layer: &layer.name, grid, output: seen.output, value, seed },
        )
    }
}

/// Why a layer's map before ReLU has nothing to show, if so.
fn empty(layer: &str, y: f32, map: &[f32]) -> Option<String> {
    if map.iter().any(|v| !v.is_finite()) {
        return Some(format!("its map of layer `{layer}` is NaN or infinite (y = {y})."));
    }
    if map.iter().all(|v| *v == 0.0) {
        return Some(format!("no cell of layer `{layer}` moves y (y = {y})."));
    }
    map.iter().all(|v| *v <= 0.0).then(|| format!("no cell of layer `{layer}` raises y (y = {y})."))
}
