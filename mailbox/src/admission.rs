//! Which calls are taken, and for whom.
//!
//! Decides the order: may this peer call at all, can it be recorded, is there room, and then by the
//! redirect token, or by the same table that routers have, whose mailbox it is. Refuses to know
//! media and what happens in the call.

use config::token::{self, CallKind, DivertReason};
use config::{CallSettings, Code, Decision, Gateway, OfferedAudio, Party, Rule, Transport, VoIPSecurity};
use runtime::Source;
use runtime::log::Number;
use sip::sdp::Profile;
use sip::{Message, Peer};

use crate::caller::{Caller, caller};
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
    /// Who calls.
    pub(crate) caller: Caller,
    /// How the call is conducted.
    pub(crate) settings: CallSettings,
    /// What the caller hears first.
    pub(crate) greeting: Utterance,
    /// How its audio travels.
    pub(crate) profile: Profile,
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
    from: Source<'_>,
    now_unix_s: u64,
) -> Result<Admitted, Refused> {
    let served = surroundings.served();
    let config = &served.config;
    let transport = transport(from.peer);
    let gateway = config::admit(&served.table, from.peer.address.ip(), from.names, transport)?;
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
    check_storage(surroundings.storage())?;
    let limit = config.max_calls_allowed;
    let slot = slots.take(limit).ok_or_else(|| {
        let text = format!("all {limit} calls of maxCallsAllowed are taken; raise it, or add a server");
        Refused::because(Code::CallLimit, text)
    })?;
    let audio = offered_audio(invite);
    let target = match by_token(&served, gateway, invite, now_unix_s) {
        Some(target) => target,
        None => by_table(&served, invite, from, (transport, audio))?,
    };
    // A token says whose call it is, not that it came protected.
    let mut profile = Profile::Avp;
    if let Some(dial_plan) = served.table.dial_plan(&target.dial_plan) {
        config::check_security(&served.table, dial_plan, (transport, from.names), audio)?;
        profile = profile_of(dial_plan.voip_security);
    }
    let Target { dial_plan, purpose } = target;
    let (mailbox, extension, diverted) = match purpose {
        Purpose::CallAnswering { mailbox, extension, diverted } => (mailbox, extension, diverted),
        Purpose::SubscriberAccess => return Err(no_access(&dial_plan)),
        Purpose::AutoAttendant => return Err(no_attendant(&dial_plan)),
    };
    let settings = config.calls.get(&dial_plan).cloned().ok_or_else(|| {
        let text = format!("dial plan {} has no settings for calls; look at the operator", dial_plan);
        Refused::because(Code::InternalError, text)
    })?;
    let owner = config.owners.get(&mailbox);
    let caller = caller(&served, &dial_plan, &settings, invite);
    if caller.number.is_none() && owner.is_some_and(|owner| owner.refuses_anonymous_callers) {
        return Err(anonymous(&mailbox));
    }
    let name = owner.and_then(|owner| owner.display_name.clone()).unwrap_or_else(|| extension.clone());
    Ok(Admitted {
        slot,
        gateway: gateway.name.clone(),
        greeting: Utterance { language: settings.language, sentence: Sentence::Greeting { name } },
        profile,
        mailbox,
        extension,
        diverted,
        caller,
        settings,
    })
}

/// What a call is for.
struct Target {
    dial_plan: String,
    purpose: Purpose,
}

enum Purpose {
    CallAnswering { mailbox: String, extension: String, diverted: Option<DivertReason> },
    SubscriberAccess,
    AutoAttendant,
}

/// How audio travels in calls of a dial plan (spec 2.6).
const fn profile_of(security: VoIPSecurity) -> Profile {
    match security {
        VoIPSecurity::Unsecured | VoIPSecurity::SIPSecured => Profile::Avp,
        VoIPSecurity::Secured => Profile::Savp,
    }
}

fn anonymous(mailbox: &str) -> Refused {
    let text = format!(
        "mailbox {mailbox} takes no messages from callers who show no number; show one, or set \
         spec.anonymousCallersCanLeaveMessages of UMMailbox {mailbox} to true"
    );
    Refused::because(Code::AnonymousCaller, text)
}

fn no_access(dial_plan: &str) -> Refused {
    let text = format!(
        "an access number of dial plan {dial_plan} was called, and this server lets nobody in by telephone; \
         call the extension of a user to leave a message"
    );
    Refused::because(Code::AccessUnavailable, text)
}

fn no_attendant(dial_plan: &str) -> Refused {
    let text = format!(
        "an auto attendant of dial plan {dial_plan} was called, and this server lets none speak; \
         call the extension of a user to leave a message"
    );
    Refused::because(Code::AttendantUnavailable, text)
}

fn check_storage(health: SpoolHealth) -> Result<(), Refused> {
    match health {
        SpoolHealth::Ready => Ok(()),
        SpoolHealth::OutboxFull => {
            Err(no_storage("too many messages wait for delivery; look at the mail server"))
        }
        SpoolHealth::Full => Err(no_storage("the disk for recordings is full; free some of it")),
        SpoolHealth::Unwritable => {
            Err(no_storage("the disk for recordings cannot be written; look at the log"))
        }
    }
}

fn no_storage(text: &str) -> Refused {
    Refused::because(Code::StorageUnavailable, text.to_owned())
}

/// What a router decided, if it is to be believed: the token is that of this call, came back from the
/// very gateway that was redirected, and names a mailbox that still is where it was.
fn by_token(served: &Served, gateway: &Gateway, invite: &Message<'_>, now_unix_s: u64) -> Option<Target> {
    let uri = sip::Uri::parse(invite.uri()?).ok()?;
    let (token, call_id) = (uri.param(TOKEN_PARAMETER)?, invite.call_id().ok()?);
    let claims = token::verify(&served.keys, token, call_id, now_unix_s).ok()?;
    if claims.gateway != gateway.name {
        return None;
    }
    let purpose = match claims.kind {
        CallKind::CallAnswering => {
            let mailbox = served.table.mailbox(&claims.mailbox)?;
            if !mailbox.is_in(&claims.dial_plan) {
                return None;
            }
            Purpose::CallAnswering {
                mailbox: claims.mailbox.into_owned(),
                extension: claims.extension.into_owned(),
                diverted: claims.diverted,
            }
        }
        CallKind::SubscriberAccess => Purpose::SubscriberAccess,
        CallKind::AutoAttendant => Purpose::AutoAttendant,
    };
    Some(Target { dial_plan: claims.dial_plan.into_owned(), purpose })
}

/// The same decision as a router's, made here.
fn by_table(
    served: &Served,
    invite: &Message<'_>,
    from: Source<'_>,
    (transport, audio): (Transport, OfferedAudio),
) -> Result<Target, Refused> {
    let called = sip::called(invite);
    let diverter = sip::diverter(invite);
    let call = config::Call {
        peer: from.peer.address.ip(),
        names: from.names,
        transport,
        called: party(&called),
        diverting: diverter.as_ref().map(|diverter| party(&diverter.party)),
        audio,
        call_id: invite.call_id().unwrap_or_default(),
    };
    let route = match config::route(&served.table, &call) {
        Decision::Accept(route) => route,
        Decision::Refuse(refusal) => return Err(refusal.into()),
    };
    let purpose = match route.purpose {
        config::Purpose::CallAnswering { mailbox, extension, rule } => Purpose::CallAnswering {
            mailbox: mailbox.name.to_owned(),
            extension: extension.to_owned(),
            diverted: diverter
                .as_ref()
                .filter(|_| rule == Rule::DivertingUser)
                .map(|diverter| divert_reason(diverter.reason)),
        },
        config::Purpose::SubscriberAccess { .. } => Purpose::SubscriberAccess,
        config::Purpose::AutoAttendant { .. } => Purpose::AutoAttendant,
    };
    Ok(Target { dial_plan: route.dial_plan.name.clone(), purpose })
}

fn offered_audio(invite: &Message<'_>) -> OfferedAudio {
    let offered = sip::sdp::offered_audio(invite.body());
    OfferedAudio { clear: offered.clear, encrypted: offered.encrypted }
}

/// Who was called, in normal form.
pub(crate) fn called(invite: &Message<'_>) -> String {
    party(&sip::called(invite)).normal().into_owned()
}

fn party<'a>(party: &'a sip::Party<'_>) -> Party<'a> {
    Party { user: &party.user, domain: &party.domain }
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
