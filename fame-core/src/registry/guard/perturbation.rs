//! Guards of [`Perturbation`] and [`Walk`].

use std::collections::BTreeSet;

use super::{Guard, Guarded, Who, finite, shaped};
use crate::{
    Error, Result, Tensor,
    contract::{Perturbation, Plain, Recorded, Start, Stop, Walk},
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

    fn recorded(&self) -> Result<Vec<Recorded>> {
        let all = self.read("recorded", Walk::recorded)?;
        check_recorded(&all, &self.shape).map_err(|what| self.inner.wrong("recorded", what))?;
        Ok(all)
    }

    fn facts(&self) -> Result<Facts> {
        self.read("facts", Walk::facts)
    }

    fn plain(&self) -> Result<Option<Plain>> {
        let plain = self.read("plain", Walk::plain)?;
        if let Some(Plain { step, place }) = &plain {
            shaped("a place", place, &self.shape)
                .and_then(|()| finite("a place", place))
                .and_then(|()| step.check(place.shape()).map_err(|e| format!("a step: {e}")))
                .map_err(|what| self.inner.wrong("plain", what))?;
        }
        Ok(plain)
    }

    fn arrive(&mut self, place: Tensor) -> Result<()> {
        self.change("arrive", |w| w.arrive(place))
    }
}

/// Recorded fields lie over the picture, with its channels or with one, and are told apart by name.
fn check_recorded(all: &[Recorded], picture: &[usize]) -> std::result::Result<(), String> {
    let mut seen = BTreeSet::new();
    for Recorded { name, values } in all {
        if name.is_empty() || !seen.insert(name) {
            return Err(format!("a field without a name of its own: `{}`", name.escape_debug()));
        }
        let one = [&[1], picture.get(1..).unwrap_or_default()].concat();
        if values.shape() != one {
            shaped(&format!("a field `{}`", name.escape_debug()), values, picture)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_fields_lie_over_the_picture_and_have_names_of_their_own() {
        let field = |name: &str, shape: &[usize]| Recorded {
            name: name.to_owned(),
            values: Tensor::zeros(shape),
        };
        let check = |all: &[Recorded]| check_recorded(all, &[3, 4, 5]).err().unwrap_or_default();
        assert_eq!(check(&[field("mask", &[1, 4, 5]), field("moves", &[3, 4, 5])]), "");
        assert_eq!(
            check(&[field("mask", &[1, 5, 4])]),
            "a field `mask` of shape [1, 5, 4] instead of [3, 4, 5]"
        );
        for twice in ["mask", ""] {
            let all = [field("mask", &[1, 4, 5]), field(twice, &[1, 4, 5])];
            assert!(check(&all).starts_with("a field without a name of its own"), "{twice}");
        }
    }
}
