//! Progress bars for people.

use fame_core::{
    report::escape,
    run::{Event, ItemStatus, Observer},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

pub(super) struct Bars {
    all: MultiProgress,
    items: ProgressBar,
    steps: ProgressBar,
}

impl Bars {
    pub(super) fn new() -> Self {
        let all = MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let items = all
            .add(ProgressBar::new(0))
            .with_style(style("{prefix:>12} {bar:32} {pos}/{len} items  {msg}"));
        let steps = all
            .add(ProgressBar::new(0))
            .with_style(style("{prefix:>12} {bar:32} {pos}/{len} steps  {eta} left"));
        Self { all, items, steps }
    }

    fn say(&self, line: &str) {
        // Where the terminal refuses the line, the record still has it.
        let _ = self.all.println(escape::terminal_line(line));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.steps.finish_and_clear();
        self.items.finish_and_clear();
    }
}

impl Observer for Bars {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Fetch(p) => {
                if let Some(line) = super::lines::fetch_line(p) {
                    self.say(&line);
                }
            }
            Event::Stage(stage) => self.items.set_prefix((*stage).to_owned()),
            Event::Items(n) => self.items.set_length(*n as u64),
            Event::Steps { explainer, done, total } => {
                self.steps.set_prefix(escape::terminal_line(explainer).into_owned());
                self.steps.set_length(*total as u64);
                self.steps.set_position(*done as u64);
            }
            Event::Item { id, status, line } => {
                let failed = if *status == ItemStatus::Failed { "FAILED: " } else { "" };
                self.say(&format!("{id}: {failed}{line}"));
                self.items.inc(1);
                self.steps.reset();
            }
            Event::Warning(text) => self.say(&format!("warning: {text}")),
        }
    }
}
