//! `obnam cat`: prints what is in the repository.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::Output;
use super::snapshots::to_json;
use super::{Failure, Global, exit, ls};
use crate::chunk::{ChunkId, ChunkInfo, LabelFilter};
use crate::dump::plain::Plain;
use crate::dump::{self, Source, Watch};
use crate::format::blob::{BlobId, BlobKind};
use crate::format::entry::EntryType;
use crate::format::header::Header;
use crate::format::pack::read_directory;
use crate::format::roster::{Role, Roster};
use crate::repository::blobs::{BlobReader, open_header};
use crate::repository::{Repository, RepositoryError};

/// Print what is in the repository: a file, a snapshot, the roster, a chunk, a blob.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The contents of a file
    File {
        /// The snapshot: its id, the beginning of it, or "latest"
        snapshot: String,
        /// The file's path
        path: PathBuf,
    },
    /// All that a snapshot says of itself, as JSON
    Snapshot {
        /// The snapshot: its id, the beginning of it, or "latest"
        snapshot: String,
    },
    /// Members, groups and parameters, as JSON (no secrets)
    Roster,
    /// A chunk's header, and a pack's directory, as JSON
    Chunk {
        /// The chunk's id
        id: String,
        /// Print the stored bytes instead
        #[arg(long)]
        raw: bool,
    },
    /// The plaintext of a blob
    Blob {
        /// data, tree or list
        kind: String,
        /// The blob's id
        id: String,
    },
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    match &arguments.what {
        What::File { snapshot, path } => file(&repository, snapshot, path, output)?,
        What::Snapshot { snapshot } => {
            let snapshots = repository.snapshots(&repository.listing()?)?;
            let info = repository.resolve(&snapshots, snapshot)?;
            document(&repository, output, to_json(&repository, info))?;
        }
        What::Roster => document(&repository, output, roster_json(&repository.roster))?,
        What::Chunk { id, raw } => chunk(&repository, id, *raw, output)?,
        What::Blob { kind, id } => blob(&repository, kind, id, output)?,
    }
    output.flush()?;
    if !output.json {
        output.warnings(&repository.warnings.all());
    }
    Ok(exit::OK)
}

/// With `--json` the usual document; else the bare value.
fn document(repository: &Repository, output: &mut Output, value: Value) -> Result<(), Failure> {
    if output.json {
        output.document("ok", &repository.warnings.all(), value)
    } else {
        output.line(serde_json::to_string_pretty(&value).expect("values are JSON"))
    }
}

fn file(repository: &Repository, snapshot: &str, path: &Path, output: &mut Output) -> Result<(), Failure> {
    repository.require(Role::Reader, "read files")?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let info = repository.resolve(&snapshots, snapshot)?;
    let index = repository.load_index(&listing)?;
    let reader = BlobReader::new(repository, &index);
    let entry = ls::find(&reader, &info.snapshot.root, path)?
        .ok_or_else(|| Failure::Input(format!("{} is not in snapshot {}", path.display(), info.id.short())))?;
    if entry.kind != EntryType::File {
        return Err(Failure::Input(format!("{} is no file, but a {}", path.display(), entry.kind.as_str())));
    }
    let source = Source::Entry(Box::new(entry), Path::new("/").join(path));
    let (watch, mut bytes) = (Watch::default(), Plain::new(output));
    dump::run((repository, &index), source, u64::MAX, &mut bytes, &watch)?;
    match watch.problems.all().first() {
        Some(problem) => Err(Failure::Input(format!("{}: {}", path.display(), problem.message))),
        None => Ok(()),
    }
}

fn roster_json(roster: &Roster) -> Value {
    let members: Vec<_> = roster
        .members
        .iter()
        .map(|member| {
            json!({
                "tag": member.tag.to_string(),
                "name": member.name,
                "signing_key": hex::encode(&member.signing_key),
                "hpke_key": hex::encode(&member.hpke_key),
                "roles": member.roles,
                "groups": member.groups.iter().map(|group| hex::encode(group.0)).collect::<Vec<_>>(),
                "trusts": member.trusts.as_ref().map(|tags| tags.iter().map(ToString::to_string).collect::<Vec<_>>()),
                "removed": member.removed.is_some(),
            })
        })
        .collect();
    let groups: Vec<_> = roster
        .groups
        .iter()
        .map(|group| {
            json!({
                "id": hex::encode(group.id.0),
                "name": group.name,
                "epochs": group.key_sets.iter().map(|set| set.epoch).collect::<Vec<_>>(),
            })
        })
        .collect();
    let parameters = &roster.parameters;
    json!({
        "epoch": roster.epoch,
        "created": roster.created.to_rfc3339(),
        "mandatory": roster.mandatory,
        "optional": roster.optional,
        "parameters": {
            "chunker": parameters.chunker,
            "chunk_min": parameters.chunk_min,
            "chunk_average": parameters.chunk_average,
            "chunk_max": parameters.chunk_max,
            "data_pack": parameters.data_pack,
            "tree_pack": parameters.tree_pack,
            "small": parameters.small,
            "compression_level": parameters.compression_level,
        },
        "members": members,
        "groups": groups,
    })
}

fn chunk(repository: &Repository, id: &str, raw: bool, output: &mut Output) -> Result<(), Failure> {
    let id: ChunkId = id.parse().map_err(|error: crate::chunk::NameError| Failure::Input(error.to_string()))?;
    let all = repository.store.list(&LabelFilter::All).map_err(RepositoryError::from)?;
    let info = all.iter().find(|info| info.id == id);
    let info = info.ok_or_else(|| Failure::Input(format!("there is no chunk {id}; see: obnam chunks")))?;
    let bytes = repository.store.get(&info.label, &id, None).map_err(RepositoryError::from)?;
    if raw {
        return output.raw(&bytes);
    }
    let value = describe(repository, info, &bytes);
    document(repository, output, value)
}

fn describe(repository: &Repository, info: &ChunkInfo, bytes: &[u8]) -> Value {
    let mut value = json!({ "label": info.label.as_str(), "id": info.id.to_string(), "size": info.size });
    let header = match Header::parse(bytes) {
        Ok(header) => header,
        Err(why) => {
            value["unsealed"] = json!(why.to_string());
            return value;
        }
    };
    value["header"] = json!({
        "wrap": format!("{:?}", header.wrap).to_lowercase(),
        "epoch": header.epoch,
        "key_id": hex::encode(header.key_id),
        "repository": header.repository.to_string(),
        "label": String::from_utf8_lossy(header.label()),
        "length": header.length(),
    });
    if matches!(info.label.as_str(), "data" | "tree") {
        let directory = open_header(repository, &info.label, &header)
            .and_then(|opener| read_directory(bytes, &header, &opener.cipher));
        value["blobs"] = match directory {
            Ok(places) => places
                .iter()
                .map(|place| {
                    json!({
                        "kind": place.kind.as_str(),
                        "id": place.id.to_string(),
                        "offset": place.offset,
                        "stored": place.stored,
                        "size": place.raw,
                        "compressed": place.compressed,
                    })
                })
                .collect(),
            Err(why) => json!({ "error": why.to_string() }),
        };
    }
    value
}

fn blob(repository: &Repository, kind: &str, id: &str, output: &mut Output) -> Result<(), Failure> {
    let kind = [BlobKind::Data, BlobKind::Tree, BlobKind::List].into_iter().find(|known| known.as_str() == kind);
    let kind = kind.ok_or_else(|| Failure::Input("a blob is of the kind data, tree or list".into()))?;
    let id: BlobId = id.parse().map_err(|_| Failure::Input("a blob id is 64 hexadecimal digits".into()))?;
    let index = repository.load_index(&repository.listing()?)?;
    let plaintext = BlobReader::new(repository, &index).read(kind, &id)?;
    output.raw(&plaintext)
}
