//! `fame-cli`: see the library of the same name.

fn main() -> std::process::ExitCode {
    fame_cli::main()
}
