//! With the feature `tch`: finds libtorch, or says in one sentence what to do, and tells whoever
//! links this crate where it is.

#[path = "build/libtorch.rs"]
mod libtorch;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/libtorch.rs");
    println!("cargo::rerun-if-changed=build/rounding.cpp");
    if std::env::var_os("CARGO_FEATURE_TCH").is_none() {
        return;
    }
    for name in libtorch::VARIABLES {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let folder = match libtorch::locate(&|name| {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }) {
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
    #[cfg(feature = "tch")]
    compile_rounding(&folder);
}

/// The few lines of C++ for what tch does not bind.
#[cfg(feature = "tch")]
fn compile_rounding(libraries: &std::path::Path) {
    let headers = std::env::var_os("LIBTORCH_INCLUDE").map_or_else(
        || libraries.with_file_name("include"),
        |root| std::path::Path::new(&root).join("include"),
    );
    // As torch-sys compiles its own; the standard library's new strings have been PyTorch's only
    // ones since 2.7.
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .include(headers)
        .file("build/rounding.cpp")
        .compile("fame_rounding");
}
