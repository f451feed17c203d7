//! Rows that are walked where libtorch computes: pictures stay on the device from the first step to
//! the last.
//!
//! What crosses at a step is as large as the tapped layers, which the loss reads, and their
//! cotangents, and two flags for each row. No graph outlives its step: places are plain tensors,
//! and each forward pass starts from a detached one.

use fame_core::contract::{DeviceRows, NO_GRADIENT, Network, PlainStep, StepRule, Stop};
use fame_core::{Error, GradientPlace, LayerCotangent, Result, Taps, Tensor};
use tch::{Kind, TchError};

use super::failure::failed;
use super::network::TchNetwork;
use super::pass::TchPass;
use super::values::{dims, download, upload};

/// The axes of a row's values.
const ROW: [i64; 3] = [1, 2, 3];

/// A batch of rows on the network's device.
pub(super) struct TchRows<'n> {
    network: &'n TchNetwork,
    step: Step,
    /// For a pass that a step follows.
    taps: Taps,
    /// For one that is only read.
    readings: Taps,
    /// `[N, C, H, W]` in f32, whatever the network computes in; `None` without rows.
    places: Option<tch::Tensor>,
    pass: Option<TchPass>,
}

/// A [`PlainStep`] on the device; what is of a channel has the shape `[1, C, 1, 1]`.
struct Step {
    rule: StepRule,
    size: f64,
    mean: tch::Tensor,
    std: tch::Tensor,
    bounds: Option<[tch::Tensor; 2]>,
}

impl Step {
    fn new(step: &PlainStep, device: tch::Device) -> Result<Self, TchError> {
        let channels = |values: &[f32]| upload(&[1, values.len() as i64, 1, 1], values, device);
        let bound = |bounds: &[[f32; 2]], which: usize| {
            channels(&bounds.iter().map(|pair| pair[which]).collect::<Vec<_>>())
        };
        let bounds = step.bounds.as_deref();
        Ok(Self {
            rule: step.rule,
            size: f64::from(step.size),
            mean: channels(&step.mean)?,
            std: channels(&step.std)?,
            bounds: bounds.map(|b| Ok::<_, TchError>([bound(b, 0)?, bound(b, 1)?])).transpose()?,
        })
    }

    /// What the network sees at `places`.
    fn image(&self, places: &tch::Tensor) -> Result<tch::Tensor, TchError> {
        places.f_sub(&self.mean)?.f_div(&self.std)
    }

    /// The places after the step of those rows that are `going` and can; and for each row whether
    /// its gradient was finite, and whether it pointed anywhere. As [`PlainStep::take`], operation
    /// by operation.
    fn take(
        &self,
        places: &tch::Tensor,
        gradient: &tch::Tensor,
        going: &[bool],
    ) -> Result<(tch::Tensor, Vec<(bool, bool)>), TchError> {
        let finite = gradient.f_isfinite()?.f_all_dims(&ROW[..], true)?;
        let slope = gradient.f_div(&self.std)?;
        let largest = slope.f_abs()?.f_amax(&ROW[..], true)?;
        let directed = largest.f_ge(f64::from(NO_GRADIENT))?;
        let going = tch::Tensor::f_from_slice(going)?
            .f_reshape([going.len() as i64, 1, 1, 1])?
            .f_to_device(places.device())?;
        let scaled = || slope.f_div(&largest);
        let direction = match self.rule {
            StepRule::Largest => scaled()?,
            StepRule::Sign => slope.f_sign()?,
            StepRule::Length => {
                let scaled = scaled()?;
                let squares = scaled.f_to_kind(Kind::Double)?.f_square()?;
                let length = squares.f_sum_dim_intlist(&ROW[..], true, Kind::Double)?.f_sqrt()?;
                scaled.f_div(&length.f_to_kind(Kind::Float)?)?
            }
        };
        let moved = places.f_sub(&direction.f_mul_scalar(self.size)?)?;
        let moved = match &self.bounds {
            Some([low, high]) => moved.f_clamp_tensor(Some(low), Some(high))?,
            None => moved,
        };
        let can = going.f_logical_and(&finite)?.f_logical_and(&directed)?;
        let places = moved.f_where_self(&can, places)?;
        let flags = download(&tch::Tensor::f_stack(&[finite, directed], 0)?)?;
        let (finite, directed) = flags.split_at(flags.len() / 2);
        Ok((places, finite.iter().zip(directed).map(|(f, d)| (*f != 0.0, *d != 0.0)).collect()))
    }
}

impl<'n> TchRows<'n> {
    /// No rows yet.
    pub(super) fn new(
        network: &'n TchNetwork,
        step: &PlainStep,
        layers: &[String],
    ) -> Result<Self> {
        let readings = Taps::of(layers.iter().cloned());
        let step = Step::new(step, network.settings.device).map_err(|e| failed("a walk", &e))?;
        let taps = readings.clone().with_gradient(GradientPlace::Input);
        Ok(Self { network, step, taps, readings, places: None, pass: None })
    }

    fn rows(&self) -> usize {
        self.places.as_ref().and_then(|p| usize::try_from(p.size()[0]).ok()).unwrap_or(0)
    }

    /// The places, of which there must be `row`.
    fn places(&self, row: usize) -> Result<&tch::Tensor> {
        self.places
            .as_ref()
            .filter(|_| row < self.rows())
            .ok_or_else(|| Error::bug(format!("there is no row {row} on the device.")))
    }
}

impl DeviceRows for TchRows<'_> {
    fn enter(&mut self, places: &Tensor) -> Result<()> {
        self.network.check_input(places)?;
        self.pass = None;
        let device = self.network.settings.device;
        let joined =
            upload(&dims(places.shape()), places.data(), device).and_then(|new| {
                match &self.places {
                    Some(there) => tch::Tensor::f_cat(&[there, &new], 0),
                    None => Ok(new),
                }
            });
        self.places = Some(joined.map_err(|e| failed("reading the input", &e))?);
        Ok(())
    }

    fn forward(&mut self, to_step: bool) -> Result<Vec<Tensor>> {
        // Two passes at once would take twice the memory.
        self.pass = None;
        let image = self.step.image(self.places(0)?).map_err(|e| failed("a walk", &e))?;
        let taps = if to_step { &self.taps } else { &self.readings };
        let pass = self.network.forward_on_device(&image, self.rows(), taps)?;
        let layers = &self.readings.layers;
        let outputs = layers.iter().map(|layer| pass.read(layer)).collect::<Result<_>>()?;
        self.pass = Some(pass);
        Ok(outputs)
    }

    fn step(&mut self, cotangents: &[LayerCotangent], going: &[bool]) -> Result<Vec<Option<Stop>>> {
        let pass = self.pass.take().ok_or_else(|| Error::bug("a step without a forward pass."))?;
        let places = self.places(0)?;
        if going.len() != self.rows() || !pass.has_places() {
            return Err(Error::bug(
                "a step of other rows than ran forward, or without taps for it.",
            ));
        }
        let gradient = pass.pull_back(cotangents)?.swap_remove(0);
        drop(pass);
        let gradient = match gradient {
            Some(g) => g.f_to_kind(Kind::Float).and_then(|g| g.f_reshape(places.size())),
            // No gradient arrives: it is zero.
            None => places.f_zeros_like(),
        };
        let (places, flags) = gradient
            .and_then(|g| self.step.take(places, &g.f_contiguous()?, going))
            .map_err(|e| failed("a step", &e))?;
        self.places = Some(places);
        let stop = |(goes, flags): (&bool, (bool, bool))| match flags {
            _ if !goes => None,
            (false, _) => Some(Stop::NotFinite),
            (true, false) => Some(Stop::ZeroGradient),
            (true, true) => None,
        };
        Ok(going.iter().zip(flags).map(stop).collect())
    }

    fn place(&self, row: usize) -> Result<Tensor> {
        let places = self.places(row)?;
        let values = places.f_narrow(0, row as i64, 1).and_then(|place| download(&place));
        Tensor::new(self.network.input_shape(), values.map_err(|e| failed("reading a place", &e))?)
    }

    fn keep(&mut self, rows: &[usize]) -> Result<()> {
        self.pass = None;
        let Some(most) = rows.iter().max() else {
            self.places = None;
            return Ok(());
        };
        let places = self.places(*most)?;
        let rows: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        let kept = tch::Tensor::f_from_slice(&rows)
            .and_then(|rows| places.f_index_select(0, &rows.f_to_device(places.device())?));
        self.places = Some(kept.map_err(|e| failed("keeping rows", &e))?);
        Ok(())
    }
}
