//! Reading and writing of single fields.

/// Says where a message stopped making sense, and what should have stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message at byte {offset}: expected {expected}")]
pub struct Malformed {
    /// Byte offset in the payload.
    pub offset: usize,
    /// What the format asks for at that place.
    pub expected: &'static str,
}

/// Reads fields from a payload, in order.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Makes the error for the current position.
    pub fn malformed(&self, expected: &'static str) -> Malformed {
        Malformed { offset: self.offset, expected }
    }

    fn take(&mut self, count: usize, expected: &'static str) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..count).ok_or(self.malformed(expected))?;
        self.offset += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], Malformed> {
        let malformed = self.malformed(expected);
        self.take(N, expected)?.try_into().map_err(|_| malformed)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>("u8").map(|[byte]| byte)
    }

    /// Reads a 16-bit unsigned integer.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array("u16").map(u16::from_le_bytes)
    }

    /// Reads a 32-bit unsigned integer.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array("u32").map(u32::from_le_bytes)
    }

    /// Reads a 64-bit unsigned integer.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array("u64").map(u64::from_le_bytes)
    }

    /// Reads a 32-bit signed integer.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array("i32").map(i32::from_le_bytes)
    }

    /// Reads a 64-bit signed integer.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array("i64").map(i64::from_le_bytes)
    }

    /// Reads a 32-bit float.
    pub fn f32(&mut self) -> Result<f32, Malformed> {
        self.array("f32").map(f32::from_le_bytes)
    }

    /// Reads a 64-bit float.
    pub fn f64(&mut self) -> Result<f64, Malformed> {
        self.array("f64").map(f64::from_le_bytes)
    }

    /// Reads `N` bytes that carry no length, such as a UUID.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.array("fixed bytes")
    }

    /// Reads a length (u32) and that many bytes, at most `bytes_max`.
    pub fn bytes(&mut self, bytes_max: usize) -> Result<&'a [u8], Malformed> {
        let malformed = self.malformed("a length within the field's limit");
        let count = self.u32()? as usize;
        if count > bytes_max {
            return Err(malformed);
        }
        self.take(count, "as many bytes as the length says")
    }

    /// Reads a UTF-8 text of at most `bytes_max` bytes.
    pub fn text(&mut self, bytes_max: usize) -> Result<&'a str, Malformed> {
        let malformed = self.malformed("UTF-8 text");
        std::str::from_utf8(self.bytes(bytes_max)?).map_err(|_| malformed)
    }

    /// Reads a count of elements (u32), at most `count_max`.
    pub fn count(&mut self, count_max: usize) -> Result<usize, Malformed> {
        let malformed = self.malformed("a count within the field's limit");
        let count = self.u32()? as usize;
        if count > count_max { Err(malformed) } else { Ok(count) }
    }

    /// Reads all that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.offset..];
        self.offset = self.bytes.len();
        rest
    }

    /// Ends the message: trailing bytes are an error.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.offset == self.bytes.len() {
            Ok(())
        } else {
            Err(self.malformed("the end of the message"))
        }
    }
}

/// Appends fields to a payload, in order.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Appends a 16-bit unsigned integer.
    pub fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a 32-bit unsigned integer.
    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a 64-bit unsigned integer.
    pub fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a 32-bit signed integer.
    pub fn i32(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a 64-bit signed integer.
    pub fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a 32-bit float.
    pub fn f32(&mut self, value: f32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a 64-bit float.
    pub fn f64(&mut self, value: f64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends bytes that carry no length, such as a UUID.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Appends a length and the bytes.
    ///
    /// # Panics
    /// If `bytes` is longer than `u32::MAX`: callers keep to the field's limit, far below it.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// Appends a text as length and bytes.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Appends a count of elements that follow.
    ///
    /// # Panics
    /// If `count` is above `u32::MAX`.
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("counts and lengths are limited far below u32::MAX"));
    }
}
