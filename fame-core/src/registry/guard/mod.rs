//! Guards: every call into a plugin goes through one, built in or loaded.
//!
//! A panic must not leave the library it began in: each has its own copy of the standard library,
//! and one copy cannot catch what another threw; the process would abort. So the guard stands on
//! the plugin's side. [`registry::build`](crate::registry) is generic over the plugin, is therefore
//! compiled into the plugin's own library, and wraps whatever a plugin builds; what a method hands
//! out (a network, a pass, a walk) is wrapped in turn. It is the only way to register.
//!
//! The same place checks what comes back. Shapes that do not fit, NaN out of nothing, names that
//! are no file names: a contract states them, and the error names the plugin, not the unlucky one
//! that met them later. What a contract asks without a way to fail (how many steps at most?) is
//! asked once, when the plugin is built, and remembered.

// A method with a default that a guard does not hand on would silently be the default, whatever the
// plugin says.
#![warn(clippy::missing_trait_methods)]

mod backend;
mod check;
mod dataset;
mod explainer;
mod loss;
mod map_step;
mod metric;
mod operator;
mod perturbation;
mod prepare;
mod writer;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use crate::{Error, Result, Tensor};

/// A contract whose objects can be guarded.
pub trait Guard {
    /// `inner` behind a guard. What has no way to fail is asked now.
    ///
    /// # Errors
    /// A panic while it was asked.
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>>;
}

/// Whom an error is about: "loss `Mean` (my-plugin 0.1.0)".
#[derive(Clone, Copy, Debug)]
pub struct Who {
    pub(crate) noun: &'static str,
    pub(crate) name: &'static str,
    pub(crate) origin: &'static str,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` ({})", self.noun, self.name, self.origin)
    }
}

/// A part of a plugin, and whose it is. Dropping it is guarded as well.
struct Guarded<T: ?Sized> {
    who: Who,
    /// `None` only while it is being dropped.
    inner: Option<Box<T>>,
}

impl<T: ?Sized> Guarded<T> {
    fn new(who: Who, inner: Box<T>) -> Self {
        Self { who, inner: Some(inner) }
    }

    /// Calls `method`.
    fn call<'s, R>(&'s self, method: &str, f: impl FnOnce(&'s T) -> R) -> Result<R> {
        let inner = self.inner.as_deref().ok_or_else(|| self.gone(method))?;
        caught(|| f(inner)).map_err(|panic| panic.error(self.who, &format!("in `{method}`")))
    }

    /// Calls `method`, which changes it.
    fn call_mut<R>(&mut self, method: &str, f: impl FnOnce(&mut T) -> R) -> Result<R> {
        let gone = self.gone(method);
        let inner = self.inner.as_deref_mut().ok_or(gone)?;
        caught(|| f(inner)).map_err(|panic| panic.error(self.who, &format!("in `{method}`")))
    }

    fn gone(&self, method: &str) -> Error {
        Error::bug(format!("{}: `{method}` was called after it was dropped.", self.who))
    }

    /// An error about what `method` returned.
    fn wrong(&self, method: &str, what: impl fmt::Display) -> Error {
        Error::new(
            "fame::plugin::wrong_result",
            format!("{} returned from `{method}` {what}.", self.who),
        )
        .with_help("This is a bug in the plugin: its contract says what it must return.")
    }
}

impl<T: ?Sized> Drop for Guarded<T> {
    fn drop(&mut self) {
        let inner = self.inner.take();
        if let Err(panic) = caught(|| drop(inner)) {
            // There is no caller to tell, and what it made is made: say it, and go on.
            let error = panic.error(self.who, "while it was dropped");
            // Nor is there another way to tell where standard error is gone.
            let _ = writeln!(std::io::stderr(), "warning: {error}");
        }
    }
}

/// A panic that was caught: what it said, and where.
pub(crate) struct Panic {
    said: String,
    place: Option<String>,
}

impl Panic {
    /// As an error: `who` panicked `when`.
    pub(crate) fn error(self, who: impl fmt::Display, when: &str) -> Error {
        let place = self.place.map_or_else(String::new, |place| format!(" ({place})"));
        Error::new(
            "fame::plugin::panicked",
            format!("{who} panicked {when}: {}{place}.", self.said.trim_end_matches('.')),
        )
        .with_help("This is a bug in the plugin. RUST_BACKTRACE=1 shows how it came there.")
    }
}

thread_local! {
    /// How many guards this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// How many of them are those of [`quietly`].
    static QUIET: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic inside a guard happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `f`; a panic comes back as what it said. It is not printed as well, unless a backtrace is
/// asked for.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Panic> {
    watch_panics();
    let outer = DEPTH.replace(DEPTH.get() + 1);
    if outer == 0 {
        // Of a panic that somebody caught for himself.
        PLACE.take();
    }
    let result = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(outer);
    result.map_err(|payload| {
        let said = said(payload.as_ref());
        // What was thrown may itself panic when it is dropped.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(again);
        }
        Panic { said, place: PLACE.take() }
    })
}

/// Runs somebody else's code (a decoder, an engine) over somebody else's file; a panic comes back
/// as what it said. It tells something of the file, not of a bug, so it is printed only where
/// `RUST_BACKTRACE=full` asks for it. For plugins, on every thread that they start.
///
/// # Errors
/// What the panic said.
pub fn quietly<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    QUIET.set(QUIET.get() + 1);
    let result = caught(f);
    QUIET.set(QUIET.get() - 1);
    result.map_err(|panic| panic.said)
}

fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "something that is not text".to_owned())
}

/// Puts a hook before the one that prints panics: inside a guard it only remembers the place, for
/// the error will tell.
fn watch_panics() {
    static ONCE: Once = Once::new();
    // Only a thread that does not panic may change the hook.
    if ONCE.is_completed() || std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        let asked = std::env::var_os("RUST_BACKTRACE").filter(|v| v != "0");
        let all = asked.as_ref().is_some_and(|v| v == "full");
        std::panic::set_hook(Box::new(move |info| {
            let guarded = DEPTH.try_with(Cell::get).is_ok_and(|depth| depth > 0);
            if !guarded {
                return print(info);
            }
            let place = info.location().map(ToString::to_string);
            let _ = PLACE.try_with(|p| p.replace(place));
            let quiet = QUIET.try_with(Cell::get).is_ok_and(|depth| depth > 0);
            if all || (asked.is_some() && !quiet) {
                // Not by `print`: it may be the program's, which says that the program has a bug.
                let trace = std::backtrace::Backtrace::force_capture();
                let _ = writeln!(std::io::stderr(), "{info}\nIt becomes an error.\n{trace}");
            }
        }));
    });
}

/// `Err` with what is wrong, unless `tensor` has the shape `wanted`.
fn shaped(what: &str, tensor: &Tensor, wanted: &[usize]) -> std::result::Result<(), String> {
    if tensor.shape() == wanted {
        return Ok(());
    }
    Err(format!("{what} of shape {:?} instead of {wanted:?}", tensor.shape()))
}

/// `Err` with what is wrong, unless all values are finite.
fn finite(what: &str, tensor: &Tensor) -> std::result::Result<(), String> {
    let Some(at) = tensor.data().iter().position(|v| !v.is_finite()) else { return Ok(()) };
    Err(format!("{what} with {} at position {at}", tensor.data()[at]))
}

/// `Err` with what is wrong, unless `name` can be a part of a file name.
fn file_name(what: &str, name: &str) -> std::result::Result<(), String> {
    if name == crate::data::safe_name(name) {
        return Ok(());
    }
    Err(format!(
        "{what} `{}`, which cannot be a part of a file name: letters, digits, `.`, `_` and `-`",
        name.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_as_what_it_said_and_where() {
        let panic = caught(|| panic!("no {}", "luck")).err().unwrap();
        let error =
            panic.error(Who { noun: "loss", name: "Bad", origin: "mine 1.0.0" }, "in `evaluate`");
        assert_eq!(error.code, "fame::plugin::panicked");
        assert!(
            error.message.starts_with("loss `Bad` (mine 1.0.0) panicked in `evaluate`: no luck (")
                && error.message.contains("guard/mod.rs:"),
            "{error}"
        );
        assert_eq!(caught(|| 3).ok(), Some(3));
    }

    #[test]
    fn what_is_thrown_may_be_anything_even_what_cannot_be_dropped() {
        struct Nasty;
        impl Drop for Nasty {
            fn drop(&mut self) {
                panic!("and again");
            }
        }
        let panic = caught(|| std::panic::panic_any(Nasty)).err().unwrap();
        assert!(
            panic
                .error("it", "at once")
                .message
                .starts_with("it panicked at once: something that is not text")
        );
    }

    #[test]
    fn code_that_is_run_quietly_says_what_it_panicked_with() {
        assert_eq!(quietly(|| 3), Ok(3));
        // A call within: the outer one stays quiet after it.
        let within = || (quietly(|| panic!("of {} bytes", 0)), QUIET.get(), DEPTH.get());
        let said: Result<(), String> = Err("of 0 bytes".to_owned());
        assert_eq!(quietly(within), Ok((said, 1, 1)));
        assert_eq!((QUIET.get(), DEPTH.get()), (0, 0));
    }

    #[test]
    fn a_caught_panic_leaves_no_place_behind() {
        assert!(caught(|| catch_unwind(|| panic!("its own business"))).is_ok());
        let panic =
            caught(|| std::panic::resume_unwind(Box::new("thrown without a place"))).err().unwrap();
        assert_eq!(
            panic.error("it", "later").message,
            "it panicked later: thrown without a place."
        );
    }
}
