//! `BobCsv`: the CSV protocols of bob.bio.

use std::collections::BTreeMap;

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    GALLERY, PROBE,
    entry::{Entry, name_pairs, pair_contents, pair_notes, picture},
    list::{Faults, Table, below, check_file},
    pairs::Filter,
};

/// A protocol of bob.bio.base: enrolled templates, probes, and which are compared.
///
/// `<protocol>/<group>/for_enrolling.csv` and `for_probing.csv` (in older releases `for_models.csv`
/// and `for_probes.csv`) have the columns `path`, `template_id` (older: `reference_id`) and
/// `subject_id`, in whatever case, and perhaps `key`, and `leye_x`, `leye_y`, `reye_x`, `reye_y`.
/// `for_matching.csv` pairs `enroll_template_id` with `probe_template_id`; without it every
/// template meets every probe. A pair is genuine when the subjects are the same.
///
/// A template may be enrolled from several pictures. A pair here is two pictures, so each of them
/// meets the probe (`Each`), or only the first (`First`). Eyes, where listed, are handed to
/// `AlignFace()`: `leye` is the subject's own left eye, which the picture shows on the right.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BobCsv {
    /// The protocol's folder, relative to the recipe.
    pub protocol: String,
    /// The folder in it: `dev` or `eval`.
    #[serde(default = "dev")]
    pub group: String,
    /// The folder that paths are relative to.
    pub root: String,
    /// Added to every path: bob's lists mostly leave it out.
    #[serde(default)]
    pub extension: String,
    /// The pictures of a template that are compared.
    #[serde(default)]
    pub enrolment: Enrolment,
    /// The pairs that count.
    #[serde(default)]
    pub filter: Filter,
}

/// Which of the pictures that a template is enrolled from are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Enrolment {
    /// Each, in pairs of their own.
    #[default]
    Each,
    /// The first listed.
    First,
}

fn dev() -> String {
    "dev".into()
}

impl Plugin<dyn Dataset> for BobCsv {
    const NAME: &'static str = "BobCsv";
    const SUMMARY: &'static str =
        "A CSV protocol of bob.bio: for_enrolling, for_probing and, if there is one, for_matching";
    const EXAMPLE: &'static str =
        r#"BobCsv(protocol: "scface/close", group: "eval", root: "images", extension: ".jpg")"#;
    const REFERENCE: &'static str = "bob.bio.base, CSVDatabase";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("protocol", !self.protocol.is_empty(), "must name a folder");
        assembly.check("group", !self.group.is_empty(), "must name a folder");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: BobCsv);

/// A row of either list.
struct Row {
    file: String,
    template: String,
    subject: String,
    eyes: Option<Vec<[f32; 2]>>,
}

/// Rows by template, templates in the order listed.
struct Templates {
    rows: Vec<Row>,
    order: Vec<String>,
    of: BTreeMap<String, Vec<usize>>,
}

impl Templates {
    fn new(rows: Vec<Row>) -> Self {
        let (mut order, mut of) = (Vec::new(), BTreeMap::<String, Vec<usize>>::new());
        for (at, row) in rows.iter().enumerate() {
            let known = of.entry(row.template.clone()).or_default();
            if known.is_empty() {
                order.push(row.template.clone());
            }
            known.push(at);
        }
        Self { rows, order, of }
    }

    fn of(&self, template: &str) -> impl Iterator<Item = &Row> {
        self.of.get(template).into_iter().flatten().map(|at| &self.rows[*at])
    }
}

impl Dataset for BobCsv {
    fn files(&self) -> Vec<String> {
        [&self.protocol, &self.root].into_iter().filter(|f| !f.is_empty()).cloned().collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let mut faults = Vec::new();
        let enrolled = self.rows(
            self.list(["for_enrolling.csv", "for_models.csv"], files)?,
            files,
            &mut faults,
        )?;
        let probes = self.rows(
            self.list(["for_probing.csv", "for_probes.csv"], files)?,
            files,
            &mut faults,
        )?;
        let (enrolled, probes) = (Templates::new(enrolled), Templates::new(probes));
        let matching = self.place("for_matching.csv");
        let listed = files.locate(&matching).is_ok_and(|p| p.is_file());
        let pairs = if listed {
            Some(matches(&matching, &enrolled, &probes, files, &mut faults)?)
        } else {
            None
        };
        Faults::all(faults)?;
        let mut found = Vec::new();
        match &pairs {
            Some(pairs) => {
                pairs.iter().for_each(|(a, b)| self.compare(a, b, &enrolled, &probes, &mut found));
            }
            None => {
                for (a, b) in
                    enrolled.order.iter().flat_map(|a| probes.order.iter().map(move |b| (a, b)))
                {
                    self.compare(a, b, &enrolled, &probes, &mut found);
                }
            }
        }
        found.iter_mut().enumerate().for_each(|(row, (_, entry))| entry.row = row);
        Ok(name_pairs(found))
    }

    fn contents(&self, items: &[ItemRef]) -> Option<String> {
        Some(pair_contents(items))
    }

    fn notes(&self, items: &[ItemRef]) -> Vec<String> {
        let mut notes = pair_notes(items);
        let entries: Vec<Entry> = items.iter().filter_map(|i| Entry::of(i).ok()).collect();
        let templates: std::collections::BTreeSet<_> =
            entries.iter().map(|e| &e.templates).collect();
        if templates.len() < items.len() {
            notes.push(format!(
                "{} comparisons of templates became {} pairs of pictures: some templates have several, and each pair is scored by itself.",
                templates.len(),
                items.len()
            ));
        }
        notes
    }

    fn kind(&self, item: &ItemRef) -> usize {
        Entry::kind(item)
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        Entry::of(item)?.pair(item, |file| picture(file, files))
    }
}

impl BobCsv {
    fn place(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.protocol.trim_end_matches('/'), self.group)
    }

    /// The first of two names that is there.
    fn list(&self, names: [&str; 2], files: &dyn Files) -> Result<String> {
        let places = names.map(|name| self.place(name));
        if let Some(place) =
            places.iter().find(|place| files.locate(place).is_ok_and(|p| p.is_file()))
        {
            return Ok(place.clone());
        }
        Err(Error::new("fame::data::bob", format!("neither `{}` nor `{}` is there.", places[0], places[1]))
            .with_help("`protocol` is the folder that holds `dev` or `eval`; unpack the protocol's archive first."))
    }

    fn rows(&self, list: String, files: &dyn Files, faults: &mut Vec<Faults>) -> Result<Vec<Row>> {
        let mut table = Table::read(&list, files)?;
        let header = table
            .header(&["path", "template_id", "reference_id", "subject_id"])?
            .ok_or_else(|| {
                Error::new(
                    "fame::data::columns",
                    format!("the first line of `{list}` names no column `path`."),
                )
            })?;
        let template_names: &[&str] = &["template_id", "reference_id"];
        let [path, template] = header.need([&["path"], template_names])?;
        // Older lists say who is seen only by the reference.
        let subject = header.find(&["subject_id"]).unwrap_or(template);
        let key = header.find(&["key"]);
        let eyes = ["reye_x", "reye_y", "leye_x", "leye_y"].map(|name| header.find(&[name]));
        let mut wrong = Faults::new(&list);
        let mut keys = BTreeMap::new();
        let mut rows = Vec::new();
        for (line, cells) in &table.rows {
            let cell = |at: usize| cells.get(at).map_or("", String::as_str);
            if [path, template, subject].into_iter().any(|at| cell(at).is_empty()) {
                wrong.add(*line, "a path, template or subject is missing", &cells.join(","));
                continue;
            }
            let unique = key.map_or(cell(path), cell);
            // Two templates may share a picture; the same picture twice in one template is a slip.
            if keys.insert((unique.to_owned(), cell(template).to_owned()), *line).is_some() {
                wrong.add(*line, "the key is listed twice", unique);
            }
            let file = below(&self.root, &format!("{}{}", cell(path), self.extension));
            check_file(&file, *line, files, &mut wrong);
            let numbers: Option<Vec<f32>> = eyes
                .iter()
                .flatten()
                .map(|at| cell(*at).parse().ok().filter(|n: &f32| n.is_finite()))
                .collect();
            let listed = eyes.iter().flatten().any(|at| !cell(*at).is_empty());
            let eyes = match numbers.as_deref() {
                _ if !listed => None,
                // The subject's right eye is the left one in the picture, and comes first.
                Some([x, y, u, v]) => Some(vec![[*x, *y], [*u, *v]]),
                _ => {
                    wrong.add(*line, "the eyes are not four numbers", &cells.join(","));
                    None
                }
            };
            rows.push(Row {
                file,
                template: cell(template).to_owned(),
                subject: cell(subject).to_owned(),
                eyes,
            });
        }
        faults.push(wrong);
        Ok(rows)
    }

    /// Adds the pairs of pictures that the comparison of two templates comes to.
    fn compare(
        &self,
        template: &str,
        probe: &str,
        enrolled: &Templates,
        probes: &Templates,
        found: &mut Vec<([String; 2], Entry)>,
    ) {
        let count = if self.enrolment == Enrolment::First { 1 } else { usize::MAX };
        for gallery in enrolled.of(template).take(count) {
            for presented in probes.of(probe) {
                let genuine = gallery.subject == presented.subject;
                if !self.filter.takes(Some(genuine)) {
                    continue;
                }
                let sides = [(GALLERY, gallery), (PROBE, presented)];
                let points = sides
                    .into_iter()
                    .filter_map(|(role, row)| Some((role.to_owned(), row.eyes.clone()?)))
                    .collect();
                let templates = Some((template.to_owned(), probe.to_owned()));
                let entry = Entry { genuine: Some(genuine), points, templates, ..Entry::default() };
                found.push(([gallery.file.clone(), presented.file.clone()], entry));
            }
        }
    }
}

fn matches(
    list: &str,
    enrolled: &Templates,
    probes: &Templates,
    files: &dyn Files,
    faults: &mut Vec<Faults>,
) -> Result<Vec<(String, String)>> {
    let mut table = Table::read(list, files)?;
    let names: [&[&str]; 2] = [
        &["enroll_template_id", "enroll_reference_id"],
        &["probe_template_id", "probe_reference_id"],
    ];
    let header = table.header(&names.concat())?.ok_or_else(|| {
        Error::new(
            "fame::data::columns",
            format!("the first line of `{list}` names no column `enroll_template_id`."),
        )
    })?;
    let [a, b] = header.need(names)?;
    let mut wrong = Faults::new(list);
    let mut pairs = Vec::new();
    for (line, cells) in &table.rows {
        let cell = |at: usize| cells.get(at).map_or("", String::as_str).to_owned();
        let pair = (cell(a), cell(b));
        if !enrolled.of.contains_key(&pair.0) {
            wrong.add(*line, "no such template is enrolled", &pair.0);
        }
        if !probes.of.contains_key(&pair.1) {
            wrong.add(*line, "there is no such probe", &pair.1);
        }
        pairs.push(pair);
    }
    faults.push(wrong);
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::super::{
        GENUINE,
        testing::{Beside, build, told},
    };

    const GRAY: [u8; 3] = [128; 3];

    fn put(files: &Beside, name: &str, text: &str) {
        let path = files.path().join("p/dev").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn people() -> Beside {
        Beside::with(&[
            ("i/a1.png", GRAY),
            ("i/a2.png", GRAY),
            ("i/b1.png", GRAY),
            ("i/a3.png", GRAY),
            ("i/b2.png", GRAY),
        ])
    }

    fn spec(rest: &str) -> String {
        format!(r#"BobCsv(protocol: "p", root: "i", extension: ".png"{rest})"#)
    }

    fn pairs(files: &Beside, rest: &str) -> Vec<(String, bool)> {
        let bob = build(&spec(rest)).unwrap();
        let samples: Vec<_> =
            bob.index(files).unwrap().iter().map(|i| bob.load(i, files).unwrap()).collect();
        samples.iter().map(|s| (s.id.clone(), s.marks.get(&GENUINE).unwrap())).collect()
    }

    const ENROLLING: &str = "path,subject_id,template_id\na1,A,tA\na2,A,tA\nb1,B,tB\n";
    const PROBING: &str = "path,subject_id,template_id\na3,A,qA\nb2,B,qB\n";

    #[test]
    fn templates_meet_the_probes_that_are_listed_or_all() {
        let files = people();
        put(&files, "for_enrolling.csv", ENROLLING);
        put(&files, "for_probing.csv", PROBING);
        let pair = |id: &str, genuine| (id.to_owned(), genuine);
        assert_eq!(
            pairs(&files, ""),
            [
                pair("a1--a3", true),
                pair("a2--a3", true),
                pair("a1--b2", false),
                pair("a2--b2", false),
                pair("b1--a3", false),
                pair("b1--b2", true)
            ]
        );
        let bob = build(&spec("")).unwrap();
        let notes = bob.notes(&bob.index(&files).unwrap());
        assert!(notes[0].starts_with("4 comparisons of templates became 6 pairs"), "{notes:?}");
        assert_eq!(
            pairs(&files, ", enrolment: First, filter: GenuineOnly"),
            [pair("a1--a3", true), pair("b1--b2", true)]
        );
        put(&files, "for_matching.csv", "enroll_template_id,probe_template_id\ntB,qA\ntA,qA\n");
        assert_eq!(
            pairs(&files, ""),
            [pair("b1--a3", false), pair("a1--a3", true), pair("a2--a3", true)]
        );
    }

    #[test]
    fn older_names_and_eyes_are_read() {
        let files = people();
        put(
            &files,
            "for_models.csv",
            "PATH,REFERENCE_ID,LEYE_X,LEYE_Y,REYE_X,REYE_Y\na1,A,3,1,1,1\n",
        );
        put(
            &files,
            "for_probes.csv",
            "PATH,REFERENCE_ID,leye_x,leye_y,reye_x,reye_y\na3,A,,,,\nb2,B,2,2,1,2\n",
        );
        assert_eq!(pairs(&files, ""), [("a1--a3".to_owned(), true), ("a1--b2".to_owned(), false)]);
        let bob = build(&spec("")).unwrap();
        let sample = bob.load(&bob.index(&files).unwrap()[0], &files).unwrap();
        // The left one in the picture first.
        assert_eq!(
            sample.picture("gallery").unwrap().annotations[0].points,
            [[1.0, 1.0], [3.0, 1.0]]
        );
        assert!(sample.picture("probe").unwrap().annotations.is_empty());
        assert_eq!(sample.facts["probe_template"].as_str(), Some("A"));
    }

    #[test]
    fn malformed_lists_are_told_all_at_once() {
        let files = people();
        let index = || told(build(&spec("")).unwrap().index(&files).unwrap_err());
        std::fs::create_dir_all(files.path().join("p/dev")).unwrap();
        insta::assert_snapshot!("bob_no_list", index());
        put(
            &files,
            "for_enrolling.csv",
            "path,subject_id,template_id,leye_x,leye_y,reye_x,reye_y\na1,A,tA,1,1,x,1\na1,A,tA\nz,A,tA\na2,,tA\n",
        );
        put(&files, "for_probing.csv", PROBING);
        put(&files, "for_matching.csv", "enroll_template_id,probe_template_id\ntX,qA\ntA\n");
        insta::assert_snapshot!("bob_rows", index());
        put(&files, "for_probing.csv", "path,subject\na3,A\n");
        insta::assert_snapshot!("bob_columns", index());
    }
}
