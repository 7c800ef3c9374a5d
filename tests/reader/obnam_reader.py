#!/usr/bin/env python3
"""A second reader for Obnam repositories, written from docs/format.md and from nothing else.

It is there for two reasons: it proves that the page suffices, and it can be read beside the page. Section numbers
below are those of docs/format.md. It favours clarity over speed, and holds the whole index in memory.

    obnam_reader.py info REPOSITORY                 what is in there, as JSON
    obnam_reader.py restore REPOSITORY TARGET       the latest snapshot, into a new or empty directory

REPOSITORY is a directory of the local backend. The credential is the passphrase in OBNAM_PASSPHRASE, or an age identity
file or an SSH key (--identity). Exit status: 0 done, 3 done but something is missing, 1 nothing could be done.
"""

import argparse
import collections
import hashlib
import hmac
import io
import json
import os
import pathlib
import re
import struct
import sys

import cbor2
import pyrage
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MIB = 1 << 20


class Bad(Exception):
    """Something in the repository that cannot be used, and why."""


# ---------------------------------------------------------------------------------------------------------------------
# Section 1: conventions and algorithms


def derive(context, key):
    return blake3(key, derive_key_context=context).digest()


def keyed(key, data):
    return blake3(data, key=key).digest()


def aead_open(key, nonce, ciphertext, associated):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, associated)
    except InvalidTag:
        raise Bad("the authentication tag does not fit") from None


def xaead_open(key, nonce, ciphertext, associated):
    """XChaCha20-Poly1305: a key from HChaCha20 of the first 16 bytes of the nonce, then the rest of the nonce."""
    return aead_open(hchacha20(key, nonce[:16]), bytes(4) + nonce[16:], ciphertext, associated)


def hchacha20(key, nonce):
    """draft-irtf-cfrg-xchacha-03, section 2.2."""
    state = list(struct.unpack("<4L8L4L", b"expand 32-byte k" + key + nonce))

    def quarter(a, b, c, d):
        for target, source, other, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[target] = (state[target] + state[source]) & 0xFFFFFFFF
            mixed = state[other] ^ state[target]
            state[other] = ((mixed << shift) | (mixed >> (32 - shift))) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8L", *state[:4], *state[12:])


def hpke_open(private_key, sealed, info, associated):
    """RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, first message."""

    def extract(suite, salt, label, secret):
        return hmac.digest(salt, b"HPKE-v1" + suite + label + secret, "sha256")

    def expand(suite, key, label, context, length):  # never more than one block of HMAC-SHA256 here
        data = struct.pack(">H", length) + b"HPKE-v1" + suite + label + context
        return hmac.digest(key, data + b"\x01", "sha256")[:length]

    kem, suite = b"KEM" + b"\x00\x20", b"HPKE" + b"\x00\x20\x00\x01\x00\x03"
    encapsulated, ciphertext = sealed[:32], sealed[32:]
    mine = X25519PrivateKey.from_private_bytes(private_key)
    try:
        exchanged = mine.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    except ValueError:
        raise Bad("an encapsulated key is no point of the curve") from None
    context = encapsulated + mine.public_key().public_bytes_raw()
    shared = expand(kem, extract(kem, b"", b"eae_prk", exchanged), b"shared_secret", context, 32)
    schedule = b"\x00" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    secret = extract(suite, shared, b"secret", b"")
    key = expand(suite, secret, b"key", schedule, 32)
    nonce = expand(suite, secret, b"base_nonce", schedule, 12)
    return aead_open(key, nonce, ciphertext, associated)


def parse(data):
    """One CBOR item with nothing behind it."""
    stream = io.BytesIO(data)
    item = parse_next(stream)
    if stream.tell() != len(data):
        raise Bad("bytes behind the CBOR")
    return item


def parse_next(stream):
    try:
        return cbor2.CBORDecoder(stream, read_size=1, max_depth=16).decode()
    except Exception as error:  # whatever the library says of hostile bytes
        raise Bad(f"no CBOR: {error}") from None


def field(item, key, kind, size=None):
    """An obligatory field of a map, of this type and (for byte strings) of this size."""
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise Bad(f"field {key} is missing or has the wrong type")
    if size is not None and len(value) != size:
        raise Bad(f"field {key} has {len(value)} bytes instead of {size}")
    return value


def optional(item, key, kind, size=None):
    return field(item, key, kind, size) if item.get(key) is not None else None


def nanoseconds(time):
    if not (isinstance(time, list) and len(time) == 2 and all(type(part) is int for part in time)):
        raise Bad("a time is not two numbers")
    if not (-(1 << 63) <= time[0] < 1 << 63 and 0 <= time[1] < 1_000_000_000):
        raise Bad("a time is out of range")
    return time[0] * 1_000_000_000 + time[1]


def decompress(method, data, limit):
    """Both kinds of compression; never more than `limit` bytes, whatever the frame announces."""
    if method == 0:
        return data
    if method != 1:
        raise Bad(f"unknown compression {method}")
    try:
        plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read(limit + 1)
    except zstandard.ZstdError as error:
        raise Bad(f"zstd: {error}") from None
    if len(plain) > limit:
        raise Bad("more plaintext than announced or allowed")
    return plain


def records(data, layout):
    """A byte string made of records of one size."""
    if len(data) % struct.calcsize(layout):
        raise Bad("a list of records ends within a record")
    return struct.iter_unpack(layout, data)


# ---------------------------------------------------------------------------------------------------------------------
# Section 2: chunks


class Store:
    """A directory of the local backend: the chunk (label, id) is the file LABEL/XX/ID."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def list(self, pattern):
        """The (label, id) of all chunks whose label matches; other files are not chunks."""
        found = []
        for path in self.folder.glob("*/??/*"):
            label, two, identifier = path.parts[-3:]
            if re.fullmatch(pattern, label) and re.fullmatch("[0-9a-f]{64}", identifier) and identifier[:2] == two:
                found.append((label, bytes.fromhex(identifier)))
        return sorted(found)

    def read(self, label, identifier):
        text = identifier.hex()
        try:
            data = (self.folder / label / text[:2] / text).read_bytes()
        except OSError as error:
            raise Bad(f"cannot be read: {error.strerror}") from None
        if hashlib.sha256(data).digest() != identifier:
            raise Bad("the bytes do not have this id")
        return data


# ---------------------------------------------------------------------------------------------------------------------
# Section 3: sealed chunks

WRAPS = {"client": 3, "roster": 4, "data": 1, "tree": 1, "tombstone": 2, "index": 2, "snapshot": 2}
WRAPPED_SIZES = {1: 32 + 48, 2: 24 + 48, 3: 24 + 48, 4: 8 + 32 + 48}  # for wrap 4: of each member's record


class Header:
    """The clear header of a sealed chunk."""

    def __init__(self, data, label, repository):
        if len(data) < 80 or data[:8] != b"OBNAMCHK":
            raise Bad("does not begin with a chunk header")
        version, suite, self.wrap, n, _, w, _, self.epoch, self.key_id, repo = struct.unpack_from(
            "<HHBBHIIQ16s32s", data, 8
        )
        if (version, suite) != (1, 1):
            raise Bad(f"format version {version}, suite {suite}: this reader knows 1 and 1")
        self.length = 80 + n + w + 32
        if self.length > len(data):
            raise Bad("the header is cut off")
        if data[80 : 80 + n] != label.encode():
            raise Bad("the header has another label")
        if repo != repository:
            raise Bad("it belongs to another repository")
        if WRAPS.get(label.split(".")[0]) != self.wrap:
            raise Bad(f"a chunk of this label cannot have wrap {self.wrap}")
        if w != WRAPPED_SIZES[self.wrap] and (self.wrap != 4 or w % WRAPPED_SIZES[4]):
            raise Bad("the wrapped key has another length than its wrap says")
        self.prefix = data[: 80 + n]
        self.wrapped = data[80 + n : 80 + n + w]
        self.commitment = data[80 + n + w : self.length]
        self.associated = hashlib.sha256(data[: self.length]).digest()

    def piece_key(self, content_key):
        """Checks the commitment; the key under which all pieces of the chunk are sealed."""
        if derive("obnam v1 key commitment", content_key) != self.commitment:
            raise Bad("the key commitment does not fit")
        return derive("obnam v1 content", content_key)

    def open_piece(self, piece_key, purpose, position, piece):
        nonce = bytes([purpose, 0, 0, 0]) + struct.pack("<Q", position)
        return aead_open(piece_key, nonce, piece, self.associated)

    def symmetric(self, context, key):
        """Wraps 2 and 3."""
        return xaead_open(derive(context, key), self.wrapped[:24], self.wrapped[24:], self.prefix)


def whole_contents(header, content_key, data):
    plain = header.open_piece(header.piece_key(content_key), 4, 0, data[header.length :])
    if len(plain) < 8:
        raise Bad("the contents are cut off")
    compression, length = struct.unpack_from("<B3xI", plain)
    if 8 + length > len(plain):
        raise Bad("the body is cut off")
    return parse(decompress(compression, plain[8 : 8 + length], 64 * MIB))


def verified(signed, context, repository, signing_key):
    """The payload of signed contents."""
    payload = field(signed, 0, bytes)
    try:
        message = context.encode() + b"\0" + repository + payload
        Ed25519PublicKey.from_public_bytes(signing_key).verify(field(signed, 2, bytes, 64), message)
    except (InvalidSignature, ValueError):
        raise Bad("the signature does not fit") from None
    return parse(payload)


# ---------------------------------------------------------------------------------------------------------------------
# Sections 4 to 6: opening a repository

KeySet = collections.namedtuple("KeySet", "blob_id_key metadata_key data_private_key")


class Repository:
    def __init__(self, store, decrypt, pinned, problems):
        """`decrypt` opens age files; `pinned` is the repository id, where it is known from elsewhere.

        What had to be skipped is added to `problems`.
        """
        self.store = store
        self.problems = problems
        credential = self.open_credential(decrypt, pinned)
        self.id = field(credential, 1, bytes, 32)
        self.root_key = self.read_marker()
        self.client = self.read_client(credential)
        self.tag = field(self.client, 1, bytes, 8)
        self.roster = self.read_roster()
        self.members = {field(member, 0, bytes, 8): member for member in field(self.roster, 6, list)}
        self.key_sets = self.unwrap_key_sets()

    def report(self, what, why):
        self.problems.append(f"{what}: {why}")

    def skipping(self, pattern):
        """All chunks with a label, with a guard: what goes wrong with one is reported, and the next one follows."""
        for label, identifier in self.store.list(pattern):
            guard = Guard(self, f"{label}/{identifier.hex()}")
            yield label, identifier, guard

    def open_credential(self, decrypt, pinned):
        opened = []
        for label, identifier, guard in self.skipping("credential"):
            with guard:
                data = self.store.read(label, identifier)
                if len(data) > 64 * 1024:
                    raise Bad("too long for a credential")
                plain = decrypt(data)
                if plain is None:
                    continue
                credential = parse(plain)
                if field(credential, 0, int) != 1:
                    raise Bad("a credential of a version that this reader does not know")
                if pinned in (None, field(credential, 1, bytes, 32)):
                    opened.append(credential)
        if len({credential[1] for credential in opened}) > 1:
            raise Bad("credentials for several repositories open: say which with --repository-id")
        if not opened:
            raise Bad("no credential opens with this passphrase or identity")
        return opened[0]

    def read_marker(self):
        """Section 4. Its id is the repository id, which `read` verifies; others do not count."""
        for label, identifier, guard in self.skipping("repository"):
            with guard:
                if identifier != self.id:
                    raise Bad("a second repository chunk, ignored")
        data = self.store.read("repository", self.id)
        if data[:10] != b"OBNAMREP\x01\x00":
            raise Bad("the repository chunk has another format or version")
        return field(parse(data[10:]), 0, bytes, 32)

    def read_client(self, credential):
        identifier = field(credential, 2, bytes, 32)
        data = self.store.read("client", identifier)
        header = Header(data, "client", self.id)
        if header.key_id != field(credential, 3, bytes, 16):
            raise Bad("the client chunk is sealed under another key than the credential's")
        content_key = header.symmetric("obnam v1 client wrap", field(credential, 4, bytes, 32))
        return whole_contents(header, content_key, data)

    def read_roster(self):
        """Section 6: the valid one with the highest epoch."""
        valid = collections.defaultdict(list)
        for label, identifier, guard in self.skipping("roster"):
            with guard:
                data = self.store.read(label, identifier)
                header = Header(data, label, self.id)
                wraps = {tag: sealed for tag, sealed in records(header.wrapped, "<8s80s")}
                if self.tag not in wraps:
                    raise Bad("a roster that is not meant for this client")
                hpke_key = field(self.client, 3, bytes, 32)
                content_key = hpke_open(hpke_key, wraps[self.tag], b"obnam v1 member wrap", header.prefix)
                signed = whole_contents(header, content_key, data)
                roster = verified(signed, "obnam v1 roster", self.id, self.root_key)
                if field(roster, 0, int) != header.epoch:
                    raise Bad("header and payload disagree on the epoch")
                valid[header.epoch].append(roster)
        if not valid:
            raise Bad("there is no valid roster")
        newest = valid[max(valid)]
        if len(newest) > 1:
            raise Bad(f"two rosters of epoch {max(valid)}: an attack, neither can be believed")
        unknown = field(newest[0], 3, list)
        if unknown:
            raise Bad(f"mandatory features that this reader does not know: {unknown}")
        return newest[0]

    def unwrap_key_sets(self):
        """The key sets that this client may use, by (group id, epoch)."""
        found = {}
        for group in field(self.roster, 7, list):
            group_id = field(group, 0, bytes, 16)
            for key_set in field(group, 2, list):
                epoch = field(key_set, 0, int)
                for wrap in field(key_set, 2, list):
                    if field(wrap, 0, bytes, 8) != self.tag:
                        continue
                    associated = self.id + group_id + struct.pack("<Q", epoch) + self.tag
                    hpke_key = field(self.client, 3, bytes, 32)
                    keys = parse(hpke_open(hpke_key, field(wrap, 1, bytes), b"obnam v1 key set", associated))
                    found[group_id, epoch] = KeySet(
                        field(keys, 0, bytes, 32), field(keys, 2, bytes, 32), optional(keys, 3, bytes, 32)
                    )
        return found

    def keys_of(self, header):
        try:
            return self.key_sets[header.key_id, header.epoch]
        except KeyError:
            raise Bad("sealed under a key set that this client does not have") from None

    def signed_by_member(self, label, identifier, context):
        """The payload of an index or snapshot chunk, and the tag of the member who signed it."""
        data = self.store.read(label, identifier)
        header = Header(data, label, self.id)
        content_key = header.symmetric("obnam v1 metadata wrap", self.keys_of(header).metadata_key)
        signed = whole_contents(header, content_key, data)
        signer = field(signed, 1, bytes, 8)
        if label.split(".")[1] != signer.hex():
            raise Bad("signed by another client than its label says")
        if signer not in self.members:
            raise Bad("signed by nobody in the roster")
        return verified(signed, context, self.id, field(self.members[signer], 2, bytes, 32)), signer

    def read_snapshots(self):
        """Section 10: all snapshots with a good signature, as {id: payload}."""
        found = {}
        for label, identifier, guard in self.skipping(r"snapshot\.[0-9a-f]{16}"):
            with guard:
                snapshot, signer = self.signed_by_member(label, identifier, "obnam v1 snapshot")
                if field(snapshot, 0, bytes, 8) != signer:
                    raise Bad("names another client than the one that signed it")
                nanoseconds(snapshot.get(4))
                removed = optional(self.members[signer], 7, dict)
                if removed and field(snapshot, 1, int) > field(removed, 0, int):
                    raise Bad("behind the last snapshot of a removed client")
                found[identifier] = snapshot
        places = collections.Counter((snapshot[0], snapshot[1]) for snapshot in found.values())
        for (tag, sequence), count in places.items():
            if count > 1:
                self.report(f"snapshots of client {tag.hex()}", f"{count} have the number {sequence}: forked history")
        return found


class Guard:
    """Reports a chunk that cannot be used, and lets the rest go on."""

    def __init__(self, repository, what):
        self.repository, self.what = repository, what

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if kind is Bad:
            self.repository.report(self.what, error)
        return kind is Bad


# ---------------------------------------------------------------------------------------------------------------------
# Sections 7 and 8: where blobs are, and how to read one

KINDS = ("data", "tree", "list")
Place = collections.namedtuple("Place", "pack offset length plain_length kind compression")


class Blobs:
    def __init__(self, repository, snapshots, use_index=True):
        self.repository = repository
        self.places = collections.defaultdict(list)  # blob id -> [Place]
        self.packs = collections.OrderedDict()  # the few that were used last
        self.scanned = False
        if not use_index:
            return
        for label, identifier, guard in repository.skipping(r"index\.[0-9a-f]{16}"):
            with guard:
                self.add_index(repository.signed_by_member(label, identifier, "obnam v1 index")[0])
        for identifier, snapshot in snapshots.items():
            with Guard(repository, f"the index within snapshot {identifier.hex()}"):
                embedded = optional(snapshot, 13, bytes)
                if embedded is not None:
                    self.add_index(parse(embedded))

    def add_index(self, payload):
        if 3 in payload:  # a piece of a reference list; only prune needs it
            return
        packs = [(field(pack, 0, str), field(pack, 1, bytes, 32)) for pack in field(payload, 0, list)]
        if not all(label in ("data", "tree") for label, _ in packs):
            raise Bad("an index names a pack that is none")
        for blob_id, pack, offset, length, plain, kind, compression in records(field(payload, 1, bytes), "<32sIIIIBB2x"):
            if pack >= len(packs):
                raise Bad("an index entry points outside the list of packs")
            self.places[blob_id].append(Place(packs[pack], offset, length, plain, kind, compression))

    def scan_packs(self):
        """Rebuilds what the index says from the packs' own directories: the way out when index chunks are lost."""
        self.scanned = True
        for label, identifier, guard in self.repository.skipping("data|tree"):
            with guard:
                header, key, _, data = self.open_pack((label, identifier))
                footer = header.open_piece(key, 3, 0, data[-20:])
                end = len(data) - 20
                start = end - int.from_bytes(footer[:4], "little")
                if start < header.length:
                    raise Bad("the directory is longer than the pack")
                directory = header.open_piece(key, 2, 0, data[start:end])
                count = int.from_bytes(directory[:4], "little")
                if 4 + 44 * count > len(directory):
                    raise Bad("the directory is cut off")
                offset = header.length
                for kind, compression, length, plain, blob_id in records(directory[4 : 4 + 44 * count], "<BB2xII32s"):
                    self.places[blob_id].append(Place((label, identifier), offset, length, plain, kind, compression))
                    offset += length
                if offset != start:
                    raise Bad("the pieces do not fill the pack")

    def open_pack(self, pack):
        """Header, key of the pieces, blob id keys in the order in which to try them, bytes."""
        if pack in self.packs:
            self.packs.move_to_end(pack)
            return self.packs[pack]
        label, identifier = pack
        data = self.repository.store.read(label, identifier)
        header = Header(data, label, self.repository.id)
        keys = self.repository.keys_of(header)
        if keys.data_private_key is None:
            raise Bad("this client has no right to read data")
        content_key = hpke_open(keys.data_private_key, header.wrapped, b"obnam v1 data wrap", header.prefix)
        others = [other for (group, _), other in self.repository.key_sets.items() if group == header.key_id]
        id_keys = dict.fromkeys(other.blob_id_key for other in [keys, *others])
        self.packs[pack] = header, header.piece_key(content_key), list(id_keys), data
        while len(self.packs) > 8:
            self.packs.popitem(last=False)
        return self.packs[pack]

    def read(self, kind, blob_id):
        """The plaintext of a blob, from the first place where it is intact."""
        tried = []
        for attempt in ("index", "packs"):
            if attempt == "packs" and not self.scanned:
                self.scan_packs()
            for place in self.places[blob_id]:
                try:
                    return self.read_at(kind, blob_id, place)
                except Bad as error:
                    tried.append(f"{place.pack[0]}/{place.pack[1].hex()}: {error}")
        raise Bad(f"blob {blob_id.hex()} is lost ({'; '.join(dict.fromkeys(tried)) or 'no pack has it'})")

    def read_at(self, kind, blob_id, place):
        if place.kind != kind or place.plain_length > 16 * MIB:
            raise Bad("another kind of blob, or too long a one")
        header, key, id_keys, data = self.open_pack(place.pack)
        piece = data[place.offset : place.offset + place.length]
        plain = decompress(place.compression, header.open_piece(key, 1, place.offset, piece), place.plain_length)
        context = f"obnam v1 blob id {KINDS[kind]}"
        if not any(keyed(derive(context, id_key), plain) == blob_id for id_key in id_keys):
            raise Bad("the blob has another id")
        return plain


# ---------------------------------------------------------------------------------------------------------------------
# Section 9: contents and directories


def leaves(blobs, kind, content):
    """The plaintexts of a content's blobs, in order."""
    size, depth = field(content, 0, int), field(content, 1, int)
    if depth > 8:
        raise Bad("a content list deeper than 8")

    def below(items, depth):
        for blob_id, length in records(items, "<32sQ"):
            got = 0
            if depth == 0:
                plain = blobs.read(kind, blob_id)
                got = len(plain)
                yield plain
            else:
                for plain in below(blobs.read(2, blob_id), depth - 1):
                    got += len(plain)
                    yield plain
            if got != length:
                raise Bad("a content list states another length than its blobs have")

    total = 0
    for plain in below(field(content, 2, bytes), depth):
        total += len(plain)
        yield plain
    if total != size:
        raise Bad("the content has another size than stated")


def directory_entries(blobs, content):
    """The entries of a directory; each blob holds whole entries."""
    last = b""
    for plain in leaves(blobs, 1, content):
        stream = io.BytesIO(plain)
        while stream.tell() < len(plain):
            entry = parse_next(stream)
            name = field(entry, 0, bytes)
            if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
                raise Bad(f"a name that is not allowed: {name!r}")
            if name <= last:
                raise Bad(f"names out of order or twice: {name!r}")
            last = name
            yield entry


class Restore:
    """Writes a snapshot below a directory. Contents, modes and times; owners where it may."""

    def __init__(self, repository, blobs):
        self.repository, self.blobs = repository, blobs
        self.links = {}  # (device, inode) -> path of the first entry

    def directory(self, content, path):
        with Guard(self.repository, os.fsdecode(path)):
            for entry in directory_entries(self.blobs, content):
                child = os.path.join(path, entry[0])
                with Guard(self.repository, os.fsdecode(child)):
                    try:
                        self.entry(entry, child)
                    except OSError as error:
                        raise Bad(f"cannot be written: {error}") from None

    def entry(self, entry, path):
        kind = field(entry, 1, int)
        if kind == 0:
            pair = tuple(optional(entry, 12, list) or ())
            if pair in self.links:
                os.link(self.links[pair], path, follow_symlinks=False)
                return
            self.file(entry, path)
            if pair:
                self.links[pair] = path
        elif kind == 1:
            os.mkdir(path, 0o700)
            content = optional(entry, 10, dict)
            if content is not None:
                self.directory(content, path)
        elif kind == 2:
            os.symlink(field(entry, 11, bytes), path)
        else:
            raise Bad(f"entries of type {kind} are not restored by this reader")
        if os.geteuid() == 0:
            os.chown(path, field(entry, 3, int), field(entry, 4, int), follow_symlinks=False)
        if kind != 2:
            os.chmod(path, field(entry, 2, int) & 0o7777)
        mtime = nanoseconds(entry.get(7))
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)

    def file(self, entry, path):
        content = optional(entry, 10, dict)
        extents = optional(entry, 18, list)
        try:
            with open(path, "xb") as file:
                os.fchmod(file.fileno(), 0o600)
                pieces = leaves(self.blobs, 0, content) if content else iter(())
                if extents is None:
                    for piece in pieces:
                        file.write(piece)
                else:
                    self.sparse(file, pieces, extents)
                    file.truncate(field(entry, 17, int))
        except Bad:
            os.unlink(path)  # rather no file than half of one
            raise

    @staticmethod
    def sparse(file, pieces, extents):
        """The content is the runs of data, one after the other."""
        waiting = b""
        for offset, length in extents:
            file.seek(offset)
            while length:
                waiting = waiting or next(pieces)
                part, waiting = waiting[:length], waiting[length:]
                file.write(part)
                length -= len(part)
        if waiting or next(pieces, None) is not None:
            raise Bad("more content than the extents hold")


# ---------------------------------------------------------------------------------------------------------------------
# The command line


def age_opener(identity_file):
    """A function from an age file to its plaintext; none when the credential is for somebody else."""
    if identity_file:
        text = pathlib.Path(identity_file).read_text()
        secret = [line.strip() for line in text.split("\n") if line.strip().startswith("AGE-SECRET-KEY-1")]
        try:
            if text.startswith("-----BEGIN "):
                identities = [pyrage.ssh.Identity.from_buffer(text.encode())]
            else:
                identities = [pyrage.x25519.Identity.from_str(line) for line in secret]
        except pyrage.IdentityError as error:
            raise Bad(f"{identity_file}: {error}") from None
    elif "OBNAM_PASSPHRASE" not in os.environ:
        raise Bad("set OBNAM_PASSPHRASE or give --identity")

    def decrypt(data):
        scrypt = re.match(rb"age-encryption\.org/v1\n-> scrypt \S+ ([0-9]{1,2})\n", data)
        try:
            if identity_file:
                return None if scrypt else pyrage.decrypt(data, identities)
            if not scrypt:
                return None
            if int(scrypt[1]) > 18:
                raise Bad("a credential with a work factor above 2^18")
            return pyrage.passphrase.decrypt(data, os.environ["OBNAM_PASSPHRASE"])
        except pyrage.DecryptError:
            return None

    return decrypt


def describe(identifier, snapshot):
    return {
        "id": identifier.hex(),
        "client": snapshot[0].hex(),
        "sequence": snapshot[1],
        "finished": snapshot.get(5),
        "host": snapshot.get(6),
        "paths": [os.fsdecode(path) for path in snapshot.get(7, [])],
        "statistics": {str(key): value for key, value in snapshot.get(11, {}).items()},
        "partial": bool(snapshot.get(14)),
        "program": snapshot.get(16),
    }


def choose(snapshots, wanted, own_tag):
    """The latest is this client's complete snapshot with the highest number, or else whichever was begun last."""
    if wanted != "latest":
        matching = [identifier for identifier in snapshots if identifier.hex().startswith(wanted)]
        if len(matching) != 1:
            raise Bad(f"{len(matching)} snapshots have an id that begins with {wanted}")
        return matching[0]
    complete = [identifier for identifier, snapshot in snapshots.items() if not snapshot.get(14)]
    if not complete:
        raise Bad("there is no complete snapshot")
    own = [identifier for identifier in complete if snapshots[identifier][0] == own_tag]
    if own:
        return max(own, key=lambda identifier: (snapshots[identifier][1], identifier))
    return max(complete, key=lambda identifier: (nanoseconds(snapshots[identifier][4]), identifier))


def main():
    parser = argparse.ArgumentParser(description="Reads Obnam repositories, by docs/format.md alone.")
    parser.add_argument("--identity", metavar="FILE", help="age X25519 identity file or SSH key, instead of OBNAM_PASSPHRASE")
    parser.add_argument("--repository-id", metavar="HEX", help="the id on the recovery sheet")
    parser.add_argument("--no-index", action="store_true", help="use only the packs' own directories")
    commands = parser.add_subparsers(dest="command", required=True)
    info = commands.add_parser("info", help="what is in the repository, as JSON")
    restore = commands.add_parser("restore", help="restore a snapshot")
    for command in (info, restore):
        command.add_argument("repository")
    restore.add_argument("target", help="a directory that is empty or does not exist")
    restore.add_argument("--snapshot", default="latest", metavar="ID", help="the beginning of an id, or 'latest'")
    options = parser.parse_args()
    problems = []
    try:
        pinned = bytes.fromhex(options.repository_id) if options.repository_id else None
        repository = Repository(Store(options.repository), age_opener(options.identity), pinned, problems)
        snapshots = repository.read_snapshots()
        blobs = Blobs(repository, snapshots, not options.no_index)
        if options.command == "info":
            print(json.dumps(summary(repository, snapshots, blobs), indent=2, default=repr))
        else:
            os.makedirs(options.target, exist_ok=True)
            if os.listdir(options.target):
                raise Bad(f"{options.target} is not empty")
            snapshot = snapshots[choose(snapshots, options.snapshot, repository.tag)]
            Restore(repository, blobs).directory(field(snapshot, 9, dict), os.fsencode(options.target))
        status = 3 if problems else 0
    except Bad as error:
        problems.append(f"obnam_reader: {error}")
        status = 1
    for problem in problems:
        print(problem, file=sys.stderr)
    return status


def summary(repository, snapshots, blobs):
    labels = collections.Counter(label for label, _ in repository.store.list(".*"))
    return {
        "repository": repository.id.hex(),
        "client": {"name": repository.client.get(0), "tag": repository.tag.hex()},
        "epoch": repository.roster[0],
        "members": [{"tag": tag.hex(), "name": member.get(1), "roles": member.get(4)}
                    for tag, member in repository.members.items()],
        "chunks": dict(sorted(labels.items())),
        "blobs": len(blobs.places),
        "snapshots": [describe(identifier, snapshots[identifier])
                      for identifier in sorted(snapshots, key=lambda known: nanoseconds(snapshots[known][4]))],
        "problems": repository.problems,
    }


if __name__ == "__main__":
    sys.exit(main())
