//! The call that `umbriel up --call` places to itself: a spoken sentence, through the router, to
//! the mail, and back to what was said.
//!
//! Decides who calls, how long is waited and what counts as success. Refuses to know how a call is
//! made (`call`) and where mail lies (`proof`).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use config::{GatewayStatus, MailboxConfig, RouterConfig};
use miette::{IntoDiagnostic, Result, WrapErr, miette};

use super::proof::{Comparison, Delivered, Destination, compare, find};
use crate::call::audio::Audio;
use crate::call::{CallPlan, CallReport, Codec, Transport, ladder, place};
use crate::print::say;
use crate::speech;
use crate::style::{Colour, Style};

/// What the caller says.
const SENTENCE: &str = "Good morning, this is a test call.";
/// How long the message may take to arrive after the call.
const DELIVERY: Duration = Duration::from_secs(20);
/// How long the servers may take until they are ready for it.
const READY: Duration = Duration::from_secs(30);
/// How often is looked for the message.
const POLL: Duration = Duration::from_millis(50);

/// What will be said, and the file that it lies in.
pub(crate) struct Sentence {
    audio: Audio,
    file: PathBuf,
}

/// Speaks the sentence, so that a missing program is told before anything is started.
pub(crate) fn prepare(state: &Path) -> Result<Sentence> {
    let audio = speech::speak(SENTENCE).into_diagnostic()?;
    runtime::folder::private(state)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot make the state folder {}", state.display()))?;
    let file = state.join("caller.wav");
    speech::write_mu_law(&file, &audio.bytes(Codec::Pcmu)).into_diagnostic()?;
    Ok(Sentence { audio, file })
}

/// The call, from before it begins until its result is told.
pub(crate) struct FirstCall {
    number: String,
    address: IpAddr,
    sentence: Option<Sentence>,
    state: PathBuf,
    style: Style,
    since: Instant,
    result: Option<Receiver<bool>>,
}

impl FirstCall {
    /// A call of `number` at the servers that listen on `address`.
    pub(crate) fn new(number: &str, address: IpAddr, sentence: Sentence, state: &Path, style: Style) -> Self {
        Self {
            number: number.to_owned(),
            address,
            sentence: Some(sentence),
            state: state.to_owned(),
            style,
            since: Instant::now(),
            result: None,
        }
    }

    /// Places the call in a thread of its own, if it has not begun yet.
    pub(crate) fn begin(&mut self, router: &RouterConfig, mailbox: &MailboxConfig) -> Result<()> {
        let Some(sentence) = self.sentence.take() else { return Ok(()) };
        let plan = plan(&self.number, self.address, &sentence, router)?;
        let (sender, receiver) = channel();
        let (state, style) = (self.state.clone(), self.style);
        let destination = match &mailbox.delivery.smtp {
            Some(_) => Destination::MailServer,
            None => Destination::Maildir,
        };
        say(&format!("Calling {} from {} …", self.number, plan.bind.unwrap_or(self.address)));
        std::thread::Builder::new()
            .name("first call".into())
            .spawn(move || {
                let succeeded = carry_out(&plan, &sentence, &state, destination, style);
                // A process that ends meanwhile no longer asks.
                let _ = sender.send(succeeded);
            })
            .into_diagnostic()
            .wrap_err("cannot start the call")?;
        self.result = Some(receiver);
        Ok(())
    }

    /// Whether it should have begun long ago.
    pub(crate) fn is_overdue(&self) -> bool {
        self.sentence.is_some() && self.since.elapsed() > READY
    }

    /// Whether it succeeded, once it has ended.
    pub(crate) fn ended(&self) -> Option<bool> {
        match self.result.as_ref()?.try_recv() {
            Ok(succeeded) => Some(succeeded),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(false),
        }
    }
}

/// The call of a gateway that lives on this machine.
fn plan(number: &str, address: IpAddr, sentence: &Sentence, router: &RouterConfig) -> Result<CallPlan> {
    let listeners = router.server.listeners;
    let (transport, port) = match (listeners.udp, listeners.tcp) {
        (Some(port), _) => (Transport::Udp, port),
        (None, Some(port)) => (Transport::Tcp, port),
        (None, None) => {
            return Err(miette!(
                "the router takes calls over TLS only, and test calls go over UDP or TCP; \
                 set umStartupMode to TCP or Dual, or leave out --call"
            ));
        }
    };
    let bind = gateway(router, address).ok_or_else(|| {
        miette!(
            "no test call can be placed: none of the gateways that may call has an address of this machine; \
             add a UMIPGateway with address 127.0.0.1 and a UMHuntGroup for it, or leave out --call"
        )
    })?;
    Ok(CallPlan {
        transport,
        audio: Some(sentence.audio.clone()),
        codecs: vec![Codec::Pcmu],
        bind: Some(bind),
        ..CallPlan::new(format!("sip:{number}@{}", SocketAddr::new(address, port)))
    })
}

/// The address of the first gateway that may call and that this machine has.
fn gateway(router: &RouterConfig, address: IpAddr) -> Option<IpAddr> {
    let directory = &router.directory;
    directory
        .gateways
        .iter()
        .filter(|gateway| gateway.status == GatewayStatus::Enabled)
        .filter(|gateway| directory.hunt_groups.iter().any(|group| group.gateway == gateway.name))
        .flat_map(|gateway| &gateway.addresses)
        // Of a prefix, the address that this server has in it.
        .filter_map(|prefix| prefix.single().or_else(|| Some(address).filter(|own| prefix.contains(*own))))
        .find(|address| UdpSocket::bind((*address, 0)).is_ok())
}

fn carry_out(
    plan: &CallPlan,
    sentence: &Sentence,
    state: &Path,
    destination: Destination,
    style: Style,
) -> bool {
    let report = match place(plan) {
        Ok(report) => report,
        Err(error) => {
            say(&style.paint(Colour::Red, &error.to_string()));
            return false;
        }
    };
    say(&format!("\n{}\n{}", ladder::draw(&report, style), ladder::outcome(&report, style)));
    if !report.is_completed() {
        return false;
    }
    let waiting = Instant::now();
    let delivered = loop {
        match find(state, destination, &report.call_id) {
            Some(delivered) => break delivered,
            None if waiting.elapsed() > DELIVERY => {
                let error = format!(
                    "Nothing was delivered within {} s; see the logs and {}",
                    DELIVERY.as_secs(),
                    state.join("outbox").display()
                );
                say(&style.paint(Colour::Red, &error));
                return false;
            }
            None => std::thread::sleep(POLL),
        }
    };
    tell(&report, sentence, &delivered, waiting.elapsed(), style)
}

/// Tells where the message lies and whether it is what was said.
fn tell(
    report: &CallReport,
    sentence: &Sentence,
    delivered: &Delivered,
    took: Duration,
    style: Style,
) -> bool {
    let codec = report.codec.unwrap_or(Codec::Pcmu);
    let comparison = compare(delivered.audio.as_ref(), codec, &report.spoken);
    let (equal, verdict) = match comparison {
        Comparison::Same { before, after } => (
            true,
            format!(
                "All {} bytes that were said are in the message, in order and without a gap \
                 ({} ms before, {} ms after).",
                report.spoken.len(),
                before.as_millis(),
                after.as_millis()
            ),
        ),
        Comparison::Different { alike } => (
            false,
            format!(
                "The message is NOT what was said: of {} bytes only the first {alike} are found together.",
                report.spoken.len()
            ),
        ),
        Comparison::NoAudio => (false, format!("The message has no audio in {}.", codec.name())),
    };
    say(&format!("Delivered {} ms after the call.", took.as_millis()));
    if let Some(mail) = &delivered.mail {
        say(&format!("  mail   {}", mail.display()));
    }
    if let Some(stored) = &delivered.stored {
        say(&format!("  audio  {}", stored.display()));
    }
    say(&format!("  said   {}", sentence.file.display()));
    say(&style.paint(if equal { Colour::Green } else { Colour::Red }, &verdict));
    say("");
    equal
}
