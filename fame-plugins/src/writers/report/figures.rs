//! Figures: a map over its picture, over the photograph that the picture was cut from, or alone.
//!
//! Every picture is embedded once, in a list beside the item, with sizes and geometry; a figure
//! only says which map or picture it shows, and the page's script draws it when the item is shown.
//! Maps are gray, and are coloured by a filter, so that colours and opacity can be chosen while one
//! looks.

use fame_core::data::Affine;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{
    folder::{ItemFolder, MapRecord, list},
    item::View,
    pictures::Embedded,
    show,
};

/// All that the figures of an item are drawn from, as JSON that can stand in a script element:
///
/// ```text
/// p  addresses that hold the pictures themselves
/// r  roles: name n, size s (rows, columns), prepared picture u, photograph o: p, size s, way back b
/// m  maps: name n, method e, role r, size s, values p, or colours of another writer c, for and against b,
///    answer a, where the item has several
/// ```
pub(super) fn data(view: &View<'_>) -> String {
    let View { about: item, embedded, methods, answers, .. } = *view;
    let (roles, maps) = (item.roles(), item.maps());
    let size_of = |role: &str| {
        let of_role = maps.iter().find(|map| map.role == role).or_else(|| maps.first());
        of_role.map_or((1.0, 1.0), |map| map.size)
    };
    let role = |name: &&str| {
        json!({
            "n": name, "s": size_of(name), "u": embedded.prepared(name),
            "o": photograph(item, name, embedded),
        })
    };
    let answer = |map: &MapRecord<'_>| map.answer().filter(|_| answers.len() > 1).map(|a| a.text);
    let map = |map: &MapRecord<'_>| {
        json!({
            "n": show::words(map.name), "s": map.size, "b": map.claim == "both",
            "e": methods.iter().position(|method| method.name == map.explainer),
            "r": roles.iter().position(|role| *role == map.role),
            "p": embedded.map(map), "c": embedded.coloured(map), "a": answer(map),
        })
    };
    let all = json!({
        "p": embedded.addresses,
        "r": roles.iter().map(role).collect::<Vec<_>>(),
        "m": maps.iter().map(map).collect::<Vec<_>>(),
    });
    // No name may end the script element.
    all.to_string().replace('<', "\\u003c")
}

/// A role's picture before it was prepared, where item and page have it and its geometry can be
/// undone; null elsewhere.
fn photograph(item: &ItemFolder<'_>, role: &str, embedded: &Embedded) -> Value {
    let about = &item.record["pictures"][role];
    let numbers =
        |value: &Value| -> Vec<f64> { list(value).iter().filter_map(Value::as_f64).collect() };
    let geometry: Option<[f64; 6]> = numbers(&about["geometry"]).try_into().ok();
    let back = geometry.and_then(|geometry| Affine(geometry).inverse());
    let size = numbers(&about["original_size"]);
    let (Some(place), Some(Affine([a, b, c, d, e, f])), &[height, width]) =
        (embedded.original(role), back, size.as_slice())
    else {
        return Value::Null;
    };
    let back = format!("matrix({a:.6} {d:.6} {b:.6} {e:.6} {c:.3} {f:.3})");
    json!({ "p": place, "s": [height, width], "b": back })
}

/// Whether the page can lay maps of `role` back over its photograph.
pub(super) fn has_photograph(item: &ItemFolder<'_>, role: &str, embedded: &Embedded) -> bool {
    !photograph(item, role, embedded).is_null()
}

/// The picture of a role, by its place among the item's: `prepared`, or `photograph`.
pub(super) fn picture(kind: &str, role: usize) -> Markup {
    html! { svg.shot data-f=(kind) data-r=(role) {} }
}

/// A map by its place among the item's: `overlay`, over the prepared picture; `under`, over the
/// photograph; `alone`.
pub(super) fn map(kind: &str, map: usize) -> Markup {
    html! { svg.shot data-f=(kind) data-m=(map) {} }
}

/// A map from every side: over the photograph, over the prepared picture, alone with its colours.
pub(super) fn all(
    item: &ItemFolder<'_>,
    (n, of): (usize, &MapRecord<'_>),
    embedded: &Embedded,
) -> Markup {
    let (has_values, is_coloured) = (embedded.map(of).is_some(), embedded.coloured(of).is_some());
    let ends = if of.claim == "both" { ["against", "for"] } else { ["0", "1"] };
    html! {
        div.trio {
            @if has_values && has_photograph(item, of.role, embedded) {
                figure { (map("under", n)) figcaption { "over the photograph" } }
            }
            @if has_values || is_coloured {
                figure { (map("overlay", n)) figcaption { "over the prepared picture" } }
            } @else { p.quiet { "No picture of this map is in the page." } }
            @if has_values {
                figure { (map("alone", n)) figcaption { span.bar {
                    (ends[0]) " " span.scale.both[of.claim == "both"] {} " " (ends[1])
                } } }
            }
        }
        p.quiet { (show::claim(of.claim)) ", picture “" (of.role) "”" }
    }
}
