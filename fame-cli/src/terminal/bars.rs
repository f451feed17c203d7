//! Progress bars for people.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use fame_core::{
    report::escape,
    run::{Event, Observer},
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    layout::{columns, shortened, wrapped},
    pace::Walk,
    preview::Preview,
    story::{Said, Story},
};

/// The columns of the names before the bars: those of stages and explainers.
const NAME: usize = 12;

/// The bars that stand on the terminal now, for whoever else writes there.
static SHOWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

pub(super) struct Bars {
    all: MultiProgress,
    items: ProgressBar,
    steps: ProgressBar,
    story: Story,
    walk: Mutex<Walk>,
}

impl Bars {
    pub(super) fn new(preview: Option<Preview>) -> Self {
        let all = MultiProgress::new();
        // What stands beside the bar has its room first, so no line is longer than the terminal.
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let items = all
            .add(ProgressBar::new(0))
            .with_style(style(&format!("{{prefix:>{NAME}}} {{wide_bar}} {{msg}}")));
        let steps = all.add(ProgressBar::new(0)).with_style(style(&format!(
            "{{prefix:>{NAME}}} {{wide_bar}} {{pos}}/{{len}} steps{{msg}}"
        )));
        *shown() = Some(all.clone());
        Self { all, items, steps, story: Story::new(preview), walk: Mutex::default() }
    }

    fn say(&self, said: &Said) {
        let text = match said {
            Said::Line(line) => wrapped(line, columns()).join("\n"),
            Said::Drawn(lines) => lines.join("\n"),
        };
        // Where the terminal refuses the line, the record still has it.
        let _ = self.all.println(text);
    }

    /// Shows how far the items are.
    fn progress(&self) {
        let Some(pace) = self.story.pace() else { return };
        let (items, ended) = pace.counts();
        self.items.set_length(items as u64);
        self.items.set_position(ended as u64);
        let room = columns().saturating_sub(NAME + 4);
        self.items.set_message(shortened(&pace.at(Instant::now()).to_string(), room).into_owned());
    }
}

/// Writes with `write` while no bars are in the way.
pub(super) fn beside<T>(write: impl FnOnce() -> T) -> T {
    let bars = shown().clone();
    match bars {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// Takes the bars away for good: the program ends, whatever is still at work.
pub(super) fn end() {
    if let Some(bars) = shown().take() {
        let _ = bars.clear();
        bars.set_draw_target(ProgressDrawTarget::hidden());
    }
}

fn shown() -> std::sync::MutexGuard<'static, Option<MultiProgress>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.story.end().iter().for_each(|said| self.say(said));
        self.steps.finish_and_clear();
        self.items.finish_and_clear();
        *shown() = None;
    }
}

impl Observer for Bars {
    fn event(&self, event: &Event<'_>) {
        self.story.tell(event).iter().for_each(|said| self.say(said));
        match event {
            Event::Stage(stage) => self.items.set_prefix((*stage).to_owned()),
            Event::Items(_) => self.progress(),
            Event::Steps { explainer, done, total } => {
                let name = escape::terminal_line(explainer);
                self.steps.set_prefix(shortened(&name, NAME).into_owned());
                self.steps.set_length(*total as u64);
                self.steps.set_position(*done as u64);
                let mut walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
                self.steps.set_message(walk.left(explainer, (*done, *total), Instant::now()));
                self.progress();
            }
            Event::Item { .. } => {
                self.progress();
                self.steps.reset();
            }
            _ => {}
        }
    }
}
