//! What a store's failure means for a person.
//!
//! Decides the words, and that nothing of an S3 server's answer but its error code is repeated: its
//! text may hold parts of a signed request. Refuses to know what is done about it.

use std::error::Error as _;

use object_store::Error;
use object_store::client::HttpError;

/// A store could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message store {store} {why}")]
pub(crate) struct StoreError {
    store: String,
    why: Why,
}

/// Why a store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error("cannot be reached: {0}")]
    Away(String),
    #[error("refuses the access key ({0}): check the key and what it may do in the bucket")]
    Refuses(String),
    #[error("does not exist (NoSuchBucket): make the bucket, or correct its name")]
    NoBucket,
    #[error("answers from another region ({0}): correct the region")]
    Region(String),
    #[error("writes over objects that are there: it ignores If-None-Match")]
    Overwrites,
    #[error("has no {0}")]
    Missing(String),
    #[error("fails: {0}")]
    Fails(String),
}

impl StoreError {
    pub(crate) fn new(store: &str, error: &Error) -> Self {
        Self { store: store.to_owned(), why: why(error) }
    }

    pub(crate) fn overwrites(store: &str) -> Self {
        Self { store: store.to_owned(), why: Why::Overwrites }
    }

    pub(crate) fn unusable(store: &str, why: &impl ToString) -> Self {
        Self { store: store.to_owned(), why: Why::Fails(why.to_string()) }
    }

    /// Whether the store answered well, and has no such object.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.why, Why::Missing(_))
    }
}

fn why(error: &Error) -> Why {
    let mut link: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(cause) = link {
        if let Some(error) = cause.downcast_ref::<HttpError>() {
            return Why::Away(error.source().map_or_else(|| error.to_string(), ToString::to_string));
        }
        link = cause.source();
    }
    let text = error.to_string();
    let status = between(&text, "status code: ", ":");
    let answer = between(&text, "<Code>", "</Code>").or(status).map(str::to_owned);
    match (error, answer.as_deref()) {
        (_, Some("NoSuchBucket")) => Why::NoBucket,
        (
            _,
            Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"),
        ) => Why::Region(answer.unwrap_or_default()),
        (Error::NotFound { path, .. }, _) => Why::Missing(path.clone()),
        (Error::PermissionDenied { .. } | Error::Unauthenticated { .. }, Some(answer)) => {
            Why::Refuses(answer.to_owned())
        }
        (_, Some(answer)) => Why::Fails(format!("it answers {answer}")),
        (_, None) if text.contains("LOCATION") => Why::Region("a redirect".to_owned()),
        (_, None) => Why::Fails(text),
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: &Error) -> String {
        StoreError::new("s3://messages", error).to_string()
    }

    /// As `object_store` writes it.
    fn answered(status: &str, body: &str) -> Box<dyn std::error::Error + Send + Sync> {
        format!("Server returned non-2xx status code: {status}: {body}").into()
    }

    #[test]
    fn nothing_of_an_answer_is_repeated_but_its_error_code() {
        let body =
            "<Error><Code>SignatureDoesNotMatch</Code><StringToSign>AWS4 secret</StringToSign></Error>";
        let error =
            Error::PermissionDenied { path: "alice/1".into(), source: answered("403 Forbidden", body) };
        assert_eq!(
            said(&error),
            "the message store s3://messages refuses the access key (SignatureDoesNotMatch): check the key and \
             what it may do in the bucket"
        );
        let error = Error::Generic { store: "S3", source: answered("500 Internal Server Error", "secret") };
        assert_eq!(
            said(&error),
            "the message store s3://messages fails: it answers 500 Internal Server Error"
        );
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_object() {
        let missing =
            |body| Error::NotFound { path: "alice/1".into(), source: answered("404 Not Found", body) };
        let bucket = StoreError::new("s3://messages", &missing("<Error><Code>NoSuchBucket</Code></Error>"));
        assert!(!bucket.is_missing());
        assert!(bucket.to_string().contains("does not exist (NoSuchBucket)"));
        let object = StoreError::new("s3://messages", &missing("<Error><Code>NoSuchKey</Code></Error>"));
        assert!(object.is_missing());
    }
}
