//! Counters that many workers count at once.
//!
//! Decides that each worker counts in memory of its own, on cache lines that no other writes, and that
//! the sum is made when somebody asks: so a count costs a few nanoseconds however many workers there
//! are. Refuses to know what is counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::metrics::Registry;

/// Counters of 8 bytes on the two cache lines that processors fetch together.
const ON_A_LINE: usize = 16;

/// Some counters, by number, as one worker counts them; clones count as the same worker.
#[derive(Clone, Debug)]
pub struct Tally {
    all: Arc<Workers>,
    own: Arc<[Line]>,
}

#[derive(Debug)]
struct Workers {
    size: usize,
    /// By worker.
    lines: Mutex<BTreeMap<usize, Arc<[Line]>>>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; ON_A_LINE]);

impl Tally {
    /// So many counters, as the first worker counts them.
    #[must_use]
    pub fn new(size: usize) -> Tally {
        Workers { size, lines: Mutex::default() }.tally(0)
    }

    /// The same counters, as another worker counts them.
    #[must_use]
    pub fn of(&self, worker: usize) -> Tally {
        Tally { own: self.all.lines_of(worker), all: Arc::clone(&self.all) }
    }

    /// Counts.
    pub fn add(&self, counter: usize, number: u64) {
        if let Some(count) = at(&self.own, counter) {
            count.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// What all workers have counted.
    #[must_use]
    pub fn sum(&self, counter: usize) -> u64 {
        self.by_worker(counter).map(|(_, count)| count).sum()
    }

    /// What each worker has counted.
    pub fn by_worker(&self, counter: usize) -> impl Iterator<Item = (usize, u64)> {
        let workers = self.all.lock().clone();
        let count = move |lines: &[Line]| at(lines, counter).map_or(0, |count| count.load(Ordering::Relaxed));
        workers.into_iter().map(move |(worker, lines)| (worker, count(&lines)))
    }
}

impl Workers {
    fn tally(self, worker: usize) -> Tally {
        let all = Arc::new(self);
        Tally { own: all.lines_of(worker), all }
    }

    fn lines_of(&self, worker: usize) -> Arc<[Line]> {
        let lines = || (0..self.size.div_ceil(ON_A_LINE)).map(|_| Line::default()).collect();
        Arc::clone(self.lock().entry(worker).or_insert_with(lines))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<[Line]>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn at(lines: &[Line], counter: usize) -> Option<&AtomicU64> {
    lines.get(counter / ON_A_LINE).map(|line| &line.0[counter % ON_A_LINE])
}

/// Counters of a [`Tally`] under one name.
#[derive(Clone, Debug)]
pub struct Family {
    /// The name, without `_total`.
    pub name: &'static str,
    /// What is counted.
    pub help: &'static str,
    /// What tells them apart.
    pub by: By,
}

/// What tells the counters of a family apart.
#[derive(Clone, Debug)]
pub enum By {
    /// There is one.
    Nothing(usize),
    /// A label, with its values and their counters.
    Label(&'static str, Vec<(&'static str, usize)>),
    /// Like [`By::Label`], where what was never counted is not shown.
    Seen(&'static str, Vec<(&'static str, usize)>),
    /// The worker; each counts the sum of these.
    Worker(Vec<usize>),
}

#[derive(Debug)]
struct Published {
    tally: Tally,
    families: Vec<Family>,
}

impl Tally {
    /// Publishes them.
    pub fn register(&self, registry: &mut Registry, families: Vec<Family>) {
        registry.register_collector(Box::new(Published { tally: self.clone(), families }));
    }
}

impl Collector for Published {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Family { name, help, by } in &self.families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            let mut write = |label: &'static str, value: &str, count: u64| {
                family.encode_family(&[(label, value)])?.encode_counter::<NoLabelSet, _, u64>(&count, None)
            };
            match by {
                By::Nothing(counter) => {
                    let count = self.tally.sum(*counter);
                    family.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
                By::Label(label, counters) => {
                    for (value, counter) in counters {
                        write(label, value, self.tally.sum(*counter))?;
                    }
                }
                By::Seen(label, counters) => {
                    for (value, counter) in counters {
                        match self.tally.sum(*counter) {
                            0 => (),
                            count => write(label, value, count)?,
                        }
                    }
                }
                By::Worker(counters) => {
                    let mut workers: BTreeMap<usize, u64> = BTreeMap::new();
                    for (worker, count) in counters.iter().flat_map(|counter| self.tally.by_worker(*counter))
                    {
                        *workers.entry(worker).or_default() += count;
                    }
                    for (worker, count) in workers {
                        write("worker", &worker.to_string(), count)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{lock, registry, text};

    #[test]
    fn what_workers_count_is_summed_and_can_be_told_apart() {
        let first = Tally::new(20);
        let second = first.of(1);
        first.add(17, 2);
        second.add(17, 3);
        second.of(1).add(17, 10);
        first.add(16, 1);
        assert_eq!((first.sum(17), second.sum(16), first.sum(0)), (15, 1, 0));
        assert_eq!(first.by_worker(17).collect::<Vec<_>>(), [(0, 2), (1, 13)]);
    }

    #[test]
    fn no_two_workers_write_to_one_cache_line() {
        let first = Tally::new(3);
        let second = first.of(1);
        let place = |tally: &Tally| std::ptr::from_ref(&tally.own[0]).addr() / 128;
        assert_eq!(size_of::<Line>(), 128);
        assert_ne!(place(&first), place(&second));
    }

    #[test]
    fn they_are_published_with_their_labels() {
        let (registry, tally) = (registry(), Tally::new(4));
        let family = |name, by| Family { name, help: "Things", by };
        let label = || vec![("one", 0), ("two", 1)];
        let families = vec![
            family("all", By::Nothing(3)),
            family("every", By::Label("kind", label())),
            family("seen", By::Seen("kind", label())),
            family("share", By::Worker(vec![0, 1])),
        ];
        tally.register(lock(&registry).sub_registry_with_label(("server".into(), "x".into())), families);
        tally.add(0, 5);
        tally.of(7).add(1, 0);
        let text = text(&registry).unwrap();
        let wanted = [
            "all_total{server=\"x\"} 0",
            "every_total{server=\"x\",kind=\"one\"} 5",
            "every_total{server=\"x\",kind=\"two\"} 0",
            "seen_total{server=\"x\",kind=\"one\"} 5",
            "share_total{server=\"x\",worker=\"0\"} 5",
            "share_total{server=\"x\",worker=\"7\"} 0",
        ];
        assert_eq!(text.lines().filter(|line| line.contains("_total")).collect::<Vec<_>>(), wanted);
    }
}
