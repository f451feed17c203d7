//! `Report`: a whole run as one page for a browser.
//!
//! ```text
//! write   one item  → items/<id>/report.*  its pictures and maps, reduced
//! gather  the run   → report.html          from run.json, items.jsonl, items/*/item.json, pictures, tables/
//! ```
//!
//! The page follows from the run's folder alone, so `fame-cli report OUT` makes the same one again,
//! and makes one for a run that was not asked for any: then of what the other writers left.

mod budget;
mod claims;
mod curve;
mod figures;
mod folder;
mod frame;
mod item;
mod measured;
mod overview;
mod pictures;
mod same;
mod sheet;
mod show;
mod tables;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    io::Read as _,
    path::{Path, PathBuf},
};

use fame_core::{
    Error, Result,
    contract::{FinishedItem, Writer},
    data::write_whole,
    registry::{Assembly, BuildContext, Plugin},
    run::made_again,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::colour::SAFE;
use budget::Budget;
pub use claims::of as claim;
use folder::RunFolder;

/// The name of the page in a run's folder.
pub const REPORT: &str = "report.html";

/// What stands in every page of ours, by which one is known.
const MARK: &str = "<meta name=\"generator\" content=\"fame";

/// A whole run as one page, `report.html` in the run's folder: what was asked, what went wrong,
/// every method beside every item, and of each item its pictures, maps, curves and numbers. The
/// page needs no network and no other file.
///
/// For it each item keeps, in its own folder, its pictures and maps in the size that the page shows,
/// as `report.….jpg` and `report.….png`. `fame-cli report OUT` makes the page again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Report {
    /// The longest side of an embedded picture or map in pixels; larger ones are reduced.
    pub side: u32,
    /// The most that the pictures of all items take in the page, in megabytes of 1,000,000 bytes.
    /// Every item has the same share; where its pictures need more they are reduced further.
    pub megabytes: u32,
    /// Colours of maps from 0 to 1, as the page opens: `viridis`, `cividis`, `magma`, `inferno`,
    /// `turbo`, `jet` or `gray`. The first four are told apart by colour-blind readers too; the
    /// page offers all of them. Default: those of the first other writer of the recipe that colours
    /// maps, such as `Overlay`, and `viridis` where there is none.
    pub colormap: Option<String>,
    /// The most items that the page has, and fewer where their text would pass 30 megabytes; further
    /// ones are counted.
    pub items: usize,
}

/// Bytes of text about items after which no further one is added: a browser must read it at once.
const MOST_TEXT: usize = 30_000_000;

impl Default for Report {
    fn default() -> Self {
        Self { side: 256, megabytes: 24, colormap: None, items: 5000 }
    }
}

impl Plugin<dyn Writer> for Report {
    const NAME: &'static str = "Report";
    const SUMMARY: &'static str = "The whole run as one page for a browser, report.html";
    const EXAMPLE: &'static str = r#"Report(side: 128, colormap: "cividis")"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let asked = self.colormap.as_deref();
        let is_offered = asked.is_none_or(|name| frame::COLOURS.contains(&name));
        assembly.check("side", (32..=1024).contains(&self.side), "must be between 32 and 1024");
        assembly.check(
            "megabytes",
            (1..=1000).contains(&self.megabytes),
            "must be between 1 and 1000",
        );
        assembly.check("items", self.items > 0, "must be at least 1");
        assembly.check(
            "colormap",
            is_offered,
            &format!("must be one of {}", frame::COLOURS.join(", ")),
        );
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: Report);

impl Writer for Report {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        pictures::leave(item, folder, self.side)
    }

    /// Names its page, so that a later run without this writer removes it; `fame-cli report`, which
    /// makes it anew at any time, notes that in the record.
    fn gather(&self, out: &Path, _: &[PathBuf]) -> Result<Vec<String>> {
        self.page(out).map(|_| vec![REPORT.to_owned()])
    }
}

impl Report {
    /// Makes the page of the finished run in `out` again, with the parameters that the run's recipe
    /// gave, and returns its path.
    ///
    /// # Errors
    /// `fame::report::no_run` when `out` holds no run; `fame::report::foreign` when its
    /// `report.html` is not ours; when a file cannot be read or written.
    pub fn of_run(out: &Path) -> Result<PathBuf> {
        let page = RunFolder::open(out)?.parameters().page(out)?;
        made_again(out, REPORT)?;
        Ok(page)
    }

    /// Writes the page and returns its path.
    fn page(&self, out: &Path) -> Result<PathBuf> {
        let run = RunFolder::open(out)?;
        let place = out.join(REPORT);
        refuse_foreign(&place)?;
        let items = run.items()?;
        let shown = &items[..items.len().min(self.items)];
        let tables = tables::read(out);
        let decide = tables::decision(&tables);
        let budget = Budget::new(self.megabytes, shown.len(), self.side);
        let (methods, same) = (run.methods(), RefCell::default());
        let mut body = sheet::Body::default();
        let mut there = 0;
        for (n, item) in shown.iter().enumerate() {
            let about = run.item(item);
            let embedded = pictures::embed(&about, &budget);
            if embedded.left_out || embedded.side < self.side {
                body.reduced += 1;
            }
            let answers = about.answers();
            let (about, embedded, methods, same) = (&about, &embedded, &methods, &same);
            let answers = answers.as_slice();
            body.add(&item::View { n, about, embedded, methods, answers, same }, decide.as_ref());
            there = n + 1;
            if body.bytes() + same.borrow().bytes() > MOST_TEXT {
                break;
            }
        }
        let left_out = items.len() - there;
        let page = frame::page(&frame::Page {
            run: &run,
            items: &items,
            methods: &methods,
            body: &body,
            same: &same.borrow(),
            tables: &tables,
            left_out,
            budget: &budget,
            colormap: self.colormap.as_deref().or(run.colormap()).unwrap_or(SAFE),
        });
        write_whole(&place, page.as_bytes())?;
        Ok(place)
    }
}

/// Refuses to replace a file that is no page of ours.
fn refuse_foreign(place: &Path) -> Result<()> {
    let mut head = Vec::new();
    // No more than its beginning: whatever lies there may be very large.
    match fame_core::data::open_ordinary(place) {
        Ok(file) => _ = file.take(2000).read_to_end(&mut head),
        Err(e) if e.code == "fame::io::not_a_file" => return Err(e),
        Err(_) => return Ok(()),
    }
    let head = String::from_utf8_lossy(&head);
    if head.contains(MARK) {
        return Ok(());
    }
    let message = format!("`{}` is there, and no run of fame wrote it.", place.display());
    Err(Error::new("fame::report::foreign", message)
        .with_help("Nothing was touched. Move the file away."))
}
