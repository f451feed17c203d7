//! Guards of [`Check`] and [`LoadedCheck`].

use super::{Guard, Guarded, Who};
use crate::{
    Explanation, Model, Result, Sample,
    contract::{Check, Finding, LoadedCheck},
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
