//! Keys that callers press, as telephone events (RFC 4733).
//!
//! Decides which key an event packet names and whether it is a new press. Refuses to know what a
//! key means to the call.

/// A key of a telephone (RFC 4733 section 3.2, events 0 to 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// 0 to 9.
    Digit(u8),
    /// `*`.
    Star,
    /// `#`.
    Pound,
    /// A to D, as 0 to 3.
    Letter(u8),
}

/// Tells presses from the packets that repeat them: every packet of one press carries the
/// timestamp of its beginning, and its last one is sent three times (RFC 4733 section 2.5.1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Keypad {
    last: Option<(u32, u8)>,
}

impl Keypad {
    /// The key that this packet begins, or `None` if it only goes on with a press that is known,
    /// names an event that is no key, or is too short. A press counts as soon as any packet of it
    /// arrives, so the loss of all but one is harmless.
    pub(crate) fn press(&mut self, timestamp: u32, payload: &[u8]) -> Option<Key> {
        let ([event, _volume, _, _], _) = payload.split_first_chunk::<4>()?;
        let key = match *event {
            digit @ 0..=9 => Key::Digit(digit),
            10 => Key::Star,
            11 => Key::Pound,
            letter @ 12..=15 => Key::Letter(letter - 12),
            _ => return None,
        };
        (self.last.replace((timestamp, *event)) != Some((timestamp, *event))).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_packets_of_one_press_are_one_press() {
        let mut keypad = Keypad::default();
        assert_eq!(keypad.press(800, &[11, 10, 0, 160]), Some(Key::Pound));
        assert_eq!(keypad.press(800, &[11, 10, 1, 64]), None);
        assert_eq!(keypad.press(800, &[11, 0x8a, 3, 32]), None, "the end of it");
        assert_eq!(keypad.press(2_400, &[11, 0x8a, 3, 32]), Some(Key::Pound), "only the end arrived");
    }

    #[test]
    fn keys_have_their_names() {
        let mut keypad = Keypad::default();
        assert_eq!(keypad.press(1, &[7, 0, 0, 0]), Some(Key::Digit(7)));
        assert_eq!(keypad.press(2, &[10, 0, 0, 0]), Some(Key::Star));
        assert_eq!(keypad.press(3, &[15, 0, 0, 0]), Some(Key::Letter(3)));
        assert_eq!(keypad.press(4, &[36, 0, 0, 0]), None, "a fax tone is no key");
        assert_eq!(keypad.press(5, &[11, 0, 0]), None, "too short");
    }
}
