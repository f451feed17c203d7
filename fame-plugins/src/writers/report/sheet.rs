//! The sheet: a line for each item, a column for each method; and the items' views.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use super::{figures, folder::Method, item::View, tables::Decision};

/// The lines and views of all items, as HTML. A view stands in a script element of a type that no
/// browser runs, so that it is text until the item is shown: thousands of items open as fast as
/// ten. No name in it can end that element, for every `<` of a name is written `&lt;`.
#[derive(Default)]
pub(super) struct Body {
    rows: String,
    views: String,
    /// Bytes of the pictures in the views.
    pictures: usize,
    /// Items by what became of them.
    pub(super) decisions: std::collections::BTreeMap<&'static str, usize>,
    /// Warnings with the items that they are about: ids, and places in the page.
    pub(super) warnings: std::collections::BTreeMap<String, Vec<(usize, String)>>,
    /// Items whose pictures were reduced below the asked side, or left out.
    pub(super) reduced: usize,
}

impl Body {
    /// Adds an item.
    pub(super) fn add(&mut self, view: &View<'_>, decide: Option<&Decision>) {
        if let Some(decision) = decide.and_then(|decide| decide.of(view.about)) {
            *self.decisions.entry(decision).or_default() += 1;
        }
        for warning in view.about.warnings() {
            let about = (view.n, view.about.line.id.clone());
            self.warnings.entry(warning).or_default().push(about);
        }
        self.rows.push_str(&view.row(decide).into_string());
        let shown = view.detail(decide).into_string();
        let data = figures::data(view);
        self.pictures += view.embedded.addresses.iter().map(String::len).sum::<usize>();
        let _ = write!(
            self.views,
            "<script type=\"text/html\" id=\"view-{0}\">{shown}</script>\n\
             <script type=\"application/json\" id=\"figures-{0}\">{data}</script>\n",
            view.n,
        );
    }

    /// Bytes of all lines and views, without their pictures.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() + self.views.len() - self.pictures
    }

    /// The table, with what chooses its lines.
    pub(super) fn sheet(&self, methods: &[Method]) -> Markup {
        html! {
            section #sheet aria-labelledby="sheet-title" {
                h2 #sheet-title { "Items and methods" }
                div.controls {
                    label { "Find " input #find type="search" placeholder="name or answer" autocomplete="off"; }
                    label { "Show " select #choose {
                        option value="" { "all items" }
                        option value="warned" { "with warnings" }
                        option value="failed" { "failed" }
                        @for (decision, count) in &self.decisions {
                            option value=(decision) { (decision) "s (" (count) ")" }
                        }
                    } }
                    label { "Items per page " select #per-page {
                        @for n in [10, 25, 50, 100] { option value=(n) selected[n == 25] { (n) } }
                    } }
                    span.pages {
                        button #previous type="button" { "Previous page" }
                        output #where aria-live="polite" {}
                        button #next type="button" { "Next page" }
                    }
                }
                div.wide tabindex="0" role="region" aria-label="Table of items" {
                    table #items .sortable {
                        thead { tr {
                            @for name in ["item", "answer", "state", "time"] { th scope="col" { (name) } }
                            @for method in methods { th scope="col" data-fixed { (method.name) } }
                        } }
                        tbody { (PreEscaped(&self.rows)) }
                    }
                }
            }
        }
    }

    /// The views of all items.
    pub(super) fn views(&self) -> Markup {
        PreEscaped(self.views.clone())
    }
}
