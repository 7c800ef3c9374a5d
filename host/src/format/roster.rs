//! Rosters: members, their keys, and the parameters of a repository (format section 6).

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::blob::MAX_BLOB;
use super::header::KeyId;
use super::{FormatError, Time, WriterTag, from_cbor, to_cbor};
use crate::chunk::{ChunkId, MAX_CHUNK_SIZE};
use crate::crypto::Key;
use crate::crypto::public::{HpkePrivate, HpkePublic, VerifyKey};

/// The chunker that this version implements.
pub const CHUNKER: &str = "gear-fastcdc-2020";

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Backs up.
    Writer,
    /// Restores.
    Reader,
    /// Prunes.
    Maintainer,
}

impl Role {
    /// The role's name in a roster.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Writer => "writer",
            Role::Reader => "reader",
            Role::Maintainer => "maintainer",
        }
    }
}

/// Parameters that all clients of a repository share.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Parameters {
    /// Name of the chunker.
    #[n(0)]
    pub chunker: String,
    /// Smallest piece of a file, in bytes (but for its last).
    #[n(1)]
    pub chunk_min: u64,
    /// Desired piece of a file, in bytes.
    #[n(2)]
    pub chunk_average: u64,
    /// Largest piece of a file, in bytes.
    #[n(3)]
    pub chunk_max: u64,
    /// A data pack is closed at this size, in bytes.
    #[n(4)]
    pub data_pack: u64,
    /// A tree pack is closed at this size, in bytes.
    #[n(5)]
    pub tree_pack: u64,
    /// Below this many bytes, trees and data of a backup share a pack.
    #[n(6)]
    pub small: u64,
    /// zstd level.
    #[n(7)]
    pub compression_level: i32,
}

impl Default for Parameters {
    /// Chunks of 256 KiB to 8 MiB, 1 MiB on average; packs of 16 MiB and 4 MiB; zstd 3.
    fn default() -> Self {
        Parameters {
            chunker: CHUNKER.into(),
            chunk_min: 256 << 10,
            chunk_average: 1 << 20,
            chunk_max: 8 << 20,
            data_pack: 16 << 20,
            tree_pack: 4 << 20,
            small: 1 << 20,
            compression_level: 3,
        }
    }
}

impl Parameters {
    /// Refuses parameters that this version cannot work with.
    pub fn check(&self) -> Result<(), FormatError> {
        if self.chunker != CHUNKER {
            return Err(FormatError::TooNew(format!("chunker {:?}", self.chunker)));
        }
        let sizes = self.chunk_min >= 64
            && self.chunk_min < self.chunk_average
            && (256..=4 << 20).contains(&self.chunk_average)
            && self.chunk_average < self.chunk_max
            && self.chunk_max <= MAX_BLOB as u64;
        let most = MAX_CHUNK_SIZE / 2;
        let packs = self.data_pack <= most && self.tree_pack <= most && self.small <= most;
        if sizes && packs { Ok(()) } else { Err(FormatError::Malformed("parameters out of their ranges")) }
    }
}

/// Where a removed member's history ends.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Removed {
    /// The last sequence number that counts; 0: none.
    #[n(0)]
    pub sequence: u64,
    /// The snapshot that has it.
    #[n(1)]
    pub snapshot: Option<ChunkId>,
}

/// 16 bytes in CBOR: the id of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct GroupId(#[cbor(n(0), with = "minicbor::bytes")] pub KeyId);

/// A client of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Member {
    /// Its random name.
    #[n(0)]
    pub tag: WriterTag,
    /// Its name for people.
    #[n(1)]
    pub name: String,
    /// Ed25519 public key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signing_key: Vec<u8>,
    /// X25519 public key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub hpke_key: Vec<u8>,
    /// Names of roles.
    #[n(4)]
    pub roles: Vec<String>,
    /// The groups that it belongs to.
    #[n(5)]
    pub groups: Vec<GroupId>,
    /// Whose index entries it deduplicates against; absent: those of all in its groups that can read.
    #[n(6)]
    pub trusts: Option<Vec<WriterTag>>,
    /// Set when it is no member any more.
    #[n(7)]
    pub removed: Option<Removed>,
}

impl Member {
    /// Whether it has (or had) a role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.iter().any(|name| name == role.as_str())
    }

    /// The key that its signatures are checked with.
    pub fn verify_key(&self) -> Result<VerifyKey, FormatError> {
        Ok(VerifyKey::from_slice(&self.signing_key)?)
    }

    /// Whether this member deduplicates against what `other` has indexed.
    pub fn trusts(&self, other: &Member) -> bool {
        if self.tag == other.tag {
            return true;
        }
        if other.removed.is_some() || !other.groups.iter().any(|group| self.groups.contains(group)) {
            return false;
        }
        match &self.trusts {
            Some(tags) => tags.contains(&other.tag),
            // A client that may not read is there because nobody relies on its machine.
            None => other.has(Role::Reader),
        }
    }
}

/// A key set, wrapped for one member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyWrap {
    /// For whom.
    #[n(0)]
    pub tag: WriterTag,
    /// HPKE: encapsulated key and ciphertext.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// The keys of a group from an epoch on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeySet {
    /// The roster epoch that brought it.
    #[n(0)]
    pub epoch: u64,
    /// X25519 public key to which packs are sealed.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub data_key: Vec<u8>,
    /// The secrets, for each member.
    #[n(2)]
    pub wraps: Vec<KeyWrap>,
}

/// Members who trust each other enough to deduplicate.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Group {
    /// Its random id.
    #[n(0)]
    pub id: GroupId,
    /// Its name for people.
    #[n(1)]
    pub name: String,
    /// Oldest first; the last one seals.
    #[n(2)]
    pub key_sets: Vec<KeySet>,
}

/// The payload of a roster.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Roster {
    /// From 1; the highest valid one is in force.
    #[n(0)]
    pub epoch: u64,
    /// The roster before.
    #[n(1)]
    pub previous: Option<ChunkId>,
    /// When it was made.
    #[n(2)]
    pub created: Time,
    /// Features without which the repository must not be used.
    #[cbor(n(3), default)]
    pub mandatory: Vec<String>,
    /// Features that may be ignored.
    #[cbor(n(4), default)]
    pub optional: Vec<String>,
    /// Shared parameters.
    #[n(5)]
    pub parameters: Parameters,
    /// All clients that there ever were.
    #[n(6)]
    pub members: Vec<Member>,
    /// All groups.
    #[n(7)]
    pub groups: Vec<Group>,
}

impl Roster {
    /// The member with this tag.
    pub fn member(&self, tag: &WriterTag) -> Option<&Member> {
        self.members.iter().find(|member| member.tag == *tag)
    }

    /// Whether `me` may rely on a pack that `writer` is said to have made, by an index chunk of `signer`: what a maintainer has merged
    /// stays the word of the pack's writer, and nobody else speaks for others.
    pub fn relies(&self, me: &Member, signer: &WriterTag, writer: &WriterTag) -> bool {
        let (Some(signer), Some(writer)) = (self.member(signer), self.member(writer)) else { return false };
        let may_quote = signer.has(Role::Maintainer) && signer.removed.is_none();
        (signer.tag == writer.tag || may_quote) && me.trusts(writer)
    }

    /// Refuses a roster with features or parameters that this version does not know.
    pub fn check(&self) -> Result<(), FormatError> {
        if let Some(feature) = self.mandatory.first() {
            return Err(FormatError::TooNew(format!("the mandatory feature {feature:?} of this repository")));
        }
        self.parameters.check()
    }
}

/// The secrets of one key set, as far as a member's role gives them.
#[derive(Clone)]
pub struct GroupKeys {
    /// The group.
    pub group: KeyId,
    /// The epoch of the key set.
    pub epoch: u64,
    /// Names blobs.
    pub blob_id: Key,
    /// Cuts files.
    pub chunker: Key,
    /// Seals index, snapshots, tombstones.
    pub metadata: Key,
    /// Packs are sealed to it.
    pub data_public: HpkePublic,
    /// Opens packs; readers only.
    pub data_private: Option<HpkePrivate>,
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
struct Secrets {
    #[cbor(n(0), with = "minicbor::bytes")]
    blob_id: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    chunker: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    metadata: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    data_private: Option<Vec<u8>>,
}

const KEY_SET_INFO: &[u8] = b"obnam v1 key set";

fn key_set_context(repository: &ChunkId, group: &KeyId, epoch: u64, tag: &WriterTag) -> Vec<u8> {
    [repository.as_bytes().as_slice(), group, &epoch.to_le_bytes(), &tag.0].concat()
}

impl GroupKeys {
    /// Whether both sets give equal blobs equal ids.
    pub fn names_alike(&self, other: &GroupKeys) -> bool {
        self.blob_id.as_bytes() == other.blob_id.as_bytes()
    }

    /// Fresh keys for a group.
    pub fn random(group: KeyId, epoch: u64) -> Self {
        let private = HpkePrivate::random();
        GroupKeys {
            group,
            epoch,
            blob_id: Key::random(),
            chunker: Key::random(),
            metadata: Key::random(),
            data_public: private.public(),
            data_private: Some(private),
        }
    }

    /// Wraps the keys for a member, the data private key only if it is a reader.
    pub fn wrap(&self, repository: &ChunkId, member: &Member) -> Result<KeyWrap, FormatError> {
        let reader = member.has(Role::Reader);
        let secrets = Secrets {
            blob_id: self.blob_id.as_bytes().to_vec(),
            chunker: self.chunker.as_bytes().to_vec(),
            metadata: self.metadata.as_bytes().to_vec(),
            data_private: self.data_private.as_ref().filter(|_| reader).map(|key| key.as_bytes().to_vec()),
        };
        let context = key_set_context(repository, &self.group, self.epoch, &member.tag);
        let plain = zeroize::Zeroizing::new(to_cbor(&secrets));
        let sealed = HpkePublic::from_slice(&member.hpke_key)?.seal(KEY_SET_INFO, &context, &plain)?;
        Ok(KeyWrap { tag: member.tag, sealed })
    }

    /// Opens what a roster wraps for one member; `None` where it wraps nothing for it.
    pub fn unwrap(
        repository: &ChunkId,
        group: &KeyId,
        set: &KeySet,
        tag: &WriterTag,
        key: &HpkePrivate,
    ) -> Result<Option<Self>, FormatError> {
        let Some(wrap) = set.wraps.iter().find(|wrap| wrap.tag == *tag) else { return Ok(None) };
        let context = key_set_context(repository, group, set.epoch, tag);
        let plain = zeroize::Zeroizing::new(key.open(KEY_SET_INFO, &context, &wrap.sealed)?);
        let secrets: Secrets = from_cbor(&plain)?;
        let data_private = match &secrets.data_private {
            Some(bytes) => Some(HpkePrivate::from_key(Key::from_slice(bytes)?)),
            None => None,
        };
        Ok(Some(GroupKeys {
            group: *group,
            epoch: set.epoch,
            blob_id: Key::from_slice(&secrets.blob_id)?,
            chunker: Key::from_slice(&secrets.chunker)?,
            metadata: Key::from_slice(&secrets.metadata)?,
            data_public: HpkePublic::from_slice(&set.data_key)?,
            data_private,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, key: &HpkePrivate, roles: &[Role]) -> Member {
        Member {
            tag: WriterTag::random(),
            name: name.into(),
            signing_key: vec![0; 32],
            hpke_key: key.public().as_bytes().to_vec(),
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
            groups: vec![GroupId([1; 16])],
            trusts: None,
            removed: None,
        }
    }

    #[test]
    fn writers_get_no_key_to_read_with() {
        let repository = ChunkId::from_bytes([1; 32]);
        let keys = GroupKeys::random([1; 16], 4);
        let (writer_key, reader_key) = (HpkePrivate::random(), HpkePrivate::random());
        let writer = member("writer", &writer_key, &[Role::Writer]);
        let reader = member("reader", &reader_key, &[Role::Writer, Role::Reader]);
        let wraps = [&writer, &reader].map(|member| keys.wrap(&repository, member).expect("wraps"));
        let set = KeySet { epoch: 4, data_key: keys.data_public.as_bytes().to_vec(), wraps: wraps.to_vec() };
        let open = |member: &Member, key| GroupKeys::unwrap(&repository, &[1; 16], &set, &member.tag, key);
        let opened = open(&writer, &writer_key).expect("opens").expect("is wrapped");
        assert_eq!(opened.metadata.as_bytes(), keys.metadata.as_bytes());
        assert!(opened.data_private.is_none());
        let opened = open(&reader, &reader_key).expect("opens").expect("is wrapped");
        assert_eq!(opened.data_private.expect("reads").public(), keys.data_public);
        assert!(open(&reader, &writer_key).is_err());
        let stranger = member("stranger", &writer_key, &[]);
        assert!(open(&stranger, &writer_key).expect("no error").is_none());
    }

    #[test]
    fn trust() {
        let key = HpkePrivate::random();
        let mut a = member("a", &key, &[Role::Writer]);
        let mut b = member("b", &key, &[Role::Writer, Role::Reader]);
        assert!(a.trusts(&b));
        assert!(!b.trusts(&a), "it cannot read");
        b.trusts = Some(vec![a.tag]);
        assert!(b.trusts(&a));
        a.trusts = Some(vec![]);
        assert!(!a.trusts(&b) && a.trusts(&a));
        a.trusts = Some(vec![b.tag]);
        assert!(a.trusts(&b));
        b.removed = Some(Removed { sequence: 0, snapshot: None });
        assert!(!a.trusts(&b));
        b.removed = None;
        b.groups = vec![GroupId([2; 16])];
        assert!(!a.trusts(&b));
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let good = Parameters::default();
        assert_eq!(good.check(), Ok(()));
        for bad in [
            Parameters { chunker: "other".into(), ..good.clone() },
            Parameters { chunk_min: 0, ..good.clone() },
            Parameters { chunk_average: 8 << 20, ..good.clone() },
            Parameters { chunk_max: 17 << 20, ..good.clone() },
            Parameters { data_pack: 64 << 20, ..good.clone() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
