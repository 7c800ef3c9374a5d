"""A storage plugin in Python, for tests: keeps chunks in the memory of its instance.

It takes contents as a stream or as bytes, as BODIES says, and answers `get` with a stream (of a scratch file in the
granted directory) when its option `answer` is "stream", else with bytes.

The resource `store` is in chunk_store.py: componentize-py looks for it in a module with the name of the interface.
"""

from wit_world.exports import ChunkStore as Protocol
from wit_world.exports import chunk_store as contract

# tests/tests/plugin_python.rs builds this a second time with BYTES here.
BODIES = contract.Bodies.STREAM


class ChunkStore(Protocol):
    def describe(self):
        answer = contract.OptionHelp("answer", "How get answers: bytes or stream.", False, False, None)
        return contract.Description("python-memory", "1", "Keeps chunks in memory.", ["file"], [answer], BODIES)

    def plan(self, location, options):
        return contract.Grants([contract.DirectoryWish(location, False)], [])
