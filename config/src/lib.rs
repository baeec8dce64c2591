//! The contract between the operator, which writes configuration, and the servers, which read it;
//! and [`route`], the pure decision over it.
//!
//! This room decides what the files in a server's configuration directory mean, where each call
//! belongs, and which stable code names each thing that can go wrong. It refuses to know
//! Kubernetes, SIP syntax, sockets, files and clocks: whatever depends on time takes it as an
//! argument.

mod code;
mod server;

pub use code::{Area, Code};
pub use server::{
    CallSettings, Certificate, Delivery, DialPlan, Directory, Gateway, GatewayStatus, HuntGroup, Language,
    Listeners, Mailbox, MailboxConfig, MailboxServer, Owner, RouterConfig, SCHEMA_VERSION, ServerIdentity,
    ServerStatus, Smtp, SmtpSecurity, StartupMode, TokenKey, VoIPSecurity,
};
