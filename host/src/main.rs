//! The `obnam` program; see the library's module `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("obnam: this is a defect of obnam, not of your data; please report it: {info}");
    }));
    ExitCode::from(obnam::cli::main())
}
