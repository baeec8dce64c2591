//! `umbriel trial`: one call through servers that an operator runs in a cluster.
//!
//! Decides what is said on the way, that a call proves something only if it was answered and the
//! beep was heard, and that whatever was made is taken away again, also after a failure or an
//! interruption. Refuses to know what is made: that is the operator's.

use std::time::Instant;

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use operator::cluster::{Destination, Trial};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::TrialArguments;
use crate::call::{CallPlan, CallReport, Transport, ladder, place_until};
use crate::print::say;
use crate::style::Style;

/// Makes, waits, calls and takes away; false if the call did not go as it should.
pub(crate) fn run(arguments: &TrialArguments) -> Result<bool> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .into_diagnostic()
        .wrap_err("cannot prepare the trial")?
        .block_on(trial(arguments))
}

async fn trial(arguments: &TrialArguments) -> Result<bool> {
    let mut asked_to_end = signal(SignalKind::terminate()).into_diagnostic()?;
    let trial = Trial::begin(&arguments.namespace).await.into_diagnostic()?;
    let outcome = tokio::select! {
        outcome = prove(arguments, &trial) => outcome,
        _ = asked_to_end.recv() => Err(miette!("the trial was asked to end before its call")),
    };
    trial.clear().await.into_diagnostic().wrap_err("what was made for the trial is still there")?;
    say("removed:  all of it");
    let proven = outcome?;
    say(if proven {
        "The operator works."
    } else {
        "The call failed; what it says above is what to look at."
    });
    Ok(proven)
}

async fn prove(arguments: &TrialArguments, trial: &Trial) -> Result<bool> {
    let begun = Instant::now();
    say(&format!("made:     {}", trial.make(arguments.address).await.into_diagnostic()?));
    let tell = |waits: &str| say(&format!("waiting:  {waits}"));
    let destination = trial.served(arguments.patience, tell).await.into_diagnostic()?;
    say(&format!("served:   after {:.1} s", begun.elapsed().as_secs_f64()));
    let report = call(arguments, &destination).await?;
    let style = Style::of_stdout();
    if !report.steps.is_empty() {
        say(&ladder::draw(&report, style));
    }
    say(&ladder::outcome(&report, style));
    let heard = report.timings.beep_ended.is_some();
    if report.is_completed() && !heard {
        say("No beep was heard: see whether media reaches this pod from the mailbox server's.");
    }
    Ok(report.is_completed() && heard)
}

async fn call(arguments: &TrialArguments, destination: &Destination) -> Result<CallReport> {
    let Destination { extension, router, udp } = destination;
    let plan = CallPlan {
        transport: if *udp { Transport::Udp } else { Transport::Tcp },
        from_user: "umbriel-trial".to_owned(),
        bind: Some(arguments.address),
        ..CallPlan::new(format!("sip:{extension}@{router}"))
    };
    place_until(&plan, std::future::pending()).await.into_diagnostic()
}
