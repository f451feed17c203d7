//! The declaration: what a plugin's file says about itself, in plain bytes.
//!
//! It is read from the *file*, before the file is opened as a library, so that nothing of a plugin
//! that does not fit ever runs: not even the constructors that the system runs while it opens a
//! library. Hence fixed-size text and no pointers.

use std::mem::offset_of;

use crate::{Error, Result};

/// The first bytes of every declaration.
const MAGIC: [u8; 16] = *b"fame plugin\0\0\0\0\x01";

/// The section of the file that holds it.
pub(super) const SECTIONS: [&str; 3] = [".fame_plugin", "__fame_plugin", ".fameplg"];

/// What stands in a plugin's file; written by [`export_plugin!`](crate::export_plugin).
///
/// `#[repr(C)]` and bytes throughout: the same wherever it is read. Text is UTF-8, filled up with
/// zeros.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Declaration {
    magic: [u8; 16],
    /// Size of this struct in bytes, little-endian.
    size: [u8; 4],
    name: [u8; 64],
    version: [u8; 48],
    rustc: [u8; 96],
    target: [u8; 64],
    core: [u8; 48],
    features: [u8; 128],
    source: [u8; 20],
    layout: [u8; 20],
    entry: [u8; 132],
}

/// `text`, filled up with zeros.
const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(
        bytes.len() < N,
        "fame_core::export_plugin!: the name or version of this crate is too long for a plugin's declaration"
    );
    let mut all = [0; N];
    let mut i = 0;
    while i < bytes.len() {
        all[i] = bytes[i];
        i += 1;
    }
    all
}

impl Declaration {
    /// The declaration of a crate built against this copy of fame-core.
    #[doc(hidden)]
    pub const fn of(name: &str, version: &str, entry: &str) -> Self {
        Self {
            magic: MAGIC,
            size: (size_of::<Self>() as u32).to_le_bytes(),
            name: padded(name),
            version: padded(version),
            rustc: padded(RUSTC),
            target: padded(TARGET),
            core: padded(CORE),
            features: padded(FEATURES),
            source: padded(SOURCE),
            layout: super::layout::FINGERPRINT,
            entry: padded(entry),
        }
    }
}

const RUSTC: &str = env!("FAME_RUSTC");
const TARGET: &str = env!("FAME_TARGET");
const CORE: &str = env!("CARGO_PKG_VERSION");
const FEATURES: &str = env!("FAME_FEATURES");
const SOURCE: &str = env!("FAME_SOURCE");

/// A declaration as read: what both sides are compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The crate's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `rustc -V` of the compiler that built it.
    pub rustc: String,
    /// The target it was built for.
    pub target: String,
    /// Version of the fame-core it was built against.
    pub core: String,
    /// Features of that fame-core, sorted, with commas.
    pub features: String,
    /// Hash of the source of that fame-core.
    pub source: String,
    /// Fingerprint of the layout of the types that cross, as its compiler laid them out.
    pub layout: String,
    /// The symbol that hands its plugins over.
    pub entry: String,
}

impl Declared {
    /// What this program says about itself: what a plugin must say to fit.
    pub fn host() -> Self {
        let mut own = Self::read(&bytes_of(&Declaration::of("", "", "")))
            .unwrap_or_else(|_| unreachable!("a declaration of our own reads"));
        "fame".clone_into(&mut own.name);
        CORE.clone_into(&mut own.version);
        own
    }

    /// Reads one declaration. `bytes` is the section from where it starts.
    ///
    /// # Errors
    /// Without the right first bytes, or when it has another size than this fame's.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let wanted = size_of::<Declaration>();
        if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
            let message =
                "its section `.fame_plugin` does not begin as a declaration of a plugin does.";
            return Err(Error::new("fame::plugin::wrong_magic", message).with_help(
                "The file is damaged, or was made by something else than `fame_core::export_plugin!`. Build the plugin again.",
            ));
        }
        let at = offset_of!(Declaration, size);
        let size = bytes
            .get(at..at + 4)
            .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
        if size != wanted || bytes.len() < wanted {
            let message = format!(
                "its declaration has {size} bytes{}, and this fame {CORE} reads declarations of {wanted} bytes.",
                if size == wanted {
                    format!(" of which {} are there", bytes.len())
                } else {
                    String::new()
                }
            );
            return Err(Error::new("fame::plugin::wrong_size", message).with_help(rebuild()));
        }
        macro_rules! text {
            ($field:ident) => {{
                let at = offset_of!(Declaration, $field);
                let bytes = &bytes[at..at + field_size(|d| &d.$field)];
                let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
                // It will be shown on a terminal: nothing that commands one.
                String::from_utf8_lossy(&bytes[..end]).replace(char::is_control, "\u{fffd}")
            }};
        }
        Ok(Self {
            name: text!(name),
            version: text!(version),
            rustc: text!(rustc),
            target: text!(target),
            core: text!(core),
            features: text!(features),
            source: text!(source),
            layout: text!(layout),
            entry: text!(entry),
        })
    }

    /// Every declaration of a section: a file may hold the plugins of several crates.
    pub(super) fn read_all(mut bytes: &[u8]) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        while !bytes.is_empty() || all.is_empty() {
            all.push(Self::read(bytes)?);
            bytes = &bytes[size_of::<Declaration>()..];
        }
        Ok(all)
    }

    /// What is compared, in this order: what, the plugin's side, this program's side.
    pub fn comparison(&self) -> [(&'static str, String, String); 6] {
        let host = Self::host();
        let features = |f: &str| if f.is_empty() { "none".to_owned() } else { f.to_owned() };
        [
            ("compiler", self.rustc.clone(), host.rustc),
            ("target", self.target.clone(), host.target),
            ("fame-core", self.core.clone(), host.core),
            ("fame-core features", features(&self.features), features(&host.features)),
            ("fame-core source", self.source.clone(), host.source),
            ("layout of types", self.layout.clone(), host.layout),
        ]
    }

    /// Whether the plugin fits this program: all that is compared is equal.
    ///
    /// # Errors
    /// The first difference, with both sides and the way out.
    pub fn fits(&self) -> Result<()> {
        let Some((what, theirs, ours)) =
            self.comparison().into_iter().find(|(_, theirs, ours)| theirs != ours)
        else {
            return Ok(());
        };
        let who = format!("plugin `{} {}`", self.name, self.version);
        let (code, message, help) = match what {
            "compiler" => (
                "wrong_rustc",
                format!("{who} was built by `{theirs}`, and this fame by `{ours}`."),
                format!(
                    "Build the plugin with this fame's compiler: `cargo +{} build --release`.",
                    toolchain(&ours)
                ),
            ),
            "target" => (
                "wrong_target",
                format!("{who} was built for `{theirs}`, and this fame runs on `{ours}`."),
                format!(
                    "Build the plugin for this machine: `cargo build --release --target {ours}`."
                ),
            ),
            "fame-core" => (
                "wrong_core",
                format!(
                    "{who} was built against fame-core {theirs}, and this fame has fame-core {ours}."
                ),
                rebuild(),
            ),
            "fame-core features" => (
                "wrong_features",
                format!(
                    "{who} was built against fame-core with the features {theirs}, and this fame has the features {ours}."
                ),
                "Build the plugin again with the same features of fame-core.".to_owned(),
            ),
            "fame-core source" => (
                "wrong_source",
                format!(
                    "{who} was built against fame-core {} with the source {theirs}, and this fame's has the source {ours}.",
                    self.core
                ),
                rebuild(),
            ),
            _ => (
                "wrong_layout",
                format!(
                    "{who} lays out fame-core's types as {theirs}, and this fame as {ours}, though compiler and source are the same."
                ),
                "Build both with the same compiler flags (RUSTFLAGS, -Z randomize-layout)."
                    .to_owned(),
            ),
        };
        Err(Error::new(format!("fame::plugin::{code}"), message).with_help(help))
    }
}

/// The toolchain's name in `rustc 1.95.0 (…)`.
fn toolchain(rustc: &str) -> &str {
    rustc.split_whitespace().nth(1).unwrap_or("VERSION")
}

fn rebuild() -> String {
    format!(
        "Build the plugin again against the fame-core of this program, version {CORE} with the source {SOURCE}: every change of fame-core needs it before 1.0."
    )
}

const fn field_size<const N: usize>(_: fn(&Declaration) -> &[u8; N]) -> usize {
    N
}

/// The bytes of a declaration, field by field: it has no padding.
fn bytes_of(d: &Declaration) -> Vec<u8> {
    let Declaration {
        magic,
        size,
        name,
        version,
        rustc,
        target,
        core,
        features,
        source,
        layout,
        entry,
    } = d;
    let fields: [&[u8]; 11] =
        [magic, size, name, version, rustc, target, core, features, source, layout, entry];
    fields.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Vec<u8> {
        bytes_of(&Declaration::of("mine", "1.2.3", "entry"))
    }

    #[test]
    fn a_declaration_has_no_padding_and_reads_as_written() {
        assert_eq!(good().len(), size_of::<Declaration>());
        let read = Declared::read(&good()).unwrap();
        assert_eq!(
            (read.name.as_str(), read.version.as_str(), read.entry.as_str()),
            ("mine", "1.2.3", "entry")
        );
        assert!(
            read.rustc.starts_with("rustc ")
                && read.target.contains('-')
                && read.source.len() == 16
                && read.layout.len() == 16,
            "{read:?}"
        );
        assert!(read.fits().is_ok());
    }

    #[test]
    fn fuzz_declarations() {
        crate::fuzz::fuzz("declarations", &[good(), [good(), good()].concat()], &[], |bytes| {
            for declared in Declared::read_all(bytes).into_iter().flatten() {
                let _ = (declared.fits(), declared.comparison());
            }
        });
    }

    #[test]
    fn several_declarations_may_stand_in_one_section() {
        let two = [good(), bytes_of(&Declaration::of("other", "2.0.0", "e"))].concat();
        let names: Vec<String> =
            Declared::read_all(&two).unwrap().into_iter().map(|d| d.name).collect();
        assert_eq!(names, ["mine", "other"]);
        assert_eq!(
            Declared::read_all(&two[..two.len() - 1]).unwrap_err().code,
            "fame::plugin::wrong_size"
        );
        assert_eq!(Declared::read_all(&[]).unwrap_err().code, "fame::plugin::wrong_magic");
    }

    #[test]
    fn the_first_difference_in_the_fixed_order_is_the_one_reported() {
        let mut d = Declared::read(&good()).unwrap();
        let mut expect = |code: &str, change: fn(&mut Declared)| {
            change(&mut d);
            assert_eq!(d.fits().unwrap_err().code, format!("fame::plugin::{code}"));
        };
        expect("wrong_layout", |d| d.layout = "x".into());
        expect("wrong_source", |d| d.source = "x".into());
        expect("wrong_features", |d| d.features = "x".into());
        expect("wrong_core", |d| d.core = "x".into());
        expect("wrong_target", |d| d.target = "x".into());
        expect("wrong_rustc", |d| d.rustc = "x".into());
    }
}
