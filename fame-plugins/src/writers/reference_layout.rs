//! `ReferenceLayout`: maps where the FAME authors' scripts look for them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use fame_core::{
    Claim, Error, NamedMap, Result, Sample, Tensor,
    contract::{FinishedItem, Writer},
    data::{replace_folder, safe_id},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::datasets::{GALLERY, PROBE, ROW, stem};

/// Every finished map as the FAME authors' evaluation reads it, float32 `[H, W]`: for pictures
/// `<method>/<model>/<ImageId>_<class>.npy`, for pairs
/// `<method>/<model>/<dataset>/<protocol>/<row>_{g|p}_{pos|neg}.npy`. The class is the sample's
/// label, the row its place in the list, from 0.
///
/// Each item keeps its files in its own folder, below `reference`. When a run has gone through, the
/// files of all its items are linked into one tree, `<out>/reference`, which replaces that of an
/// earlier run: give its path to their scripts as `--attributions`. A picture that is listed twice
/// has one file there, as theirs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferenceLayout {
    /// What their scripts call the network: `ResNet50`, `Adaface_ir_101`.
    pub model: String,
    /// What their scripts call the methods, by the recipe's name of the explainer:
    /// `{"fame": "FAME", "grad_cam": "GradCAM"}`. Others keep their name.
    #[serde(default)]
    pub methods: BTreeMap<String, String>,
    /// For pairs: the data set's name, such as `CFP`.
    #[serde(default)]
    pub dataset: Option<String>,
    /// For pairs: the protocol's name, such as `01FP`.
    #[serde(default)]
    pub protocol: Option<String>,
}

/// The folder in an item's, and in the run's.
const ROOT: &str = "reference";

impl Plugin<dyn Writer> for ReferenceLayout {
    const NAME: &'static str = "ReferenceLayout";
    const SUMMARY: &'static str = "Maps in the file layout of the FAME authors' code";
    const EXAMPLE: &'static str =
        r#"ReferenceLayout(model: "ResNet50", methods: {"fame": "FAME"})"#;
    const REFERENCE: &'static str = "The FAME authors' code, AIML-IfI/fame";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let must = "must be a plain name of at most 200 letters, digits, `.`, `_` and `-`";
        let plain = |name: &String| safe_id(name) == *name;
        assembly.check("model", plain(&self.model), must);
        assembly.check("methods", self.methods.values().all(plain), must);
        assembly.check("dataset", self.dataset.as_ref().is_none_or(plain), must);
        assembly.check("protocol", self.protocol.as_ref().is_none_or(plain), must);
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: ReferenceLayout);

impl Writer for ReferenceLayout {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let mut of: BTreeMap<String, &NamedMap> = BTreeMap::new();
        for (explainer, map) in super::maps(item) {
            let name = self.place(explainer, item.sample, map)?;
            if let Some(other) = of.insert(name.clone(), map) {
                let message = format!(
                    "maps `{}` and `{}` of explainer `{explainer}` would both be `{name}`.",
                    other.name(),
                    map.name()
                );
                return Err(Error::new("fame::writer::reference", message).with_help(
                    "The authors' layout has one map of a picture, and two of each side of a pair: explain one class, or one layer.",
                ));
            }
            let path = super::place(folder, &name)?;
            let parent = path.parent().unwrap_or(folder);
            fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
            super::npy::save(folder, name, &plane(map)?)?;
        }
        Ok(of.into_keys().collect())
    }

    fn gather(&self, out: &Path, items: &[PathBuf]) -> Result<Vec<String>> {
        replace_folder(&out.join(ROOT), |draft| {
            items.iter().try_for_each(|item| link_all(&item.join(ROOT), draft))
        })?;
        Ok(vec![ROOT.to_owned()])
    }
}

impl ReferenceLayout {
    /// The file of a map, below the item's folder.
    fn place(&self, explainer: &str, sample: &Sample, map: &NamedMap) -> Result<String> {
        let method = self.methods.get(explainer).cloned().unwrap_or_else(|| safe_id(explainer));
        let bad = |message: String, help: &str| {
            Err(Error::new("fame::writer::reference", message).with_help(help))
        };
        let mut folders = vec![ROOT.to_owned(), method, self.model.clone()];
        let file = match map.id.role.as_str() {
            role @ (GALLERY | PROBE) => {
                let (Some(dataset), Some(protocol)) = (&self.dataset, &self.protocol) else {
                    return bad(
                        "maps of pairs lie below the names of a data set and a protocol, which ReferenceLayout was not given.".to_owned(),
                        "Add `dataset` and `protocol`, such as dataset: \"CFP\", protocol: \"01FP\".",
                    );
                };
                folders.extend([dataset.clone(), protocol.clone()]);
                let Some(row) = sample.marks.get(&ROW) else {
                    return bad(
                        format!(
                            "sample `{}` has no row, by which the authors name maps of pairs.",
                            sample.id
                        ),
                        "Use a dataset that reads a list of pairs.",
                    );
                };
                let sign = if map.id.claim == Claim::Against { "neg" } else { "pos" };
                format!("{row}_{}_{sign}.npy", &role[..1])
            }
            role => {
                let Some(label) = sample.label else {
                    return bad(
                        format!(
                            "sample `{}` has no label, by which the authors name maps of pictures.",
                            sample.id
                        ),
                        "Use a dataset that knows the classes.",
                    );
                };
                // Their scripts take the file's class for the true one.
                if let Some(class) = map.id.subject.class()
                    && class != label
                {
                    return bad(
                        format!(
                            "map `{}` of sample `{}` explains class {class}, not its label {label}.",
                            map.name(),
                            sample.id
                        ),
                        "The authors' layout holds maps of the labelled class only: use Logit(class: Label).",
                    );
                }
                let source = sample.picture(role).map_or("", |p| p.source.as_str());
                format!("{}_{label}.npy", safe_id(stem(source)))
            }
        };
        folders.push(file);
        Ok(folders.join("/"))
    }
}

/// A map as `[H, W]`.
fn plane(map: &NamedMap) -> Result<Tensor> {
    match map.finished.shape() {
        [_, _] => Ok(map.finished.clone()),
        &[1, h, w] => map.finished.clone().reshaped([h, w]),
        other => Err(Error::new(
            "fame::writer::reference",
            format!(
                "map `{}` has shape {other:?}; the authors' layout holds maps of one channel.",
                map.name()
            ),
        )
        .with_help("Add the map step Gray() or Channels(…) to the explainer.")),
    }
}

/// Links every file below `from`, if it is there, into the same place below `to`; what is there
/// stays.
///
/// # Errors
/// When a folder cannot be read, or a file cannot be written.
fn link_all(from: &Path, to: &Path) -> Result<()> {
    for path in super::entries(from)? {
        let Some(Component::Normal(name)) = path.components().next_back() else { continue };
        let target = to.join(name);
        if path.is_dir() {
            fs::create_dir_all(&target).map_err(|e| Error::io("create", &target, &e))?;
            link_all(&path, &target)?;
        } else if !target.exists() && fs::hard_link(&path, &target).is_err() {
            // Not every file system links.
            fs::copy(&path, &target).map_err(|e| Error::io("write", &target, &e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fame_core::{MapId, Marks, Subject};

    use super::{
        super::testing::{build, explanation, map, map_of, sample, write},
        *,
    };

    fn values() -> Tensor {
        Tensor::new([2, 3], vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]).unwrap()
    }

    fn pair(row: usize) -> Sample {
        Sample { marks: Marks::default().with(&ROW, row), ..sample(&["gallery", "probe"], 2, 3) }
    }

    fn image(source: &str) -> Sample {
        let mut image = Sample { label: Some(7), ..sample(&["image"], 2, 3) };
        image.pictures[0].1.source = source.into();
        image
    }

    const PAIRS: &str = r#"ReferenceLayout(model: "Adaface_ir_101", methods: {"fame": "FAME"}, dataset: "CFP", protocol: "01FP")"#;

    fn names(
        writer: &str,
        sample: &Sample,
        maps: Vec<NamedMap>,
    ) -> std::result::Result<Vec<String>, Error> {
        let dir = tempfile::tempdir().unwrap();
        build(writer).unwrap().write(
            &FinishedItem { sample, explanations: &[("fame".to_owned(), explanation(maps))] },
            dir.path(),
        )
    }

    #[test]
    fn pairs_lie_where_the_authors_scripts_look() {
        let side = |role: &str, claim| {
            map_of(MapId::new(role).about(Subject::Match).claiming(claim), values())
        };
        let maps = ["gallery", "probe"]
            .map(|role| [side(role, Claim::For), side(role, Claim::Against)])
            .concat();
        let folder = "reference/FAME/Adaface_ir_101/CFP/01FP";
        let wanted = ["g_neg", "g_pos", "p_neg", "p_pos"].map(|n| format!("{folder}/17_{n}.npy"));
        assert_eq!(names(PAIRS, &pair(17), maps).unwrap(), wanted);
        // A method with one map of a side: what speaks for similarity.
        assert_eq!(
            names(PAIRS, &pair(3), vec![map("probe", "probe", values())]).unwrap(),
            [format!("{folder}/3_p_pos.npy")]
        );
    }

    #[test]
    fn pictures_are_named_by_id_and_class_and_hold_one_plane() {
        let dir = tempfile::tempdir().unwrap();
        let one = Tensor::new([1, 2, 3], values().data().to_vec()).unwrap();
        let explanations = [("grad_cam".to_owned(), explanation(vec![map("image", "image", one)]))];
        let item = FinishedItem {
            sample: &image("val/ILSVRC2012_val_00000005.JPEG"),
            explanations: &explanations,
        };
        let files = build(r#"ReferenceLayout(model: "ResNet50")"#)
            .unwrap()
            .write(&item, dir.path())
            .unwrap();
        assert_eq!(files, ["reference/grad_cam/ResNet50/ILSVRC2012_val_00000005_7.npy"]);
        let bytes = fs::read(dir.path().join(&files[0])).unwrap();
        let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
        assert_eq!((npy.shape(), npy.dtype().descr().as_str()), (&[2, 3][..], "'<f4'"));
        assert_eq!(npy.into_vec::<f32>().unwrap(), values().data());
    }

    #[test]
    fn what_the_layout_cannot_say_is_refused() {
        let says =
            |writer: &str, sample: &Sample, maps| names(writer, sample, maps).unwrap_err().message;
        let single = r#"ReferenceLayout(model: "ResNet50")"#;
        assert!(
            says(single, &pair(1), vec![map("probe", "probe", values())])
                .contains("data set and a protocol")
        );
        assert!(
            says(
                PAIRS,
                &sample(&["gallery", "probe"], 2, 3),
                vec![map("probe", "probe", values())]
            )
            .contains("no row")
        );
        assert!(
            says(single, &sample(&["image"], 2, 3), vec![map("image", "image", values())])
                .contains("no label")
        );
        let two = vec![map("image_a", "image", values()), map("image_b", "image", values())];
        assert!(says(single, &image("a.png"), two).contains("would both be"));
        let mut other = map("image", "image", values());
        other.id.subject = Subject::Class(3);
        assert!(
            says(single, &image("a.png"), vec![other])
                .contains("explains class 3, not its label 7")
        );
        let channels = map("image", "image", Tensor::filled([3, 2, 3], 0.5));
        assert!(says(single, &image("a.png"), vec![channels]).contains("one channel"));
        assert!(build(r#"ReferenceLayout(model: "../up")"#).is_err());
    }

    #[test]
    fn a_run_gathers_what_its_items_hold_and_nothing_else() {
        let out = tempfile::tempdir().unwrap();
        let writer = build(PAIRS).unwrap();
        let mut items = Vec::new();
        for row in 0..3 {
            let (dir, _) = write_into(out.path(), &pair(row));
            items.push(dir);
        }
        writer.gather(out.path(), &items).unwrap();
        let tree = out.path().join("reference/FAME/Adaface_ir_101/CFP/01FP");
        let listed = || {
            let mut all: Vec<String> = fs::read_dir(&tree)
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            all.sort();
            all
        };
        assert_eq!(listed(), ["0_p_pos.npy", "1_p_pos.npy", "2_p_pos.npy"]);
        // A later run with fewer items.
        writer.gather(out.path(), &items[1..]).unwrap();
        assert_eq!(listed(), ["1_p_pos.npy", "2_p_pos.npy"]);
        // An item that has no maps here has no part in it; one that cannot be read is told.
        let [empty, broken] = ["empty", "broken"].map(|name| out.path().join("items").join(name));
        fs::create_dir_all(&empty).unwrap();
        fs::create_dir_all(&broken).unwrap();
        fs::write(broken.join(ROOT), "no folder").unwrap();
        let with = |more: &PathBuf| [&items[1..], std::slice::from_ref(more)].concat();
        assert_eq!(writer.gather(out.path(), &with(&empty)).unwrap(), [ROOT]);
        assert!(writer.gather(out.path(), &with(&broken)).is_err());
        assert_eq!(listed(), ["1_p_pos.npy", "2_p_pos.npy"]);
        // A file of the user's own in the tree is not removed with it.
        fs::write(tree.join("mine.npy"), "precious").unwrap();
        let error = writer.gather(out.path(), &items).unwrap_err();
        assert_eq!(error.code, "fame::run::foreign_file");
        assert_eq!(listed(), ["1_p_pos.npy", "2_p_pos.npy", "mine.npy"]);
    }

    fn write_into(out: &Path, sample: &Sample) -> (PathBuf, Vec<String>) {
        let folder = out.join("items").join(sample.marks.get(&ROW).unwrap().to_string());
        fs::create_dir_all(&folder).unwrap();
        let explanations =
            [("fame".to_owned(), explanation(vec![map("probe", "probe", values())]))];
        let files = build(PAIRS)
            .unwrap()
            .write(&FinishedItem { sample, explanations: &explanations }, &folder)
            .unwrap();
        (folder, files)
    }

    #[test]
    fn the_writer_names_every_file_it_writes() {
        let (dir, files) = write(
            r#"ReferenceLayout(model: "ResNet50")"#,
            &image("a.png"),
            &[("fame".to_owned(), explanation(vec![map("image", "image", values())]))],
        );
        assert!(dir.path().join(&files[0].0).is_file());
    }
}
