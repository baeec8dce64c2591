//! RTP packets (RFC 3550 section 5.1): a view of those that arrive, and the stream that we send.
//!
//! Decides where the parts of a packet are, and which sequence number and timestamp the next one
//! of ours carries. Refuses to know sockets, codecs and what the payload means.

use std::time::{Duration, Instant};

use crate::message::TICKS_PER_SECOND;

/// Length of the fixed header (RFC 3550 section 5.1).
pub(crate) const HEADER_BYTES: usize = 12;

/// One packet of ours carries this much (RFC 3551 section 4.2: 20 ms by default).
pub(crate) const PACKET_DURATION: Duration = Duration::from_millis(20);

/// The same in ticks, and for G.711 in bytes: 8,000 / s × 20 ms = 160.
pub(crate) const PACKET_TICKS: usize = 160;

/// A packet that arrived, still where it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    /// First packet after silence.
    pub(crate) marker: bool,
    /// What the payload is, as negotiated.
    pub(crate) payload_type: u8,
    /// Grows by one with each packet and wraps.
    pub(crate) sequence: u16,
    /// When the first sample was taken, in ticks of the sender's clock; wraps.
    pub(crate) timestamp: u32,
    /// Which source of the sender this is.
    pub(crate) ssrc: u32,
    /// What it carries, without padding.
    pub(crate) payload: &'a [u8],
}

/// Why bytes are no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RtpError {
    /// The datagram ends before the packet does.
    #[error("the datagram ends inside the RTP header")]
    Short,
    /// The version is not 2.
    #[error("the RTP version is not 2")]
    Version,
    /// The second byte is that of an RTCP packet (RFC 5761 section 4).
    #[error("the datagram is RTCP")]
    Rtcp,
    /// The padding is longer than the payload, or has no length.
    #[error("the RTP padding does not fit")]
    Padding,
}

impl<'a> Packet<'a> {
    /// Finds the parts of a packet, over any CSRC list, header extension and padding.
    ///
    /// # Errors
    /// Says what is wrong when the bytes are no RTP packet.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(RtpError::Short)?;
        let [first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *header;
        if first >> 6 != 2 {
            return Err(RtpError::Version);
        }
        // Sender reports and their siblings are types 200 to 204 (RFC 5761 section 4).
        if (200..=204).contains(&second) {
            return Err(RtpError::Rtcp);
        }
        let rest = rest.get(usize::from(first & 0x0f) * 4..).ok_or(RtpError::Short)?;
        let rest = if first & 0x10 == 0 { rest } else { after_extension(rest)? };
        let payload = if first & 0x20 == 0 { rest } else { without_padding(rest)? };
        Ok(Packet {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
            payload,
        })
    }

    /// Appends the packet to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(0x80);
        out.push(u8::from(self.marker) << 7 | (self.payload_type & 0x7f));
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(self.payload);
    }
}

/// Skips the header extension (RFC 3550 section 5.3.1).
fn after_extension(rest: &[u8]) -> Result<&[u8], RtpError> {
    let ([_, _, l0, l1], rest) = rest.split_first_chunk::<4>().ok_or(RtpError::Short)?;
    rest.get(usize::from(u16::from_be_bytes([*l0, *l1])) * 4..).ok_or(RtpError::Short)
}

/// Takes the padding off; its last byte is its length (RFC 3550 section 5.1).
fn without_padding(rest: &[u8]) -> Result<&[u8], RtpError> {
    let padding = usize::from(*rest.last().ok_or(RtpError::Padding)?);
    match rest.len().checked_sub(padding) {
        Some(length) if padding > 0 => rest.get(..length).ok_or(RtpError::Padding),
        Some(_) | None => Err(RtpError::Padding),
    }
}

/// The stream that we send in one call.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    ssrc: u32,
    sequence: u16,
    first_timestamp: u32,
    began: Option<Instant>,
}

impl Stream {
    /// A stream whose source, first sequence number and first timestamp follow from `random`
    /// (RFC 3550 section 5.1 asks for chance in all three). The first sequence number is one of the lower
    /// half, so that whoever misses the first packets of an encrypted stream takes none for one of the
    /// next round (RFC 3711 section 3.3.1).
    #[must_use]
    pub(crate) fn new(random: [u64; 2]) -> Self {
        let [a0, a1, a2, a3, s0, s1, _, _] = random[0].to_le_bytes();
        let [t0, t1, t2, t3, ..] = random[1].to_le_bytes();
        Stream {
            ssrc: u32::from_le_bytes([a0, a1, a2, a3]),
            sequence: u16::from_le_bytes([s0, s1]) >> 1,
            first_timestamp: u32::from_le_bytes([t0, t1, t2, t3]),
            began: None,
        }
    }

    /// Appends the next packet to `out`. Its timestamp is that of `due`, the instant of the
    /// schedule and not that of sending: so the clock of the stream is even although threads are
    /// not, and it goes on while nothing is sent.
    pub(crate) fn write(
        &mut self,
        payload_type: u8,
        marker: bool,
        payload: &[u8],
        due: Instant,
        out: &mut Vec<u8>,
    ) {
        let began = *self.began.get_or_insert(due);
        let timestamp = self.first_timestamp.wrapping_add(ticks(due.saturating_duration_since(began)));
        Packet { marker, payload_type, sequence: self.sequence, timestamp, ssrc: self.ssrc, payload }
            .write(out);
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// A length of time in ticks of the RTP clock; it wraps after six days, as the clock does.
#[must_use]
pub(crate) fn ticks(length: Duration) -> u32 {
    let ticks = length.as_micros() * u128::from(TICKS_PER_SECOND) / 1_000_000;
    #[allow(clippy::cast_possible_truncation, reason = "RTP timestamps wrap at 32 bits")]
    {
        ticks as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 14] = [0x80, 0x88, 0x12, 0x34, 0, 0, 0x03, 0x20, 0xde, 0xad, 0xbe, 0xef, 7, 8];

    #[test]
    fn a_plain_packet_is_read_and_written() {
        let packet = Packet::parse(&PLAIN).unwrap();
        assert_eq!(
            packet,
            Packet {
                marker: true,
                payload_type: 8,
                sequence: 0x1234,
                timestamp: 800,
                ssrc: 0xdead_beef,
                payload: &[7, 8]
            }
        );
        let mut written = Vec::new();
        packet.write(&mut written);
        assert_eq!(written, PLAIN);
    }

    #[test]
    fn contributors_extension_and_padding_are_skipped() {
        let mut bytes = vec![0x80 | 0x20 | 0x10 | 2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend_from_slice(&[0; 8]); // two contributing sources
        bytes.extend_from_slice(&[0xbe, 0xde, 0, 1, 9, 9, 9, 9]); // one word of extension
        bytes.extend_from_slice(&[5, 6, 7, 0, 0, 3]); // three bytes of padding
        assert_eq!(Packet::parse(&bytes).unwrap().payload, [5, 6, 7]);
    }

    #[test]
    fn broken_packets_are_refused() {
        assert_eq!(Packet::parse(&PLAIN[..11]), Err(RtpError::Short));
        assert_eq!(Packet::parse(&[0; 12]), Err(RtpError::Version));
        let report = [0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Packet::parse(&report), Err(RtpError::Rtcp));
        let mut contributors = PLAIN;
        contributors[0] = 0x8f;
        assert_eq!(Packet::parse(&contributors), Err(RtpError::Short));
        let mut extension = PLAIN;
        extension[0] = 0x90;
        assert_eq!(Packet::parse(&extension), Err(RtpError::Short));
        let mut padding = PLAIN;
        padding[0] = 0xa0;
        assert_eq!(Packet::parse(&padding), Err(RtpError::Padding), "eight bytes of padding in two");
        padding[13] = 0;
        assert_eq!(Packet::parse(&padding), Err(RtpError::Padding), "padding without a length");
    }

    #[test]
    fn the_clock_of_a_stream_goes_on_while_nothing_is_sent() {
        let start = Instant::now();
        let mut stream = Stream::new([0xffff_0000_0001, u64::from(u32::MAX)]);
        assert_eq!(stream.sequence, 0x7fff, "the highest that a stream begins with");
        stream.sequence = u16::MAX;
        let mut sent = Vec::new();
        for (offset_ms, marker) in [(0, true), (20, false), (540, true)] {
            let mut out = Vec::new();
            stream.write(0, marker, &[1], start + Duration::from_millis(offset_ms), &mut out);
            let packet = Packet::parse(&out).unwrap();
            sent.push((packet.marker, packet.sequence, packet.timestamp, packet.ssrc));
        }
        assert_eq!(
            sent,
            [(true, 0xffff, u32::MAX, 1), (false, 0, 159, 1), (true, 1, 4_319, 1)],
            "sequence numbers and timestamps wrap"
        );
    }

    #[test]
    fn twenty_milliseconds_are_160_ticks() {
        assert_eq!(ticks(Duration::from_millis(20)), 160);
    }
}
