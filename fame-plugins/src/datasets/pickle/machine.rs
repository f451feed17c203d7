//! The stack machine that a pickle is a program for: its stack, its memory, and one step.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{BufReader, Read, Seek},
    rc::Rc,
};

use super::{Broken, Holders, Items, Pickle, Value, opcodes as op};

/// A pickle of this many values is no list of faces.
const MAX_VALUES: usize = 8_000_000;

/// The machine in the middle of a pickle.
pub(super) struct Machine<R> {
    pub(super) from: BufReader<R>,
    /// The offset of the next byte.
    pub(super) at: u64,
    /// The size of the file.
    pub(super) size: u64,
    /// The number of values that were ever on the stack.
    values: usize,
    stack: Vec<Value>,
    /// The heights of the stack at the marks that are open.
    marks: Vec<usize>,
    memo: BTreeMap<u64, Value>,
    /// Last, so that it is dropped last.
    pub(super) holders: Holders,
}

impl<R: Read + Seek> Machine<R> {
    /// A machine at the beginning of the pickle in `from`, of `size` bytes.
    pub(super) fn new(from: R, size: u64) -> Self {
        Self {
            from: BufReader::with_capacity(1 << 16, from),
            at: 0,
            size,
            values: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
            holders: Holders::default(),
        }
    }

    /// Reads the pickle to its end.
    pub(super) fn run(mut self) -> Result<Pickle, Broken> {
        if self.byte()? != op::PROTO {
            return Err("is not a pickle of protocol 2 or later".into());
        }
        let protocol = self.byte()?;
        if !(2..=5).contains(&protocol) {
            return Err(format!("is a pickle of protocol {protocol}; 2 to 5 can be read"));
        }
        loop {
            let opcode = self.byte()?;
            if opcode == op::STOP {
                return Ok(Pickle {
                    value: self.pop()?,
                    _holders: std::mem::take(&mut self.holders),
                });
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), Broken> {
        match opcode {
            // The protocol again, and the size of what follows: nothing but hints.
            op::PROTO => self.byte().map(drop),
            op::FRAME => self.number(8).map(drop),
            op::MARK | op::POP | op::POP_MARK | op::DUP => self.move_values(opcode),
            op::NONE
            | op::NEWTRUE
            | op::NEWFALSE
            | op::BINFLOAT
            | op::BININT
            | op::BININT1
            | op::BININT2
            | op::LONG1 => self.scalar(opcode),
            op::BINBYTES | op::BINSTRING => self.bytes(4),
            op::SHORT_BINBYTES | op::SHORT_BINSTRING => self.bytes(1),
            op::BINBYTES8 | op::BYTEARRAY8 => self.bytes(8),
            op::BINUNICODE => self.text(4),
            op::SHORT_BINUNICODE => self.text(1),
            op::BINUNICODE8 => self.text(8),
            op::EMPTY_LIST | op::LIST | op::APPEND | op::APPENDS => self.list(opcode),
            op::EMPTY_TUPLE | op::TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                self.tuple(opcode)
            }
            op::EMPTY_DICT | op::DICT | op::SETITEM | op::SETITEMS => self.dictionary(opcode),
            op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => self.remember(opcode),
            op::BINGET => self.recall(1),
            op::LONG_BINGET => self.recall(4),
            op::GLOBAL => self.global(),
            op::STACK_GLOBAL => self.stack_global(),
            op::REDUCE | op::NEWOBJ => self.call(),
            op::BUILD => self.set_state(),
            other => Err(format!(
                "has the opcode 0x{other:02x} at byte {}, which lists of pictures do not need",
                self.at - 1
            )),
        }
    }

    fn move_values(&mut self, opcode: u8) -> Result<(), Broken> {
        match opcode {
            op::MARK => self.marks.push(self.stack.len()),
            op::POP => drop(self.pop()?),
            op::DUP => {
                let top = self.top()?.clone();
                self.push(top)?;
            }
            _ => drop(self.since_mark()?),
        }
        Ok(())
    }

    /// Numbers, truth values, None.
    fn scalar(&mut self, opcode: u8) -> Result<(), Broken> {
        let value = match opcode {
            op::NEWTRUE | op::NEWFALSE => Value::Bool(opcode == op::NEWTRUE),
            op::BININT => Value::Integer(i64::from(self.number(4)? as u32 as i32)),
            op::BININT1 => Value::Integer(self.number(1)? as i64),
            op::BININT2 => Value::Integer(self.number(2)? as i64),
            op::LONG1 => Value::Integer(self.long()?),
            op::BINFLOAT => self.number(8).map(|_| Value::Other)?,
            _ => Value::Other,
        };
        self.push(value)
    }

    fn list(&mut self, opcode: u8) -> Result<(), Broken> {
        match opcode {
            op::EMPTY_LIST => self.push_list(Vec::new()),
            op::LIST => {
                let items = self.since_mark()?;
                self.push_list(items)
            }
            op::APPEND => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            _ => {
                let items = self.since_mark()?;
                self.append(items)
            }
        }
    }

    fn tuple(&mut self, opcode: u8) -> Result<(), Broken> {
        let items = match opcode {
            op::EMPTY_TUPLE => Vec::new(),
            op::TUPLE => self.since_mark()?,
            _ => self.take(usize::from(opcode - op::TUPLE1) + 1)?,
        };
        let items = self.hold(items);
        self.push(Value::Tuple(items))
    }

    /// Dictionaries do not matter here: their entries go.
    fn dictionary(&mut self, opcode: u8) -> Result<(), Broken> {
        match opcode {
            op::SETITEM => self.take(2).map(drop),
            op::SETITEMS => self.since_mark().map(drop),
            op::DICT => {
                self.since_mark()?;
                self.push(Value::Other)
            }
            _ => self.push(Value::Other),
        }
    }

    pub(super) fn push(&mut self, value: Value) -> Result<(), Broken> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(format!("holds more than {MAX_VALUES} values"));
        }
        self.stack.push(value);
        Ok(())
    }

    /// The items as they are shared by all who refer to them.
    fn hold(&mut self, items: Vec<Value>) -> Items {
        let items = Rc::new(RefCell::new(items));
        self.holders.items.push(items.clone());
        items
    }

    fn push_list(&mut self, items: Vec<Value>) -> Result<(), Broken> {
        let items = self.hold(items);
        self.push(Value::List(items))
    }

    pub(super) fn pop(&mut self) -> Result<Value, Broken> {
        Ok(self.take(1)?.remove(0))
    }

    pub(super) fn top(&self) -> Result<&Value, Broken> {
        self.stack.last().ok_or_else(|| "takes a value that is not there".to_owned())
    }

    /// The topmost `n` values, of those above the last mark.
    pub(super) fn take(&mut self, n: usize) -> Result<Vec<Value>, Broken> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() < floor + n {
            return Err("takes a value that is not there".into());
        }
        Ok(self.stack.split_off(self.stack.len() - n))
    }

    /// The values above the last mark, which is closed.
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

    /// Notes the topmost value under the key that the pickle gives, or the next one.
    fn remember(&mut self, opcode: u8) -> Result<(), Broken> {
        let key = match opcode {
            op::BINPUT => self.number(1)?,
            op::LONG_BINPUT => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        let value = self.top()?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    /// Pushes the value that was noted under the key of `width` bytes that follows.
    fn recall(&mut self, width: usize) -> Result<(), Broken> {
        let key = self.number(width)?;
        let value = self.memo.get(&key).cloned().ok_or("refers to a value that is not there")?;
        self.push(value)
    }
}
