//! The `consign` binary: parses the command line and hands over to [`consign::cli`].

fn main() -> std::process::ExitCode {
    consign::cli::main()
}
