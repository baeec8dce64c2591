//! [`route`]: where a call belongs, or why it is refused.
//!
//! Decides in the order of decision 7: server status, transport, gateway by certificate name or address,
//! gateway status, hunt group, dial plan, protection of signalling and audio, auto attendant, diverted
//! user, access number, called user, mailbox server. Refuses to know SIP: which number is called and which
//! diverted was found out before. It is total and pure and allocates nothing. Each step is a hash lookup,
//! however large the tables are; only the choice of server looks at every mailbox server, and those are few.

use std::net::IpAddr;

use crate::table::{Plan, Table};
use crate::{
    AttendantStatus, AutoAttendant, DialPlan, Gateway, GatewayStatus, HuntGroup, Listeners, MailboxRef,
    MailboxServer, Party, Reason, Refusal, ServerStatus, StartupMode, VoIPSecurity,
};

/// What a request came by (RFC 3261 section 18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP, in the clear.
    Udp,
    /// TCP, in the clear.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// What a call says about itself, as far as routing needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The address that the request came from.
    pub peer: IpAddr,
    /// Names that the peer has proved by its certificate, in small letters; empty where it showed none.
    pub names: &'a [String],
    /// What the request came by.
    pub transport: Transport,
    /// Who is called: the user of the Request-URI, else that of To, unescaped (decision 8).
    pub called: Party<'a>,
    /// The user who diverted the call: topmost Diversion, else the second last History-Info entry.
    pub diverting: Option<Party<'a>>,
    /// How audio is offered.
    pub audio: OfferedAudio,
    /// The Call-ID, by which the second choice of server is made.
    pub call_id: &'a str,
}

/// How a call offers audio (RFC 3264). Neither, where it offers none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfferedAudio {
    /// As RTP.
    pub clear: bool,
    /// As SRTP (RFC 3711).
    pub encrypted: bool,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// A mailbox server takes it.
    Accept(Route<'a>),
    /// It is refused.
    Refuse(Refusal<'a>),
}

/// Where a call belongs, and by which objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The gateway that it came from.
    pub gateway: &'a Gateway,
    /// The hunt group that took it.
    pub hunt_group: &'a HuntGroup,
    /// The dial plan that its numbers are read in.
    pub dial_plan: &'a DialPlan,
    /// What it is for.
    pub purpose: Purpose<'a>,
    /// The mailbox server that takes it.
    pub server: &'a MailboxServer,
    /// The mailbox server to try if the first one does not answer.
    pub sibling: Option<&'a MailboxServer>,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// A mailbox answers for its user.
    CallAnswering {
        /// The mailbox.
        mailbox: MailboxRef<'a>,
        /// What of the call named it, in normal form.
        extension: &'a str,
        /// Which number of the call that was.
        rule: Rule,
    },
    /// A user wants to get at a mailbox; whose, is asked later.
    SubscriberAccess {
        /// The access number that was called, in normal form.
        number: &'a str,
    },
    /// An auto attendant answers.
    AutoAttendant {
        /// The auto attendant.
        attendant: &'a AutoAttendant,
        /// The pilot that was called, in normal form.
        pilot: &'a str,
    },
}

impl<'a> Purpose<'a> {
    /// The mailbox that answers.
    pub fn mailbox(&self) -> Option<MailboxRef<'a>> {
        match self {
            Purpose::CallAnswering { mailbox, .. } => Some(*mailbox),
            Purpose::SubscriberAccess { .. } | Purpose::AutoAttendant { .. } => None,
        }
    }

    /// What of the call decided, in normal form.
    pub fn number(&self) -> &'a str {
        match self {
            Purpose::CallAnswering { extension, .. } => extension,
            Purpose::SubscriberAccess { number } => number,
            Purpose::AutoAttendant { pilot, .. } => pilot,
        }
    }
}

/// Which number of a call named the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// That of the user who diverted the call.
    DivertingUser,
    /// The called one.
    CalledUser,
}

/// What is told about each step of a decision while it is made.
///
/// [`route`] listens to nothing and [`explain`](crate::explain) writes everything down; the
/// decision itself is the same code.
pub(crate) trait Observer {
    /// A check was passed, or a rule was tried that did not fit and the next one is due.
    fn saw(&mut self, step: Passed<'_>);
}

/// A step that did not end the decision.
#[derive(Clone, Copy)]
pub(crate) enum Passed<'a> {
    ServerTakesCalls,
    TransportAllowed,
    GatewayKnown(&'a Gateway),
    GatewayTakesCalls(&'a Gateway),
    HuntGroupFound(&'a HuntGroup),
    DialPlanFound(&'a HuntGroup, &'a DialPlan),
    SignallingSuffices(&'a DialPlan),
    AudioSuffices(&'a DialPlan),
    AttendantFound(&'a AutoAttendant, &'a str),
    NotAnAttendant,
    NotDiverted,
    UserFound(Rule, Party<'a>, MailboxRef<'a>),
    DivertingUserUnknown(Party<'a>),
    AccessNumber(&'a str),
    NotAnAccessNumber,
    ServersChosen {
        mailbox: Option<MailboxRef<'a>>,
        server: &'a MailboxServer,
        sibling: Option<&'a MailboxServer>,
    },
}

struct Nobody;

impl Observer for Nobody {
    fn saw(&mut self, _: Passed<'_>) {}
}

/// Decides where a call belongs.
pub fn route<'a>(table: &'a Table, call: &Call<'a>) -> Decision<'a> {
    match decide(table, call, &mut Nobody) {
        Ok(route) => Decision::Accept(route),
        Err(refusal) => Decision::Refuse(refusal),
    }
}

/// Decides whether calls of this peer are taken at all: the steps of [`route`] up to the gateway's
/// status, for a call that another server has already decided on.
///
/// # Errors
/// The refusal that [`route`] would give.
pub fn admit<'a>(
    table: &'a Table,
    peer: IpAddr,
    names: &[String],
    transport: Transport,
) -> Result<&'a Gateway, Refusal<'a>> {
    admit_observed(table, (peer, names), transport, &mut Nobody)
}

/// Decides whether a dial plan's calls may come by this transport, from who has proved these names by a
/// certificate, and with this audio: two steps of [`route`], for a call that another server has
/// already decided on.
///
/// # Errors
/// The refusal that [`route`] would give.
pub fn check_security<'a>(
    table: &Table,
    dial_plan: &'a DialPlan,
    signalling: (Transport, &[String]),
    audio: OfferedAudio,
) -> Result<(), Refusal<'a>> {
    check_signalling(table, dial_plan, signalling)?;
    check_audio(dial_plan, audio)
}

/// A protected dial plan asks for mutual TLS (spec 2.6). Where the server was not told who signs peers'
/// certificates, nobody's can be verified, and a peer is who its address says.
fn check_signalling<'a>(
    table: &Table,
    dial_plan: &'a DialPlan,
    (transport, names): (Transport, &[String]),
) -> Result<(), Refusal<'a>> {
    match (dial_plan.voip_security, transport) {
        (VoIPSecurity::Unsecured, _) => Ok(()),
        (VoIPSecurity::SIPSecured | VoIPSecurity::Secured, Transport::Tls) => {
            if !names.is_empty() || !table.server.asks_for_certificates {
                Ok(())
            } else {
                Err(Refusal::because(Reason::CertificateMissing { dial_plan }))
            }
        }
        (VoIPSecurity::SIPSecured | VoIPSecurity::Secured, Transport::Udp | Transport::Tcp) => {
            Err(Refusal::because(Reason::SecurityMismatch { dial_plan, transport }))
        }
    }
}

/// Audio may be offered in both ways, or later.
fn check_audio(dial_plan: &DialPlan, audio: OfferedAudio) -> Result<(), Refusal<'_>> {
    let OfferedAudio { clear, encrypted } = audio;
    let suffices = match dial_plan.voip_security {
        VoIPSecurity::Unsecured | VoIPSecurity::SIPSecured => clear || !encrypted,
        VoIPSecurity::Secured => encrypted || !clear,
    };
    if suffices { Ok(()) } else { Err(Refusal::because(Reason::AudioMismatch { dial_plan })) }
}

pub(crate) fn decide<'a>(
    table: &'a Table,
    call: &Call<'a>,
    observer: &mut impl Observer,
) -> Result<Route<'a>, Refusal<'a>> {
    let gateway = admit_observed(table, (call.peer, call.names), call.transport, observer)?;
    let called = call.called;

    let (hunt_group, plan) =
        table.hunt_group(gateway, called).ok_or(Refusal::because(Reason::NoHuntGroup { gateway, called }))?;
    observer.saw(Passed::HuntGroupFound(hunt_group));

    let dial_plan = &plan.dial_plan;
    observer.saw(Passed::DialPlanFound(hunt_group, dial_plan));

    check_signalling(table, dial_plan, (call.transport, call.names))?;
    observer.saw(Passed::SignallingSuffices(dial_plan));

    check_audio(dial_plan, call.audio)?;
    observer.saw(Passed::AudioSuffices(dial_plan));

    let purpose = find_purpose(table, call, hunt_group, plan, observer)?;

    let (mailbox, security) = (purpose.mailbox(), dial_plan.voip_security);
    let [server, sibling] =
        table.servers(mailbox, call.call_id, |server| can_be_called(&server.listeners, security));
    let server = server.ok_or(Refusal::because(match security {
        VoIPSecurity::SIPSecured | VoIPSecurity::Secured if table.has_server_in_service() => {
            Reason::NoProtectedServer { mailbox, dial_plan }
        }
        VoIPSecurity::SIPSecured | VoIPSecurity::Secured | VoIPSecurity::Unsecured => {
            Reason::NoMailboxServer { mailbox }
        }
    }))?;
    observer.saw(Passed::ServersChosen { mailbox, server, sibling });

    Ok(Route { gateway, hunt_group, dial_plan, purpose, server, sibling })
}

fn admit_observed<'a>(
    table: &'a Table,
    (peer, names): (IpAddr, &[String]),
    transport: Transport,
    observer: &mut impl Observer,
) -> Result<&'a Gateway, Refusal<'a>> {
    let own = &table.server;
    match own.status {
        ServerStatus::Enabled => observer.saw(Passed::ServerTakesCalls),
        status @ (ServerStatus::Disabled | ServerStatus::NoNewCalls) => {
            return Err(Refusal::because(Reason::ServerNotInService { server: &own.name, status }));
        }
    }
    if !allows(own.startup_mode, transport) {
        let startup_mode = own.startup_mode;
        return Err(Refusal::because(Reason::TransportNotAllowed {
            server: &own.name,
            startup_mode,
            transport,
        }));
    }
    observer.saw(Passed::TransportAllowed);

    let gateway = gateway_of(table, peer, names)?;
    observer.saw(Passed::GatewayKnown(gateway));
    match gateway.status {
        GatewayStatus::Enabled => observer.saw(Passed::GatewayTakesCalls(gateway)),
        GatewayStatus::Disabled => return Err(Refusal::because(Reason::GatewayDisabled { gateway })),
        GatewayStatus::NoNewCalls => return Err(Refusal::because(Reason::GatewayNoNewCalls { gateway })),
    }
    Ok(gateway)
}

/// What a certificate proves goes before the address that a call comes from, which others may have too.
fn gateway_of<'a>(table: &'a Table, peer: IpAddr, names: &[String]) -> Result<&'a Gateway, Refusal<'a>> {
    let peers = &table.peers;
    if let Some(gateway) = peers.named(names) {
        return Ok(gateway);
    }
    let gateway = peers.at(peer).ok_or(Refusal::because(if peers.is_of_the_cluster(peer) {
        Reason::TranslatedPeer { peer }
    } else {
        Reason::UnknownPeer { peer }
    }))?;
    // Who shows a certificate shows the right one.
    match &gateway.fqdn {
        Some(fqdn) if !names.is_empty() => {
            Err(Refusal::because(Reason::CertificateNameMismatch { gateway, fqdn }))
        }
        Some(_) | None => Ok(gateway),
    }
}

/// The auto attendant first, because a PBX that forwards a call to its pilot means it, whoever forwarded;
/// then the diverted user, then the access number, which nobody diverts a call to, then the called user:
/// many PBXs leave the extension in the Request-URI when they forward, and send no Diversion. If nobody fits,
/// the refusal speaks of the number that came first, because that is the one the PBX meant.
fn find_purpose<'a>(
    table: &'a Table,
    call: &Call<'a>,
    hunt_group: &'a HuntGroup,
    plan: &'a Plan,
    observer: &mut impl Observer,
) -> Result<Purpose<'a>, Refusal<'a>> {
    let dial_plan = &plan.dial_plan;
    if let Some((attendant, pilot)) = plan.attendant(call.called) {
        return match attendant.status {
            AttendantStatus::Enabled => {
                observer.saw(Passed::AttendantFound(attendant, pilot));
                Ok(Purpose::AutoAttendant { attendant, pilot })
            }
            AttendantStatus::Disabled => {
                Err(Refusal::because(Reason::AttendantDisabled { attendant, pilot }))
            }
        };
    }
    if plan.has_attendants() {
        observer.saw(Passed::NotAnAttendant);
    }
    let user = |party| table.user(plan, party);
    match call.diverting.map(|party| (party, user(party))) {
        None => {
            observer.saw(Passed::NotDiverted);
            if let Some(number) = plan.access_number(call.called) {
                observer.saw(Passed::AccessNumber(number));
                return Ok(Purpose::SubscriberAccess { number });
            }
            if !dial_plan.access_numbers.is_empty() {
                observer.saw(Passed::NotAnAccessNumber);
            }
        }
        Some((party, None)) => observer.saw(Passed::DivertingUserUnknown(party)),
        Some((party, Some((mailbox, extension)))) => {
            observer.saw(Passed::UserFound(Rule::DivertingUser, party, mailbox));
            return Ok(Purpose::CallAnswering { mailbox, extension, rule: Rule::DivertingUser });
        }
    }
    if let Some((mailbox, extension)) = user(call.called) {
        observer.saw(Passed::UserFound(Rule::CalledUser, call.called, mailbox));
        return Ok(Purpose::CallAnswering { mailbox, extension, rule: Rule::CalledUser });
    }
    let (rule, party) = match call.diverting {
        Some(diverting) => (Rule::DivertingUser, diverting),
        None => (Rule::CalledUser, call.called),
    };
    Err(Refusal::because(if dial_plan.naming().has(party) {
        Reason::NoSuchUser { rule, party, dial_plan, hunt_group }
    } else {
        Reason::NotANumberOfThePlan { rule, party, dial_plan, hunt_group }
    }))
}

/// Decision 6: UDP goes with TCP.
fn allows(mode: StartupMode, transport: Transport) -> bool {
    match (mode, transport) {
        (StartupMode::Dual, _) => true,
        (StartupMode::TCP, Transport::Udp | Transport::Tcp) | (StartupMode::TLS, Transport::Tls) => true,
        (StartupMode::TCP, Transport::Tls) | (StartupMode::TLS, Transport::Udp | Transport::Tcp) => false,
    }
}

/// Calls of a protected plan are redirected to a TLS port, all others to any.
fn can_be_called(listeners: &Listeners, security: VoIPSecurity) -> bool {
    match security {
        VoIPSecurity::SIPSecured | VoIPSecurity::Secured => listeners.tls.is_some(),
        VoIPSecurity::Unsecured => listeners.udp.or(listeners.tcp).or(listeners.tls).is_some(),
    }
}
