//! What callers hear: sentences in each language, and the audio made from them.
//!
//! Decides the words. Refuses to know how they become sound (`speech`) and when they are played
//! (`call`).

use audio_codec_algorithms::{encode_alaw, encode_ulaw};
use bytes::Bytes;
use config::Language;

use crate::message::Codec;

/// A name is spoken up to this many characters, the most that a display name may have.
const MAX_NAME_CHARACTERS: usize = 64;

/// Something that is said to a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sentence {
    /// Asks for a message for somebody.
    Greeting {
        /// A display name or an extension.
        name: String,
    },
    /// Asks for a message, for when the greeting with the name is not ready.
    GenericGreeting,
    /// Says that the recording cannot go on.
    StorageFailed,
}

/// A sentence in a language: the key under which its audio is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Utterance {
    /// The language.
    pub(crate) language: Language,
    /// The sentence.
    pub(crate) sentence: Sentence,
}

impl Utterance {
    /// The words.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        match &self.sentence {
            Sentence::Greeting { name } => greeting(self.language, &spoken(name)),
            Sentence::GenericGreeting => generic_greeting(self.language).to_owned(),
            Sentence::StorageFailed => storage_failed(self.language).to_owned(),
        }
    }
}

/// Audio that is ready to be sent, in both laws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    pcmu: Bytes,
    pcma: Bytes,
}

impl Prompt {
    /// Encodes samples of 8 kHz.
    #[must_use]
    pub(crate) fn from_samples(samples: &[i16]) -> Self {
        Prompt {
            pcmu: samples.iter().map(|sample| encode_ulaw(*sample)).collect(),
            pcma: samples.iter().map(|sample| encode_alaw(*sample)).collect(),
        }
    }

    /// The audio in one law, a byte for each sample of 8 kHz.
    #[must_use]
    pub(crate) fn encoded(&self, codec: Codec) -> Bytes {
        match codec {
            Codec::Pcmu => self.pcmu.clone(),
            Codec::Pcma => self.pcma.clone(),
        }
    }
}

fn greeting(language: Language, name: &str) -> String {
    match language {
        Language::EnUs => {
            format!("Please leave a message for {name} after the tone, then hang up or press the pound key.")
        }
        Language::EnGb => {
            format!("Please leave a message for {name} after the tone, then hang up or press the hash key.")
        }
        Language::DeDe => format!(
            "Bitte hinterlassen Sie nach dem Signalton eine Nachricht für {name}. Danach legen Sie auf oder drücken die Rautetaste."
        ),
        Language::FrFr => format!(
            "Veuillez laisser un message pour {name} après le signal sonore, puis raccrochez ou appuyez sur la touche dièse."
        ),
    }
}

fn generic_greeting(language: Language) -> &'static str {
    match language {
        Language::EnUs => "Please leave a message after the tone, then hang up or press the pound key.",
        Language::EnGb => "Please leave a message after the tone, then hang up or press the hash key.",
        Language::DeDe => {
            "Bitte hinterlassen Sie nach dem Signalton eine Nachricht. Danach legen Sie auf oder drücken die Rautetaste."
        }
        Language::FrFr => {
            "Veuillez laisser un message après le signal sonore, puis raccrochez ou appuyez sur la touche dièse."
        }
    }
}

fn storage_failed(language: Language) -> &'static str {
    match language {
        Language::EnUs | Language::EnGb => {
            "We are sorry, your message can not be recorded any further. Please call again later. Goodbye."
        }
        Language::DeDe => {
            "Leider kann Ihre Nachricht nicht weiter aufgezeichnet werden. Bitte rufen Sie später noch einmal an. Auf Wiederhören."
        }
        Language::FrFr => {
            "Nous sommes désolés, votre message ne peut plus être enregistré. Veuillez rappeler plus tard. Au revoir."
        }
    }
}

/// A name as it is spoken: extensions digit by digit, and nothing in it that could end the
/// sentence early.
fn spoken(name: &str) -> String {
    let name = name.trim();
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        let digits: Vec<String> = name.chars().take(MAX_NAME_CHARACTERS).map(String::from).collect();
        return digits.join(" ");
    }
    name.chars().take(MAX_NAME_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(language: Language, name: &str) -> String {
        Utterance { language, sentence: Sentence::Greeting { name: name.to_owned() } }.text()
    }

    #[test]
    fn greetings_name_the_owner_in_the_language_of_the_dial_plan() {
        assert_eq!(
            said(Language::EnUs, "Ada Lovelace"),
            "Please leave a message for Ada Lovelace after the tone, then hang up or press the pound key."
        );
        assert!(said(Language::EnGb, "Ada").ends_with("press the hash key."));
        assert!(said(Language::DeDe, "Ada").starts_with("Bitte hinterlassen Sie"));
        assert!(said(Language::FrFr, "Ada").contains("pour Ada après"));
    }

    #[test]
    fn extensions_are_spoken_digit_by_digit() {
        assert!(said(Language::EnUs, "101").contains("for 1 0 1 after"));
    }

    #[test]
    fn a_name_cannot_break_the_sentence() {
        assert!(said(Language::EnUs, "A\nB\u{7}").contains("for A B  after"));
        assert!(said(Language::EnUs, &"x".repeat(500)).len() < 200);
    }

    #[test]
    fn every_sentence_exists_in_every_language() {
        for language in [Language::EnUs, Language::EnGb, Language::DeDe, Language::FrFr] {
            for sentence in [Sentence::GenericGreeting, Sentence::StorageFailed] {
                assert!(Utterance { language, sentence }.text().ends_with('.'));
            }
        }
    }

    #[test]
    fn audio_is_ready_in_both_laws() {
        let prompt = Prompt::from_samples(&[0, 0]);
        assert_eq!(prompt.encoded(Codec::Pcmu).as_ref(), [0xff, 0xff]);
        assert_eq!(prompt.encoded(Codec::Pcma).as_ref(), [0xd5, 0xd5]);
    }
}
