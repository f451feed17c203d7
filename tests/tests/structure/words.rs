//! Words that fame-core must not know: names of tasks, of roles of one task, of methods, and of
//! what a recipe gets when it says nothing.
//!
//! They are looked for in code, docs and tests alike. Tests are no exception: a core whose tests
//! need a method knows that method, and the test kit has plugins of its own for them.

use super::SourceFile;

/// Each word with the reason why it has no place in the core.
const FORBIDDEN: &[(&str, &str)] = &[
    ("Task", "a manifest says as text what it asks"),
    ("FaceRecognition", "a task"),
    ("Preset", "published defaults belong to the plugins that follow them"),
    ("Gallery", "a role of one task: roles are names of the dataset"),
    ("gallery", "a role of one task: roles are names of the dataset"),
    ("GALLERY", "a role of one task: roles are names of the dataset"),
    ("Probe", "a role of one task: roles are names of the dataset"),
    ("probe", "a role of one task: roles are names of the dataset"),
    ("PROBE", "a role of one task: roles are names of the dataset"),
    ("genuine", "a label of one task"),
    ("impostor", "a label of one task"),
    ("Tract", "an engine"),
    ("Tch", "an engine"),
    ("Npy", "a writer"),
    ("Overlay", "a writer"),
    ("AlignFace", "a prepare step of one task"),
    ("ResizeShorter", "a prepare step"),
    ("CenterCrop", "a prepare step"),
    ("Similarity", "a loss"),
    ("Dissimilarity", "a loss"),
    ("Logit", "a loss"),
    ("FeatureMapCell", "a loss"),
    ("Lots", "a perturbation"),
    ("Fame", "an explainer"),
    ("GradCam", "an explainer"),
    ("GaussianBlur", "a map step"),
    ("MaxNormalize", "a map step"),
    ("Road", "a metric"),
    ("loss_before", "a fact of one family of explainers"),
    ("loss_after", "a fact of one family of explainers"),
];

/// One line for every place where a forbidden word stands.
pub(crate) fn find(files: &[SourceFile]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        for (n, line) in text.lines().enumerate() {
            for (word, reason) in FORBIDDEN {
                if line.match_indices(word).any(|(at, _)| stands_alone(line, at, word)) {
                    found.push(format!("{path}:{}: `{word}` ({reason}): {}", n + 1, line.trim()));
                }
            }
        }
    }
    found
}

/// Whether the `word` at `at` is a word of its own, alone or inside a longer name (`is_genuine`,
/// `TaskKind`), and not a part of another word (`Tractable`, `Multitask`).
fn stands_alone(line: &str, at: usize, word: &str) -> bool {
    let capital = word.starts_with(char::is_uppercase);
    let shouted = word.chars().all(|c| c.is_uppercase() || c == '_');
    let before = line[..at].chars().next_back();
    let after = line[at + word.len()..].chars().next();
    let begins = match before {
        Some(c) if c.is_alphabetic() => capital && !shouted && c.is_lowercase(),
        _ => true,
    };
    let ends = match after {
        Some(c) if c.is_alphabetic() => !shouted && c.is_uppercase(),
        _ => true,
    };
    begins && ends
}

#[cfg(test)]
mod tests {
    use super::{super::made_up, *};

    #[test]
    fn a_forbidden_word_is_found_in_code_docs_and_names() {
        let files = made_up(&[
            ("a.rs", "/// Asks with `Similarity()`.\nfn f(task: Task) {}\n"),
            ("b/c.rs", "struct TaskKind;\nfn is_genuine() {}\nconst X: &str = \"GALLERY_1\";"),
        ]);
        let places: Vec<String> = find(&files)
            .iter()
            .map(|line| line.split(" (").next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(
            places,
            [
                "a.rs:1: `Similarity`",
                "a.rs:2: `Task`",
                "b/c.rs:1: `Task`",
                "b/c.rs:2: `genuine`",
                "b/c.rs:3: `GALLERY`",
            ]
        );
    }

    #[test]
    fn parts_of_other_words_are_no_words() {
        let files = made_up(&[(
            "a.rs",
            "// Multitask, Tractable, probes, Probes, disingenuous, taskless, Logits, subtract(x)\n",
        )]);
        assert_eq!(find(&files), Vec::<String>::new());
    }
}
