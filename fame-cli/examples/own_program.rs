//! A command line of one's own: fame-cli with a third party's plugins linked in, instead of loaded
//! with `--plugin`.

// Naming the crate keeps the linker from leaving its registrations out.
use fame_fixture_good as _;

fn main() -> std::process::ExitCode {
    fame_cli::main()
}
