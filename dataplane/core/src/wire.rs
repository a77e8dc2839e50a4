//! Protobuf by hand: reading without copying, writing without measuring first.

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("not a valid protobuf message")
    }
}

impl std::error::Error for Malformed {}

/// The value of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// Eight bytes: no flow message has such a member.
    Fixed64(u64),
    /// Four bytes: no flow message has such a member.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes of text or message.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text.
    pub fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The number, signed.
    pub fn integer(self) -> Option<i64> {
        match self {
            Value::Number(number) => Some(number as i64),
            _ => None,
        }
    }
}

/// The members of a message, one after the other: number and value.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads a serialized message.
    pub fn new(message: &'a [u8]) -> Reader<'a> {
        Reader { rest: message }
    }

    /// Bytes that were not read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        if *first < 0x80 {
            return Ok(u64::from(*first));
        }
        let mut value = u64::from(first & 0x7F);
        for shift in 1..10 {
            let (byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7F) << (7 * shift);
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline(always)] // a result handed over in memory is waited for
    fn member(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        if number == 0 {
            return Err(Malformed);
        }
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            1 => {
                let bytes = self.take(8)?.first_chunk().ok_or(Malformed)?;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            5 => {
                let bytes = self.take(4)?.first_chunk().ok_or(Malformed)?;
                Value::Fixed32(u32::from_le_bytes(*bytes))
            }
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let member = self.member();
        if member.is_err() {
            self.rest = &[];
        }
        Some(member)
    }
}

/// Writes messages. Members that are zero or empty are left out, as proto3 does.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A writer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer {
            bytes: Vec::with_capacity(bytes),
        }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes written so far.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    #[inline]
    fn tag(&mut self, number: u32, kind: u32) {
        self.varint(u64::from(number << 3 | kind));
    }

    /// A number.
    #[inline]
    pub fn number(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.tag(number, 0);
            self.varint(value);
        }
    }

    /// A signed number.
    #[inline]
    pub fn integer(&mut self, number: u32, value: i64) {
        self.number(number, value as u64);
    }

    /// Text.
    #[inline]
    pub fn text(&mut self, number: u32, value: &str) {
        self.data(number, value.as_bytes());
    }

    /// Bytes.
    #[inline]
    pub fn data(&mut self, number: u32, value: &[u8]) {
        if !value.is_empty() {
            self.tag(number, 2);
            self.varint(value.len() as u64);
            self.bytes.extend_from_slice(value);
        }
    }

    /// A message, or text written piece by piece; there even when empty.
    #[inline]
    pub fn message(&mut self, number: u32, write: impl FnOnce(&mut Writer)) {
        self.tag(number, 2);
        // Most are shorter than 128 bytes; for others room is made behind.
        let at = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let length = self.bytes.len() - at - 1;
        if length < 0x80 {
            if let Some(slot) = self.bytes.get_mut(at) {
                *slot = length as u8;
            }
            return;
        }
        let extra = (length.ilog2() / 7) as usize;
        self.bytes.resize(at + 1 + length + extra, 0);
        self.bytes
            .copy_within(at + 1..at + 1 + length, at + 1 + extra);
        if let Some(slots) = self.bytes.get_mut(at..=at + extra) {
            for (place, slot) in slots.iter_mut().enumerate() {
                let more = if place < extra { 0x80 } else { 0 };
                *slot = (length >> (7 * place)) as u8 & 0x7F | more;
            }
        }
    }

    /// Bytes as they are, inside `message`.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 1u32..2000, value: u64, text in "\\PC{0,300}") {
            let mut writer = Writer::default();
            writer.number(number, value);
            writer.message(7, |inner| inner.text(number, &text));
            let bytes = writer.into_bytes();
            let members: Result<Vec<_>, _> = Reader::new(&bytes).collect();
            let members = members.map_err(|e| TestCaseError::fail(e.to_string()))?;
            let inner = members.last().and_then(|(_, value)| value.bytes()).unwrap_or_default();
            let read = Reader::new(inner).next().and_then(Result::ok);
            if value != 0 {
                prop_assert_eq!(members.first(), Some(&(number, Value::Number(value))));
            }
            let wanted = (!text.is_empty()).then_some((number, Value::Bytes(text.as_bytes())));
            prop_assert_eq!(read, wanted);
        }

        #[test]
        fn arbitrary_bytes_are_read_to_an_end(bytes: Vec<u8>) {
            prop_assert!(Reader::new(&bytes).count() <= bytes.len());
        }
    }

    #[test]
    fn a_message_longer_than_the_rest_is_malformed() {
        assert_eq!(Reader::new(b"\x0A\x05abc").next(), Some(Err(Malformed)));
        assert_eq!(Reader::new(b"\x00").next(), Some(Err(Malformed)));
        assert_eq!(Reader::new(b"\x0B").next(), Some(Err(Malformed)));
    }
}
