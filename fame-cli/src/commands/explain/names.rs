//! The names of classes that an exporter left in an ONNX file.

use std::{iter::Skip, str::CharIndices};

use fame_core::Layer;
use fame_plugins::backends::verify::Graph;

/// The key under which Ultralytics' exporter writes `{0: 'person', 1: 'bicycle'}`.
const KEY: &str = "names";

/// The names in the order of the classes, where the file holds them.
pub(super) fn of(graph: &Graph) -> Vec<String> {
    graph.note(KEY).and_then(parse).unwrap_or_default()
}

/// Whether so many names can be those of a classifier with these layers: one of its outputs has as
/// many numbers, or as many channels, as a segmentation has. Where nothing is known of its layers
/// they may be.
pub(super) fn are_of_outputs(names: usize, layers: &[Layer]) -> bool {
    let mut outputs = layers.iter().filter(|layer| layer.is_output);
    layers.is_empty() || outputs.any(|output| output.shape.contains(&names))
}

/// Reads the names of a dictionary as Python prints it, whose keys are 0, 1, 2 and so on.
fn parse(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (key, behind) = rest.split_once(':')?;
        (key.trim().parse() == Ok(names.len())).then_some(())?;
        let (name, behind) = quoted(behind.trim_start())?;
        names.push(name);
        let behind = behind.trim_start();
        rest = if behind.is_empty() { behind } else { behind.strip_prefix(',')?.trim_start() };
    }
    Some(names)
}

/// The text between the quotes that `text` begins with, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let mut name = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((place, letter)) = letters.next() {
        match letter {
            '\\' => name.push(escaped(&mut letters)?),
            letter if letter == quote => return Some((name, &text[place + quote.len_utf8()..])),
            letter => name.push(letter),
        }
    }
    None
}

/// The character that stands behind a backslash, as Python writes what it does not print: `\n`,
/// `\x1b`, `\u202e`. A control character becomes a space: a name is one line.
fn escaped(letters: &mut Skip<CharIndices<'_>>) -> Option<char> {
    let digits = match letters.next()?.1 {
        'n' | 'r' | 't' => return Some(' '),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        letter => return Some(letter).filter(|letter| !letter.is_alphanumeric()),
    };
    let code: String = letters.take(digits).map(|(_, digit)| digit).collect();
    let letter = char::from_u32(u32::from_str_radix(&code, 16).ok()?)?;
    Some(if letter.is_control() { ' ' } else { letter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_an_output_of_as_many_numbers() {
        let layer = |shape: &[usize], is_output| Layer {
            name: "y".into(),
            op: "Gemm".into(),
            shape: shape.to_vec(),
            is_output,
            depends_on_input: true,
            reads: Vec::new(),
        };
        let of = |shape: &[usize]| are_of_outputs(4, &[layer(&[4], false), layer(shape, true)]);
        assert!(of(&[4]) && of(&[4, 8, 8]) && !of(&[5]) && are_of_outputs(4, &[]));
    }

    #[test]
    fn names_are_read_as_python_prints_them() {
        let read = |text: &str| parse(text).unwrap_or_default().join("|");
        assert_eq!(read("{0: 'person', 1: 'traffic light'}"), "person|traffic light");
        assert_eq!(
            read(r#"{0: "child's chair", 1: 'a, b: {c}', 2: 'it\'s'}"#),
            "child's chair|a, b: {c}|it's"
        );
        assert_eq!(
            read(r"{0: 'a\nb\x1b', 1: 'na\xefve', 2: 'x\u0301\U0001f415', 3: '\\'}"),
            "a b |naïve|x\u{301}🐕|\\"
        );
        assert_eq!(read("{}"), "");
        for broken in [
            "",
            "[]",
            "{1: 'a'}",
            "{0: 'a', 2: 'b'}",
            "{0: 'a}",
            "{0: a}",
            "{0: 'a' 1: 'b'}",
            r"{0: '\q'}",
            r"{0: '\x4'}",
            r"{0: '\ud800'}",
        ] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}
