//! What surrounds one instance: nothing, unless granted.
//!
//! Every interface of WASI 0.2 is linked, since ordinary guests (Python, JavaScript) import them all, but answers
//! "denied" or "empty": no directories, no environment, no arguments, no sockets, no name lookup, no HTTP.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Engine, ResourceLimiter};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::engine::thread_cpu_time;
use super::grants::Grants;
use super::http::{Client, Http};
use super::limits::Limits;
use super::output::Output;
use super::progress::Progress;
use super::random::{self, Allowance, Counted};
use crate::store::StoreError;

/// The host's side of one instance.
pub(super) struct Sandbox {
    wasi: WasiCtx,
    http_context: WasiHttpCtx,
    /// What it requests.
    pub(super) http: Http,
    /// The handles of the guest.
    pub(super) table: ResourceTable,
    /// What it may still grow by.
    pub(super) quota: Quota,
    /// Where the waiting thread looks.
    pub(super) progress: Arc<Progress>,
    /// What it prints.
    pub(super) output: Output,
    /// The random bytes that the call may still ask for.
    allowance: Allowance,
    cpu_at_start: Duration,
    cpu_limit: Duration,
}

impl Sandbox {
    /// The surroundings of a fresh instance with these grants.
    pub(super) fn new(
        grants: &Grants,
        client: Option<Arc<Client>>,
        limits: &Limits,
        progress: Arc<Progress>,
    ) -> Result<Self, StoreError> {
        let output = Output::new(limits.output);
        let mut wasi = WasiCtx::builder();
        // Each instance has a thread of its own, which may wait for the disk. To be set before any directory.
        wasi.allow_blocking_current_thread(true);
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        wasi.max_random_size(limits.random);
        wasi.stdout(output.clone()).stderr(output.clone());
        for directory in &grants.directories {
            let permissions = if directory.is_read_only()? { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            wasi.preopened_dir(directory.real_path()?, &directory.path, permissions)
                .map_err(|error| directory.refused(&error.to_string()))?;
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let mut http_context = WasiHttpCtx::new();
        http_context.set_field_size_limit(32 << 10);
        Ok(Sandbox {
            wasi: wasi.build(),
            http_context,
            http: Http::new(client, progress.clone()),
            table,
            quota: Quota::new(limits),
            progress,
            output,
            allowance: Allowance::new(limits.random_per_call),
            cpu_at_start: Duration::ZERO,
            cpu_limit: limits.cpu,
        })
    }

    /// A linker with everything that is served.
    pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Sandbox>> {
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        random::add_to_linker(&mut linker)?;
        Ok(linker)
    }

    /// Begins a call on this thread: counts its processor time.
    pub(super) fn begin_call(&mut self) {
        self.http.begin_call();
        self.allowance.renew();
        self.cpu_at_start = thread_cpu_time();
    }

    /// Random numbers for the guest, counted.
    pub(super) fn random(&mut self) -> Counted<'_> {
        self.progress.step();
        Counted { random: self.wasi.random(), allowance: &mut self.allowance }
    }

    /// Fails when the running call has to end.
    pub(super) fn may_go_on(&self) -> wasmtime::Result<()> {
        if self.progress.is_abandoned() {
            wasmtime::bail!("nobody waits for it any more");
        }
        if thread_cpu_time().saturating_sub(self.cpu_at_start) > self.cpu_limit {
            wasmtime::bail!("it used more than {:?} of processor time in one call", self.cpu_limit);
        }
        Ok(())
    }
}

impl WasiView for Sandbox {
    // Every call of the guest into WASI comes through here.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.progress.step();
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Sandbox {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.progress.step();
        WasiHttpCtxView { ctx: &mut self.http_context, table: &mut self.table, hooks: &mut self.http }
    }
}

/// What an instance may still take of memory and tables.
pub(super) struct Quota {
    memory: usize,
    memory_used: usize,
    table_elements: usize,
    instances: usize,
}

impl Quota {
    fn new(limits: &Limits) -> Self {
        Quota {
            memory: limits.memory,
            memory_used: 0,
            table_elements: limits.table_elements,
            instances: limits.instances,
        }
    }
}

impl ResourceLimiter for Quota {
    fn memory_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.memory_used.saturating_add(desired.saturating_sub(current));
        if used > self.memory {
            wasmtime::bail!("it wanted more than its {} MiB of memory", self.memory >> 20);
        }
        self.memory_used = used;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        if growth > self.table_elements {
            wasmtime::bail!("it wanted larger tables than it may have");
        }
        self.table_elements -= growth;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}
