//! `RoCrate`: what a run read and wrote, for archives and catalogues of research data.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use fame_core::{
    Error, Result,
    contract::{FinishedItem, Writer},
    data::{read_ordinary, write_whole},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `<out>/ro-crate-metadata.json`: the run as a Process Run Crate, JSON-LD that repositories of
/// research data read. It says what was run (this program, its version, the recipe), on what (the
/// model with its hash and licence, the pictures), when, how it ended, and which files came of it.
/// It is written when a run has gone through, from the record and the items that are there.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoCrate {
    /// Under which licence the maps are given away, as a name or an address; the standard asks for
    /// one.
    pub licence: Option<String>,
}

impl Plugin<dyn Writer> for RoCrate {
    const NAME: &'static str = "RoCrate";
    const SUMMARY: &'static str = "The run as a Process Run Crate, for archives of research data";
    const EXAMPLE: &'static str = r#"RoCrate(licence: "CC0-1.0")"#;
    const REFERENCE: &'static str =
        "RO-Crate 1.1; Leo et al., 2024, Recording provenance of workflow runs with RO-Crate";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: RoCrate);

/// The file, by the standard's name.
const FILE: &str = "ro-crate-metadata.json";
/// Addresses by which readers know the standards.
const CONTEXT: &str = "https://w3id.org/ro/crate/1.1/context";
const STANDARD: &str = "https://w3id.org/ro/crate/1.1";
const PROFILE: &str = "https://w3id.org/ro/wfrun/process/0.5";

impl Writer for RoCrate {
    fn write(&self, _: &FinishedItem<'_>, _: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn replaces(&self) -> Vec<String> {
        vec![FILE.to_owned()]
    }

    fn gather(&self, out: &Path, items: &[PathBuf]) -> Result<Vec<String>> {
        let record = read(&out.join("run.json"))?;
        let mut pictures = BTreeSet::new();
        for item in items {
            let about = read(&item.join("item.json"))?;
            let all = about["pictures"].as_object().into_iter().flat_map(|all| all.values());
            pictures.extend(all.filter_map(|one| one["source"].as_str().map(str::to_owned)));
        }
        let made = made(out, items)?;
        let text = serde_json::to_vec_pretty(&self.document(&record, &pictures, &made))
            .map_err(|e| Error::bug(format!("a crate is no JSON: {e}")))?;
        write_whole(&out.join(FILE), &text)?;
        Ok(vec![FILE.to_owned()])
    }

    fn gathers_last(&self) -> bool {
        true
    }
}

impl RoCrate {
    /// The whole document.
    fn document(&self, record: &Value, pictures: &BTreeSet<String>, made: &[Value]) -> Value {
        let started = record["started_unix_seconds"].as_i64().unwrap_or_default();
        let took = record["timings_seconds"]["total"].as_f64().unwrap_or_default();
        let (start, end) = (moment(started), moment(started + took.ceil() as i64));
        let name = record["recipe"]["file"].as_str().unwrap_or("recipe");
        let title = format!("fame run of {name}");
        let refer = |all: &[Value]| -> Vec<Value> {
            all.iter().map(|entity| json!({ "@id": entity["@id"] })).collect()
        };
        let (model, recipe) = (&record["model"], &record["recipe"]);
        let mut read = vec![
            json!({
                "@id": "#recipe", "@type": "CreativeWork", "name": name,
                "text": recipe["text"], "encodingFormat": "text/plain",
                "identifier": format!("sha256:{}", recipe["sha256"].as_str().unwrap_or_default()),
            }),
            json!({
                "@id": "#model", "@type": "CreativeWork", "name": model["name"],
                "alternateName": model["file"], "license": model["licence"],
                "identifier": format!("sha256:{}", model["sha256"].as_str().unwrap_or_default()),
            }),
        ];
        read.extend(pictures.iter().map(|source| {
            let id = format!("#picture-{}", encoded(source));
            json!({ "@id": id, "@type": "ImageObject", "name": source })
        }));
        // What went wrong with single items is in the record.
        let ended = if record["status"] == "failed" { "Failed" } else { "Completed" };
        let mut root = json!({
            "@id": "./", "@type": "Dataset", "name": title,
            "description": "Attribution maps: which pixels a vision network looked at. `run.json` is the record of the run.",
            "datePublished": end, "conformsTo": { "@id": PROFILE },
            "hasPart": refer(made), "mentions": { "@id": "#run" },
        });
        if let Some(licence) = &self.licence {
            root["license"] = licence.as_str().into();
        }
        let mut graph = vec![
            json!({
                "@id": FILE, "@type": "CreativeWork",
                "conformsTo": { "@id": STANDARD }, "about": { "@id": "./" },
            }),
            root,
            json!({
                "@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5",
            }),
            json!({
                "@id": "#fame", "@type": "SoftwareApplication", "name": "fame-cli",
                "softwareVersion": record["fame_version"],
            }),
            json!({
                "@id": "#run", "@type": "CreateAction", "name": title,
                "instrument": { "@id": "#fame" }, "object": refer(&read), "result": refer(made),
                "startTime": start, "endTime": end,
                "actionStatus": { "@id": format!("http://schema.org/{ended}ActionStatus") },
            }),
        ];
        graph.extend(read);
        graph.extend(made.iter().cloned());
        json!({ "@context": CONTEXT, "@graph": graph })
    }
}

/// What the run left: the files beside the items, and a folder for each item.
fn made(out: &Path, items: &[PathBuf]) -> Result<Vec<Value>> {
    let mut files = Vec::new();
    for folder in ["", "tables/"] {
        let Ok(entries) = fs::read_dir(out.join(folder)) else { continue };
        for entry in entries {
            let path = entry.map_err(|e| Error::io("read", &out.join(folder), &e))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Hidden files are half-made, and the lock says nothing to others.
            if path.is_file() && name != FILE && name != "run.lock" && !name.starts_with('.') {
                files.push(format!("{folder}{name}"));
            }
        }
    }
    files.sort();
    let kinds = [
        ("json", "application/json"),
        ("jsonl", "application/jsonl"),
        ("csv", "text/csv"),
        ("parquet", "application/vnd.apache.parquet"),
        ("html", "text/html"),
        ("md", "text/markdown"),
        ("tex", "application/x-tex"),
    ];
    let mut made: Vec<Value> = files
        .iter()
        .map(|file| {
            let kind = kinds.iter().find(|(end, _)| file.ends_with(&format!(".{end}")));
            let kind = kind.map_or("application/octet-stream", |(_, kind)| kind);
            json!({ "@id": encoded(file), "@type": "File", "name": file, "encodingFormat": kind })
        })
        .collect();
    made.extend(items.iter().filter_map(|item| {
        let place = item.strip_prefix(out).ok()?.to_string_lossy().into_owned();
        let name = item.file_name()?.to_string_lossy().into_owned();
        let id = format!("{}/", encoded(&place));
        Some(json!({ "@id": id, "@type": "Dataset", "name": name }))
    }));
    Ok(made)
}

/// The JSON in `path`.
fn read(path: &Path) -> Result<Value> {
    let failed = |why: String| {
        Error::new("fame::writer::crate", format!("`{}` {why}.", path.display()))
            .with_help("It was changed after the run wrote it: run again with --force.")
    };
    serde_json::from_slice(&read_ordinary(path)?).map_err(|e| failed(format!("is no record: {e}")))
}

/// `text` as a part of an address: what is no letter, digit, or one of `/ . _ -` as `%XX`.
fn encoded(text: &str) -> String {
    let byte = |b: u8| match b {
        b'/' | b'.' | b'_' | b'-' => char::from(b).to_string(),
        _ if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Seconds since 1970 as a date and time of ISO 8601, in UTC.
fn moment(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The civil calendar from a count of days: eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let (month, of_month) =
        (if march < 10 { march + 3 } else { march - 9 }, of_year - (153 * march + 2) / 5 + 1);
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::{super::testing::build, *};

    #[test]
    fn a_moment_is_told_as_the_calendar_has_it() {
        // `date -u -d @N +%FT%TZ`.
        for (seconds, said) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_795_979_268, "2026-11-29T19:07:48Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(moment(seconds), said);
        }
    }

    #[test]
    fn everything_that_is_named_is_described_and_every_file_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path();
        let write = |file: &str, text: &str| {
            let path = out.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "run.json",
            r#"{"fame_version": "0.1.0", "status": "complete", "started_unix_seconds": 0,
                "timings_seconds": {"total": 1.5}, "model": {"name": "m", "sha256": "ab", "licence": "MIT"},
                "recipe": {"file": "r.ron", "text": "()", "sha256": "cd"}}"#,
        );
        write("tables/a b.csv", "");
        write("run.lock", "");
        write("items/x/item.json", r#"{"pictures": {"image": {"source": "f/ö.png"}}}"#);
        let writer = build(r#"RoCrate(licence: "CC0-1.0")"#).unwrap();
        writer.gather(out, &[out.join("items/x")]).unwrap();
        let first = fs::read(out.join(FILE)).unwrap();
        let all: Value = serde_json::from_slice(&first).unwrap();
        let graph = all["@graph"].as_array().unwrap();
        let ids: Vec<&str> = graph.iter().map(|entity| entity["@id"].as_str().unwrap()).collect();
        for id in
            ["./", "#run", "run.json", "tables/a%20b.csv", "items/x/", "#picture-f/%C3%B6.png"]
        {
            assert_eq!(ids.iter().filter(|known| **known == id).count(), 1, "{id} in {ids:?}");
        }
        assert!(!ids.contains(&"run.lock"));
        let run = graph.iter().find(|entity| entity["@id"] == "#run").unwrap();
        for list in ["object", "result"] {
            for one in run[list].as_array().unwrap() {
                assert!(ids.contains(&one["@id"].as_str().unwrap()), "{one}");
            }
        }
        assert_eq!(run["endTime"], "1970-01-01T00:00:02Z");
        // It describes what is there, not itself: the second time it is the same.
        writer.gather(out, &[out.join("items/x")]).unwrap();
        assert_eq!(fs::read(out.join(FILE)).unwrap(), first);
        fs::write(out.join("items/x/item.json"), "{").unwrap();
        assert_eq!(
            writer.gather(out, &[out.join("items/x")]).unwrap_err().code,
            "fame::writer::crate"
        );
    }
}
