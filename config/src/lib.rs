//! The contract between the operator, which writes configuration, and the servers, which read it;
//! and [`route`], the pure decision over it.
//!
//! This room decides what the files in a server's configuration directory mean, where each call
//! belongs, and which stable code names each thing that can go wrong. It refuses to know
//! Kubernetes, SIP syntax, sockets, files and clocks: whatever depends on time takes it as an
//! argument.

mod code;
mod database;
mod document;
mod explain;
mod keyring;
mod naming;
mod number;
pub mod parts;
mod party;
mod peers;
mod refusal;
mod route;
mod server;
mod store;
mod table;
pub mod token;
mod users;

pub use code::{Area, Code, RETRY_AFTER_S};
pub use database::{DATABASES, SLICES_OF_A_DATABASE, database_of, slice_of};
pub use document::{ConfigError, MAX_DOCUMENT_BYTES};
pub use explain::{Refused, Step, explain};
pub use keyring::{KeyError, Keyring, MAX_KEY_ID_BYTES, MAX_KEYS, SECRET_BYTES};
pub use naming::Naming;
pub use number::{MAX_DIGITS, Number};
pub use party::{MAX_ADDRESS_BYTES, Party};
pub use peers::{NoPrefix, Prefix};
pub use refusal::{Reason, Refusal};
pub use route::{
    Call, Decision, OfferedAudio, Purpose, Route, Rule, Transport, admit, check_security, route,
};
pub use server::{
    AttendantStatus, AutoAttendant, CallSettings, Certificate, Delivery, DialPlan, Directory, Gateway,
    GatewayStatus, HuntGroup, Language, Listeners, Mailbox, MailboxConfig, MailboxPolicy, MailboxServer,
    Owner, Recipient, RouterConfig, SCHEMA_VERSION, ServerIdentity, ServerStatus, Smtp, SmtpSecurity,
    StartupMode, TokenKey, UnknownPeers, UriType, UserAddress, VoIPSecurity,
};
pub use store::{S3, S3Keys, Store};
pub use table::Table;
pub use users::MailboxRef;
