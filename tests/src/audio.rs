//! Sound that tests send and find again, and the files that carry it.
//!
//! G.711 and WAV are written here a second time on purpose: what judges the recordings must not be
//! the code that made them.

/// G.711's two laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// µ-law, RTP payload type 0.
    Mu,
    /// A-law, RTP payload type 8.
    A,
}

/// Loud sound that looks like nothing else: `samples` code words from a seed, never the same twice.
#[must_use]
pub fn noise(law: Law, seed: u64, samples: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut code = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32).to_le_bytes()[0]
    };
    // µ-law 0x7F is a second zero, which encoders write as 0xFF: it would not come back.
    (0..samples)
        .map(|_| std::iter::repeat_with(&mut code).find(|c| law == Law::A || *c != 0x7F).unwrap_or(0))
        .collect()
}

/// The linear value of a code word (ITU-T G.711, tables 1 and 2).
#[must_use]
pub fn linear(law: Law, code: u8) -> i16 {
    match law {
        Law::Mu => {
            let code = !code;
            let magnitude = (((i16::from(code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84;
            if code & 0x80 == 0 { magnitude } else { -magnitude }
        }
        Law::A => {
            let code = code ^ 0x55;
            let mantissa = i16::from(code & 0x0F) << 4;
            let magnitude = match (code & 0x70) >> 4 {
                0 => mantissa + 8,
                1 => mantissa + 0x108,
                segment => (mantissa + 0x108) << (segment - 1),
            };
            if code & 0x80 == 0 { -magnitude } else { magnitude }
        }
    }
}

/// A 16-bit PCM WAV file, 8 kHz mono, whose samples are those of the code words.
#[must_use]
pub fn pcm_wav(law: Law, codes: &[u8]) -> Vec<u8> {
    let data: Vec<u8> = codes.iter().flat_map(|code| linear(law, *code).to_le_bytes()).collect();
    let length = u32::try_from(data.len()).expect("a test's audio is short");
    let mut file = Vec::with_capacity(44 + data.len());
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + length).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend_from_slice(&8000_u32.to_le_bytes());
    file.extend_from_slice(&16000_u32.to_le_bytes());
    file.extend_from_slice(b"\x02\0\x10\0data");
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(&data);
    file
}

/// A WAV file as it was received.
#[derive(Debug)]
pub struct Wav {
    /// `wFormatTag`: 1 PCM, 6 A-law, 7 µ-law.
    pub format: u16,
    /// Samples a second.
    pub rate: u32,
    /// The data chunk.
    pub data: Vec<u8>,
}

impl Wav {
    /// Reads a RIFF file chunk by chunk.
    #[must_use]
    pub fn read(file: &[u8]) -> Option<Wav> {
        let mut rest = file.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
        let (mut format, mut rate) = (None, None);
        loop {
            let (id, length) = (rest.get(..4)?, u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?));
            let length = usize::try_from(length).ok()?;
            let body = rest.get(8..8 + length)?;
            match id {
                b"fmt " => {
                    format = Some(u16::from_le_bytes(body.get(..2)?.try_into().ok()?));
                    rate = Some(u32::from_le_bytes(body.get(4..8)?.try_into().ok()?));
                }
                b"data" => return Some(Wav { format: format?, rate: rate?, data: body.to_vec() }),
                _ => {}
            }
            rest = rest.get(8 + length + length % 2..)?;
        }
    }
}

/// Where `part` stands in `whole`, if it stands there in one piece.
#[must_use]
pub fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    let (head, _) = part.split_at_checked(32.min(part.len()))?;
    whole
        .windows(head.len())
        .enumerate()
        .find(|(at, w)| *w == head && whole[*at..].starts_with(part))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_words_have_the_values_of_the_recommendation() {
        // The extremes, the zeros and one word of a middle segment of each law.
        assert_eq!(
            [0x00, 0x80, 0xFF, 0x8F, 0xEF].map(|code| linear(Law::Mu, code)),
            [-32124, 32124, 0, 16764, 132]
        );
        assert_eq!([0x2A, 0xAA, 0xD5, 0x55].map(|code| linear(Law::A, code)), [-32256, 32256, 8, -8]);
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let wav = Wav::read(&pcm_wav(Law::Mu, &[0xFF, 0x80])).expect("a WAV file");
        assert_eq!((wav.format, wav.rate, wav.data), (1, 8000, vec![0, 0, 0x7C, 0x7D]));
    }
}
