use std::path::Path;

use super::super::{
    FOLD, GENUINE, ROW,
    testing::{Beside, build, told},
};

/// Pickles that Python wrote; see `make_bins.py`.
fn bins() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/datasets/insightface_bin/bins");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(p).unwrap()))
        .collect();
    all.sort();
    assert_eq!(all.len(), 8);
    all
}

fn beside(bytes: &[u8]) -> Beside {
    let files = Beside::with(&[]);
    std::fs::write(files.path().join("set.bin"), bytes).unwrap();
    files
}

#[test]
fn every_form_that_python_writes_gives_the_same_pairs() {
    let fold = |n: usize| Some(n.to_string());
    for (name, bytes) in bins() {
        let files = beside(&bytes);
        let set = build(r#"InsightfaceBin(file: "set.bin", folds: 2)"#).unwrap();
        let items = set.index(&files).unwrap_or_else(|e| panic!("{name}: {e}"));
        let samples: Vec<_> = items.iter().map(|i| set.load(i, &files).unwrap()).collect();
        let brief: Vec<_> = samples
            .iter()
            .map(|s| (s.id.as_str(), s.marks.get(&GENUINE), s.marks.get(&FOLD)))
            .collect();
        assert_eq!(
            brief,
            [
                ("set-00000", Some(true), fold(1)),
                ("set-00001", Some(false), fold(1)),
                ("set-00002", Some(true), fold(2))
            ],
            "{name}"
        );
        for (n, (role, picture)) in samples.iter().flat_map(|s| &s.pictures).enumerate() {
            assert_eq!(
                (role.as_str(), picture.pixels.data()[0]),
                (["gallery", "probe"][n % 2], 40.0 * n as f32 / 255.0),
                "{name}"
            );
        }
        assert_eq!(samples[1].pictures[0].1.source, "set.bin#2");
    }
}

#[test]
fn impostors_may_be_left_out_and_rows_stay() {
    let files = beside(&bins()[0].1);
    let set = build(r#"InsightfaceBin(file: "set.bin", filter: ImpostorOnly)"#).unwrap();
    let items = set.index(&files).unwrap();
    assert_eq!((items.len(), set.load(&items[0], &files).unwrap().marks.get(&ROW)), (1, Some(1)));
}

#[test]
fn files_that_are_no_such_pickle_are_told() {
    let good = &bins()[4].1;
    let index = |bytes: &[u8]| {
        told(
            build(r#"InsightfaceBin(file: "set.bin")"#).unwrap().index(&beside(bytes)).unwrap_err(),
        )
    };
    insta::assert_snapshot!("bin_short", index(&good[..good.len() / 2]));
    insta::assert_snapshot!("bin_not_a_pickle", index(b"\x89PNG\r\n"));
    // os.system("echo"), as a hostile file would have it called.
    insta::assert_snapshot!(
        "bin_hostile",
        index(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00echo\x85R.")
    );
    // ([b"no"], [True]) and ([b"no", b"no"], [True]).
    insta::assert_snapshot!("bin_odd", index(b"\x80\x03]C\x02noa]\x88a\x86."));
    insta::assert_snapshot!("bin_no_pictures", index(b"\x80\x03](C\x02noC\x02noe]\x88a\x86."));
    insta::assert_snapshot!("bin_labels", index(b"\x80\x03](C\x02noC\x02noe]C\x01aa\x86."));
}

#[test]
fn fuzz_bins_and_pickles() {
    let corpus: Vec<Vec<u8>> = bins().into_iter().map(|(_, bytes)| bytes).collect();
    let set = build(r#"InsightfaceBin(file: "set.bin", folds: 2)"#).unwrap();
    let files = Beside::with(&[]);
    let words = ["cbuiltins\nbytes\n", "cos\nsystem\n", "_codecs\nencode\n", "\u{80}\u{4}", "."];
    fame_core::testkit::fuzz("bins", &corpus, &words, |bytes| {
        std::fs::write(files.path().join("set.bin"), bytes).unwrap();
        if let Ok(items) = set.index(&files) {
            items.iter().for_each(|i| drop(set.load(i, &files)));
        }
        let _ = super::super::pickle::read(std::io::Cursor::new(bytes), bytes.len() as u64);
    });
}

#[test]
fn a_byte_anywhere_may_be_wrong() {
    let (_, good) = &bins()[6];
    let set = build(r#"InsightfaceBin(file: "set.bin")"#).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x41;
        // An index or an error, never a panic; and what was indexed loads or is an error.
        let files = beside(&bytes);
        if let Ok(items) = set.index(&files) {
            items.iter().for_each(|i| drop(set.load(i, &files)));
        }
    }
}

#[test]
fn folds_are_cut_as_scikit_learn_cuts_them() {
    let folds =
        |rows: usize, of: usize| (0..rows).map(|r| super::fold_of(r, rows, of)).collect::<Vec<_>>();
    assert_eq!(folds(7, 3), [0, 0, 0, 1, 1, 2, 2]);
    assert_eq!(folds(6, 3), [0, 0, 1, 1, 2, 2]);
    assert_eq!(folds(2, 3), [0, 1]);
}
