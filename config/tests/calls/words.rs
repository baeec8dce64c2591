//! What is told about a decision: steps, refusal texts, and that they are harmless.

use config::{Call, Decision, ServerStatus, StartupMode, Table, Transport, explain, route};

use crate::contoso::{PBX, SBC, call, directory, server, table, table_of};

fn told(table: &Table, call: &Call<'_>) -> String {
    let (steps, decision) = explain(table, call);
    assert_eq!(decision, route(table, call));
    steps.iter().map(|step| format!("{step}\n")).collect()
}

fn refusal_text(table: &Table, call: &Call<'_>) -> String {
    match route(table, call) {
        Decision::Refuse(refusal) => refusal.text(),
        Decision::Accept(route) => panic!("accepted for {}", route.mailbox.name),
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
Was the call diverted from a user? no Diversion or History-Info: no
Is the called number that of a user? 101: mailbox alice
Which mailbox server takes the call? mailbox alice of database 1: mailbox-1, its host; then mailbox-2
";
    assert_eq!(told(&table(), &call(PBX, "101")), expected);
}

#[test]
fn a_refused_call_ends_with_the_code_and_the_next_step() {
    let diverted = Call { diverting: Some("199"), ..call(SBC, "voicemail") };
    let told = told(&table(), &diverted);
    let expected = "\
Which hunt group has the called number as its pilot? voicemail: sbc-pilot
Which dial plan does the hunt group lead to? sbc-pilot: contoso, extensions of 3 digits
Is the signalling protected as the dial plan asks? UDP, voIPSecurity Unsecured: yes
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
    assert_eq!((few, steps(&directory)), (10, 10));
}
