//! `fame-cli`: which pixels made these two faces match? Which pixels carry this class? What does
//! this cell see?
//!
//! The command line is thin: it reads arguments, shows progress, prints errors and chooses the exit
//! code. Everything else is `fame-core` with the plugins of `fame-plugins`.
//!
//! The feature `detection`, on by default, links the crate fame-detection in, with its recipes.
//!
//! This is a library so that anybody can link a command line with plugins of their own: name their
//! crates and call [`main`].
//!
//! ```no_run
//! // use my_plugins as _;
//! fn main() -> std::process::ExitCode {
//!     fame_cli::main()
//! }
//! ```
//!
//! Exit codes: 0 all done; 1 an error, nothing or not everything came out; 2 wrong arguments or a
//! recipe with errors; 3 the run went through but some items failed, or a verification found that
//! something differs; 129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM.

use std::process::ExitCode;

use clap::Parser as _;
use fame_core::{data::set_memory_budget, run::StopHandle, text::Problems};
// Naming the crates keeps the linker from leaving their registrations out.
#[cfg(feature = "detection")]
use fame_detection as _;
use fame_plugins as _;

mod arguments;
mod commands;
mod memory;
mod setup;
mod shard;
#[cfg(unix)]
mod signals;
mod sizes;
mod terminal;
mod tips;

use arguments::{Arguments, Command};
use commands::Failure;

/// The whole program: parses the process's arguments, does what they ask, and says how it went.
pub fn main() -> ExitCode {
    memory::tune();
    let arguments = Arguments::try_parse().unwrap_or_else(|error| tips::with_tip(error).exit());
    let json = arguments.json;
    if let Some(bytes) = arguments.memory {
        set_memory_budget(bytes);
    }
    terminal::install_handler();
    let setup = setup::Setup {
        models: arguments.models,
        plugins: arguments.plugin,
        trust_plugin: arguments.trust_plugin,
        trust_manifest: arguments.trust_manifest,
        memory: arguments.memory,
        json,
        stop: StopHandle::default(),
    };
    #[cfg(unix)]
    if let Err(e) = signals::watch(setup.stop.clone(), json, way_on(&arguments.command)) {
        terminal::say(&format!("warning: signals end this program without a word: {e}."));
    }
    let result = match arguments.command {
        Command::Explain(args) => commands::explain::explain(&setup, &args),
        Command::Init(args) => commands::explain::init(&setup, &args),
        Command::Run(args) => commands::run::run(&setup, &args),
        Command::Merge(args) => commands::merge::merge(&setup, &args),
        Command::Status(args) => commands::status::status(&setup, &args),
        Command::Submit(args) => commands::submit::submit(&setup, &args),
        Command::VerifyRun(args) => commands::verify_run::verify_run(&setup, &args),
        Command::Report(args) => commands::report::report(&setup, &args),
        Command::Compare(args) => commands::compare::compare(&setup, &args),
        Command::Check(args) => commands::check::check(&setup, &args),
        Command::Describe(args) => commands::describe::describe(&setup, &args),
        Command::Inspect(args) => commands::inspect::inspect(&setup, &args),
        Command::Verify(args) => commands::verify::verify(&setup, &args),
        Command::Bench(args) => commands::bench::bench(&setup, &args),
        Command::Recipes(args) => commands::recipes::recipes(&setup, &args),
        Command::Models(args) => commands::models::models(&setup, &args),
        Command::Plugin(args) => commands::plugin::plugin(&setup, &args),
        Command::Align(args) => commands::align::align(&setup, &args),
        Command::Synth(args) => commands::synth::synth(&args),
        Command::Completions(args) => commands::completions::completions(&args),
        Command::Man(args) => commands::completions::man(&args),
    };
    match result {
        Ok(code) => code,
        Err(failure) => report(&failure, json),
    }
}

/// How a run that a signal ended goes on.
#[cfg(unix)]
fn way_on(command: &Command) -> &'static str {
    match command {
        Command::Run(args) if args.force => {
            "The same command without --force goes on from there, and takes what an earlier run has \
             left of the other items as it is; with it, all is computed again."
        }
        _ => "The same command goes on from there.",
    }
}

/// Whether the program takes this command line, without its own name: `["check", "r.ron"]`. For
/// tests of what documents show.
///
/// # Errors
/// What the program would say.
#[doc(hidden)]
pub fn accepts(arguments: &[&str]) -> Result<(), String> {
    let line = std::iter::once("fame-cli").chain(arguments.iter().copied());
    match Arguments::try_parse_from(line) {
        Err(error) if error.use_stderr() => Err(tips::with_tip(error).to_string()),
        _ => Ok(()),
    }
}

/// Prints what went wrong on standard error, and says so in the exit code.
fn report(failure: &Failure, json: bool) -> ExitCode {
    let code = match failure {
        Failure::Recipe(_) | Failure::Arguments(_) => 2,
        Failure::Error(_) => 1,
        // The reader of our output has gone away (`fame-cli describe | head`): nobody is left to
        // tell.
        Failure::ClosedPipe => return ExitCode::SUCCESS,
    };
    match failure {
        Failure::Recipe(problems) => terminal::say_error(problems.as_ref()),
        Failure::Arguments(error) | Failure::Error(error) if error.problems.is_empty() => {
            terminal::say_error(error);
        }
        // The same with the marked characters instead of a list.
        Failure::Arguments(error) | Failure::Error(error) => {
            let (summary, each) = (error.summary().to_owned(), error.problems.clone());
            terminal::say_error(&Problems { summary, each });
        }
        Failure::ClosedPipe => unreachable!("handled above"),
    }
    if json {
        let (code, message, help, problems) = match failure {
            Failure::Recipe(p) => ("fame::recipe", p.to_string(), None, p.each.as_slice()),
            Failure::Arguments(e) | Failure::Error(e) => {
                (e.code.as_str(), e.to_string(), e.help.as_deref(), e.problems.as_slice())
            }
            Failure::ClosedPipe => unreachable!("handled above"),
        };
        let problems: Vec<_> = problems.iter().map(terminal::problem_json).collect();
        let _ = terminal::out(
            &serde_json::json!({
                "event": "error", "code": code, "message": message, "help": help,
                "problems": problems,
            })
            .to_string(),
        );
    }
    ExitCode::from(code)
}
