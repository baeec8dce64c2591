//! Where a scenario takes place: an Umbriel that serves the objects of a small office.
//!
//! Decides what a scenario may do and see, which is what a person, a caller and a mail server can.
//! Refuses to know whether that Umbriel is one program with a folder or pods of a cluster.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::mail::Mail;
use crate::wait_until;

/// An Umbriel that serves [`crate::house::office`].
pub trait Site: Sync {
    /// The address that gateway `pbx` calls from.
    fn caller(&self) -> IpAddr;

    /// An address that no gateway has.
    fn stranger(&self) -> IpAddr;

    /// Where calls go.
    fn router(&self) -> SocketAddr;

    /// Where the router sends them.
    fn mailbox_server(&self) -> SocketAddr;

    /// A folder for a scenario's own files, gone with the site.
    fn scratch(&self) -> &Path;

    /// Hands over a file with objects, which takes the place of one with the same name.
    fn apply(&self, file: &str, yaml: &str);

    /// What whoever applies files has been told about them until now, and can see of them now.
    fn told(&self) -> String;

    /// What the servers have logged, one JSON object a line.
    fn logged(&self) -> String;

    /// Every message that was delivered.
    fn mails(&self) -> Vec<Mail>;

    /// Waits until whoever applies files is told all of this.
    fn wait_until_told(&self, parts: &[&str]) {
        wait_until(&format!("somebody is told {parts:?}"), Duration::from_secs(20), || {
            let told = self.told();
            parts.iter().all(|part| told.contains(part)).then_some(())
        });
    }

    /// Waits until a server has logged `text`.
    fn wait_until_logged(&self, text: &str) {
        wait_until(&format!("a server logs {text}"), Duration::from_secs(20), || {
            self.logged().contains(text).then_some(())
        });
    }

    /// Waits until at least `count` messages have arrived.
    fn wait_for_mails(&self, count: usize) -> Vec<Mail> {
        wait_until(&format!("{count} messages arrive"), Duration::from_secs(30), || {
            let mails = self.mails();
            (mails.len() >= count).then_some(mails)
        })
    }
}
