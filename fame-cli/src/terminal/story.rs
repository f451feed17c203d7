//! What people are told of a run, with bars or without.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use fame_core::{
    contract::FinishedItem,
    report::escape,
    run::{Event, ItemStatus},
    store::FetchEvent,
};
use fame_plugins::writers::answers;

use super::{pace::Pace, preview::Preview};

/// How many different warnings are remembered. Those beyond are told every time: a run of millions
/// of items may have as many.
const REMEMBERED: usize = 1000;

/// What was told so far, and what is told next.
pub(super) struct Story {
    preview: Option<Preview>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pace: Option<Pace>,
    /// The first warning of each sort, and how often such a one came.
    warnings: BTreeMap<String, (String, usize)>,
    /// What the network answered for the item that ends next, and its maps.
    answer: String,
    drawn: Vec<String>,
}

/// Something to show.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A line of text in which nothing commands the terminal.
    Line(String),
    /// Lines of a picture, with the commands that colour it.
    Drawn(Vec<String>),
}

impl Story {
    pub(super) fn new(preview: Option<Preview>) -> Self {
        Self { preview, state: Mutex::default() }
    }

    /// The pace of the items, once their number is known.
    pub(super) fn pace(&self) -> Option<Pace> {
        self.state().pace
    }

    /// What `event` is worth saying.
    pub(super) fn tell(&self, event: &Event<'_>) -> Vec<Said> {
        let line = match event {
            Event::Fetch(p) => fetch_line(p),
            Event::Stage(_) | Event::Steps { .. } => None,
            Event::Items(n) => {
                self.state().pace = Some(Pace::new(*n, Instant::now()));
                None
            }
            Event::Finished(item) => {
                self.remember(item);
                None
            }
            Event::Item { id, status, line } => return self.ended(id, *status, line),
            Event::Note(text) => Some(format!("note: {text}")),
            Event::Warning(text) => {
                self.is_new((*text).to_owned(), text).then(|| format!("warning: {text}"))
            }
            Event::ItemWarning { id, text } => {
                self.is_new(sort_of(id, text), text).then(|| format!("warning: {id}: {text}"))
            }
        };
        line.map(|line| said(&line)).into_iter().collect()
    }

    /// What is left to say: how often those warnings came that were told once.
    pub(super) fn end(&self) -> Vec<Said> {
        let warnings = std::mem::take(&mut self.state().warnings);
        let again = warnings.into_values().filter(|(_, times)| *times > 1);
        again
            .map(|(text, times)| said(&format!("warning, {} more like it: {text}", times - 1)))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a warning of this sort; whether it is the first.
    fn is_new(&self, sort: String, text: &str) -> bool {
        let known = &mut self.state().warnings;
        if let Some((_, times)) = known.get_mut(&sort) {
            *times += 1;
            return false;
        }
        if known.len() < REMEMBERED {
            known.insert(sort, (text.to_owned(), 1));
        }
        true
    }

    /// Keeps what will be told when `item` ends.
    fn remember(&self, item: &FinishedItem<'_>) {
        let drawn = self.preview.as_ref().map(|p| p.drawn(item)).unwrap_or_default();
        let answer = answers(item).join(", ");
        let mut state = self.state();
        (state.answer, state.drawn) = (answer, drawn);
    }

    fn ended(&self, id: &str, status: ItemStatus, line: &str) -> Vec<Said> {
        let mut state = self.state();
        if let Some(pace) = &mut state.pace {
            pace.ended(status, Instant::now());
        }
        let (answer, drawn) = (std::mem::take(&mut state.answer), std::mem::take(&mut state.drawn));
        let first = match status {
            ItemStatus::Failed => "FAILED: ".to_owned(),
            ItemStatus::Done if !answer.is_empty() => format!("{answer}; "),
            _ => String::new(),
        };
        let mut all = vec![said(&format!("{id}: {first}{line}"))];
        if !drawn.is_empty() {
            all.push(Said::Drawn(drawn));
        }
        all
    }
}

/// What warnings about different items have in common: the text without the names of files and of
/// the item, `id`, in backticks, and without numbers, which were measured of it. Other names in
/// backticks say what it is about, such as a layer or a parameter.
fn sort_of(id: &str, text: &str) -> String {
    let kept = text.split('`').enumerate().filter(|(n, part)| {
        let is_quoted = n % 2 == 1;
        !is_quoted || !(is_file(part) || *part == id)
    });
    kept.flat_map(|(_, part)| part.chars()).filter(|letter| !letter.is_ascii_digit()).collect()
}

/// Whether a name looks like that of a file: a folder before it, or an ending of letters and digits
/// behind a point.
fn is_file(name: &str) -> bool {
    let is_ending = |ending: &str| {
        (1..=4).contains(&ending.len()) && ending.chars().all(|c| c.is_ascii_alphanumeric())
    };
    name.contains(['/', '\\']) || name.rsplit_once('.').is_some_and(|(_, end)| is_ending(end))
}

fn said(line: &str) -> Said {
    Said::Line(escape::terminal_line(line).into_owned())
}

/// One line about a fetch; `None` when there is nothing worth a line.
fn fetch_line(progress: &FetchEvent) -> Option<String> {
    Some(match progress {
        FetchEvent::Started { what, tool } => format!("fetching {what} with {tool}"),
        FetchEvent::Waiting { what } => format!("waiting for another fetch of {what}"),
        FetchEvent::Converting { script } => format!("converting with {script}"),
        FetchEvent::Verifying { .. } | FetchEvent::Extracting { .. } | FetchEvent::Done { .. } => {
            return None;
        }
    })
}

#[cfg(test)]
mod tests {
    use fame_core::{Explanation, MapId, NamedMap, Sample, Tensor};

    use super::*;

    fn lines(said: &[Said]) -> Vec<&str> {
        let line = |said: &'_ Said| match said {
            Said::Line(line) => line.clone(),
            Said::Drawn(lines) => panic!("drawn: {lines:?}"),
        };
        said.iter().map(|said| &*line(said).leak()).collect()
    }

    #[test]
    fn a_warning_is_told_once_and_counted() {
        let story = Story::new(None);
        let warn = |id: &str| story.tell(&Event::ItemWarning { id, text: "fame: it is dark." });
        assert_eq!(lines(&warn("a")), ["warning: a: fame: it is dark."]);
        assert!(warn("b").is_empty() && warn("c").is_empty());
        assert_eq!(lines(&story.tell(&Event::Warning("of all"))), ["warning: of all"]);
        assert_eq!(lines(&story.end()), ["warning, 2 more like it: fame: it is dark."]);
        assert!(story.end().is_empty(), "told once");
        assert_eq!(lines(&story.tell(&Event::Note("4 pairs."))), ["note: 4 pairs."]);
        assert!(story.end().is_empty(), "no warning");
    }

    #[test]
    fn warnings_that_differ_in_a_file_or_a_number_are_alike_and_others_are_not() {
        let story = Story::new(None);
        let warn = |text: &str| story.tell(&Event::ItemWarning { id: "a", text }).len();
        assert_eq!(warn("`a.png` has 12 clear pixels"), 1);
        assert_eq!(warn("`b.png` has 7 clear pixels"), 0);
        assert_eq!(warn("`b.png` has 7 dark pixels"), 1);
        // What else stands in quotes says what it is about; the item's own name does not.
        let fades = ["layer `conv` of `x/a.png` fades", "layer `conv` of `x/b.png` fades"];
        assert_eq!(fades.map(warn), [1, 0]);
        assert_eq!(warn("layer `fc` of `x/a.png` fades"), 1);
        let of = |id: &str| {
            let text = format!("`{id}` has no face");
            story.tell(&Event::ItemWarning { id, text: &text }).len()
        };
        assert_eq!([of("ann"), of("bob")], [1, 0]);
        // What is said of the whole run is told as it is.
        for text in ["row 3 of `a.csv` is empty", "row 4 of `a.csv` is empty"] {
            assert_eq!(story.tell(&Event::Warning(text)).len(), 1);
        }
        let more = story.end();
        let mut more = lines(&more);
        more.sort_unstable();
        assert_eq!(
            more,
            [
                "warning, 1 more like it: `a.png` has 12 clear pixels",
                "warning, 1 more like it: `ann` has no face",
                "warning, 1 more like it: layer `conv` of `x/a.png` fades",
            ]
        );
    }

    #[test]
    fn more_warnings_than_are_remembered_are_told_every_time() {
        let story = Story::new(None);
        for n in 0..REMEMBERED {
            assert_eq!(story.tell(&Event::Warning(&n.to_string())).len(), 1);
        }
        assert_eq!(story.tell(&Event::Warning("0")).len(), 0);
        for _ in 0..2 {
            assert_eq!(story.tell(&Event::Warning("beyond")).len(), 1);
        }
    }

    #[test]
    fn the_line_of_an_item_says_what_the_network_answered() {
        let map = |class: &str, probability: f64| {
            let value = Tensor::filled([1, 2], 0.5);
            let mut map = NamedMap::new(MapId::new("image"), value.clone(), value);
            map.facts.insert("class_name".to_owned(), class.into());
            map.facts.insert("probability_before".to_owned(), probability.into());
            map
        };
        let of = |maps| Explanation { maps, ..Explanation::default() };
        let explanations = [
            ("fame".to_owned(), of(vec![map("tabby", 0.871)])),
            ("cam".to_owned(), of(vec![map("tabby", 0.871), map("lynx", 0.04)])),
        ];
        let sample = Sample::default();
        let story = Story::new(None);
        story
            .tell(&Event::Finished(&FinishedItem { sample: &sample, explanations: &explanations }));
        let end = |id, status| story.tell(&Event::Item { id, status, line: "fame: a\nb" });
        assert_eq!(lines(&end("a", ItemStatus::Done)), ["a: tabby 87 %, lynx 4 %; fame: a b"]);
        assert_eq!(lines(&end("b", ItemStatus::Done)), ["b: fame: a b"], "not its neighbour's");
        assert_eq!(lines(&end("c", ItemStatus::Failed)), ["c: FAILED: fame: a b"]);
    }
}
