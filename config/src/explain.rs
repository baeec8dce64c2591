//! [`explain`]: the decision of [`route`](crate::route()) with every step written down.
//!
//! Decides how a step is put into words. Refuses to decide anything about the call: it watches the
//! very code that routes.

use std::fmt;

use serde::Serialize;

use crate::refusal::{digits, shown};
use crate::route::{Observer, Passed, decide};
use crate::{
    Call, Code, Decision, DialPlan, MailboxRef, OfferedAudio, Party, Reason, Refusal, Rule, Table, UriType,
};

/// One step of a decision. Numbers of the call stand in it as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What was asked.
    pub question: &'static str,
    /// The value that it was asked of.
    pub value: String,
    /// What came of it.
    pub outcome: String,
    /// Set on the last step of a call that is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// How a decision ended in a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// What to do about it.
    pub next_step: String,
}

impl fmt::Display for Step {
    /// `question value: outcome`, and for a refusal the code and the next step on a second line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}", self.question, self.value, self.outcome)?;
        if let Some(Refused { code, next_step }) = &self.refused {
            write!(formatter, "\n  {code}; {next_step}")?;
        }
        Ok(())
    }
}

const SERVER: &str = "Does this server take calls?";
const TRANSPORT: &str = "Does it take calls over this transport?";
const GATEWAY: &str = "Which gateway calls from this address?";
const GATEWAY_STATUS: &str = "Are calls of this gateway taken?";
const HUNT_GROUP: &str = "Which hunt group has the called number as its pilot?";
const DIAL_PLAN: &str = "Which dial plan does the hunt group lead to?";
const SECURITY: &str = "Is the signalling protected as the dial plan asks?";
const AUDIO: &str = "Is the audio offered as the dial plan asks?";
const ATTENDANT: &str = "Is the called number a pilot of an auto attendant?";
const ACCESS_NUMBER: &str = "Is the called number an access number of the dial plan?";
const DIVERTING_USER: &str = "Was the call diverted from a user?";
const CALLED_USER: &str = "Is the called number that of a user?";
const MAILBOX_SERVER: &str = "Which mailbox server takes the call?";

/// Decides as [`route`](crate::route()) does and tells every step, the deciding one last.
pub fn explain<'a>(table: &'a Table, call: &Call<'a>) -> (Vec<Step>, Decision<'a>) {
    let mut writer = Writer { table, call, steps: Vec::new() };
    match decide(table, call, &mut writer) {
        Ok(route) => (writer.steps, Decision::Accept(route)),
        Err(refusal) => {
            writer.write_refusal(&refusal);
            (writer.steps, Decision::Refuse(refusal))
        }
    }
}

struct Writer<'w, 'a> {
    table: &'w Table,
    call: &'w Call<'a>,
    steps: Vec<Step>,
}

impl Observer for Writer<'_, '_> {
    fn saw(&mut self, step: Passed<'_>) {
        let (question, outcome) = match step {
            Passed::ServerTakesCalls => (SERVER, "yes".to_owned()),
            Passed::TransportAllowed => (TRANSPORT, "yes".to_owned()),
            Passed::GatewayKnown(gateway) => (GATEWAY, gateway.name.clone()),
            Passed::GatewayTakesCalls(_) => (GATEWAY_STATUS, "yes".to_owned()),
            Passed::HuntGroupFound(group) if group.pilot.is_some() => (HUNT_GROUP, group.name.clone()),
            Passed::HuntGroupFound(group) => {
                (HUNT_GROUP, format!("none, so the default one, {}", group.name))
            }
            Passed::DialPlanFound(_, plan) => (DIAL_PLAN, format!("{}, {}", plan.name, forms(plan))),
            Passed::SignallingSuffices(_) => (SECURITY, "yes".to_owned()),
            Passed::AudioSuffices(_) => (AUDIO, "yes".to_owned()),
            Passed::AttendantFound(attendant, _) => (ATTENDANT, format!("auto attendant {}", attendant.name)),
            Passed::NotAnAttendant => (ATTENDANT, "no".to_owned()),
            Passed::AccessNumber(_) => (ACCESS_NUMBER, "yes, a user wants to get at a mailbox".to_owned()),
            Passed::NotAnAccessNumber => (ACCESS_NUMBER, "no".to_owned()),
            Passed::NotDiverted => (DIVERTING_USER, "no".to_owned()),
            Passed::UserFound(rule, _, mailbox) => (question_of(rule), format!("mailbox {}", mailbox.name)),
            Passed::DivertingUserUnknown(_) => (DIVERTING_USER, "nobody of this dial plan has it".to_owned()),
            Passed::ServersChosen { mailbox, server, sibling } => {
                let first = match mailbox.map(|mailbox| self.table.host_of(mailbox.database)) {
                    Some(Some(host)) if host.name == server.name => "its host",
                    Some(Some(_)) => "its host cannot take it",
                    Some(None) => "it has no host",
                    None => "by the Call-ID",
                };
                let next = sibling.map_or_else(String::new, |sibling| format!("; then {}", sibling.name));
                (MAILBOX_SERVER, format!("{}, {first}{next}", server.name))
            }
        };
        let value = self.value_of(step);
        self.steps.push(Step { question, value, outcome, refused: None });
    }
}

impl Writer<'_, '_> {
    fn value_of(&self, step: Passed<'_>) -> String {
        let server = &self.table.server;
        match step {
            Passed::ServerTakesCalls => format!("{}, status {:?}", server.name, server.status),
            Passed::TransportAllowed => {
                format!("{}, umStartupMode {:?}", self.call.transport, server.startup_mode)
            }
            Passed::GatewayKnown(gateway) => match &gateway.fqdn {
                Some(fqdn) if self.call.names.contains(fqdn) => format!("{fqdn}, by its certificate"),
                Some(_) | None => self.call.peer.to_canonical().to_string(),
            },
            Passed::GatewayTakesCalls(gateway) => format!("{}, status {:?}", gateway.name, gateway.status),
            Passed::HuntGroupFound(_) => as_is(self.call.called),
            Passed::DialPlanFound(group, _) => group.name.clone(),
            Passed::SignallingSuffices(plan) => {
                format!("{}, voIPSecurity {:?}", self.call.transport, plan.voip_security)
            }
            Passed::AudioSuffices(plan) => offered(self.call.audio, plan),
            Passed::AccessNumber(number) | Passed::AttendantFound(_, number) => number.to_owned(),
            Passed::NotAnAccessNumber | Passed::NotAnAttendant => as_is(self.call.called),
            Passed::NotDiverted => "no Diversion or History-Info".to_owned(),
            Passed::UserFound(_, party, _) | Passed::DivertingUserUnknown(party) => as_is(party),
            Passed::ServersChosen { mailbox, .. } => in_database(mailbox),
        }
    }

    fn write_refusal(&mut self, refusal: &Refusal<'_>) {
        let server = &self.table.server;
        let transport = self.call.transport;
        let (question, value) = match refusal.reason {
            Reason::ServerNotInService { server, status } => (SERVER, format!("{server}, status {status:?}")),
            Reason::TransportNotAllowed { .. } => {
                (TRANSPORT, format!("{transport}, umStartupMode {:?}", server.startup_mode))
            }
            Reason::UnknownPeer { peer } | Reason::TranslatedPeer { peer } => {
                (GATEWAY, peer.to_canonical().to_string())
            }
            Reason::CertificateNameMismatch { .. } => (GATEWAY, self.call.names.join(", ")),
            Reason::GatewayDisabled { gateway } | Reason::GatewayNoNewCalls { gateway } => {
                (GATEWAY_STATUS, format!("{}, status {:?}", gateway.name, gateway.status))
            }
            Reason::NoHuntGroup { called, .. } => (HUNT_GROUP, as_is(called)),
            Reason::SecurityMismatch { dial_plan, .. } => {
                (SECURITY, format!("{transport}, voIPSecurity {:?}", dial_plan.voip_security))
            }
            Reason::CertificateMissing { dial_plan } => {
                (SECURITY, format!("no certificate, voIPSecurity {:?}", dial_plan.voip_security))
            }
            Reason::AudioMismatch { dial_plan } => (AUDIO, offered(self.call.audio, dial_plan)),
            Reason::AttendantDisabled { pilot, .. } => (ATTENDANT, pilot.to_owned()),
            Reason::NotANumberOfThePlan { .. } | Reason::NoSuchUser { .. } => {
                (CALLED_USER, as_is(self.call.called))
            }
            Reason::NoMailboxServer { mailbox } | Reason::NoProtectedServer { mailbox, .. } => {
                (MAILBOX_SERVER, in_database(mailbox))
            }
        };
        let refused = Some(Refused { code: refusal.code, next_step: refusal.next_step() });
        self.steps.push(Step { question, value, outcome: refusal.cause(), refused });
    }
}

fn question_of(rule: Rule) -> &'static str {
    match rule {
        Rule::DivertingUser => DIVERTING_USER,
        Rule::CalledUser => CALLED_USER,
    }
}

/// The database is what servers host.
fn in_database(mailbox: Option<MailboxRef<'_>>) -> String {
    match mailbox {
        Some(mailbox) => format!("mailbox {} of database {}", mailbox.name, mailbox.database),
        None => "any mailbox".to_owned(),
    }
}

fn offered(audio: OfferedAudio, plan: &DialPlan) -> String {
    let profiles = match (audio.clear, audio.encrypted) {
        (false, false) => "no offer",
        (true, false) => "RTP/AVP",
        (false, true) => "RTP/SAVP",
        (true, true) => "RTP/AVP and RTP/SAVP",
    };
    format!("{profiles}, voIPSecurity {:?}", plan.voip_security)
}

fn as_is(party: Party<'_>) -> String {
    shown(party, &|text: &str| text.to_owned())
}

/// How users of a plan are named, where that is not by their extension alone.
fn forms(plan: &DialPlan) -> String {
    let others = match plan.uri_type {
        UriType::TelExtn => "",
        UriType::SipName => " and SIP addresses",
        UriType::E164 => " and E.164 numbers",
    };
    format!("extensions of {}{others}", digits(plan))
}
