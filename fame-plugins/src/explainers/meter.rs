//! Sample by sample, with progress over the whole batch.

use fame_core::{
    Explanation, Result, Sample,
    contract::{ExplainContext, Progress},
};

/// Counts units of work within one sample and reports them as part of the batch.
pub(super) struct Meter<'a> {
    progress: &'a dyn Progress,
    sample: usize,
    samples: usize,
    units: usize,
    done: usize,
}

impl Meter<'_> {
    /// This sample will take `units`. The others are taken to need as many.
    pub(super) fn begin(&mut self, units: usize) {
        self.units = units;
        self.done = 0;
        self.tick(0);
    }

    /// `n` more are done.
    pub(super) fn tick(&mut self, n: usize) {
        self.done += n;
        self.progress.advance(self.sample * self.units + self.done, self.samples * self.units);
    }
}

/// Explains one sample after the other: a sample that fails does not take the others with it.
pub(super) fn per_sample(
    with: &ExplainContext<'_>,
    samples: &[Sample],
    mut explain: impl FnMut(&Sample, &mut Meter<'_>) -> Result<Explanation>,
) -> Vec<Result<Explanation>> {
    let meter = |sample| Meter {
        progress: with.progress,
        sample,
        samples: samples.len(),
        units: 0,
        done: 0,
    };
    samples.iter().enumerate().map(|(n, sample)| explain(sample, &mut meter(n))).collect()
}
