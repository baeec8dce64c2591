//! Which calls are placed when, and what their replies were.
//!
//! Decides the pace: closed, where each reply makes room for the next call, which shows what a server
//! can do; and open, where calls are due by a timetable whatever the server does, and are timed from
//! when they were due, so that a server which stalls cannot hide it. Every reply is checked. Refuses
//! to know sockets.

use crate::call::{Call, FIRST_EXTENSION, Template, digits, read};
use crate::histogram::Histogram;

/// A call without a reply for this long is lost, nanoseconds.
const LOST_AFTER_NS: u64 = 1_000_000_000;

/// How often lost calls are looked for, nanoseconds.
const LOOK_EVERY_NS: u64 = 200_000_000;

/// The most calls that wait for a reply in an open loop.
const OPEN_SLOTS: usize = 65_536;

/// When calls are placed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many at once, on each connection alike.
    Closed { in_flight: usize },
    /// So many a second.
    Open { per_second: f64 },
}

/// What replies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Redirects.
    Redirect,
    /// The beginning of the request, so many bytes.
    Echo { bytes: usize },
}

/// What came of it, from when measuring began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Calls with the right reply.
    pub(crate) answered: u64,
    /// Replies that are wrong.
    pub(crate) wrong: u64,
    /// Calls without a reply.
    pub(crate) lost: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

struct Slot {
    planned_ns: u64,
    call: Call,
    connection: usize,
    waits: bool,
}

/// The calls of one run.
pub(crate) struct Load {
    pub(crate) kind: Kind,
    template: Template,
    pace: Pace,
    users: u32,
    slots: Vec<Slot>,
    free: Vec<usize>,
    in_flight: Vec<usize>,
    serial: u32,
    random: u64,
    next_due_ns: f64,
    next_look_ns: u64,
    next_connection: usize,
    measuring: bool,
    histogram: Histogram,
    tally: Tally,
}

impl Load {
    pub(crate) fn new(template: Template, kind: Kind, pace: Pace, users: u32, connections: usize) -> Load {
        let slots = match pace {
            Pace::Closed { in_flight } => in_flight,
            Pace::Open { .. } => OPEN_SLOTS,
        };
        let empty = || Slot {
            planned_ns: 0,
            call: Call { number: 0, extension: FIRST_EXTENSION },
            connection: 0,
            waits: false,
        };
        Load {
            kind,
            template,
            pace,
            users,
            slots: (0..slots).map(|_| empty()).collect(),
            free: (0..slots).rev().collect(),
            in_flight: vec![0; connections],
            serial: 0,
            random: 1,
            next_due_ns: 0.0,
            next_look_ns: 0,
            next_connection: 0,
            measuring: false,
            histogram: Histogram::new(),
            tally: Tally::default(),
        }
    }

    /// Counts from now on, and nothing that was before.
    pub(crate) fn measure(&mut self, now_ns: u64) {
        self.measuring = true;
        self.next_due_ns = now_ns as f64;
        (self.tally, self.histogram) = (Tally::default(), Histogram::new());
    }

    /// What came of it.
    pub(crate) fn tally(&self) -> Tally {
        let (p50_us, p99_us) = (self.histogram.quantile_us(0.50), self.histogram.quantile_us(0.99));
        Tally { p50_us, p99_us, ..self.tally.clone() }
    }

    /// The connection on which the next call is to be placed now, and when it was due. `None` if
    /// none is.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<(usize, u64)> {
        let connections = self.in_flight.len();
        match self.pace {
            Pace::Closed { in_flight } => {
                let most = in_flight.div_ceil(connections);
                let mut order = (0..connections).map(|step| (self.next_connection + step) % connections);
                let connection = order.find(|connection| self.in_flight[*connection] < most)?;
                self.next_connection = connection;
                (!self.free.is_empty()).then_some((connection, now_ns))
            }
            Pace::Open { per_second } => {
                if self.next_due_ns > now_ns as f64 {
                    return None;
                }
                let due_ns = self.next_due_ns;
                self.next_due_ns += 1e9 / per_second;
                self.next_connection = (self.next_connection + 1) % connections;
                Some((self.next_connection, due_ns as u64))
            }
        }
    }

    /// Whether a closed loop has room for another call on a connection.
    pub(crate) fn has_room(&self, connection: usize) -> bool {
        match self.pace {
            Pace::Closed { in_flight } => {
                self.in_flight[connection] < in_flight.div_ceil(self.in_flight.len()) && !self.free.is_empty()
            }
            Pace::Open { .. } => false,
        }
    }

    /// Appends the INVITE of a new call.
    pub(crate) fn place(&mut self, connection: usize, planned_ns: u64, out: &mut Vec<u8>) {
        let Some(slot) = self.free.pop() else {
            // So many replies are outstanding that this one can only come too late.
            self.tally.lost += u64::from(self.measuring);
            return;
        };
        self.serial = self.serial.wrapping_add(1);
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let user = u32::try_from((self.random >> 33) % u64::from(self.users)).unwrap_or(0);
        let number = (slot as u64) << 32 | u64::from(self.serial);
        let call = Call { number, extension: FIRST_EXTENSION + user };
        self.slots[slot] = Slot { planned_ns, call, connection, waits: true };
        self.in_flight[connection] += 1;
        self.template.invite(call, out);
    }

    /// Takes a reply, and appends its ACK.
    pub(crate) fn take(&mut self, bytes: &[u8], now_ns: u64, out: &mut Vec<u8>) {
        let Some(reply) = read(bytes) else {
            self.tally.wrong += 1;
            return;
        };
        let index = usize::try_from(reply.number >> 32).unwrap_or(usize::MAX);
        // The reply of a call that was given up is late and not wrong: it was counted as lost.
        let Some(slot) =
            self.slots.get_mut(index).filter(|slot| slot.waits && slot.call.number == reply.number)
        else {
            return;
        };
        slot.waits = false;
        let (call, connection) = (slot.call, slot.connection);
        let waited_ns = now_ns.saturating_sub(slot.planned_ns);
        self.free.push(index);
        self.in_flight[connection] -= 1;
        let right = match self.kind {
            Kind::Redirect => reply.redirects && reply.contact == Some(&digits(call.extension)[..]),
            Kind::Echo { bytes: length } => bytes.len() == length,
        };
        if !right {
            self.tally.wrong += 1;
        } else if self.measuring {
            self.tally.answered += 1;
            self.histogram.add(waited_ns);
        }
        // An echo gives no tag: one as long as ours makes the ACK as long.
        let tag = if reply.tag.is_empty() { b"0123456789abcdef" } else { reply.tag };
        self.template.ack(call, tag, out);
    }

    /// Gives up calls that have waited too long.
    pub(crate) fn give_up(&mut self, now_ns: u64) {
        if now_ns < self.next_look_ns {
            return;
        }
        self.next_look_ns = now_ns + LOOK_EVERY_NS;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.waits && now_ns.saturating_sub(slot.planned_ns) > LOST_AFTER_NS {
                slot.waits = false;
                self.free.push(index);
                self.in_flight[slot.connection] -= 1;
                self.tally.lost += u64::from(self.measuring);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Transport;

    fn load(pace: Pace, connections: usize) -> Load {
        let (from, to) = ("127.0.0.1:40000".parse().unwrap(), "127.0.0.1:5060".parse().unwrap());
        Load::new(Template::new(Transport::Udp, from, to), Kind::Redirect, pace, 10, connections)
    }

    fn answer(invite: &[u8], extension: &str) -> Vec<u8> {
        let text = String::from_utf8(invite.to_vec()).unwrap();
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        let (via, call_id) = (line("Via"), line("Call-ID"));
        format!("SIP/2.0 302 x\r\n{via}\r\n{call_id}\r\nContact: <sip:{extension}@a>\r\n\r\n").into_bytes()
    }

    fn extension(invite: &[u8]) -> String {
        String::from_utf8(invite["INVITE sip:".len()..][..6].to_vec()).unwrap()
    }

    #[test]
    fn a_closed_loop_places_the_next_call_when_one_is_answered() {
        let mut load = load(Pace::Closed { in_flight: 4 }, 2);
        let mut placed = Vec::new();
        while let Some((connection, now)) = load.due(7) {
            let mut invite = Vec::new();
            load.place(connection, now, &mut invite);
            placed.push((connection, invite));
        }
        assert_eq!(placed.iter().map(|(connection, _)| *connection).collect::<Vec<_>>(), [0, 0, 1, 1]);
        load.measure(8);
        let mut ack = Vec::new();
        load.take(&answer(&placed[2].1, &extension(&placed[2].1)), 9, &mut ack);
        assert!(ack.starts_with(b"ACK sip:"));
        assert_eq!(load.due(9), Some((1, 9)));
        assert_eq!((load.tally().answered, load.tally().wrong), (1, 0));
    }

    #[test]
    fn a_reply_that_leads_to_somebody_else_is_wrong() {
        let mut load = load(Pace::Closed { in_flight: 1 }, 1);
        let (mut invite, mut ack) = (Vec::new(), Vec::new());
        load.measure(0);
        load.place(0, 0, &mut invite);
        load.take(&answer(&invite, "100099"), 9, &mut ack);
        assert_eq!((load.tally().answered, load.tally().wrong), (0, 1));
    }

    #[test]
    fn an_open_loop_times_a_call_from_when_it_was_due() {
        let mut load = load(Pace::Open { per_second: 1000.0 }, 1);
        load.measure(0);
        // The generator comes back after 2.5 ms: three calls were due meanwhile.
        let due: Vec<_> = std::iter::from_fn(|| load.due(2_500_000)).collect();
        assert_eq!(due, [(0, 0), (0, 1_000_000), (0, 2_000_000)]);
        let (mut invite, mut ack) = (Vec::new(), Vec::new());
        load.place(0, due[0].1, &mut invite);
        load.take(&answer(&invite, &extension(&invite)), 2_600_000, &mut ack);
        assert!((load.tally().p99_us - 2_600.0).abs() < 50.0, "{:?}", load.tally());
    }

    #[test]
    fn a_call_without_a_reply_is_lost_after_a_second() {
        let mut load = load(Pace::Closed { in_flight: 1 }, 1);
        load.measure(0);
        load.place(0, 0, &mut Vec::new());
        load.give_up(1_000_000_000);
        assert_eq!((load.tally().lost, load.due(0)), (0, None));
        load.give_up(1_300_000_000);
        assert_eq!(load.tally().lost, 1);
        assert!(load.due(1_300_000_000).is_some());
    }
}
