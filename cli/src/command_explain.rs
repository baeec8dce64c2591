//! `umbriel explain`: where a call would go, step by step, by the very decision that routes calls.
//!
//! Decides how steps and outcome look. Refuses to decide anything about the call: `config::explain`
//! does.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

use config::{
    Call, Code, Decision, OfferedAudio, Party, Prefix, Purpose, RouterConfig, Rule, Step, Table, Transport,
};
use miette::{IntoDiagnostic, Result, miette};
use serde::Serialize;

use crate::args::{Audio, ExplainArguments, Output, Way};
use crate::command_check::count;
use crate::folder::look;
use crate::print::say;
use crate::style::{Colour, Style};
use crate::waiting::causes;

/// Stands for the Call-ID, by which the choice among servers would differ from call to call.
const CALL_ID: &str = "explain";

/// The JSON document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained<'a> {
    called: Cow<'a, str>,
    diverting: Option<Cow<'a, str>>,
    peer: IpAddr,
    transport: String,
    steps: &'a [Step],
    outcome: Outcome<'a>,
}

/// What becomes of the call.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "result")]
enum Outcome<'a> {
    /// It is redirected.
    Accepted {
        status: u16,
        mailbox: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        auto_attendant: Option<&'a str>,
        extension: &'a str,
        rule: &'static str,
        dial_plan: &'a str,
        server: &'a str,
        server_address: IpAddr,
        sibling: Option<&'a str>,
    },
    /// It is refused.
    Refused { status: u16, code: Code, name: &'static str, cause: String, next_step: String },
}

/// Explains the call; false if it would be refused.
pub(crate) fn run(arguments: &ExplainArguments) -> Result<bool> {
    let preview = look(&arguments.folder, &arguments.names)?;
    let check = format!("see `umbriel check {}`", arguments.folder.display());
    let Some(router) = &preview.router else {
        return Err(miette!("no router can be configured from {}; {check}", arguments.folder.display()));
    };
    let peer = peer(&arguments.from, router)?;
    let table = Table::compile(&router.directory, &router.server);
    let transport = match arguments.transport {
        Way::Udp => Transport::Udp,
        Way::Tcp => Transport::Tcp,
        Way::Tls => Transport::Tls,
    };
    let called = Party::from(arguments.number.as_str());
    let diverting = arguments.diversion.as_deref().map(Party::from);
    let audio = OfferedAudio {
        clear: arguments.audio == Some(Audio::Rtp),
        encrypted: arguments.audio == Some(Audio::Srtp),
    };
    let names: Vec<String> = arguments.certificate.iter().map(|name| name.to_ascii_lowercase()).collect();
    if !names.is_empty() && transport != Transport::Tls {
        return Err(miette!("only a call by TLS shows a certificate; add --transport tls"));
    }
    let call = Call { peer, names: &names, transport, called, diverting, audio, call_id: CALL_ID };
    let (steps, decision) = config::explain(&table, &call);
    let outcome = outcome(&decision);
    let accepted = matches!(outcome, Outcome::Accepted { .. });
    let explained = Explained {
        called: called.normal(),
        diverting: diverting.map(|party| party.normal()),
        peer,
        transport: transport.to_string(),
        steps: &steps,
        outcome,
    };
    match arguments.output {
        Output::Json => say(&serde_json::to_string_pretty(&explained).into_diagnostic()?),
        Output::Text => {
            say(&render(&explained, Style::of_stdout()));
            if !preview.problems.is_empty() {
                let problems = count(causes(&preview.problems).len(), "problem");
                say(&format!("\nThe folder has {problems}, which may be why; {check}."));
            }
        }
    }
    Ok(accepted)
}

/// The address that a gateway calls from, by its name or as it is.
fn peer(from: &str, router: &RouterConfig) -> Result<IpAddr> {
    if let Ok(address) = from.parse() {
        return Ok(address);
    }
    let gateways = &router.directory.gateways;
    let named = gateways.iter().find(|gateway| gateway.name == from);
    if named.is_some_and(|gateway| gateway.addresses.is_empty()) {
        return Err(miette!(
            "nobody knows an address of gateway {from}. Give the one that the call comes from"
        ));
    }
    named.and_then(|gateway| gateway.addresses.first()).map(Prefix::first).ok_or_else(|| {
        let names: Vec<&str> = gateways.iter().map(|gateway| gateway.name.as_str()).collect();
        let known = match names.as_slice() {
            [] => "there are none".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        miette!("no gateway is named {from:?}; {known}. Give one of them, or an address")
    })
}

fn outcome<'a>(decision: &Decision<'a>) -> Outcome<'a> {
    match decision {
        Decision::Accept(route) => Outcome::Accepted {
            status: 302,
            mailbox: route.purpose.mailbox().map(|mailbox| mailbox.name),
            auto_attendant: match route.purpose {
                Purpose::AutoAttendant { attendant, .. } => Some(&attendant.name),
                Purpose::CallAnswering { .. } | Purpose::SubscriberAccess { .. } => None,
            },
            extension: route.purpose.number(),
            rule: match route.purpose {
                Purpose::CallAnswering { rule: Rule::DivertingUser, .. } => "divertingUser",
                Purpose::CallAnswering { rule: Rule::CalledUser, .. } => "calledUser",
                Purpose::SubscriberAccess { .. } => "accessNumber",
                Purpose::AutoAttendant { .. } => "autoAttendant",
            },
            dial_plan: &route.dial_plan.name,
            server: &route.server.name,
            server_address: route.server.address,
            sibling: route.sibling.map(|sibling| sibling.name.as_str()),
        },
        Decision::Refuse(refusal) => Outcome::Refused {
            status: refusal.code.sip_status(),
            code: refusal.code,
            name: refusal.code.name(),
            cause: refusal.cause(),
            next_step: refusal.next_step(),
        },
    }
}

fn render(explained: &Explained<'_>, style: Style) -> String {
    let mut text =
        format!("A call to {} from {} by {}", explained.called, explained.peer, explained.transport);
    if let Some(user) = &explained.diverting {
        let _ = write!(text, ", diverted from {user}");
    }
    text += "\n\n";
    for step in explained.steps {
        let (mark, colour) =
            if step.refused.is_some() { ("✗", Colour::Red) } else { ("✓", Colour::Green) };
        let mark = style.paint(colour, mark);
        let value = style.paint(Colour::Dim, &step.value);
        let _ = writeln!(text, "  {mark} {}\n      {value} → {}", step.question, step.outcome);
    }
    text.push('\n');
    match &explained.outcome {
        Outcome::Accepted {
            status,
            mailbox,
            auto_attendant,
            extension,
            server,
            server_address,
            sibling,
            ..
        } => {
            let purpose = match (mailbox, auto_attendant) {
                (Some(mailbox), _) => format!("for mailbox {mailbox} (extension {extension})"),
                (None, Some(name)) => format!("for auto attendant {name} (pilot {extension})"),
                (None, None) => format!("for access to a mailbox (access number {extension})"),
            };
            let line = format!("{status}: to mailbox server {server} at {server_address}, {purpose}");
            text += &style.paint(Colour::Green, &line);
            if let Some(sibling) = sibling {
                let _ = write!(text, "\n  and if it does not answer, to {sibling}");
            }
        }
        Outcome::Refused { status, code, cause, next_step, .. } => {
            text += &style.paint(Colour::Red, &format!("{status}: refused, {code}"));
            let _ = write!(
                text,
                "\n  why         {cause}\n  what to do  {next_step}\n  more        docs/codes/{}.md",
                code.id()
            );
        }
    }
    text
}
