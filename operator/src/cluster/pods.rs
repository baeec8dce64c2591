//! [`Pods`]: what the servers in pods say, and how they are told that there is news.
//!
//! Decides how often a pod that does not serve yet what it should is asked and nudged. A nudge is
//! an annotation: the kubelet looks after a pod whose object changes, and brings its files up to
//! date then instead of a minute later. Kubelets may be busy, so it is repeated. A pod whose kubelet
//! is not heard of is asked whether it takes calls, for as long as that lasts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::objects::{Objects, Source, key};
use super::populate::{address, server_of, stays};
use super::readiness::{Word, word};
use super::watch;
use crate::workloads::ADMIN_PORT;
use crate::world::{Generations, ObjectRef};

/// The annotation that makes a kubelet look.
const NUDGE_ANNOTATION: &str = "umbriel.dev/nudge";

/// A server answers in a millisecond; one that does not within this time is asked again.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// An answer is two lines; a longer one is not ours.
const MAX_ANSWER_BYTES: u64 = 4_096;

/// Pods are asked this often while there is news that they should have in a moment.
const ASK_SOON: Duration = Duration::from_millis(50);

/// And this often once they are late.
const ASK_LATER: Duration = Duration::from_secs(1);

/// When a pod is late.
const LATE: Duration = Duration::from_secs(5);

/// The first nudge is repeated after this time, and then after twice the time before. A kubelet looks
/// after a pod once a second at most: a nudge before that would only have it look once more, and hold
/// up the next change for a second.
const FIRST_REPEAT: Duration = Duration::from_millis(1_200);

/// 1.2 s * 2^3 is 9.6 s: it gets no rarer.
const MAX_DOUBLINGS: u32 = 3;

/// A pod that nobody else vouches for takes no calls when it has not said that it does so many times
/// in a row: one answer may be late.
const MAX_DENIALS: u32 = 3;

/// What is known of the pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// What each process said last.
    answers: BTreeMap<Process, u64>,
    nudged: BTreeMap<Process, Nudged>,
    /// How many times in a row each process whose kubelet is not heard of did not say that it takes
    /// calls.
    denials: BTreeMap<Process, u32>,
    /// What was wanted when a namespace was looked at last, and which pods did not serve it.
    namespaces: BTreeMap<String, Waiting>,
}

/// One start of the server in a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    uid: String,
    restarts: u64,
}

#[derive(Clone, Copy, Debug)]
struct Nudged {
    generation: u64,
    times: u32,
    at: Instant,
}

#[derive(Debug)]
struct Waiting {
    wanted: Generations,
    /// Since when `wanted` is what it is.
    since: Instant,
    /// When the pods that do not serve it yet are asked again; `None` if all do.
    ask_at: Option<Instant>,
}

impl Pods {
    /// The generation that a pod says it serves.
    pub(super) fn serves(&self, pod: &Json) -> Option<u64> {
        self.answers.get(&process(pod)).copied()
    }

    /// Takes up that a pod says that it serves this generation.
    pub(super) fn answered(&mut self, pod: &Json, generation: u64) {
        self.answers.insert(process(pod), generation);
    }

    /// Whether a pod whose kubelet is not heard of says itself that it takes calls.
    pub(super) fn vouches_for(&self, pod: &Json) -> bool {
        self.denials.get(&process(pod)).is_none_or(|denials| *denials < MAX_DENIALS)
    }

    /// Every pod is asked again.
    pub(super) fn forget(&mut self) {
        self.answers.clear();
    }

    /// The namespaces with pods that are to be asked again.
    pub(super) fn due(&self, now: Instant) -> Vec<String> {
        let due = self.namespaces.iter().filter(|(_, waiting)| waiting.ask_at.is_some_and(|at| at <= now));
        due.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// When the next of them is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.namespaces.values().filter_map(|waiting| waiting.ask_at).min()
    }

    /// What was wanted when a namespace was looked at last.
    pub(super) fn wanted(&self, namespace: &str) -> Option<Generations> {
        self.namespaces.get(namespace).map(|waiting| waiting.wanted.clone())
    }

    /// Asks the pods of a namespace that are not known to serve what they should, or to take calls;
    /// says whether one of them answers otherwise than before.
    pub(super) async fn ask(&mut self, objects: &Objects, namespace: &str) -> bool {
        let known: Vec<Process> = objects.of(Source::Pods, namespace).map(|(_, pod)| process(pod)).collect();
        let mut questions = JoinSet::new();
        for (process, server, pod) in running(objects, namespace) {
            let wanted = self.namespaces.get(namespace).and_then(|waiting| waiting.wanted.get(&server));
            let answer = self.answers.get(&process);
            let is_unheard = word(pod) == Word::Unheard;
            if !is_unheard {
                self.denials.remove(&process);
            }
            if !is_unheard && answer.is_some() && answer == wanted {
                continue;
            }
            let Some(address) = address(pod) else { continue };
            questions.spawn(async move {
                let takes_calls = async { if is_unheard { Some(takes_calls(address).await) } else { None } };
                let (generation, takes_calls) = tokio::join!(generation(address), takes_calls);
                (process, generation, takes_calls)
            });
        }
        let mut is_news = false;
        while let Some(answered) = questions.join_next().await {
            let Ok((process, answer, takes_calls)) = answered else { continue };
            if let Some(takes_calls) = takes_calls {
                is_news |= self.hear(&process, takes_calls);
            }
            // Who was there before and is not now: what it said does not hold any more.
            let before = match answer {
                Some(generation) => self.answers.insert(process, generation),
                None => self.answers.remove(&process),
            };
            is_news |= before != answer;
        }
        if known.is_empty() {
            self.namespaces.remove(namespace);
        }
        is_news
    }

    /// Takes up whether a process says that it takes calls; says whether it is believed otherwise now.
    fn hear(&mut self, process: &Process, takes_calls: bool) -> bool {
        let denials = self.denials.entry(process.clone()).or_default();
        let before = *denials < MAX_DENIALS;
        *denials = if takes_calls { 0 } else { denials.saturating_add(1) };
        before != (*denials < MAX_DENIALS)
    }

    /// Tells the pods of a namespace that do not serve what is wanted that there is news. Says whether an
    /// answer told of a change that no plan has looked at yet.
    pub(super) async fn nudge(
        &mut self,
        client: &Client,
        objects: &mut Objects,
        namespace: &str,
        wanted: &Generations,
    ) -> bool {
        let now = Instant::now();
        let before = self.namespaces.get(namespace).filter(|waiting| waiting.wanted == *wanted);
        let since = before.map_or(now, |waiting| waiting.since);
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), namespace, &watch::resource(Source::Pods));
        let mut nudges = JoinSet::new();
        let mut waits = false;
        for (process, server, pod) in running(objects, namespace) {
            waits |= word(pod) == Word::Unheard;
            let Some(generation) = wanted.get(&server).copied() else { continue };
            if self.answers.get(&process) == Some(&generation) {
                self.nudged.remove(&process);
                continue;
            }
            waits = true;
            let Some(times) = self.repeat(&process, generation, now) else { continue };
            self.nudged.insert(process, Nudged { generation, times, at: now });
            let (api, name) = (api.clone(), pod["metadata"]["name"].as_str().unwrap_or_default().to_owned());
            nudges.spawn(async move { (annotate(&api, &name, generation, times).await, name) });
        }
        let pause = if now.duration_since(since) < LATE { ASK_SOON } else { ASK_LATER };
        let waiting = Waiting { wanted: wanted.clone(), since, ask_at: waits.then(|| now + pause) };
        self.namespaces.insert(namespace.into(), waiting);
        let mut is_overtaken = false;
        while let Some(done) = nudges.join_next().await {
            match done {
                // Its echo is no news.
                Ok((Ok(pod), _)) => {
                    let Some(pod) = watch::kept(&pod) else { continue };
                    let known = objects.get(Source::Pods, &key(&pod));
                    is_overtaken |= known.is_some_and(|known| known["status"] != pod["status"]);
                    objects.put(Source::Pods, pod);
                }
                Ok((Err(error), pod)) => {
                    tracing::warn!(namespace, pod, %error, "a pod cannot be nudged; it is tried again");
                }
                Err(_) => {}
            }
        }
        self.drop_gone(objects);
        is_overtaken
    }

    /// How many times a process was nudged before, if it should be now.
    fn repeat(&self, process: &Process, generation: u64, now: Instant) -> Option<u32> {
        match self.nudged.get(process).filter(|nudged| nudged.generation == generation) {
            None => Some(0),
            Some(nudged) => {
                let pause = FIRST_REPEAT * (1 << nudged.times.min(MAX_DOUBLINGS));
                (now.duration_since(nudged.at) >= pause).then(|| nudged.times.saturating_add(1))
            }
        }
    }

    /// Forgets processes that are no more.
    fn drop_gone(&mut self, objects: &Objects) {
        let there: Vec<Process> = objects.every(Source::Pods).map(process).collect();
        self.answers.retain(|process, _| there.contains(process));
        self.nudged.retain(|process, _| there.contains(process));
        self.denials.retain(|process, _| there.contains(process));
    }
}

/// The pods of servers that run.
fn running<'o>(
    objects: &'o Objects,
    namespace: &'o str,
) -> impl Iterator<Item = (Process, ObjectRef, &'o Json)> {
    let pods = objects.of(Source::Pods, namespace).filter(|(_, pod)| stays(pod));
    pods.filter_map(move |(_, pod)| Some((process(pod), server_of(pod, namespace)?, pod)))
}

fn process(pod: &Json) -> Process {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let restarts = statuses.filter_map(|status| status["restartCount"].as_u64()).sum();
    Process { uid: pod["metadata"]["uid"].as_str().unwrap_or_default().into(), restarts }
}

async fn annotate(
    api: &Api<DynamicObject>,
    name: &str,
    generation: u64,
    times: u32,
) -> Result<DynamicObject, kube::Error> {
    // The kubelet looks only if the text is another one.
    let text = format!("{generation}.{times}");
    let patch = json!({ "metadata": { "annotations": { NUDGE_ANNOTATION: text } } });
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await
}

/// What the server at `address` says that it serves.
async fn generation(address: IpAddr) -> Option<u64> {
    read_generation(&ask_for("/generation", address).await?)
}

/// Whether the server at `address` says that it takes calls.
async fn takes_calls(address: IpAddr) -> bool {
    ask_for("/readyz", address).await.is_some_and(|answer| body(&answer).is_some())
}

/// What the admin port at `address` answers.
async fn ask_for(path: &str, address: IpAddr) -> Option<String> {
    let question = async {
        let mut stream = tokio::net::TcpStream::connect(SocketAddr::new(address, ADMIN_PORT)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: umbriel\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(ANSWER_LIMIT, question).await.ok().flatten()
}

/// The generation in an answer: `router 7` as its body.
fn read_generation(answer: &str) -> Option<u64> {
    body(answer)?.trim_end().rsplit(' ').next()?.parse().ok()
}

/// The body of an answer that says yes.
fn body(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).filter(|status| *status == "200")?;
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_one_generation() {
        assert_eq!(read_generation("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nrouter 7\n"), Some(7));
        assert_eq!(read_generation("HTTP/1.1 503 Service Unavailable\r\n\r\nrouter 7\n"), None);
        assert_eq!(read_generation("HTTP/1.1 200 OK\r\n\r\nrouter\n"), None);
        assert_eq!(read_generation(""), None);
    }

    #[test]
    fn a_nudge_is_repeated_more_and_more_rarely() {
        let (start, mut pods) = (Instant::now(), Pods::default());
        let process = Process { uid: "a".into(), restarts: 0 };
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(pods.repeat(&process, 4, start), Some(0));
        pods.nudged.insert(process.clone(), Nudged { generation: 4, times: 0, at: start });
        assert_eq!(pods.repeat(&process, 4, at(1_199)), None);
        assert_eq!(pods.repeat(&process, 4, at(1_200)), Some(1));
        assert_eq!(pods.repeat(&process, 5, at(1)), Some(0), "another generation is news");
        pods.nudged.insert(process.clone(), Nudged { generation: 4, times: 9, at: start });
        assert_eq!(pods.repeat(&process, 4, at(9_599)), None);
        assert_eq!(pods.repeat(&process, 4, at(9_600)), Some(10));
    }

    #[test]
    fn one_late_answer_takes_nobody_out_of_service_and_three_in_a_row_do() {
        let (mut pods, pod) = (Pods::default(), json!({ "metadata": { "uid": "a" } }));
        let process = process(&pod);
        assert!(pods.vouches_for(&pod), "nobody has asked it");
        let heard = [false, false, true, false, false, false, false, true];
        let news = heard.map(|takes_calls| (pods.hear(&process, takes_calls), pods.vouches_for(&pod)));
        let (same, falls_silent) = ((false, true), (true, false));
        let (silent, returns) = ((false, false), (true, true));
        assert_eq!(news, [same, same, same, same, same, falls_silent, silent, returns]);
    }
}
