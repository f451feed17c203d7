//! The events of a run, for whoever watches it: stages, items, steps, warnings.
//!
//! Their order is: a stage (`fetch`, with its fetches; `load`; `explain`), the number of items,
//! then for each batch the steps of its explainers, its warnings, and of each of its items what
//! came out and that it ended.
//! Nothing that an observer does can fail a run.

use std::io::Write as _;

use super::ItemStatus;
use crate::{
    contract::{FinishedItem, Progress},
    registry::guard::caught,
    store::FetchEvent,
};

/// A listener that is told what happens during a run; progress bars and logs are listeners.
pub trait Observer: Sync {
    /// Called once per event, from the thread in which it happened.
    fn event(&self, event: &Event<'_>);
}

/// An event of a run.
pub enum Event<'a> {
    /// A model or picture is being fetched.
    Fetch(&'a FetchEvent),
    /// A stage of the run begins.
    Stage(&'a str),
    /// The run has this many items.
    Items(usize),
    /// Steps done, of all steps of the current batch, by the named explainer.
    Steps {
        /// The recipe's name of the explainer.
        explainer: &'a str,
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// An item was explained and its files are written: its pictures and maps, for whoever shows
    /// them. Its [`Event::Item`] follows; an item that is kept has none.
    Finished(&'a FinishedItem<'a>),
    /// An item ended.
    Item {
        /// Its id.
        id: &'a str,
        /// How it ended.
        status: ItemStatus,
        /// One line of what came out, or the error.
        line: &'a str,
    },
    /// A line of information that nobody has to act on.
    Note(&'a str),
    /// A warning that the reader of the results must know.
    Warning(&'a str),
    /// A warning about one item. Many items may have the same one.
    ItemWarning {
        /// The item's id.
        id: &'a str,
        /// The warning, without the id.
        text: &'a str,
    },
}

/// The progress that an explainer reports, passed on to the observer.
pub(super) struct Steps<'a> {
    pub(super) explainer: &'a str,
    pub(super) observer: &'a dyn Observer,
}

impl Progress for Steps<'_> {
    fn advance(&self, done: usize, total: usize) {
        // Plugins call this: no panic of an observer may pass through them, and progress is not
        // worth an item.
        if let Err(panic) =
            caught(|| self.observer.event(&Event::Steps { explainer: self.explainer, done, total }))
        {
            let error = panic.error("fame", "while it showed progress");
            let _ = writeln!(std::io::stderr(), "warning: {error}");
        }
    }
}
