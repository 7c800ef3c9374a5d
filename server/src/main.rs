//! The program `obnam-server`. Everything is in the library.

fn main() -> std::process::ExitCode {
    obnam_server::commands::main()
}
