//! The same decision written a second time, in the slowest and plainest way: lists are walked from
//! the front. Random companies and random calls must come out the same.

use std::net::IpAddr;

use config::{
    AttendantStatus, AutoAttendant, Call, Decision, DialPlan, Directory, Gateway, GatewayStatus, HuntGroup,
    Listeners, Mailbox, MailboxServer, OfferedAudio, Party, Prefix, Purpose, Rule, ServerIdentity,
    ServerStatus, StartupMode, Table, Transport, UriType, UserAddress, VoIPSecurity, explain, route,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::contoso::server;

/// What a decision comes down to.
#[derive(Debug, PartialEq)]
enum Expected {
    Refused(u16),
    Accepted { gateway: String, hunt_group: String, plan: String, purpose: Wanted, in_service: Vec<String> },
}

/// What a call is for.
#[derive(Debug, PartialEq)]
enum Wanted {
    Mailbox(String, Rule),
    Access,
    Attendant(String),
}

/// The digits of a number, or nothing if it is none.
fn digits(text: &str) -> Option<String> {
    let before_parameters = &text[..text.find(';').unwrap_or(text.len())];
    let trimmed = before_parameters.trim();
    let local = trimmed.strip_prefix('+').unwrap_or(trimmed);
    let kept = local.replace(['-', '.', '(', ')', ' '], "");
    let fits = !kept.is_empty() && kept.len() <= 32 && kept.chars().all(|c| c.is_ascii_digit());
    fits.then_some(kept)
}

/// What a user is called by, if it is no number: the address, all of it small, and the user alone.
fn names(party: Party<'_>) -> (Option<String>, String) {
    let address = format!("{}@{}", party.user, party.domain).to_ascii_lowercase();
    let is_one = !party.user.is_empty() && !party.domain.is_empty() && address.len() <= 254;
    (is_one.then_some(address), party.user.to_owned())
}

/// A text that a person wrote, cut at the last `@`.
fn written(text: &str) -> Party<'_> {
    match text.rfind('@') {
        Some(at) => Party { user: &text[..at], domain: &text[at + 1..] },
        None => Party { user: text, domain: "" },
    }
}

fn plain_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The servers that are in service and have a port that calls of the plan may come to.
fn in_service(directory: &Directory, plan: &DialPlan) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, candidate) in directory.mailbox_servers.iter().enumerate() {
        let shadowed =
            directory.mailbox_servers[..index].iter().any(|earlier| earlier.name == candidate.name);
        let Listeners { udp, tcp, tls } = candidate.listeners;
        let ports = match plan.voip_security {
            VoIPSecurity::SIPSecured | VoIPSecurity::Secured => vec![tls],
            VoIPSecurity::Unsecured => vec![udp, tcp, tls],
        };
        let has_port = ports.iter().any(Option::is_some);
        if candidate.in_service && has_port && !shadowed {
            names.push(candidate.name.clone());
        }
    }
    names
}

/// The host of a mailbox, by where its name belongs.
fn host<'d>(directory: &'d Directory, mailbox: &str) -> Option<&'d String> {
    let database = match mailbox {
        "a" => 19,
        "b" => 14,
        "c" => 18,
        other => panic!("no test calls a mailbox {other}"),
    };
    directory.hosts.get(database)
}

fn reference(directory: &Directory, own: &ServerIdentity, call: &Call<'_>) -> Expected {
    decide(directory, own, call).unwrap_or_else(Expected::Refused)
}

fn decide(directory: &Directory, own: &ServerIdentity, call: &Call<'_>) -> Result<Expected, u16> {
    let gateway = gateway(directory, own, call)?;
    let (group, plan) = hunt_group(directory, gateway, call).ok_or(1107_u16)?;
    if plan.voip_security != VoIPSecurity::Unsecured && call.transport != Transport::Tls {
        return Err(1108);
    }
    let (wanted, other) = match plan.voip_security {
        VoIPSecurity::Secured => (call.audio.encrypted, call.audio.clear),
        VoIPSecurity::Unsecured | VoIPSecurity::SIPSecured => (call.audio.clear, call.audio.encrypted),
    };
    if other && !wanted {
        return Err(1130);
    }
    let purpose = match attendant(directory, plan, call) {
        Some(attendant) if attendant.status == AttendantStatus::Disabled => return Err(1134),
        Some(attendant) => Wanted::Attendant(attendant.name.clone()),
        None if is_access(plan, call) => Wanted::Access,
        None => {
            let (mailbox, rule) = user_and_rule(directory, plan, call)?;
            Wanted::Mailbox(mailbox, rule)
        }
    };
    let in_service = in_service(directory, plan);
    if in_service.is_empty() {
        return Err(1111);
    }
    Ok(Expected::Accepted {
        gateway: gateway.name.clone(),
        hunt_group: group.name.clone(),
        plan: plan.name.clone(),
        purpose,
        in_service,
    })
}

fn gateway<'d>(directory: &'d Directory, own: &ServerIdentity, call: &Call<'_>) -> Result<&'d Gateway, u16> {
    if own.status != ServerStatus::Enabled {
        return Err(1105);
    }
    let tls = call.transport == Transport::Tls;
    if (own.startup_mode == StartupMode::TLS && !tls) || (own.startup_mode == StartupMode::TCP && tls) {
        return Err(1106);
    }
    let gateway = gateway_of(directory, call)?;
    match gateway.status {
        GatewayStatus::Enabled => Ok(gateway),
        GatewayStatus::Disabled => Err(1103),
        GatewayStatus::NoNewCalls => Err(1104),
    }
}

/// A proved name before any address, and the longest prefix before the others.
fn gateway_of<'d>(directory: &'d Directory, call: &Call<'_>) -> Result<&'d Gateway, u16> {
    let of = |name: &String| directory.gateways.iter().find(|gateway| gateway.fqdn.as_ref() == Some(name));
    if let Some(gateway) = call.names.iter().find_map(of) {
        return Ok(gateway);
    }
    let address = bits(plain_address(call.peer));
    let mut best: Option<(usize, &Gateway)> = None;
    for gateway in &directory.gateways {
        for prefix in &gateway.addresses {
            let text = prefix.to_string();
            let (first, length) = text.split_once('/').unwrap_or((&text, "128"));
            let first = bits(first.parse().unwrap());
            let length = length.parse::<usize>().unwrap().min(first.len());
            let fits = first.len() == address.len() && first[..length] == address[..length];
            if fits && best.is_none_or(|(longest, _)| length > longest) {
                best = Some((length, gateway));
            }
        }
    }
    let (_, gateway) = best.ok_or(1102_u16)?;
    if gateway.fqdn.is_some() && !call.names.is_empty() { Err(1169) } else { Ok(gateway) }
}

/// An address, bit by bit.
fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{:032b}", u32::from(v4)),
        IpAddr::V6(v6) => format!("{:0128b}", u128::from(v6)),
    }
}

fn hunt_group<'d>(
    directory: &'d Directory,
    gateway: &Gateway,
    call: &Call<'_>,
) -> Option<(&'d HuntGroup, &'d DialPlan)> {
    let plan_named = |name: &str| directory.dial_plans.iter().find(|plan| plan.name == name);
    let mine = |group: &&HuntGroup| group.gateway == gateway.name && plan_named(&group.dial_plan).is_some();
    let pilot = |wanted: &str| {
        directory
            .hunt_groups
            .iter()
            .filter(mine)
            .find(|group| group.pilot.as_deref().is_some_and(|pilot| normal(written(pilot)) == wanted))
    };
    let by_pilot = match (digits(call.called.user), names(call.called)) {
        (Some(digits), _) => pilot(&digits),
        (None, (address, user)) => address.and_then(|address| pilot(&address)).or_else(|| pilot(&user)),
    };
    let by_default = || directory.hunt_groups.iter().filter(mine).find(|group| group.pilot.is_none());
    let group = by_pilot.or_else(by_default)?;
    Some((group, plan_named(&group.dial_plan)?))
}

fn normal(party: Party<'_>) -> String {
    digits(party.user).or(names(party).0).unwrap_or(names(party).1)
}

/// What a called party is looked for as, the most telling first: a name with a domain is called by the name
/// alone where nobody has it with that domain.
fn looked_for(called: Party<'_>) -> Vec<String> {
    let alone = digits(called.user).is_none().then(|| names(called).1);
    std::iter::once(normal(called)).chain(alone).collect()
}

fn attendant<'d>(directory: &'d Directory, plan: &DialPlan, call: &Call<'_>) -> Option<&'d AutoAttendant> {
    let has = |attendant: &&AutoAttendant, form: &String| {
        attendant.dial_plan == plan.name
            && attendant.pilots.iter().any(|pilot| normal(written(pilot)) == *form)
    };
    let of = |form: &String| directory.auto_attendants.iter().find(|attendant| has(attendant, form));
    looked_for(call.called).iter().find_map(of)
}

fn is_access(plan: &DialPlan, call: &Call<'_>) -> bool {
    let numbers: Vec<String> = plan.access_numbers.iter().map(|number| normal(written(number))).collect();
    call.diverting.is_none() && looked_for(call.called).iter().any(|form| numbers.contains(form))
}

/// Everything by which a plan may know somebody, the most telling first.
fn forms(plan: &DialPlan, party: Party<'_>) -> Vec<String> {
    let has_digits = |digits: &String| {
        digits.len() == plan.number_of_digits_in_extension as usize
            || plan.uri_type == UriType::E164 && digits.len() <= 15
    };
    let address = names(party).0.filter(|_| plan.uri_type == UriType::SipName);
    address.into_iter().chain(digits(party.user).filter(has_digits)).collect()
}

fn user_and_rule(directory: &Directory, plan: &DialPlan, call: &Call<'_>) -> Result<(String, Rule), u16> {
    let owner = |form: &String| {
        directory.mailboxes.iter().find(|mailbox| {
            let own = mailbox.extensions.iter().filter(|_| mailbox.dial_plan == plan.name);
            let more = mailbox.addresses.iter().filter(|address| address.dial_plan == plan.name);
            let mut all = own.chain(more.map(|address| &address.address));
            all.any(|text| forms(plan, written(text)).first() == Some(form))
        })
    };
    let user = |party: Party<'_>| forms(plan, party).iter().find_map(owner);
    let diverted = call.diverting.and_then(user).map(|mailbox| (mailbox, Rule::DivertingUser));
    let found = diverted.or_else(|| user(call.called).map(|mailbox| (mailbox, Rule::CalledUser)));
    let (mailbox, rule) = found.ok_or_else(|| {
        let judged = call.diverting.unwrap_or(call.called);
        if forms(plan, judged).is_empty() { 1109_u16 } else { 1110 }
    })?;
    Ok((mailbox.name.to_owned(), rule))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just("a"), 3 => Just("b"), 1 => Just("c")].prop_map(str::to_owned)
}

fn address() -> impl Strategy<Value = IpAddr> {
    select(vec!["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "2001:db8::1"])
        .prop_map(|address| address.parse().unwrap())
}

/// Mostly numbers that are likely to meet, sometimes anything.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(vec!["1", "2", "12", "21", "+12", "1-2", "(2)1", "12;x=1", "+1", "voice", "Voice", "", "121"])
            .prop_map(str::to_owned),
        1 => "[-+.() 0-9;a]{0,40}",
        1 => any::<String>(),
    ]
}

/// A number or name, and where it belongs.
fn text() -> impl Strategy<Value = String> {
    let domain = select(vec!["", "", "@a", "@A", "@b.example", "@192.0.2.1", "@"]);
    (number(), domain).prop_map(|(user, domain)| format!("{user}{domain}"))
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let prefixes = [
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "192.0.2.0/30",
        "192.0.2.0/31",
        "192.0.0.0/16",
        "0.0.0.0/0",
        "2001:db8::/32",
        "2001:db8::/127",
        "::/0",
        "::ffff:192.0.2.0/120",
    ];
    select(prefixes.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn fqdn() -> impl Strategy<Value = String> {
    select(vec!["a.example", "b.example"]).prop_map(str::to_owned)
}

prop_compose! {
    fn a_gateway()(name in name(), addresses in vec(prefix(), 0..3), fqdn in option::weighted(0.2, fqdn()), status in prop_oneof![
        6 => Just(GatewayStatus::Enabled), 1 => Just(GatewayStatus::Disabled), 1 => Just(GatewayStatus::NoNewCalls),
    ]) -> Gateway { Gateway { name, addresses, fqdn, status } }
}

prop_compose! {
    fn a_hunt_group()(name in name(), gateway in name(), pilot in option::of(text()), dial_plan in name())
        -> HuntGroup { HuntGroup { name, gateway, pilot, dial_plan } }
}

prop_compose! {
    fn a_dial_plan()(
        name in name(), number_of_digits_in_extension in 0..4_u8, voip_security in prop_oneof![
            4 => Just(VoIPSecurity::Unsecured), 1 => Just(VoIPSecurity::SIPSecured), 1 => Just(VoIPSecurity::Secured),
        ],
        access_numbers in vec(text(), 0..2),
        uri_type in select(vec![UriType::TelExtn, UriType::SipName, UriType::E164]),
    ) -> DialPlan {
        DialPlan { name, number_of_digits_in_extension, uri_type, voip_security, access_numbers }
    }
}

prop_compose! {
    fn an_attendant()(
        name in name(), dial_plan in name(), pilots in vec(text(), 0..3),
        status in select(vec![AttendantStatus::Enabled, AttendantStatus::Enabled, AttendantStatus::Disabled]),
    ) -> AutoAttendant { AutoAttendant { name, dial_plan, pilots, status } }
}

prop_compose! {
    fn an_address()(dial_plan in name(), address in text()) -> UserAddress { UserAddress { dial_plan, address } }
}

prop_compose! {
    fn a_mailbox()(
        name in name(), dial_plan in name(), extensions in vec(number(), 0..3),
        addresses in vec(an_address(), 0..3),
    ) -> Mailbox { Mailbox { name, dial_plan, extensions, addresses } }
}

prop_compose! {
    fn a_server()(
        name in name(), address in address(), in_service in prop::bool::weighted(0.7),
        (udp, tcp, tls) in (prop::bool::weighted(0.7), any::<bool>(), any::<bool>()),
    ) -> MailboxServer {
        let port = |there: bool, port: u16| there.then_some(port);
        let listeners = Listeners { udp: port(udp, 5062), tcp: port(tcp, 5062), tls: port(tls, 5063) };
        MailboxServer { name, address, listeners, media_ports: Vec::new(), in_service }
    }
}

prop_compose! {
    fn a_directory()(
        gateways in vec(a_gateway(), 0..5), hunt_groups in vec(a_hunt_group(), 0..12),
        auto_attendants in vec(an_attendant(), 0..3),
        dial_plans in vec(a_dial_plan(), 0..5), mailboxes in vec(a_mailbox(), 0..12),
        mailbox_servers in vec(a_server(), 0..5), hosts in prop_oneof![4 => vec(name(), 32), 1 => vec(name(), 0..32)],
    ) -> Directory { Directory { gateways, cluster: Vec::new(), hunt_groups, dial_plans, auto_attendants, mailboxes, mailbox_servers, hosts } }
}

prop_compose! {
    fn own_server()(
        status in prop_oneof![
            8 => Just(ServerStatus::Enabled), 1 => Just(ServerStatus::Disabled), 1 => Just(ServerStatus::NoNewCalls),
        ],
        startup_mode in prop_oneof![
            1 => Just(StartupMode::TCP), 1 => Just(StartupMode::TLS), 6 => Just(StartupMode::Dual),
        ],
    ) -> ServerIdentity { ServerIdentity { status, startup_mode, ..server() } }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn routing_agrees_with_the_reference(
        directory in a_directory(), own in own_server(), peer in address(), names in vec(fqdn(), 0..2),
        transport in select(vec![Transport::Udp, Transport::Tcp, Transport::Tls]),
        called in text(), diverting in option::of(text()), call_id in any::<String>(),
        (clear, encrypted) in any::<(bool, bool)>(),
    ) {
        let table = Table::compile(&directory, &own);
        let (called, diverting) = (written(&called), diverting.as_deref().map(written));
        let audio = OfferedAudio { clear, encrypted };
        let call = Call { peer, names: &names, transport, called, diverting, audio, call_id: &call_id };
        let decision = route(&table, &call);
        match (reference(&directory, &own, &call), decision) {
            (Expected::Refused(number), Decision::Refuse(refusal)) => {
                prop_assert_eq!(refusal.code.number(), number);
                prop_assert!(refusal.text().chars().all(|c| (c.is_ascii_graphic() && c != '"' && c != '\\') || c == ' '));
            }
            (Expected::Accepted { gateway, hunt_group, plan, purpose, in_service }, Decision::Accept(route)) => {
                prop_assert_eq!(&route.gateway.name, &gateway);
                prop_assert_eq!(&route.hunt_group.name, &hunt_group);
                prop_assert_eq!(&route.dial_plan.name, &plan);
                let said = match route.purpose {
                    Purpose::CallAnswering { mailbox, rule, .. } => Wanted::Mailbox(mailbox.name.to_owned(), rule),
                    Purpose::SubscriberAccess { .. } => Wanted::Access,
                    Purpose::AutoAttendant { attendant, .. } => Wanted::Attendant(attendant.name.clone()),
                };
                prop_assert_eq!(&said, &purpose);
                let mailbox = match purpose {
                    Wanted::Mailbox(mailbox, _) => Some(mailbox),
                    Wanted::Access | Wanted::Attendant(_) => None,
                };
                prop_assert!(in_service.contains(&route.server.name));
                if let Some(host) = mailbox.and_then(|name| host(&directory, &name)).filter(|host| in_service.contains(host)) {
                    prop_assert_eq!(&route.server.name, host);
                }
                prop_assert_eq!(route.sibling.is_some(), in_service.len() > 1);
                if let Some(sibling) = route.sibling {
                    prop_assert!(in_service.contains(&sibling.name) && sibling.name != route.server.name);
                }
            }
            (expected, decision) => prop_assert!(false, "expected {expected:?}, got {decision:?}"),
        }
        let (steps, explained) = explain(&table, &call);
        prop_assert_eq!(explained, decision);
        let refused = steps.iter().filter(|step| step.refused.is_some()).count();
        prop_assert_eq!(refused, usize::from(matches!(decision, Decision::Refuse(_))));
    }
}
