//! The order of decision 7, one behaviour a test.

use config::{
    AttendantStatus, AutoAttendant, Call, Certificate, Decision, Gateway, GatewayStatus, OfferedAudio, Route,
    ServerIdentity, ServerStatus, StartupMode, Table, Transport, UriType, UserAddress, VoIPSecurity, admit,
    route,
};

use crate::contoso::{PBX, SBC, call, directory, outcome, server, table, table_of};

fn mailbox_of<'a>(route: &Route<'a>) -> &'a str {
    route.purpose.mailbox().map(|mailbox| mailbox.name).expect("a call for a mailbox")
}

#[test]
fn a_direct_call_is_for_the_called_user() {
    assert_eq!(outcome(&table(), &call(PBX, "101")), "alice by the called user");
    assert_eq!(outcome(&table(), &call(PBX, "111")), "alice by the called user");
    assert_eq!(outcome(&table(), &call(PBX, "102")), "bob by the called user");
}

#[test]
fn an_accepted_call_names_every_object_that_decided() {
    let table = table();
    let Decision::Accept(route) = route(&table, &call(PBX, "1-0-1")) else { panic!("refused") };
    assert_eq!(route.gateway.name, "pbx");
    assert_eq!(route.hunt_group.name, "everyone");
    assert_eq!(route.dial_plan.name, "contoso");
    assert_eq!(mailbox_of(&route), "alice");
    assert_eq!(route.purpose.number(), "101");
    assert_eq!(route.server.name, "mailbox-1");
    assert_eq!(route.sibling.map(|server| server.name.as_str()), Some("mailbox-2"));
}

#[test]
fn the_diverting_user_comes_before_the_called_one() {
    let diverted = Call { diverting: Some("102".into()), ..call(PBX, "101") };
    assert_eq!(outcome(&table(), &diverted), "bob by the diverting user");
}

#[test]
fn an_unknown_diverting_user_leaves_it_to_the_called_one() {
    for diverting in ["199", "14255550199", "reception", ""] {
        let diverted = Call { diverting: Some(diverting.into()), ..call(PBX, "101") };
        assert_eq!(outcome(&table(), &diverted), "alice by the called user", "{diverting}");
    }
}

#[test]
fn a_call_for_nobody_is_judged_by_the_number_that_came_first() {
    let table = table();
    assert_eq!(outcome(&table, &call(PBX, "199")), "UM1110 NoSuchUser");
    for called in ["1", "0101", "5550101", "+14255550101", "operator", "", "*98", "\r\nBYE"] {
        assert_eq!(outcome(&table, &call(PBX, called)), "UM1109 NotANumberOfThePlan", "{called}");
    }
    let diverted = |by: &'static str, called| Call { diverting: Some(by.into()), ..call(PBX, called) };
    assert_eq!(outcome(&table, &diverted("199", "5000")), "UM1110 NoSuchUser");
    assert_eq!(outcome(&table, &diverted("5000", "199")), "UM1109 NotANumberOfThePlan");
}

#[test]
fn a_longer_number_that_ends_in_an_extension_is_another_number() {
    assert_eq!(outcome(&table(), &call(PBX, "+1425555101")), "UM1109 NotANumberOfThePlan");
}

#[test]
fn a_pilot_comes_before_the_default_hunt_group() {
    let table = table();
    let Decision::Accept(route) = route(
        &table,
        &Call {
            transport: Transport::Tls,
            diverting: Some("0101".into()),
            ..call(PBX, "14255550100;phone-context=x")
        },
    ) else {
        panic!("refused")
    };
    assert_eq!((route.hunt_group.name.as_str(), mailbox_of(&route)), ("board", "carol"));
}

#[test]
fn a_pilot_may_be_a_name_and_is_then_compared_letter_by_letter() {
    let table = table();
    let diverted = |called| Call { diverting: Some("101".into()), ..call(SBC, called) };
    assert_eq!(outcome(&table, &diverted("voicemail")), "alice by the diverting user");
    assert_eq!(outcome(&table, &diverted("VoiceMail")), "UM1107 NoHuntGroup");
}

#[test]
fn a_gateway_without_a_fitting_hunt_group_reaches_nobody() {
    assert_eq!(outcome(&table(), &call(SBC, "101")), "UM1107 NoHuntGroup");
    let mut directory = directory();
    directory.hunt_groups.clear();
    assert_eq!(outcome(&Table::compile(&directory, &server()), &call(PBX, "101")), "UM1107 NoHuntGroup");
}

#[test]
fn an_unknown_peer_is_refused_whatever_it_asks_for() {
    assert_eq!(outcome(&table(), &call("192.0.2.11", "101")), "UM1102 UnknownPeer");
    assert_eq!(outcome(&table(), &call("::1", "nonsense")), "UM1102 UnknownPeer");
}

#[test]
fn a_peer_of_the_cluster_itself_is_told_that_its_address_was_translated() {
    let mut directory = directory();
    directory.cluster = vec!["10.244.0.1".parse().unwrap(), PBX.parse().unwrap()];
    let mut table = Table::compile(&directory, &server());
    assert_eq!(outcome(&table, &call("10.244.0.1", "101")), "UM1125 TranslatedPeer");
    assert_eq!(outcome(&table, &call("::ffff:10.244.0.1", "101")), "UM1125 TranslatedPeer");
    assert_eq!(outcome(&table, &call("10.244.0.2", "101")), "UM1102 UnknownPeer");
    table.add_network_gateway("10.244.0.2".parse().unwrap());
    assert_eq!(outcome(&table, &call("10.244.0.2", "101")), "UM1125 TranslatedPeer");
    // A node may be a gateway as well, if a person says so.
    assert_eq!(outcome(&table, &call(PBX, "101")), "alice by the called user");
}

#[test]
fn one_address_goes_before_a_prefix_and_a_longer_prefix_before_a_shorter_one() {
    let mut directory = directory();
    let gateway = |name: &str, prefixes: &[&str]| {
        let addresses = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
        Gateway { name: name.into(), addresses, fqdn: None, status: GatewayStatus::Enabled }
    };
    directory.gateways = vec![
        gateway("site", &["192.0.2.0/24", "2001:db8::/32"]),
        gateway("floor", &["192.0.2.0/28", "2001:db8:1::/48"]),
        gateway("desk", &["192.0.2.7"]),
    ];
    directory.cluster = vec!["192.0.2.9".parse().unwrap()];
    let table = Table::compile(&directory, &server());
    for (address, expected) in [
        ("192.0.2.7", Some("desk")),
        ("::ffff:192.0.2.7", Some("desk")),
        ("192.0.2.8", Some("floor")),
        ("192.0.2.15", Some("floor")),
        ("192.0.2.16", Some("site")),
        ("192.0.3.1", None),
        ("2001:db8:1::1", Some("floor")),
        ("2001:db8:2::1", Some("site")),
        ("2001:db9::1", None),
        // Whose calls seem to come from the cluster itself may be anybody, prefix or not.
        ("192.0.2.9", None),
    ] {
        let found = table.gateway_at(address.parse().unwrap()).map(|gateway| gateway.name.as_str());
        assert_eq!(found, expected, "{address}");
    }
    assert_eq!(outcome(&table, &call("192.0.2.9", "101")), "UM1125 TranslatedPeer");
}

#[test]
fn a_name_that_a_certificate_proves_goes_before_the_address() {
    let mut directory = directory();
    directory.gateways[0].fqdn = Some("PBX.example.com".to_owned());
    let table = Table::compile(&directory, &server());
    let shown = |peer, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let call = Call { transport: Transport::Tls, names: &names, ..call(peer, "101") };
        outcome(&table, &call)
    };
    let theirs = "alice by the called user";
    assert_eq!(shown("198.51.100.1", &["pbx.example.com"]), theirs);
    assert_eq!(shown(SBC, &["other.example", "pbx.example.com"]), theirs);
    // Without a certificate the address decides, and so it does for a gateway that has no name.
    assert_eq!(shown(PBX, &[]), theirs);
    assert_eq!(shown(SBC, &["other.example"]), "UM1107 NoHuntGroup");
    assert_eq!(shown(PBX, &["other.example"]), "UM1169 CertificateNameMismatch");
    assert_eq!(shown("198.51.100.1", &["other.example"]), "UM1102 UnknownPeer");
}

#[test]
fn outside_of_a_cluster_the_gateway_of_the_network_is_a_peer_like_others() {
    let mut table = table();
    table.add_network_gateway("10.244.0.2".parse().unwrap());
    assert_eq!(outcome(&table, &call("10.244.0.2", "101")), "UM1102 UnknownPeer");
}

#[test]
fn an_ipv4_gateway_is_known_on_a_socket_of_both_families() {
    assert_eq!(outcome(&table(), &call("::ffff:192.0.2.10", "101")), "alice by the called user");
}

#[test]
fn a_gateway_that_takes_no_calls_is_told_so() {
    let mut directory = directory();
    directory.gateways[0].status = GatewayStatus::Disabled;
    directory.gateways[1].status = GatewayStatus::NoNewCalls;
    let table = Table::compile(&directory, &server());
    assert_eq!(outcome(&table, &call(PBX, "101")), "UM1103 GatewayDisabled");
    assert_eq!(outcome(&table, &call(SBC, "101")), "UM1104 GatewayNoNewCalls");
}

#[test]
fn a_server_out_of_service_asks_nothing_else() {
    for status in [ServerStatus::Disabled, ServerStatus::NoNewCalls] {
        let table = table_of(status, StartupMode::TLS);
        assert_eq!(outcome(&table, &call("198.51.100.1", "101")), "UM1105 ServerNotInService");
    }
}

#[test]
fn the_startup_mode_says_which_transports_are_taken() {
    let taken = |mode, transport| {
        let table = table_of(ServerStatus::Enabled, mode);
        match outcome(&table, &Call { transport, ..call(PBX, "101") }).as_str() {
            "alice by the called user" => true,
            "UM1106 TransportNotAllowed" => false,
            other => panic!("{other}"),
        }
    };
    let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
    assert_eq!(all.map(|transport| taken(StartupMode::TCP, transport)), [true, true, false]);
    assert_eq!(all.map(|transport| taken(StartupMode::TLS, transport)), [false, false, true]);
    assert_eq!(all.map(|transport| taken(StartupMode::Dual, transport)), [true, true, true]);
}

#[test]
fn a_secured_dial_plan_takes_calls_over_tls_alone() {
    let mut directory = directory();
    directory.dial_plans[0].voip_security = VoIPSecurity::SIPSecured;
    let table = Table::compile(&directory, &server());
    let over = |transport| outcome(&table, &Call { transport, ..call(PBX, "101") });
    assert_eq!(over(Transport::Udp), "UM1108 SecurityMismatch");
    assert_eq!(over(Transport::Tcp), "UM1108 SecurityMismatch");
    assert_eq!(over(Transport::Tls), "alice by the called user");
}

#[test]
fn a_server_that_knows_who_signs_peers_certificates_asks_for_one_where_the_dial_plan_is_protected() {
    let certificate = |authorities: Option<&str>| {
        let authorities = authorities.map(str::to_owned);
        Some(Certificate { chain: String::new(), key: String::new(), authorities })
    };
    let proved = ["sbc.contoso.example".to_owned()];
    let with = |security, authorities, names: &[String]| {
        let mut directory = directory();
        directory.dial_plans[0].voip_security = security;
        let server = ServerIdentity { certificate: certificate(authorities), ..server() };
        let table = Table::compile(&directory, &server);
        outcome(&table, &Call { transport: Transport::Tls, names, ..call(PBX, "101") })
    };
    let taken = "alice by the called user";
    for security in [VoIPSecurity::SIPSecured, VoIPSecurity::Secured] {
        assert_eq!(with(security, Some("pem"), &[]), "UM1165 CertificateMissing");
        assert_eq!(with(security, Some("pem"), &proved), taken);
        assert_eq!(with(security, None, &[]), taken);
    }
    assert_eq!(with(VoIPSecurity::Unsecured, Some("pem"), &[]), taken);
}

#[test]
fn audio_is_offered_as_the_dial_plan_asks_or_later() {
    let offers = [(false, false), (true, false), (false, true), (true, true)];
    for (security, taken) in [
        (VoIPSecurity::Unsecured, [true, true, false, true]),
        (VoIPSecurity::SIPSecured, [true, true, false, true]),
        (VoIPSecurity::Secured, [true, false, true, true]),
    ] {
        let mut directory = directory();
        directory.dial_plans[0].voip_security = security;
        let table = Table::compile(&directory, &server());
        let with = |(clear, encrypted)| {
            let audio = OfferedAudio { clear, encrypted };
            outcome(&table, &Call { transport: Transport::Tls, audio, ..call(PBX, "101") })
        };
        let wanted =
            taken.map(|taken| if taken { "alice by the called user" } else { "UM1130 AudioMismatch" });
        assert_eq!(offers.map(with), wanted, "{security:?}");
    }
    let mut directory = directory();
    directory.dial_plans[0].voip_security = VoIPSecurity::Secured;
    let table = Table::compile(&directory, &server());
    // The signalling comes first: without it the offer is anybody's to change.
    let clear = OfferedAudio { clear: true, encrypted: false };
    assert_eq!(outcome(&table, &Call { audio: clear, ..call(PBX, "101") }), "UM1108 SecurityMismatch");
}

#[test]
fn an_access_number_is_for_users_and_comes_after_who_diverted_the_call() {
    let mut directory = directory();
    directory.dial_plans[0].access_numbers =
        vec!["+1 425 555 0500".into(), "101".into(), "OVA@Contoso.example".into()];
    let table = Table::compile(&directory, &server());
    for (called, normal) in [
        ("14255550500", "14255550500"),
        ("+1-425-555-0500;ext=1", "14255550500"),
        ("101", "101"),
        ("ova@CONTOSO.example", "ova@contoso.example"),
    ] {
        assert_eq!(outcome(&table, &call(PBX, called)), format!("access by {normal}"), "{called}");
    }
    assert_eq!(outcome(&table, &call(PBX, "102")), "bob by the called user");
    assert_eq!(outcome(&table, &call(PBX, "14255550501")), "UM1109 NotANumberOfThePlan");
    let diverted =
        |diverting: &'static str| Call { diverting: Some(diverting.into()), ..call(PBX, "14255550500") };
    assert_eq!(outcome(&table, &diverted("101")), "alice by the diverting user");
    // Whoever diverted it meant a mailbox of somebody.
    assert_eq!(outcome(&table, &diverted("199")), "UM1110 NoSuchUser");
    // The number is that of the plan which the hunt group leads to, not of every plan.
    let board = Call { transport: Transport::Tls, ..call(PBX, "14255550100") };
    assert_eq!(outcome(&table, &board), "UM1109 NotANumberOfThePlan");
}

/// The company with auto attendants of dial plan contoso, one of them disabled.
fn with_attendants() -> config::Directory {
    let mut directory = directory();
    let attendant = |name: &str, pilots: &[&str], status| AutoAttendant {
        name: name.into(),
        dial_plan: "contoso".into(),
        pilots: pilots.iter().map(|pilot| (*pilot).to_owned()).collect(),
        status,
    };
    directory.auto_attendants = vec![
        attendant("reception", &["+1 425 555 0600", "111", "Desk@contoso.example"], AttendantStatus::Enabled),
        attendant("night", &["601", "111"], AttendantStatus::Disabled),
    ];
    directory
}

#[test]
fn a_pilot_leads_to_its_auto_attendant_before_anybody_is_looked_for() {
    let mut directory = with_attendants();
    directory.dial_plans[0].access_numbers = vec!["14255550600".into()];
    let table = Table::compile(&directory, &server());
    for (called, outcome_of_it) in [
        ("14255550600", "attendant reception by 14255550600"),
        ("+1-425-555-0600;ext=1", "attendant reception by 14255550600"),
        ("desk@CONTOSO.example", "attendant reception by desk@contoso.example"),
        ("111", "attendant reception by 111"),
        ("601", "UM1134 AttendantDisabled"),
        ("desk", "UM1109 NotANumberOfThePlan"),
        ("101", "alice by the called user"),
    ] {
        assert_eq!(outcome(&table, &call(PBX, called)), outcome_of_it, "{called}");
    }
    // Whoever forwarded it, the PBX sent it to the pilot.
    let diverted = |called| Call { diverting: Some("102".into()), ..call(PBX, called) };
    assert_eq!(outcome(&table, &diverted("111")), "attendant reception by 111");
    assert_eq!(outcome(&table, &diverted("101")), "bob by the diverting user");
}

#[test]
fn a_pilot_is_one_of_its_own_dial_plan_and_of_every_gateway_that_leads_there() {
    let mut directory = with_attendants();
    let table = Table::compile(&directory, &server());
    let board = Call { transport: Transport::Tls, ..call(PBX, "14255550100") };
    assert_eq!(outcome(&table, &board), "UM1109 NotANumberOfThePlan");
    assert_eq!(outcome(&table, &call(SBC, "111")), "UM1107 NoHuntGroup");
    directory.hunt_groups[2].pilot = None;
    let table = Table::compile(&directory, &server());
    assert_eq!(outcome(&table, &call(SBC, "111")), "attendant reception by 111");
    directory.auto_attendants[0].dial_plan = "nowhere".into();
    let table = Table::compile(&directory, &server());
    assert_eq!(outcome(&table, &call(SBC, "111")), "UM1134 AttendantDisabled");
}

#[test]
fn a_call_for_an_auto_attendant_goes_to_any_server_by_its_call_id() {
    let mut directory = with_attendants();
    let servers = |directory: &config::Directory, call_id: &str| {
        let table = Table::compile(directory, &server());
        let call = Call { call_id, ..call(PBX, "111") };
        let Decision::Accept(route) = route(&table, &call) else { panic!("refused") };
        (route.server.name.clone(), route.sibling.map(|sibling| sibling.name.clone()))
    };
    let mut first = [0, 0];
    for call in 0..100 {
        let call_id = format!("call-{call}");
        let (server, sibling) = servers(&directory, &call_id);
        assert_eq!(servers(&directory, &call_id), (server.clone(), sibling.clone()), "from any router");
        assert!(sibling.is_some_and(|sibling| sibling != server));
        first[usize::from(server == "mailbox-2")] += 1;
    }
    assert!(first.iter().all(|calls| *calls > 20), "{first:?}");
    directory.mailbox_servers[0].in_service = false;
    assert_eq!(servers(&directory, "call-0"), ("mailbox-2".to_owned(), None));
}

#[test]
fn of_two_entries_that_claim_one_key_the_first_has_it() {
    let mut directory = directory();
    for list in 0..2 {
        let mut second = directory.mailboxes[list].clone();
        second.name = format!("second-{list}");
        directory.mailboxes.push(second);
    }
    let mut gateway = directory.gateways[0].clone();
    gateway.name = "second".to_owned();
    directory.gateways.push(gateway);
    let table = Table::compile(&directory, &server());
    assert_eq!(outcome(&table, &call(PBX, "101")), "alice by the called user");
    assert_eq!(table.gateway_at(PBX.parse().unwrap()).map(|gateway| gateway.name.as_str()), Some("pbx"));
}

#[test]
fn a_reference_to_nothing_never_matches() {
    let mut directory = directory();
    directory.dial_plans.remove(0);
    let table = Table::compile(&directory, &server());
    assert_eq!(outcome(&table, &call(PBX, "101")), "UM1107 NoHuntGroup");
    assert!(table.dial_plan("contoso").is_none());
    assert!(table.mailbox("alice").is_some());
}

#[test]
fn admitting_a_peer_gives_the_refusal_that_routing_would_give() {
    let table = table();
    let pbx = PBX.parse().unwrap();
    assert_eq!(admit(&table, pbx, &[], Transport::Udp).unwrap().name, "pbx");
    let stranger = admit(&table, "192.0.2.11".parse().unwrap(), &[], Transport::Udp).unwrap_err();
    assert_eq!(Decision::Refuse(stranger), route(&table, &call("192.0.2.11", "101")));
    let tls = table_of(ServerStatus::Enabled, StartupMode::TLS);
    assert_eq!(
        admit(&tls, pbx, &[], Transport::Tcp).unwrap_err().code.to_string(),
        "UM1106 TransportNotAllowed"
    );
}

/// The company with dial plan contoso of another type, and what else names alice and bob.
fn typed(uri_type: UriType, addresses: &[(usize, &str, &str)]) -> Table {
    let mut directory = directory();
    directory.dial_plans[0].uri_type = uri_type;
    for (mailbox, plan, address) in addresses {
        let address = UserAddress { dial_plan: (*plan).into(), address: (*address).into() };
        directory.mailboxes[*mailbox].addresses.push(address);
    }
    Table::compile(&directory, &server())
}

#[test]
fn a_plan_of_sip_names_knows_its_users_by_address_or_extension() {
    let table = typed(UriType::SipName, &[(0, "contoso", "alice@contoso.example"), (1, "contoso", "101@b")]);
    for (called, outcome_of_it) in [
        ("alice@contoso.example", "alice by the called user"),
        ("Alice@CONTOSO.example", "alice by the called user"),
        ("101", "alice by the called user"),
        ("101@pbx.example", "alice by the called user"),
        ("101@b", "bob by the called user"),
        ("bob@contoso.example", "UM1110 NoSuchUser"),
        ("alice@fabrikam.example", "UM1110 NoSuchUser"),
        ("199@contoso.example", "UM1110 NoSuchUser"),
        ("alice", "UM1109 NotANumberOfThePlan"),
        ("5550101", "UM1109 NotANumberOfThePlan"),
    ] {
        assert_eq!(outcome(&table, &call(PBX, called)), outcome_of_it, "{called}");
    }
    let diverted =
        Call { diverting: Some("ALICE@contoso.example".into()), ..call(PBX, "voicemail@pbx.example") };
    assert_eq!(outcome(&table, &diverted), "alice by the diverting user");
    let Decision::Accept(route) = route(&table, &diverted) else { panic!("refused") };
    assert_eq!(route.purpose.number(), "alice@contoso.example");
}

#[test]
fn a_plan_of_e164_numbers_knows_its_users_by_number_or_extension() {
    let table = typed(UriType::E164, &[(0, "contoso", "+14255550101")]);
    for (called, outcome_of_it) in [
        ("+14255550101", "alice by the called user"),
        ("1 (425) 555-0101", "alice by the called user"),
        ("+14255550101@sbc.example", "alice by the called user"),
        ("102", "bob by the called user"),
        ("+14255550102", "UM1110 NoSuchUser"),
        ("1", "UM1110 NoSuchUser"),
        ("+1425555010100000", "UM1109 NotANumberOfThePlan"),
        ("alice@contoso.example", "UM1109 NotANumberOfThePlan"),
    ] {
        assert_eq!(outcome(&table, &call(PBX, called)), outcome_of_it, "{called}");
    }
}

#[test]
fn a_plan_of_extensions_knows_nobody_by_address() {
    let table =
        typed(UriType::TelExtn, &[(0, "contoso", "alice@contoso.example"), (0, "contoso", "+14255550101")]);
    for called in ["alice@contoso.example", "+14255550101"] {
        assert_eq!(outcome(&table, &call(PBX, called)), "UM1109 NotANumberOfThePlan", "{called}");
    }
}

#[test]
fn a_user_is_reached_through_another_plan_that_has_an_address_of_theirs() {
    let table = typed(UriType::TelExtn, &[(2, "contoso", "103"), (0, "board", "0001"), (0, "nowhere", "1")]);
    let Decision::Accept(taken) = route(&table, &call(PBX, "103")) else { panic!("refused") };
    assert_eq!((mailbox_of(&taken), taken.dial_plan.name.as_str()), ("carol", "contoso"));
    let board =
        Call { transport: Transport::Tls, diverting: Some("0001".into()), ..call(PBX, "14255550100") };
    assert_eq!(outcome(&table, &board), "alice by the diverting user");
    assert_eq!(outcome(&table, &call(PBX, "0001")), "UM1109 NotANumberOfThePlan");
}

#[test]
fn a_pilot_may_be_a_sip_address_in_any_case() {
    let mut directory = directory();
    directory.hunt_groups[2].pilot = Some("VoiceMail@Contoso.example".to_owned());
    let table = Table::compile(&directory, &server());
    let diverted = |called| Call { diverting: Some("101".into()), ..call(SBC, called) };
    assert_eq!(outcome(&table, &diverted("voicemail@contoso.EXAMPLE")), "alice by the diverting user");
    assert_eq!(outcome(&table, &diverted("voicemail@fabrikam.example")), "UM1107 NoHuntGroup");
    assert_eq!(outcome(&table, &diverted("voicemail")), "UM1107 NoHuntGroup");
}
