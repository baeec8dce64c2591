//! Which calls are taken, and for whom.
//!
//! Decides the order: may this peer call at all, can it be recorded, is there room, and then by the
//! redirect token, or by the same table that routers have, whose mailbox it is. Refuses to know
//! media and what happens in the call.

use config::token::{self, DivertReason};
use config::{CallSettings, Code, Decision, Gateway, Rule, Transport};
use runtime::log::Number;
use sip::{Message, Peer};

use crate::prompt::{Sentence, Utterance};
use crate::served::Served;
use crate::spool_writer::SpoolHealth;
use crate::surroundings::{CallSlot, CallSlots, Surroundings};

/// Parameter of the Request-URI that carries the redirect token (decision 10).
const TOKEN_PARAMETER: &str = "um";

/// A call that is taken.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Its place among the calls of the server.
    pub(crate) slot: CallSlot,
    /// Name of the gateway.
    pub(crate) gateway: String,
    /// Name of the mailbox.
    pub(crate) mailbox: String,
    /// The extension that found it.
    pub(crate) extension: String,
    /// Why its owner diverted the call, if that is how it came.
    pub(crate) diverted: Option<DivertReason>,
    /// How the call is conducted.
    pub(crate) settings: CallSettings,
    /// What the caller hears first.
    pub(crate) greeting: Utterance,
}

/// A call that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) code: Code,
    /// In words, for the peer. Fit for a quoted string.
    pub(crate) text: String,
    /// In words, for the log: numbers are redacted.
    pub(crate) log_text: String,
}

impl Refused {
    /// A refusal whose words name no number.
    pub(crate) fn because(code: Code, text: String) -> Self {
        Refused { code, log_text: text.clone(), text }
    }
}

impl From<config::Refusal<'_>> for Refused {
    fn from(refusal: config::Refusal<'_>) -> Self {
        let log_text = refusal.text_with(|number| Number(number).to_string());
        Refused { code: refusal.code, text: refusal.text(), log_text }
    }
}

/// Decides on a new call.
///
/// # Errors
/// [`Refused`], with the code that the caller is answered.
pub(crate) fn admit<S: Surroundings>(
    surroundings: &S,
    slots: &CallSlots,
    invite: &Message<'_>,
    peer: Peer,
    now_unix_s: u64,
) -> Result<Admitted, Refused> {
    let served = surroundings.served();
    let config = &served.config;
    let transport = transport(peer);
    let gateway = config::admit(&served.table, peer.address.ip(), transport)?;
    if surroundings.is_draining() {
        let text =
            format!("server {} is being taken out of service; call another server", surroundings.name());
        return Err(Refused::because(Code::ServerNotInService, text));
    }
    if served.advertised.is_none() {
        let text = format!(
            "server {} is not in its own directory, so nobody was told where it is; call another server",
            surroundings.name()
        );
        return Err(Refused::because(Code::ServerNotInService, text));
    }
    match surroundings.storage() {
        SpoolHealth::Ready => {}
        SpoolHealth::OutboxFull => {
            return Err(no_storage("too many messages wait for delivery; look at the mail server"));
        }
        SpoolHealth::Full => return Err(no_storage("the disk for recordings is full; free some of it")),
        SpoolHealth::Unwritable => {
            return Err(no_storage("the disk for recordings cannot be written; look at the log"));
        }
    }
    let limit = config.max_calls_allowed;
    let slot = slots.take(limit).ok_or_else(|| {
        let text = format!("all {limit} calls of maxCallsAllowed are taken; raise it, or add a server");
        Refused::because(Code::CallLimit, text)
    })?;
    let target = match by_token(&served, gateway, invite, now_unix_s) {
        Some(target) => target,
        None => by_table(&served, invite, peer, transport)?,
    };
    // A token says whose call it is, not that it came protected.
    if let Some(dial_plan) = served.table.dial_plan(&target.dial_plan) {
        config::check_signalling(dial_plan, transport)?;
    }
    let settings = config.calls.get(&target.dial_plan).cloned().ok_or_else(|| {
        let text = format!("dial plan {} has no settings for calls; look at the operator", target.dial_plan);
        Refused::because(Code::InternalError, text)
    })?;
    let owner = config.owners.get(&target.mailbox);
    let name = owner.and_then(|owner| owner.display_name.clone()).unwrap_or_else(|| target.extension.clone());
    Ok(Admitted {
        slot,
        gateway: gateway.name.clone(),
        greeting: Utterance { language: settings.language, sentence: Sentence::Greeting { name } },
        mailbox: target.mailbox,
        extension: target.extension,
        diverted: target.diverted,
        settings,
    })
}

/// Whose mailbox a call is for.
struct Target {
    dial_plan: String,
    mailbox: String,
    extension: String,
    diverted: Option<DivertReason>,
}

fn no_storage(text: &str) -> Refused {
    Refused::because(Code::StorageUnavailable, text.to_owned())
}

/// What a router decided, if it is to be believed: the token is valid, came back from the very
/// gateway that was redirected, and names a mailbox that still is where it was.
fn by_token(served: &Served, gateway: &Gateway, invite: &Message<'_>, now_unix_s: u64) -> Option<Target> {
    let uri = sip::Uri::parse(invite.uri()?).ok()?;
    let claims = token::verify(&served.keys, uri.param(TOKEN_PARAMETER)?, now_unix_s).ok()?;
    let mailbox = served.table.mailbox(&claims.mailbox)?;
    let holds = claims.gateway == gateway.name && mailbox.dial_plan == claims.dial_plan;
    holds.then(|| Target {
        dial_plan: claims.dial_plan.into_owned(),
        mailbox: claims.mailbox.into_owned(),
        extension: claims.extension.into_owned(),
        diverted: claims.diverted,
    })
}

/// The same decision as a router's, made here.
fn by_table(
    served: &Served,
    invite: &Message<'_>,
    peer: Peer,
    transport: Transport,
) -> Result<Target, Refused> {
    let called = called_number(invite);
    let diverter = sip::diverter(invite);
    let call = config::Call {
        peer: peer.address.ip(),
        transport,
        called: &called,
        diverting: diverter.as_ref().map(|diverter| diverter.user.as_ref()),
        call_id: invite.call_id().unwrap_or_default(),
    };
    match config::route(&served.table, &call) {
        Decision::Accept(route) => Ok(Target {
            dial_plan: route.dial_plan.name.clone(),
            mailbox: route.mailbox.name.clone(),
            extension: route.extension.to_owned(),
            diverted: diverter
                .as_ref()
                .filter(|_| route.rule == Rule::DivertingUser)
                .map(|diverter| divert_reason(diverter.reason)),
        }),
        Decision::Refuse(refusal) => Err(refusal.into()),
    }
}

/// The number that was called: that of the Request-URI, else that of To (decision 8).
pub(crate) fn called_number(invite: &Message<'_>) -> String {
    let number = |uri: sip::Uri<'_>| uri.number().map(|number| number.into_owned());
    let of_request = invite.uri().and_then(|uri| sip::Uri::parse(uri).ok()).and_then(number);
    of_request.or_else(|| invite.to().ok().and_then(|to| number(to.uri))).unwrap_or_default()
}

fn divert_reason(reason: sip::DivertReason) -> DivertReason {
    match reason {
        sip::DivertReason::Unconditional => DivertReason::Unconditional,
        sip::DivertReason::Busy => DivertReason::Busy,
        sip::DivertReason::NoAnswer => DivertReason::NoAnswer,
        sip::DivertReason::Other => DivertReason::Other,
    }
}

fn transport(peer: Peer) -> Transport {
    match peer.transport {
        sip::Transport::Udp => Transport::Udp,
        sip::Transport::Tcp => Transport::Tcp,
        sip::Transport::Tls => Transport::Tls,
    }
}
