//! The backend `Tch` as a dynamic plugin: the default `fame-cli`, which has no libtorch, gets it
//! with `--plugin`.
//!
//! ```sh
//! eval "$(fame-plugins/libtorch.sh)"
//! cargo build --release -p fame-tch-plugin --features tch
//! fame-cli run recipes/fr_similar.ron --plugin target/release/libfame_tch.so --set 'backend=Tch(device: Cpu)'
//! ```
//!
//! The library holds all of `fame-plugins`, but only `Tch` is handed over: everything else is in
//! the program already.

#[cfg(feature = "tch")]
fame_core::export_plugin!(Backend: fame_plugins::backends::tch::Tch);
