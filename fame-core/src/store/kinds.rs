//! What a file is that was named as a network and is none: known by its first bytes.

use std::{fs, io::Read as _, path::Path};

use crate::{Error, data::open_ordinary, text::quoted};

/// The bytes that are looked at.
const SEEN: u64 = 512;

/// The way from a network in another form to one that fame reads.
const EXPORT: &str =
    "Export the network to ONNX: torch.onnx.export(…) of PyTorch, tf2onnx of TensorFlow and Keras.";

/// The most files of a folder that are named.
const NAMED: usize = 5;

/// What the file at `path` is, in words, and the way out, if it is of a kind that is known by its
/// first bytes and no ONNX model.
pub fn kind_of_file(path: &Path) -> Option<(&'static str, &'static str)> {
    let mut bytes = Vec::new();
    open_ordinary(path).ok()?.take(SEEN).read_to_end(&mut bytes).ok()?;
    kind_of(&bytes)
}

fn kind_of(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let begins = |with: &[u8]| bytes.starts_with(with);
    let at = |place: usize, with: &[u8]| bytes.get(place..).is_some_and(|b| b.starts_with(with));
    let order = "The order is: the network, then pictures.";
    Some(if begins(b"version https://git-lfs") {
        (
            "the pointer of Git LFS to a file that was not fetched",
            "Fetch it: git lfs pull, in its repository.",
        )
    } else if begins(b"PK\x03\x04") {
        ("a ZIP archive, as PyTorch and Keras save weights", EXPORT)
    } else if begins(b"\x80\x02") || begins(b"\x80\x04") {
        ("a pickle of Python, as older PyTorch saves weights", EXPORT)
    } else if begins(b"\x89HDF") {
        ("an HDF5 file, as Keras saves weights", EXPORT)
    } else if at(4, b"TFL3") {
        ("a TensorFlow Lite model", EXPORT)
    } else if begins(b"GGUF") {
        ("a GGUF file of weights", EXPORT)
    } else if at(8, b"{\"") && bytes.get(4..8) == Some(&[0; 4]) {
        ("a safetensors file: weights without a network", EXPORT)
    } else if begins(b"\x89PNG") || begins(b"\xFF\xD8\xFF") || begins(b"GIF8") || at(8, b"WEBP") {
        ("a picture", order)
    } else if begins(b"<!DOCTYPE") || begins(b"<!doctype") || begins(b"<html") {
        (
            "a page of the web, most likely what a download answered in place of the file",
            "Fetch the file itself.",
        )
    } else {
        return None;
    })
}

/// Whether a file begins as ONNX models do: with the version of the format, and then the name or the
/// version of what made it, or the graph.
fn seems_onnx(path: &Path) -> bool {
    let mut bytes = [0; 3];
    let mut file = open_ordinary(path).ok();
    let is_read = file.as_mut().is_some_and(|file| file.read_exact(&mut bytes).is_ok());
    is_read
        && bytes[0] == 0x08
        && (1..32).contains(&bytes[1])
        && [0x12, 0x1A, 0x3A].contains(&bytes[2])
}

/// The error of `path`, which is there and was named as a network, but is a folder or a file that
/// is none by its name.
pub(super) fn no_network(path: &Path) -> Error {
    let shown = path.display();
    if path.is_dir() {
        let text =
            format!("`{shown}` is a folder, and a network is a file: NAME.onnx, or its manifest.");
        let mut inside: Vec<String> = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|file| file.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")))
            .map(|file| file.display().to_string())
            .collect();
        inside.sort();
        let help = if inside.is_empty() {
            "It holds no ONNX file. Manifests in a folder are found with --models FOLDER, by their names.".to_owned()
        } else {
            inside.truncate(NAMED);
            format!("Name a file in it: {}.", quoted(&inside))
        };
        return Error::new("fame::model::folder", text).with_help(help);
    }
    let code = "fame::model::no_network";
    if let Some((kind, way)) = kind_of_file(path) {
        let text = format!("`{shown}` is no network: it is {kind}.");
        return Error::new(code, text).with_help(format!("fame reads ONNX files. {way}"));
    }
    if seems_onnx(path) {
        let text = format!("`{shown}` is not named as a network, though it looks like one.");
        return Error::new(code, text).with_help("Name it NAME.onnx: by that fame knows it.");
    }
    Error::new(code, format!("`{shown}` is no network.")).with_help(
        "A network is an ONNX file, NAME.onnx, or its manifest, NAME.ron; or the name of a model that `fame-cli models list` has.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_known_by_their_first_bytes() {
        let safetensors = [&64u64.to_le_bytes()[..], b"{\"a\": {}}"].concat();
        for (bytes, told) in [
            (&b"PK\x03\x04rest"[..], "ZIP"),
            (b"\x80\x02}q\x00", "pickle"),
            (b"\x89HDF\r\n", "HDF5"),
            (b"\x1c\x00\x00\x00TFL3", "Lite"),
            (&safetensors, "safetensors"),
            (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
            (b"\x89PNG\r\n", "picture"),
            (b"<!DOCTYPE html>", "web"),
        ] {
            assert!(kind_of(bytes).is_some_and(|(kind, _)| kind.contains(told)), "{told}");
        }
        assert_eq!(kind_of(b"\x08\x07\x12\x07pytorch"), None);
        assert_eq!(kind_of(b""), None);
    }

    #[test]
    fn a_folder_and_a_file_of_another_name_are_told_what_to_name() {
        let dir = tempfile::tempdir().unwrap();
        let told = |path: &Path| {
            let error = no_network(path);
            format!("{error} {}", error.help.clone().unwrap_or_default())
        };
        assert!(told(dir.path()).contains("It holds no ONNX file"), "{}", told(dir.path()));
        fs::write(dir.path().join("net.onnx"), b"\x08\x07\x12\x07pytorch").unwrap();
        assert!(told(dir.path()).contains("net.onnx`"), "{}", told(dir.path()));
        let bare = dir.path().join("net");
        fs::copy(dir.path().join("net.onnx"), &bare).unwrap();
        assert!(told(&bare).contains("Name it NAME.onnx"), "{}", told(&bare));
        let weights = dir.path().join("net.pt");
        fs::write(&weights, b"PK\x03\x04").unwrap();
        assert!(told(&weights).contains("torch.onnx.export"), "{}", told(&weights));
        fs::write(&weights, "words").unwrap();
        assert!(told(&weights).contains("is no network. A network is an ONNX file"));
    }
}
