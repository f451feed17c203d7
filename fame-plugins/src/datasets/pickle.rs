//! Python pickles, read for their shape: where byte strings lie, never what code would do.
//!
//! A pickle is a program for a small stack machine that may name any function and have it called.
//! This machine calls nothing: names of functions, and what they would be called with, become plain
//! values. Byte strings are not kept but noted as places in the file, so that a pickle of gigabytes
//! is read in the memory of its outline. Opcodes and their meaning: `pickletools` of CPython.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{BufReader, Read, Seek, SeekFrom},
    rc::Rc,
};

use serde::{Deserialize, Serialize};

/// A pickle of this many values is no list of faces.
const MAX_VALUES: usize = 8_000_000;

/// Names and text beyond this many bytes are places, not text.
const MAX_TEXT: u64 = 4096;

/// A value, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Where a byte string lies.
    Bytes(Place),
    /// Text, and where it lies.
    Text(Rc<str>, Place),
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

/// What is in a list or tuple; shared by all who refer to it.
pub(super) type Items = Rc<RefCell<Vec<Value>>>;

/// A function that was not called.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: Rc<str>,
    pub(super) with: Items,
    pub(super) state: RefCell<Value>,
}

/// Everything that holds values. Dropped, it empties all of them one after the other: a hostile
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
    /// What it stands for.
    pub(super) value: Value,
    _holders: Holders,
}

/// A byte string in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) length: u64,
    /// Whether it is text in which each character up to U+00FF stands for a byte: how Python 3
    /// writes bytes for Python 2.
    pub(super) latin1: bool,
}

/// Why a pickle cannot be read: a sentence's end.
pub(super) type Broken = String;

struct Machine<R> {
    from: BufReader<R>,
    at: u64,
    size: u64,
    values: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: BTreeMap<u64, Value>,
    /// Last, so that it is dropped last.
    holders: Holders,
}

/// The value that the pickle in `from`, of `size` bytes, stands for.
///
/// # Errors
/// A truncated or hostile file, or one with opcodes that lists of pictures do not need.
pub(super) fn read<R: Read + Seek>(from: R, size: u64) -> Result<Pickle, Broken> {
    let from = BufReader::with_capacity(1 << 16, from);
    Machine {
        from,
        at: 0,
        size,
        values: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        holders: Holders::default(),
    }
    .run()
}

impl<R: Read + Seek> Machine<R> {
    fn run(mut self) -> Result<Pickle, Broken> {
        if self.byte()? != 0x80 {
            return Err("is not a pickle of protocol 2 or later".into());
        }
        let protocol = self.byte()?;
        if !(2..=5).contains(&protocol) {
            return Err(format!("is a pickle of protocol {protocol}; 2 to 5 can be read"));
        }
        loop {
            let op = self.byte()?;
            if op == b'.' {
                return Ok(Pickle {
                    value: self.pop()?,
                    _holders: std::mem::take(&mut self.holders),
                });
            }
            self.step(op)?;
        }
    }

    fn step(&mut self, op: u8) -> Result<(), Broken> {
        match op {
            // PROTO again, and FRAME: nothing but hints.
            0x80 => drop(self.byte()?),
            0x95 => drop(self.number(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' | b'u' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?.clone();
                self.push(top)?;
            }
            b'N' | b'}' => self.push(Value::Other)?,
            b'G' => {
                self.number(8)?;
                self.push(Value::Other)?;
            }
            0x88 | 0x89 => self.push(Value::Bool(op == 0x88))?,
            b'J' => {
                let number = self.number(4)? as u32 as i32;
                self.push(Value::Integer(i64::from(number)))?;
            }
            b'K' | b'M' => {
                let number = self.number(if op == b'K' { 1 } else { 2 })? as i64;
                self.push(Value::Integer(number))?;
            }
            0x8a => self.long()?,
            // Byte strings: BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8, and Python 2's
            // BINSTRING, SHORT_BINSTRING.
            b'B' | b'T' => self.bytes(4)?,
            b'C' | b'U' => self.bytes(1)?,
            0x8e | 0x96 => self.bytes(8)?,
            // Text: BINUNICODE, SHORT_BINUNICODE, BINUNICODE8.
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b']' => self.push_list(Vec::new())?,
            b'l' => {
                let items = self.since_mark()?;
                self.push_list(items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b')' => self.push_tuple(Vec::new())?,
            b't' => {
                let items = self.since_mark()?;
                self.push_tuple(items)?;
            }
            0x85..=0x87 => {
                let items = self.take(usize::from(op - 0x84))?;
                self.push_tuple(items)?;
            }
            // Dictionaries do not matter here: their entries go.
            b's' => drop(self.take(2)?),
            b'd' => {
                self.since_mark()?;
                self.push(Value::Other)?;
            }
            b'q' => self.keep(1)?,
            b'r' => self.keep(4)?,
            0x94 => {
                let key = self.memo.len() as u64;
                self.remember(key)?;
            }
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            b'c' => {
                let name = format!("{} {}", self.line()?, self.line()?);
                self.push(Value::Global(name.into()))?;
            }
            0x93 => match self.take(2)?.as_slice() {
                [Value::Text(module, _), Value::Text(name, _)] => {
                    self.push(Value::Global(format!("{module} {name}").into()))?
                }
                _ => return Err("names a function by something else than text".into()),
            },
            // REDUCE and NEWOBJ: a call, which is noted and not made.
            b'R' | 0x81 => match self.take(2)?.as_slice() {
                [Value::Global(name), Value::Tuple(with)] => self.push_call(name, with)?,
                _ => return Err("calls what is not a function".into()),
            },
            b'b' => {
                let state = self.pop()?;
                match self.top()? {
                    Value::Call(call) => *call.state.borrow_mut() = state,
                    _ => return Err("sets the state of what is no object".into()),
                }
            }
            other => {
                return Err(format!(
                    "has the opcode 0x{other:02x} at byte {}, which lists of pictures do not need",
                    self.at - 1
                ));
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        Ok(self.number(1)? as u8)
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, Broken> {
        let mut buffer = [0; 8];
        self.from.read_exact(&mut buffer[..bytes]).map_err(|e| self.cut(&e))?;
        self.at += bytes as u64;
        Ok(u64::from_le_bytes(buffer))
    }

    fn cut(&self, e: &std::io::Error) -> Broken {
        match e.kind() {
            std::io::ErrorKind::UnexpectedEof => format!("ends early, after {} bytes", self.at),
            _ => format!("cannot be read: {e}"),
        }
    }

    fn long(&mut self) -> Result<(), Broken> {
        let length = self.byte()?;
        if length > 8 {
            return Err(format!("holds a number of {length} bytes"));
        }
        let bits = self.number(usize::from(length))?;
        let unused = 64 - 8 * u32::from(length);
        let number = if length == 0 { 0 } else { (bits << unused) as i64 >> unused };
        self.push(Value::Integer(number))
    }

    /// The place of a byte string whose length stands before it; the bytes are passed over.
    fn place(&mut self, width: usize) -> Result<Place, Broken> {
        let length = self.number(width)?;
        let place = Place { at: self.at, length, latin1: false };
        if length > self.size.saturating_sub(self.at) {
            return Err(format!("promises {length} bytes at byte {}, and ends before", self.at));
        }
        Ok(place)
    }

    fn pass(&mut self, place: Place) -> Result<(), Broken> {
        let length = i64::try_from(place.length).map_err(|_| "is too large".to_owned())?;
        self.from.seek_relative(length).map_err(|e| self.cut(&e))?;
        self.at += place.length;
        Ok(())
    }

    fn bytes(&mut self, width: usize) -> Result<(), Broken> {
        let place = self.place(width)?;
        self.pass(place)?;
        self.push(Value::Bytes(place))
    }

    fn text(&mut self, width: usize) -> Result<(), Broken> {
        let place = self.place(width)?;
        if place.length > MAX_TEXT {
            self.pass(place)?;
            return self.push(Value::Text("".into(), place));
        }
        let mut buffer = vec![0; place.length as usize];
        self.from.read_exact(&mut buffer).map_err(|e| self.cut(&e))?;
        self.at += place.length;
        let text = String::from_utf8_lossy(&buffer).into_owned();
        self.push(Value::Text(text.into(), place))
    }

    fn line(&mut self) -> Result<String, Broken> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
                byte if (line.len() as u64) < MAX_TEXT => line.push(byte),
                _ => return Err("holds a name without end".into()),
            }
        }
    }

    fn push(&mut self, value: Value) -> Result<(), Broken> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(format!("holds more than {MAX_VALUES} values"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn hold(&mut self, items: Vec<Value>) -> Items {
        let items = Rc::new(RefCell::new(items));
        self.holders.items.push(items.clone());
        items
    }

    fn push_list(&mut self, items: Vec<Value>) -> Result<(), Broken> {
        let items = self.hold(items);
        self.push(Value::List(items))
    }

    fn push_tuple(&mut self, items: Vec<Value>) -> Result<(), Broken> {
        let items = self.hold(items);
        self.push(Value::Tuple(items))
    }

    /// The calls that stand for byte strings are read as these: in protocol 2, they are text in
    /// Latin-1. Any other is noted.
    fn push_call(&mut self, name: &Rc<str>, with: &Items) -> Result<(), Broken> {
        let value = match (&**name, with.borrow().as_slice()) {
            ("_codecs encode", [Value::Text(_, place), Value::Text(coding, _)])
                if &**coding == "latin1" =>
            {
                Value::Bytes(Place { latin1: true, ..*place })
            }
            (
                "__builtin__ bytes"
                | "builtins bytes"
                | "__builtin__ bytearray"
                | "builtins bytearray",
                [Value::Bytes(place)],
            ) => Value::Bytes(*place),
            _ => {
                let call = Rc::new(Call {
                    name: name.clone(),
                    with: with.clone(),
                    state: RefCell::new(Value::Other),
                });
                self.holders.calls.push(call.clone());
                Value::Call(call)
            }
        };
        self.push(value)
    }

    fn pop(&mut self) -> Result<Value, Broken> {
        Ok(self.take(1)?.remove(0))
    }

    fn top(&self) -> Result<&Value, Broken> {
        self.stack.last().ok_or_else(|| "takes a value that is not there".to_owned())
    }

    fn take(&mut self, n: usize) -> Result<Vec<Value>, Broken> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() < floor + n {
            return Err("takes a value that is not there".into());
        }
        Ok(self.stack.split_off(self.stack.len() - n))
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, Broken> {
        let mark = self.marks.pop().ok_or("closes what was not opened")?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), Broken> {
        match self.top()? {
            Value::List(list) => list.borrow_mut().extend(items),
            // An object that is filled like a list; no list of pictures needs one.
            _ => return Err("appends to what is no list".into()),
        }
        Ok(())
    }

    fn keep(&mut self, width: usize) -> Result<(), Broken> {
        let key = self.number(width)?;
        self.remember(key)
    }

    fn remember(&mut self, key: u64) -> Result<(), Broken> {
        let value = self.top()?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<(), Broken> {
        let key = self.number(width)?;
        let value = self.memo.get(&key).cloned().ok_or("refers to a value that is not there")?;
        self.push(value)
    }
}

/// The bytes at `place` of a file.
///
/// # Errors
/// When they cannot be read, or are no bytes.
pub(super) fn bytes_at<R: Read + Seek>(from: &mut R, place: Place) -> Result<Vec<u8>, Broken> {
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
            linked
                .extend([&b"j"[..], &n.to_le_bytes(), b"j", &(n + 1).to_le_bytes(), b"a0"].concat())
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
