//! Synthetic data on disk, as the field's data sets lie there.

use std::{
    fmt::Write as _,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use fame_core::{Error, Result};
use image::{RgbImage, codecs::jpeg::JpegEncoder};

use super::{
    faces::face,
    shapes::{CLASSES, Shape, shape},
};
use crate::pictures::encode_png;

/// A layout of files that a dataset reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// ImageNet's validation set in one folder, with Kaggle's list, the FAME authors' protocol, and
    /// VOC boxes.
    ImagenetFlat,
    /// The same with a folder for each class.
    ImagenetFolder,
    /// Shapes with a list of paths, labels and boxes.
    ImageList,
    /// Faces with the FAME authors' `G,P,T` list.
    GptCsv,
    /// Faces with a list `path path label`.
    PairsText,
    /// Faces as Labeled Faces in the Wild.
    Lfw,
    /// Faces as Celebrities in Frontal-Profile.
    Cfp,
    /// Faces with a CSV protocol of bob.bio.
    Bob,
    /// The same under the names of older releases, without a list of comparisons.
    BobOld,
    /// Faces in one file, as insightface's sets.
    InsightfaceBin,
}

/// Its name on the command line, and what it is.
const NAMES: [(Layout, &str, &str); 10] = [
    (
        Layout::ImagenetFlat,
        "imagenet-flat",
        "shapes as ImageNet's validation set: one folder, both CSV lists, VOC boxes",
    ),
    (
        Layout::ImagenetFolder,
        "imagenet-folder",
        "shapes as ImageNet's validation set: a folder for each class",
    ),
    (Layout::ImageList, "image-list", "shapes with a list of paths, labels and boxes"),
    (Layout::GptCsv, "gpt-csv", "faces with the FAME authors' G,P,T list"),
    (Layout::PairsText, "pairs-text", "faces with a list `path path label`"),
    (Layout::Lfw, "lfw", "faces as Labeled Faces in the Wild, pairs.txt"),
    (Layout::Cfp, "cfp", "faces as Celebrities in Frontal-Profile, FF and FP"),
    (Layout::Bob, "bob", "faces with a CSV protocol of bob.bio"),
    (Layout::BobOld, "bob-old", "the same with the older names, all against all"),
    (Layout::InsightfaceBin, "insightface-bin", "faces in one pickle, as insightface's sets"),
];

impl Layout {
    /// Every layout with its name on the command line and what it is.
    pub fn all() -> impl Iterator<Item = (Self, &'static str, &'static str)> {
        NAMES.into_iter()
    }

    /// True for shapes, false for faces.
    pub fn is_shapes(self) -> bool {
        matches!(self, Self::ImagenetFlat | Self::ImagenetFolder | Self::ImageList)
    }
}

/// An order for made-up pictures.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    /// The layout of files on disk.
    pub layout: Layout,
    /// Number of pictures of shapes, or of pairs of faces; 2 to 50,000. Layouts with folds round it
    /// down to what all folds can share.
    pub count: usize,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Shorter side of a picture of a shape, side of a face, in pixels; 16 to 512.
    pub side: u32,
}

/// A pair: person and shot of either side, and whether both show the same person.
type Pair = ([(usize, usize); 2], bool);

impl Synthetic {
    /// Draws everything into the folder `out`, which must not exist: it appears whole or not at
    /// all. The same request gives the same bytes.
    ///
    /// # Errors
    /// When the request is out of range, `out` exists, or cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        if !(2..=50_000).contains(&self.count) || !(16..=512).contains(&self.side) {
            let message = format!(
                "{} pictures or pairs of {} pixels cannot be drawn.",
                self.count, self.side
            );
            return Err(Error::new("fame::synth::range", message)
                .with_help("Ask for 2 to 50,000, of 16 to 512 pixels."));
        }
        if out.exists() {
            return Err(Error::new(
                "fame::synth::exists",
                format!("`{}` is there already.", out.display()),
            )
            .with_help("Name a folder that does not exist yet: nothing is overwritten."));
        }
        let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let draft = out.with_file_name(format!(".draft-{}-{name}", std::process::id()));
        let done = self
            .draw(&Folder(draft.clone()))
            .and_then(|()| fs::rename(&draft, out).map_err(|e| Error::io("write", out, &e)));
        if done.is_err() {
            let _ = fs::remove_dir_all(&draft);
        }
        done
    }

    /// The datasets that read the folder `root`, as a recipe writes them.
    pub fn specs(&self, root: &str) -> Vec<String> {
        let root = root.trim_end_matches('/');
        match self.layout {
            Layout::ImagenetFlat => vec![
                format!(
                    r#"ImageNet(root: "{root}/val", list: "{root}/LOC_val_solution.csv", classes: "{root}/LOC_synset_mapping.txt")"#
                ),
                format!(
                    r#"ImageNet(root: "{root}/val", list: "{root}/protocol.csv", classes: "{root}/LOC_synset_mapping.txt")"#
                ),
                format!(
                    r#"ImageNet(root: "{root}/val", classes: "{root}/LOC_synset_mapping.txt", boxes: "{root}/Annotations")"#
                ),
            ],
            Layout::ImagenetFolder => vec![
                format!(r#"ImageNet(root: "{root}/val", boxes: "{root}/Annotations")"#),
                format!(r#"ImageNet(root: "{root}/val", list: "{root}/LOC_val_solution.csv")"#),
            ],
            Layout::ImageList => vec![format!(r#"ImageList(list: "{root}/list.csv")"#)],
            Layout::GptCsv => {
                vec![format!(r#"Pairs(list: "{root}/pairs.csv", root: "{root}/images")"#)]
            }
            Layout::PairsText => vec![format!(r#"Pairs(list: "{root}/pairs.txt")"#)],
            Layout::Lfw => {
                vec![format!(r#"LfwPairs(pairs: "{root}/pairs.txt", root: "{root}/images")"#)]
            }
            Layout::Cfp => {
                ["FF", "FP"].map(|p| format!(r#"CfpPairs(root: "{root}", protocol: {p})"#)).into()
            }
            Layout::Bob | Layout::BobOld => {
                vec![format!(
                    r#"BobCsv(protocol: "{root}/protocol", root: "{root}/images", extension: ".png")"#
                )]
            }
            Layout::InsightfaceBin => vec![format!(r#"InsightfaceBin(file: "{root}/faces.bin")"#)],
        }
    }

    fn draw(&self, folder: &Folder) -> Result<()> {
        match self.layout {
            Layout::ImagenetFlat | Layout::ImagenetFolder => self.imagenet(folder),
            Layout::ImageList => self.image_list(folder),
            Layout::GptCsv => self.list(folder, "pairs.csv", "G,P,T\n", "images/", |a, b, g| {
                format!("{a}.png,{b}.png,{}\n", u8::from(g))
            }),
            Layout::PairsText => self.list(folder, "pairs.txt", "", "", |a, b, g| {
                format!("{a}.png {b}.png {}\n", if g { 1 } else { -1 })
            }),
            Layout::Lfw => self.lfw(folder),
            Layout::Cfp => self.cfp(folder),
            Layout::Bob | Layout::BobOld => self.bob(folder),
            Layout::InsightfaceBin => self.insightface(folder),
        }
    }

    /// The `n`-th picture of a shape: four by three, so that preparing it crops.
    fn shape(&self, n: usize) -> Shape {
        shape(self.seed, n, self.side * 4 / 3, self.side)
    }

    fn face(&self, (person, shot): (usize, usize)) -> RgbImage {
        face(self.seed, person, shot, self.side)
    }

    /// Genuine and impostor pairs in turn; each person has two shots.
    fn pairs(&self) -> Vec<Pair> {
        let people = self.count.div_ceil(2).max(2);
        let pair = |n: usize| {
            let (person, genuine) = (n / 2 % people, n.is_multiple_of(2));
            let other = if genuine { person } else { (person + 1) % people };
            ([(person, 0), (other, 1)], genuine)
        };
        (0..self.count).map(pair).collect()
    }

    /// Folds, and pairs of either kind in each.
    fn folds(&self) -> (usize, usize) {
        let folds = if self.count >= 20 { 10 } else { 1 };
        (folds, self.count / (2 * folds))
    }

    fn imagenet(&self, folder: &Folder) -> Result<()> {
        let wnid = |label: usize| format!("n{:08}", 10 * (label + 1));
        let mapping: String = CLASSES
            .iter()
            .enumerate()
            .map(|(n, name)| format!("{} {name}\n", wnid(n)))
            .collect::<Vec<_>>()
            .concat();
        folder.put("LOC_synset_mapping.txt", mapping.as_bytes())?;
        let mut kaggle = String::from("ImageId,PredictionString\n");
        let mut protocol = String::from("ImageId,PredictionString,target\n");
        for n in 0..self.count {
            let Shape { picture, label, bounds: [x0, y0, x1, y1] } = self.shape(n);
            let (id, class) = (format!("SYNTH_val_{:08}", n + 1), wnid(label));
            let inner = if self.layout == Layout::ImagenetFolder {
                format!("{class}/")
            } else {
                String::new()
            };
            folder.put(&format!("val/{inner}{id}.JPEG"), &jpeg(&picture)?)?;
            let string = format!("{class} {x0} {y0} {x1} {y1} ");
            let _ = writeln!(kaggle, "{id},{string}");
            // As in the authors' protocols, some pictures are listed twice.
            for _ in 0..if n % 10 == 0 { 2 } else { 1 } {
                let _ = writeln!(protocol, "{id},{string},{class}");
            }
            let xml = format!(
                "<annotation>\n\t<filename>{id}</filename>\n\t<size><width>{}</width><height>{}</height><depth>3</depth></size>\n\t<object>\n\t\t<name>{class}</name>\n\t\t<bndbox><xmin>{x0}</xmin><xmax>{x1}</xmax><ymin>{y0}</ymin><ymax>{y1}</ymax></bndbox>\n\t</object>\n</annotation>\n",
                picture.width(),
                picture.height()
            );
            folder.put(&format!("Annotations/{id}.xml"), xml.as_bytes())?;
        }
        folder.put("LOC_val_solution.csv", kaggle.as_bytes())?;
        folder.put("protocol.csv", protocol.as_bytes())
    }

    fn image_list(&self, folder: &Folder) -> Result<()> {
        let mut list = String::from("path,label,class,box\n");
        for n in 0..self.count {
            let Shape { picture, label, bounds: [x0, y0, x1, y1] } = self.shape(n);
            let file = format!("images/{}_{n:05}.png", CLASSES[label]);
            folder.put(&file, &encode_png(&picture)?)?;
            let _ = writeln!(list, "{file},{label},{},{x0} {y0} {x1} {y1}", CLASSES[label]);
        }
        folder.put("list.csv", list.as_bytes())
    }

    /// Faces as PNG below `inner`, and a list of pairs with one line for each.
    fn list(
        &self,
        folder: &Folder,
        name: &str,
        head: &str,
        inner: &str,
        line: impl Fn(&str, &str, bool) -> String,
    ) -> Result<()> {
        let mut list = head.to_owned();
        for (pair, genuine) in self.pairs() {
            let mut names = [String::new(), String::new()];
            for (name, (person, shot)) in names.iter_mut().zip(pair) {
                *name = format!("id{person:04}/{shot}");
                folder.put_once(&format!("{inner}{name}.png"), || {
                    encode_png(&self.face((person, shot)))
                })?;
            }
            list += &line(&names[0], &names[1], genuine);
        }
        folder.put(name, list.as_bytes())
    }

    fn lfw(&self, folder: &Folder) -> Result<()> {
        let (folds, each) = self.folds();
        let mut list = if folds == 1 { format!("{each}\n") } else { format!("{folds}\t{each}\n") };
        let pairs = self.pairs();
        let (genuine, impostor): (Vec<Pair>, Vec<Pair>) =
            pairs.into_iter().partition(|(_, genuine)| *genuine);
        let name = |person: usize| format!("Person_{person:04}");
        for fold in 0..folds {
            let of = fold * each..(fold + 1) * each;
            for ([a, b], genuine) in genuine[of.clone()].iter().chain(&impostor[of]) {
                for (person, shot) in [a, b] {
                    let file = format!("images/{0}/{0}_{1:04}.jpg", name(*person), shot + 1);
                    folder.put_once(&file, || jpeg(&self.face((*person, *shot))))?;
                }
                let _ = match genuine {
                    true => writeln!(list, "{}\t{}\t{}", name(a.0), a.1 + 1, b.1 + 1),
                    false => {
                        writeln!(list, "{}\t{}\t{}\t{}", name(a.0), a.1 + 1, name(b.0), b.1 + 1)
                    }
                };
            }
        }
        folder.put("pairs.txt", list.as_bytes())
    }

    fn cfp(&self, folder: &Folder) -> Result<()> {
        let (folds, each) = self.folds();
        let people = folds * each + 1;
        let (mut frontal, mut profile) = (String::new(), String::new());
        for person in 0..people {
            let path = |kind: &str, shot: usize| {
                format!("Data/Images/{:03}/{kind}/{shot:02}.jpg", person + 1)
            };
            for shot in 0..2 {
                folder.put(&path("frontal", shot + 1), &jpeg(&self.face((person, shot)))?)?;
                let _ =
                    writeln!(frontal, "{} ../{}", 2 * person + shot + 1, path("frontal", shot + 1));
            }
            folder.put(&path("profile", 1), &jpeg(&self.face((person, 2)))?)?;
            let _ = writeln!(profile, "{} ../{}", person + 1, path("profile", 1));
        }
        folder.put("Protocol/Pair_list_F.txt", frontal.as_bytes())?;
        folder.put("Protocol/Pair_list_P.txt", profile.as_bytes())?;
        for fold in 0..folds {
            let rows = |row: &dyn Fn(usize) -> (usize, usize)| {
                (fold * each..(fold + 1) * each)
                    .map(row)
                    .map(|(a, b)| format!("{a},{b}\n"))
                    .collect::<Vec<_>>()
                    .concat()
            };
            let lists = [
                ("FF", "same", rows(&|p| (2 * p + 1, 2 * p + 2))),
                ("FF", "diff", rows(&|p| (2 * p + 1, 2 * p + 4))),
                ("FP", "same", rows(&|p| (2 * p + 1, p + 1))),
                ("FP", "diff", rows(&|p| (2 * p + 1, p + 2))),
            ];
            for (protocol, kind, text) in lists {
                folder.put(
                    &format!("Protocol/Split/{protocol}/{:02}/{kind}.txt", fold + 1),
                    text.as_bytes(),
                )?;
            }
        }
        Ok(())
    }

    fn bob(&self, folder: &Folder) -> Result<()> {
        let old = self.layout == Layout::BobOld;
        let head = if old { "PATH,REFERENCE_ID" } else { "path,subject_id,template_id" };
        let eyes = "leye_x,leye_y,reye_x,reye_y";
        let row = |person: usize, shot: usize, template: &str| {
            let path = format!("s{person:03}/{shot}");
            // In the picture, the person's left eye is on the right; where the generator draws it,
            // give or take a movement.
            let at = |share: f64| (share * f64::from(self.side)).round();
            let eyes = format!("{},{},{},{}", at(0.657), at(0.46), at(0.342), at(0.462));
            if old {
                format!("{path},{person},{eyes}\n")
            } else {
                format!("{path},{person},{template}{person},{eyes}\n")
            }
        };
        let people = self.count.div_ceil(2).max(2);
        // All against all grows with the square: the older form compares few people.
        let people = if old { people.min(20) } else { people };
        let (mut enrolling, mut probing) = (format!("{head},{eyes}\n"), format!("{head},{eyes}\n"));
        for person in 0..people {
            for shot in 0..2 {
                folder.put(
                    &format!("images/s{person:03}/{shot}.png"),
                    &encode_png(&self.face((person, shot)))?,
                )?;
            }
            enrolling += &row(person, 0, "t");
            probing += &row(person, 1, "q");
        }
        let (first, second) = if old {
            ("for_models.csv", "for_probes.csv")
        } else {
            ("for_enrolling.csv", "for_probing.csv")
        };
        folder.put(&format!("protocol/dev/{first}"), enrolling.as_bytes())?;
        folder.put(&format!("protocol/dev/{second}"), probing.as_bytes())?;
        if old {
            return Ok(());
        }
        let rows: String = self
            .pairs()
            .iter()
            .map(|([a, b], _)| format!("t{},q{}\n", a.0, b.0))
            .collect::<Vec<_>>()
            .concat();
        folder.put(
            "protocol/dev/for_matching.csv",
            format!("enroll_template_id,probe_template_id\n{rows}").as_bytes(),
        )
    }

    /// A pickle of protocol 4: a tuple of a list of bytes and a list of bool.
    fn insightface(&self, folder: &Folder) -> Result<()> {
        let mut pickle = b"\x80\x04](".to_vec();
        let pairs = self.pairs();
        for side in pairs.iter().flat_map(|(pair, _)| pair) {
            let bytes = jpeg(&self.face(*side))?;
            pickle.push(b'B');
            pickle.extend((bytes.len() as u32).to_le_bytes());
            pickle.extend(bytes);
        }
        pickle.extend(b"e](");
        pickle.extend(pairs.iter().map(|(_, genuine)| if *genuine { 0x88 } else { 0x89 }));
        pickle.extend(b"e\x86.");
        folder.put("faces.bin", &pickle)
    }
}

/// Fine enough that a shape's edge stays where it is.
const QUALITY: u8 = 95;

fn jpeg(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    picture
        .write_with_encoder(JpegEncoder::new_with_quality(Cursor::new(&mut bytes), QUALITY))
        .map_err(|e| {
            Error::new(
                "fame::picture::encode",
                format!(
                    "a picture of {}×{} pixels cannot be written as JPEG: {e}.",
                    picture.width(),
                    picture.height()
                ),
            )
        })?;
    Ok(bytes)
}

/// The folder being written.
struct Folder(PathBuf);

impl Folder {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
        fs::write(&path, bytes).map_err(|e| Error::io("write", &path, &e))
    }

    /// Writes what `bytes` gives, unless the file is there.
    fn put_once(&self, name: &str, bytes: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
        if self.0.join(name).exists() { Ok(()) } else { self.put(name, &bytes()?) }
    }
}

#[cfg(test)]
mod tests;
