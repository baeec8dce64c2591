//! A caller's side of a scripted call: the requests and packets that it sends.

use crate::rtp::Packet;

use super::stage::{CALLER, Stage};

/// A body that offers both laws and telephone events at the usual address.
pub(super) fn offer() -> String {
    offer_at(CALLER, "0 8 101", "sendrecv")
}

/// A body that offers these payload numbers at an address.
pub(super) fn offer_at(address: &str, numbers: &str, direction: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {numbers}\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    )
}

/// One caller, who counts requests and packets.
pub(super) struct Caller {
    pub(super) call_id: String,
    pub(super) number: &'static str,
    pub(super) media: String,
    pub(super) law: u8,
    to_tag: String,
    cseq: u32,
    sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
}

impl Caller {
    pub(super) fn new() -> Self {
        Self::numbered(0)
    }

    /// One of several callers, each with its own Call-ID and media port.
    pub(super) fn numbered(index: u16) -> Self {
        Caller {
            call_id: format!("call-{index}@192.0.2.7"),
            number: "101",
            media: format!("192.0.2.7:{}", 4_000 + index),
            law: 0,
            to_tag: String::new(),
            cseq: 1,
            sequence: 65_500,
            timestamp: u32::MAX - 1_000,
            ssrc: 77,
        }
    }

    /// Any request of this caller.
    pub(super) fn request(&self, method: &str, cseq: u32, body: &str) -> String {
        self.request_to(&format!("sip:{}@192.0.2.20:5062", self.number), method, cseq, body)
    }

    pub(super) fn request_to(&self, uri: &str, method: &str, cseq: u32, body: &str) -> String {
        let (call_id, number, tag) = (&self.call_id, self.number, &self.to_tag);
        // A CANCEL has the branch of what it cancels; everything else has its own.
        let of = if method == "CANCEL" { "INVITE" } else { method };
        let branch = format!("{}-{of}-{cseq}", call_id.replace('@', "-"));
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let cseq_method = method;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK-{branch}\r\n\
             Max-Forwards: 70\r\nFrom: \"Carol\" <sip:555@192.0.2.7>;tag=from\r\nTo: <sip:{number}@192.0.2.20>{tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {cseq_method}\r\nContact: <sip:555@192.0.2.7:5060>\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    pub(super) fn invite(&mut self, stage: &mut Stage) {
        let body = offer_at(&self.media, if self.law == 8 { "8 0 101" } else { "0 8 101" }, "sendrecv");
        self.invite_with(stage, &body);
    }

    pub(super) fn invite_with(&mut self, stage: &mut Stage, body: &str) {
        let request = self.request("INVITE", self.cseq, body);
        stage.hears(&request);
        self.learn_tag(stage);
    }

    /// The tag that the server put into its newest answer with one.
    pub(super) fn learn_tag(&mut self, stage: &Stage) {
        let of_this_call = |message: &&str| message.contains(&self.call_id);
        let to = stage.sip.iter().rev().map(|(_, message)| message.as_str()).filter(of_this_call);
        let tagged = to.filter_map(|message| message.lines().find(|line| line.starts_with("To:")));
        if let Some((_, tag)) = tagged.filter_map(|line| line.split_once(";tag=")).next() {
            self.to_tag = format!(";tag={}", tag.trim());
        }
    }

    pub(super) fn ack(&self, stage: &mut Stage) {
        self.ack_with(stage, "");
    }

    pub(super) fn ack_with(&self, stage: &mut Stage, body: &str) {
        let request = self.request("ACK", self.cseq, body);
        stage.hears(&request);
    }

    pub(super) fn reinvite(&mut self, stage: &mut Stage, body: &str) {
        self.cseq += 1;
        let request = self.request("INVITE", self.cseq, body);
        stage.hears(&request);
    }

    pub(super) fn bye(&mut self, stage: &mut Stage) {
        self.cseq += 1;
        let request = self.request("BYE", self.cseq, "");
        stage.hears(&request);
    }

    pub(super) fn cancel(&self, stage: &mut Stage) {
        let tagless =
            Caller { to_tag: String::new(), call_id: self.call_id.clone(), media: String::new(), ..*self };
        let request = tagless.request("CANCEL", self.cseq, "");
        stage.hears(&request);
    }

    /// Answers the newest BYE of the server.
    pub(super) fn agree_to_bye(&self, stage: &mut Stage) {
        let bye = stage.last("BYE ").to_owned();
        let kept = |line: &&str| {
            ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
        };
        let headers: Vec<&str> = bye.lines().filter(kept).collect();
        stage.hears(&format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", headers.join("\r\n")));
    }

    /// Calls, hears the greeting and the beep, and may speak.
    pub(super) fn reach_the_beep(&mut self, stage: &mut Stage) {
        self.invite(stage);
        self.ack(stage);
        stage.advance(super::stage::UNTIL_RECORDING_MS);
    }

    /// The next packet of audio, for a network to deliver or not.
    pub(super) fn packet(&mut self, byte: u8) -> Vec<u8> {
        let packet = self.build(self.law, &[byte; 160]);
        self.timestamp = self.timestamp.wrapping_add(160);
        packet
    }

    /// Says `packets` packets, 20 ms apart.
    pub(super) fn says(&mut self, stage: &mut Stage, byte: u8, packets: usize) {
        for _ in 0..packets {
            let packet = self.packet(byte);
            stage.hears_media(&self.media, &packet);
            stage.advance(20);
        }
    }

    /// Presses a key: the first packet of the event, and its end three times.
    pub(super) fn presses(&mut self, stage: &mut Stage, event: u8) {
        for (end, duration) in [(0, 160), (0x80, 800), (0x80, 800), (0x80, 800)] {
            let [high, low] = u16::to_be_bytes(duration);
            let packet = self.build(101, &[event, end | 10, high, low]);
            stage.hears_media(&self.media, &packet);
        }
        self.timestamp = self.timestamp.wrapping_add(800);
    }

    /// The packet that ends a key, for a network to deliver or not.
    pub(super) fn key(&mut self, event: u8) -> Vec<u8> {
        let packet = self.build(101, &[event, 0x8a, 3, 32]);
        self.timestamp = self.timestamp.wrapping_add(800);
        packet
    }

    fn build(&mut self, payload_type: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (sequence, timestamp, ssrc) = (self.sequence, self.timestamp, self.ssrc);
        Packet { marker: false, payload_type, sequence, timestamp, ssrc, payload }.write(&mut out);
        self.sequence = self.sequence.wrapping_add(1);
        out
    }
}
