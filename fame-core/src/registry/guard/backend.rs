//! Guards of [`Backend`], [`Network`], [`Pass`] and [`DeviceRows`].

use std::path::PathBuf;

use super::{Guard, Guarded, Who, shaped};
use crate::{
    Error, Result, Tensor,
    contract::{
        Backend, Bias, DeviceRows, GradientPlace, Layer, LayerCotangent, LoadRequest, Network,
        NodeTime, Pass, PlainStep, Stop, Taps,
    },
};

impl Guard for dyn Backend {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        Ok(Box::new(GuardedBackend(Guarded::new(who, inner))))
    }
}

struct GuardedBackend(Guarded<dyn Backend>);

impl Backend for GuardedBackend {
    fn check(&self) -> Result<()> {
        self.0.call("check", Backend::check)?
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        let inner = self.0.call("load", |b| b.load(request))??;
        Ok(Box::new(GuardedNetwork::new(Guarded::new(self.0.who, inner))?))
    }

    fn files(&self, request: &LoadRequest) -> Result<Vec<PathBuf>> {
        self.0.call("files", |b| b.files(request))?
    }
}

/// What a network says of itself is asked once, when it has been loaded: there is no way to fail
/// later.
struct GuardedNetwork {
    inner: Guarded<dyn Network>,
    input_shape: Vec<usize>,
    layers: Vec<Layer>,
    preferred_rows: usize,
    notes: Vec<String>,
}

impl GuardedNetwork {
    fn new(inner: Guarded<dyn Network>) -> Result<Self> {
        let input_shape = inner.call("input_shape", |n| n.input_shape().to_vec())?;
        let layers = inner.call("layers", |n| n.layers().to_vec())?;
        let preferred_rows = inner.call("preferred_rows", Network::preferred_rows)?;
        let notes = inner.call("notes", |n| n.notes().to_vec())?;
        Ok(Self { inner, input_shape, layers, preferred_rows, notes })
    }

    /// A network that knows nothing of relevance or of multipliers would answer with derivatives:
    /// it is asked first.
    fn refuse_ignored_rules(&self, batch: &Tensor, taps: &Taps) -> Result<()> {
        match (taps.relevance.is_some(), taps.multipliers) {
            (false, false) => Ok(()),
            (true, false) => self.check_relevance(taps),
            (true, true) => Err(Error::bug("relevance and multipliers are asked for at once.")),
            (false, true) if batch.rows() % 2 == 1 => {
                let rows = batch.rows();
                let message = format!("multipliers are of pairs of rows, and there are {rows}.");
                Err(Error::bug(message))
            }
            (false, true) => self.check_multipliers(taps),
        }
    }

    fn pass<'n>(
        &self,
        inner: Box<dyn Pass + 'n>,
        batch: &Tensor,
        taps: &Taps,
    ) -> Box<dyn Pass + 'n> {
        let inner = Guarded::new(self.inner.who, inner);
        Box::new(GuardedPass {
            inner,
            input: batch.shape().to_vec(),
            places: taps.gradients.clone(),
        })
    }
}

impl Network for GuardedNetwork {
    fn input_shape(&self) -> &[usize] {
        &self.input_shape
    }

    fn layers(&self) -> &[Layer] {
        &self.layers
    }

    // A plugin's network is for computing with.
    fn is_rehearsal(&self) -> bool {
        false
    }

    fn why_no_layer(&self, name: &str) -> Option<String> {
        // It only explains an error: where it fails, that error is told without it.
        self.inner.call("why_no_layer", |n| n.why_no_layer(name)).ok().flatten()
    }

    fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()> {
        self.inner.call("check_gradient", |n| n.check_gradient(layer, to))?
    }

    fn check_relevance(&self, taps: &Taps) -> Result<()> {
        self.inner.call("check_relevance", |n| n.check_relevance(taps))?
    }

    fn check_multipliers(&self, taps: &Taps) -> Result<()> {
        self.inner.call("check_multipliers", |n| n.check_multipliers(taps))?
    }

    fn preferred_rows(&self) -> usize {
        self.preferred_rows
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.refuse_ignored_rules(batch, taps)?;
        let pass = self.inner.call("forward", |n| n.forward(batch, taps))??;
        Ok(self.pass(pass, batch, taps))
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        self.refuse_ignored_rules(batch, taps)?;
        let pass =
            self.inner.call("forward_from", |n| n.forward_from(layer, value, batch, taps))??;
        Ok(self.pass(pass, batch, taps))
    }

    fn device_rows<'n>(
        &'n self,
        step: &PlainStep,
        layers: &[String],
    ) -> Result<Option<Box<dyn DeviceRows + 'n>>> {
        step.check(&self.input_shape)?;
        let rows = self.inner.call("device_rows", |n| n.device_rows(step, layers))??;
        Ok(rows.map(|rows| {
            let inner = Guarded::new(self.inner.who, rows);
            let (shape, layers) = (self.input_shape.clone(), layers.len());
            Box::new(GuardedRows { inner, shape, layers, rows: 0 }) as _
        }))
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        self.inner.call("biases", Network::biases)?
    }

    fn profile(&self, batch: &Tensor, seed: &LayerCotangent, runs: usize) -> Result<Vec<NodeTime>> {
        self.inner.call("profile", |n| n.profile(batch, seed, runs))?
    }
}

struct GuardedPass<'n> {
    inner: Guarded<dyn Pass + 'n>,
    /// Shape of the batch.
    input: Vec<usize>,
    /// Where a gradient was asked for.
    places: Vec<GradientPlace>,
}

impl GuardedPass<'_> {
    fn check_gradients(&self, gradients: &[Tensor]) -> std::result::Result<(), String> {
        if gradients.len() != self.places.len() {
            return Err(format!(
                "{} gradients where {} were asked for",
                gradients.len(),
                self.places.len()
            ));
        }
        let rows = self.input.first().copied().unwrap_or(1);
        for (place, gradient) in self.places.iter().zip(gradients) {
            match place {
                GradientPlace::Input => shaped("a gradient at the input", gradient, &self.input)?,
                GradientPlace::Layer(name) if gradient.rows() != rows => {
                    return Err(format!(
                        "a gradient at layer `{name}` of shape {:?} for {rows} rows",
                        gradient.shape()
                    ));
                }
                GradientPlace::Layer(_) => {}
            }
        }
        Ok(())
    }
}

impl Pass for GuardedPass<'_> {
    fn output(&self, layer: &str) -> Result<Tensor> {
        let output = self.inner.call("output", |p| p.output(layer))??;
        let rows = self.input.first().copied().unwrap_or(1);
        if output.rows() != rows {
            return Err(self.inner.wrong(
                "output",
                format!("a layer `{layer}` of shape {:?} for {rows} rows", output.shape()),
            ));
        }
        Ok(output)
    }

    fn gradient(&self, seeds: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        let gradients = self.inner.call("gradient", |p| p.gradient(seeds))??;
        self.check_gradients(&gradients).map_err(|what| self.inner.wrong("gradient", what))?;
        Ok(gradients)
    }
}

struct GuardedRows<'n> {
    inner: Guarded<dyn DeviceRows + 'n>,
    /// `[C, H, W]`.
    shape: Vec<usize>,
    /// How many layers are read.
    layers: usize,
    /// How many rows there are.
    rows: usize,
}

impl DeviceRows for GuardedRows<'_> {
    fn enter(&mut self, places: &Tensor) -> Result<()> {
        if places.row_shape() != self.shape {
            return Err(Error::bug(format!(
                "rows of shape {:?} cannot enter where {:?} is walked.",
                places.row_shape(),
                self.shape
            )));
        }
        self.inner.call_mut("enter", |r| r.enter(places))??;
        self.rows += places.rows();
        Ok(())
    }

    fn forward(&mut self, to_step: bool) -> Result<Vec<Tensor>> {
        let outputs = self.inner.call_mut("forward", |r| r.forward(to_step))??;
        let fit = outputs.len() == self.layers && outputs.iter().all(|o| o.rows() == self.rows);
        if fit {
            return Ok(outputs);
        }
        let shapes: Vec<_> = outputs.iter().map(Tensor::shape).collect();
        let (layers, rows) = (self.layers, self.rows);
        let what = format!("outputs {shapes:?} of {layers} layers for {rows} rows");
        Err(self.inner.wrong("forward", what))
    }

    fn step(&mut self, cotangents: &[LayerCotangent], going: &[bool]) -> Result<Vec<Option<Stop>>> {
        let stops = self.inner.call_mut("step", |r| r.step(cotangents, going))??;
        let stayed = |(stop, goes): (&Option<Stop>, &bool)| stop.is_some() && !goes;
        if stops.len() == self.rows && !stops.iter().zip(going).any(stayed) {
            return Ok(stops);
        }
        let what = format!("{stops:?} for {} rows of which {going:?} were to move", self.rows);
        Err(self.inner.wrong("step", what))
    }

    fn place(&self, row: usize) -> Result<Tensor> {
        let place = self.inner.call("place", |r| r.place(row))??;
        shaped("a place", &place, &self.shape).map_err(|what| self.inner.wrong("place", what))?;
        Ok(place)
    }

    fn keep(&mut self, rows: &[usize]) -> Result<()> {
        self.inner.call_mut("keep", |r| r.keep(rows))??;
        self.rows = rows.len();
        Ok(())
    }
}
