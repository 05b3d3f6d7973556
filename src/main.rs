//! The relayd binary.

fn main() -> std::process::ExitCode {
    relayd::cli::run()
}
