//! Plugins of other people: in the program, or loaded while it runs.
//!
//! # Two ways in, one source
//!
//! A plugin crate is an ordinary library that depends on `fame-core`, registers its kinds with
//! [`register!`](crate::register), and says once, in its `lib.rs`,
//!
//! ```ignore
//! fame_core::export_plugin!();
//! ```
//!
//! With `crate-type = ["cdylib", "rlib"]` the same crate can be **linked** (a binary names it:
//! `use my_plugin as _;`) or **loaded** (`fame-cli run … --plugin target/release/libmy_plugin.so`,
//! or `plugins: ["…/libmy_plugin.so"]` in a recipe). Linking is the safe way and needs nothing
//! more; loading is for binaries that one cannot or does not want to build.
//!
//! # What loading does, in order
//!
//! 1. The file is there and is a file ([`PluginFile::read`]).
//! 2. Nobody but this user and root can have put or changed it ([`PluginFile::check_place`]),
//!    unless the user says that it is to be trusted. It is opened once: what is checked, hashed and
//!    loaded is that open file, whatever its name stands for by then. There is no search: a plugin is loaded only
//!    from a path that a recipe or the command line names.
//! 3. It is an object file of this system, whole, with the section of a plugin. Its [`Declaration`]
//!    begins with the right bytes and has the right size.
//! 4. The declaration names the same compiler, target, version, features and source of fame-core,
//!    and the same layout of the types that cross ([`Declared::fits`]). Rust promises no binary
//!    interface, so equal is the only comparison that means something; every release of fame-core,
//!    and before 1.0 every change of it, asks for a new build of every plugin.
//! 5. Only now is the library opened. **This runs foreign code**, with all rights of the process:
//!    no check makes it safe to load what one does not trust.
//! 6. Its entry hands over the registrations. They take the place of those of the same crate where
//!    that is linked into the program; any other name that is taken is refused, with both origins.
//!    The library is never closed.
//!
//! All of 1 to 4 is read from the file: a plugin that does not fit never runs, not even its
//! constructors. `fame-cli plugin check FILE` stops there.
//!
//! # What may not cross the line
//!
//! A loaded plugin has its own copy of fame-core, of the standard library and of everything else.
//! So:
//!
//! * **no panic**: it would abort the process. Every call into a plugin, built in or loaded, goes
//!   through a guard in the callee's own copy, which turns a panic into an [`Error`] with the code
//!   `fame::plugin::panicked`. There is no other way to register.
//! * **no `Any`, no downcast**: a type of fame-core has another `TypeId` on the other side.
//! * **no type of a third crate** in a contract: the other side may have another version of it.
//!   Contracts speak in [`Tensor`](crate::Tensor), text, and structs of fame-core.
//! * **nothing global**: a logger, a thread pool, a panic hook, an `inventory` list of one side is
//!   not that of the other.
//! * **no allocator of its own**: what one side allocates the other frees. Neither may have a
//!   `#[global_allocator]`.

mod declaration;
mod layout;
mod load;
mod place;

pub use declaration::{Declaration, Declared};
pub use load::{Entry, PluginFile, load};

use crate::{
    Error, Result,
    registry::{Registration, inventory},
};

/// Whether only this user and root can have put or changed the library at `file`: for plugins that
/// load a library of their own. See [`PluginFile::check_place`].
///
/// # Errors
/// There is no such file, or it is open to others.
pub fn check_place(file: &std::path::Path) -> Result<()> {
    let real = place::real(file)?;
    let about = std::fs::metadata(&real).map_err(|e| Error::io("read", &real, &e))?;
    place::check(file, &real, &about)
}

/// Hands over what the crate `origin` registered in this copy of fame-core: the body of a plugin's
/// entry. What its dependencies registered stays out, they are not its to bring.
#[doc(hidden)]
pub fn hand_over(origin: &str, take: &mut dyn FnMut(Registration)) -> Result<()> {
    let own = inventory::iter::<Registration>.into_iter().filter(|r| r.origin() == origin);
    hand_over_these(origin, own.copied(), take)
}

/// Hands over `registrations`.
#[doc(hidden)]
pub fn hand_over_these(
    origin: &str,
    registrations: impl IntoIterator<Item = Registration>,
    take: &mut dyn FnMut(Registration),
) -> Result<()> {
    crate::registry::guard::caught(|| registrations.into_iter().map(&mut *take).count())
        .map_err(|panic| panic.error(format!("plugin `{origin}`"), "in its entry"))
        .and_then(|n| if n > 0 { Ok(()) } else { Err(nothing(origin)) })
}

fn nothing(origin: &str) -> Error {
    Error::new("fame::plugin::empty", format!("plugin `{origin}` brings nothing: its crate registers no plugin."))
        .with_help("Register each with `fame_core::register!(Loss: MyLoss);`, or name them: `fame_core::export_plugin!(Loss: other_crate::TheirLoss);`.")
}

/// Keeps the declaration in the linked file: the entry reads it.
#[doc(hidden)]
pub fn keep(declaration: &'static Declaration) {
    std::hint::black_box(declaration);
}

/// Makes a `cdylib` of this crate loadable as a plugin. Once, in `lib.rs`:
///
/// ```ignore
/// fame_core::export_plugin!();
/// ```
///
/// brings everything this very crate registers with [`register!`](crate::register). A crate that
/// registers nothing itself and only makes the plugins of a library loadable names them, in the
/// words of `register!`:
///
/// ```ignore
/// fame_core::export_plugin!(Backend: their_library::TheirBackend, Loss: their_library::TheirLoss);
/// ```
///
/// In a binary that links the crate it does nothing. Two such crates can be linked into one binary.
#[macro_export]
macro_rules! export_plugin {
    () => {
        $crate::export_plugin!(@ |take| $crate::plugin::hand_over(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")), take));
    };
    (@ |$take:ident| $body:expr) => {
        const _: () = {
            #[cfg(not(panic = "unwind"))]
            compile_error!("a plugin of fame must be built with `panic = \"unwind\"`: its panics are caught, and with `abort` they would end the whole process. Remove `panic` from [profile.*] in Cargo.toml.");

            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__fame_plugin"))]
            #[cfg_attr(windows, unsafe(link_section = ".fameplg"))]
            #[cfg_attr(not(any(target_vendor = "apple", windows)), unsafe(link_section = ".fame_plugin"))]
            static DECLARATION: $crate::plugin::Declaration =
                $crate::plugin::Declaration::of(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), $crate::export_plugin!(# entry));

            // Its type is checked where the loader's is.
            const _: $crate::plugin::Entry = entry;

            // The name is the crate's and version's own, so that several plugin crates can be
            // linked into one binary.
            #[unsafe(export_name = concat!("fame_plugin_", env!("CARGO_CRATE_NAME"), "_", env!("CARGO_PKG_VERSION_MAJOR"), "_", env!("CARGO_PKG_VERSION_MINOR"), "_", env!("CARGO_PKG_VERSION_PATCH")))]
            pub fn entry($take: &mut dyn FnMut($crate::registry::Registration)) -> $crate::Result<()> {
                $crate::plugin::keep(&DECLARATION);
                $body
            }
        };
    };
    (# entry) => {
        concat!("fame_plugin_", env!("CARGO_CRATE_NAME"), "_", env!("CARGO_PKG_VERSION_MAJOR"), "_", env!("CARGO_PKG_VERSION_MINOR"), "_", env!("CARGO_PKG_VERSION_PATCH"))
    };
    ($($kind:ident: $plugin:ty),+ $(,)?) => {
        $crate::export_plugin!(@ |take| $crate::plugin::hand_over_these(
            concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
            [$($crate::register!(# $kind: $plugin)),+],
            take,
        ));
    };
    ($($other:tt)*) => {
        compile_error!("`export_plugin!` takes nothing, or plugins in the words of `register!`: `fame_core::export_plugin!(Loss: MyLoss, Map: MyStep);`");
    };
}
