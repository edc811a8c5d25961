//! HPACK (RFC 7541): a complete decoder, and an encoder that never uses a dynamic table.
//!
//! Responses here have a handful of short fields, so an encoder state to keep in step would buy nothing.

mod huffman;
mod tables;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;
use tables::{Dynamic, STATIC, STATIC_LEN};

/// SETTINGS_HEADER_TABLE_SIZE when nothing else was said (RFC 9113, section 6.5.2).
pub const DEFAULT_TABLE_SIZE: usize = 4096;
/// What an entry counts beside its name and value (RFC 7541, section 4.1).
pub const ENTRY_OVERHEAD: usize = 32;
/// Size updates at the start of a block: the smallest and the last one (RFC 7541, section 4.2).
const MAX_SIZE_UPDATES: u8 = 2;
/// Bytes of an integer behind its prefix: enough for 28 bits.
const MAX_INTEGER_BYTES: u32 = 4;

/// The block cannot be decoded; the connection is beyond repair (COMPRESSION_ERROR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub &'static str);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HPACK: {}", self.0)
    }
}

impl core::error::Error for Error {}

/// Whether a block's fields were all reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListSize {
    /// They were.
    Within,
    /// The list is longer than the limit; the fields behind it were decoded, but not reported.
    Exceeded,
}

/// Decodes header blocks of one connection, in order.
#[derive(Debug)]
pub struct Decoder {
    dynamic: Dynamic,
    max_table: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// `max_table` is the SETTINGS_HEADER_TABLE_SIZE this side announced.
    pub fn new(max_table: usize) -> Self {
        Self {
            dynamic: Dynamic::new(max_table),
            max_table,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Decodes one whole block and reports its fields in order, as long as their sizes (name, value and 32 each)
    /// stay within `max_list`.
    pub fn decode(
        &mut self,
        block: &[u8],
        max_list: usize,
        on: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<ListSize, Error> {
        let mut input = Input(block);
        let mut list = List {
            left: Some(max_list),
            on,
        };
        let mut updates = 0;
        let mut fields_seen = false;
        while let Some(first) = input.peek() {
            if first & 0xe0 == 0x20 {
                updates += 1;
                if fields_seen || updates > MAX_SIZE_UPDATES {
                    return Err(Error("a table size update in a wrong place"));
                }
                self.resize(input.integer(5)?)?;
                continue;
            }
            fields_seen = true;
            if first & 0x80 != 0 {
                let index = input.integer(7)?;
                let (name, value) = self.entry(index)?;
                list.report(name, value);
            } else {
                self.literal(first & 0x40 != 0, &mut input, &mut list)?;
            }
        }
        Ok(if list.left.is_some() {
            ListSize::Within
        } else {
            ListSize::Exceeded
        })
    }

    fn resize(&mut self, size: usize) -> Result<(), Error> {
        if size > self.max_table {
            return Err(Error("a table size above the announced limit"));
        }
        self.dynamic.resize(size);
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Error> {
        let Some(at) = index.checked_sub(1) else {
            return Err(Error("index 0"));
        };
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        self.dynamic
            .entry(at - STATIC_LEN)
            .ok_or(Error("an index beyond the table"))
    }

    fn literal(&mut self, indexed: bool, input: &mut Input<'_>, list: &mut List<'_>) -> Result<(), Error> {
        let index = input.integer(if indexed { 6 } else { 4 })?;
        let mut name = core::mem::take(&mut self.name);
        let mut value = core::mem::take(&mut self.value);
        name.clear();
        value.clear();
        if index == 0 {
            input.string(&mut name)?;
        } else {
            name.extend_from_slice(self.entry(index)?.0);
        }
        input.string(&mut value)?;
        list.report(&name, &value);
        if indexed {
            self.dynamic.insert(&name, &value);
        }
        (self.name, self.value) = (name, value);
        Ok(())
    }
}

struct List<'a> {
    left: Option<usize>,
    on: &'a mut dyn FnMut(&[u8], &[u8]),
}

impl List<'_> {
    fn report(&mut self, name: &[u8], value: &[u8]) {
        self.left = self
            .left
            .and_then(|left| left.checked_sub(name.len() + value.len() + ENTRY_OVERHEAD));
        if self.left.is_some() {
            (self.on)(name, value);
        }
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let (first, rest) = self.0.split_first().ok_or(Error("the block ends too soon"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// RFC 7541, section 5.1, with a prefix of `bits`.
    fn integer(&mut self, bits: u32) -> Result<usize, Error> {
        let mask = (1u32 << bits) - 1;
        let mut value = u32::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value as usize);
        }
        for step in 0..MAX_INTEGER_BYTES {
            let byte = self.byte()?;
            value += u32::from(byte & 0x7f) << (7 * step);
            if byte & 0x80 == 0 {
                return Ok(value as usize);
            }
        }
        Err(Error("an integer that is too long"))
    }

    /// RFC 7541, section 5.2, appended to `out`.
    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let coded = self.peek().is_some_and(|first| first & 0x80 != 0);
        let len = self.integer(7)?;
        let (text, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(Error("the block ends within a string"))?;
        self.0 = rest;
        if coded {
            return huffman::decode(text, out);
        }
        out.extend_from_slice(text);
        Ok(())
    }
}

/// Encodes response header blocks from the static table and literals without indexing.
#[derive(Debug, Default)]
pub struct Encoder {
    update_owed: bool,
}

impl Encoder {
    /// An encoder that has never used a dynamic table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The peer announced another SETTINGS_HEADER_TABLE_SIZE: the next block starts with an update to size 0, which
    /// RFC 9113 section 4.3.1 demands after a reduction.
    pub fn handle_table_size(&mut self) {
        self.update_owed = true;
    }

    /// Appends the block of a response.
    pub fn encode(&mut self, status: u16, fields: &[(&str, &str)], out: &mut Vec<u8>) {
        if core::mem::take(&mut self.update_owed) {
            out.push(0x20);
        }
        encode_status(status, out);
        for (name, value) in fields {
            let index = STATIC
                .iter()
                .position(|(known, _)| known == name)
                .map_or(0, |at| at + 1);
            encode_integer(out, 0x00, 4, index);
            if index == 0 {
                encode_string(out, name);
            }
            encode_string(out, value);
        }
    }
}

fn encode_status(status: u16, out: &mut Vec<u8>) {
    let status = status.clamp(100, 999);
    let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
    let exact = STATIC
        .iter()
        .position(|(name, value)| *name == ":status" && value.as_bytes() == digits);
    match exact {
        Some(at) => encode_integer(out, 0x80, 7, at + 1),
        None => {
            encode_integer(out, 0x00, 4, tables::STATUS_INDEX);
            encode_integer(out, 0x00, 7, digits.len());
            out.extend_from_slice(&digits);
        }
    }
}

fn encode_integer(out: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn encode_string(out: &mut Vec<u8>, text: &str) {
    encode_integer(out, 0x00, 7, text.len());
    out.extend_from_slice(text.as_bytes());
}
