//! A small company: two gateways, three hunt groups, two dial plans, three mailboxes, two servers.

use config::{
    Call, Decision, Directory, OfferedAudio, Purpose, Rule, ServerIdentity, ServerStatus, StartupMode, Table,
    Transport, route,
};

pub(crate) const PBX: &str = "192.0.2.10";
pub(crate) const SBC: &str = "2001:db8::20";

const DIRECTORY: &str = "
gateways:
  - {name: pbx, addresses: [192.0.2.10], status: Enabled}
  - {name: sbc, addresses: ['2001:db8::20'], status: Enabled}
huntGroups:
  - {name: everyone, gateway: pbx, dialPlan: contoso}
  - {name: board, gateway: pbx, pilot: '+1 425-555-0100', dialPlan: board}
  - {name: sbc-pilot, gateway: sbc, pilot: voicemail, dialPlan: contoso}
dialPlans:
  - {name: contoso, numberOfDigitsInExtension: 3, voipSecurity: Unsecured}
  - {name: board, numberOfDigitsInExtension: 4, voipSecurity: SIPSecured}
mailboxes:
  - {name: alice, dialPlan: contoso, extensions: ['101', '111']}
  - {name: bob, dialPlan: contoso, extensions: ['102']}
  - {name: carol, dialPlan: board, extensions: ['0101']}
mailboxServers:
  - {name: mailbox-1, address: 192.0.2.1, listeners: {udp: 5062, tcp: 5062, tls: 5063}, inService: true}
  - {name: mailbox-2, address: 192.0.2.2, listeners: {udp: 5062, tcp: 5062}, inService: true}
# alice is in database 1, carol in 2 and bob in 10.
hosts: [
    mailbox-1, mailbox-1, mailbox-1, mailbox-1, mailbox-1, mailbox-1, mailbox-1, mailbox-1, mailbox-1, mailbox-1,
    mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2,
    mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2, mailbox-2,
  ]
";

pub(crate) fn directory() -> Directory {
    serde_yaml::from_str(DIRECTORY).unwrap()
}

pub(crate) fn server() -> ServerIdentity {
    serde_yaml::from_str("{name: router, status: Enabled, startupMode: Dual, listeners: {udp: 5060}}")
        .unwrap()
}

pub(crate) fn table() -> Table {
    Table::compile(&directory(), &server())
}

pub(crate) fn table_of(status: ServerStatus, startup_mode: StartupMode) -> Table {
    Table::compile(&directory(), &ServerIdentity { status, startup_mode, ..server() })
}

/// A call over UDP for `called` that nobody diverted.
pub(crate) fn call<'a>(peer: &str, called: &'a str) -> Call<'a> {
    Call {
        peer: peer.parse().unwrap(),
        names: &[],
        transport: Transport::Udp,
        called: called.into(),
        diverting: None,
        audio: OfferedAudio::default(),
        call_id: "a84b4c76e66710",
    }
}

/// What became of a call, short enough to compare: `alice by CalledUser`, `UM1102 UnknownPeer`.
pub(crate) fn outcome(table: &Table, call: &Call<'_>) -> String {
    match route(table, call) {
        Decision::Accept(route) => match route.purpose {
            Purpose::CallAnswering { mailbox, rule: Rule::DivertingUser, .. } => {
                format!("{} by the diverting user", mailbox.name)
            }
            Purpose::CallAnswering { mailbox, rule: Rule::CalledUser, .. } => {
                format!("{} by the called user", mailbox.name)
            }
            Purpose::SubscriberAccess { number } => format!("access by {number}"),
            Purpose::AutoAttendant { attendant, pilot } => format!("attendant {} by {pilot}", attendant.name),
        },
        Decision::Refuse(refusal) => refusal.code.to_string(),
    }
}
