//! `umbriel call`: places one call and shows it.
//!
//! Decides how arguments become a plan and what is printed. Refuses to know how a call is made.

use miette::{IntoDiagnostic, Result, WrapErr};

use crate::args::{CallArguments, Output};
use crate::call::audio::{Audio, write_wav};
use crate::call::{CallPlan, Codec, Ending, Speak, ladder, place_until};
use crate::print::say;
use crate::speech;
use crate::style::Style;

/// Places the call; false if it was refused or broke.
pub(crate) fn run(arguments: &CallArguments) -> Result<bool> {
    let plan = plan(arguments)?;
    let report = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .into_diagnostic()
        .wrap_err("cannot prepare the call")?
        .block_on(place_until(&plan, async {
            // Without a handler, Ctrl-C ends the process and the far end never hears a BYE.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }))
        .into_diagnostic()?;
    if let Some(path) = &arguments.record {
        write_wav(path, &report.heard).into_diagnostic()?;
    }
    match arguments.output {
        Output::Json => say(&serde_json::to_string_pretty(&report).into_diagnostic()?),
        Output::Text => {
            let style = Style::of_stdout();
            if !report.steps.is_empty() {
                say(&ladder::draw(&report, style));
            }
            say(&ladder::outcome(&report, style));
            if let Some(path) = &arguments.record {
                say(&format!("What was heard lies in {}.", path.display()));
            }
        }
    }
    Ok(report.is_completed())
}

fn plan(arguments: &CallArguments) -> Result<CallPlan> {
    let audio = match (&arguments.play, &arguments.say) {
        (Some(path), _) => Some(Audio::read_wav(path).into_diagnostic()?),
        (None, Some(text)) => Some(speech::speak(text).into_diagnostic()?),
        (None, None) => None,
    };
    Ok(CallPlan {
        transport: arguments.transport,
        from_user: arguments.from.clone(),
        diversion: arguments.diversion.clone(),
        codecs: arguments.codec.map_or_else(|| vec![Codec::Pcmu, Codec::Pcma], |codec| vec![codec]),
        audio,
        speak: arguments.delay.map_or(Speak::AfterBeep, Speak::After),
        ending: if arguments.end_key { Ending::Key } else { Ending::HangUp },
        bind: arguments.bind,
        patience: arguments.patience,
        ..CallPlan::new(arguments.uri.as_str())
    })
}
