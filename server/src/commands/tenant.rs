//! `obnam-server tenant`: makes and lists tenants, changes their quotas, calls removals off.

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Output, bytes, time};
use crate::state::{State, Tenant};
use crate::tenant::TenantName;

/// What to do with tenants.
#[derive(Subcommand)]
pub enum TenantCommand {
    /// Make a tenant
    Create {
        /// Its name: a-z, 0-9 and '-'
        name: TenantName,
        /// How many bytes it may store, such as 500G
        #[arg(long, value_parser = bytes)]
        quota: Option<u64>,
    },
    /// List tenants
    List,
    /// Change how many bytes a tenant may store
    Quota {
        /// Its name
        name: TenantName,
        /// Such as 500G; none for no limit
        quota: String,
    },
    /// List the removals that are pending
    Removals {
        /// The tenant's name
        name: TenantName,
    },
    /// Call pending removals off
    Undelete {
        /// The tenant's name
        name: TenantName,
        /// LABEL/ID of the chunk
        #[arg(required_unless_present = "all")]
        chunk: Option<String>,
        /// All that are pending
        #[arg(long, conflicts_with = "chunk")]
        all: bool,
    },
}

/// Runs the command.
pub async fn run(state: &State, command: TenantCommand, output: &Output) -> Result<(), Failure> {
    match command {
        TenantCommand::Create { name, quota } => {
            if !state.create_tenant(&name, quota, crate::now()).await? {
                return Err(Failure::Input(format!("there is a tenant {name} already")));
            }
            output.print(&format!("made tenant {name}"), &json!({ "name": name.as_str(), "quota": quota }))
        }
        TenantCommand::List => {
            let tenants = state.tenants().await?;
            let lines: Vec<String> = tenants.iter().map(line).collect();
            let text = if lines.is_empty() { "no tenants".to_owned() } else { lines.join("\n") };
            output.print(&text, &json!({ "tenants": tenants }))
        }
        TenantCommand::Quota { name, quota } => {
            let quota = if quota == "none" { None } else { Some(bytes(&quota).map_err(Failure::Input)?) };
            if !state.set_quota(&name, quota).await? {
                return Err(unknown(&name));
            }
            output.print(&format!("changed the quota of {name}"), &json!({ "name": name.as_str(), "quota": quota }))
        }
        TenantCommand::Removals { name } => removals(state, &name, output).await,
        TenantCommand::Undelete { name, chunk, all: _ } => {
            let mut kept: u64 = 0;
            match chunk {
                Some(chunk) => kept += u64::from(state.call_off(&name, &chunk).await?),
                None => {
                    for removal in pending(state, &name).await? {
                        kept += u64::from(state.call_off(&name, &removal.chunk).await?);
                    }
                }
            }
            output.print(&format!("called off {kept} removals"), &json!({ "called-off": kept }))
        }
    }
}

async fn removals(state: &State, name: &TenantName, output: &Output) -> Result<(), Failure> {
    if state.tenant(name).await?.is_none() {
        return Err(unknown(name));
    }
    let removals = pending(state, name).await?;
    let lines: Vec<String> = removals.iter().map(|found| format!("{}  {}", time(found.until), found.chunk)).collect();
    let text = if lines.is_empty() { "no removals are pending".to_owned() } else { lines.join("\n") };
    let json: Vec<_> = removals.iter().map(|found| json!({ "chunk": found.chunk, "until": found.until })).collect();
    output.print(&text, &json!({ "removals": json }))
}

async fn pending(state: &State, name: &TenantName) -> Result<Vec<crate::state::PendingRemoval>, Failure> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or("", |found: &crate::state::PendingRemoval| found.chunk.as_str());
        let page = state.removals(name, after, 1000).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn unknown(name: &TenantName) -> Failure {
    Failure::Input(format!("there is no tenant {name}; see: obnam-server tenant list"))
}

fn line(tenant: &Tenant) -> String {
    let quota = tenant.quota.map_or_else(|| "no quota".to_owned(), |quota| format!("quota {quota} bytes"));
    let snapshot = tenant
        .newest_snapshot
        .map_or_else(|| "no snapshot seen".to_owned(), |newest| format!("newest snapshot {}", time(newest)));
    format!("{}  {} bytes stored, {quota}, {snapshot}", tenant.name, tenant.used)
}
