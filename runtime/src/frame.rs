//! Cuts a stream into SIP messages.

pub(crate) enum Frame<'a> {
    Ping,
    Message(&'a [u8]),
}

#[derive(Default)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    taken: usize,
}

impl Framer {
    pub(crate) fn new() -> Self {
        Framer::default()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn is_partial(&self) -> bool {
        self.buffer.len() > self.taken
    }

    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, ()> {
        let rest = &self.buffer[self.taken..];
        if rest.starts_with(b"\r\n\r\n") {
            self.taken += 4;
            return Ok(Some(Frame::Ping));
        }
        let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .ok_or(())?
            .trim()
            .parse()
            .map_err(|_| ())?;
        let whole = end + 4 + length;
        if whole > 65_535 {
            return Err(());
        }
        if rest.len() < whole {
            return Ok(None);
        }
        let start = self.taken;
        self.taken += whole;
        Ok(Some(Frame::Message(&self.buffer[start..self.taken])))
    }
}
