//! `Name(param: value)`: how a recipe names a plugin, and how its parameters are parsed.

use std::{cell::Cell, fmt::Write as _, ops::Range};

use ron::{Options, extensions::Extensions, value::RawValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _,
};

use super::{Problem, hint, offset_of, quoted, scan, suggestion};

/// A plugin by name with its parameters still as text: `Blur(sigma: 7.7)`.
///
/// Use it as a field of a plugin's parameters to nest plugins; [`crate::registry::Assembly::build`]
/// turns it into the real thing, and errors inside it point at the right characters of the recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The leading identifier.
    pub name: String,
    /// The parameters with their parentheses; `()` when the recipe wrote none.
    pub body: String,
    /// Where the name stands in the text that was parsed.
    pub name_span: Range<usize>,
    /// Where the body starts in the text that was parsed.
    pub body_at: usize,
}

thread_local! {
    /// Address and length of the text being parsed by [`parse`] on this thread: a spec turns its
    /// own address into an offset.
    static PARSED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

impl Spec {
    /// The plugin `name` with its own defaults, `Name()`: for the default of a parameter.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            body: "()".to_owned(),
            name_span: 0..name.len(),
            body_at: name.len(),
        }
    }

    /// A spec from text, as if a recipe had said it.
    ///
    /// ```
    /// # use fame_core::text::Spec;
    /// let spec = Spec::from_text("Blur(sigma: 2)").unwrap();
    /// assert_eq!((spec.name.as_str(), spec.body.as_str()), ("Blur", "(sigma: 2)"));
    /// assert_eq!(Spec::from_text("Blur").unwrap().to_string(), "Blur()");
    /// assert!(Spec::from_text("\"Blur\"").is_err());
    /// ```
    ///
    /// # Errors
    /// When `text` is not `Name` or `Name(…)`.
    pub fn from_text(text: &str) -> Result<Self, Problem> {
        Self::read(text, 0)
    }

    /// The spec in `text`, which stands at the offset `at` of what is being parsed.
    fn read(text: &str, at: usize) -> Result<Self, Problem> {
        let start = scan::skip_blank(text, 0);
        let len = scan::identifier(&text[start..]);
        let whole = at + start..at + text.trim_end().len().max(start);
        if len == 0 {
            return Err(Problem::new(
                "fame::recipe::not_a_plugin",
                "a plugin is written `Name(param: value)`.",
                whole,
            ));
        }
        let name_span = at + start..at + start + len;
        let body_start = scan::skip_blank(text, start + len);
        let body = text[body_start..].trim_end();
        if !(body.is_empty() || body.starts_with('(')) {
            return Err(Problem::new(
                "fame::recipe::not_a_plugin",
                "a plugin is written `Name(param: value)`.",
                whole,
            ));
        }
        let body = if body.is_empty() { "()" } else { body };
        Ok(Self {
            name: text[start..start + len].to_owned(),
            body: body.to_owned(),
            name_span,
            body_at: at + body_start,
        })
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.name, self.body)
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get_ron();
        let (base, len) = PARSED.get();
        let at = (raw.as_ptr() as usize).checked_sub(base).filter(|at| *at <= len).unwrap_or(0);
        Self::read(raw, at).map_err(|p| D::Error::custom(p.message))
    }
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Spec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Spec".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "title": "Name(param: value)" })
    }
}

/// The RON dialect of recipes and manifests: `Some` may be left out, newtypes are transparent.
pub fn ron_options() -> Options {
    let extensions = Extensions::IMPLICIT_SOME
        | Extensions::UNWRAP_NEWTYPES
        | Extensions::UNWRAP_VARIANT_NEWTYPES;
    Options::default().with_default_extension(extensions)
}

/// Parses `text` as `T`, with a problem that points at the right characters and says at which
/// field.
///
/// # Errors
/// The first thing serde cannot accept: unknown field or variant (with the nearest name), wrong
/// type, missing field, bad syntax.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let before = PARSED.replace((text.as_ptr() as usize, text.len()));
    let result = parse_inner(text);
    PARSED.set(before);
    result
}

/// [`parse`], while the text is noted.
fn parse_inner<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let options = ron_options();
    let syntax = |e: ron::error::SpannedError| problem_of(text, &e, false);
    let mut deserializer =
        ron::Deserializer::from_str_with_options(text, &options).map_err(syntax)?;
    // No more than this is compiled for each type: where a mistake stands is looked up afterwards.
    let parsed = T::deserialize(&mut deserializer)
        .map_err(|e| problem_of(text, &deserializer.span_error(e), true))?;
    deserializer.end().map_err(|e| syntax(deserializer.span_error(e)))?;
    Ok(parsed)
}

/// The problem that RON's `error` is: what it marks and what it says. Of one `within` the value it
/// says at which field.
fn problem_of(text: &str, error: &ron::error::SpannedError, within: bool) -> Problem {
    use ron::Error as E;
    let start = offset_of(text, error.span.start.line, error.span.start.col);
    let end = offset_of(text, error.span.end.line, error.span.end.col).max(start);
    // RON's span may begin with the blanks in front of the value.
    let first = scan::skip_blank(text, start);
    let path = if within { path_at(text, first..end) } else { String::new() };
    let span = tidy_span(text, start..end);
    let place = if path.is_empty() { String::new() } else { format!(" at `{path}`") };
    match &error.code {
        E::NoSuchStructField { expected, found, .. } => Problem::new(
            "fame::recipe::unknown_field",
            format!("there is no parameter `{found}`."),
            find_word(text, &span, found),
        )
        .with_label("unknown parameter")
        .with_help(suggestion(found, expected, "parameter")),
        E::NoSuchEnumVariant { expected, found, .. } => Problem::new(
            UNKNOWN_CHOICE,
            format!("`{found}` is not a choice{place}."),
            find_word(text, &span, found),
        )
        .with_label("unknown choice")
        .with_help(choices(found, expected)),
        E::MissingStructField { field, .. } => {
            // RON points, with an empty span, at the closing bracket: mark the bracket.
            let span =
                if span.is_empty() { span.start..(span.start + 1).min(text.len()) } else { span };
            Problem::new(
                "fame::recipe::missing_field",
                format!("the parameter `{field}` is missing."),
                span,
            )
            .with_label(format!("add `{field}: …`"))
        }
        E::DuplicateStructField { field, .. } => repeated(text, &span, field),
        code => {
            let hint = hint::hint(text, code, end);
            let own_words = || code.to_string().trim_end_matches('.').to_owned();
            let mut message =
                hint.as_ref().and_then(|h| h.message.clone()).unwrap_or_else(own_words);
            if !place.is_empty() && !message.contains(&place) {
                message.push_str(&place);
            }
            message.push('.');
            if let Some(hint) = hint {
                return Problem::new("fame::recipe::wrong_value", message, hint.span)
                    .with_label("this value")
                    .with_help(Some(hint.help));
            }
            // After reading a value RON points behind it: the path knows better.
            let refused_whole = place.is_empty() && matches!(code, E::Message(_));
            let whole = refused_whole.then(|| tidy_span(text, 0..text.len()));
            let at_path = || {
                value_at(text, 0, &path)
                    .filter(|v| !(v.start <= span.start && span.end <= v.end && !span.is_empty()))
            };
            let span = whole.or_else(at_path).unwrap_or(span);
            Problem::new("fame::recipe::wrong_value", message, span).with_label("this value")
        }
    }
}

/// The code of a choice that a parameter does not have.
pub(crate) const UNKNOWN_CHOICE: &str = "fame::recipe::unknown_variant";

/// The help about the choice `found`: the nearest, and all where they are few. A near name is not
/// always what was meant.
fn choices(found: &str, known: &[&str]) -> Option<String> {
    const FEW: usize = 8;
    let help = suggestion(found, known, "choice")?;
    let is_near = help.starts_with("did you mean");
    let all = is_near && (2..=FEW).contains(&known.len());
    Some(if all { format!("{help} known: {}", quoted(known)) } else { help })
}

/// The problem of a parameter that is given twice, noticed at `span`: it marks the second, and says
/// where the first one is.
fn repeated(text: &str, span: &Range<usize>, field: &str) -> Problem {
    let second = find_word(text, span, field);
    let mut group = Some(scan::skip_blank(text, 0));
    let mut first = None;
    while let Some(entries) = group.and_then(|at| entries_within(text, at)) {
        if entries.iter().any(|e| e.key_span.start == second.start) {
            first = entries.into_iter().find(|e| e.key == field).map(|e| e.key_span.start);
            break;
        }
        let around = entries.iter().find(|e| e.value_span.contains(&second.start));
        group = around.map(|e| e.value_span.start);
    }
    // The text is a part of the recipe, whose lines are not known here: how far up is.
    let lines = first.filter(|at| *at < second.start).map(|at| {
        match text[at..second.start].matches('\n').count() {
            0 => ": first in this line".to_owned(),
            1 => ": first in the line above".to_owned(),
            n => format!(": first {n} lines above"),
        }
    });
    let message = format!("the parameter `{field}` is given twice{}.", lines.unwrap_or_default());
    Problem::new("fame::recipe::repeated_field", message, second)
        .with_label("given again")
        .with_help(Some("keep one of the two"))
}

/// The path, such as `map[1].sigma`, of the innermost value that a mistake marked at `span` is in:
/// what RON read last. Empty where it is the text as a whole.
fn path_at(text: &str, span: Range<usize>) -> String {
    let mut path = String::new();
    let mut group = scan::skip_blank(text, 0);
    while let Some(entries) = entries_within(text, group) {
        let Some(entry) = entries.iter().rfind(|e| e.value_span.start <= span.start) else { break };
        let value = entry.value_span.clone();
        // A group that was read to its end is refused as a whole.
        let ended =
            text.get(value.end..span.end).is_some_and(|rest| rest.contains([')', ']', '}']));
        if ended {
            break;
        }
        if entry.key_span == value {
            let _ = write!(path, "[{}]", entry.key);
        } else {
            let dot = if path.is_empty() { "" } else { "." };
            let _ = write!(path, "{dot}{}", entry.key);
        }
        if span.start >= value.end {
            break;
        }
        group = value.start;
    }
    path
}

/// Where the value at a path such as `map[1].sigma` stands, in the value that starts at `start`.
pub(crate) fn value_at(text: &str, start: usize, path: &str) -> Option<Range<usize>> {
    let mut span = None;
    let mut at = start;
    for key in path.split(['.', '[']).map(|k| k.trim_end_matches(']')).filter(|k| !k.is_empty()) {
        let entry = entries_within(text, at)?.into_iter().find(|e| e.key == key)?;
        at = entry.value_span.start;
        span = Some(entry.value_span);
    }
    span
}

/// The entries of the value at `at`, also where a newtype variant is around it: `Json(File(…))`.
fn entries_within(text: &str, at: usize) -> Option<Vec<scan::Entry>> {
    let inner = |_| {
        let open = scan::skip_blank(text, at + scan::identifier(&text[at..]));
        // Whatever stands there, also a character of several bytes.
        let bracket = text[open..].chars().next().map_or(0, char::len_utf8);
        scan::entries(text, open + bracket)
    };
    scan::entries(text, at).or_else(inner).ok()
}

/// RON's span may be empty, or cover blanks at its ends.
fn tidy_span(text: &str, span: Range<usize>) -> Range<usize> {
    let slice = &text[span.clone()];
    let start = span.start + (slice.len() - slice.trim_start().len());
    let end = span.start + slice.trim_end_matches([' ', '\n', '\t', '\r', ',', ':']).len();
    if start < end {
        return start..end;
    }
    // RON often points just before the value it could not take.
    let value = scan::skip_blank(text, span.start);
    scan::value_end(text, value).map_or(span, |end| value..end)
}

/// The occurrence of `word` nearest to `span`: RON sometimes points just past it.
fn find_word(text: &str, span: &Range<usize>, word: &str) -> Range<usize> {
    let is_word = |at: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(before) && !part(after)
    };
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| is_word(*at))
        .min_by_key(|at| at.abs_diff(span.start))
        .map_or_else(|| span.clone(), |at| at..at + word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        loss: Spec,
        #[serde(default)]
        also: Option<Vec<Spec>>,
        #[serde(default)]
        step: f32,
    }

    #[test]
    fn nested_specs_know_where_they_stand() {
        let text = "( /* é */ loss: Distance(norms: Frozen), also: [Gray, Blur ( sigma: 2 )] )";
        let outer: Outer = parse(text).unwrap();
        assert_eq!(&text[outer.loss.name_span.clone()], "Distance");
        assert_eq!(&text[outer.loss.body_at..][..6], "(norms");
        let also = outer.also.unwrap();
        assert_eq!(also[0].body, "()");
        assert_eq!(&text[also[1].body_at..][..7], "( sigma");
        assert_eq!(also[1].to_string(), "Blur( sigma: 2 )");
    }

    #[test]
    fn problems_point_at_the_word_that_is_wrong() {
        for (text, code, marked, help) in [
            ("(los: A())", "unknown_field", "los", Some("did you mean `loss`?")),
            ("(loss: A(), step: \"x\")", "wrong_value", "\"x\"", None),
            (
                "(loss: A(), also: [“B”])",
                "wrong_value",
                "“B”",
                Some("texts stand in straight double quotes: \"B\""),
            ),
            ("(loss: 3)", "wrong_value", "3", None),
            ("(step: 1)", "missing_field", ")", None),
        ] {
            let p = parse::<Outer>(text).unwrap_err();
            assert_eq!(p.code, format!("fame::recipe::{code}"), "{p:?}");
            assert!(
                text[p.span.clone()].contains(marked),
                "{text}: {p:?} marks {:?}",
                &text[p.span.clone()]
            );
            assert_eq!(p.help.as_deref(), help);
        }
    }

    #[test]
    fn problems_say_at_which_field_they_are() {
        #[derive(Debug, Deserialize)]
        struct Deep {
            #[serde(rename = "rows")]
            _rows: Vec<Vec<(String, f32)>>,
            #[serde(rename = "by")]
            _by: Option<std::collections::BTreeMap<String, u8>>,
        }
        for (text, place) in [
            ("(rows: [[(\"a\", 1)], [(\"b\", \"c\")]])", " at `rows[1][0]`."),
            ("(rows: [[], 3])", " at `rows[1]`."),
            ("(rows: [], by: {\"one\": 1, \"two\": 2.5})", " at `by.two`."),
            ("(rows: 7, by: {})", " at `rows`."),
            ("(rows: [], by: 7)", " at `by`."),
            ("(rows: [], by: {\"one\": 1, \"two\": \"x\"})", " at `by.two`."),
            ("(rows: [“a”])", " at `rows[0]`."),
        ] {
            let message = parse::<Deep>(text).unwrap_err().message;
            assert!(message.ends_with(place), "{text}: {message}");
        }
    }

    #[test]
    fn words_of_the_parser_come_with_a_way_out() {
        #[derive(Debug, Deserialize)]
        enum Kind {
            Plain,
            #[serde(rename = "Blur")]
            _Blur {
                #[serde(rename = "sigma")]
                _sigma: f32,
            },
        }
        #[derive(Debug, Deserialize)]
        struct Wanted {
            #[serde(rename = "path", default)]
            _path: String,
            #[serde(rename = "kind", default)]
            _kind: Option<Kind>,
            #[serde(rename = "kinds", default)]
            _kinds: Vec<Kind>,
            #[serde(rename = "steps", default)]
            _steps: usize,
            #[serde(rename = "counts", default)]
            _counts: Vec<u8>,
        }
        let straight = "texts stand in straight double quotes: \"my a.png\"";
        let named = "parameters are written `name: value`";
        let whole = "a whole number is expected";
        let comment = "comments begin with `//`";
        for (text, marked, begins, help) in [
            ("(path: “my a.png”)", "“my a.png”", "Expected string", straight),
            ("(path: 'my a.png')", "'my a.png'", "Expected string", straight),
            (
                "(path: a/b.png)",
                "a/b.png",
                "Expected string",
                "texts stand in straight double quotes: \"a/b.png\"",
            ),
            (
                "(kind: \"Plain\")",
                "\"Plain\"",
                "Expected identifier",
                "a choice stands without quotes: Plain",
            ),
            (
                "(kinds: [Plain, \"Plain\"])",
                "\"Plain\"",
                "Expected identifier",
                "a choice stands without quotes: Plain",
            ),
            (
                "(\"steps\": 3)",
                "\"steps\"",
                "Expected identifier",
                "a parameter's name stands without quotes: steps",
            ),
            ("(\"a.png\")", "\"a.png\"", "Expected identifier", named),
            ("(kind: Blur(10))", "10", "`10` is not the name of a parameter", named),
            ("(kind: 10)", "10", "`10` is not a choice", "a choice is a name, without quotes"),
            ("(steps: 2.5)", "2.5", "`2.5` is not a whole number", whole),
            ("(steps: 1e3)", "1e3", "`1e3` is not a whole number", whole),
            ("(counts: [1, 2.5, 3])", "2.5", "`2.5` is not a whole number", whole),
            ("(steps: -1)", "-1", "`-1` is below 0", "must be a whole number of at least 0"),
            ("(counts: [300])", "300", "`300` is too large", "take a number that is nearer to 0"),
            ("(steps: 3, # é\n)", "# é", "`#` begins no comment", comment),
            ("(steps: 3 # three\n)", "# three", "`#` begins no comment", comment),
            ("# all\n(steps: 3)", "# all", "`#` begins no comment", comment),
        ] {
            let p = parse::<Wanted>(text).unwrap_err();
            assert_eq!(p.code, "fame::recipe::wrong_value", "{text}: {p:?}");
            assert_eq!(&text[p.span.clone()], marked, "{text}: {p:?}");
            assert!(p.message.starts_with(begins), "{text}: {p:?}");
            assert_eq!(p.help.as_deref(), Some(help), "{text}");
        }
        // Texts in lists of plugins, which RON skips before they are read.
        let p = parse::<Outer>("(loss: A(), also: [B(path: 'my a.png')])").unwrap_err();
        assert_eq!(p.help.as_deref(), Some(straight), "{p:?}");
        // What needs no hint has none.
        assert!(parse::<Wanted>("(path: 7)").unwrap_err().help.is_none());
        assert!(parse::<Wanted>("(kind: Plain, path: r#\"#\"#)").is_ok());
    }

    #[test]
    fn a_parameter_that_is_given_twice_is_marked_where_it_comes_again() {
        for (text, marked, first) in [
            ("(loss: A(), step: 1, loss: B())", "loss: B())", "first in this line"),
            ("(step: 1.0,\n loss: A(),\n\n step: 2.0)", "step: 2.0)", "first 3 lines above"),
        ] {
            let p = parse::<Outer>(text).unwrap_err();
            assert_eq!(p.code, "fame::recipe::repeated_field", "{p:?}");
            assert_eq!(&text[p.span.start..], marked, "{p:?}");
            assert!(p.message.contains("is given twice") && p.message.contains(first), "{p:?}");
        }
    }

    #[test]
    fn curly_brackets_behind_a_nested_name_are_told() {
        let text = "(loss: Cam{a: 1}, step: 1.0)";
        let p = parse::<Outer>(text).unwrap_err();
        assert_eq!(&text[p.span.clone()], "{", "{p:?}");
        assert_eq!(p.help.as_deref(), Some("write `Cam(…)`"));
    }

    #[test]
    fn what_is_refused_as_a_whole_is_at_no_field() {
        #[derive(Debug, Deserialize)]
        #[serde(try_from = "Outer")]
        struct Checked;
        impl TryFrom<Outer> for Checked {
            type Error = &'static str;
            fn try_from(_: Outer) -> Result<Self, Self::Error> {
                Err("not today")
            }
        }
        let p = parse::<Checked>("(loss: A(), step: 1.5)").unwrap_err();
        assert_eq!((p.message.as_str(), p.span), ("not today.", 0..22));
    }

    proptest::proptest! {
        /// No parameter text, however broken, panics.
        #[test]
        fn any_text_is_survived(text in "[a-z(){}\\[\\],:\"'#r/*0-9. \\\\é“\n]{0,40}") {
            let _ = parse::<Outer>(&text);
            let _ = Spec::from_text(&text);
        }
    }
}
