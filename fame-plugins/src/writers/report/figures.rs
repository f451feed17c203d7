//! Figures: a map over its picture, over the photograph that the picture was cut from, or alone.
//!
//! Every picture is embedded once, in a list beside the item; a figure names its place there
//! (`data-p`), and the page's script puts it in when the item is shown. Maps are gray, and are
//! coloured by a filter, so that colours and opacity can be chosen while one looks.

use fame_core::data::Affine;
use maud::{Markup, html};
use serde_json::Value;

use super::{
    folder::{ItemFolder, MapRecord, list},
    pictures::Embedded,
    show,
};

/// A role's picture before it was prepared.
pub(super) struct Photograph {
    place: usize,
    /// Rows and columns.
    size: (f64, f64),
    /// From pixels of the prepared picture to its own, as SVG writes it.
    back: String,
}

impl Photograph {
    /// The photograph of `role`, where item and page have it and its geometry can be undone.
    pub(super) fn of(item: &ItemFolder<'_>, role: &str, embedded: &Embedded) -> Option<Self> {
        let about = &item.record["pictures"][role];
        let numbers =
            |value: &Value| -> Vec<f64> { list(value).iter().filter_map(Value::as_f64).collect() };
        let place = embedded.original(role)?;
        let [height, width] = numbers(&about["original_size"])[..] else { return None };
        let geometry: [f64; 6] = numbers(&about["geometry"]).try_into().ok()?;
        let Affine([a, b, c, d, e, f]) = Affine(geometry).inverse()?;
        let back = format!("matrix({a:.6} {d:.6} {b:.6} {e:.6} {c:.3} {f:.3})");
        Some(Self { place, size: (height, width), back })
    }

    /// The photograph with an outline of the part that the network saw, of `size`.
    pub(super) fn alone(&self, role: &str, size: (f64, f64)) -> Markup {
        let label = format!("{role}: the photograph, with an outline of what the network saw");
        self.frame(&label, size, &html! {})
    }

    /// The photograph with `map` laid back over it.
    fn under(&self, map: &MapRecord<'_>, place: usize) -> Markup {
        let label = format!("{} of {} over the photograph", map.name, map.explainer);
        let over = html! {
            image class=(class(map, "map")) data-p=(place) width=(map.size.1) height=(map.size.0)
                preserveAspectRatio="none" transform=(self.back) {}
        };
        self.frame(&label, map.size, &over)
    }

    fn frame(&self, label: &str, crop: (f64, f64), over: &Markup) -> Markup {
        let (height, width) = self.size;
        html! {
            svg.shot viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(label) {
                image data-p=(self.place) width=(width) height=(height) preserveAspectRatio="none" {}
                (over)
                rect.crop width=(crop.1) height=(crop.0) transform=(self.back)
                    vector-effect="non-scaling-stroke" {}
            }
        }
    }
}

/// The classes of a map's picture: maps that speak for and against have colours of their own.
fn class(map: &MapRecord<'_>, kind: &str) -> String {
    if map.claim == "both" { format!("{kind} both") } else { kind.to_owned() }
}

/// A prepared picture of `size`.
pub(super) fn prepared(role: &str, place: usize, (height, width): (f64, f64)) -> Markup {
    html! {
        svg.shot viewBox=(format!("0 0 {width} {height}")) role="img"
            aria-label=(format!("{role}: the prepared picture")) {
            image data-p=(place) width=(width) height=(height) preserveAspectRatio="none" {}
        }
    }
}

/// A map over the prepared picture; alone where the picture is not there; as another writer
/// coloured it where its values are not there; `None` where nothing is.
pub(super) fn overlay(map: &MapRecord<'_>, embedded: &Embedded) -> Option<Markup> {
    let label = format!("{} of {} over the prepared picture", map.name, map.explainer);
    let picture = embedded.prepared(map.role);
    match (embedded.map(map), embedded.coloured(map)) {
        (Some(place), _) => Some(stack(&label, map, picture, place)),
        (None, Some(place)) => Some(prepared(&label, place, map.size)),
        (None, None) => None,
    }
}

fn stack(label: &str, map: &MapRecord<'_>, under: Option<usize>, place: usize) -> Markup {
    let (height, width) = map.size;
    let kind = if under.is_some() { "map" } else { "alone" };
    html! {
        svg.shot viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(label) {
            @if let Some(under) = under {
                image data-p=(under) width=(width) height=(height) preserveAspectRatio="none" {}
            }
            image class=(class(map, kind)) data-p=(place) width=(width) height=(height)
                preserveAspectRatio="none" {}
        }
    }
}

/// The colours of a map with what their ends mean.
pub(super) fn colour_bar(map: &MapRecord<'_>) -> Markup {
    let ends = if map.claim == "both" { ["against", "for"] } else { ["0", "1"] };
    html! {
        span.bar {
            (ends[0])
            svg class=(class(map, "scale")) viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                rect width="100" height="8" fill="url(#ramp)" {}
            }
            (ends[1])
        }
    }
}

/// A map from every side: over the photograph, over the prepared picture, alone.
pub(super) fn all(
    map: &MapRecord<'_>,
    photograph: Option<&Photograph>,
    embedded: &Embedded,
) -> Markup {
    let plane = embedded.map(map);
    let alone = format!("{} of {} alone", map.name, map.explainer);
    html! {
        div.trio {
            @if let (Some(photograph), Some(place)) = (photograph, plane) {
                figure { (photograph.under(map, place)) figcaption { "over the photograph" } }
            }
            @if let Some(overlay) = overlay(map, embedded) {
                figure { (overlay) figcaption { "over the prepared picture" } }
            }
            @if let Some(place) = plane {
                figure {
                    (stack(&alone, map, None, place))
                    figcaption { (colour_bar(map)) }
                }
            }
            @if plane.is_none() && embedded.coloured(map).is_none() {
                p.quiet { "No picture of this map is in the page." }
            }
        }
        p.quiet { (show::claim(map.claim)) ", picture “" (map.role) "”" }
    }
}
