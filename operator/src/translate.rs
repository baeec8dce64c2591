//! The words of the API in the words of the servers.
//!
//! Decides nothing: one line a word. The two rooms do not know each other, so that either can
//! change its own.

/// `umStartupMode`.
pub(crate) fn startup_mode(mode: crds::StartupMode) -> config::StartupMode {
    match mode {
        crds::StartupMode::TCP => config::StartupMode::TCP,
        crds::StartupMode::TLS => config::StartupMode::TLS,
        crds::StartupMode::Dual => config::StartupMode::Dual,
    }
}

/// `status` of a server.
pub(crate) fn server_status(status: crds::ServerStatus) -> config::ServerStatus {
    match status {
        crds::ServerStatus::Enabled => config::ServerStatus::Enabled,
        crds::ServerStatus::Disabled => config::ServerStatus::Disabled,
        crds::ServerStatus::NoNewCalls => config::ServerStatus::NoNewCalls,
    }
}

/// `unknownPeers`.
pub(crate) fn unknown_peers(peers: crds::UnknownPeers) -> config::UnknownPeers {
    match peers {
        crds::UnknownPeers::Refuse => config::UnknownPeers::Refuse,
        crds::UnknownPeers::Ignore => config::UnknownPeers::Ignore,
    }
}

/// `status` of a gateway.
pub(crate) fn gateway_status(status: crds::GatewayStatus) -> config::GatewayStatus {
    match status {
        crds::GatewayStatus::Enabled => config::GatewayStatus::Enabled,
        crds::GatewayStatus::Disabled => config::GatewayStatus::Disabled,
        crds::GatewayStatus::NoNewCalls => config::GatewayStatus::NoNewCalls,
    }
}

/// `status` of an auto attendant.
pub(crate) fn attendant_status(status: crds::AttendantStatus) -> config::AttendantStatus {
    match status {
        crds::AttendantStatus::Enabled => config::AttendantStatus::Enabled,
        crds::AttendantStatus::Disabled => config::AttendantStatus::Disabled,
    }
}

/// `voIPSecurity`.
pub(crate) fn voip_security(security: crds::VoIPSecurity) -> config::VoIPSecurity {
    match security {
        crds::VoIPSecurity::Unsecured => config::VoIPSecurity::Unsecured,
        crds::VoIPSecurity::SIPSecured => config::VoIPSecurity::SIPSecured,
        crds::VoIPSecurity::Secured => config::VoIPSecurity::Secured,
    }
}

/// `uriType`.
pub(crate) fn uri_type(uri_type: crds::UriType) -> config::UriType {
    match uri_type {
        crds::UriType::TelExtn => config::UriType::TelExtn,
        crds::UriType::SipName => config::UriType::SipName,
        crds::UriType::E164 => config::UriType::E164,
    }
}

/// `defaultLanguage`.
pub(crate) fn language(language: crds::DefaultLanguage) -> config::Language {
    match language {
        crds::DefaultLanguage::EnUs => config::Language::EnUs,
        crds::DefaultLanguage::EnGb => config::Language::EnGb,
        crds::DefaultLanguage::DeDe => config::Language::DeDe,
        crds::DefaultLanguage::FrFr => config::Language::FrFr,
    }
}

/// `smtp.security`.
pub(crate) fn smtp_security(security: crds::SmtpSecurity) -> config::SmtpSecurity {
    match security {
        crds::SmtpSecurity::StartTLS => config::SmtpSecurity::StartTLS,
        crds::SmtpSecurity::None => config::SmtpSecurity::None,
    }
}
