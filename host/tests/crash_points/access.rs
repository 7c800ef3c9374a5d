//! Who opens the repository: making it, its clients, and their credentials.

use std::sync::Arc;

use obnam::chunk::ChunkId;
use obnam::credential::{Kind, Secret};
use obnam::format::roster::Role;
use obnam::local::Dirs;
use obnam::local::pin::Pin;
use obnam::repository::clients::Access;
use obnam::repository::init::init;
use obnam::repository::metadata::SnapshotInfo;
use obnam::repository::open::{Known, open};
use obnam::repository::{Place, Repository, RepositoryError};
use obnam::store::ChunkStore;
use obnam::store::memory::MemoryStore;

use super::*;
use crate::trial::Trial;

const ALL: [Role; 3] = [Role::Writer, Role::Reader, Role::Maintainer];

fn identity() -> Secret {
    Secret::Identity(age::x25519::Identity::generate().into())
}

/// An `init` that is cut off, and the next one, cut off again: either there is no repository, and one more `init` makes it; or there is one, and
/// it says so.
#[test]
fn making_a_repository() {
    let (tmp, secret) = (tempfile::tempdir().unwrap(), identity());
    let source = tmp.path().canonicalize().unwrap().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), noise(1, 9000)).unwrap();
    let store = Arc::new(MemoryStore::default());
    let recorded = |number: usize| {
        let (dir, copies) = (tmp.path().join(format!("first {number}")), tmp.path().join(format!("copies {number}")));
        let recording = Arc::new(Recording::new(store.clone(), dir.clone(), copies));
        let place = place(recording.clone(), &dir);
        init(&place, &[secret.clone(), identity()], "first", small_parameters()).unwrap();
        recording.crashes(1)
    };
    let mut states = 0;
    for crash in recorded(0) {
        *store.chunks.lock().unwrap() = crash.chunks.clone();
        let is_made = is_made(&store);
        let once_more = if is_made { Vec::new() } else { recorded(states + 1) };
        for crash in once_more.into_iter().chain([crash]) {
            states += 1;
            for dir in crash.dirs.iter().map(Some).chain([None]) {
                *store.chunks.lock().unwrap() = crash.chunks.clone();
                let machine = tmp.path().join("crashed");
                if let Some(dir) = dir {
                    copy_dir(dir, &machine);
                }
                go_on_after_init(&store, &machine, &secret, &source);
                fs::remove_dir_all(&machine).unwrap();
            }
        }
    }
    assert!(states > 20, "{states}");
}

fn place(store: Arc<dyn ChunkStore>, dir: &Path) -> Place {
    Place { store, location: "memory:".into(), dirs: Dirs::below(dir) }
}

fn is_made(store: &MemoryStore) -> bool {
    store.chunks.lock().unwrap().keys().any(|(label, _)| label.as_str() == "repository")
}

fn go_on_after_init(store: &Arc<MemoryStore>, machine: &Path, secret: &Secret, source: &Path) {
    let was_made = is_made(store);
    let place = || place(store.clone(), machine);
    if !was_made {
        let refused = open(place(), secret, None).err().unwrap();
        assert!(matches!(refused, RepositoryError::NotThere { .. }), "{refused}");
        assert!(refused.to_string().contains("init"), "{refused}");
    }
    match init(&place(), &[secret.clone(), identity()], "first", small_parameters()) {
        Ok(_) => assert!(!was_made),
        Err(RepositoryError::Exists { .. }) => assert!(was_made),
        Err(other) => panic!("{other}"),
    }
    // What the first one has left is gone.
    let count = |label: &str| store.chunks.lock().unwrap().keys().filter(|(of, _)| of.as_str() == label).count();
    assert_eq!(["repository", "roster", "client", "credential"].map(count), [1, 1, 1, 2]);
    let repository = open(place(), secret, None).unwrap();
    let before = tree(source);
    let id = backup(&repository, source).id;
    repack(&repository);
    let repository = open(place(), secret, None).unwrap();
    assert_restores(&repository, &id, source, &before);
    assert_clean(&repository);
}

/// Opens a repository on a machine that knows nothing but a secret, the id, and what credential it is about.
fn open_elsewhere(world: &World, secret: &Secret, credential: Option<ChunkId>) -> Result<Repository, RepositoryError> {
    let _ = fs::remove_dir_all(world.tmp.path().join("elsewhere"));
    open(world.place("elsewhere"), secret, Known { repository: Some(world.made.repository), credential })
}

/// What a secret opens by one credential or another. Those that a cut-off run has left lead nowhere.
fn opens(world: &World, secret: &Secret) -> Option<Repository> {
    world.chunks("credential").into_iter().find_map(|(_, id, _)| open_elsewhere(world, secret, Some(id)).ok())
}

/// The new client's first credential opens as soon as it is a member.
#[test]
fn adding_a_client() {
    let world = World::new();
    let (source, kept) = two_backups(&world);
    let theirs = identity();
    let add = |repository: &Repository| {
        repository.check_new_client("second")?;
        let access = Access { recipient: &theirs.recipient(), api_token: None };
        repository.add_client("second", &ALL, access)
    };
    let operation = |repository: &Repository, _: &_| add(repository).map(drop);
    let again = |repository: &Repository, _: &Dirs| match add(repository) {
        Ok(_) => assert_eq!(repository.roster.members.len(), 1),
        Err(RepositoryError::BadClient(why)) => {
            assert_eq!(repository.roster.members.len(), 2);
            assert!(why.contains("there is a client \"second\" already"), "{why}");
        }
        Err(other) => panic!("{other}"),
    };
    let done = |first: &Repository| {
        assert_eq!(first.roster.members.len(), 2);
        let second = open_elsewhere(&world, &theirs, None).unwrap();
        assert_eq!(second.client.name, "second");
        let id = backup(&second, &source).id;
        assert_restores(first, &id, &source, &tree(&source));
    };
    let trial = Trial::new("adding a client", &world, &source, &operation);
    Trial { kept, again: Some(&again), done: &done, changes: 3, ..trial }.run();
}

/// A world with a second client, which has backed up, and what is kept.
fn with_another(theirs: &Secret) -> (World, PathBuf, Vec<Kept>) {
    let world = World::new();
    let (source, mut kept) = two_backups(&world);
    let access = Access { recipient: &theirs.recipient(), api_token: None };
    world.open().add_client("second", &ALL, access).unwrap();
    let second = open_elsewhere(&world, theirs, None).unwrap();
    fs::write(source.join("theirs"), noise(9, 20_000)).unwrap();
    kept.push(keep(&second, &source));
    (world, source, kept)
}

/// The last snapshot of a client.
fn last_of<'s>(
    repository: &Repository,
    name: &str,
    snapshots: &'s [SnapshotInfo],
) -> Result<Option<&'s SnapshotInfo>, RepositoryError> {
    let tag = repository.find_client(name)?.tag;
    Ok(repository.history_of(&tag, snapshots).last().copied())
}

#[test]
fn removing_a_client() {
    let theirs = identity();
    let (world, source, kept) = with_another(&theirs);
    let remove = |repository: &Repository| {
        let snapshots = try_load(repository)?.0;
        let last = last_of(repository, "second", &snapshots)?;
        repository.remove_client(&repository.find_client("second")?.tag, last)
    };
    let operation = |repository: &Repository, _: &_| remove(repository).map(drop);
    let again = |repository: &Repository, _: &Dirs| match remove(repository) {
        Ok(_) => {}
        Err(RepositoryError::BadClient(why)) => assert!(why.contains("was removed"), "{why}"),
        Err(other) => panic!("{other}"),
    };
    let done = |_: &Repository| {
        let refused = open_elsewhere(&world, &theirs, None).err().unwrap();
        assert!(matches!(refused, RepositoryError::NotMember { .. }), "{refused}");
    };
    let trial = Trial::new("removing a client", &world, &source, &operation);
    Trial { kept, again: Some(&again), done: &done, ..trial }.run();
}

/// New keys for another client. One that was admitted by a run that was cut off gets new ones once more.
#[test]
fn giving_another_client_new_keys() {
    let (theirs, fresh) = (identity(), identity());
    let (world, source, kept) = with_another(&theirs);
    let operation = |repository: &Repository, _: &_| {
        let snapshots = try_load(repository)?.0;
        let last = last_of(repository, "second", &snapshots)?;
        let access = Access { recipient: &fresh.recipient(), api_token: None };
        repository.rotate_client(&repository.find_client("second")?.tag, last, access).map(drop)
    };
    let done = |first: &Repository| {
        let refused = open_elsewhere(&world, &theirs, None).err().unwrap();
        assert!(matches!(refused, RepositoryError::NotMember { .. }), "{refused}");
        let id = backup(&open_elsewhere(&world, &fresh, None).unwrap(), &source).id;
        assert_restores(first, &id, &source, &tree(&source));
    };
    let trial = Trial::new("new keys of another client", &world, &source, &operation);
    Trial { kept, done: &done, changes: 3, ..trial }.run();
}

/// New keys for the client that holds the root key.
#[test]
fn giving_the_own_client_new_keys() {
    let world = World::new();
    let (source, kept) = two_backups(&world);
    let fresh = identity();
    let operation = |repository: &Repository, dirs: &Dirs| {
        let snapshots = try_load(repository)?.0;
        let last = last_of(repository, "first", &snapshots)?;
        let access = Access { recipient: &fresh.recipient(), api_token: None };
        let made = repository.rotate_client(&repository.member().tag, last, access)?;
        Pin::replace(dirs, &repository.location, Kind::Identity, &made.credential).map_err(Into::into)
    };
    let done = |_: &Repository| {
        let refused = open_elsewhere(&world, &world.secret, None).err().unwrap();
        assert!(matches!(refused, RepositoryError::NotMember { .. }), "{refused}");
        open_elsewhere(&world, &fresh, None).unwrap().require_root_key("be the first client").unwrap();
    };
    let trial = Trial::new("new keys of the own client", &world, &source, &operation);
    let secrets = vec![world.secret.clone(), fresh.clone()];
    Trial { secrets, kept, done: &done, changes: 3, ..trial }.run();
}

#[test]
fn adding_a_credential() {
    let world = World::new();
    let (source, kept) = two_backups(&world);
    let further = identity();
    let operation = |repository: &Repository, _: &_| repository.add_credential(&further.recipient(), None).map(drop);
    let done = |_: &Repository| {
        opens(&world, &world.secret).unwrap();
        opens(&world, &further).unwrap();
    };
    Trial { kept, done: &done, ..Trial::new("adding a credential", &world, &source, &operation) }.run();
}

#[test]
fn removing_a_credential() {
    let world = World::new();
    let (source, kept) = two_backups(&world);
    let further = identity();
    let id = world.open().add_credential(&further.recipient(), None).unwrap();
    let operation = |repository: &Repository, _: &_| match repository.remove_credential(&id, &world.secret, false) {
        Err(RepositoryError::Store(error)) if error.is_not_found() => Ok(()),
        removed => removed.map(drop),
    };
    let done = |_: &Repository| assert!(opens(&world, &further).is_none());
    Trial { kept, done: &done, ..Trial::new("removing a credential", &world, &source, &operation) }.run();
}

/// Another secret takes the place of the old one. At every point one of them opens.
#[test]
fn changing_a_credential() {
    let world = World::new();
    let (source, kept) = two_backups(&world);
    let fresh = identity();
    let operation = |repository: &Repository, dirs: &Dirs| {
        let new = repository.copy_credential(&fresh)?;
        Pin::replace(dirs, &repository.location, Kind::Identity, &new)?;
        repository.give_up_credential().map(drop)
    };
    let old = world.made.credentials[0];
    // Who is in with the new one already has nothing left to do but to remove the old one.
    let again = |repository: &Repository, dirs: &Dirs| {
        let file = repository.store.get(&label("credential"), &repository.credential, None).unwrap();
        if world.secret.open(&file).is_ok() {
            operation(repository, dirs).unwrap();
        } else if world.chunks("credential").iter().any(|(_, id, _)| *id == old) {
            repository.remove_credential(&old, &fresh, false).unwrap();
        }
    };
    let done = |_: &Repository| {
        assert!(opens(&world, &world.secret).is_none());
        opens(&world, &fresh).unwrap();
    };
    let trial = Trial::new("changing a credential", &world, &source, &operation);
    let secrets = vec![world.secret.clone(), fresh.clone()];
    Trial { secrets, kept, again: Some(&again), done: &done, changes: 2, ..trial }.run();
}
