//! What a server knows once it has read its folder: [`RouterConfig`] and [`MailboxConfig`].
//!
//! Decides what there is to know. Refuses to know how it was made, and which file of the folder says
//! what; that is [`crate::parts`]. Everything that a person wrote was checked before it came here, so a field
//! that is wrong here means a broken writer, and the reader keeps its last good document.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::peers::Prefix;
use crate::store::Store;

/// The version of both indices. A server refuses any other (`UM1020`) and keeps its last good one.
pub const SCHEMA_VERSION: u32 = 1;

/// What a call router reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouterConfig {
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Grows by one with each change of content; the server publishes the one that it serves.
    pub generation: u64,
    /// Who this server is and which ports it listens on.
    pub server: ServerIdentity,
    /// What peers get that are no gateway.
    #[serde(default, skip_serializing_if = "UnknownPeers::are_refused")]
    pub unknown_peers: UnknownPeers,
    /// Keys of the redirect token: the first signs, all of them verify.
    pub token_keys: Vec<TokenKey>,
    /// What calls are decided on.
    pub directory: Directory,
}

/// What a mailbox server reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MailboxConfig {
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Grows by one with each change of content; the server publishes the one that it serves.
    pub generation: u64,
    /// Who this server is and which ports it listens on.
    pub server: ServerIdentity,
    /// The first media port: worker `i` listens on this one plus `i`. Without it each worker takes a
    /// free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_media_port: Option<u16>,
    /// Calls at once on this server, 0 to 200 (`maxCallsAllowed`, spec 1.7).
    pub max_calls_allowed: u32,
    /// Keys of the redirect token: the first signs, all of them verify.
    pub token_keys: Vec<TokenKey>,
    /// What calls are decided on; the same table that the routers have.
    pub directory: Directory,
    /// How calls of each dial plan are conducted, by the dial plan's name.
    pub calls: BTreeMap<String, CallSettings>,
    /// What the mailboxes of each policy have in common, by the policy's name; nothing for those that
    /// say nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, MailboxPolicy>,
    /// Whose mailbox it is and where messages go, by the mailbox's name.
    pub owners: BTreeMap<String, Owner>,
    /// How messages leave this server.
    pub delivery: Delivery,
    /// Where messages are stored.
    #[serde(default, skip_serializing_if = "Store::is_own")]
    pub store: Store,
}

/// Who a server is and which ports it listens on. At which address is told to its process, which may
/// be one of several that read this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerIdentity {
    /// Name of the UMCallRouter or UMService object.
    pub name: String,
    /// Whether it takes calls.
    pub status: ServerStatus,
    /// Which transports calls may come by.
    pub startup_mode: StartupMode,
    /// SIP ports.
    pub listeners: Listeners,
    /// The certificate for TLS; without one the server makes a self-signed one for itself. It has
    /// files of its own and never stands beside the rest.
    #[serde(skip)]
    pub certificate: Option<Certificate>,
}

/// SIP ports of a server; a transport without a port is not listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listeners {
    /// UDP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<u16>,
    /// TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u16>,
    /// TLS port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<u16>,
}

/// A certificate chain, its key, and those who sign the certificates of peers, as PEM text.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, leaf first.
    pub chain: String,
    /// The private key.
    pub key: String,
    /// Who signs the certificates of peers. With them a listener asks peers for theirs.
    pub authorities: Option<String>,
}

impl MailboxConfig {
    /// Who gets the messages of the mailbox of this name, if there is one.
    pub fn recipient(&self, mailbox: &str) -> Option<Recipient> {
        let owner = self.owners.get(mailbox)?.clone();
        let policy = self.policies.get(&owner.mailbox_policy).cloned().unwrap_or_default();
        Some(Recipient { owner, policy })
    }
}

impl std::fmt::Debug for Certificate {
    /// Shows no byte of the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Certificate(..)")
    }
}

/// Whether a server takes calls (`status`, decision 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerStatus {
    /// Takes calls.
    #[default]
    Enabled,
    /// Refuses every call.
    Disabled,
    /// Refuses new calls; those that it has go on.
    NoNewCalls,
}

/// Which transports a server accepts calls by (`umStartupMode`, spec 4.1, decision 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartupMode {
    /// UDP and TCP.
    #[default]
    TCP,
    /// TLS only.
    TLS,
    /// UDP, TCP and TLS.
    Dual,
}

/// What a router answers to peers that are no gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnknownPeers {
    /// A refusal, at most once in a second, and by datagram none that is longer than the request.
    #[default]
    Refuse,
    /// Nothing.
    Ignore,
}

impl UnknownPeers {
    pub(crate) fn are_refused(&self) -> bool {
        *self == UnknownPeers::Refuse
    }
}

/// One key of the redirect token (decision 10).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenKey {
    /// Short public name, carried in the token so that the verifier picks the right key.
    pub id: String,
    /// 32 bytes in base64.
    pub secret: String,
}

impl std::fmt::Debug for TokenKey {
    /// Shows no byte of the secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TokenKey({}, ..)", self.id)
    }
}

/// Everything that a call is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Directory {
    /// Peers that may call us.
    pub gateways: Vec<Gateway>,
    /// Addresses of the cluster itself, those of its nodes among them: a call that comes from one of
    /// them, and not from a gateway, has lost its caller's address on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<IpAddr>,
    /// Which calls of a gateway belong to which dial plan.
    pub hunt_groups: Vec<HuntGroup>,
    /// Numbering plans.
    pub dial_plans: Vec<DialPlan>,
    /// What answers calls for nobody in particular.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auto_attendants: Vec<AutoAttendant>,
    /// Users.
    pub mailboxes: Vec<Mailbox>,
    /// Mailbox servers whose address is known, whether in service or not.
    pub mailbox_servers: Vec<MailboxServer>,
    /// The name of the mailbox server that hosts each database (decision 17); empty without a server.
    pub hosts: Vec<String>,
}

/// A peer that may call us (UMIPGateway, spec 1.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateway {
    /// Name of the object.
    pub name: String,
    /// The source addresses that it calls from; none as long as nobody knows them.
    pub addresses: Vec<Prefix>,
    /// The name that it is known by instead, which its certificate proves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    /// Whether its calls are taken.
    pub status: GatewayStatus,
}

/// Whether calls of a gateway are taken (spec 1.10, gateway lifecycle).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GatewayStatus {
    /// Its calls are taken.
    #[default]
    Enabled,
    /// Its calls are refused.
    Disabled,
    /// New calls are refused; those that it has go on.
    NoNewCalls,
}

/// Which calls of a gateway belong to which dial plan (UMHuntGroup, spec 1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HuntGroup {
    /// Name of the object.
    pub name: String,
    /// Name of the gateway.
    pub gateway: String,
    /// The called number that selects it; without one it takes whatever no other takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pilot: Option<String>,
    /// Name of the dial plan.
    pub dial_plan: String,
}

/// A numbering plan (UMDialPlan, spec 1.1): the part that routing needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DialPlan {
    /// Name of the object.
    pub name: String,
    /// Length of every extension, 1 to 20.
    pub number_of_digits_in_extension: u8,
    /// How calls name its users.
    #[serde(default, skip_serializing_if = "UriType::is_extension")]
    pub uri_type: UriType,
    /// What callers must protect.
    pub voip_security: VoIPSecurity,
    /// Numbers and SIP addresses that users call for access to their mailbox.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_numbers: Vec<String>,
}

/// What answers the calls for a number that is nobody's (UMAutoAttendant, spec 1.5): the part that
/// routing needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoAttendant {
    /// Name of the object.
    pub name: String,
    /// Name of its dial plan.
    pub dial_plan: String,
    /// Numbers and SIP addresses of that dial plan that are called to reach it.
    pub pilots: Vec<String>,
    /// Whether it answers.
    pub status: AttendantStatus,
}

/// Whether an auto attendant answers (spec 1.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttendantStatus {
    /// It answers.
    Enabled,
    /// Its calls are refused.
    #[default]
    Disabled,
}

/// How calls name the users of a dial plan (spec 2.8). An extension names them in any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UriType {
    /// By their extension.
    #[default]
    TelExtn,
    /// By their SIP address too.
    SipName,
    /// By their number in the form of E.164 too.
    E164,
}

impl UriType {
    fn is_extension(&self) -> bool {
        *self == UriType::TelExtn
    }
}

/// What callers of a dial plan must protect (spec 2.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoIPSecurity {
    /// Nothing.
    #[default]
    Unsecured,
    /// Signalling: TLS only.
    SIPSecured,
    /// Signalling and audio: TLS only, and SRTP only.
    Secured,
}

/// A user (UMMailbox, spec 1.6): the part that routing needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mailbox {
    /// Name of the object.
    pub name: String,
    /// Name of the dial plan, that of the mailbox's policy.
    pub dial_plan: String,
    /// Extensions in that dial plan, digits only, each unique in it.
    pub extensions: Vec<String>,
    /// What else names the user, in that dial plan or in others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<UserAddress>,
}

impl Mailbox {
    /// Whether calls reach the user in this dial plan.
    pub fn is_in(&self, dial_plan: &str) -> bool {
        self.dial_plan == dial_plan || self.addresses.iter().any(|address| address.dial_plan == dial_plan)
    }
}

/// An extension, a SIP address or a number in the form of E.164, unique in its dial plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserAddress {
    /// Name of the dial plan.
    pub dial_plan: String,
    /// The address; which form it has is up to the dial plan.
    pub address: String,
}

/// A mailbox server as its peers see it: what they are told, wherever its process listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MailboxServer {
    /// Name of the server.
    pub name: String,
    /// The address that calls are redirected to, in Contact and SDP.
    pub address: IpAddr,
    /// SIP ports at that address.
    pub listeners: Listeners,
    /// Media ports at that address, by worker; a worker beyond them is reached at the port that it
    /// listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media_ports: Vec<u16>,
    /// Whether calls may be redirected to it.
    pub in_service: bool,
}

/// How calls of one dial plan are conducted (spec 1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallSettings {
    /// The language that callers hear.
    pub language: Language,
    /// A call is ended after this, seconds.
    pub max_call_duration_s: u32,
    /// A recording is ended after this, seconds.
    pub max_recording_duration_s: u32,
    /// Silence of this length ends a recording, seconds.
    pub recording_idle_timeout_s: u32,
    /// Forms of callers' numbers whose last digits, written `x`, are an extension of the dial plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbering_plan_formats: Vec<String>,
    /// Names of dial plans among whose users callers are looked for, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equivalent_dial_plans: Vec<String>,
}

/// A language that prompts are spoken in (BCP 47).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Language {
    /// English, United States.
    #[default]
    #[serde(rename = "en-US")]
    EnUs,
    /// English, Great Britain.
    #[serde(rename = "en-GB")]
    EnGb,
    /// German.
    #[serde(rename = "de-DE")]
    DeDe,
    /// French.
    #[serde(rename = "fr-FR")]
    FrFr,
}

/// Whose mailbox it is and where messages go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    /// The name that the greeting speaks; without one it speaks the extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Where voice messages are mailed.
    pub primary_smtp_address: String,
    /// The name of the mailbox policy that it is of.
    pub mailbox_policy: String,
    /// Whether callers who show no number are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refuses_anonymous_callers: bool,
}

/// What the mailboxes of a policy have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MailboxPolicy {
    /// Text that it adds to each message (`voiceMailText`, at most 512 characters).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_mail_text: Option<String>,
}

/// Who gets the messages of a mailbox, and what its policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub owner: Owner,
    /// The policy, which says nothing if there is none of its name.
    pub policy: MailboxPolicy,
}

/// How messages leave a mailbox server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delivery {
    /// The mail server; without one messages are written to a Maildir below the state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<Smtp>,
}

/// The mail server that takes voice messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Smtp {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Sender address of the messages.
    pub from: String,
    /// Whether the connection must be encrypted.
    pub security: SmtpSecurity,
}

/// Whether mail leaves encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SmtpSecurity {
    /// STARTTLS with a certificate that the system trusts, or the message waits.
    #[default]
    StartTLS,
    /// In the clear.
    None,
}
