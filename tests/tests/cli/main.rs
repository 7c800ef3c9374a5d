//! What a user does with the program, command by command.

#![allow(clippy::unwrap_used)]

mod output;
mod round_trip;
mod secrets;
mod sources;
