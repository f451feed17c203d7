//! Parts of the page that many items have alike, each in the page once.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

/// Pieces of HTML by their text.
#[derive(Default)]
pub(super) struct Same {
    places: BTreeMap<String, usize>,
    bytes: usize,
}

impl Same {
    /// The place of `part`, HTML that is escaped already.
    pub(super) fn place(&mut self, part: &str) -> usize {
        if let Some(place) = self.places.get(part) {
            return *place;
        }
        let place = self.places.len();
        self.bytes += part.len();
        self.places.insert(part.to_owned(), place);
        place
    }

    /// Bytes of all parts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The parts in the order of their places, in templates: read, and not drawn.
    pub(super) fn show(&self) -> Markup {
        let mut parts: Vec<(&usize, &String)> =
            self.places.iter().map(|(part, place)| (place, part)).collect();
        parts.sort();
        html! { @for (place, part) in parts {
            template id=(format!("same-{place}")) { (PreEscaped(part)) }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stands_once() {
        let mut same = Same::default();
        assert_eq!([same.place("<p>b</p>"), same.place("a"), same.place("<p>b</p>")], [0, 1, 0]);
        let shown = same.show().into_string();
        assert_eq!(shown.matches("<p>b</p>").count(), 1);
        assert!(shown.find("same-0").unwrap() < shown.find("same-1").unwrap());
        assert_eq!(same.bytes(), 9);
    }
}
