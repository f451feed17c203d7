//! Python pickles, read for their shape: where byte strings lie, never what code would do.
//!
//! A pickle is a program for a small stack machine that may name any function and have it called.
//! This machine calls nothing: names of functions, and what they would be called with, become plain
//! values. Byte strings are not kept but noted as places in the file, so that a pickle of gigabytes
//! is read in the memory of its outline. Opcodes and their meaning: `pickletools` of CPython.

mod functions;
mod input;
mod machine;
mod opcodes;

use std::{
    cell::RefCell,
    io::{Read, Seek, SeekFrom},
    rc::Rc,
};

use machine::Machine;
use serde::{Deserialize, Serialize};

/// A value of a pickle, as far as lists of pictures need it.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// The place of a byte string.
    Bytes(ByteRange),
    /// Text, and its place.
    Text(Rc<str>, ByteRange),
    Integer(i64),
    Bool(bool),
    /// A list that may still grow where the pickle refers to it again.
    List(Items),
    Tuple(Items),
    /// The name of a function or class: `module name`.
    Global(Rc<str>),
    /// What a function would have been called with, and the state that would have been set.
    Call(Rc<Call>),
    /// None, numbers with a point, dictionaries: nothing that matters here.
    Other,
}

/// The items of a list or tuple; shared by all who refer to it.
pub(super) type Items = Rc<RefCell<Vec<Value>>>;

/// A function that was not called.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: Rc<str>,
    pub(super) with: Items,
    pub(super) state: RefCell<Value>,
}

/// All that holds values. Dropped, it empties all of them one after the other: a hostile
/// pickle may nest a million deep, or in a circle, and dropping the outermost alone would go as
/// deep, and end on the stack's end.
#[derive(Default)]
struct Holders {
    items: Vec<Items>,
    calls: Vec<Rc<Call>>,
}

impl Drop for Holders {
    fn drop(&mut self) {
        self.items.iter().for_each(|items| items.borrow_mut().clear());
        self.calls.iter().for_each(|call| *call.state.borrow_mut() = Value::Other);
    }
}

/// A pickle that has been read.
pub(super) struct Pickle {
    /// The value that it stands for.
    pub(super) value: Value,
    _holders: Holders,
}

/// The bytes of a byte string in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ByteRange {
    pub(super) at: u64,
    pub(super) length: u64,
    /// Whether it is text in which each character up to U+00FF stands for a byte: how Python 3
    /// writes bytes for Python 2.
    pub(super) latin1: bool,
}

/// The reason why a pickle cannot be read: the end of a sentence.
pub(super) type Broken = String;

/// The value that the pickle in `from`, of `size` bytes, stands for.
///
/// # Errors
/// A truncated or hostile file, or one with opcodes that lists of pictures do not need.
pub(super) fn read<R: Read + Seek>(from: R, size: u64) -> Result<Pickle, Broken> {
    Machine::new(from, size).run()
}

/// The bytes at `place` of a file.
///
/// # Errors
/// When they cannot be read, or are no bytes.
pub(super) fn bytes_at<R: Read + Seek>(from: &mut R, place: ByteRange) -> Result<Vec<u8>, Broken> {
    let mut bytes = Vec::new();
    from.seek(SeekFrom::Start(place.at))
        .and_then(|_| from.take(place.length).read_to_end(&mut bytes))
        .map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 != place.length {
        return Err("is shorter than it was".into());
    }
    if !place.latin1 {
        return Ok(bytes);
    }
    let text = String::from_utf8(bytes).map_err(|_| "holds text that is not UTF-8".to_owned())?;
    text.chars()
        .map(|c| {
            u8::try_from(u32::from(c)).map_err(|_| "holds text where bytes are due".to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn says(bytes: &[u8]) -> Broken {
        read(Cursor::new(bytes), bytes.len() as u64).err().unwrap()
    }

    #[test]
    fn hostile_pickles_are_errors() {
        // os.system("echo"): noted, never called.
        let call = read(Cursor::new(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00echo\x85R."), 27)
            .unwrap()
            .value;
        assert!(matches!(&call, Value::Call(c) if &*c.name == "os system"));
        assert!(says(b"").starts_with("ends early"));
        assert!(says(b"(lp0\n.").contains("protocol 2"));
        assert!(says(b"\x80\x09.").contains("protocol 9"));
        assert!(says(b"\x80\x04B\xff\xff\xff\xff").contains("promises"));
        assert!(says(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff").contains("promises"));
        assert!(says(b"\x80\x04e").contains("not opened"));
        assert!(says(b"\x80\x04(a").contains("not there"));
        assert!(says(b"\x80\x04h\x07").contains("refers"));
        assert!(says(b"\x80\x04\x8a\x09").contains("number of 9"));
        assert!(says(b"\x80\x04i").contains("opcode 0x69"));
    }

    #[test]
    fn whatever_the_bytes_there_is_an_answer() {
        let mut random = fame_core::Random::new(5);
        for length in 0..400 {
            let mut bytes = vec![0x80, 4];
            bytes.extend((0..length).map(|_| random.below(256) as u8));
            let _ = read(Cursor::new(&bytes), bytes.len() as u64);
        }
    }

    #[test]
    fn nesting_has_no_end_to_fall_off() {
        // Tuples of one, a million deep; lists, each in the one before, linked after all were made;
        // a list in itself.
        let mut deep = b"\x80\x04N".to_vec();
        deep.resize(1_000_003, 0x85);
        deep.push(b'.');
        let mut linked = b"\x80\x04".to_vec();
        (0..100_000u32).for_each(|n| linked.extend([&b"]r"[..], &n.to_le_bytes(), b"0"].concat()));
        (0..99_999u32).for_each(|n| {
            linked.extend(
                [&b"j"[..], &n.to_le_bytes(), b"j", &(n + 1).to_le_bytes(), b"a0"].concat(),
            );
        });
        linked.extend(b"j\0\0\0\0.");
        for bytes in [deep, linked, b"\x80\x04]\x94h\0a.".to_vec()] {
            assert!(read(Cursor::new(&bytes), bytes.len() as u64).is_ok());
            // The same, ending early.
            assert!(read(Cursor::new(&bytes[..bytes.len() - 1]), bytes.len() as u64).is_err());
        }
    }

    #[test]
    fn a_billion_copies_stay_small() {
        // Tuples of tuples, each twice the one before: shared, not copied.
        let mut bytes = b"\x80\x04N\x94".to_vec();
        for n in 0..60u8 {
            bytes.extend([b'h', n, b'h', n, 0x86, 0x94]);
        }
        bytes.push(b'.');
        assert!(read(Cursor::new(&bytes), bytes.len() as u64).is_ok());
    }
}
