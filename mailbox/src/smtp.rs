//! Handing mail to the mail server (RFC 5321), in the clear or by STARTTLS (RFC 3207).
//!
//! Decides what a failure means: that of the connection may pass, that of the message itself may
//! be for good. Refuses to know what is in the mail and when to try again.

use std::net::IpAddr;
use std::time::Duration;

use config::{Smtp, SmtpSecurity};
use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::timeout;

/// Longest wait for a connection and for the server's greeting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a whole message to be taken: the server may think for ten minutes after its
/// last line (RFC 5321, 4.5.3.2.6), and whoever gives up earlier sends it twice.
const SEND_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Longest wait for the answer to QUIT; nothing depends on it.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is said of a server that keeps the line open and says nothing.
const SILENT: &str = "it does not answer";

/// The message was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SmtpError {
    /// The server may take it later.
    #[error("{step} {server}: {reason}")]
    Deferred {
        /// What was being done.
        step: &'static str,
        /// Host and port.
        server: String,
        /// What went wrong.
        reason: String,
    },
    /// The server refused this message for good.
    #[error("{server} refused the message: {reason}")]
    Refused {
        /// Host and port.
        server: String,
        /// What it answered.
        reason: String,
    },
}

/// A connection to a server that is ready for a message.
pub(crate) struct Session {
    connection: AsyncSmtpConnection,
    /// Host and port.
    server: String,
}

impl Session {
    /// Connects to the server and greets it as `local`.
    ///
    /// # Errors
    /// [`SmtpError::Deferred`], whatever fails: it says nothing about the message.
    pub(crate) async fn open(smtp: &Smtp, local: IpAddr) -> Result<Self, SmtpError> {
        let hello = match local {
            IpAddr::V4(address) => ClientId::Ipv4(address),
            IpAddr::V6(address) => ClientId::Ipv6(address),
        };
        let server = format!("{}:{}", smtp.host, smtp.port);
        let step = "connect to";
        let address = (smtp.host.as_str(), smtp.port);
        let connect = AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT_TIMEOUT), &hello, None, None);
        let connected = in_time(CONNECT_TIMEOUT, connect).await.map_err(deferred(step, &server));
        let mut connection = connected?;
        match smtp.security {
            SmtpSecurity::None => {}
            SmtpSecurity::StartTLS => {
                let step = "encrypt the connection to";
                let tls = TlsParameters::new_rustls(smtp.host.clone())
                    .map_err(|error| deferred(step, &server)(error.to_string()))?;
                in_time(CONNECT_TIMEOUT, connection.starttls(tls, &hello))
                    .await
                    .map_err(deferred(step, &server))?;
            }
        }
        Ok(Self { connection, server })
    }

    /// Sends a message; returns the server's answer. The connection stays open, so that the answer
    /// can be recorded before anything else is waited for.
    ///
    /// # Errors
    /// [`SmtpError`].
    pub(crate) async fn send(&mut self, mail: &Message) -> Result<String, SmtpError> {
        let later = deferred("send the message to", &self.server);
        let bytes = mail.formatted();
        let Ok(sent) = timeout(SEND_TIMEOUT, self.connection.send(mail.envelope(), &bytes)).await else {
            return Err(later(SILENT.to_owned()));
        };
        match sent {
            Ok(response) => Ok(response.message().collect::<Vec<_>>().join(" ")),
            Err(error) if error.is_permanent() && !is_about_the_session(&error) => {
                Err(SmtpError::Refused { server: self.server.clone(), reason: error.to_string() })
            }
            Err(error) => Err(later(error.to_string())),
        }
    }

    /// Takes leave of the server.
    pub(crate) async fn close(mut self) {
        // The message is taken; a server that does not say goodbye changes nothing.
        let _ = timeout(QUIT_TIMEOUT, self.connection.abort()).await;
    }
}

async fn in_time<T>(most: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(most, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(SILENT.to_owned()),
    }
}

fn deferred(step: &'static str, server: &str) -> impl Fn(String) -> SmtpError + use<> {
    let server = server.to_owned();
    move |reason| SmtpError::Deferred { step, server: server.clone(), reason }
}

/// 530 and 538 ask for encryption or a login first (RFC 3207, 4; RFC 4954, 6): a matter of
/// configuration, which the next message would meet as well.
fn is_about_the_session(error: &Error) -> bool {
    error.status().is_some_and(|code| ["530", "538"].contains(&code.to_string().as_str()))
}

#[cfg(test)]
#[path = "smtp_tests.rs"]
mod tests;
