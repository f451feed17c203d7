//! Built with the feature `tch`: the plugin must find libtorch where it was linked.

#[path = "../build/libtorch.rs"]
#[allow(dead_code)] // The other half of the file finds it, which fame-plugins has done.
mod libtorch;

fn main() {
    if let Some(folder) = std::env::var_os("DEP_FAME_LIBTORCH_LIB").map(std::path::PathBuf::from) {
        libtorch::link_arguments(&folder)
            .iter()
            .for_each(|argument| println!("cargo::rustc-link-arg={argument}"));
    }
}
