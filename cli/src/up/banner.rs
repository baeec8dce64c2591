//! What a person sees when everything serves: what listens where, whom to dial, where mail goes,
//! how to edit.
//!
//! Decides the words. Refuses to know how any of it works.

use std::fmt::Write;

use config::{Gateway, Listeners, MailboxConfig, Prefix, RouterConfig};

use crate::args::UpArguments;
use crate::style::{Colour, Style};

/// Gateways and mailboxes that are named; of the rest only the number is told.
const SHOWN: usize = 5;

/// The banner.
pub(crate) fn draw(
    arguments: &UpArguments,
    router: &RouterConfig,
    mailbox: &MailboxConfig,
    style: Style,
) -> String {
    let folder = arguments.folder.display();
    let address = arguments.address;
    let directory = &router.directory;
    let gateways: Vec<String> =
        directory.gateways.iter().map(|gateway| format!("{} {}", gateway.name, from(gateway))).collect();
    let users: Vec<String> = directory.mailboxes.iter().filter_map(|user| named(user, mailbox)).collect();
    let dial = directory.mailboxes.first().and_then(|mailbox| mailbox.extensions.first());
    let mut text = format!("\n{}\n\n", style.paint(Colour::Bold, &format!("Umbriel serves {folder}.")));
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {}  {value}", style.paint(Colour::Dim, &format!("{name:<9}")));
    };
    row("router", &format!("{address}, {}", ports(router.server.listeners)));
    row("mailbox", &format!("{address}, {}", ports(mailbox.server.listeners)));
    row("admin", &format!("http://{}/readyz, /metrics, /generation", arguments.admin));
    row("callers", &some(&gateways));
    row("users", &some(&users));
    if let Some((number, port)) = dial.zip(router.server.listeners.udp.or(router.server.listeners.tcp)) {
        row("dial", &format!("umbriel call sip:{number}@{address}:{port} --say \"Good morning\""));
    }
    match &mailbox.delivery.smtp {
        Some(smtp) => row("mail", &format!("to the mail server {}:{}", smtp.host, smtp.port)),
        None => row("mail", &format!("{}/mail/MAILBOX/new", arguments.state.display())),
    }
    row("edit", &format!("any file in {folder}; a change routes calls within a second"));
    row("end", "Ctrl-C");
    text
}

/// What a gateway calls from: its name, or its addresses.
fn from(gateway: &Gateway) -> String {
    let addresses = || gateway.addresses.iter().map(Prefix::to_string).collect::<Vec<_>>().join(" ");
    gateway.fqdn.clone().unwrap_or_else(addresses)
}

/// `101 Alice Archer`, or the name of the mailbox where nobody wrote another; `None` without a number.
fn named(user: &config::Mailbox, server: &MailboxConfig) -> Option<String> {
    let owner = server.owners.get(&user.name);
    let name = owner.and_then(|owner| owner.display_name.as_deref()).unwrap_or(&user.name);
    user.extensions.first().map(|number| format!("{number} {name}"))
}

/// `5060 UDP, 5060 TCP, 5061 TLS`
fn ports(listeners: Listeners) -> String {
    let all = [("UDP", listeners.udp), ("TCP", listeners.tcp), ("TLS", listeners.tls)];
    let ports: Vec<String> =
        all.iter().filter_map(|(name, port)| port.map(|port| format!("{port} {name}"))).collect();
    ports.join(", ")
}

fn some(names: &[String]) -> String {
    match names.len() {
        0 => "none yet".to_owned(),
        number if number <= SHOWN => names.join(", "),
        number => format!("{}, and {} more", names[..SHOWN].join(", "), number - SHOWN),
    }
}
