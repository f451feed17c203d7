//! The page around everything: head, colours, controls, script.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fame_core::data::sha256_hex;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::json;

use super::{
    budget::Budget,
    folder::{ItemLine, Method, RunFolder},
    overview,
    same::Same,
    sheet::Body,
    tables::TableFile,
};
use crate::writers::colour::Palette;

/// The colour maps that the page offers.
pub(super) const COLOURS: [&str; 7] =
    ["viridis", "cividis", "magma", "inferno", "turbo", "jet", "gray"];

/// The colours of maps that speak for and against: red for 1, blue for 0, pale between.
const DIVERGING: &str = "rd_bu";

/// Colours of a table that a filter interpolates between: more are not told apart.
const STOPS: u8 = 32;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the page shows.
pub(super) struct Page<'a> {
    pub(super) run: &'a RunFolder,
    pub(super) items: &'a [ItemLine],
    pub(super) methods: &'a [Method],
    pub(super) body: &'a Body,
    pub(super) same: &'a Same,
    pub(super) tables: &'a [TableFile],
    /// Items that are not in the page.
    pub(super) left_out: usize,
    pub(super) budget: &'a Budget,
    pub(super) colormap: &'a str,
}

/// The whole page.
pub(super) fn page(page: &Page<'_>) -> String {
    let title = overview::question(page.run);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="generator" content=(format!("fame {}", env!("CARGO_PKG_VERSION")));
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#sheet" { "Skip to the items" }
                (filters())
                header {
                    h1 { (title) }
                    (controls(page.colormap))
                }
                noscript { p.note { "This page shows its pictures and items by a script of its own, which is switched off here." } }
                main #main {
                    div #whole {
                        (overview::problems(page))
                        (overview::overview(page))
                        (page.body.sheet(page.methods))
                        @if !page.tables.is_empty() {
                            section #tables aria-labelledby="tables-title" {
                                h2 #tables-title { "Measurements" }
                                @for table in page.tables { (table.show(page.methods)) }
                            }
                        }
                        (overview::methods(page.methods))
                    }
                    div #one hidden {
                        nav.controls aria-label="Items" {
                            a href="#sheet" { "All items" }
                            button #before type="button" { "Item before" }
                            button #after type="button" { "Item after" }
                            span.quiet { "Keys: ← and → change the item, Esc goes back" }
                        }
                        div #view {}
                    }
                }
                (page.body.views())
                (page.same.show())
                script #palettes type="application/json" { (PreEscaped(palettes(page.colormap))) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string()
}

/// The only style and script that a browser lets this page use are those written here, whatever a
/// name in it says; and it may load nothing.
fn policy() -> String {
    format!(
        "default-src 'none'; img-src data:; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(SCRIPT)
    )
}

/// The hash by which a policy names a text.
fn digest(text: &str) -> String {
    let hex = sha256_hex(text.as_bytes());
    let byte = |pair: &[u8]| {
        std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    let bytes: Vec<u8> = hex.as_bytes().chunks(2).filter_map(byte).collect();
    format!("sha256-{}", STANDARD.encode(bytes))
}

/// The red, green and blue of a colour map at equal distances, as a filter reads them.
fn stops(name: &str, reversed: bool) -> Option<[String; 3]> {
    let palette = Palette::named(name)?;
    let mut colours: Vec<[u8; 3]> =
        (0..=STOPS).map(|n| palette.at(f32::from(n) / f32::from(STOPS))).collect();
    if reversed {
        colours.reverse();
    }
    let channel = |c: usize| {
        let values = colours.iter().map(|rgb| format!("{:.3}", f32::from(rgb[c]) / 255.0));
        values.collect::<Vec<_>>().join(" ")
    };
    Some([channel(0), channel(1), channel(2)])
}

/// The colour maps that the page offers: also the one that it opens with.
fn offered(colormap: &str) -> impl Iterator<Item = &str> {
    let more = Some(colormap).filter(|name| !COLOURS.contains(name));
    let all: [&str; COLOURS.len()] = COLOURS;
    all.into_iter().chain(more)
}

/// The tables of the colour maps, as JSON.
fn palettes(colormap: &str) -> String {
    let table = |name: &str| Some((name.to_owned(), json!(stops(name, false)?)));
    let all: serde_json::Map<_, _> = offered(colormap).filter_map(table).collect();
    let both = stops(DIVERGING, true);
    json!({ "maps": all, "both": both }).to_string()
}

/// The filters that colour gray maps. The script fills in the colours; those over pictures can also
/// make low values transparent.
fn filters() -> Markup {
    html! {
        svg.filters width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                @for (id, over) in [("over", true), ("over-both", true), ("plain", false), ("plain-both", false)] {
                    filter id=(id) x="0" y="0" width="1" height="1" color-interpolation-filters="sRGB" {
                        feComponentTransfer in="SourceGraphic" result="coloured" {
                            feFuncR type="table" tableValues="0 1" {}
                            feFuncG type="table" tableValues="0 1" {}
                            feFuncB type="table" tableValues="0 1" {}
                        }
                        @if over {
                            feColorMatrix in="SourceGraphic" type="luminanceToAlpha" result="value" {}
                            feComponentTransfer in="value" result="weight" {
                                feFuncA type="table" tableValues="1 1" {}
                            }
                            feComposite in="coloured" in2="weight" operator="in" {}
                        }
                    }
                }
            }
        }
    }
}

/// What is chosen for all maps at once.
fn controls(colormap: &str) -> Markup {
    html! {
        div.controls role="group" aria-label="How maps are shown" {
            label { "Map over picture " input #opacity type="range" min="0" max="100" value="60"; output #opacity-value { "60 %" } }
            label { "Colours " select #colours { @for name in offered(colormap) {
                option value=(name) selected[name == colormap] { (name) }
            } } }
            label { input #fade type="checkbox"; " low values let the picture through" }
            label { "Theme " select #theme {
                option value="" { "as the system" }
                option value="light" { "light" }
                option value="dark" { "dark" }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_map_is_a_table() {
        let all: serde_json::Value = serde_json::from_str(&palettes("plasma")).unwrap();
        for name in COLOURS.into_iter().chain(["plasma"]) {
            let table = all["maps"][name].as_array().unwrap();
            assert!(table.iter().all(|c| c.as_str().unwrap().split(' ').count() == 33), "{name}");
        }
        // Blue speaks against, red for.
        let both: Vec<&str> =
            all["both"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        let ends = |channel: usize| -> [f64; 2] {
            let values: Vec<f64> = both[channel].split(' ').map(|v| v.parse().unwrap()).collect();
            [values[0], values[32]]
        };
        assert!(ends(0)[0] < ends(0)[1] && ends(2)[0] > ends(2)[1]);
    }

    #[test]
    fn a_digest_is_what_browsers_compute() {
        // Of "alert('Hello, world.');", from the specification of content security policies.
        assert_eq!(
            digest("alert('Hello, world.');"),
            "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
        );
    }
}
