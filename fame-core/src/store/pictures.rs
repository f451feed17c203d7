//! Pictures by name: one RON file per package.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::source::{Package, Source, check_inner_path, check_sha256};
use super::text::{self, Problems};
use crate::Result;

/// A picture that recipes may name `picture:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureManifest {
    /// The name without `picture:`.
    pub name: String,
    /// Who or what is on it, by whom.
    pub credit: String,
    /// Under which terms the package gives it.
    pub rights: String,
    /// Where it comes from.
    pub source: Source,
}

/// The file as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Pictures")]
struct PicturesText {
    source: Package,
    rights: String,
    pictures: BTreeMap<String, PictureText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "Picture")]
struct PictureText {
    file: String,
    sha256: String,
    credit: String,
    /// Where it differs from the package's.
    rights: Option<String>,
}

/// The pictures of one file; `place` names it in errors.
pub(super) fn parse(place: &str, text: &str) -> Result<Vec<PictureManifest>> {
    let typed: PicturesText = text::parse(place, text)?;
    let mut problems = Problems::default();
    typed.source.problems("source", &mut problems);
    let mut pictures = Vec::new();
    for (name, picture) in typed.pictures {
        check_inner_path("pictures: the name", &name, &mut problems);
        check_inner_path(&format!("pictures.{name}.file"), &picture.file, &mut problems);
        check_sha256(&format!("pictures.{name}.sha256"), &picture.sha256, &mut problems);
        let source = inside(&typed.source, picture.file, picture.sha256);
        pictures.push(PictureManifest {
            name,
            credit: picture.credit,
            rights: picture.rights.unwrap_or_else(|| typed.rights.clone()),
            source,
        });
    }
    problems.into_result(place)?;
    Ok(pictures)
}

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
        `pictures/p.ron` has 5 problems:
          - source.archive_sha256 `x` is not 64 lower-case hex digits.
          - pictures: the name `a/../b` is not a plain relative path.
          - pictures.a/../b.sha256 `2` is not 64 lower-case hex digits.
          - pictures.cat.file `/cat.jpg` is not a plain relative path.
          - pictures.cat.sha256 `1` is not 64 lower-case hex digits.
        "#);
    }
}
