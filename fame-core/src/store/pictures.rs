//! Pictures by name: one RON file per package.

use serde::Deserialize;

use super::{
    checks::{Checks, unsound},
    source::{Package, Source, check_inner_path, check_sha256, is_inner_path},
};
use crate::{
    Result,
    text::{Fields, Problem},
};

/// A picture that recipes may name `picture:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureManifest {
    /// The name without `picture:`.
    pub name: String,
    /// Subject and author of the picture.
    pub credit: String,
    /// Terms under which the package gives it.
    pub rights: String,
    /// Origin of the picture's file.
    pub source: Source,
}

/// The fields of a list of pictures.
const FIELDS: [&str; 3] = ["source", "rights", "pictures"];

/// The form of a list of pictures, for messages.
const EXAMPLE: &str = "(source: …, rights: …, pictures: {…})";

/// An entry of the field `pictures` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Picture")]
struct PictureText {
    file: String,
    sha256: String,
    credit: String,
    /// Terms of this picture, where they differ from the package's.
    rights: Option<String>,
}

/// The pictures of one file; `place` names it in errors.
///
/// # Errors
/// As [`super::ModelManifest::parse`].
pub(super) fn parse(place: &str, text: &str) -> Result<Vec<PictureManifest>> {
    let mut fields = Fields::cut(text, "list of pictures", &FIELDS, EXAMPLE)
        .map_err(|problem| unsound(place, text, vec![problem], Vec::new()))?;
    let source = fields.required::<Package>("source").map(|source| source.value);
    let rights = fields.required::<String>("rights").map(|rights| rights.value);
    let entries = match fields.entry("pictures") {
        Some(_) => fields.group("pictures", '{', "a map of named pictures: {\"cat\": (…)}"),
        None => fields.required::<()>("pictures").map(|_| Vec::new()),
    };
    let mut checks = Checks::of(text);
    if let Some(source) = &source {
        source.check("source", &mut checks);
    }
    let mut pictures = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for entry in entries.unwrap_or_default() {
        let name = entry.key;
        if !is_inner_path(&name) {
            let message = format!("a picture cannot be called `{name}`: no plain relative path.");
            fields.problems.push(Problem::new(NAME, message, entry.key_span.clone()));
        }
        if names.contains(&name) {
            let message = format!("two pictures are called `{name}`.");
            fields.problems.push(Problem::new(NAME, message, entry.key_span));
        }
        if let Some(picture) = fields.value::<PictureText>(entry.value_span) {
            checks.enter(&format!("pictures.{name}"), &picture.span);
            check_inner_path("file", &picture.value.file, &mut checks);
            check_sha256("sha256", &picture.value.sha256, &mut checks);
            pictures.push((name.clone(), picture.value));
        }
        names.push(name);
    }
    let (form, values) = (fields.problems, checks.into_problems());
    let (Some(source), Some(rights), true) = (source, rights, form.is_empty() && values.is_empty())
    else {
        return Err(unsound(place, text, form, values));
    };
    let manifest = |(name, picture): (String, PictureText)| PictureManifest {
        name,
        credit: picture.credit,
        rights: picture.rights.unwrap_or_else(|| rights.clone()),
        source: inside(&source, picture.file, picture.sha256),
    };
    Ok(pictures.into_iter().map(manifest).collect())
}

/// The code of a picture's name that cannot be.
const NAME: &str = "fame::model::manifest";

/// The source of a file inside `package`.
fn inside(package: &Package, file: String, sha256: String) -> Source {
    match package.clone() {
        Package::Npm { package, version, archive_sha256 } => {
            Source::Npm { package, version, archive_sha256, file, sha256 }
        }
        Package::PyPi { package, version, archive, archive_sha256 } => {
            Source::PyPi { package, version, archive, archive_sha256, file, sha256 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_pictures_gives_each_its_source_and_rights() {
        let a = "a".repeat(64);
        let text = format!(
            r#"(
                source: PyPi(package: "p", version: "1.0", archive: Sdist, archive_sha256: "{a}"),
                rights: "MIT",
                pictures: {{
                    "cat": (file: "p-1.0/cat.jpg", sha256: "{a}", credit: "a cat"),
                    "dog": (file: "p-1.0/dog.jpg", sha256: "{a}", credit: "a dog", rights: "CC0"),
                }},
            )"#
        );
        let pictures = parse("pictures/p.ron", &text).unwrap();
        assert_eq!(
            pictures.iter().map(|p| (p.name.as_str(), p.rights.as_str())).collect::<Vec<_>>(),
            [("cat", "MIT"), ("dog", "CC0")]
        );
        assert_eq!(pictures[1].source.packaged().unwrap().1, "p-1.0/dog.jpg");
    }

    #[test]
    fn the_mistakes_of_a_file_are_reported_together() {
        let text = r#"(
            source: Npm(package: "p", version: "1.0", archive_sha256: "x"),
            rights: "",
            pictures: { "cat": (file: "/cat.jpg", sha256: "1", credit: ""), "a/../b": (file: "b", sha256: "2", credit: "") },
        )"#;
        insta::assert_snapshot!(parse("pictures/p.ron", text).unwrap_err(), @r#"
        `pictures/p.ron` has 5 errors:
          2:71: source.archive_sha256 `x` is not 64 lower-case hex digits.
          4:39: pictures.cat.file `/cat.jpg` is not a plain relative path.
          4:59: pictures.cat.sha256 `1` is not 64 lower-case hex digits.
          4:77: a picture cannot be called `a/../b`: no plain relative path.
          4:107: pictures.a/../b.sha256 `2` is not 64 lower-case hex digits.
        "#);
    }
}
