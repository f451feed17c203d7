//! The head of the page: what was asked, of which model, with what, how long; and what went wrong.

use maud::{Markup, html};
use serde_json::Value;

use super::{
    claims,
    folder::{ItemLine, Method, RunFolder, entries, list, text},
    frame::Page,
    item::{facts, failure},
    show,
};

/// The most items that are named where something went wrong.
const MOST_NAMED: usize = 200;

/// The question: the recipe's first comment, without the command behind it; else the file's name.
pub(super) fn question(run: &RunFolder) -> String {
    let recipe = &run.record["recipe"];
    let comment = text(&recipe["text"]).lines().find_map(|line| line.trim().strip_prefix("//"));
    let sentence = comment.map(|line| line.split("fame-cli run").next().unwrap_or(line));
    let sentence =
        sentence.map(|s| s.trim().trim_end_matches([':', ' '])).filter(|s| !s.is_empty());
    sentence.unwrap_or(text(&recipe["file"])).to_owned()
}

pub(super) fn overview(page: &Page<'_>) -> Markup {
    let record = &page.run.record;
    let (plan, model) = (&record["plan"], &record["model"]);
    let count = |status: &str| page.items.iter().filter(|item| item.status == status).count();
    let methods: Vec<&str> = page.methods.iter().map(|m| m.name.as_str()).collect();
    let seconds = |name: &str| record["timings_seconds"][name].as_f64();
    html! {
        section #overview aria-labelledby="overview-title" {
            h2 #overview-title { "Overview" }
            dl.facts {
                dt { "asked by" } dd { code { (text(&record["recipe"]["file"])) }
                    @for set in list(&record["recipe"]["overrides"]) { " " code { "--set " (text(set)) } } }
                dt { "of the model" } dd { (text(&model["name"])) ", " code { (text(&model["file"])) } }
                dt { "with" } dd { (methods.join(", ")) }
                dt { "run by" } dd { (name_of(&plan["backend"])) ", fame " (text(&record["fame_version"])) }
                dt { "on" } dd { (name_of(&plan["data"])) ": " (show::count(page.items.len(), "item")) }
                @if let Some(selection) = record["selection"].as_object() {
                    dt { "asked for" } dd { (asked_for(&Value::Object(selection.clone()))) }
                }
                dt { "status" } dd {
                    span class=(if text(&record["status"]) == "complete" { "badge ok" } else { "badge bad" }) { (text(&record["status"])) }
                    " " (count("done")) " done, " (count("kept")) " kept, " (count("failed")) " failed"
                }
                dt { "started" } dd { @if let Some(at) = record["started_unix_seconds"].as_i64() {
                    time data-seconds=(at) { (at) " seconds after 1970" }
                } }
                dt { "took" } dd {
                    (seconds("total").map_or_else(|| "–".to_owned(), show::seconds))
                    @if let Some(bytes) = record["peak_memory_bytes"].as_f64() { ", at most " (format!("{:.0}", bytes / 1e6)) " MB of memory" }
                }
                @if !page.body.decisions.is_empty() {
                    dt { "decisions" } dd { @for (decision, n) in &page.body.decisions {
                        span.badge data-decision=(decision) { (decision) ": " (n) } " "
                    } }
                }
            }
            @for assumed in list(&record["assumed"]) { p.note.warn { "Assumed: " (text(assumed)) } }
            @for note in list(&record["data"]["notes"]).iter().chain(list(&model["notes"])) { p.note { (text(note)) } }
            (failure(record.get("error")))
            @if page.left_out > 0 { p.note.warn { (page.left_out) " more items are in the run's folder and not in this page." } }
            @if page.body.reduced > 0 { p.note {
                "The pictures of " (page.body.reduced) " items were reduced below " (page.budget.side)
                " pixels, or left out, so that the page stays small; the run's folder has them whole." } }
            details { summary { "The recipe" } pre tabindex="0" { (text(&record["recipe"]["text"])) } }
            (facts("The model", entries(model)))
            (facts("The plan, every parameter as resolved", entries(plan).filter(|(name, _)| *name != "explain")))
        }
    }
}

/// Which of the data's items a run was asked for, where not for all of them.
fn asked_for(selection: &Value) -> String {
    let mut all = Vec::new();
    if let Some(limit) = selection["limit"].as_u64() {
        all.push(format!(
            "the first {} of the data (--limit)",
            show::count(limit as usize, "item")
        ));
    }
    let only: Vec<&str> = list(&selection["only"]).iter().map(text).collect();
    if !only.is_empty() {
        all.push(format!("{} (--only)", only.join(", ")));
    }
    if let Some(beside) = selection["beside"].as_u64().filter(|beside| *beside > 0) {
        all.push(format!("beside them {beside} that an earlier run has finished"));
    }
    all.join("; ")
}

/// The name of a part of the plan, `{"Name": {parameters}}`.
fn name_of(part: &Value) -> String {
    entries(part).next().map_or_else(String::new, |(name, _)| name.to_owned())
}

/// What failed, and what was warned of: each once, with its items.
pub(super) fn problems(page: &Page<'_>) -> Markup {
    let failed: Vec<(usize, &ItemLine)> =
        page.items.iter().enumerate().filter(|(_, item)| item.status == "failed").collect();
    let warnings = &page.body.warnings;
    let of_run = list(&page.run.record["warnings"]);
    if failed.is_empty() && warnings.is_empty() && of_run.is_empty() {
        return html! {};
    }
    html! {
        section #problems aria-labelledby="problems-title" {
            h2 #problems-title { "What to know first" }
            @for (n, item) in failed.iter().take(MOST_NAMED) {
                h3 { a href=(format!("#item-{n}")) { (item.id) } " failed" }
                (failure(item.error.as_ref()))
            }
            @if failed.len() > MOST_NAMED { p { "and " (failed.len() - MOST_NAMED) " more" } }
            @for warning in of_run { p.note.warn { (text(warning)) } }
            @if !warnings.is_empty() {
                details open[warnings.len() <= 8] {
                    summary { (show::count(warnings.len(), "warning")) }
                    ul { @for (warning, items) in warnings.iter().take(MOST_NAMED) {
                        li { (warning) " " span.quiet {
                            @for (n, id) in items.iter().take(5) { a href=(format!("#item-{n}")) { (id) } " " }
                            @if items.len() > 5 { "and " (items.len() - 5) " more" }
                        } }
                    } }
                }
            }
        }
    }
}

/// The methods: what each shows and does not show, and its parameters.
pub(super) fn methods(methods: &[Method]) -> Markup {
    html! {
        section #methods aria-labelledby="methods-title" {
            h2 #methods-title { "What the methods show" }
            @for (n, method) in methods.iter().enumerate() {
                section.method id=(format!("method-{n}")) tabindex="-1" {
                    h3 { (method.name) " " span.quiet { (method.plugin) } }
                    p.claim { (claims::of(&method.plugin)) }
                    (facts("Parameters as resolved", entries(&method.parameters)))
                }
            }
        }
    }
}
