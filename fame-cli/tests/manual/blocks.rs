//! Fenced blocks of a page, and the words of a command line.

/// A fenced block.
pub(crate) struct Block {
    /// The words of its first line.
    info: Vec<String>,
    pub(crate) code: String,
    /// The line it starts on, from 1.
    pub(crate) line: usize,
}

impl Block {
    /// Whether it is in this language.
    pub(crate) fn is(&self, language: &str) -> bool {
        self.info.first().is_some_and(|word| word == language)
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.info.iter().skip(1).any(|other| other == word)
    }

    /// The file that it is.
    pub(crate) fn file(&self) -> Option<&str> {
        self.info.iter().find_map(|word| word.strip_prefix("file="))
    }

    /// The network that its script exports.
    pub(crate) fn exports(&self) -> Option<&str> {
        self.info.iter().find_map(|word| word.strip_prefix("exports="))
    }
}

pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (n, line) in text.lines().enumerate() {
        if let Some(info) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                let info = info.split_whitespace().map(str::to_owned).collect();
                found.push(Block { info, code: String::new(), line: n + 1 });
            }
        } else if inside && let Some(block) = found.last_mut() {
            block.code += line;
            block.code.push('\n');
        }
    }
    found
}

/// The words of a line as a shell takes them: quotes, and a comment behind `#`. `None` for a line
/// without words.
pub(crate) fn words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut open) = (None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                if !open {
                    words.push(String::new());
                    open = true;
                }
            }
            (None, '#') if !open => break,
            (None, c) if c.is_whitespace() => open = false,
            (_, c) => {
                if !open {
                    words.push(String::new());
                    open = true;
                }
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    Some(words).filter(|words| !words.is_empty())
}

#[test]
fn words_are_those_of_a_shell() {
    let line = r#"fame-cli run r.ron --set 'a="b c"' x#y  # comment"#;
    assert_eq!(words(line).unwrap(), ["fame-cli", "run", "r.ron", "--set", r#"a="b c""#, "x#y"]);
    assert!(words("  # nothing").is_none());
}

#[test]
fn blocks_know_their_language_and_place() {
    let found = blocks("a\n```sh run\nx\n```\n```ron file=r.ron\n(\n)\n```\n");
    assert!(found[0].is("sh") && found[0].has("run") && found[0].line == 2);
    assert_eq!((found[1].file(), found[1].code.as_str()), (Some("r.ron"), "(\n)\n"));
}
