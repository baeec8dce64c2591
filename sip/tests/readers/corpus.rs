//! The kept inputs of a reader as one file of text: a line for each, so that a change of them can be read.
//!
//! Decides the form alone: bytes that are no printable ASCII stand as Rust writes them in a byte string.

/// The inputs that a text holds.
pub(crate) fn unpack(text: &str) -> Vec<Vec<u8>> {
    text.lines().map(|line| unescape(line).unwrap_or_else(|| panic!("no escaped bytes: {line}"))).collect()
}

/// The text that holds these inputs, in an order that does not depend on where they were found.
pub(crate) fn pack(inputs: &[Vec<u8>]) -> String {
    let mut lines: Vec<String> = inputs.iter().map(|input| format!("{}\n", input.escape_ascii())).collect();
    lines.sort();
    lines.dedup();
    lines.concat()
}

fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => hexadecimal(rest.next()?)? << 4 | hexadecimal(rest.next()?)?,
                itself => itself,
            },
            itself => itself,
        });
    }
    Some(bytes)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16)?.try_into().ok()
}
