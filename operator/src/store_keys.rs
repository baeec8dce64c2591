//! The keys of a bucket, in a Secret that a person wrote: [`StoreKeys`].
//!
//! Decides what the fields of such a Secret are called, which file of a server each of them becomes,
//! and whether a server can use them. They are called as AWS and those who make buckets call them. No
//! problem repeats what they say.

use std::collections::BTreeMap;

use config::parts::{STORE_FILES, digest};

/// The type of such a Secret in a cluster: the operator asks for no others.
pub(crate) const SECRET_TYPE: &str = "umbriel.dev/s3";

/// How messages call such a Secret.
pub(crate) const SECRET_OF_STORE: &str = "Secret of type umbriel.dev/s3";

/// The fields of the Secret, in the order of the files that they become.
pub(crate) const FIELDS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ca.crt"];

/// What a Secret holds for a bucket.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreKeys {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    authorities: Option<String>,
}

impl std::fmt::Debug for StoreKeys {
    /// Shows nothing of them.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StoreKeys(..)")
    }
}

impl StoreKeys {
    /// What `text` gives for each field of the Secret, as far as it has it.
    pub fn read(text: impl Fn(&str) -> Option<String>) -> StoreKeys {
        let [access_key_id, secret_access_key, authorities] = FIELDS.map(text);
        StoreKeys { access_key_id, secret_access_key, authorities }
    }

    /// The files that servers read, as far as the Secret has them.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let texts = [&self.access_key_id, &self.secret_access_key, &self.authorities];
        STORE_FILES.into_iter().zip(texts).filter_map(|(file, text)| Some((file, text.as_deref()?)))
    }

    /// The digests of those files.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        self.files().map(|(file, text)| (file.into(), digest(text.as_bytes()))).collect()
    }

    /// Why a server cannot use them.
    pub(crate) fn fault(&self) -> Option<String> {
        for (field, text) in FIELDS.into_iter().zip([&self.access_key_id, &self.secret_access_key]) {
            match text {
                None => return Some(format!("it has no {field}")),
                Some(text) if text.is_empty() => return Some(format!("its {field} is empty")),
                // It would be signed with as it is, and be another key.
                Some(text) if text.trim() != text => {
                    return Some(format!(
                        "its {field} begins or ends with white space, such as a line's end"
                    ));
                }
                Some(_) => {}
            }
        }
        let error = runtime::tls::authorities(self.authorities.as_deref()?).err()?;
        Some(format!("its {}: {error}", FIELDS[2]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(fields: &[(&str, &str)]) -> Option<String> {
        let text =
            |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, text)| (*text).to_owned());
        StoreKeys::read(text).fault()
    }

    #[test]
    fn keys_that_no_server_can_use_are_told_and_not_shown() {
        let id = ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE");
        let secret = ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI");
        let (authority, _) = runtime::tls::self_signed("s3", [127, 0, 0, 1].into()).unwrap();
        assert_eq!(fault(&[id, secret]), None);
        assert_eq!(fault(&[id, secret, ("ca.crt", &authority)]), None);
        assert_eq!(fault(&[secret]).as_deref(), Some("it has no AWS_ACCESS_KEY_ID"));
        assert_eq!(fault(&[id]).as_deref(), Some("it has no AWS_SECRET_ACCESS_KEY"));
        assert_eq!(
            fault(&[id, ("AWS_SECRET_ACCESS_KEY", "")]).as_deref(),
            Some("its AWS_SECRET_ACCESS_KEY is empty")
        );
        assert_eq!(
            fault(&[id, ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI\n")]).as_deref(),
            Some("its AWS_SECRET_ACCESS_KEY begins or ends with white space, such as a line's end")
        );
        assert_eq!(
            fault(&[id, secret, ("ca.crt", "wJalrXUtnFEMI")]).as_deref(),
            Some("its ca.crt: read certificate chain: no certificate in it")
        );
        assert_eq!(format!("{:?}", StoreKeys::default()), "StoreKeys(..)");
    }

    #[test]
    fn a_server_reads_what_the_secret_holds_under_names_of_its_own() {
        let keys = StoreKeys::read(|field| Some(format!("what {field} says")));
        let files: Vec<_> = keys.files().collect();
        assert_eq!(
            files,
            [
                ("store-access-key-id", "what AWS_ACCESS_KEY_ID says"),
                ("store-secret-access-key", "what AWS_SECRET_ACCESS_KEY says"),
                ("store-authorities.pem", "what ca.crt says"),
            ]
        );
    }
}
