//! Takes one file out of an archive, and nothing else.
//!
//! Names inside an archive are only ever compared, never used as paths: an archive cannot choose
//! where anything is written.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::{Error, Result};

/// The largest member that is taken out: eight times the biggest model of the paper.
pub(super) const MAX_MEMBER_BYTES: u64 = 2 << 30;

/// Writes the plain file `member` of a gzipped tar or zip archive to `to`.
///
/// # Errors
/// `fame::model::archive` when the archive is broken, has no such file, or the file is larger than
/// `max_bytes`.
pub(super) fn extract(archive: &Path, member: &str, to: &Path, max_bytes: u64) -> Result<()> {
    let broken = |error: &dyn std::fmt::Display| {
        Error::new(
            "fame::model::archive",
            format!("cannot read `{member}` in the archive `{}`: {error}.", archive.display()),
        )
    };
    let mut file = File::open(archive).map_err(|error| Error::io("read", archive, &error))?;
    let mut magic = [0; 2];
    file.read_exact(&mut magic)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .map_err(|error| broken(&error))?;
    let found = match magic {
        [b'P', b'K'] => from_zip(BufReader::new(file), member, to, max_bytes),
        [0x1f, 0x8b] => {
            from_tar(flate2::read::GzDecoder::new(BufReader::new(file)), member, to, max_bytes)
        }
        _ => Err(io::Error::other("it is neither a zip nor a gzipped tar file")),
    };
    if found.map_err(|error| broken(&error))? {
        return Ok(());
    }
    Err(Error::new(
        "fame::model::archive",
        format!("there is no file `{member}` in the archive `{}`.", archive.display()),
    )
    .with_help(
        "The manifest names a file that the package does not hold. Correct `file` in the manifest.",
    ))
}

/// Copies `member` out of a gzipped tar archive; false when it is not in it.
fn from_tar(reader: impl Read, member: &str, to: &Path, max_bytes: u64) -> io::Result<bool> {
    for entry in tar::Archive::new(reader).entries()? {
        let entry = entry?;
        if entry.path_bytes().as_ref() == member.as_bytes() {
            // A link could point anywhere; only bytes that lie in the archive itself are what its
            // checksum vouches for.
            if !entry.header().entry_type().is_file() {
                return Err(io::Error::other("it is not a plain file"));
            }
            return write_capped(entry, to, max_bytes).map(|()| true);
        }
    }
    Ok(false)
}

/// Copies `member` out of a zip archive; false when it is not in it.
fn from_zip(reader: impl Read + Seek, member: &str, to: &Path, max_bytes: u64) -> io::Result<bool> {
    let mut archive = zip::ZipArchive::new(reader).map_err(io::Error::other)?;
    let Some(index) = archive.index_for_name(member) else { return Ok(false) };
    let entry = archive.by_index(index).map_err(io::Error::other)?;
    if !entry.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    write_capped(entry, to, max_bytes).map(|()| true)
}

/// A header may lie about the size, so the bytes themselves are counted.
fn write_capped(from: impl Read, to: &Path, max_bytes: u64) -> io::Result<()> {
    let copied = io::copy(&mut from.take(max_bytes + 1), &mut File::create_new(to)?)?;
    if copied > max_bytes {
        Err(io::Error::other(format!("it is larger than {max_bytes} bytes")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// A `.tgz` with any names, even such as the `tar` crate refuses to write.
    pub(in super::super) fn tgz(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        for (name, data) in members {
            tar.append(&header(name, data.len(), tar::EntryType::Regular), *data).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    pub(in super::super) fn wheel(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, data) in members {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(data).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn header(name: &str, size: usize, kind: tar::EntryType) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(size as u64);
        header.set_mode(0o644);
        header.set_entry_type(kind);
        header.set_cksum();
        header
    }

    fn take(archive: &[u8], member: &str) -> (Result<Vec<u8>, String>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("archive"), archive).unwrap();
        let to = inner.join("out");
        let result =
            extract(&inner.join("archive"), member, &to, 100).map(|()| std::fs::read(&to).unwrap());
        let outside = std::fs::read_dir(folder.path()).unwrap().count() - 1;
        (result.map_err(|error| error.message.replace(inner.to_str().unwrap(), "…")), outside)
    }

    #[test]
    fn fuzz_archives() {
        let members: [(&str, &[u8]); 3] = [("a", b"boo"), ("p/net.onnx", b"net"), ("b", &[7; 90])];
        let tar = {
            let mut bytes = Vec::new();
            let packed = tgz(&members);
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
            bytes
        };
        let corpus = [wheel(&members), tgz(&members), tar];
        let folder = tempfile::tempdir().unwrap();
        let (archive, to) = (folder.path().join("archive"), folder.path().join("out"));
        crate::fuzz::fuzz("archives", &corpus, &["p/net.onnx", "../"], |bytes| {
            // The checksum of a compressed file would refuse nearly all damage to what is in it.
            let is_tar = !bytes.starts_with(b"PK") && !bytes.starts_with(&[0x1f, 0x8b]);
            if is_tar {
                let _ = from_tar(bytes, "p/net.onnx", &to, 100);
            } else {
                std::fs::write(&archive, bytes).unwrap();
                let _ = extract(&archive, "p/net.onnx", &to, 100);
            }
            let length = std::fs::metadata(&to).map_or(0, |about| about.len());
            assert!(length <= 101, "{length} bytes were written of at most 100");
            let _ = std::fs::remove_file(&to);
        });
    }

    #[test]
    fn only_the_wanted_file_is_written() {
        for archive in [
            tgz(&[("../evil", b"boo"), ("p/net.onnx", b"net")]),
            wheel(&[("../evil", b"boo"), ("p/net.onnx", b"net")]),
        ] {
            assert_eq!(take(&archive, "p/net.onnx"), (Ok(b"net".to_vec()), 0));
        }
    }

    #[test]
    fn what_is_too_large_a_link_missing_or_no_archive_is_refused() {
        let large = [7u8; 101];
        let mut link = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        let mut linked = header("p/net.onnx", 0, tar::EntryType::Symlink);
        linked.set_link_name("/etc/passwd").unwrap();
        linked.set_cksum();
        link.append(&linked, io::empty()).unwrap();
        let link = link.into_inner().unwrap().finish().unwrap();
        let cut = &tgz(&[("p/net.onnx", b"net")])[..20];

        let message = |archive: &[u8]| take(archive, "p/net.onnx").0.unwrap_err();
        insta::assert_snapshot!(message(&tgz(&[("p/net.onnx", &large)])), @r#"cannot read `p/net.onnx` in the archive `…/archive`: it is larger than 100 bytes."#);
        insta::assert_snapshot!(message(&wheel(&[("p/net.onnx", &large)])), @r#"cannot read `p/net.onnx` in the archive `…/archive`: it is larger than 100 bytes."#);
        insta::assert_snapshot!(message(&link), @r#"cannot read `p/net.onnx` in the archive `…/archive`: it is not a plain file."#);
        insta::assert_snapshot!(message(&wheel(&[("other", b"")])), @r#"there is no file `p/net.onnx` in the archive `…/archive`."#);
        insta::assert_snapshot!(message(b"not an archive"), @r#"cannot read `p/net.onnx` in the archive `…/archive`: it is neither a zip nor a gzipped tar file."#);
        assert!(message(cut).starts_with("cannot read `p/net.onnx`"));
    }
}
