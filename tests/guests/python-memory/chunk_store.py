"""The resource `store`: chunks in a dictionary."""

import time

from componentize_py_types import Err
from wit_world.exports import chunk_store as contract
from wit_world.imports import preopens
from wit_world.imports.types import DescriptorFlags, OpenFlags, PathFlags

CHUNKS = {}
SCRATCH = "scratch"


def read_all(content):
    """The bytes of a content in either form."""
    if isinstance(content, contract.Content_Bytes):
        return content.value
    pieces = []
    with content.value as stream:
        while True:
            try:
                pieces.append(stream.blocking_read(1 << 20))
            except Err:  # the end of the stream
                return b"".join(pieces)


class Store(contract.Store):
    def __init__(self, location, options):
        self.location = location
        self.streams = dict(options).get("answer") == "stream"

    @classmethod
    def init(cls, location, options):
        if CHUNKS:
            raise Err(contract.Error_AlreadyInitialised("there are chunks in memory"))
        return cls(location, options)

    @classmethod
    def open(cls, location, options):
        return cls(location, options)

    def chunk(self, label, id):
        try:
            return CHUNKS[label, id]
        except KeyError:
            raise Err(contract.Error_NotFound(f"there is no chunk {label}/{id} in memory")) from None

    def put(self, label, id, size, content):
        data = read_all(content)
        if len(data) != size:
            raise Err(contract.Error_Invalid(f"{len(data)} bytes instead of {size}"))
        if (label, id) in CHUNKS:
            return contract.PutOutcome.ALREADY_PRESENT
        CHUNKS[label, id] = data
        return contract.PutOutcome.STORED

    def get(self, label, id, range):
        data = self.chunk(label, id)
        if range is not None:
            if range.offset + range.length > len(data):
                raise Err(contract.Error_Invalid("the range runs past the end"))
            data = data[range.offset : range.offset + range.length]
        return self.as_stream(data) if self.streams else contract.Content_Bytes(data)

    def as_stream(self, data):
        granted = next(directory for directory, name in preopens.get_directories() if name == self.location)
        create = OpenFlags.CREATE | OpenFlags.TRUNCATE
        access = DescriptorFlags.READ | DescriptorFlags.WRITE
        with granted.open_at(PathFlags(0), SCRATCH, create, access) as scratch:
            written = 0
            while written < len(data):
                written += scratch.write(data[written:], written)
            return contract.Content_Stream(scratch.read_via_stream(0))

    def stat(self, label, id):
        return contract.ChunkInfo(label, id, len(self.chunk(label, id)), int(time.time()))

    def list(self, filter, after, limit):
        def passes(label):
            return not filter or label == filter or (filter.endswith(".") and label.startswith(filter))

        keys = sorted(key for key in CHUNKS if passes(key[0]) and (after is None or "/".join(key) > after))
        page = [contract.ChunkInfo(label, id, len(CHUNKS[label, id]), None) for label, id in keys[:limit]]
        return contract.Page(page, "/".join(keys[limit - 1]) if len(keys) > limit else None)

    def remove(self, label, id):
        CHUNKS.pop((label, id), None)
        return contract.RemoveOutcome_Removed()

    def check(self):
        message = "chunks vanish when the program ends"
        return [contract.Finding(contract.Severity.WARNING, "volatile", message)]
