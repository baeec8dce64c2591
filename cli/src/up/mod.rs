//! `umbriel up`: the standalone server. A folder of objects stands in for a cluster, and router
//! and mailbox server run in this process.
//!
//! Decides what is started in which order, what is told when, and how it ends. Refuses to decide
//! anything about objects (operator), calls (router, mailbox) or messages (mailbox).
//!
//! ```text
//! folder -> operator::Standalone -> run/config/* -> router::Server, mailbox::Server
//!               ^------- generations that are served --------'
//! ```

mod banner;
mod first_call;
mod lines;
mod logs;
mod problems;
mod proof;
pub(crate) mod servers;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant, SystemTime};

use config::{MailboxConfig, RouterConfig};
use miette::{IntoDiagnostic, Result, WrapErr, miette};
use operator::{Served, Standalone, Step};
use runtime::drain::{Watch, on_signals};

use crate::args::UpArguments;
use crate::folder::must_exist;
use crate::print::say;
use crate::style::Style;
use first_call::FirstCall;
use problems::Problems;
use servers::Servers;

/// How often the folder is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Messages that were left meanwhile are delivered within this time, or else after the next start.
pub(crate) const DELIVER: Duration = Duration::from_secs(5);
/// Calls that are left when the process is asked to end may go on for this long.
const DRAIN: Duration = Duration::from_secs(30);

/// Serves until it is asked to end; false if `--once` was asked for and its call did not succeed.
pub(crate) fn run(arguments: &UpArguments) -> Result<bool> {
    must_exist(&arguments.folder)?;
    if arguments.address.is_unspecified() {
        return Err(miette!("--address is also what peers are told: name an address of this machine"));
    }
    let style = Style::of_stdout();
    let printer = logs::init(arguments, style).into_diagnostic().wrap_err("cannot begin to log")?;
    let drain = on_signals().into_diagnostic().wrap_err("cannot listen for signals")?;
    let speech = arguments.call.as_ref().map(|_| first_call::prepare(&arguments.state)).transpose()?;
    let mut up = Up::open(arguments, style)?;
    let Some(servers) = up.start(&drain)? else { return Ok(true) };
    let first_call = match (&arguments.call, speech) {
        (Some(number), Some(speech)) => {
            Some(FirstCall::new(number, arguments.address, speech, &arguments.state, style))
        }
        _ => None,
    };
    let succeeded = up.serve(&servers, first_call, &drain)?;
    finish(&servers);
    printer.inspect(lines::Printer::flush);
    Ok(succeeded)
}

/// The folder, and what was told about it.
struct Up<'a> {
    arguments: &'a UpArguments,
    style: Style,
    site: Standalone,
    problems: Problems,
}

impl<'a> Up<'a> {
    fn open(arguments: &'a UpArguments, style: Style) -> Result<Self> {
        let mut site = Standalone::open(&arguments.folder, &arguments.state, arguments.address)
            .into_diagnostic()
            .wrap_err("cannot use the state folder; name another one by --state")?;
        site.ask_names_of(&arguments.names.servers);
        Ok(Self { arguments, style, site, problems: Problems::new(style) })
    }

    /// Starts the servers as soon as the folder says how; `None` if the process was asked to end.
    fn start(&mut self, drain: &Watch) -> Result<Option<Servers>> {
        let mut told = false;
        loop {
            let step = self.step(Served::default())?;
            if step.wanted.router.is_some() && step.wanted.mailbox.is_some() {
                break;
            }
            if self.arguments.once {
                return Err(servers::nothing_to_serve(&self.arguments.folder));
            }
            if !told {
                say("Waiting: no call can be served until the problems above are repaired.");
                told = true;
            }
            if drain.wait_timeout(POLL) {
                return Ok(None);
            }
        }
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let servers = Servers::start(self.arguments, &self.site, workers)?;
        let (router, mailbox) = self.configs()?;
        say(&banner::draw(self.arguments, &router, &mailbox, self.style));
        Ok(Some(servers))
    }

    /// Follows the folder until the process is asked to end, or `--once` has its answer.
    fn serve(&mut self, servers: &Servers, mut first_call: Option<FirstCall>, drain: &Watch) -> Result<bool> {
        let mut succeeded = true;
        while !drain.wait_timeout(POLL) {
            let served = servers.served();
            let step = match self.step(served) {
                Ok(step) => step,
                Err(error) => {
                    // What is served goes on being served; the next step tries again.
                    self.problems.trouble(&format!("{error:?}"));
                    continue;
                }
            };
            let Some(call) = &mut first_call else { continue };
            match servers.ready() {
                Ok(()) if step.is_served(served) => {
                    let (router, mailbox) = self.configs()?;
                    call.begin(&router, &mailbox)?;
                }
                Err(why) if self.arguments.once && call.is_overdue() => return Err(servers::not_ready(&why)),
                Ok(()) | Err(_) => {}
            }
            if let Some(result) = call.ended() {
                succeeded = result;
                first_call = None;
                if self.arguments.once {
                    break;
                }
                say("Serving on; Ctrl-C ends it.");
            }
        }
        Ok(succeeded || !self.arguments.once)
    }

    fn step(&mut self, served: Served) -> Result<Step> {
        let step = self
            .site
            .step(SystemTime::now(), served)
            .into_diagnostic()
            .wrap_err("cannot carry out what the folder says")?;
        self.problems.now(&step.problems);
        Ok(step)
    }

    fn configs(&self) -> Result<(RouterConfig, MailboxConfig)> {
        let configs = self.site.configs().into_diagnostic();
        let (router, mailbox) = configs.wrap_err("cannot read what was written for the servers")?;
        router.zip(mailbox).ok_or_else(|| miette!("nothing was written for the servers"))
    }
}

/// Takes no new calls, lets those that there are end and their messages leave, and stops.
fn finish(servers: &Servers) {
    servers.drain();
    if servers.has_calls() {
        let seconds = DRAIN.as_secs();
        say(&format!("Ending: calls may go on for up to {seconds} s; Ctrl-C again ends at once."));
        wait_while(DRAIN, || servers.has_calls());
    }
    wait_while(DELIVER, || servers.has_messages());
    servers.stop();
}

pub(crate) fn wait_while(limit: Duration, busy: impl Fn() -> bool) {
    let until = Instant::now() + limit;
    while busy() && Instant::now() < until {
        std::thread::sleep(POLL);
    }
}
