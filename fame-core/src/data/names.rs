//! Names that are safe in paths, and the seeds made from them.

use std::borrow::Cow;

use super::sha256_hex;

/// The most bytes of an item's id, and of what stands in front of a file's endings. The names of
/// files and folders have at most 255 on the usual systems; a number or an ending goes behind.
const LONGEST: usize = 200;

/// The digits of the hash at the end of a name that was cut.
const DIGITS: usize = 16;

/// `text` as a name that may be a part of a file's name, of any length: everything but letters,
/// digits, `.`, `_` and `-` becomes `_`, and it never starts with a dot.
pub fn safe_name(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = text.chars().map(keep).collect();
    if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name }
}

/// The item id made of `text`: its [`safe_name`], and where that has more than 200 bytes, or a
/// letter or digit of `text` has become `_`, the beginning of it with a hash of `text`: two long
/// texts, or two words of another script, get two ids.
pub fn safe_id(text: &str) -> String {
    let name = safe_name(text);
    let is_lossy = text.chars().any(|c| !c.is_ascii() && c.is_alphanumeric());
    if name.len() <= LONGEST && !is_lossy { name } else { cut(&name, text) }
}

/// The name of a file: `stem` with what stands behind it, such as `.raw.npy`. Of a stem of more
/// than 200 bytes it is the beginning with a hash of the whole, and so unique as the stem is: the
/// names of maps hold labels of any length. Whoever reads the file makes its name here too.
pub fn file_name(stem: &str, ending: &str) -> String {
    let stem =
        if stem.len() <= LONGEST { Cow::Borrowed(stem) } else { Cow::Owned(cut(stem, stem)) };
    format!("{stem}{ending}")
}

/// The beginning of `name` with a hash of `whole`, in [`LONGEST`] bytes at most.
fn cut(name: &str, whole: &str) -> String {
    let mut end = name.len().min(LONGEST - DIGITS - 1);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{}", &name[..end], &sha256_hex(whole.as_bytes())[..DIGITS])
}

/// The seed of an item: it depends on the run's seed and the item's id only, never on order or
/// thread.
pub fn seed_of(run: u64, id: &str) -> u64 {
    let digest = sha256_hex(format!("{run}/{id}").as_bytes());
    u64::from_str_radix(&digest[..16], 16).unwrap_or(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_to_bytes_and_stay_different() {
        let long = |last: char| format!("{}{last}", "ä".repeat(150));
        let names = [long('a'), long('b')].map(|stem| file_name(&stem, ".raw.npy"));
        for name in &names {
            assert!(name.len() <= 208 && name.ends_with(".raw.npy"), "{name}");
        }
        assert_ne!(names[0], names[1]);
        assert_eq!(names[0], file_name(&long('a'), ".raw.npy"), "the same in every run");
        assert_eq!(file_name(&"x".repeat(200), ".npy"), format!("{}.npy", "x".repeat(200)));
    }

    #[test]
    fn long_ids_are_cut_and_stay_what_they_are() {
        // Alike where they are cut, and alike as safe names too.
        let [one, two] = ["ä", "ö"].map(|letter| safe_id(&letter.repeat(300)));
        assert!(one.len() == 200 && one != two && one.starts_with("____"), "{one} {two}");
        assert_eq!(safe_id(&one), one);
        assert_eq!(safe_name(&"ä".repeat(300)).len(), 300);
        assert_eq!((safe_id("a b/.–"), safe_id(".a")), ("a_b_._".to_owned(), "_.a".to_owned()));
        // Two words of three letters.
        let [one, two] = ["قطة", "كلب"].map(safe_id);
        assert!(one.starts_with("___-") && one != two, "{one} {two}");
        assert_eq!(safe_id(&one), one);
    }
}
