//! What is told about a decision: steps, refusal texts, and that they are harmless.

use config::{
    Call, Certificate, Decision, OfferedAudio, ServerIdentity, ServerStatus, StartupMode, Table, Transport,
    UriType, VoIPSecurity, explain, route,
};

use crate::contoso::{PBX, SBC, call, directory, server, table, table_of};

fn told(table: &Table, call: &Call<'_>) -> String {
    let (steps, decision) = explain(table, call);
    assert_eq!(decision, route(table, call));
    steps.iter().map(|step| format!("{step}\n")).collect()
}

fn refusal_text(table: &Table, call: &Call<'_>) -> String {
    match route(table, call) {
        Decision::Refuse(refusal) => refusal.text(),
        Decision::Accept(route) => panic!("accepted: {:?}", route.purpose),
    }
}

#[test]
fn an_accepted_call_is_explained_step_by_step() {
    let expected = "\
Does this server take calls? router, status Enabled: yes
Does it take calls over this transport? UDP, umStartupMode Dual: yes
Which gateway calls from this address? 192.0.2.10: pbx
Are calls of this gateway taken? pbx, status Enabled: yes
Which hunt group has the called number as its pilot? 101: none, so the default one, everyone
Which dial plan does the hunt group lead to? everyone: contoso, extensions of 3 digits
Is the signalling protected as the dial plan asks? UDP, voIPSecurity Unsecured: yes
Is the audio offered as the dial plan asks? no offer, voIPSecurity Unsecured: yes
Was the call diverted from a user? no Diversion or History-Info: no
Is the called number that of a user? 101: mailbox alice
Which mailbox server takes the call? mailbox alice of database 1: mailbox-1, its host; then mailbox-2
";
    assert_eq!(told(&table(), &call(PBX, "101")), expected);
}

#[test]
fn a_refused_call_ends_with_the_code_and_the_next_step() {
    let diverted = Call { diverting: Some("199".into()), ..call(SBC, "voicemail") };
    let told = told(&table(), &diverted);
    let expected = "\
Which hunt group has the called number as its pilot? voicemail: sbc-pilot
Which dial plan does the hunt group lead to? sbc-pilot: contoso, extensions of 3 digits
Is the signalling protected as the dial plan asks? UDP, voIPSecurity Unsecured: yes
Is the audio offered as the dial plan asks? no offer, voIPSecurity Unsecured: yes
Was the call diverted from a user? 199: nobody of this dial plan has it
Is the called number that of a user? voicemail: nobody in dial plan contoso has the diverting number 199, \
and the called number is nobody's
  UM1110 NoSuchUser; create a UMMailbox with 199 in spec.extensions
";
    assert_eq!(told.split_inclusive('\n').skip(4).collect::<String>(), expected);
}

#[test]
fn every_refusal_names_the_value_the_rule_and_the_next_step() {
    let table = table();
    assert_eq!(
        refusal_text(&table, &call("198.51.100.7", "101")),
        "198.51.100.7 is not the address of any UMIPGateway; \
         create a UMIPGateway with spec.address 198.51.100.7, if it may call"
    );
    let mut inside = directory();
    inside.cluster = vec!["10.244.0.1".parse().unwrap()];
    assert_eq!(
        refusal_text(&Table::compile(&inside, &server()), &call("10.244.0.1", "101")),
        "10.244.0.1 belongs to the cluster itself, so the caller's own address was lost on the way; \
         call by the Service that the UMCallRouter's exposure makes, or one with externalTrafficPolicy Local"
    );
    assert_eq!(
        refusal_text(&table, &call(SBC, "101")),
        "no UMHuntGroup of gateway sbc has pilot 101, and none is without a pilot; \
         create a UMHuntGroup with spec.umIPGateway sbc"
    );
    assert_eq!(
        refusal_text(&table, &call(PBX, "5550101")),
        "the called number 5550101 does not have 3 digits, as every number of dial plan contoso has; \
         send the extension as 3 digits, without a prefix"
    );
    assert_eq!(
        refusal_text(&table, &call(PBX, "199")),
        "nobody in dial plan contoso has the called number 199; create a UMMailbox with 199 in spec.extensions"
    );
    assert_eq!(
        refusal_text(&table, &Call { transport: Transport::Tls, ..call(PBX, "14255550100") }),
        "the called number 14255550100 does not have 4 digits, as every number of dial plan board has; \
         let the PBX name the user in a Diversion header when it forwards to a pilot"
    );
    assert_eq!(
        refusal_text(&table, &call(PBX, "14255550100")),
        "dial plan board asks for TLS and the call came over UDP; \
         call over TLS, or set spec.voIPSecurity of UMDialPlan board to Unsecured"
    );
    let certificate =
        Certificate { chain: String::new(), key: String::new(), authorities: Some(String::new()) };
    let asking = Table::compile(&directory(), &ServerIdentity { certificate: Some(certificate), ..server() });
    assert_eq!(
        refusal_text(&asking, &Call { transport: Transport::Tls, ..call(PBX, "14255550100") }),
        "dial plan board asks for mutual TLS and the peer has proved no name by a certificate; let the peer \
         show a certificate that one in ca.crt of the server's certificateSecret has signed"
    );
    assert_eq!(
        refusal_text(&table_of(ServerStatus::NoNewCalls, StartupMode::Dual), &call(PBX, "101")),
        "server router takes no new calls; set spec.status of router to Enabled, or call another server"
    );
    assert_eq!(
        refusal_text(&table_of(ServerStatus::Enabled, StartupMode::TLS), &call(PBX, "101")),
        "server router takes no calls over UDP with umStartupMode TLS; \
         call over TLS, or set spec.umStartupMode to Dual"
    );
}

#[test]
fn a_refusal_that_may_pass_says_when_to_try_again() {
    let retry_after_s = |table: &Table, call: &Call<'_>| match route(table, call) {
        Decision::Refuse(refusal) => refusal.retry_after_s(),
        Decision::Accept(_) => panic!("accepted"),
    };
    assert_eq!(
        retry_after_s(&table_of(ServerStatus::Disabled, StartupMode::Dual), &call(PBX, "101")),
        Some(30)
    );
    assert_eq!(retry_after_s(&table(), &call(PBX, "199")), None);
}

#[test]
fn numbers_in_a_text_can_be_hidden() {
    let table = table();
    let hidden = |called| match route(&table, &call(PBX, called)) {
        Decision::Refuse(refusal) => refusal.text_with(|_| "(hidden)".to_owned()),
        Decision::Accept(_) => panic!("accepted"),
    };
    assert!(!hidden("199").contains("199"));
    assert!(!hidden("5550101").contains("5550101"));
}

#[test]
fn what_a_peer_wrote_cannot_break_out_of_a_header_or_a_line() {
    let text = refusal_text(&table(), &call(PBX, "1\r\nVia: x\"\\\u{7}ü\u{2028}"));
    assert!(text.starts_with("the called number 1??Via: x????? does not have"), "{text}");
    let long = "9".repeat(5000);
    assert!(refusal_text(&table(), &call(PBX, &long)).len() < 250);
}

#[test]
fn a_decision_takes_as_many_steps_in_a_large_company_as_in_a_small_one() {
    let mut directory = directory();
    let steps = |directory: &config::Directory| {
        explain(&Table::compile(directory, &server()), &call(PBX, "102")).0.len()
    };
    let few = steps(&directory);
    for n in 0..5000 {
        let mut mailbox = directory.mailboxes[0].clone();
        mailbox.name = format!("user-{n}");
        mailbox.extensions = vec![format!("9{n:04}")];
        directory.mailboxes.push(mailbox);
    }
    assert_eq!((few, steps(&directory)), (11, 11));
}

#[test]
fn whoever_is_named_is_shown_in_normal_form() {
    let mut directory = directory();
    directory.dial_plans[0].uri_type = UriType::SipName;
    let table = Table::compile(&directory, &server());
    assert!(
        told(&table, &call(PBX, "+1-01")).contains("Is the called number that of a user? 101: mailbox alice")
    );
    assert!(told(&table, &call(PBX, "101")).contains("contoso, extensions of 3 digits and SIP addresses"));
    assert_eq!(
        refusal_text(&table, &call(PBX, "Dave@Contoso.example")),
        "nobody in dial plan contoso has the called number dave@contoso.example; \
         create a UMMailbox with dave@contoso.example as spec.sipResourceIdentifier"
    );
    assert_eq!(
        refusal_text(&table, &call(PBX, "199@contoso.example")),
        "nobody in dial plan contoso has the called number 199; create a UMMailbox with 199 in spec.extensions"
    );
    assert_eq!(
        refusal_text(&table, &call(PBX, "5 55.01")),
        "the called number 55501 is neither a SIP address nor an extension of 3 digits, \
         as every number of dial plan contoso is; send the address with its domain, or the extension alone"
    );
    directory.dial_plans[0].uri_type = UriType::E164;
    let table = Table::compile(&directory, &server());
    assert_eq!(
        refusal_text(&table, &call(PBX, "dave")),
        "the called number dave is neither an E.164 number nor an extension of 3 digits, \
         as every number of dial plan contoso is; send the whole number, or the extension alone"
    );
    assert_eq!(
        refusal_text(&table, &call(PBX, "+1 425 555 0199")),
        "nobody in dial plan contoso has the called number 14255550199; \
         create a UMMailbox with 14255550199 as spec.sipResourceIdentifier"
    );
}

#[test]
fn an_access_number_is_told_of_where_the_plan_has_one() {
    let mut directory = directory();
    directory.dial_plans[0].access_numbers = vec!["+14255550500".into()];
    let table = Table::compile(&directory, &server());
    let last_two = |called| {
        told(&table, &call(PBX, called)).lines().rev().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let [server, access] = &last_two("1 425 555 0500")[..] else { panic!("two lines") };
    assert_eq!(
        access,
        "Is the called number an access number of the dial plan? 14255550500: yes, a user wants to get at a mailbox"
    );
    assert!(server.starts_with("Which mailbox server takes the call? any mailbox: mailbox-"), "{server}");
    assert!(server.contains(", by the Call-ID; then mailbox-"), "{server}");
    assert!(told(&table, &call(PBX, "101")).contains("an access number of the dial plan? 101: no\n"));
    for server in &mut directory.mailbox_servers {
        server.in_service = false;
    }
    let table = Table::compile(&directory, &crate::contoso::server());
    assert_eq!(
        refusal_text(&table, &call(PBX, "14255550500")),
        "no mailbox server is in service; look at the status of the UMService objects, one of them must be in service"
    );
}

#[test]
fn an_auto_attendant_is_told_of_where_the_plan_has_one() {
    let mut directory = directory();
    directory.auto_attendants = serde_yaml::from_str(
        "- {name: reception, dialPlan: contoso, pilots: ['+14255550600'], status: Enabled}\n\
         - {name: night, dialPlan: contoso, pilots: ['+14255550601'], status: Disabled}",
    )
    .unwrap();
    let table = Table::compile(&directory, &server());
    let question = "Is the called number a pilot of an auto attendant?";
    let told_of = |called| told(&table, &call(PBX, called));
    let reception = told_of("1 425 555 0600");
    assert!(
        reception.contains(&format!("{question} 14255550600: auto attendant reception\n")),
        "{reception}"
    );
    assert!(reception.contains("takes the call? any mailbox: mailbox-"), "{reception}");
    assert!(told_of("101").contains(&format!("{question} 101: no\n")));
    assert!(told_of("14255550601").contains(&format!("{question} 14255550601: auto attendant night with")));
    assert_eq!(
        refusal_text(&table, &call(PBX, "14255550601")),
        "auto attendant night with pilot 14255550601 is disabled; set spec.status of UMAutoAttendant night to Enabled"
    );
}

#[test]
fn a_refusal_says_which_audio_is_asked_for() {
    let text = |security, clear| {
        let mut directory = directory();
        directory.dial_plans[0].voip_security = security;
        let audio = OfferedAudio { clear, encrypted: !clear };
        let table = Table::compile(&directory, &server());
        refusal_text(&table, &Call { transport: Transport::Tls, audio, ..call(PBX, "101") })
    };
    assert_eq!(
        text(VoIPSecurity::Secured, true),
        "dial plan contoso asks for audio as RTP/SAVP and the call offers it in the clear alone; \
         let the peer offer RTP/SAVP, or set spec.voIPSecurity of UMDialPlan contoso to SIPSecured"
    );
    assert_eq!(
        text(VoIPSecurity::SIPSecured, false),
        "dial plan contoso takes audio as RTP/AVP and the call offers it encrypted alone; \
         let the peer offer RTP/AVP, alone or beside RTP/SAVP"
    );
}
