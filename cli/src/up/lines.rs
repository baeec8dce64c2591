//! A line for each thing that happens to a call, for people who watch.
//!
//! Decides how an event of the target `umbriel::call` reads. Refuses to know who reports it;
//! numbers come redacted or not, as the reporter was asked.

use std::fmt::{self, Write};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::print::say;
use crate::style::{Colour, Style};

/// The target of events about calls.
pub(crate) const CALLS: &str = "umbriel::call";
/// Lines that wait for a slow terminal. A worker never waits for one: what does not fit is counted.
const QUEUE: usize = 1_024;

/// Hears of calls as they happen.
pub(crate) struct CallLines {
    style: Style,
    queue: SyncSender<Item>,
    left_out: Arc<AtomicU64>,
}

/// Waits until everything that was heard so far is printed.
pub(crate) struct Printer {
    queue: Mutex<SyncSender<Item>>,
}

enum Item {
    Line(String),
    Flush(Sender<()>),
}

/// The two ends of the queue, and the thread that prints.
pub(crate) fn start(style: Style) -> io::Result<(CallLines, Printer)> {
    let (queue, items) = sync_channel(QUEUE);
    let left_out = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&left_out);
    std::thread::Builder::new().name("call lines".into()).spawn(move || print(&items, &counter))?;
    let printer = Printer { queue: Mutex::new(queue.clone()) };
    Ok((CallLines { style, queue, left_out }, printer))
}

fn print(items: &Receiver<Item>, left_out: &AtomicU64) {
    for item in items {
        match item {
            Item::Line(line) => say(&line),
            // Whoever asked may have stopped waiting.
            Item::Flush(done) => drop(done.send(())),
        }
        match left_out.swap(0, Ordering::Relaxed) {
            0 => {}
            number => say(&format!("{number} lines about calls were left out: this terminal is too slow")),
        }
    }
}

impl Printer {
    pub(crate) fn flush(&self) {
        let (done, flushed) = channel();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.send(Item::Flush(done)).is_ok() {
            // The other end is gone only if the printing thread is.
            let _ = flushed.recv();
        }
    }
}

impl<S: Subscriber> Layer<S> for CallLines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if event.metadata().target() != CALLS {
            return;
        }
        let mut call = CallEvent::default();
        event.record(&mut call);
        if let Some(line) = call.line(&Zoned::now().strftime("%H:%M:%S").to_string(), self.style)
            && self.queue.try_send(Item::Line(line)).is_err()
        {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What an event says about a call.
#[derive(Debug, Default)]
struct CallEvent {
    event: String,
    code: String,
    mailbox: String,
    gateway: String,
    from: String,
    to: String,
    seconds: String,
    path: String,
    reason: String,
    message: String,
}

impl CallEvent {
    /// The line; a step that another one follows has none.
    fn line(&self, time: &str, style: Style) -> Option<String> {
        let (colour, what) = match self.event.as_str() {
            // What follows says more: the delivery, or that the mailbox server refused.
            "redirected" | "recorded" => return None,
            "ended" => (Colour::Cyan, "no message"),
            "refused" => (Colour::Red, "refused"),
            "delivered" => (Colour::Green, "delivered"),
            other => (Colour::Yellow, other),
        };
        let nothing = &String::new();
        // The router tells why as the event's own text.
        let told = if self.event == "refused" { &self.message } else { nothing };
        let reason = if self.reason.is_empty() { told } else { &self.reason };
        let mut line =
            format!("{}  {}", style.paint(Colour::Dim, time), style.paint(colour, &format!("{what:<10}")));
        for (before, value, after) in [
            ("", if reason.contains(&self.code) { nothing } else { &self.code }, ""),
            ("to ", &self.to, ""),
            ("for ", &self.mailbox, ""),
            ("from ", &self.from, ""),
            ("by ", &self.gateway, ""),
            ("", &self.seconds, " s"),
            ("", reason, ""),
            ("", &self.path, ""),
        ] {
            if !value.is_empty() {
                let _ = write!(line, "  {}{value}{after}", style.paint(Colour::Dim, before));
            }
        }
        Some(line)
    }

    fn set(&mut self, field: &str, value: String) {
        let place = match field {
            "event" => &mut self.event,
            "code" => &mut self.code,
            "mailbox" => &mut self.mailbox,
            "gateway" => &mut self.gateway,
            "from" => &mut self.from,
            "to" => &mut self.to,
            "seconds" => &mut self.seconds,
            "path" => &mut self.path,
            "message" => &mut self.message,
            "reason" => &mut self.reason,
            _ => return,
        };
        *place = value;
    }
}

impl Visit for CallEvent {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.to_owned());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), format!("{value:.1}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_code_and_a_delivery_its_file() {
        let refused = CallEvent {
            event: "refused".into(),
            code: "UM1110".into(),
            to: "777".into(),
            gateway: "pbx".into(),
            reason: "nobody has 777".into(),
            ..CallEvent::default()
        };
        assert_eq!(
            refused.line("09:00:00", Style::Plain).unwrap(),
            "09:00:00  refused     UM1110  to 777  by pbx  nobody has 777"
        );
        let delivered = CallEvent {
            event: "delivered".into(),
            to: "101".into(),
            mailbox: "alice".into(),
            seconds: "2.5".into(),
            path: "run/mail/alice/new/1".into(),
            ..CallEvent::default()
        };
        assert_eq!(
            delivered.line("09:00:01", Style::Plain).unwrap(),
            "09:00:01  delivered   to 101  for alice  2.5 s  run/mail/alice/new/1"
        );
    }

    #[test]
    fn a_refusal_of_the_router_tells_its_text_and_its_code_once() {
        let refused = CallEvent {
            event: "refused".into(),
            code: "UM1110".into(),
            to: "*77".into(),
            message: "UM1110 NoSuchUser: nobody has *77".into(),
            ..CallEvent::default()
        };
        assert_eq!(
            refused.line("09:00:00", Style::Plain).unwrap(),
            "09:00:00  refused     to *77  UM1110 NoSuchUser: nobody has *77"
        );
    }

    #[test]
    fn a_redirect_has_no_line_of_its_own() {
        let redirected = CallEvent { event: "redirected".into(), ..CallEvent::default() };
        assert_eq!(redirected.line("09:00:00", Style::Plain), None);
    }
}
