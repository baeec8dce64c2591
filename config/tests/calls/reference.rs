//! The same decision written a second time, in the slowest and plainest way: lists are walked from
//! the front. Random companies and random calls must come out the same.

use std::net::IpAddr;

use config::{
    Call, Decision, DialPlan, Directory, Gateway, GatewayStatus, HuntGroup, Listeners, Mailbox,
    MailboxServer, Rule, ServerIdentity, ServerStatus, StartupMode, Table, Transport, VoIPSecurity, explain,
    route,
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
    Accepted {
        gateway: String,
        hunt_group: String,
        plan: String,
        mailbox: String,
        rule: Rule,
        in_service: Vec<String>,
    },
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
            VoIPSecurity::SIPSecured => vec![tls],
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
    if own.status != ServerStatus::Enabled {
        return Expected::Refused(1105);
    }
    let tls = call.transport == Transport::Tls;
    if (own.startup_mode == StartupMode::TLS && !tls) || (own.startup_mode == StartupMode::TCP && tls) {
        return Expected::Refused(1106);
    }
    let Some(gateway) =
        directory.gateways.iter().find(|gateway| plain_address(gateway.address) == plain_address(call.peer))
    else {
        return Expected::Refused(1102);
    };
    if gateway.status == GatewayStatus::Disabled {
        return Expected::Refused(1103);
    }
    if gateway.status == GatewayStatus::NoNewCalls {
        return Expected::Refused(1104);
    }
    let plan_named = |name: &str| directory.dial_plans.iter().find(|plan| plan.name == name);
    let mine = |group: &&HuntGroup| group.gateway == gateway.name && plan_named(&group.dial_plan).is_some();
    let same = |one: &str, other: &str| match (digits(one), digits(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one == other,
        _ => false,
    };
    let by_pilot = directory
        .hunt_groups
        .iter()
        .filter(mine)
        .find(|group| group.pilot.as_ref().is_some_and(|pilot| same(pilot, call.called)));
    let by_default = directory.hunt_groups.iter().filter(mine).find(|group| group.pilot.is_none());
    let Some(group) = by_pilot.or(by_default) else { return Expected::Refused(1107) };
    let plan = plan_named(&group.dial_plan).unwrap();
    if plan.voip_security == VoIPSecurity::SIPSecured && !tls {
        return Expected::Refused(1108);
    }
    let of_plan =
        |text: &str| digits(text).filter(|d| d.len() == plan.number_of_digits_in_extension as usize);
    let user = |text: &str| {
        let number = of_plan(text)?;
        directory.mailboxes.iter().find(|mailbox| {
            mailbox.dial_plan == plan.name
                && mailbox.extensions.iter().any(|extension| digits(extension).as_ref() == Some(&number))
        })
    };
    let diverted = call.diverting.and_then(user).map(|mailbox| (mailbox, Rule::DivertingUser));
    let Some((mailbox, rule)) =
        diverted.or_else(|| user(call.called).map(|mailbox| (mailbox, Rule::CalledUser)))
    else {
        let judged = call.diverting.unwrap_or(call.called);
        return Expected::Refused(if of_plan(judged).is_some() { 1110 } else { 1109 });
    };
    let in_service = in_service(directory, plan);
    if in_service.is_empty() {
        return Expected::Refused(1111);
    }
    Expected::Accepted {
        gateway: gateway.name.clone(),
        hunt_group: group.name.clone(),
        plan: plan.name.clone(),
        mailbox: mailbox.name.clone(),
        rule,
        in_service,
    }
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
        8 => select(vec!["1", "2", "12", "21", "+12", "1-2", "(2)1", "12;x=1", "+1", "voice", "", "121"])
            .prop_map(str::to_owned),
        1 => "[-+.() 0-9;a]{0,40}",
        1 => any::<String>(),
    ]
}

prop_compose! {
    fn a_gateway()(name in name(), address in address(), status in prop_oneof![
        6 => Just(GatewayStatus::Enabled), 1 => Just(GatewayStatus::Disabled), 1 => Just(GatewayStatus::NoNewCalls),
    ]) -> Gateway { Gateway { name, address, status } }
}

prop_compose! {
    fn a_hunt_group()(name in name(), gateway in name(), pilot in option::of(number()), dial_plan in name())
        -> HuntGroup { HuntGroup { name, gateway, pilot, dial_plan } }
}

prop_compose! {
    fn a_dial_plan()(name in name(), number_of_digits_in_extension in 0..4_u8, secured in prop::bool::weighted(0.2))
        -> DialPlan {
        let voip_security = if secured { VoIPSecurity::SIPSecured } else { VoIPSecurity::Unsecured };
        DialPlan { name, number_of_digits_in_extension, voip_security }
    }
}

prop_compose! {
    fn a_mailbox()(name in name(), dial_plan in name(), extensions in vec(number(), 0..3))
        -> Mailbox { Mailbox { name, dial_plan, extensions } }
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
        dial_plans in vec(a_dial_plan(), 0..5), mailboxes in vec(a_mailbox(), 0..12),
        mailbox_servers in vec(a_server(), 0..5), hosts in prop_oneof![4 => vec(name(), 32), 1 => vec(name(), 0..32)],
    ) -> Directory { Directory { gateways, cluster: Vec::new(), hunt_groups, dial_plans, mailboxes, mailbox_servers, hosts } }
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
        directory in a_directory(), own in own_server(), peer in address(),
        transport in select(vec![Transport::Udp, Transport::Tcp, Transport::Tls]),
        called in number(), diverting in option::of(number()), call_id in any::<String>(),
    ) {
        let table = Table::compile(&directory, &own);
        let call = Call { peer, transport, called: &called, diverting: diverting.as_deref(), call_id: &call_id };
        let decision = route(&table, &call);
        match (reference(&directory, &own, &call), decision) {
            (Expected::Refused(number), Decision::Refuse(refusal)) => {
                prop_assert_eq!(refusal.code.number(), number);
                prop_assert!(refusal.text().chars().all(|c| (c.is_ascii_graphic() && c != '"' && c != '\\') || c == ' '));
            }
            (Expected::Accepted { gateway, hunt_group, plan, mailbox, rule, in_service }, Decision::Accept(route)) => {
                prop_assert_eq!(&route.gateway.name, &gateway);
                prop_assert_eq!(&route.hunt_group.name, &hunt_group);
                prop_assert_eq!(&route.dial_plan.name, &plan);
                prop_assert_eq!(&route.mailbox.name, &mailbox);
                prop_assert_eq!(route.rule, rule);
                prop_assert!(in_service.contains(&route.server.name));
                if let Some(host) = host(&directory, &mailbox).filter(|host| in_service.contains(host)) {
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
