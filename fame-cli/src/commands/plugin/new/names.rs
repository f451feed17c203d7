//! From the name on the command line to those of a crate, a library and a type.

use fame_core::{Error, Result};

/// The longest name that fits into a plugin's declaration, with room for its end.
const LONGEST: usize = 60;

/// Names that cargo or the language keeps for itself, and those of what every template depends on.
const RESERVED: [&str; 56] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "fame_core",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "image",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "schemars",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "tempfile",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "use",
    "where",
];

/// One name in its three forms.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Of the crate and its folder: `my-loss`.
    pub(super) package: String,
    /// Of the library: `my_loss`.
    pub(super) library: String,
    /// Of the type, and of the plugin in recipes: `MyLoss`.
    pub(super) plugin: String,
}

impl Names {
    /// All forms of `name`, given in any of them.
    ///
    /// # Errors
    /// Characters that no crate may have, a name that is taken by the language or too long.
    pub(super) fn parse(name: &str) -> Result<Self> {
        let refuse = |why: String| {
            Err(Error::new("fame::plugin::name", why)
                .with_help("A name is letters, digits, `-` and `_`, and begins with a letter: `my-loss`, or `MyLoss`."))
        };
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return refuse(format!("`{name}` does not begin with a letter."));
        }
        if let Some(odd) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_".contains(*c)))
        {
            return refuse(format!("`{name}` holds `{odd}`."));
        }
        let words = words(name);
        let library = words.join("_").to_ascii_lowercase();
        if library.len() > LONGEST {
            return refuse(format!("`{name}` is longer than {LONGEST} characters."));
        }
        if RESERVED.contains(&library.as_str()) {
            return refuse(format!(
                "`{library}` is a word of the language, of cargo or of fame, so no plugin can be called so."
            ));
        }
        Ok(Self {
            package: library.replace('_', "-"),
            library,
            plugin: words.iter().map(|w| capitalised(w)).collect(),
        })
    }
}

/// The words of `my-loss`, `my_loss` or `MyLoss`: an upper-case letter begins one, unless another
/// stands before it and none but upper-case ones follow.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (i, letter) in letters.iter().enumerate() {
        if "-_".contains(*letter) {
            words.push(String::new());
            continue;
        }
        let after_lower =
            i > 0 && (letters[i - 1].is_ascii_lowercase() || letters[i - 1].is_ascii_digit());
        let before_lower = letters.get(i + 1).is_some_and(char::is_ascii_lowercase);
        let begins = letter.is_ascii_uppercase() && i > 0 && (after_lower || before_lower);
        if begins && words.last().is_some_and(|w| !w.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(*letter);
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_leads_to_the_same_names() {
        let names = |package: &str, plugin: &str| Names {
            package: package.into(),
            library: package.replace('-', "_"),
            plugin: plugin.into(),
        };
        for given in ["my-loss", "my_loss", "MyLoss", "My-Loss", "my--loss_"] {
            assert_eq!(Names::parse(given).unwrap(), names("my-loss", "MyLoss"), "{given}");
        }
        assert_eq!(Names::parse("XGradCam2").unwrap(), names("x-grad-cam2", "XGradCam2"));
        assert_eq!(Names::parse("LPIPSLoss").unwrap(), names("lpips-loss", "LPIPSLoss"));
        assert_eq!(Names::parse("iou").unwrap(), names("iou", "Iou"));
    }

    #[test]
    fn what_cannot_be_a_crate_is_refused_with_the_reason() {
        let said = |name: &str| Names::parse(name).unwrap_err().message;
        assert_eq!(said("2nd"), "`2nd` does not begin with a letter.");
        assert_eq!(said(""), "`` does not begin with a letter.");
        assert_eq!(said("../evil"), "`../evil` does not begin with a letter.");
        assert_eq!(said("my loss"), "`my loss` holds ` `.");
        assert_eq!(said("größe"), "`größe` holds `ö`.");
        assert!(said("Struct").starts_with("`struct` is a word of the language"));
        assert!(said("fame-core").starts_with("`fame_core` is a word of"));
        assert!(said(&"a".repeat(61)).contains("longer than 60"));
    }
}
