//! Functions that a pickle names and would have called: noted, never called.

use std::{
    cell::RefCell,
    io::{Read, Seek},
    rc::Rc,
};

use super::{Broken, ByteRange, Call, Items, Value, machine::Machine};

impl<R: Read + Seek> Machine<R> {
    /// A function whose module and name follow, a line each.
    pub(super) fn global(&mut self) -> Result<(), Broken> {
        let name = format!("{} {}", self.line()?, self.line()?);
        self.push(Value::Global(name.into()))
    }

    /// A function whose module and name are on the stack.
    pub(super) fn stack_global(&mut self) -> Result<(), Broken> {
        match self.take(2)?.as_slice() {
            [Value::Text(module, _), Value::Text(name, _)] => {
                self.push(Value::Global(format!("{module} {name}").into()))
            }
            _ => Err("names a function by something else than text".into()),
        }
    }

    /// The call of a function, or of a class, with a tuple.
    pub(super) fn call(&mut self) -> Result<(), Broken> {
        match self.take(2)?.as_slice() {
            [Value::Global(name), Value::Tuple(with)] => self.push_call(name, with),
            _ => Err("calls what is not a function".into()),
        }
    }

    /// The state that would be set of the object on the stack.
    pub(super) fn set_state(&mut self) -> Result<(), Broken> {
        let state = self.pop()?;
        match self.top()? {
            Value::Call(call) => *call.state.borrow_mut() = state,
            _ => return Err("sets the state of what is no object".into()),
        }
        Ok(())
    }

    /// The calls that stand for byte strings are read as these: in protocol 2, they are text in
    /// Latin-1. Any other is noted.
    fn push_call(&mut self, name: &Rc<str>, with: &Items) -> Result<(), Broken> {
        let value = match (&**name, with.borrow().as_slice()) {
            ("_codecs encode", [Value::Text(_, place), Value::Text(coding, _)])
                if &**coding == "latin1" =>
            {
                Value::Bytes(ByteRange { latin1: true, ..*place })
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
}
