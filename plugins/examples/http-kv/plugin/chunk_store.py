"""The resource `store`: an opened place, and what is done with the chunks in it.

The key of a chunk is `chunk!LABEL!ID`. The server lists keys in the order of their characters, and the contract wants chunks
by label, then by id: with "!", which comes before every character of a label, that is the same.
"""

from email.utils import parsedate_to_datetime

from componentize_py_types import Err
from wit_world.exports import chunk_store as contract

from web import Place

MARKER = "OBNAM-CHUNK-STORE"
MARKER_TEXT = b"This is an Obnam chunk store, version 1. Leave it to Obnam.\n"


def key_of(label, id):
    return f"chunk!{label}!{id}"


class Store(contract.Store):
    """Obnam makes one call at a time, and repeats those that fail with `unavailable`: nothing is repeated here."""

    def __init__(self, place):
        self.place = place
        # The body of the answer whose stream Obnam reads: it has to live until the next call.
        self.reading = None

    # Preparing and opening.

    @classmethod
    def init(cls, location, options):
        place = Place(location, options)
        doing = f"prepare {place}"
        for _, _, key in place.keys("", "", 2, doing):
            if key != MARKER:
                raise Err(contract.Error_AlreadyInitialised(f"{place} is not empty: it holds {key}; choose another place"))
        # 412: it was prepared before.
        place.request("PUT", MARKER, doing, body=MARKER_TEXT, expect=(201, 412), headers={"if-none-match": "*"})
        return cls.open(location, options)

    @classmethod
    def open(cls, location, options):
        place = Place(location, options)
        answer = place.request("GET", MARKER, f"open {place}", expect=(200, 404))
        if answer.status == 404:
            raise Err(
                contract.Error_NotInitialised(
                    f"{place} is not a chunk store yet. Is the address right? A new store is prepared by 'obnam init'"
                )
            )
        if answer.read() != MARKER_TEXT:
            raise Err(contract.Error_Unsupported(f"{place} was prepared by another version of Obnam, or {MARKER} is damaged"))
        return cls(place)

    # Chunks.

    def put(self, label, id, size, content):
        self.finish_reading()
        doing = f"store chunk {label}/{id} in {self.place}"
        data = content.value  # bytes, for that is what `describe` wishes for
        if len(data) != size:
            raise Err(contract.Error_Invalid(f"could not {doing}: there are {len(data)} bytes of content, not {size}"))
        headers = {"if-none-match": "*"}
        answer = self.place.request("PUT", key_of(label, id), doing, body=data, expect=(201, 412), headers=headers)
        if answer.status == 201:
            return contract.PutOutcome.STORED
        there = self.stat(label, id).size
        if there != size:
            raise Err(contract.Error_Corrupt(f"could not {doing}: there are {there} bytes of that name, not {size}"))
        return contract.PutOutcome.ALREADY_PRESENT

    def get(self, label, id, range):
        self.finish_reading()
        doing = f"read chunk {label}/{id} in {self.place}"
        if range is None:
            answer = self.place.request("GET", key_of(label, id), doing)
            return self.stream_of(answer)
        first, last = range.offset, range.offset + range.length - 1
        beyond = Err(contract.Error_Invalid(f"could not {doing}: {range.length} bytes at {first} run past its end"))
        if range.length == 0:
            # HTTP has no such range.
            if first > self.stat(label, id).size:
                raise beyond
            return contract.Content_Bytes(b"")
        headers = {"range": f"bytes={first}-{last}"}
        answer = self.place.request("GET", key_of(label, id), doing, expect=(206, 416), headers=headers)
        # A range that is too long is cut off by servers.
        if answer.status == 416 or not answer.header("content-range").startswith(f"bytes {first}-{last}/"):
            raise beyond
        return self.stream_of(answer)

    def stream_of(self, answer):
        """The body of an answer as it comes in: a chunk need not fit into the memory of the plugin."""
        self.reading = answer.body
        return contract.Content_Stream(answer.body.stream())

    def finish_reading(self):
        if self.reading is not None:
            self.reading.__exit__(None, None, None)
            self.reading = None

    def stat(self, label, id):
        self.finish_reading()
        doing = f"look at chunk {label}/{id} in {self.place}"
        answer = self.place.request("HEAD", key_of(label, id), doing)
        answer.read()
        stored = parsedate_to_datetime(answer.header("last-modified"))
        return contract.ChunkInfo(label, id, int(answer.header("content-length")), int(stored.timestamp()))

    def list(self, filter, after, limit):
        self.finish_reading()
        exact = filter and not filter.endswith(".")
        prefix = f"chunk!{filter}!" if exact else f"chunk!{filter}"
        after = after or ""
        while True:
            found = self.place.keys(prefix, after, limit, f"list {self.place}")
            chunks = []
            for size, stored, key in found:
                match key.split("!"):
                    case ["chunk", label, id] if len(id) == 64:
                        chunks.append(contract.ChunkInfo(label, id, size, stored))
            if len(found) < limit:
                return contract.Page(chunks, None)
            after = found[-1][2]
            if chunks:
                return contract.Page(chunks, after)

    def remove(self, label, id):
        self.finish_reading()
        self.place.request("DELETE", key_of(label, id), f"remove chunk {label}/{id} in {self.place}", expect=(204,))
        return contract.RemoveOutcome_Removed()

    def check(self):
        self.finish_reading()
        # The same bytes as are there, so nothing changes even if the server does what it must not.
        doing = f"look whether {self.place} replaces values"
        headers = {"if-none-match": "*"}
        again = self.place.request("PUT", MARKER, doing, body=MARKER_TEXT, expect=(200, 201, 204, 412), headers=headers)
        if again.status == 412:
            return [contract.Finding(contract.Severity.INFO, "create-only", "the server never replaces a value")]
        message = "the server ignores if-none-match: values can be replaced"
        return [contract.Finding(contract.Severity.ERROR, "replaces", message)]
