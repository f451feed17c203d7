//! The outline fonts that lie in this crate.

use std::{io::Read, sync::LazyLock};

use flate2::read::GzDecoder;
use skrifa::{FontRef, MetadataProvider as _};

/// A font file, unpacked when the first label asks for it.
pub(crate) struct Font(LazyLock<Option<Open>>);

/// A font, as who shapes and who draws want it.
pub(crate) struct Open {
    pub(crate) shapes: harfrust::Font,
    pub(crate) outlines: FontRef<'static>,
}

macro_rules! fonts {
    ($($file:literal),* $(,)?) => {
        [$(Font(LazyLock::new(|| {
            open(include_bytes!(concat!("../fonts/", $file, ".ttf.gz")))
        }))),*]
    };
}

/// In the order in which they are asked whether they have a character.
pub(crate) static FONTS: [Font; 14] = fonts![
    "DejaVuSans",
    "NotoSansDevanagari-Regular",
    "NotoSansBengali-Regular",
    "NotoSansGurmukhi-Regular",
    "NotoSansGujarati-Regular",
    "NotoSansTamil-Regular",
    "NotoSansTelugu-Regular",
    "NotoSansKannada-Regular",
    "NotoSansMalayalam-Regular",
    "NotoSansSinhala-Regular",
    "NotoSansThai-Regular",
    "NotoSansLao-Regular",
    "NotoSansKhmer-Regular",
    "NotoSansMyanmar-Regular",
];

fn open(packed: &[u8]) -> Option<Open> {
    // For as long as the program runs, as everything in a static.
    let bytes: &'static [u8] = unpacked(packed)?.leak();
    let shapes = harfrust::Font::new(bytes, 0)?;
    Some(Open { shapes, outlines: FontRef::new(bytes).ok()? })
}

impl Font {
    /// The font; `None` only if this crate was built from a damaged file.
    pub(crate) fn open(&self) -> Option<&Open> {
        self.0.as_ref()
    }

    /// Whether it has a glyph for `character`.
    pub(crate) fn has(&self, character: char) -> bool {
        self.open().is_some_and(|font| font.outlines.charmap().map(character).is_some())
    }
}

/// The content of a gzip file; `None` where it is damaged.
pub(crate) fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_font_is_whole_and_has_its_script() {
        let letters = "aकকਕકகకಕമකกກកက";
        for (font, letter) in FONTS.iter().zip(letters.chars()) {
            assert!(font.has(letter), "{letter}");
        }
        assert_eq!(FONTS.len(), letters.chars().count());
        assert!(unpacked(b"no gzip").is_none());
    }
}
