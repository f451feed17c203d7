//! Guard of [`PrepareStep`].

use super::{Guard, Guarded, Who, finite};
use crate::{
    Picture, Result,
    contract::{PrepareContext, PrepareStep},
};

impl Guard for dyn PrepareStep {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        let inner = Guarded::new(who, inner);
        let models = inner.call("models", PrepareStep::models)?;
        Ok(Box::new(GuardedStep { inner, models }))
    }
}

struct GuardedStep {
    inner: Guarded<dyn PrepareStep>,
    models: Vec<String>,
}

impl PrepareStep for GuardedStep {
    fn models(&self) -> Vec<String> {
        self.models.clone()
    }

    fn apply(&self, picture: Picture, with: &PrepareContext<'_>) -> Result<Picture> {
        let prepared = self.inner.call("apply", |s| s.apply(picture, with))??;
        let checked = check_picture(&prepared).and_then(|()| finite("a picture", &prepared.pixels));
        checked.map_err(|what| self.inner.wrong("apply", what))?;
        Ok(prepared)
    }
}

/// A picture's fields are open: a plugin can put in what [`Picture::new`] would have refused.
pub(super) fn check_picture(picture: &Picture) -> std::result::Result<(), String> {
    match picture.pixels.shape() {
        [3, h, w] if *h > 0 && *w > 0 => Ok(()),
        other => Err(format!("a picture of shape {other:?} instead of [3, H, W]")),
    }
}
