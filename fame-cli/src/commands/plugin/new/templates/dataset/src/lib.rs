//! `Scaffold`: pictures named by a list file, with their classes.

use fame_core::{
    Error, Picture, Result, Sample, Tensor,
    contract::{Dataset, Files, ItemRef}, data::safe_id,
    registry::{BuildContext, Assembly, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// The role of a sample's only picture.
const IMAGE: &str = "image";

/// A text file with one picture per line: `path` or `path,class`, the class counted from 0.
/// Paths start from the list's folder. Empty lines and lines that begin with `#` are passed
/// over; of all others every malformed one is reported, with its line, before anything runs.
/// An item is called after its line and file: `2-cat`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scaffold {
    /// The list, relative to the recipe.
    pub list: String,
}

impl Plugin<dyn Dataset> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "Pictures named by a list file, with their classes";
    const EXAMPLE: &'static str = r#"Scaffold(list: "pictures/list.csv")"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("list", !self.list.is_empty(), "must name a file");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: Scaffold);

/// One line of the list: the picture, and its class as written.
fn parse(line: &str) -> std::result::Result<(&str, &str), String> {
    let (path, class) = line.split_once(',').unwrap_or((line, ""));
    let (path, class) = (path.trim(), class.trim());
    if path.is_empty() {
        return Err("names no picture".to_owned());
    }
    if !class.is_empty() && class.parse::<usize>().is_err() {
        return Err(format!("`{class}` is not a class (a whole number from 0)"));
    }
    Ok((path, class))
}

impl Scaffold {
    fn text(&self, files: &dyn Files) -> Result<String> {
        let path = files.locate(&self.list)?;
        std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, &e))
    }

    /// `path` of the list as the recipe would write it.
    fn beside_the_list(&self, path: &str) -> String {
        match self.list.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{path}"),
            None => path.to_owned(),
        }
    }
}

impl Dataset for Scaffold {
    fn files(&self) -> Vec<String> {
        vec![self.list.clone()]
    }

    // Small: names and places. Pictures are decoded one by one, in `load`.
    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let (mut items, mut wrong) = (Vec::new(), Vec::new());
        for (n, line) in self.text(files)?.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse(line) {
                Ok((path, class)) => {
                    let stem =
                        path.rsplit('/').next().unwrap_or(path).split('.').next().unwrap_or(path);
                    let id = safe_id(&format!("{}-{stem}", n + 1));
                    items.push(ItemRef {
                        id,
                        files: vec![self.beside_the_list(path)],
                        note: class.to_owned(),
                    });
                }
                Err(why) => wrong.push(format!("line {}: {why}", n + 1)),
            }
        }
        if wrong.is_empty() {
            return Ok(items);
        }
        Err(Error::new(
            "scaffold_crate::list",
            format!("`{}` is malformed: {}.", self.list, wrong.join("; ")),
        )
        .with_help("Each line is `path` or `path,class`."))
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        let mut pictures = Vec::new();
        for file in &item.files {
            let pixels = decode(&files.locate(file)?).map_err(|e| e.at(format!("`{file}`")))?;
            pictures.push((IMAGE.to_owned(), Picture::new(pixels, file)?));
        }
        // `index` wrote it, so it parses or is empty.
        let label = item.note.parse().ok();
        Ok(Sample { id: item.id.clone(), pictures, label, ..Sample::default() })
    }
}

/// The picture at `path` as RGB `[3, H, W]` in 0..=1.
fn decode(path: &std::path::Path) -> Result<Tensor> {
    let broken = |e: &dyn std::fmt::Display| {
        Error::new("scaffold_crate::picture", format!("cannot be decoded: {e}."))
    };
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
    let rgb = image::load_from_memory(&bytes).map_err(|e| broken(&e))?.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    let mut planes = Vec::with_capacity(3 * width * height);
    for channel in 0..3 {
        planes.extend(rgb.pixels().map(|pixel| f32::from(pixel[channel]) / 255.0));
    }
    Tensor::new([3, height, width], planes)
}
