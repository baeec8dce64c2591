//! Numbers and their one normal form.
//!
//! Decides when two ways of writing a number mean the same one (decision 8). Refuses to know
//! which numbers exist and how long those of a dial plan are.

/// The longest number, in digits: E.164 allows 15 and an extension 20, so 32 leaves room for
/// prefixes that a PBX puts before them.
pub const MAX_DIGITS: usize = 32;

/// A number in normal form: its digits and nothing else.
///
/// A leading `+` and the visual separators `-`, `.`, `(`, `)` and space of RFC 3966 section 5.1.1
/// are left out, and so is everything from the first `;` on, because parameters are no part of
/// the number (RFC 3966 section 3). `+1 (425) 555-0101;ext=7` becomes `14255550101`.
///
/// Two numbers are the same if their normal forms are equal. A longer number that merely ends in
/// an extension is another number: nobody but the PBX knows whether its prefix is ours.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number {
    digits: [u8; MAX_DIGITS],
    length: u8,
}

impl Number {
    /// Reads a number in any of its spellings.
    ///
    /// `None` for a text without digits, with any other character, or with more than
    /// [`MAX_DIGITS`] digits. Allocates nothing.
    pub fn parse(text: &str) -> Option<Number> {
        let mut number = Number { digits: [0; MAX_DIGITS], length: 0 };
        // Most are digits alone.
        if let Some(place) = number.digits.get_mut(..text.len()).filter(|place| !place.is_empty())
            && text.bytes().all(|byte| byte.is_ascii_digit())
        {
            place.copy_from_slice(text.as_bytes());
            number.length = u8::try_from(text.len()).ok()?;
            return Some(number);
        }
        let text = text.split(';').next().unwrap_or(text).trim();
        for byte in text.strip_prefix('+').unwrap_or(text).bytes() {
            match byte {
                b'0'..=b'9' => {
                    *number.digits.get_mut(usize::from(number.length))? = byte;
                    number.length += 1;
                }
                b'-' | b'.' | b'(' | b')' | b' ' => {}
                _ => return None,
            }
        }
        (number.length > 0).then_some(number)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        // Only ASCII digits were ever stored, so this is always the whole of them.
        std::str::from_utf8(&self.digits[..self.len()]).unwrap_or_default()
    }

    /// How many digits there are, 1 to [`MAX_DIGITS`].
    #[expect(clippy::len_without_is_empty, reason = "a number always has a digit")]
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }
}

impl std::fmt::Debug for Number {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Number({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> Option<String> {
        Number::parse(text).map(|number| number.as_str().to_owned())
    }

    #[test]
    fn the_spellings_of_one_number_have_one_normal_form() {
        for spelling in
            ["14255550101", "+14255550101", "+1 (425) 555-0101", "1.425.555.0101", " 14255550101;ext=7 "]
        {
            assert_eq!(normal(spelling).as_deref(), Some("14255550101"), "{spelling}");
        }
    }

    #[test]
    fn leading_zeros_are_digits_like_any_other() {
        assert_eq!(normal("0101").as_deref(), Some("0101"));
        assert_ne!(normal("0101"), normal("101"));
    }

    #[test]
    fn what_has_no_digits_or_anything_else_is_no_number() {
        for text in ["", " ", "+", "()", ";ext=7", "alice", "10a1", "1+01", "++101", "*98", "#", "１０１"]
        {
            assert_eq!(normal(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_has_at_most_32_digits() {
        let longest = "1".repeat(32);
        assert_eq!(normal(&longest).as_deref(), Some(longest.as_str()));
        assert_eq!(normal(&"1".repeat(33)), None);
    }
}
