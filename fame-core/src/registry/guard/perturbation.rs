//! Guards of [`Perturbation`] and [`Walk`].

use super::{Guard, Guarded, Who, finite, shaped};
use crate::{
    Error, Result, Tensor,
    contract::{Perturbation, Start, Stop, Walk},
    data::Facts,
};

impl Guard for dyn Perturbation {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        let inner = Guarded::new(who, inner);
        let max_steps = inner.call("max_steps", Perturbation::max_steps)?;
        Ok(Box::new(GuardedPerturbation { inner, max_steps }))
    }
}

struct GuardedPerturbation {
    inner: Guarded<dyn Perturbation>,
    max_steps: usize,
}

impl Perturbation for GuardedPerturbation {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        let inner = self.inner.call("start", |p| p.start(from))??;
        Ok(Box::new(GuardedWalk {
            inner: Guarded::new(self.inner.who, inner),
            shape: from.pixels.shape().to_vec(),
            fallen: None,
        }))
    }

    fn max_steps(&self) -> usize {
        self.max_steps
    }
}

struct GuardedWalk {
    inner: Guarded<dyn Walk>,
    /// `[C, H, W]`.
    shape: Vec<usize>,
    /// The panic in the middle of a step: where the walk is now, nobody knows.
    fallen: Option<Error>,
}

impl GuardedWalk {
    fn read<R>(
        &self,
        method: &str,
        f: impl FnOnce(&(dyn Walk + 'static)) -> Result<R>,
    ) -> Result<R> {
        self.fallen.clone().map_or(Ok(()), Err)?;
        self.inner.call(method, f)?
    }

    fn change<R>(
        &mut self,
        method: &str,
        f: impl FnOnce(&mut (dyn Walk + 'static)) -> Result<R>,
    ) -> Result<R> {
        self.fallen.clone().map_or(Ok(()), Err)?;
        self.inner.call_mut(method, f).inspect_err(|panic| self.fallen = Some(panic.clone()))?
    }
}

impl Walk for GuardedWalk {
    fn image(&self) -> Result<Tensor> {
        let image = self.read("image", Walk::image)?;
        let checked =
            shaped("a picture", &image, &self.shape).and_then(|()| finite("a picture", &image));
        checked.map_err(|what| self.inner.wrong("image", what))?;
        Ok(image)
    }

    fn observe(&mut self, loss: f32) -> Result<Option<Stop>> {
        self.change("observe", |w| w.observe(loss))
    }

    fn step(&mut self, gradient: &Tensor) -> Result<Option<Stop>> {
        self.change("step", |w| w.step(gradient))
    }

    fn field(&self) -> Result<Tensor> {
        let field = self.read("field", Walk::field)?;
        shaped("a field", &field, &self.shape).map_err(|what| self.inner.wrong("field", what))?;
        Ok(field)
    }

    fn facts(&self) -> Result<Facts> {
        self.read("facts", Walk::facts)
    }
}
