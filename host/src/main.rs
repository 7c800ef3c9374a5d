//! The `obnam` program; see the library's module `cli`.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    obnam::allocator::set_up();
    std::panic::set_hook(Box::new(|info| {
        // Not `eprintln!`: a panic in here would hide the first one.
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "obnam: this is a defect of obnam, not of your data; please report it: {info}");
    }));
    ExitCode::from(obnam::cli::main())
}
