//! One item: its line on the sheet, and the view that opens from it.

use maud::{Markup, html};
use serde_json::Value;

use super::{
    claims,
    curve::curve,
    figures::{self, Photograph},
    folder::{ItemFolder, MapRecord, Method, entries, list, text},
    pictures::Embedded,
    show,
    tables::Decision,
};

/// An item, with all that its line and its view are made of.
pub(super) struct View<'a> {
    /// Its place in the page.
    pub(super) n: usize,
    pub(super) about: &'a ItemFolder<'a>,
    pub(super) embedded: &'a Embedded,
    pub(super) methods: &'a [Method],
}

/// How many maps of one explainer the sheet shows.
const MOST_MAPS: usize = 4;

/// The facts of a map that the view tells in words; the others stand in its list of all facts.
const TOLD: [&str; 11] = [
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
    "map_shape",
];

impl View<'_> {
    /// The maps of `explainer`.
    fn maps_of(&self, explainer: &str) -> Vec<MapRecord<'_>> {
        self.about.maps().into_iter().filter(|map| map.explainer == explainer).collect()
    }

    /// What the network answered for the clean pictures, and the number to sort by.
    fn answer(&self) -> Option<(String, f64)> {
        let fact = |name: &str| self.about.first_fact(name);
        if let Some(similarity) = fact("similarity_before").and_then(Value::as_f64) {
            return Some((format!("similarity {similarity:.3}"), similarity));
        }
        let probability = fact("probability_before")?.as_f64()?;
        let class = fact("class_name").or_else(|| fact("class")).map(show::fact);
        Some((format!("{} {}", class.unwrap_or_default(), show::percent(probability)), probability))
    }

    /// The line on the sheet.
    pub(super) fn row(&self, decide: Option<&Decision>) -> Markup {
        let (item, line) = (self.about, self.about.line);
        let answer = self.answer();
        let decision = decide.and_then(|decide| decide.of(item)).unwrap_or_default();
        let warnings = item.warnings().len();
        html! {
            tr data-item=(self.n) data-status=(line.status) data-decision=(decision)
                data-warned[warnings > 0] {
                th scope="row" {
                    a href=(format!("#item-{}", self.n)) { (line.id) }
                    div.thumbs { @for (role, place, size) in self.prepared() {
                        (figures::prepared(role, place, size))
                    } }
                }
                td data-v=[answer.as_ref().map(|(_, v)| *v)] {
                    (answer.as_ref().map_or("–", |(text, _)| text))
                    @if !decision.is_empty() { br; span class="badge" data-decision=(decision) { (decision) } }
                }
                td data-v=(warnings) {
                    @if line.status == "failed" { span.badge.bad { "failed" } }
                    @else if warnings > 0 { span.badge.warn { (show::count(warnings, "warning")) } }
                    @else { span.badge.ok { "ok" } }
                }
                td data-v=[line.seconds] { (line.seconds.map_or_else(|| "kept".to_owned(), show::seconds)) }
                @for method in self.methods { td.maps { (self.thumbs(&method.name)) } }
            }
        }
    }

    /// The maps of one explainer in small.
    fn thumbs(&self, explainer: &str) -> Markup {
        let maps = self.maps_of(explainer);
        let more = maps.len().saturating_sub(MOST_MAPS);
        html! {
            div.thumbs {
                @for map in maps.iter().take(MOST_MAPS) {
                    @if let Some(overlay) = figures::overlay(map, self.embedded) {
                        figure { (overlay) figcaption { (show::words(map.name)) } }
                    } @else { span.quiet { (map.name) } }
                }
                @if maps.is_empty() && !self.about.record.is_null() { span.quiet { "no map" } }
            }
            @if more > 0 { span.quiet { "and " (more) " more" } }
        }
    }

    /// Roles with the places of their prepared pictures, and the pictures' sizes.
    fn prepared(&self) -> Vec<(&str, usize, (f64, f64))> {
        let maps = self.about.maps();
        let size_of = |role: &str| {
            let of_role = maps.iter().find(|map| map.role == role).or_else(|| maps.first());
            of_role.map_or((1.0, 1.0), |map| map.size)
        };
        let roles = self.about.roles().into_iter();
        roles
            .filter_map(|role| Some((role, self.embedded.prepared(role)?, size_of(role))))
            .collect()
    }

    /// The view: everything known about the item.
    pub(super) fn detail(&self, decide: Option<&Decision>) -> Markup {
        let item = self.about;
        let decision = decide.and_then(|decide| decide.of(item));
        html! {
            article {
                h2 tabindex="-1" { (item.line.id) }
                p {
                    @if let Some((answer, _)) = self.answer() { strong { (answer) } " " }
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
                    @for method in self.methods { (self.method(method)) }
                    (self.measured())
                    (self.files())
                }
            }
        }
    }

    fn pictures(&self) -> Markup {
        let item = self.about;
        let prepared = self.prepared();
        html! {
            section {
                h3 { "Pictures" }
                div.pictures { @for role in item.roles() {
                    @let of_role = prepared.iter().find(|(r, ..)| *r == role);
                    @let size = of_role.map_or((1.0, 1.0), |(_, _, size)| *size);
                    @if let Some(photograph) = Photograph::of(item, role, self.embedded) {
                        figure { (photograph.alone(role, size)) figcaption { (role) ": the photograph" } }
                    }
                    @if let Some((_, place, size)) = of_role {
                        figure { (figures::prepared(role, *place, *size)) figcaption { (role) ": what the network saw" } }
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
        let in_cell = |method: &Method, (role, claim): (&str, &str)| {
            self.maps_of(&method.name)
                .into_iter()
                .filter(|m| (m.role, m.claim) == (role, claim))
                .filter_map(|m| Some((m.name.to_owned(), figures::overlay(&m, self.embedded)?)))
                .collect::<Vec<_>>()
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
                                    @for (name, overlay) in in_cell(method, *column) {
                                        figure { (overlay) figcaption { (show::words(&name)) } }
                                    }
                                } } }
                            }
                        } }
                    }
                }
            }
        }
    }

    fn method(&self, method: &Method) -> Markup {
        let about = &self.about.record["explanations"][&method.name];
        let maps = self.maps_of(&method.name);
        let shown = |(name, _): &(&str, &Value)| *name != "maps" && *name != "warnings";
        html! {
            section.method {
                h3 { (method.name) " " span.quiet { (method.plugin) } }
                p.claim { (claims::of(&method.plugin)) }
                @for warning in list(&about["warnings"]) { p.note.warn { (text(warning)) } }
                @for (name, found) in entries(about) { (checked(name, found)) }
                div.maps-of { @for map in &maps { (self.map(map)) } }
                @if maps.is_empty() { p.quiet { "No map." } }
                (facts("Layers, loss and parameters of this explanation", entries(about).filter(shown)))
            }
        }
    }

    fn map(&self, map: &MapRecord<'_>) -> Markup {
        let photograph = Photograph::of(self.about, map.role, self.embedded);
        let number = |name: &str| map.about[name].as_f64();
        let others = entries(map.about).filter(|(name, _)| !TOLD.contains(name));
        html! {
            div.map {
                h4 { (map.name) }
                (figures::all(map, photograph.as_ref(), self.embedded))
                div.beside {
                dl.facts {
                    @if let (Some(before), Some(after)) = (number("loss_before"), number("loss_after")) {
                        dt { "loss" } dd { (show::number(before)) " → " (show::number(after)) }
                    }
                    @if let Some(steps) = number("steps") { dt { "steps" } dd { (show::number(steps)) } }
                    @if let Some(stop) = map.about["stop"].as_str() { dt { "stopped because" } dd { (show::stop(stop)) } }
                }
                (loss_curve(&map.about["loss_curve"], number("steps")))
                }
                (answers(&map.about["top_before"], &map.about["top_after"]))
                (facts("All facts of this map", others))
            }
        }
    }

    fn measured(&self) -> Markup {
        let measured = self.about.measured();
        if measured.is_empty() {
            return html! {};
        }
        let mut curves: Vec<(String, String, Vec<(String, Vec<(f64, f64)>)>)> = Vec::new();
        let mut rows: Vec<[String; 6]> = Vec::new();
        for ([explainer, map, metric, quantity], points) in &measured {
            let on_axis: Vec<(f64, f64)> =
                points.iter().filter_map(|(p, v)| Some((p["value"].as_f64()?, *v))).collect();
            if on_axis.len() > 2 {
                let title = format!("{metric}: {quantity}");
                let line = (format!("{explainer} {map}"), on_axis);
                match curves.iter_mut().find(|(known, ..)| *known == title) {
                    Some((_, _, lines)) => lines.push(line),
                    None => {
                        let axis = &points[0].0;
                        let x = format!("{} ({})", text(&axis["axis"]), text(&axis["unit"]));
                        curves.push((title, x, vec![line]));
                    }
                }
                continue;
            }
            rows.extend(points.iter().map(|(parameter, value)| {
                let at = if parameter["value"].is_null() {
                    text(parameter).to_owned()
                } else {
                    format!("{}={}", text(&parameter["axis"]), show::fact(&parameter["value"]))
                };
                let names = [explainer, map, metric, quantity].map(|name| (*name).to_owned());
                let [explainer, map, metric, quantity] = names;
                [explainer, map, metric, quantity, at, show::number(*value)]
            }));
        }
        html! {
            section {
                h3 { "What was measured" }
                div.curves { @for (title, x, lines) in &curves { (curve(title, x, lines)) } }
                @if !rows.is_empty() {
                    div.wide tabindex="0" role="region" aria-label="What was measured" { table.sortable {
                        thead { tr { @for name in ["explainer", "map", "metric", "quantity", "parameter", "value"] {
                            th scope="col" { (name) }
                        } } }
                        tbody { @for row in &rows { tr { @for cell in row { td { (cell) } } } } }
                    } }
                }
            }
        }
    }

    fn files(&self) -> Markup {
        let item = self.about;
        let shown = entries(&item.record["files"]).map(|(name, about)| (name, &about["sha256"]));
        html! {
            section {
                h3 { "Record" }
                (facts("What the data say of it", entries(&item.record["facts"])))
                (facts(&format!("Files in items/{}, with SHA-256", item.line.id), shown))
            }
        }
    }
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
