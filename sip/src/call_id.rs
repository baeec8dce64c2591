//! The Call-ID of a message that nobody has read yet.
//!
//! Decides only where the Call-ID stands, so that whoever spreads messages over workers can keep a
//! call together at the price of a few lines. Refuses to judge the message.

use crate::lex::trim_bytes;

/// The value of the first `Call-ID` header in either form, as [`scan`](crate::scan) would find it.
/// `None` if the header section has none, or ends before it.
#[must_use]
pub fn call_id_of(bytes: &[u8]) -> Option<&[u8]> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let lines = bytes[start..].split(|byte| *byte == b'\n').skip(1);
    lines.take_while(|line| !matches!(line, [] | [b'\r'])).find_map(value)
}

fn value(line: &[u8]) -> Option<&[u8]> {
    // A fold continues the header above and names none.
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return None;
    }
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = trim_bytes(&line[..colon]);
    let matches = name.eq_ignore_ascii_case(b"Call-ID") || name.eq_ignore_ascii_case(b"i");
    matches.then(|| trim_bytes(&line[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan;

    #[test]
    fn the_call_id_is_found_in_either_form_and_any_case() {
        for header in ["Call-ID: a@b", "call-id:a@b", "i : a@b", "I:\ta@b  "] {
            let text =
                format!("\r\n\r\nBYE sip:i:x SIP/2.0\r\nVia: q\r\n i: fold\r\n{header}\r\n\r\ni: body\r\n");
            assert_eq!(call_id_of(text.as_bytes()), Some(&b"a@b"[..]), "{header}");
            assert_eq!(scan(text.as_bytes()).unwrap().call_id(), Ok("a@b"), "{header}");
        }
    }

    #[test]
    fn neither_a_body_nor_noise_has_a_call_id() {
        assert_eq!(call_id_of(b"BYE sip:a SIP/2.0\r\n\r\nCall-ID: x\r\n"), None);
        assert_eq!(call_id_of(b"\r\n\r\n"), None);
        assert_eq!(call_id_of(b""), None);
        assert_eq!(call_id_of(&[0xff; 40]), None);
    }
}
