//! One item: its line on the sheet, and the view that opens from it.

use std::cell::RefCell;

use maud::{Markup, html};
use serde_json::Value;

use super::{
    claims,
    curve::curve,
    figures,
    folder::{ItemFolder, MapRecord, Method, entries, list, text},
    measured::Measured,
    pictures::Embedded,
    same::Same,
    show,
    tables::Decision,
};
use crate::writers::thumbnail::Answer;

/// An item, with all that its line and its view are made of.
pub(super) struct View<'a> {
    /// Its place in the page.
    pub(super) n: usize,
    pub(super) about: &'a ItemFolder<'a>,
    pub(super) embedded: &'a Embedded,
    pub(super) methods: &'a [Method],
    /// What the network answered.
    pub(super) answers: &'a [Answer],
    /// What several items have alike.
    pub(super) same: &'a RefCell<Same>,
}

/// The facts of a map that the view tells in words; the others stand in its list of all facts.
const TOLD: [&str; 12] = [
    "name",
    "role",
    "claim",
    "loss_before",
    "loss_after",
    "steps",
    "stop",
    "loss_curve",
    "top_before",
    "top_after",
    "candidates",
    "map_shape",
];

impl View<'_> {
    /// The line on the sheet.
    pub(super) fn row(&self, decide: Option<&Decision>) -> Markup {
        let (item, line) = (self.about, self.about.line);
        let decision = decide.and_then(|decide| decide.of(item)).unwrap_or_default();
        let warnings = item.warnings().len();
        html! {
            tr data-item=(self.n) data-status=(line.status) data-decision=(decision)
                data-warned[warnings > 0] {
                th scope="row" {
                    a href=(format!("#item-{}", self.n)) { (line.id) }
                    div.thumbs { @for (n, role) in item.roles().iter().enumerate() {
                        @if self.embedded.prepared(role).is_some() { (figures::picture("prepared", n)) }
                    } }
                }
                td.answer data-v=[self.answers.first().map(|answer| answer.value)] {
                    (in_words(self.answers))
                    @if !decision.is_empty() { br; span class="badge" data-decision=(decision) { (decision) } }
                }
                td data-v=(warnings) {
                    @if line.status == "failed" { span.badge.bad { "failed" } }
                    @else if warnings > 0 { span.badge.warn { (show::count(warnings, "warning")) } }
                    @else { span.badge.ok { "ok" } }
                }
                td data-v=[line.seconds] { (line.seconds.map_or_else(|| "kept".to_owned(), show::seconds)) }
            }
        }
    }

    /// The view: everything known about the item.
    pub(super) fn detail(&self, decide: Option<&Decision>) -> Markup {
        let item = self.about;
        let decision = decide.and_then(|decide| decide.of(item));
        html! {
            article {
                h2 tabindex="-1" { (item.line.id) }
                p {
                    @if !self.answers.is_empty() { strong { (in_words(self.answers)) } " " }
                    @if let Some(decision) = decision { span.badge data-decision=(decision) { (decision) } " " }
                    @for (name, value) in entries(&item.record["marks"]) {
                        span.mark { (show::words(name)) ": " (show::fact(value)) } " "
                    }
                    @if !item.record["label"].is_null() { span.mark { "label: " (show::fact(&item.record["label"])) } }
                }
                (failure(item.line.error.as_ref()))
                @for warning in item.warnings() { p.note.warn { (warning) } }
                @if self.embedded.left_out {
                    p.note { "The pictures of this item did not fit into its share of the page; they are in its folder, items/" (item.line.id) "." }
                }
                @if !item.record.is_null() {
                    (self.pictures())
                    (self.matrix())
                    @for (n, method) in self.methods.iter().enumerate() { (self.method(n, method)) }
                    (self.measured())
                    (self.files())
                }
            }
        }
    }

    fn pictures(&self) -> Markup {
        let item = self.about;
        html! {
            section {
                h3 { "Pictures" }
                div.pictures { @for (n, role) in item.roles().into_iter().enumerate() {
                    @if figures::has_photograph(item, role, self.embedded) {
                        figure { (figures::picture("photograph", n)) figcaption { (role) ": the photograph" } }
                    }
                    @if self.embedded.prepared(role).is_some() {
                        figure { (figures::picture("prepared", n)) figcaption { (role) ": what the network saw" } }
                    } @else { p.quiet { "The prepared picture of “" (role) "” was not kept: Picture() or Report() under `write` keeps it." } }
                } }
                @for role in item.roles() {
                    (facts(&format!("How “{role}” was made"), entries(&item.record["pictures"][role])))
                }
            }
        }
    }

    /// Methods beside one another: a column for each picture and claim.
    fn matrix(&self) -> Markup {
        let maps = self.about.maps();
        let mut columns: Vec<(&str, &str)> = maps.iter().map(|m| (m.role, m.claim)).collect();
        columns.sort_by_key(|(role, claim)| (*role, order(claim)));
        columns.dedup();
        if maps.len() < 2 {
            return html! {};
        }
        let is_there = |map: &MapRecord<'_>| {
            self.embedded.map(map).is_some() || self.embedded.coloured(map).is_some()
        };
        html! {
            section {
                h3 { "Methods side by side" }
                div.wide tabindex="0" role="region" aria-label="Methods side by side" {
                    table.matrix {
                        thead { tr {
                            th scope="col" { "method" }
                            @for (role, claim) in &columns { th scope="col" { (role) br; span.quiet { (show::claim(claim)) } } }
                        } }
                        tbody { @for method in self.methods {
                            tr {
                                th scope="row" { (method.name) }
                                @for column in &columns { td { div.thumbs {
                                    @for (n, map) in maps_of(&maps, &method.name) {
                                        @if (map.role, map.claim) == *column && is_there(map) {
                                            figure { (figures::map("overlay", n)) figcaption { (show::words(map.name)) } }
                                        }
                                    }
                                } } }
                            }
                        } }
                    }
                }
            }
        }
    }

    fn method(&self, n: usize, method: &Method) -> Markup {
        let about = &self.about.record["explanations"][&method.name];
        let (maps, claim) = (self.about.maps(), claims::of(&method.plugin));
        let shown = |(name, _): &(&str, &Value)| *name != "maps" && *name != "warnings";
        let of_method: Vec<_> = maps_of(&maps, &method.name).collect();
        html! {
            section.method {
                h3 { (method.name) " " span.quiet { (method.plugin) } }
                p.claim data-same=(self.same.borrow_mut().place(&html! { (claim) }.0)) {}
                @for warning in list(&about["warnings"]) { p.note.warn { (text(warning)) } }
                @for (name, found) in entries(about) { (checked(name, found)) }
                div.maps-of { @for map in &of_method { (self.map(*map)) } }
                @if of_method.is_empty() { p.quiet { "No map." } }
                (self.same_for_many(&facts("Layers and loss of this explanation", entries(about).filter(shown))))
                p.quiet { a href=(format!("#method-{n}")) { "Every parameter of " (method.name) } }
            }
        }
    }

    fn map(&self, (n, map): (usize, &MapRecord<'_>)) -> Markup {
        let number = |name: &str| map.about[name].as_f64();
        let others = entries(map.about).filter(|(name, _)| !TOLD.contains(name));
        // Where all maps explain one answer it stands above them all.
        let answer = map.answer().filter(|_| self.answers.len() > 1);
        html! {
            div.map {
                h4 { (show::words(map.name))
                    @if let Some(answer) = &answer { " " span.quiet { bdi { (answer.text) } } }
                }
                (figures::all(self.about, (n, map), self.embedded))
                div.beside {
                    @if !map.about["steps"].is_null() { dl.facts {
                        @if let (Some(before), Some(after)) = (number("loss_before"), number("loss_after")) {
                            dt { "loss" } dd { (show::number(before)) " → " (show::number(after)) }
                        }
                        @if let Some(steps) = number("steps") { dt { "steps" } dd { (show::number(steps)) } }
                        @if let Some(stop) = map.about["stop"].as_str() { dt { "stopped because" } dd { (show::stop(stop)) } }
                    } }
                    (loss_curve(&map.about["loss_curve"], number("steps")))
                }
                // Methods that were asked the same share their answers.
                (self.same_for_many(&answers(&map.about["top_before"], &map.about["top_after"])))
                (self.same_for_many(&candidates(map.about)))
                (self.same_for_many(&facts("All facts of this map", others)))
            }
        }
    }

    /// `part`, which other items or methods have as well: in the page once, and put in by its
    /// place.
    fn same_for_many(&self, part: &Markup) -> Markup {
        html! { @if !part.0.is_empty() {
            div data-same=(self.same.borrow_mut().place(&part.0)) {}
        } }
    }

    fn measured(&self) -> Markup {
        let measured = Measured::of(self.about);
        html! { @if !measured.is_empty() {
            section {
                h3 { "What was measured" }
                (measured.show())
            }
        } }
    }

    fn files(&self) -> Markup {
        let item = self.about;
        let files = entries(&item.record["files"]).count();
        html! {
            section {
                h3 { "Record" }
                (facts("What the data say of it", entries(&item.record["facts"])))
                p.quiet { "The folder items/" (item.line.id) " holds " (show::count(files, "file"))
                    "; item.json there has the size and SHA-256 of each, and everything above." }
            }
        }
    }
}

/// What the network answered, each answer of its own direction: a Hebrew or Arabic name must not
/// turn what stands beside it.
fn in_words(answers: &[Answer]) -> Markup {
    html! {
        @for (n, answer) in answers.iter().enumerate() { @if n > 0 { ", " } bdi { (answer.text) } }
        @if answers.is_empty() { "–" }
    }
}

/// The maps of `explainer`, with their places among all of the item's.
fn maps_of<'m>(
    maps: &'m [MapRecord<'m>],
    explainer: &'m str,
) -> impl Iterator<Item = (usize, &'m MapRecord<'m>)> {
    maps.iter().enumerate().filter(move |(_, map)| map.explainer == explainer)
}

/// Evidence for before evidence against, and the rest behind.
fn order(claim: &str) -> usize {
    ["for", "against", "both", "neither"].iter().position(|c| *c == claim).unwrap_or(4)
}

/// An error of the record, with its way out.
pub(super) fn failure(error: Option<&Value>) -> Markup {
    html! { @if let Some(error) = error {
        p.note.bad {
            strong { (text(&error["message"])) } " "
            @if let Some(help) = error["help"].as_str() { (help) " " }
            code { (text(&error["code"])) }
        }
    } }
}

/// What the recipe's check found, if that is what stands under `name`: it has a verdict.
fn checked(name: &str, found: &Value) -> Markup {
    html! { @if let Some(verdict) = found["verdict"].as_str() {
        p { (show::words(name)) ": " strong { (verdict) }
            ", largest difference " (show::fact(&found["difference"])) }
    } }
}

/// The loss along the walk.
fn loss_curve(about: &Value, steps: Option<f64>) -> Markup {
    let values: Vec<f64> = list(&about["values"]).iter().filter_map(Value::as_f64).collect();
    let every = about["every"].as_f64().unwrap_or(1.0);
    let last = steps.unwrap_or(f64::INFINITY);
    let at = |n: usize| (n as f64 * every).min(last);
    let points = values.iter().enumerate().map(|(n, loss)| (at(n), *loss)).collect();
    curve("Loss along the walk", "steps", &[("loss".to_owned(), points)])
}

/// The first classes before the walk, and after it.
fn answers(before: &Value, after: &Value) -> Markup {
    let column = |title: &str, classes: &Value| {
        html! { @if !classes.is_null() {
            table.answers {
                caption { (title) }
                tbody { @for class in list(classes) {
                    tr {
                        td { (show::fact(&class["class"])) }
                        td { (text(&class["name"])) }
                        td { (class["probability"].as_f64().map_or_else(String::new, show::percent)) }
                    }
                } }
            }
        } }
    };
    html! { div.beside {
        (column("Answers to the clean picture", before))
        (column("Answers after the walk", after))
    } }
}

/// The nearest of a gallery that was searched, the first candidate first.
fn candidates(map: &Value) -> Markup {
    let nearest = list(&map["candidates"]);
    html! { @if !nearest.is_empty() {
        table.answers {
            caption { "The nearest of the gallery"
                @if let Some(size) = map["gallery_size"].as_u64() { ", which has " (size) } }
            tbody { @for (n, candidate) in nearest.iter().enumerate() {
                tr {
                    td { (n + 1) }
                    td { (text(&candidate["name"])) }
                    td { (candidate["s"].as_f64().map_or_else(String::new, |s| format!("{s:.3}"))) }
                }
            } }
        }
    } }
}

/// Named facts, folded away.
pub(super) fn facts<'a>(title: &str, of: impl Iterator<Item = (&'a str, &'a Value)>) -> Markup {
    let of: Vec<(&str, &Value)> = of.collect();
    html! { @if !of.is_empty() {
        details {
            summary { (title) }
            dl.facts { @for (name, value) in of { dt { (show::words(name)) } dd { (show::fact(value)) } } }
        }
    } }
}
