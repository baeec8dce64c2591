//! The stable codes: one name, one number and one page under `docs/codes/` for everything that
//! Umbriel refuses, reports or cannot do.
//!
//! Decides the numbers and, for calls, the SIP status (decision 9). Refuses to know the words of a
//! particular occurrence: those belong to whoever reports it. A number is never reused.

/// How long a refused peer is asked to wait, seconds (RFC 3261 section 20.33).
///
/// Servers and gateways come back within seconds of an edit, and a PBX that has another route
/// takes it at once; half a minute keeps one that has none from hammering.
pub const RETRY_AFTER_S: u32 = 30;

/// What a code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Something that a person wrote, or a document that a server cannot read.
    Configuration,
    /// A SIP request that was refused.
    Call,
    /// A connection that was refused before a request came by it, or that callers may refuse.
    Connection,
    /// A fault of a server or of its surroundings.
    Server,
}

macro_rules! codes {
    ($(#[doc = $doc:literal] $name:ident = $number:literal, $area:ident, $status:literal;)+) => {
        /// A stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $doc] $name,)+ }

        impl Code {
            /// Every code, by number.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// The number behind `UM`.
            pub const fn number(self) -> u16 { match self { $(Code::$name => $number,)+ } }

            /// The code as it is written everywhere, `UM1102`.
            pub const fn id(self) -> &'static str { match self { $(Code::$name => concat!("UM", $number),)+ } }

            /// The name, for metrics, conditions and events.
            pub const fn name(self) -> &'static str { match self { $(Code::$name => stringify!($name),)+ } }

            /// What it means, in one sentence.
            pub const fn summary(self) -> &'static str {
                // A doc comment begins with the space after its slashes.
                match self { $(Code::$name => $doc.trim_ascii(),)+ }
            }

            /// What it is about.
            pub const fn area(self) -> Area { match self { $(Code::$name => Area::$area,)+ } }

            /// The SIP status that carries it, 0 for a code that no response carries.
            pub const fn sip_status(self) -> u16 { match self { $(Code::$name => $status,)+ } }
        }
    };
}

codes! {
    /// The file is not YAML.
    NotYaml = 1001, Configuration, 0;
    /// No resource of this `apiVersion` and `kind` is known.
    UnknownKind = 1002, Configuration, 0;
    /// The resource has no such field.
    UnknownField = 1003, Configuration, 0;
    /// A required field is missing.
    MissingField = 1004, Configuration, 0;
    /// The value has the wrong type.
    WrongType = 1005, Configuration, 0;
    /// The value is outside of what is allowed.
    OutOfRange = 1006, Configuration, 0;
    /// The name is not one that Kubernetes accepts.
    InvalidName = 1007, Configuration, 0;
    /// Two objects of one kind have the same name.
    DuplicateObject = 1008, Configuration, 0;
    /// The field stays as the object was made with it.
    ImmutableField = 1009, Configuration, 0;
    /// The object refers to one that does not exist or is not ready.
    DanglingReference = 1010, Configuration, 0;
    /// Two mailboxes of one dial plan claim the same extension.
    ExtensionTaken = 1011, Configuration, 0;
    /// The extension does not have as many digits as its dial plan asks for.
    ExtensionLength = 1012, Configuration, 0;
    /// Two gateways claim the same address, prefix or name.
    GatewayAddressTaken = 1013, Configuration, 0;
    /// Two hunt groups of one gateway have the same pilot, or both have none.
    PilotTaken = 1014, Configuration, 0;
    /// More than 200 gateways lead to one dial plan.
    TooManyGateways = 1015, Configuration, 0;
    /// A folder has one server of each kind.
    SecondServer = 1016, Configuration, 0;
    /// A recording may last longer than the call that it is made in.
    DurationOrder = 1017, Configuration, 0;
    /// The certificate cannot be used.
    CertificateUnusable = 1018, Configuration, 0;
    /// A file or folder cannot be read.
    UnreadableSource = 1019, Configuration, 0;
    /// A server cannot read its new configuration and keeps the last good one.
    UnreadableConfig = 1020, Configuration, 0;
    /// Two servers of one machine ask for the same port.
    PortConflict = 1021, Configuration, 0;
    /// No hunt group leads from this gateway to a dial plan.
    GatewayWithoutHuntGroup = 1022, Configuration, 0;
    /// No server of a needed kind exists.
    ServerMissing = 1023, Configuration, 0;
    /// What is to be written for the servers does not fit into a ConfigMap.
    PartTooLarge = 1024, Configuration, 0;
    /// The Secret with the keys of the redirect token cannot be used.
    TokenKeysUnusable = 1025, Configuration, 0;
    /// A server does not know yet where callers reach it.
    AddressAwaited = 1026, Configuration, 0;
    /// The mailbox servers of a namespace do not share one message store.
    StoreNotShared = 1027, Configuration, 0;
    /// The message store that is named cannot be used.
    StoreUnusable = 1028, Configuration, 0;
    /// The Secret with the keys of the bucket cannot be used.
    StoreKeysUnusable = 1030, Configuration, 0;
    /// The name of a gateway leads to no address.
    NameUnresolved = 1031, Configuration, 0;
    /// Two dial plans claim the same access number.
    AccessNumberTaken = 1035, Configuration, 0;
    /// An address of a mailbox does not have the form that its dial plan asks for.
    AddressForm = 1036, Configuration, 0;
    /// A form of callers' numbers does not end in as many digits as extensions of its dial plan have.
    NumberingPlanFormat = 1037, Configuration, 0;
    /// One number of a dial plan is to lead to two places.
    NumberTaken = 1038, Configuration, 0;

    /// The request breaks the grammar or lacks what every request must have.
    MalformedRequest = 1101, Call, 400;
    /// The peer is no gateway of ours.
    UnknownPeer = 1102, Call, 403;
    /// The gateway is disabled.
    GatewayDisabled = 1103, Call, 503;
    /// The gateway takes no new calls.
    GatewayNoNewCalls = 1104, Call, 503;
    /// This server is not in service.
    ServerNotInService = 1105, Call, 503;
    /// This server takes no calls over this transport.
    TransportNotAllowed = 1106, Call, 403;
    /// No hunt group of the gateway fits.
    NoHuntGroup = 1107, Call, 404;
    /// The dial plan asks for protected signalling.
    SecurityMismatch = 1108, Call, 403;
    /// The called number is not a number of the dial plan.
    NotANumberOfThePlan = 1109, Call, 484;
    /// Nobody has this number.
    NoSuchUser = 1110, Call, 404;
    /// No mailbox server is in service for this user.
    NoMailboxServer = 1111, Call, 503;
    /// The server has as many calls as it may have.
    CallLimit = 1112, Call, 503;
    /// The method is known but not served here.
    MethodNotAllowed = 1113, Call, 405;
    /// The method is not known.
    MethodUnknown = 1114, Call, 501;
    /// The request requires an extension that is not supported.
    BadExtension = 1115, Call, 420;
    /// The offered media cannot be used.
    MediaNotAcceptable = 1116, Call, 488;
    /// The request belongs to no dialog or transaction that exists.
    NoSuchDialog = 1119, Call, 481;
    /// Something in the server went wrong.
    InternalError = 1120, Call, 500;
    /// The body is not a session description.
    UnsupportedMediaType = 1121, Call, 415;
    /// The recording cannot be stored.
    StorageUnavailable = 1122, Call, 503;
    /// The Request-URI has a scheme that is not served.
    UnsupportedScheme = 1123, Call, 416;
    /// The SIP version is not 2.0.
    VersionNotSupported = 1124, Call, 505;
    /// The call comes from the cluster itself: its source address was translated on the way.
    TranslatedPeer = 1125, Call, 403;
    /// The offered audio is not protected as the dial plan asks, or encrypted where it asks for none.
    AudioMismatch = 1130, Call, 488;
    /// The dial plan asks for encrypted audio, and the call offers it without a key that the mailbox server can use.
    EncryptionUnavailable = 1131, Call, 488;
    /// An access number was called, and this mailbox server does not let users in by telephone.
    AccessUnavailable = 1132, Call, 480;
    /// The caller shows no number, and the owner of the mailbox takes no messages from such callers.
    AnonymousCaller = 1133, Call, 433;
    /// The auto attendant that was called is disabled.
    AttendantDisabled = 1134, Call, 480;
    /// An auto attendant was called, and this mailbox server does not let it speak.
    AttendantUnavailable = 1135, Call, 480;
    /// The call may not go one hop further.
    TooManyHops = 1150, Call, 483;
    /// The call was redirected already and has come back.
    LoopDetected = 1151, Call, 482;
    /// The request has more headers than are read.
    MessageTooLarge = 1152, Call, 513;
    /// Our certificate is not for where callers are told to find the server that shows it.
    CertificateMisnamed = 1160, Connection, 0;
    /// The certificate is not valid any more.
    CertificateExpired = 1161, Connection, 0;
    /// The certificate is not valid yet.
    CertificateNotYetValid = 1162, Connection, 0;
    /// The certificate was signed by itself and by nobody who is trusted.
    CertificateSelfSigned = 1163, Connection, 0;
    /// The certificate was signed by nobody who is trusted.
    CertificateNotTrusted = 1164, Connection, 0;
    /// The dial plan asks for mutual TLS, and the peer has proved no name by a certificate.
    CertificateMissing = 1165, Call, 403;
    /// The certificate cannot be read, was made for something else, or is not its sender's.
    CertificateUnfit = 1166, Connection, 0;
    /// The peer does not accept our certificate.
    CertificateRefused = 1167, Connection, 0;
    /// The peer's certificate does not prove the name of the gateway whose address it calls from.
    CertificateNameMismatch = 1169, Call, 403;

    /// A message could not be delivered yet and is tried again.
    DeliveryDeferred = 1201, Server, 0;
    /// The mail server refused a message for good; it is kept.
    DeliveryRefused = 1202, Server, 0;
    /// The spool cannot be written.
    SpoolUnwritable = 1203, Server, 0;
    /// A prompt cannot be spoken.
    SpeechUnavailable = 1204, Server, 0;
    /// A port cannot be listened on.
    PortUnavailable = 1205, Server, 0;
    /// A recording was cut short by a crash; what was stored of it is delivered.
    RecordingRecovered = 1206, Server, 0;
    /// A piece of a stored recording is damaged; the rest of it is delivered.
    SpoolDamaged = 1207, Server, 0;
    /// A worker failed and was restarted.
    WorkerRestarted = 1208, Server, 0;
    /// The message store cannot be used; messages wait in the spool.
    StoreUnavailable = 1209, Server, 0;
}

impl Code {
    /// What Retry-After says, seconds, for the codes whose SIP status has it: those of 503
    /// (RFC 3261 section 21.5.4).
    pub const fn retry_after_s(self) -> Option<u32> {
        if self.sip_status() == 503 { Some(RETRY_AFTER_S) } else { None }
    }
}

impl std::fmt::Display for Code {
    /// As it is written everywhere: `UM1102 UnknownPeer`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.id(), self.name())
    }
}

impl serde::Serialize for Code {
    /// The id, `UM1102`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}
