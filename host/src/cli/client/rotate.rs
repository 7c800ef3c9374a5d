//! `obnam client rotate`.

use clap::Args;

use super::super::credential::new::{NewArguments, show_first};
use super::super::output::{Output, complain};
use super::super::{Failure, Global, exit};
use super::{accepted, add, last, name};
use crate::local::Dirs;
use crate::local::pin::Pin;
use crate::repository::clients::Access;

/// Give a client new keys, where somebody may have copied the old ones.
///
/// The client goes on under a new tag, with a new credential; what opens it is chosen as for "obnam credential add". Its older credentials
/// open the repository no more. Its snapshots stay, up to the last one that there is now (or --last). What the old
/// keys sign from now on counts no more, nor do they read what is stored from now on. What only this client had stored is
/// stored again by the next backup, since with the old keys somebody could have said that it is there.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The client: its name, or the beginning of its tag; without it, the one that is open
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The last of its snapshots that counts, or "none", where its machine was in other hands since
    #[arg(long, value_name = "SNAPSHOT")]
    last: Option<String>,
    #[command(flatten)]
    new: NewArguments,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let (repository, _) = global.repository_and_secret()?;
    repository.require_root_key("give a client new keys")?;
    let member = match &arguments.name {
        Some(name) => repository.find_client(name)?,
        None => repository.member(),
    };
    let snapshots = repository.snapshots(&repository.listing()?)?;
    let last = last(&repository, member, &snapshots, arguments.last.as_deref())?;
    let (new, made) = arguments.new.make(&repository, &member.name, |new| {
        if member.tag == repository.client.tag {
            show_first(new.generated.as_ref(), output)?;
        }
        let access = Access { recipient: &new.recipient, api_token: new.held() };
        Ok(repository.rotate_client(&member.tag, last, access)?)
    })?;
    if member.tag == repository.client.tag {
        Pin::replace(&Dirs::from_environment()?, &repository.location, new.recipient.kind(), &made.credential)?;
    }
    let code = add::tell(global, &repository, &arguments.new, &new, &made, output)?;
    if code == exit::OK && !output.quiet && !output.json {
        complain(format_args!(
            "the old keys of {} are out of use; {}. Other credentials of this client have to be made again: obnam credential add",
            name(member),
            accepted(&repository, member, &snapshots, last)
        ));
    }
    Ok(code)
}
