//! The time that an item may take, asked for at every pass through a network.
//!
//! Nothing here interrupts anybody: a pass that has begun is waited for. But an explanation is
//! hundreds of passes, and each of them first asks whether there is time left, whoever makes it,
//! built in or loaded: so a method that hangs in its own loop around the network ends in an error
//! like any other.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Error, ErrorKind, Result, Tensor,
    contract::{DeviceRows, LayerCotangent, Network, Pass, PlainStep, Stop, Taps},
};

/// The time limit of a run's items, and how far those at work are. Its clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    at: Arc<Mutex<At>>,
}

/// The items at work.
#[derive(Debug, Default)]
struct At {
    end: Option<Instant>,
    has_passed: bool,
}

impl Deadline {
    /// A limit for each item, or none.
    pub(super) fn of(limit: Option<Duration>) -> Self {
        Self { limit, at: Arc::default() }
    }

    /// Begins the time of a batch: its items are explained side by side, so none of them took longer
    /// than all.
    pub(super) fn begin(&self) {
        let end = self.limit.and_then(|limit| Instant::now().checked_add(limit));
        *self.lock() = At { end, has_passed: false };
    }

    /// Refuses to go on when the time is over.
    ///
    /// # Errors
    /// `fame::run::item_timeout`.
    pub(super) fn check(&self) -> Result<()> {
        if self.limit.is_none() {
            return Ok(());
        }
        let mut at = self.lock();
        at.has_passed |= at.end.is_some_and(|end| Instant::now() >= end);
        if at.has_passed { Err(self.error()) } else { Ok(()) }
    }

    /// Whether somebody was refused: then that is why an item failed, whatever became of the error
    /// on its way.
    pub(super) fn has_passed(&self) -> bool {
        self.limit.is_some() && self.lock().has_passed
    }

    /// The error of an item whose time is over.
    pub(super) fn error(&self) -> Error {
        let seconds = self.limit.unwrap_or_default().as_secs_f64();
        let message = format!("the item took longer than {seconds} s.");
        Error::new("fame::run::item_timeout", message)
            .of_kind(ErrorKind::TimedOut)
            .with_help("Give items more time, --item-timeout SECONDS, or ask for less: what is finished of it is kept.")
    }

    /// `network`, which asks this before every pass; itself where there is no limit.
    pub(super) fn watch(&self, network: Box<dyn Network>) -> Box<dyn Network> {
        match self.limit {
            Some(_) => Box::new(Watched { inner: network, deadline: self.clone() }),
            None => network,
        }
    }

    fn lock(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A network whose passes have a time limit.
struct Watched {
    inner: Box<dyn Network>,
    deadline: Deadline,
}

impl Network for Watched {
    crate::network_facts!(self => self.inner);

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.deadline.check()?;
        let inner = self.inner.forward(batch, taps)?;
        Ok(Box::new(WatchedPass { inner, deadline: &self.deadline }))
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        self.deadline.check()?;
        let inner = self.inner.forward_from(layer, value, batch, taps)?;
        Ok(Box::new(WatchedPass { inner, deadline: &self.deadline }))
    }

    fn device_rows<'n>(
        &'n self,
        step: &PlainStep,
        layers: &[String],
    ) -> Result<Option<Box<dyn DeviceRows + 'n>>> {
        let rows = self.inner.device_rows(step, layers)?;
        Ok(rows.map(|inner| Box::new(WatchedRows { inner, deadline: &self.deadline }) as _))
    }
}

/// A pass of a [`Watched`] network.
struct WatchedPass<'n> {
    inner: Box<dyn Pass + 'n>,
    deadline: &'n Deadline,
}

impl Pass for WatchedPass<'_> {
    fn output(&self, layer: &str) -> Result<Tensor> {
        self.inner.output(layer)
    }

    fn gradient(&self, cotangents: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        self.deadline.check()?;
        self.inner.gradient(cotangents)
    }
}

/// Rows on the device of a [`Watched`] network.
struct WatchedRows<'n> {
    inner: Box<dyn DeviceRows + 'n>,
    deadline: &'n Deadline,
}

impl DeviceRows for WatchedRows<'_> {
    fn enter(&mut self, places: &Tensor) -> Result<()> {
        self.inner.enter(places)
    }

    fn forward(&mut self, to_step: bool) -> Result<Vec<Tensor>> {
        self.deadline.check()?;
        self.inner.forward(to_step)
    }

    fn step(&mut self, cotangents: &[LayerCotangent], going: &[bool]) -> Result<Vec<Option<Stop>>> {
        self.deadline.check()?;
        self.inner.step(cotangents, going)
    }

    fn place(&self, row: usize) -> Result<Tensor> {
        self.inner.place(row)
    }

    fn keep(&mut self, rows: &[usize]) -> Result<()> {
        self.inner.keep(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_out_for_one_batch_and_begins_anew_with_the_next() {
        let none = Deadline::default();
        none.begin();
        assert!(none.check().is_ok() && !none.has_passed());
        let short = Deadline::of(Some(Duration::ZERO));
        assert!(short.check().is_ok(), "nothing is at work");
        short.begin();
        assert!(!short.has_passed(), "nobody has asked");
        let error = short.check().unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut);
        assert_eq!(error.message, "the item took longer than 0 s.");
        assert!(short.clone().has_passed());
        short.begin();
        assert!(!short.has_passed());
        let long = Deadline::of(Some(Duration::MAX));
        long.begin();
        assert!(long.check().is_ok());
    }
}
