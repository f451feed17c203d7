//! With the feature `tch`: finds libtorch, or says in one sentence what to do, and tells whoever links this crate where it is.

#[path = "build/libtorch.rs"]
mod libtorch;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/libtorch.rs");
    if std::env::var_os("CARGO_FEATURE_TCH").is_none() {
        return;
    }
    for name in libtorch::VARIABLES {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let folder = match libtorch::locate(&|name| std::env::var(name).ok().filter(|value| !value.is_empty())) {
        Ok(folder) => folder,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            std::process::exit(1);
        }
    };
    // For this crate's own tests and benchmarks; dependents read the metadata and do the same.
    for argument in libtorch::link_arguments(&folder) {
        println!("cargo::rustc-link-arg={argument}");
    }
    println!("cargo::metadata=LIB={}", folder.display());
}
