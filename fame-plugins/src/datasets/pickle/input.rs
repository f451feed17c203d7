//! The pickle's bytes: numbers, names, text, and the places of byte strings.

use std::io::{Read, Seek};

use super::{Broken, ByteRange, Value, machine::Machine};

/// Names and text of more bytes than this are places, not text.
const MAX_TEXT: u64 = 4096;

impl<R: Read + Seek> Machine<R> {
    pub(super) fn byte(&mut self) -> Result<u8, Broken> {
        Ok(self.number(1)? as u8)
    }

    /// A little-endian number of up to eight bytes.
    pub(super) fn number(&mut self, bytes: usize) -> Result<u64, Broken> {
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

    /// A signed number of as many bytes as the first byte says.
    pub(super) fn long(&mut self) -> Result<i64, Broken> {
        let length = self.byte()?;
        if length > 8 {
            return Err(format!("holds a number of {length} bytes"));
        }
        let bits = self.number(usize::from(length))?;
        let unused = 64 - 8 * u32::from(length);
        Ok(if length == 0 { 0 } else { (bits << unused) as i64 >> unused })
    }

    /// The place of a byte string whose length stands before it; the bytes are passed over.
    fn place(&mut self, width: usize) -> Result<ByteRange, Broken> {
        let length = self.number(width)?;
        let place = ByteRange { at: self.at, length, latin1: false };
        if length > self.size.saturating_sub(self.at) {
            return Err(format!("promises {length} bytes at byte {}, and ends before", self.at));
        }
        Ok(place)
    }

    /// Goes on behind `place`.
    fn pass(&mut self, place: ByteRange) -> Result<(), Broken> {
        let length = i64::try_from(place.length).map_err(|_| "is too large".to_owned())?;
        self.from.seek_relative(length).map_err(|e| self.cut(&e))?;
        self.at += place.length;
        Ok(())
    }

    /// Pushes the place of a byte string whose length is a number of `width` bytes.
    pub(super) fn bytes(&mut self, width: usize) -> Result<(), Broken> {
        let place = self.place(width)?;
        self.pass(place)?;
        self.push(Value::Bytes(place))
    }

    /// Pushes a text whose length is a number of `width` bytes.
    pub(super) fn text(&mut self, width: usize) -> Result<(), Broken> {
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

    /// A name that ends with the line.
    pub(super) fn line(&mut self) -> Result<String, Broken> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
                byte if (line.len() as u64) < MAX_TEXT => line.push(byte),
                _ => return Err("holds a name without end".into()),
            }
        }
    }
}
