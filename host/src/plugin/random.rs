//! Random bytes for guests, counted: what one call may ask for is bounded.

use wasmtime::bail;
use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::p2::bindings::random::{insecure, random};
use wasmtime_wasi::random::WasiRandomCtx;

use super::sandbox::Sandbox;

/// What a call may still ask for.
pub(super) struct Allowance {
    per_call: u64,
    left: u64,
}

impl Allowance {
    pub(super) fn new(per_call: u64) -> Self {
        Allowance { per_call, left: per_call }
    }

    /// A call begins.
    pub(super) fn renew(&mut self) {
        self.left = self.per_call;
    }
}

/// The random numbers of an instance, while they are asked for.
pub(super) struct Counted<'a> {
    pub(super) random: &'a mut WasiRandomCtx,
    pub(super) allowance: &'a mut Allowance,
}

impl Counted<'_> {
    fn take(&mut self, bytes: u64) -> wasmtime::Result<()> {
        match self.allowance.left.checked_sub(bytes) {
            Some(left) => self.allowance.left = left,
            None => bail!("it asked for more than {} random bytes in one call", self.allowance.per_call),
        }
        Ok(())
    }
}

impl random::Host for Counted<'_> {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.take(length)?;
        random::Host::get_random_bytes(self.random, length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.take(8)?;
        random::Host::get_random_u64(self.random)
    }
}

impl insecure::Host for Counted<'_> {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.take(length)?;
        insecure::Host::get_insecure_random_bytes(self.random, length)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.take(8)?;
        insecure::Host::get_insecure_random_u64(self.random)
    }
}

/// How the linker reaches it.
struct Randomness;

impl HasData for Randomness {
    type Data<'a> = Counted<'a>;
}

/// Puts the counted interfaces in the place of those that count nothing.
pub(super) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    random::add_to_linker::<Sandbox, Randomness>(linker, Sandbox::random)?;
    insecure::add_to_linker::<Sandbox, Randomness>(linker, Sandbox::random)?;
    linker.allow_shadowing(false);
    Ok(())
}
