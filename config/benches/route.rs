//! How long a decision takes as the company grows: 10, 1,000 and 100,000 mailboxes, then as many
//! gateways and hunt groups. The figures of one group must lie close together, because each step of
//! a decision is a hash lookup; what is left of a difference is the cache of the processor.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use umbriel_config::token::{Claims, sign, verify};
use umbriel_config::{
    Call, DATABASES, Decision, DialPlan, Directory, Gateway, GatewayStatus, HuntGroup, Keyring, Listeners,
    Mailbox, MailboxServer, OfferedAudio, ServerIdentity, ServerStatus, StartupMode, Table, TokenKey,
    Transport, UriType, VoIPSecurity, route,
};

const SIZES: [u32; 3] = [10, 1_000, 100_000];

const SIP_PORT: Listeners = Listeners { udp: Some(5062), tcp: None, tls: None };

/// Addresses of 10.0.0.0/8.
fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
}

fn table(gateways: u32, hunt_groups: u32, mailboxes: u32) -> Table {
    let hunt_group = |gateway: u32, pilot: Option<String>| HuntGroup {
        name: format!("group-{gateway}-{pilot:?}"),
        gateway: format!("gateway-{gateway}"),
        pilot,
        dial_plan: "contoso".to_owned(),
    };
    let defaults = (0..gateways).map(|gateway| hunt_group(gateway, None));
    let pilots = (0..hunt_groups).map(|pilot| hunt_group(0, Some(format!("5{pilot:07}"))));
    let directory = Directory {
        gateways: (0..gateways)
            .map(|n| Gateway {
                name: format!("gateway-{n}"),
                addresses: vec![address(n).into()],
                fqdn: None,
                status: GatewayStatus::Enabled,
            })
            .collect(),
        cluster: Vec::new(),
        hunt_groups: defaults.chain(pilots).collect(),
        auto_attendants: Vec::new(),
        dial_plans: vec![DialPlan {
            name: "contoso".to_owned(),
            number_of_digits_in_extension: 6,
            uri_type: UriType::TelExtn,
            access_numbers: Vec::new(),
            voip_security: VoIPSecurity::Unsecured,
        }],
        mailboxes: (0..mailboxes)
            .map(|n| Mailbox {
                addresses: Vec::new(),
                name: format!("user-{n}"),
                dial_plan: "contoso".to_owned(),
                extensions: vec![format!("{n:06}")],
            })
            .collect(),
        mailbox_servers: (0..4)
            .map(|n| MailboxServer {
                name: format!("mailbox-{n}"),
                address: address(n),
                listeners: SIP_PORT,
                media_ports: Vec::new(),
                in_service: true,
            })
            .collect(),
        hosts: (0..DATABASES).map(|n| format!("mailbox-{}", n % 4)).collect(),
    };
    let server = ServerIdentity {
        name: "router".to_owned(),
        status: ServerStatus::Enabled,
        startup_mode: StartupMode::Dual,
        listeners: SIP_PORT,
        certificate: None,
    };
    Table::compile(&directory, &server)
}

/// Every call is another one, so that no lookup profits from the one before.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    size: u32,
    table: &Table,
    gateways: u32,
    pilots: u32,
    users: u32,
) {
    let mut n = 0_u32;
    criterion.bench_function(&format!("{name}/{size}"), |bencher| {
        bencher.iter_batched_ref(
            || {
                n = n.wrapping_add(0x9e37_79b9);
                (
                    address(n % gateways),
                    format!("5{:07}", n % pilots),
                    format!("{:06}", n % users),
                    n.to_string(),
                )
            },
            |(peer, called, diverting, call_id)| {
                let transport = Transport::Udp;
                let call = Call {
                    peer: *peer,
                    names: &[],
                    transport,
                    called: called.as_str().into(),
                    diverting: Some(diverting.as_str().into()),
                    audio: OfferedAudio::default(),
                    call_id,
                };
                matches!(route(black_box(table), &call), Decision::Accept(_))
            },
            BatchSize::SmallInput,
        );
    });
}

fn routing(criterion: &mut Criterion) {
    for size in SIZES {
        measure(criterion, "route/mailboxes", size, &table(10, 10, size), 10, 10, size);
    }
    for size in SIZES {
        measure(criterion, "route/gateways", size, &table(size, 10, 10), size, 10, 10);
    }
    for size in SIZES {
        measure(criterion, "route/hunt groups", size, &table(1, size, 10), 1, size, 10);
    }
}

fn tokens(criterion: &mut Criterion) {
    let secret = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_owned();
    let Ok(keys) = Keyring::new(&[TokenKey { id: "k1".to_owned(), secret }]) else { return };
    let table = table(1, 1, 10);
    let call_id = "a84b4c76e66710@192.0.2.10";
    let call = Call {
        peer: address(0),
        names: &[],
        transport: Transport::Udp,
        called: "000001".into(),
        diverting: None,
        audio: OfferedAudio::default(),
        call_id,
    };
    let Decision::Accept(route) = route(&table, &call) else { return };
    let mut token = String::new();
    criterion.bench_function("token/sign", |bencher| {
        bencher.iter(|| {
            token.clear();
            sign(&keys, &Claims::of(black_box(&route), None), call_id, 1_000_000, &mut token)
        });
    });
    criterion.bench_function("token/verify", |bencher| {
        bencher.iter(|| verify(&keys, black_box(&token), call_id, 1_000_000))
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = routing, tokens
}
criterion_main!(benches);
