//! Conformance of rows on a device: they go where the walk on the host goes.

use super::{Check, fail, relative};
use crate::{
    Error, GradientPlace, LayerCotangent, Random, Result, Taps, Tensor,
    contract::{DeviceRows, Network, Pass, PlainStep, StepRule, Stop},
};

/// The mean distance of places on the device and on the host, in units of a move's largest
/// component. Both see the same gradients up to rounding, and add a few moves to values of about 1.
/// The mean, for where a gradient is nearly 0 its sign may be rounding's. A forgotten division, a
/// wrong rule or a bound that is not kept is off by a tenth and more.
pub const DEVICE_TOLERANCE: f32 = 1e-3;

/// Rows at once: less than there are, so that some enter as others leave.
const WIDTH: usize = 3;
/// How many steps each row takes.
const LENGTHS: [usize; 5] = [3, 1, 4, 2, 3];
/// The row that does not go on at its second step, and goes on at its third.
const HELD: usize = 0;
/// The row whose cotangent is NaN at its second step.
const BROKEN: usize = 2;
/// The row whose cotangent is 0 at its second step.
const STILL: usize = 3;
/// The largest component of a move where the rule says nothing else.
const SIZE: f32 = 0.05;

/// Rows that are walked on the host, by the passes of any network: what [`DeviceRows`] means.
pub struct HostRows<'n> {
    network: &'n dyn Network,
    step: PlainStep,
    layers: Vec<String>,
    places: Vec<Tensor>,
    pass: Option<Box<dyn Pass + 'n>>,
}

impl<'n> HostRows<'n> {
    /// No rows yet.
    pub fn new(network: &'n dyn Network, step: &PlainStep, layers: &[String]) -> Self {
        let (step, layers) = (step.clone(), layers.to_vec());
        Self { network, step, layers, places: Vec::new(), pass: None }
    }
}

impl DeviceRows for HostRows<'_> {
    fn enter(&mut self, places: &Tensor) -> Result<()> {
        if places.row_shape() != self.network.input_shape() {
            return Err(Error::bug(format!("a place has the shape {:?}.", places.row_shape())));
        }
        self.places.extend((0..places.rows()).map(|n| places.row_tensor(n)));
        self.pass = None;
        Ok(())
    }

    fn forward(&mut self, to_step: bool) -> Result<Vec<Tensor>> {
        self.pass = None;
        let images: Vec<Tensor> = self.places.iter().map(|p| self.step.image(p)).collect();
        let mut taps = Taps::of(self.layers.iter().cloned());
        if to_step {
            taps = taps.with_gradient(GradientPlace::Input);
        }
        let pass = self.network.forward(&Tensor::stack(&images)?, &taps)?;
        let outputs = self.layers.iter().map(|layer| pass.output(layer)).collect::<Result<_>>()?;
        self.pass = Some(pass);
        Ok(outputs)
    }

    fn step(&mut self, cotangents: &[LayerCotangent], going: &[bool]) -> Result<Vec<Option<Stop>>> {
        let pass = self.pass.take().ok_or_else(|| Error::bug("a step without a forward pass."))?;
        let gradient = pass.gradient(cotangents)?.swap_remove(0);
        let mut step = |(n, goes): (usize, &bool)| {
            let place = &mut self.places[n];
            if *goes { self.step.take(place, &gradient.row_tensor(n)) } else { Ok(None) }
        };
        going.iter().enumerate().map(&mut step).collect()
    }

    fn place(&self, row: usize) -> Result<Tensor> {
        self.places.get(row).cloned().ok_or_else(|| Error::bug(format!("there is no row {row}.")))
    }

    fn keep(&mut self, rows: &[usize]) -> Result<()> {
        self.places = rows.iter().map(|row| self.place(*row)).collect::<Result<_>>()?;
        self.pass = None;
        Ok(())
    }
}

/// Measures whether the rows that `network` walks on its device, if it does, go where
/// [`HostRows`] go: for every rule, in pixels and in the network's input, with bounds and without;
/// as rows of different lengths leave and others take their places; held, with a gradient that is
/// NaN, and with one that is 0. Losses are half the squared distance of `layer` from random values.
/// No checks for a network that does not.
///
/// # Errors
/// One sentence about the first promise that is broken.
pub fn check_device_rows(network: &dyn Network, layer: &str) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let &[channels, _, _] = network.input_shape() else { return Ok(checks) };
    for rule in [StepRule::Largest, StepRule::Sign, StepRule::Length] {
        for in_pixels in [true, false] {
            for bounded in [false, true] {
                let step = step(rule, channels, network, in_pixels, bounded);
                let layers = [layer.to_owned()];
                let Some(mut device) = network.device_rows(&step, &layers)? else {
                    return Ok(checks);
                };
                refusals(device.as_mut(), network)?;
                let there = walked(device.as_mut(), network, layer)?;
                let here = walked(&mut HostRows::new(network, &step, &layers), network, layer)?;
                let space = if in_pixels { "pixels" } else { "the input" };
                let bound = if bounded { "bounded" } else { "unbounded" };
                checks.push(compare(&format!("{rule:?} in {space}, {bound}"), &there, &here)?);
            }
        }
    }
    Ok(checks)
}

/// A step whose largest component is about [`SIZE`].
fn step(
    rule: StepRule,
    channels: usize,
    network: &dyn Network,
    in_pixels: bool,
    bounded: bool,
) -> PlainStep {
    let values: usize = network.input_shape().iter().product();
    let size = if rule == StepRule::Length { SIZE * (values as f32).sqrt() } else { SIZE };
    let of = |first: f32, step: f32| (0..channels).map(|c| first + step * c as f32).collect();
    let (mean, std) =
        if in_pixels { (of(0.4, 0.1), of(0.5, 0.125)) } else { (of(0.0, 0.0), of(1.0, 0.0)) };
    let bounds = bounded.then(|| (0..channels).map(|c| [0.01 * c as f32, 1.0]).collect());
    PlainStep { rule, size, mean, std, bounds }
}

/// What was seen of one row: the layer's values and the place before each step, and at the end why
/// it did not move, if so.
#[derive(Default)]
struct Seen {
    outputs: Vec<Tensor>,
    places: Vec<Tensor>,
    stop: Option<Stop>,
}

/// Walks [`LENGTHS`].
fn walked(rows: &mut dyn DeviceRows, network: &dyn Network, layer: &str) -> Result<Vec<Seen>> {
    let mut seen: Vec<Seen> = LENGTHS.map(|_| Seen::default()).into();
    let (mut waiting, mut active) = (0..LENGTHS.len(), Vec::new());
    loop {
        let entering: Vec<usize> = waiting.by_ref().take(WIDTH - active.len()).collect();
        if !entering.is_empty() {
            let places: Vec<Tensor> = entering.iter().map(|n| start(network, *n)).collect();
            rows.enter(&Tensor::stack(&places)?)?;
            active.extend(entering);
        }
        if active.is_empty() {
            return Ok(seen);
        }
        let outputs = rows.forward(true)?;
        let [output] = outputs.as_slice() else {
            return Err(fail(format!("one layer was asked for, and {} came.", outputs.len())));
        };
        let mut cotangent = output.clone();
        for (row, n) in active.iter().enumerate() {
            let at = seen[*n].places.len();
            seen[*n].outputs.push(output.row_tensor(row));
            seen[*n].places.push(rows.place(row)?);
            let mut target = vec![0.0; cotangent.row(row).len()];
            Random::stream(11, *n).fill_normal(&mut target);
            let pulls = cotangent.row_mut(row).iter_mut().zip(target);
            match (*n, at) {
                (BROKEN, 1) => pulls.for_each(|(c, _)| *c = f32::NAN),
                (STILL, 1) => pulls.for_each(|(c, _)| *c = 0.0),
                _ => pulls.for_each(|(c, t)| *c -= t),
            }
        }
        let step_of = |n: &usize| seen[*n].places.len() - 1;
        let going: Vec<bool> = active.iter().map(|n| (*n, step_of(n)) != (HELD, 1)).collect();
        let seed = LayerCotangent { layer: layer.to_owned(), cotangent };
        let stops = rows.step(&[seed], &going)?;
        let mut kept = Vec::new();
        for (row, (n, stop)) in active.iter().zip(stops).enumerate() {
            let of = &mut seen[*n];
            if stop.is_none() && of.places.len() <= LENGTHS[*n] {
                kept.push(row);
                continue;
            }
            of.places.push(rows.place(row)?);
            of.stop = stop;
        }
        rows.keep(&kept)?;
        active = kept.into_iter().map(|row| active[row]).collect();
    }
}

/// A place with values in 0..1.
fn start(network: &dyn Network, n: usize) -> Tensor {
    let mut place = Tensor::zeros(network.input_shape());
    Random::stream(10, n).fill_normal(place.data_mut());
    place.data_mut().iter_mut().for_each(|x| *x = (0.5 + 0.25 * *x).clamp(0.0, 1.0));
    place
}

fn compare(what: &str, there: &[Seen], here: &[Seen]) -> Result<Check> {
    let mut check = Check::new(&format!("rows on the device: {what}"), DEVICE_TOLERANCE);
    for (n, (there, here)) in there.iter().zip(here).enumerate() {
        if there.stop != here.stop || there.places.len() != here.places.len() {
            return Err(fail(format!(
                "{what}, row {n}: on the device {:?} after {} steps, on the host {:?} after {}.",
                there.stop,
                there.places.len(),
                here.stop,
                here.places.len()
            )));
        }
        for (at, (a, b)) in there.places.iter().zip(&here.places).enumerate() {
            let apart: f32 = a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).sum();
            check.see(apart / b.len() as f32 / SIZE, || format!("{what}, row {n}, look {at}"));
        }
        for (at, (a, b)) in there.outputs.iter().zip(&here.outputs).enumerate() {
            check.see(relative(a.data(), b.data()), || {
                format!("{what}, row {n}, the layer at look {at}")
            });
        }
        let stayed = there.places.windows(2).position(|pair| pair[0] == pair[1]);
        let should = match n {
            HELD | BROKEN | STILL => Some(1),
            _ => None,
        };
        if stayed != should {
            return Err(fail(format!(
                "{what}, row {n} stayed at look {stayed:?} where it should at {should:?}."
            )));
        }
    }
    check.verdict("rows on the device are not where the host's are")
}

/// What no device takes.
fn refusals(rows: &mut dyn DeviceRows, network: &dyn Network) -> Result<()> {
    let mut shape = vec![1];
    shape.extend(network.input_shape());
    shape[1] += 1;
    let refused = [
        ("a place of the wrong shape", rows.enter(&Tensor::zeros(shape)).is_err()),
        ("the place of a row that is not there", rows.place(WIDTH).is_err()),
        ("a step without a forward pass", rows.step(&[], &[]).is_err()),
        ("keeping a row that is not there", rows.keep(&[WIDTH]).is_err()),
    ];
    match refused.iter().find(|(_, refused)| !refused) {
        Some((what, _)) => Err(fail(format!("rows on a device: {what} is not an error."))),
        None => Ok(()),
    }
}

/// A network whose rows are walked on the host, whatever the one inside of it could do: what a
/// device is compared with.
pub struct OnHost(pub Box<dyn Network>);

impl Network for OnHost {
    crate::network_facts!(self => self.0);

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.0.forward(batch, taps)
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        self.0.forward_from(layer, value, batch, taps)
    }
}
