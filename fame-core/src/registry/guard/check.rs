//! Guards of [`Check`] and [`LoadedCheck`].

use super::{Guard, Guarded, Who};
use crate::{
    Explanation, Model, Result, Sample,
    contract::{Check, Finding, LoadedCheck},
    data::Value,
};

impl Guard for dyn Check {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        Ok(Box::new(GuardedCheck(Guarded::new(who, inner))))
    }
}

struct GuardedCheck(Guarded<dyn Check>);

impl Check for GuardedCheck {
    fn can_run(&self) -> Result<()> {
        self.0.call("can_run", Check::can_run)?
    }

    fn doubts(&self, backend: &Value) -> Vec<String> {
        // Doubts are remarks for the reader, and a panic is one.
        let doubts = self.0.call("doubts", |c| c.doubts(backend));
        doubts.unwrap_or_else(|e| vec![format!("does not say what it doubts: {e}")])
    }

    fn load<'c>(&'c self, model: &Model) -> Result<Box<dyn LoadedCheck + 'c>> {
        let inner = self.0.call("load", |c| c.load(model))??;
        Ok(Box::new(GuardedLoaded(Guarded::new(self.0.who, inner))))
    }
}

struct GuardedLoaded<'c>(Guarded<dyn LoadedCheck + 'c>);

impl LoadedCheck for GuardedLoaded<'_> {
    fn compare(
        &self,
        model: &Model,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Finding> {
        let finding = self.0.call("compare", |c| c.compare(model, sample, explanation))??;
        // A difference that is no number proves nothing, so it must not pass for agreement.
        let odd = finding.difference.is_nan() && finding.fault.is_none();
        if odd || finding.difference < 0.0 {
            let what = format!("the difference {} as agreement", finding.difference);
            return Err(self.0.wrong("compare", what));
        }
        Ok(finding)
    }
}
