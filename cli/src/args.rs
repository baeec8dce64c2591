//! What may be typed.
//!
//! Decides names, defaults and help texts of the commands. Refuses to do anything.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::call::{Codec, Transport};

/// Unified messaging from a folder of YAML.
#[derive(Debug, Parser)]
#[command(name = "umbriel", version, about, max_term_width = 100)]
#[command(after_help = "Exit status: 0 all is well, 1 something is wrong, 2 the command was not understood.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the objects of a folder: a call router and a mailbox server in one process.
    Up(UpArguments),
    /// Place a test call and draw what happens.
    Call(CallArguments),
    /// Say step by step where a call would go, and why.
    Explain(ExplainArguments),
    /// Say what is wrong with the objects of a folder.
    Check(CheckArguments),
    /// Run one call router on a configuration that an operator writes.
    Router(RouterArguments),
    /// Run one mailbox server on a configuration that an operator writes.
    Mailbox(MailboxArguments),
    /// Serve the objects of a Kubernetes cluster: write configurations, run the servers, say how it
    /// stands.
    Operator(OperatorArguments),
    /// Show in a Kubernetes cluster that its operator works: make a dial plan with a mailbox, and
    /// servers where there are none, call that mailbox, and take everything away again.
    Trial(TrialArguments),
}

/// Where name servers are asked.
const NAME_SERVER_PORT: u16 = 53;

/// `umbriel up`
#[derive(Clone, Debug, Args)]
pub(crate) struct UpArguments {
    /// The folder with the objects; every *.yaml and *.yml file in it is read, and read again when
    /// it changes.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Where configuration, recordings and mail are kept.
    #[arg(long, value_name = "DIR", default_value = "run")]
    pub state: PathBuf,
    /// The address to listen on, and that peers are told.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// Where /livez, /readyz, /metrics and /generation are served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9060")]
    pub admin: SocketAddr,
    /// Once it serves, leave a spoken message for this number and show how it went.
    #[arg(long, value_name = "NUMBER")]
    pub call: Option<String>,
    #[command(flatten)]
    pub names: NameArguments,
    /// End after that call: with status 0 only if the message was delivered and is what was said.
    #[arg(long, requires = "call")]
    pub once: bool,
    /// Show phone numbers in full, in logs and in lines about calls.
    #[arg(long)]
    pub show_numbers: bool,
    /// How logs look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Who is asked for names.
#[derive(Clone, Debug, Args)]
pub(crate) struct NameArguments {
    /// Ask this name server what the names of gateways lead to, instead of those of the system. It may be
    /// given several times.
    #[arg(long = "name-server", value_name = "ADDRESS[:PORT]", value_parser = name_server)]
    pub servers: Vec<SocketAddr>,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line per call for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `umbriel call`
#[derive(Clone, Debug, Args)]
pub(crate) struct CallArguments {
    /// Whom to call, such as sip:101@127.0.0.1 or sip:101@127.0.0.1:5060.
    #[arg(value_name = "URI")]
    pub uri: String,
    /// Say what is in this WAV file: one channel, 8000 Hz, 16 bit, µ-law or A-law.
    #[arg(long, value_name = "FILE", conflicts_with = "say")]
    pub play: Option<PathBuf>,
    /// Say this text; espeak-ng speaks it.
    #[arg(long, value_name = "TEXT")]
    pub say: Option<String>,
    /// Write what was heard to this WAV file.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// The number or name that calls.
    #[arg(long, value_name = "USER", default_value = "umbriel-probe")]
    pub from: String,
    /// The number, or USER@DOMAIN, that the call was diverted from.
    #[arg(long, value_name = "USER")]
    pub diversion: Option<String>,
    /// How the first INVITE travels, unless the URI says it.
    #[arg(long, value_enum, default_value_t = Transport::Udp)]
    pub transport: Transport,
    /// Offer only this codec; both are offered without it.
    #[arg(long, value_enum)]
    pub codec: Option<Codec>,
    /// Begin to speak this long after the answer instead of after the beep.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub delay: Option<Duration>,
    /// End the message with the # key and let the far end hang up.
    #[arg(long)]
    pub end_key: bool,
    /// The local address to call from; a router knows its gateways by it.
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<IpAddr>,
    /// Hang up after this long in any case.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "180")]
    pub patience: Duration,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// `umbriel explain`
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The called number, or the called USER@DOMAIN.
    #[arg(value_name = "NUMBER")]
    pub number: String,
    /// Who calls: the name of a UMIPGateway or an address.
    #[arg(long, value_name = "GATEWAY")]
    pub from: String,
    /// The folder with the objects.
    #[arg(long = "in", value_name = "DIR")]
    pub folder: PathBuf,
    /// The number that the call was diverted from.
    #[arg(long, value_name = "NUMBER")]
    pub diversion: Option<String>,
    /// How the call comes.
    #[arg(long, value_enum, default_value_t = Way::Udp)]
    pub transport: Way,
    /// How the call offers audio; left out, it offers none yet.
    #[arg(long, value_enum)]
    pub audio: Option<Audio>,
    /// The name that the caller's certificate proves; only a call by TLS shows one.
    #[arg(long, value_name = "NAME")]
    pub certificate: Option<String>,
    #[command(flatten)]
    pub names: NameArguments,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// `umbriel check`
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArguments {
    /// The folder with the objects.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub names: NameArguments,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What one server is told when it is started.
#[derive(Clone, Debug, Args)]
pub(crate) struct InstanceArguments {
    /// The folder with the configuration; it is read again when it changes.
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,
    /// The address that this process listens on; which one peers are told is up to the configuration.
    #[arg(long, value_name = "ADDRESS")]
    pub address: IpAddr,
    /// Where /livez, /readyz, /metrics and /generation are served, at the same address.
    #[arg(long, value_name = "PORT", default_value_t = operator::ADMIN_PORT)]
    pub admin_port: u16,
    /// Show phone numbers in full in logs.
    #[arg(long)]
    pub show_numbers: bool,
    /// How logs look.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// `umbriel router`
#[derive(Clone, Debug, Args)]
pub(crate) struct RouterArguments {
    #[command(flatten)]
    pub instance: InstanceArguments,
    /// Calls are answered for this long after the process was asked to end, because those who send
    /// them learn of it later.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub linger: Duration,
}

/// `umbriel mailbox`
#[derive(Clone, Debug, Args)]
pub(crate) struct MailboxArguments {
    #[command(flatten)]
    pub instance: InstanceArguments,
    /// Where recordings and mail are kept.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The name by which the directory has this server, where several read one configuration; it takes
    /// no calls until it is there. Without it, the name that the configuration says.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Threads that take calls, each with a media port of its own; without it, one a core.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..))]
    pub workers: Option<u8>,
    /// Calls that there are when the process is asked to end may go on for this long; the longest
    /// that a dial plan allows is two hours.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "7200")]
    pub drain_limit: Duration,
}

/// `umbriel operator`
#[derive(Clone, Debug, Args)]
pub(crate) struct OperatorArguments {
    /// The image of the servers' pods; it holds this program.
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    /// A Secret with which a registry lets nodes have the image; each namespace with servers needs
    /// one of this name. It may be given several times.
    #[arg(long, value_name = "NAME")]
    pub image_pull_secret: Vec<String>,
    /// Give the servers' pods NetworkPolicies, by which their admin port is open to the operator alone.
    #[arg(long)]
    pub network_policies: bool,
    /// Pods of this namespace collect metrics: with NetworkPolicies the admin port is open to them, too.
    /// It may be given several times.
    #[arg(long, value_name = "NAMESPACE", requires = "network_policies")]
    pub metrics_from: Vec<String>,
    /// Serve the objects of this namespace alone; without it, those of the whole cluster.
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The namespace of the operator's pods, and of the Lease by which one operator at a time works.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// The name that this operator takes the Lease by; each has its own.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "umbriel-operator")]
    pub identity: String,
    /// Everything is compared again after this long, even if nothing seems to have changed: such as
    /// 10m, 90s or 1h.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub resync_interval: Duration,
    #[command(flatten)]
    pub names: NameArguments,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9060")]
    pub admin: SocketAddr,
    /// How logs look.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// `umbriel trial`
#[derive(Clone, Debug, Args)]
pub(crate) struct TrialArguments {
    /// The namespace in which the objects are made.
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: String,
    /// The address to call from; the pod's own.
    #[arg(long, value_name = "ADDRESS")]
    pub address: IpAddr,
    /// The objects may take this long to be served.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "120")]
    pub patience: Duration,
}

/// How a call offers audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Audio {
    /// In the clear.
    Rtp,
    /// Encrypted.
    Srtp,
}

/// How a call comes to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// As one JSON document.
    Json,
}

/// The longest time that may be asked for: a day.
const MAX_SECONDS: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds, such as 2.5".to_owned())?;
    if (0.0..=MAX_SECONDS).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("write a number of seconds from 0 to 86400".to_owned())
    }
}

/// An address, at the port of name servers where none is written (RFC 1035 section 4.2).
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let at_port = |address: IpAddr| SocketAddr::new(address, NAME_SERVER_PORT);
    let written = text.parse().or_else(|_| text.parse().map(at_port));
    written.map_err(|_: std::net::AddrParseError| {
        "write an address, such as 192.0.2.53 or 192.0.2.53:5353".into()
    })
}

/// A whole number and its unit, as Kubernetes tools write it.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a whole number and its unit, such as 10m, 90s or 1h".to_owned();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s));
    seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_decimals_and_have_a_limit() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2_500)));
        assert!(seconds("-1").is_err());
        assert!(seconds("NaN").is_err());
        assert!(seconds("1e9").is_err());
    }

    #[test]
    fn a_duration_is_a_whole_number_with_its_unit() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        for wrong in ["", "10", "m", "0s", "1d", "1.5h", "-1s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn everything_is_compared_again_after_ten_minutes() {
        let arguments = Arguments::try_parse_from(["umbriel", "operator", "--image", "umbriel"]).unwrap();
        let Command::Operator(operator) = arguments.command else { panic!("another command") };
        assert_eq!(operator.resync_interval, Duration::from_secs(600));
    }
}
