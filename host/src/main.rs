//! The `obnam` program.
fn main() {}
