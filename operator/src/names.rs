//! Which names are looked up when, and what they led to: [`Book`].
//!
//! Decides that a name is asked for when somebody writes it or changes who has it, again when its answer
//! runs out, and more and more rarely while nobody answers; the last good answer stays meanwhile. Refuses
//! to know who is asked and what time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crds::{IpAddressFamily, UMIPGatewaySpec};

use crate::world::Key;

/// An answer holds for at least so long: a gateway is no reason to ask several times a second.
const MIN_TTL: Duration = Duration::from_secs(5);
/// An answer is not believed for longer: whoever writes a day by mistake waits no day.
const MAX_TTL: Duration = Duration::from_secs(3600);
/// A question that nobody answered is asked again after this, and then after twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Addresses that are taken from one answer. A gateway with more is no gateway.
pub(crate) const MAX_ADDRESSES: usize = 64;

/// Which addresses of which name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// The name, in small letters, without the dot of the root.
    pub name: String,
    /// Of which kind.
    pub family: Family,
}

/// A kind of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4 addresses, `A` records.
    V4,
    /// IPv6 addresses, `AAAA` records.
    V6,
}

/// Who asks: each object that names a name, in its generation.
pub type Askers = BTreeSet<(Key, i64)>;

/// What is asked for, and by whom.
pub type Wanted = BTreeMap<Question, Askers>;

/// What was found out about a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The last good answer. A name without addresses of this kind has had an empty one.
    pub addresses: BTreeSet<IpAddr>,
    /// Why there was none the last time, if it was so.
    pub trouble: Option<String>,
}

/// What was found out about all names.
pub type Answers = BTreeMap<Question, Answer>;

/// What somebody answered: addresses, and how long they hold; or why not.
pub(crate) type Heard = Result<(BTreeSet<IpAddr>, Duration), String>;

/// What some gateways ask for, and which of them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Asked(Vec<(Question, (Key, i64))>);

impl Asked {
    /// Takes up a gateway that is known by the name `fqdn`, in its generation.
    pub(crate) fn add(&mut self, fqdn: &str, spec: &UMIPGatewaySpec, (key, generation): (&Key, i64)) {
        self.0
            .extend(questions(fqdn, spec).into_iter().map(|question| (question, (key.clone(), generation))));
    }
}

/// The names that gateways are known by, and who asks for them.
pub(crate) fn wanted<'a>(all: impl Iterator<Item = &'a Asked>) -> Wanted {
    let mut wanted = Wanted::new();
    for (question, asker) in all.flat_map(|asked| &asked.0) {
        wanted.entry(question.clone()).or_default().insert(asker.clone());
    }
    wanted
}

/// What is asked for to find the addresses of a gateway with this name (spec 1.2).
pub(crate) fn questions(name: &str, spec: &UMIPGatewaySpec) -> Vec<Question> {
    let families: &[Family] = match spec.ip_address_family {
        None | Some(IpAddressFamily::IPv4Only) => &[Family::V4],
        Some(IpAddressFamily::IPv6Only) => &[Family::V6],
        Some(IpAddressFamily::Any) => &[Family::V6, Family::V4],
    };
    families.iter().map(|family| Question { name: name.to_owned(), family: *family }).collect()
}

/// All questions, and when each is due.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<Question, Entry>,
}

#[derive(Debug)]
struct Entry {
    askers: Askers,
    answer: Option<Answer>,
    /// When it is asked next; `None` while it is asked.
    due_at: Option<Instant>,
    /// What it waits after one more failure.
    retry: Duration,
    /// Somebody else asks since it was asked.
    is_stale: bool,
}

impl Book {
    /// Takes up who asks for what. What nobody asks for any more is forgotten.
    pub(crate) fn want(&mut self, wanted: &Wanted, now: Instant) {
        self.entries.retain(|question, _| wanted.contains_key(question));
        for (question, askers) in wanted {
            let entry = self.entries.entry(question.clone()).or_insert_with(|| Entry {
                askers: Askers::new(),
                answer: None,
                due_at: Some(now),
                retry: FIRST_RETRY,
                is_stale: false,
            });
            if entry.askers == *askers {
                continue;
            }
            // One that goes is no reason to ask.
            let is_new = askers.iter().any(|asker| !entry.askers.contains(asker));
            entry.askers.clone_from(askers);
            match &mut entry.due_at {
                Some(due_at) if is_new => *due_at = now,
                None if is_new => entry.is_stale = true,
                Some(_) | None => {}
            }
        }
    }

    /// The questions that are due, at most `room` of them. They are asked now.
    pub(crate) fn ask(&mut self, room: usize, now: Instant) -> Vec<Question> {
        let is_due = |entry: &Entry| entry.due_at.is_some_and(|due_at| due_at <= now);
        let due = self.entries.iter_mut().filter(|(_, entry)| is_due(entry)).take(room);
        due.map(|(question, entry)| {
            entry.due_at = None;
            question.clone()
        })
        .collect()
    }

    /// Takes up what somebody said; says whether that is news.
    pub(crate) fn hear(&mut self, question: &Question, heard: Heard, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(question) else { return false };
        let before = entry.answer.clone();
        let (answer, wait) = match heard {
            Ok((addresses, ttl)) => {
                entry.retry = FIRST_RETRY;
                let addresses = addresses.into_iter().take(MAX_ADDRESSES).collect();
                (Answer { addresses, trouble: None }, ttl.clamp(MIN_TTL, MAX_TTL))
            }
            Err(why) => {
                let wait = entry.retry;
                entry.retry = (wait * 2).min(LAST_RETRY);
                let addresses = before.as_ref().map(|answer| answer.addresses.clone()).unwrap_or_default();
                (Answer { addresses, trouble: Some(why) }, wait)
            }
        };
        entry.due_at = Some(if std::mem::take(&mut entry.is_stale) { now } else { now + wait });
        entry.answer = Some(answer);
        entry.answer != before
    }

    /// When the next question is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.due_at).min()
    }

    /// What was found out so far.
    pub(crate) fn answers(&self) -> Answers {
        let answered = self.entries.iter();
        answered.filter_map(|(question, entry)| Some((question.clone(), entry.answer.clone()?))).collect()
    }

    /// Whether every question has had an answer, or the news that there is none.
    pub(crate) fn is_complete(&self) -> bool {
        self.entries.values().all(|entry| entry.answer.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn question(name: &str) -> Question {
        Question { name: name.into(), family: Family::V4 }
    }

    fn wanted(names: &[(&str, i64)]) -> Wanted {
        let asker = |(name, generation): &(&str, i64)| {
            (question(name), Askers::from([(Key::new("default", "sbc"), *generation)]))
        };
        names.iter().map(asker).collect()
    }

    fn led_to(addresses: &[&str], ttl: Duration) -> Heard {
        Ok((addresses.iter().map(|address| address.parse().unwrap()).collect(), ttl))
    }

    fn shown(book: &Book, name: &str) -> String {
        let Some(answer) = book.answers().remove(&question(name)) else { return "unknown".into() };
        let addresses: Vec<String> = answer.addresses.iter().map(IpAddr::to_string).collect();
        format!("{} {}", addresses.join(","), answer.trouble.unwrap_or_default()).trim().to_owned()
    }

    fn names(questions: &[Question]) -> Vec<&str> {
        questions.iter().map(|question| question.name.as_str()).collect()
    }

    #[test]
    fn a_name_is_asked_for_at_once_and_again_when_its_answer_runs_out() {
        let (mut book, start) = (Book::default(), Instant::now());
        book.want(&wanted(&[("a", 1)]), start);
        assert_eq!((names(&book.ask(9, start)), shown(&book, "a")), (vec!["a"], "unknown".into()));
        assert!(!book.is_complete());
        assert_eq!((book.ask(9, start), book.deadline()), (vec![], None), "it is asked already");
        assert!(book.hear(&question("a"), led_to(&["192.0.2.1"], 30 * SECOND), start));
        assert_eq!((shown(&book, "a"), book.is_complete()), ("192.0.2.1".into(), true));
        assert_eq!(book.deadline(), Some(start + 30 * SECOND));
        assert_eq!(book.ask(9, start + 29 * SECOND), []);
        assert_eq!(names(&book.ask(9, start + 30 * SECOND)), ["a"]);
        assert!(!book.hear(&question("a"), led_to(&["192.0.2.1"], 30 * SECOND), start), "that is no news");
        assert!(book.hear(&question("a"), led_to(&["192.0.2.2"], SECOND), start));
        assert_eq!((shown(&book, "a"), book.deadline()), ("192.0.2.2".into(), Some(start + 5 * SECOND)));
        assert!(book.hear(&question("a"), led_to(&[], 90_000 * SECOND), start));
        assert_eq!((shown(&book, "a"), book.deadline()), (String::new(), Some(start + 3600 * SECOND)));
    }

    #[test]
    fn the_last_good_answer_stays_while_nobody_answers_who_is_asked_more_and_more_rarely() {
        let (mut book, start) = (Book::default(), Instant::now());
        book.want(&wanted(&[("a", 1)]), start);
        assert!(book.hear(&question("a"), led_to(&["192.0.2.1"], 30 * SECOND), start));
        for wait in [2, 4, 8, 16, 32, 60, 60] {
            book.hear(&question("a"), Err("timed out".into()), start);
            assert_eq!(shown(&book, "a"), "192.0.2.1 timed out");
            assert_eq!(book.deadline(), Some(start + wait * SECOND));
        }
        assert!(book.hear(&question("a"), led_to(&["192.0.2.3"], 30 * SECOND), start));
        book.hear(&question("a"), Err("timed out".into()), start);
        assert_eq!(
            (shown(&book, "a"), book.deadline()),
            ("192.0.2.3 timed out".into(), Some(start + 2 * SECOND))
        );
    }

    #[test]
    fn a_change_of_whoever_names_it_asks_anew_and_what_nobody_names_is_forgotten() {
        let (mut book, start) = (Book::default(), Instant::now());
        book.want(&wanted(&[("a", 1), ("b", 1)]), start);
        assert_eq!(names(&book.ask(1, start)), ["a"], "there is room for one");
        assert_eq!(names(&book.ask(9, start)), ["b"]);
        // It changes while it is asked.
        book.want(&wanted(&[("a", 2), ("b", 1)]), start);
        for name in ["a", "b"] {
            book.hear(&question(name), led_to(&["192.0.2.1"], 30 * SECOND), start);
        }
        assert_eq!(names(&book.ask(9, start)), ["a"]);
        book.hear(&question("a"), led_to(&["192.0.2.1"], 30 * SECOND), start);
        book.want(&wanted(&[("a", 2), ("b", 2)]), start + SECOND);
        assert_eq!(names(&book.ask(9, start + SECOND)), ["b"]);
        book.want(&wanted(&[("a", 2)]), start + SECOND);
        assert!(!book.hear(&question("b"), led_to(&["192.0.2.9"], SECOND), start));
        assert_eq!((shown(&book, "a"), shown(&book, "b")), ("192.0.2.1".into(), "unknown".into()));
    }
}
