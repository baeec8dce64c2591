//! Why a call is refused, in words.
//!
//! Decides the code of each reason and the sentence that names the value, the rule and the next
//! step. Refuses to know whether numbers may be shown: the caller of [`Refusal::text_with`] says so.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use crate::{
    AutoAttendant, Code, DialPlan, Gateway, HuntGroup, MailboxRef, Number, Party, Rule, ServerStatus,
    StartupMode, Transport, UriType, VoIPSecurity,
};

/// Texts of peers are shown up to this length, characters.
const MAX_SHOWN_CHARS: usize = 64;

/// A refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The stable code; [`Code::sip_status`] is what the caller is answered.
    pub code: Code,
    /// What the refusal rests on.
    pub reason: Reason<'a>,
}

/// What a refusal rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// The deciding server takes no calls.
    ServerNotInService {
        /// Its name.
        server: &'a str,
        /// Its status.
        status: ServerStatus,
    },
    /// The deciding server takes no calls over this transport.
    TransportNotAllowed {
        /// Its name.
        server: &'a str,
        /// What it allows.
        startup_mode: StartupMode,
        /// What the call came by.
        transport: Transport,
    },
    /// No gateway has this address.
    UnknownPeer {
        /// The address.
        peer: IpAddr,
    },
    /// The address is that of a node, or of the gateway of the network that this server is in.
    TranslatedPeer {
        /// The address.
        peer: IpAddr,
    },
    /// The peer calls from an address of this gateway, with the certificate of somebody else.
    CertificateNameMismatch {
        /// The gateway.
        gateway: &'a Gateway,
        /// The name that its certificate has to prove.
        fqdn: &'a str,
    },
    /// The gateway's status is `Disabled`.
    GatewayDisabled {
        /// The gateway.
        gateway: &'a Gateway,
    },
    /// The gateway's status is `NoNewCalls`.
    GatewayNoNewCalls {
        /// The gateway.
        gateway: &'a Gateway,
    },
    /// The gateway has neither a hunt group with this pilot nor a default one.
    NoHuntGroup {
        /// The gateway.
        gateway: &'a Gateway,
        /// Who is called.
        called: Party<'a>,
    },
    /// The dial plan asks for TLS.
    SecurityMismatch {
        /// The dial plan.
        dial_plan: &'a DialPlan,
        /// What the call came by.
        transport: Transport,
    },
    /// The dial plan asks for mutual TLS.
    CertificateMissing {
        /// The dial plan.
        dial_plan: &'a DialPlan,
    },
    /// The dial plan asks for audio of the other kind.
    AudioMismatch {
        /// The dial plan.
        dial_plan: &'a DialPlan,
    },
    /// The auto attendant's status is `Disabled`.
    AttendantDisabled {
        /// The auto attendant.
        attendant: &'a AutoAttendant,
        /// Its pilot that was called, in normal form.
        pilot: &'a str,
    },
    /// The number does not have the form of the plan's extensions.
    NotANumberOfThePlan {
        /// Which user of the call it is.
        rule: Rule,
        /// Whom the call names.
        party: Party<'a>,
        /// The dial plan.
        dial_plan: &'a DialPlan,
        /// The hunt group that led to it.
        hunt_group: &'a HuntGroup,
    },
    /// Nobody has the number.
    NoSuchUser {
        /// Which user of the call it is.
        rule: Rule,
        /// Whom the call names.
        party: Party<'a>,
        /// The dial plan.
        dial_plan: &'a DialPlan,
        /// The hunt group that led to it.
        hunt_group: &'a HuntGroup,
    },
    /// No mailbox server is in service.
    NoMailboxServer {
        /// The mailbox that the call is for, if it is for one.
        mailbox: Option<MailboxRef<'a>>,
    },
    /// The dial plan asks for TLS, and no mailbox server in service listens for it.
    NoProtectedServer {
        /// The mailbox that the call is for, if it is for one.
        mailbox: Option<MailboxRef<'a>>,
        /// The dial plan.
        dial_plan: &'a DialPlan,
    },
}

impl<'a> Refusal<'a> {
    pub(crate) fn because(reason: Reason<'a>) -> Self {
        let code = match reason {
            Reason::ServerNotInService { .. } => Code::ServerNotInService,
            Reason::TransportNotAllowed { .. } => Code::TransportNotAllowed,
            Reason::UnknownPeer { .. } => Code::UnknownPeer,
            Reason::TranslatedPeer { .. } => Code::TranslatedPeer,
            Reason::CertificateNameMismatch { .. } => Code::CertificateNameMismatch,
            Reason::GatewayDisabled { .. } => Code::GatewayDisabled,
            Reason::GatewayNoNewCalls { .. } => Code::GatewayNoNewCalls,
            Reason::NoHuntGroup { .. } => Code::NoHuntGroup,
            Reason::SecurityMismatch { .. } => Code::SecurityMismatch,
            Reason::CertificateMissing { .. } => Code::CertificateMissing,
            Reason::AudioMismatch { .. } => Code::AudioMismatch,
            Reason::AttendantDisabled { .. } => Code::AttendantDisabled,
            Reason::NotANumberOfThePlan { .. } => Code::NotANumberOfThePlan,
            Reason::NoSuchUser { .. } => Code::NoSuchUser,
            Reason::NoMailboxServer { .. } | Reason::NoProtectedServer { .. } => Code::NoMailboxServer,
        };
        Refusal { code, reason }
    }

    /// The value and the rule that it broke, then what to do about it, in one line without the
    /// code. Safe inside of a quoted string of a header, and numbers are in it.
    pub fn text(&self) -> String {
        self.text_with(|number| number.to_owned())
    }

    /// [`Refusal::text`] with every number of the call passed through `show` first.
    pub fn text_with(&self, show: impl Fn(&str) -> String) -> String {
        format!("{}; {}", self.cause_with(&show), self.next_step_with(&show))
    }

    /// The first half of [`Refusal::text`]: the value and the rule.
    pub fn cause(&self) -> String {
        self.cause_with(&|number: &str| number.to_owned())
    }

    /// The second half of [`Refusal::text`]: what to do about it.
    pub fn next_step(&self) -> String {
        self.next_step_with(&|number: &str| number.to_owned())
    }

    /// What Retry-After says, seconds, for the statuses that have it.
    pub fn retry_after_s(&self) -> Option<u32> {
        self.code.retry_after_s()
    }

    fn cause_with(&self, show: &impl Fn(&str) -> String) -> String {
        match self.reason {
            Reason::ServerNotInService { server, status } => match status {
                ServerStatus::Disabled => format!("server {server} is disabled"),
                ServerStatus::NoNewCalls | ServerStatus::Enabled => {
                    format!("server {server} takes no new calls")
                }
            },
            Reason::TransportNotAllowed { server, startup_mode, transport } => {
                format!("server {server} takes no calls over {transport} with umStartupMode {startup_mode:?}")
            }
            Reason::UnknownPeer { peer } => {
                format!("{} is not the address of any UMIPGateway", peer.to_canonical())
            }
            Reason::TranslatedPeer { peer } => format!(
                "{} belongs to the cluster itself, so the caller's own address was lost on the way",
                peer.to_canonical()
            ),
            Reason::CertificateNameMismatch { gateway, fqdn } => {
                format!("the peer's certificate does not prove {fqdn}, the name of gateway {}", gateway.name)
            }
            Reason::GatewayDisabled { gateway } => format!("gateway {} is disabled", gateway.name),
            Reason::GatewayNoNewCalls { gateway } => format!("gateway {} takes no new calls", gateway.name),
            Reason::NoHuntGroup { gateway, called } => {
                let called = shown(called, show);
                format!(
                    "no UMHuntGroup of gateway {} has pilot {called}, and none is without a pilot",
                    gateway.name
                )
            }
            Reason::SecurityMismatch { dial_plan, transport } => {
                format!("dial plan {} asks for TLS and the call came over {transport}", dial_plan.name)
            }
            Reason::CertificateMissing { dial_plan } => format!(
                "dial plan {} asks for mutual TLS and the peer has proved no name by a certificate",
                dial_plan.name
            ),
            Reason::AudioMismatch { dial_plan } => other_audio(dial_plan),
            Reason::AttendantDisabled { attendant, pilot } => {
                let pilot = shown(pilot.into(), show);
                format!("auto attendant {} with pilot {pilot} is disabled", attendant.name)
            }
            Reason::NotANumberOfThePlan { rule, party, dial_plan, .. } => format!(
                "the {rule} number {} {}, as every number of dial plan {} {}{}",
                shown(party, show),
                lacks(dial_plan),
                dial_plan.name,
                if dial_plan.uri_type == UriType::TelExtn { "has" } else { "is" },
                nor_the_called(rule)
            ),
            Reason::NoSuchUser { rule, party, dial_plan, .. } => format!(
                "nobody in dial plan {} has the {rule} number {}{}",
                dial_plan.name,
                shown(party, show),
                nor_the_called(rule)
            ),
            Reason::NoMailboxServer { mailbox: Some(mailbox) } => {
                format!("no mailbox server is in service for mailbox {}", mailbox.name)
            }
            Reason::NoMailboxServer { mailbox: None } => "no mailbox server is in service".to_owned(),
            Reason::NoProtectedServer { mailbox: Some(mailbox), dial_plan } => format!(
                "no mailbox server in service listens for TLS, which dial plan {} of mailbox {} asks for",
                dial_plan.name, mailbox.name
            ),
            Reason::NoProtectedServer { mailbox: None, dial_plan } => format!(
                "no mailbox server in service listens for TLS, which dial plan {} asks for",
                dial_plan.name
            ),
        }
    }

    fn next_step_with(&self, show: &impl Fn(&str) -> String) -> String {
        match self.reason {
            Reason::ServerNotInService { server, .. } => {
                format!("set spec.status of {server} to Enabled, or call another server")
            }
            Reason::TransportNotAllowed { startup_mode, .. } => match startup_mode {
                StartupMode::TLS => "call over TLS, or set spec.umStartupMode to Dual".to_owned(),
                StartupMode::TCP | StartupMode::Dual => {
                    "call over UDP or TCP, or set spec.umStartupMode to Dual".to_owned()
                }
            },
            Reason::UnknownPeer { peer } => {
                format!("create a UMIPGateway with spec.address {}, if it may call", peer.to_canonical())
            }
            Reason::TranslatedPeer { .. } => {
                "call by the Service that the UMCallRouter's exposure makes, or one \
                 with externalTrafficPolicy Local"
                    .to_owned()
            }
            Reason::CertificateNameMismatch { fqdn, .. } => {
                format!("give the peer a certificate with {fqdn} in its subjectAltName")
            }
            Reason::GatewayDisabled { gateway } | Reason::GatewayNoNewCalls { gateway } => {
                format!("set spec.status of UMIPGateway {} to Enabled", gateway.name)
            }
            Reason::NoHuntGroup { gateway, .. } => {
                format!("create a UMHuntGroup with spec.umIPGateway {}", gateway.name)
            }
            Reason::SecurityMismatch { dial_plan, .. } => {
                format!(
                    "call over TLS, or set spec.voIPSecurity of UMDialPlan {} to Unsecured",
                    dial_plan.name
                )
            }
            Reason::CertificateMissing { .. } => {
                "let the peer show a certificate that one in ca.crt of the server's certificateSecret has signed"
                    .to_owned()
            }
            Reason::AudioMismatch { dial_plan } => match dial_plan.voip_security {
                VoIPSecurity::Unsecured | VoIPSecurity::SIPSecured => {
                    "let the peer offer RTP/AVP, alone or beside RTP/SAVP".to_owned()
                }
                VoIPSecurity::Secured => format!(
                    "let the peer offer RTP/SAVP, or set spec.voIPSecurity of UMDialPlan {} to SIPSecured",
                    dial_plan.name
                ),
            },
            Reason::AttendantDisabled { attendant, .. } => {
                format!("set spec.status of UMAutoAttendant {} to Enabled", attendant.name)
            }
            Reason::NotANumberOfThePlan { rule, hunt_group, .. }
            | Reason::NoSuchUser { rule, hunt_group, .. }
                if rule == Rule::CalledUser && hunt_group.pilot.is_some() =>
            {
                "let the PBX name the user in a Diversion header when it forwards to a pilot".to_owned()
            }
            Reason::NotANumberOfThePlan { dial_plan, .. } => match dial_plan.uri_type {
                UriType::TelExtn => format!("send the extension as {}, without a prefix", digits(dial_plan)),
                UriType::SipName => "send the address with its domain, or the extension alone".to_owned(),
                UriType::E164 => "send the whole number, or the extension alone".to_owned(),
            },
            Reason::NoSuchUser { party, dial_plan, .. } => {
                let is_extension = dial_plan.uri_type == UriType::TelExtn || is_extension(party, dial_plan);
                let field = if is_extension { "in spec.extensions" } else { "as spec.sipResourceIdentifier" };
                format!("create a UMMailbox with {} {field}", shown(party, show))
            }
            Reason::NoMailboxServer { .. } => {
                "look at the status of the UMService objects, one of them must be in service".to_owned()
            }
            Reason::NoProtectedServer { .. } => "set spec.umStartupMode of a UMService to Dual".to_owned(),
        }
    }
}

/// Which audio a dial plan takes that a call does not offer.
fn other_audio(dial_plan: &DialPlan) -> String {
    let name = &dial_plan.name;
    match dial_plan.voip_security {
        VoIPSecurity::Unsecured | VoIPSecurity::SIPSecured => {
            format!("dial plan {name} takes audio as RTP/AVP and the call offers it encrypted alone")
        }
        VoIPSecurity::Secured => {
            format!("dial plan {name} asks for audio as RTP/SAVP and the call offers it in the clear alone")
        }
    }
}

/// The called number was tried too where the diverting one led to nobody.
fn nor_the_called(rule: Rule) -> &'static str {
    match rule {
        Rule::DivertingUser => ", and the called number is nobody's",
        Rule::CalledUser => "",
    }
}

/// What a number that is none of the plan's does not have, or is not.
fn lacks(plan: &DialPlan) -> String {
    match plan.uri_type {
        UriType::TelExtn => format!("does not have {}", digits(plan)),
        UriType::SipName => format!("is neither a SIP address nor an extension of {}", digits(plan)),
        UriType::E164 => format!("is neither an E.164 number nor an extension of {}", digits(plan)),
    }
}

fn is_extension(party: Party<'_>, plan: &DialPlan) -> bool {
    let length = usize::from(plan.number_of_digits_in_extension);
    Number::parse(party.user).is_some_and(|number| number.len() == length)
}

/// `1 digit`, `3 digits`.
pub(crate) fn digits(plan: &DialPlan) -> Cow<'static, str> {
    match plan.number_of_digits_in_extension {
        1 => "1 digit".into(),
        count => format!("{count} digits").into(),
    }
}

/// Whom a call names, in normal form and made harmless: whatever could end a quoted string, a header
/// or a line of a log becomes `?`.
pub(crate) fn shown(party: Party<'_>, show: &impl Fn(&str) -> String) -> String {
    let normal = party.normal();
    if normal.is_empty() {
        return "(empty)".to_owned();
    }
    let shown = show(&normal);
    let mut harmless: String = shown.chars().take(MAX_SHOWN_CHARS).map(harmless_char).collect();
    if shown.chars().nth(MAX_SHOWN_CHARS).is_some() {
        harmless.push_str("...");
    }
    harmless
}

fn harmless_char(character: char) -> char {
    if character.is_ascii_graphic() && !matches!(character, '"' | '\\') || character == ' ' {
        character
    } else {
        '?'
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        })
    }
}

impl fmt::Display for Rule {
    /// As in "the called number".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Rule::DivertingUser => "diverting",
            Rule::CalledUser => "called",
        })
    }
}
