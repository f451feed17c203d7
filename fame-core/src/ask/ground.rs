//! Where rows live while they are walked: on the host, or where the network computes.
//!
//! The loop is the same on both ([`walk_rows`](super::walk_rows)). On the host every walk holds its
//! own picture and moves it. On a device the pictures lie there, and a walk learns where it is when
//! it is to be read.

use super::Aim;
use crate::{
    Error, Result, Tensor,
    contract::{
        DeviceRows, GradientPlace, LayerCotangent, Network, Pass, PlainStep, Stop, Taps, Walk,
    },
};

/// A place for rows. Its rows are those of the walks that are handed to it, in their order.
pub(super) trait Ground {
    /// Takes in walks at their starts, behind those that are there.
    fn enter(&mut self, walks: &[&dyn Walk]) -> Result<()>;

    /// Runs all rows forward: the outputs of the aimed layers, each `[N, …]`. Without `to_step` no
    /// step follows.
    fn forward(&mut self, walks: &[&dyn Walk], to_step: bool) -> Result<Vec<Tensor>>;

    /// Lets the walk of `row` know where it is.
    fn tell(&self, row: usize, walk: &mut dyn Walk) -> Result<()>;

    /// The picture that the last forward pass saw in `row`, whose walk knows where it is.
    fn image(&self, row: usize, walk: &dyn Walk) -> Result<Tensor>;

    /// Moves the walks whose `stops` are `None`, and fills in why they did not move, if so.
    fn step(
        &mut self,
        cotangents: &[LayerCotangent],
        walks: &mut [&mut Box<dyn Walk>],
        stops: &mut [Option<Stop>],
    ) -> Result<()>;

    /// Lets all rows go but these.
    fn keep(&mut self, rows: &[usize]) -> Result<()>;
}

/// Where `walks` are to be walked: on the network's device if it has one for them, and all of them
/// step alike.
pub(super) fn ground<'a>(
    aim: &'a Aim<'a>,
    walks: &mut dyn Iterator<Item = &dyn Walk>,
) -> Result<Box<dyn Ground + 'a>> {
    let network = aim.model.network.as_ref();
    let device = match common_step(walks)? {
        Some(step) => network.device_rows(&step, &aim.layers)?,
        None => None,
    };
    Ok(match device {
        Some(rows) => Box::new(OnDevice { rows }),
        None => Box::new(OnHost {
            aim,
            network,
            taps: aim.taps().with_gradient(GradientPlace::Input),
            readings: aim.taps(),
            images: Vec::new(),
            pass: None,
        }),
    })
}

/// The one step of all walks.
fn common_step(walks: &mut dyn Iterator<Item = &dyn Walk>) -> Result<Option<PlainStep>> {
    let mut common: Option<PlainStep> = None;
    for walk in walks {
        match (walk.plain()?, &common) {
            (Some(plain), None) => common = Some(plain.step),
            (Some(plain), Some(step)) if plain.step == *step => {}
            _ => return Ok(None),
        }
    }
    Ok(common)
}

/// Every step copies the pictures to the network and the gradients back.
struct OnHost<'a> {
    aim: &'a Aim<'a>,
    network: &'a dyn Network,
    /// For a pass that a step follows.
    taps: Taps,
    /// For one that is only read.
    readings: Taps,
    images: Vec<Tensor>,
    pass: Option<Box<dyn Pass + 'a>>,
}

impl Ground for OnHost<'_> {
    fn enter(&mut self, _: &[&dyn Walk]) -> Result<()> {
        Ok(())
    }

    fn forward(&mut self, walks: &[&dyn Walk], to_step: bool) -> Result<Vec<Tensor>> {
        // Two passes at once would take twice the memory.
        self.pass = None;
        self.images = walks.iter().map(|walk| walk.image()).collect::<Result<_>>()?;
        let taps = if to_step { &self.taps } else { &self.readings };
        let pass = self.network.forward(&Tensor::stack(&self.images)?, taps)?;
        let outputs = self.aim.read(pass.as_ref())?;
        self.pass = Some(pass);
        Ok(outputs)
    }

    fn tell(&self, _: usize, _: &mut dyn Walk) -> Result<()> {
        Ok(())
    }

    fn image(&self, row: usize, _: &dyn Walk) -> Result<Tensor> {
        self.images.get(row).cloned().ok_or_else(|| Error::bug("a row has no picture."))
    }

    fn step(
        &mut self,
        cotangents: &[LayerCotangent],
        walks: &mut [&mut Box<dyn Walk>],
        stops: &mut [Option<Stop>],
    ) -> Result<()> {
        let pass = self.pass.take().ok_or_else(|| Error::bug("a step without a forward pass."))?;
        let gradient = pass.gradient(cotangents)?.swap_remove(0);
        for (n, (walk, stop)) in walks.iter_mut().zip(stops).enumerate() {
            if stop.is_none() {
                *stop = walk.step(&gradient.row_tensor(n))?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, _: &[usize]) -> Result<()> {
        Ok(())
    }
}

/// Steps are taken where the network is.
struct OnDevice<'a> {
    rows: Box<dyn DeviceRows + 'a>,
}

impl Ground for OnDevice<'_> {
    fn enter(&mut self, walks: &[&dyn Walk]) -> Result<()> {
        let place = |walk: &&dyn Walk| {
            let plain = walk.plain()?.ok_or_else(|| Error::bug("a walk is no longer plain."))?;
            Ok(plain.place)
        };
        let places = walks.iter().map(place).collect::<Result<Vec<_>>>()?;
        self.rows.enter(&Tensor::stack(&places)?)
    }

    fn forward(&mut self, _: &[&dyn Walk], to_step: bool) -> Result<Vec<Tensor>> {
        self.rows.forward(to_step)
    }

    fn tell(&self, row: usize, walk: &mut dyn Walk) -> Result<()> {
        walk.arrive(self.rows.place(row)?)
    }

    fn image(&self, _: usize, walk: &dyn Walk) -> Result<Tensor> {
        walk.image()
    }

    fn step(
        &mut self,
        cotangents: &[LayerCotangent],
        _: &mut [&mut Box<dyn Walk>],
        stops: &mut [Option<Stop>],
    ) -> Result<()> {
        let going: Vec<bool> = stops.iter().map(Option::is_none).collect();
        let answers = self.rows.step(cotangents, &going)?;
        for (stop, answer) in stops.iter_mut().zip(answers) {
            *stop = stop.take().or(answer);
        }
        Ok(())
    }

    fn keep(&mut self, rows: &[usize]) -> Result<()> {
        self.rows.keep(rows)
    }
}
