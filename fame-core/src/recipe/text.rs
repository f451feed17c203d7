//! The text of a recipe with its command-line overrides, and the way back from a position to who
//! wrote it.

use std::{ops::Range, path::Path};

use crate::text::{LayerChoice, Problem, SourcedProblem, line_column, scan, suggestion};

/// A recipe as written, with `--set` values put in.
///
/// Overrides change the text, so that they go through the very same parsing and diagnostics as the
/// file. Every byte remembers where it came from: an error inside an override shows the override,
/// any other error shows the file, unmoved.
#[derive(Clone, Debug)]
pub struct RecipeText {
    name: String,
    original: String,
    text: String,
    pieces: Vec<Piece>,
    overrides: Vec<String>,
    defaults: String,
}

/// A run of bytes of the merged text, all from one place.
#[derive(Clone, Debug)]
struct Piece {
    merged: Range<usize>,
    from: Origin,
}

/// The place where a piece of the merged text was written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    /// The file, from this byte on.
    File(usize),
    /// The n-th override, from this byte of its text on.
    Override(usize, usize),
    /// Punctuation we had to add around the n-th override.
    Glue(usize),
}

impl RecipeText {
    /// A recipe called `name` in messages.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let pieces = vec![Piece { merged: 0..text.len(), from: Origin::File(0) }];
        Self {
            name: name.into(),
            original: text.clone(),
            text,
            pieces,
            overrides: Vec::new(),
            defaults: "()".to_owned(),
        }
    }

    /// The same recipe, where the fields it leaves out are those of `fields`: RON text such as
    /// `(backend: …, write: […])`. Without them nothing is left to default that a plugin would
    /// have to be named for.
    #[must_use]
    pub fn with_defaults(mut self, fields: impl Into<String>) -> Self {
        self.defaults = fields.into();
        self
    }

    /// The fields that the recipe may leave out, as [`RecipeText::with_defaults`] was given them.
    pub fn defaults(&self) -> &str {
        &self.defaults
    }

    /// Reads a recipe file.
    ///
    /// # Errors
    /// When it cannot be read, is not UTF-8 or is implausibly large.
    pub fn read(path: &Path) -> crate::Result<Self> {
        const LIMIT: u64 = 4 << 20;
        let mut bytes = Vec::new();
        let file = crate::data::open_ordinary(path)?;
        std::io::Read::read_to_end(&mut std::io::Read::take(file, LIMIT + 1), &mut bytes)
            .map_err(|e| crate::Error::io("read", path, &e))?;
        if bytes.len() as u64 > LIMIT {
            return Err(crate::Error::new(
                "fame::recipe::too_large",
                format!("`{}` has more than {LIMIT} bytes, which no recipe has.", path.display()),
            ));
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            crate::Error::new(
                "fame::recipe::not_text",
                format!("`{}` is not a text file: byte {at} is not UTF-8.", path.display()),
            )
            .with_help("A recipe is RON text. Did you pass a model or a picture by mistake?")
        })?;
        Ok(Self::new(path.display().to_string(), crate::data::without_mark(text)))
    }

    /// The name used in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text as written in the file.
    pub fn original(&self) -> &str {
        &self.original
    }

    /// The text to parse: the file with all overrides put in.
    pub fn merged(&self) -> &str {
        &self.text
    }

    /// The overrides, as given.
    pub fn overrides(&self) -> &[String] {
        &self.overrides
    }

    /// Puts in one override, `path.to.value=VALUE`. The last part of the path may be a field that
    /// the recipe left out. Where the recipe has a string, quotes around VALUE may be left out.
    ///
    /// # Errors
    /// When the path leads nowhere (with the nearest name) or VALUE is not RON.
    pub fn set(&mut self, assignment: &str) -> Result<(), Box<SourcedProblem>> {
        let shown = format!("--set {assignment}");
        self.try_set(assignment).map_err(|mut p| {
            // The problem's span is within the assignment; the source shown has the flag in front.
            p = p.shifted("--set ".len());
            Box::new(SourcedProblem::new(p, "command line", &shown))
        })
    }

    /// [`RecipeText::set`], with problems placed in the assignment itself.
    fn try_set(&mut self, assignment: &str) -> Result<(), Problem> {
        let whole = 0..assignment.len();
        let problem =
            |message: String, span| Problem::new("fame::recipe::bad_override", message, span);
        let Some(equals) = assignment.find('=') else {
            return Err(problem("an override is written `path.to.parameter=value`.".into(), whole)
                .with_help(Some(
                    "for example: --set explain.mine.perturbation='Walk(iterations: 50)'",
                )));
        };
        let (path, value) = (assignment[..equals].trim_end(), assignment[equals + 1..].trim());
        let value_at = equals
            + 1
            + (assignment[equals + 1..].len() - assignment[equals + 1..].trim_start().len());
        let place = find(&self.text, path)
            .map_err(|(message, span, help)| problem(message, span).with_help(help))?;
        let old = &self.text[place.replace.clone()];
        let quoted = old.starts_with('"')
            && !["\"", "r\"", "r#", "[", "{", "("].iter().any(|start| value.starts_with(start))
            && !is_layer_rule(path, value);
        let new = if quoted { format!("{value:?}") } else { value.to_owned() };
        if let Some(at) = comment(&new).filter(|_| !quoted) {
            let at = value_at + at;
            return Err(problem("a value has no comments.".into(), at..at + 2)
                .with_label("a comment would begin here")
                .with_help(Some("it would take away what stands behind the value; a text with these characters needs quotes: 'a.b=\"x//y\"'")));
        }
        match scan::value_end(&new, 0) {
            Ok(end) if end == new.len() => {}
            // What the recipe has as a text was put in quotes: those are closed.
            Err(e) if e.is_unclosed() && !quoted => {
                let at = value_at + e.at;
                let bracket = new[e.at..].chars().next().map_or(0, char::len_utf8);
                let help = "an option of the command line ends where its quotes do: put all of \
                            PATH=VALUE in single ones, --set 'a.b=Name(c: 1)'";
                return Err(problem(format!("{}.", e.message), at..at + bracket)
                    .with_label(e.label)
                    .with_help(e.help.as_deref().or(Some(help))));
            }
            Ok(end) if !quoted && new[end..].trim_start().starts_with([')', ']', '}']) => {
                let rest = new[end..].trim_start();
                let at = value_at + new.len() - rest.len();
                return Err(problem(
                    format!("`{rest}` stands behind the value `{}`.", &new[..end]),
                    at..value_at + new.len(),
                )
                .with_label("this is too much"));
            }
            _ => {
                return Err(problem(
                    format!("`{value}` is not a RON value."),
                    value_at..assignment.len(),
                )
                .with_label("this value")
                .with_help(Some(
                    "strings need quotes inside the shell's quotes: --set 'data.file=\"a.jpg\"'",
                )));
            }
        }
        let index = self.overrides.len();
        self.overrides.push(assignment.to_owned());
        let origin = if quoted { Origin::Glue(index) } else { Origin::Override(index, value_at) };
        let glue = Origin::Glue(index);
        self.splice(place.replace, &[(&place.before, glue), (&new, origin), (place.after, glue)]);
        Ok(())
    }

    /// Replaces the bytes `at` of the merged text by pieces, each with its origin.
    fn splice(&mut self, at: Range<usize>, new: &[(&str, Origin)]) {
        let mut pieces = self.cut(0..at.start);
        let mut text = self.text[..at.start].to_owned();
        for (part, from) in new.iter().filter(|(part, _)| !part.is_empty()) {
            pieces.push(Piece { merged: text.len()..text.len() + part.len(), from: *from });
            text.push_str(part);
        }
        for piece in self.cut(at.end..self.text.len()) {
            let len = piece.merged.len();
            pieces.push(Piece { merged: text.len()..text.len() + len, from: piece.from });
            text.push_str(&self.text[piece.merged]);
        }
        self.text = text;
        self.pieces = pieces;
    }

    /// The pieces that make up `range`, cut to it.
    fn cut(&self, range: Range<usize>) -> Vec<Piece> {
        let overlap = |p: &Piece| p.merged.start.max(range.start)..p.merged.end.min(range.end);
        let cut = |p: &Piece| Piece {
            merged: overlap(p),
            from: p.from.advanced(overlap(p).start - p.merged.start),
        };
        self.pieces.iter().filter(|p| !overlap(p).is_empty()).map(cut).collect()
    }

    /// A problem in the merged text, in the terms of whoever wrote that part.
    pub fn sourced(&self, mut problem: Problem) -> SourcedProblem {
        let len = problem.span.len();
        let found = self
            .pieces
            .iter()
            .find(|p| p.merged.contains(&problem.span.start))
            .or(self.pieces.last());
        let Some(piece) = found else {
            return SourcedProblem::new(problem, &self.name, &self.original);
        };
        let into = problem.span.start.saturating_sub(piece.merged.start);
        let shown = |i: usize| format!("--set {}", self.overrides[i]);
        match piece.from {
            Origin::File(at) => {
                let start = (at + into).min(self.original.len());
                // What overrides have put into it is not in the file.
                let last = self.pieces.iter().rev().find_map(|piece| match piece.from {
                    Origin::File(at) if piece.merged.start < problem.span.end => {
                        Some(at + piece.merged.end.min(problem.span.end) - piece.merged.start)
                    }
                    _ => None,
                });
                let end = last.unwrap_or(start + len).max(start + 1);
                problem.span = start..end.min(self.original.len());
                SourcedProblem::new(problem, &self.name, &self.original)
            }
            Origin::Override(i, at) => {
                let start = "--set ".len() + at + into;
                problem.span = start..(start + len).min(shown(i).len());
                SourcedProblem::new(problem, "command line", &shown(i))
            }
            Origin::Glue(i) => {
                problem.span = "--set ".len()..shown(i).len();
                SourcedProblem::new(problem, "command line", &shown(i))
            }
        }
    }
}

impl Origin {
    /// The origin `by` bytes later.
    fn advanced(self, by: usize) -> Self {
        match self {
            Origin::File(at) => Origin::File(at + by),
            Origin::Override(i, at) => Origin::Override(i, at + by),
            Origin::Glue(i) => Origin::Glue(i),
        }
    }
}

/// Whether `value` at `path` is a rule that chooses a layer, and no text: the question of an
/// explainer or a metric has layers, data and folders may be called anything.
fn is_layer_rule(path: &str, value: &str) -> bool {
    let asks = ["explain.", "metrics."].iter().any(|start| path.starts_with(start));
    asks && LayerChoice::RULES.contains(&value)
}

/// The spot in the recipe that an override replaces.
struct Spot {
    replace: Range<usize>,
    /// The text before the value, for a field that is new.
    before: String,
    /// And after it.
    after: &'static str,
}

/// Message, place in the path, and help, for a path that leads nowhere.
type NotFound = (String, Range<usize>, Option<String>);

/// Walks `path` from the top of `text`.
fn find(text: &str, path: &str) -> Result<Spot, NotFound> {
    let keys: Vec<&str> = path.split('.').collect();
    let mut at = scan::skip_blank(text, 0);
    let mut path_at = 0;
    for (depth, key) in keys.iter().enumerate() {
        let key_span = path_at..path_at + key.len();
        path_at += key.len() + 1;
        let last = depth + 1 == keys.len();
        let bare = scan::identifier(&text[at..]);
        let entries = match scan::entries(text, at) {
            Ok(entries) => entries,
            // `walk.step` on a bare `Walk`: give it its parentheses.
            Err(_)
                if last
                    && bare > 0
                    && scan::value_end(text, at).is_ok_and(|e| e == at + bare)
                    && !key.is_empty() =>
            {
                return Ok(Spot {
                    replace: at + bare..at + bare,
                    before: format!("({key}: "),
                    after: ")",
                });
            }
            // Brackets with something amiss in them: what is meant may well be there.
            Err(e) if text[scan::skip_blank(text, at + bare)..].starts_with(['(', '[', '{']) => {
                let (message, line) = (e.message, line_column(text, e.at).0);
                let message = format!("the recipe cannot be read: {message} (line {line}).");
                let help = "mend that first; without --set it is shown in its place";
                return Err((message, key_span, Some(help.to_owned())));
            }
            Err(_) => {
                let message =
                    format!("`{}` has no parts that could be set.", keys[..depth].join("."));
                return Err((message, key_span, None));
            }
        };
        let names: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
        match entries.iter().find(|e| e.key == *key) {
            Some(e) if last => {
                return Ok(Spot {
                    replace: e.value_span.clone(),
                    before: String::new(),
                    after: "",
                });
            }
            Some(e) => at = e.value_span.start,
            None if last
                && is_struct(text, at)
                && scan::identifier(key) == key.len()
                && !key.is_empty() =>
            {
                let end =
                    entries.last().map_or_else(|| open_of(text, at) + 1, |e| e.value_span.end);
                let comma = if entries.is_empty() { "" } else { ", " };
                return Ok(Spot {
                    replace: end..end,
                    before: format!("{comma}{key}: "),
                    after: "",
                });
            }
            None => {
                let mut help = suggestion(key, &names, "name");
                let is_near = help.as_ref().is_some_and(|help| help.starts_with("did you mean"));
                if !last && !is_near && is_struct(text, at) {
                    let (place, next) = (keys[..=depth].join("."), keys[depth + 1]);
                    let whole = match next.parse::<usize>() {
                        Ok(_) => "[NAME(…)]".to_owned(),
                        Err(_) => format!("NAME({next}: …)"),
                    };
                    help = Some(format!(
                        "what this recipe leaves to its default is set whole: --set \
                         '{place}={whole}'; {}",
                        help.unwrap_or_default()
                    ));
                }
                if key.contains('[') {
                    let parted = key.replace('[', ".").replace([']', '"'], "");
                    help = Some(format!("the parts of a path are parted by dots: `{parted}`"));
                }
                let message = format!("there is nothing called `{key}` at this place.");
                return Err((message, key_span, help));
            }
        }
    }
    Err(("the path is empty.".into(), 0..path.len(), None))
}

/// Where a comment would begin in `value`, outside of its strings.
fn comment(value: &str) -> Option<usize> {
    let (mut in_string, mut is_escaped, mut before) = (false, false, ' ');
    for (at, c) in value.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if in_string => is_escaped = true,
            '"' => in_string = !in_string,
            '/' | '*' if !in_string && before == '/' => return Some(at - 1),
            _ => {}
        }
        before = c;
    }
    None
}

/// The offset of the bracket of the value at `at`, behind its name.
fn open_of(text: &str, at: usize) -> usize {
    scan::skip_blank(text, at + scan::identifier(&text[at..]))
}

/// Whether the value at `at` is a struct, with or without a name: `Name(…)`.
fn is_struct(text: &str, at: usize) -> bool {
    text[open_of(text, at)..].starts_with('(')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, assignment: &str) -> Result<String, Problem> {
        let mut t = RecipeText::new("r.ron", text);
        t.set(assignment).map(|()| t.merged().to_owned()).map_err(|p| p.problem().clone())
    }

    const RECIPE: &str = r#"(model: "m", explain: {"walk": Walk(layer: "x", perturbation: Steps(step: 1.0))}, write: [Csv()])"#;

    #[test]
    fn values_are_replaced_added_and_quoted() {
        let p = "explain.walk.perturbation";
        assert!(
            set(RECIPE, &format!("{p}=Jump(step: 2)"))
                .unwrap()
                .contains("perturbation: Jump(step: 2))")
        );
        assert!(set(RECIPE, &format!("{p}.step=0.5")).unwrap().contains("Steps(step: 0.5)"));
        assert!(
            set(RECIPE, &format!("{p}.iterations=50"))
                .unwrap()
                .contains("Steps(step: 1.0, iterations: 50)")
        );
        assert!(set(RECIPE, "write.0=Png()").unwrap().contains("[Png()]"));
        assert!(set(RECIPE, "write.0.colour=\"red\"").unwrap().contains("Csv(colour: \"red\")"));
        assert!(set(RECIPE, "model=other one").unwrap().contains("model: \"other one\""));
        assert!(set(RECIPE, "seed=7").unwrap().contains(", seed: 7)"));
        assert!(set(RECIPE, "seed = 7").unwrap().contains(", seed: 7)"));
        assert_eq!(set("(p: Steps)", "p.step=2").unwrap(), "(p: Steps(step: 2))");
        // A rule that chooses a layer is no text; a folder of that name is.
        assert!(
            set(RECIPE, "explain.walk.layer=LastConv").unwrap().contains("Walk(layer: LastConv,")
        );
        assert!(set(RECIPE, "explain.walk.layer=fc").unwrap().contains("Walk(layer: \"fc\","));
        assert!(set(RECIPE, "model=resnet").unwrap().contains("model: \"resnet\""));
        assert!(set(RECIPE, "model=Output").unwrap().contains("model: \"Output\""));
    }

    #[test]
    fn wrong_paths_and_values_are_refused_with_the_place() {
        let p = set(RECIPE, "explian.walk=1").unwrap_err();
        assert_eq!((p.help.as_deref(), p.span), (Some("did you mean `explain`?"), 6..13));
        // What is not written has no parts yet.
        let help = set(RECIPE, "backend.threads=1").unwrap_err().help.unwrap();
        assert!(help.contains("--set 'backend=NAME(threads: …)'"), "{help}");
        let help = set(RECIPE, "metrics.3.against=1").unwrap_err().help.unwrap();
        assert!(help.contains("--set 'metrics=[NAME(…)]'"), "{help}");
        let help = set(RECIPE, "explain[\"walk\"]=1").unwrap_err().help.unwrap();
        assert_eq!(help, "the parts of a path are parted by dots: `explain.walk`");
        assert_eq!(set(RECIPE, "seed=a.jpg").unwrap_err().label, "this value");
        // What is too much is marked alone.
        let p = set(RECIPE, "seed=Steps(a: 1))").unwrap_err();
        assert_eq!(p.message, "`)` stands behind the value `Steps(a: 1)`.");
        assert_eq!(p.span, "--set seed=".len() + 11.."--set seed=".len() + 12);
        // What is not closed is marked where it was opened.
        for (value, open, message) in [
            ("(1", 0, "this bracket is never closed."),
            ("Steps(a: [1, 2], b: (3", 20, "this bracket is never closed."),
            (
                "Steps(a: [1, 2)",
                9,
                "this `[` is never closed: expected `]` before the `)` in line 1.",
            ),
            ("Steps(a: \"x)", 9, "this string is never closed."),
        ] {
            let p = set(RECIPE, &format!("seed={value}")).unwrap_err();
            let at = "--set seed=".len() + open;
            assert_eq!((p.message.as_str(), p.span), (message, at..at + 1));
            assert_eq!(p.label, "opened here");
            assert!(p.help.unwrap().contains("--set 'a.b=Name(c: 1)'"));
        }
        assert!(
            set(RECIPE, "model").is_err()
                && set(RECIPE, "write.7=1").is_err()
                && set(RECIPE, "=1").is_err()
        );
        assert!(set(RECIPE, "model.x=1").unwrap_err().message.contains("no parts"));
        let broken = RECIPE.trim_end().trim_end_matches(')');
        let p = set(broken, "seed=1").unwrap_err();
        assert_eq!(p.message, "the recipe cannot be read: this bracket is never closed (line 1).");
    }

    #[test]
    fn a_value_has_no_comments_and_a_string_may_have_what_looks_like_one() {
        for value in ["5//x", "5 //x", "/*", "Steps(a: 1)//"] {
            let p = set(RECIPE, &format!("seed={value}")).unwrap_err();
            assert_eq!(p.message, "a value has no comments.", "{value}");
        }
        let set = set(RECIPE, r#"seed=Read(file: "http://x\"//")"#).unwrap();
        assert!(set.contains(r#"seed: Read(file: "http://x\"//")"#), "{set}");
    }

    #[test]
    fn what_holds_an_override_is_marked_as_far_as_the_file_has_it() {
        let mut t = RecipeText::new("r.ron", RECIPE);
        t.set("explain.walk.perturbation.iterations=500000").unwrap();
        let merged = t.merged();
        let at = merged.find("Walk(").unwrap();
        let end = at + scan::value_end(&merged[at..], 0).unwrap();
        let inside = t.sourced(Problem::new("c", "m", at..end));
        let marked = &RECIPE[inside.problem().span.clone()];
        assert_eq!(marked, r#"Walk(layer: "x", perturbation: Steps(step: 1.0))"#);
    }

    #[test]
    fn problems_are_shown_where_they_were_written() {
        let mut t = RecipeText::new("r.ron", RECIPE);
        t.set("explain.walk.perturbation=Jump(stepp: 2)").unwrap();
        let at = t.merged().find("stepp").unwrap();
        let inside = t.sourced(Problem::new("c", "m", at..at + 5));
        assert_eq!(
            &"--set explain.walk.perturbation=Jump(stepp: 2)"[inside.problem().span.clone()],
            "stepp"
        );
        let at = t.merged().find("Csv").unwrap();
        let after = t.sourced(Problem::new("c", "m", at..at + 3));
        assert_eq!(&RECIPE[after.problem().span.clone()], "Csv");
    }
}
