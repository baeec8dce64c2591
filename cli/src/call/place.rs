//! Carries out one call: moves bytes and moments between the sockets, the agent and the media.
//!
//! Decides what is waited for. Refuses to know what a message means: that is the agent's.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Instant;

use rsip::Uri;
use thiserror::Error;
use tokio::net::UdpSocket;

use super::agent::{Agent, Command};
use super::media::{Media, MediaEvent};
use super::message::{Identity, escape_dots};
use super::plan::CallPlan;
use super::report::{CallReport, MediaCounts, Outcome};
use super::sdp;
use super::wire::{Arrival, Wire, local_address};

/// Why a call could not even begin.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// The URI cannot be read.
    #[error("cannot call {uri:?}: {reason}; write it as sip:NUMBER@HOST or sip:NUMBER@HOST:PORT")]
    Target {
        /// As it was given.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No way leads there.
    #[error("cannot call {uri:?}: {reason}")]
    NoWay {
        /// The URI.
        uri: String,
        /// What is missing.
        reason: String,
    },
    /// A socket or a random number could not be had.
    #[error("cannot prepare the call: {0}")]
    System(String),
}

/// Places a call and returns once it is over. Blocks the thread, and needs no runtime around it.
///
/// # Errors
/// The plan's URI cannot be read or leads nowhere, or no socket can be opened. Whatever happens
/// after the call has begun is in the report.
pub fn place(plan: &CallPlan) -> Result<CallReport, PlaceError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| PlaceError::System(error.to_string()))?
        .block_on(place_until(plan, std::future::pending()))
}

/// Like [`place`]; the caller hangs up when `stop` resolves.
pub(crate) async fn place_until(
    plan: &CallPlan,
    stop: impl Future<Output = ()>,
) -> Result<CallReport, PlaceError> {
    let target = read_target(&plan.target)?;
    let no_way = |reason| PlaceError::NoWay { uri: plan.target.clone(), reason };
    let local = match plan.bind {
        Some(address) => address,
        None => local_address(&target).await.map_err(no_way)?,
    };
    let system = |error: std::io::Error| PlaceError::System(format!("no socket at {local}: {error}"));
    let wire = Wire::open(local).await.map_err(system)?;
    let rtp = UdpSocket::bind(SocketAddr::new(local, 0)).await.map_err(system)?;
    let now = Instant::now();
    let identity = Identity {
        call_id: match &plan.call_id {
            Some(call_id) => call_id.clone(),
            None => format!("{:016x}{:016x}@{local}", random()?, random()?),
        },
        from_tag: format!("{:016x}", random()?),
        from_user: plan.from_user.clone(),
        diversion: plan.diversion.clone(),
        branch_seed: format!("{:016x}", random()?),
    };
    let call_id = identity.call_id.clone();
    // A session number that fits into what RFC 8866 section 5.2 counts with.
    let offer = sdp::offer(rtp.local_addr().map_err(system)?, random()? >> 1, &plan.codecs);
    let agent = Agent::new(identity, target, plan.codecs.clone(), offer, now);
    let mut call = Call { plan, agent, wire, rtp, media: None, seed: random()?, probed: false };
    call.run(now, stop).await;
    Ok(call.report(call_id))
}

/// One call while it is carried out.
struct Call<'a> {
    plan: &'a CallPlan,
    agent: Agent,
    wire: Wire,
    rtp: UdpSocket,
    media: Option<Media>,
    seed: u64,
    probed: bool,
}

impl Call<'_> {
    async fn run(&mut self, began: Instant, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let patience = began + self.plan.patience;
        let (mut stopped, mut buffer) = (false, vec![0; 2_048]);
        while !self.carry_out().await {
            let deadline = [self.agent.deadline(), self.media.as_ref().map(Media::deadline)]
                .into_iter()
                .chain([(!stopped).then_some(patience)])
                .flatten()
                .min()
                .unwrap_or(patience);
            tokio::select! {
                arrival = self.wire.receive() => self.arrived(arrival),
                Ok((length, from)) = self.rtp.recv_from(&mut buffer) => {
                    let now = Instant::now();
                    let event = self.media.as_mut().and_then(|media| media.handle(&buffer[..length], from, now));
                    self.happened(event, now);
                }
                () = &mut stop, if !stopped => {
                    stopped = true;
                    self.agent.hang_up(Instant::now());
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    let now = Instant::now();
                    if now >= patience && !stopped {
                        stopped = true;
                        self.give_up(now);
                    }
                    self.timeout(now).await;
                }
            }
        }
    }

    /// Does what the agent wants; true once the call is over.
    async fn carry_out(&mut self) -> bool {
        while let Some(command) = self.agent.poll() {
            match command {
                Command::Dial(uri) => match self.wire.dial(&uri, self.plan.transport).await {
                    Ok(hop) => self.agent.dialled(uri, hop, Instant::now()),
                    Err(error) => self.agent.broken("dialling", &error, Instant::now()),
                },
                Command::Send(hop, bytes) => {
                    if let Err(error) = self.wire.send(&hop, &bytes).await {
                        let error = format!("cannot send to {}: {error}", hop.remote);
                        self.agent.broken("sending", &error, Instant::now());
                    }
                }
                Command::Talk(agreed) => {
                    self.media = Some(Media::new(agreed, self.plan, self.seed, Instant::now()));
                }
                Command::Over => return true,
            }
        }
        false
    }

    fn arrived(&mut self, arrival: Arrival) {
        let now = Instant::now();
        match arrival {
            Arrival::Message(hop, bytes) => self.agent.handle(&bytes, &hop, now),
            Arrival::Closed(hop, reason) => {
                // A router may close its connection once it has redirected; only the last one matters.
                if self.agent.is_current(&hop) {
                    self.agent.broken("connection", &format!("{}: {reason}", hop.remote), now);
                }
            }
            Arrival::Deaf(remote) => {
                let error = format!(
                    "nothing listens on UDP {remote}; start a server there, for example with \
                     `umbriel up examples/quickstart`, or correct the address"
                );
                self.agent.broken("INVITE", &error, now);
            }
        }
    }

    async fn timeout(&mut self, now: Instant) {
        if !self.probed
            && let Some(remote) = self.agent.unheard_udp(now)
        {
            self.probed = true;
            self.wire.probe(remote).await;
        }
        self.agent.handle_timeout(now);
        let Some(media) = &mut self.media else { return };
        let (mut packets, remote) = (Vec::new(), media.remote());
        let event = media.handle_timeout(now, &mut packets);
        for packet in packets {
            // A packet that cannot be sent is a lost packet.
            let _ = self.rtp.send_to(&packet, remote).await;
        }
        self.happened(event, now);
    }

    fn happened(&mut self, event: Option<MediaEvent>, now: Instant) {
        let (Some(event), Some(media)) = (event, &self.media) else { return };
        let journal = &mut self.agent.journal;
        match event {
            MediaEvent::FirstAudio => journal.first_audio(now),
            MediaEvent::BeepEnded => {
                journal.beep_ended(now);
                let lasted = seconds(media.heard.len());
                let text = format!("RTP {}: {lasted} of greeting and beep", media.codec().name());
                journal.media(now, false, &text);
            }
            MediaEvent::Spoken => {
                journal.spoken(now);
                let lasted = seconds(media.audio().len());
                let text = format!("RTP {}: {lasted} of speech", media.codec().name());
                journal.media(now, true, &text);
            }
            MediaEvent::KeyPressed => journal.media(now, true, "RTP telephone-event: #"),
            MediaEvent::HangUp => self.agent.hang_up(now),
        }
    }

    fn give_up(&mut self, now: Instant) {
        let waiting = self.media.as_ref().is_some_and(Media::is_listening);
        let error = if waiting {
            "no beep was heard; speak without one by --delay"
        } else {
            "the call did not end by itself"
        };
        self.agent.abandon(&format!("{error} ({} s)", self.plan.patience.as_secs()), now);
    }

    fn report(self, call_id: String) -> CallReport {
        let failed = || Outcome::Failed { step: "call".to_owned(), error: "it never ended".to_owned() };
        let outcome = self.agent.outcome().cloned().unwrap_or_else(failed);
        let codec = self.media.as_ref().map(Media::codec);
        let journal = self.agent.journal;
        let (spoken, heard, media) = match self.media {
            Some(media) if journal.timings.spoken.is_some() => {
                (media.audio().to_vec(), media.heard, media.counts)
            }
            Some(media) => (Vec::new(), media.heard, media.counts),
            None => (Vec::new(), Vec::new(), MediaCounts::default()),
        };
        CallReport {
            target: self.plan.target.clone(),
            call_id,
            outcome,
            parties: journal.parties,
            steps: journal.steps,
            codec,
            timings: journal.timings,
            media,
            spoken,
            heard,
        }
    }
}

/// Reads what is to be called.
fn read_target(target: &str) -> Result<Uri, PlaceError> {
    let wrong = |reason: &str| PlaceError::Target { uri: target.to_owned(), reason: reason.to_owned() };
    if target.contains('[') {
        return Err(wrong("this client reaches IPv6 hosts by name only"));
    }
    let uri = Uri::try_from(escape_dots(target)).map_err(|_| wrong("it is not a SIP URI"))?;
    match uri.scheme {
        Some(rsip::Scheme::Sip) => {}
        Some(rsip::Scheme::Sips) => return Err(wrong("this client speaks UDP and TCP, not TLS")),
        Some(rsip::Scheme::Other(_)) | None => return Err(wrong("it does not begin with `sip:`")),
    }
    if uri.user().is_none_or(str::is_empty) {
        return Err(wrong("it names no user before the @"));
    }
    match uri.transport() {
        None | Some(rsip::Transport::Udp | rsip::Transport::Tcp) => Ok(uri),
        Some(_) => Err(wrong("this client speaks UDP and TCP")),
    }
}

fn random() -> Result<u64, PlaceError> {
    getrandom::u64().map_err(|error| PlaceError::System(format!("no random numbers: {error}")))
}

/// A number of samples as seconds, such as `2.52 s`.
fn seconds(samples: usize) -> String {
    let hundredths = samples / 80;
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_called_is_refused_with_how_to_write_it() {
        for (target, reason) in [
            ("101", "it does not begin with `sip:`"),
            ("sips:101@host", "this client speaks UDP and TCP, not TLS"),
            ("sip:host", "it names no user before the @"),
            ("sip:101@[::1]", "this client reaches IPv6 hosts by name only"),
            ("sip:101@host;transport=ws", "this client speaks UDP and TCP"),
        ] {
            let error = read_target(target).unwrap_err().to_string();
            assert!(error.contains(reason), "{target}: {error}");
        }
        assert!(read_target("sip:101@127.0.0.1:5060;transport=tcp").is_ok());
    }
}
