//! Rust source with everything blanked out that is not code: comments, strings, test modules.

/// `text` with comments, and the insides of strings and characters, replaced by spaces. Line breaks
/// stay, so that line numbers do.
pub(crate) fn without_comments_and_strings(text: &str) -> String {
    let all: Vec<char> = text.chars().collect();
    let mut out: Vec<char> = all.clone();
    let mut i = 0;
    while i < all.len() {
        let end = match all[i] {
            '/' if all.get(i + 1) == Some(&'/') => line_end(&all, i),
            '/' if all.get(i + 1) == Some(&'*') => block_end(&all, i),
            '"' => string_end(&all, i),
            'r' | 'b' if starts_raw(&all, i) => raw_end(&all, i),
            '\'' => char_end(&all, i),
            _ => i + 1,
        };
        if end > i + 1 {
            out[i..end].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
        }
        i = end;
    }
    out.into_iter().collect()
}

fn line_end(all: &[char], from: usize) -> usize {
    (from..all.len()).find(|i| all[*i] == '\n').unwrap_or(all.len())
}

fn block_end(all: &[char], from: usize) -> usize {
    let (mut depth, mut i) = (0, from);
    while i + 1 < all.len() {
        match (all[i], all[i + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
    }
    all.len()
}

fn string_end(all: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < all.len() {
        match all[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    all.len()
}

/// Whether `r"`, `r#"`, `br"`, … stands at `i`, and not the end of a longer word.
fn starts_raw(all: &[char], i: usize) -> bool {
    let inside = i > 0 && (all[i - 1].is_alphanumeric() || all[i - 1] == '_');
    let r = if all[i] == 'b' { i + 1 } else { i };
    let hashes = all[(r + 1).min(all.len())..].iter().take_while(|c| **c == '#').count();
    !inside && all.get(r) == Some(&'r') && all.get(r + 1 + hashes) == Some(&'"')
}

fn raw_end(all: &[char], from: usize) -> usize {
    let open = (from..all.len()).find(|i| all[*i] == '"').unwrap_or(from);
    let hashes = all[from..open].iter().filter(|c| **c == '#').count();
    let closes = |i: usize| {
        all[i] == '"' && all[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (open + 1..all.len()).find(|i| closes(*i)).map_or(all.len(), |i| i + 1 + hashes)
}

/// The end of a character such as `'a'` or `'\n'`; a lifetime is no character.
fn char_end(all: &[char], from: usize) -> usize {
    match (all.get(from + 1), all.get(from + 2)) {
        (Some('\\'), _) => {
            (from + 3..all.len()).find(|i| all[*i] == '\'').map_or(all.len(), |i| i + 1)
        }
        (Some(_), Some('\'')) => from + 3,
        _ => from + 1,
    }
}

/// `code` (without comments and strings) with every `#[cfg(test)] mod name { … }` replaced by
/// spaces.
pub(crate) fn without_test_modules(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    for (at, _) in code.match_indices(ATTRIBUTE) {
        let rest = code[at + ATTRIBUTE.len()..].trim_start();
        let open = at + code[at..].find(['{', ';']).unwrap_or(code.len() - at);
        if !rest.starts_with("mod ") || !code[open..].starts_with('{') {
            continue;
        }
        let end = braces_end(code, open);
        let blank: String =
            code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        // A blanked character may have been longer than a space: the rest is put behind it anew.
        out = format!("{}{blank}{}", &out[..at], &code[end..]);
        debug_assert_eq!(out.matches('\n').count(), code.matches('\n').count());
        if blank.len() != end - at {
            return without_test_modules(&out);
        }
    }
    out
}

fn braces_end(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (i, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + i + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn only_code_is_left() {
    let text = "let a = \"crate::x \\\" // no\"; // crate::y\n/* /* crate::z */ é */ let b = r#\"\"crate\"#;\n\
                fn f<'a>(c: &'a char) { c == '\\'' || c == '\"' } // end\n";
    let code = without_comments_and_strings(text);
    assert!(!code.contains("crate") && code.contains("fn f<'a>(c: &'a char) { c =="), "{code}");
    assert!(!code.contains("end") && code.matches('\n').count() == 3, "{code}");
    let code = "use a;\n#[cfg(test)]\nmod tests {\n use b; { }\n}\nuse c;\n#[cfg(test)]\nuse d;\n";
    let code = without_test_modules(code);
    assert_eq!(code.split_whitespace().collect::<String>(), "usea;usec;#[cfg(test)]used;");
    assert_eq!(code.matches('\n').count(), 8);
}
