"""A storage plugin in Python: chunks as values of a key-value store over HTTP (server/kv_server.py).

This file has the functions of the contract's interface (wit/chunk-store.wit) that need no place: describe and plan. The
resource `store` is in chunk_store.py, for componentize-py looks for it in a module with the name of the interface; HTTP is
in web.py. "Err" is how a function of the contract fails.
"""

from componentize_py_types import Err
from wit_world.exports import ChunkStore as Interface
from wit_world.exports import chunk_store as contract

from web import Place

TOKEN = contract.OptionHelp(
    name="token",
    help="What the server knows you by.",
    required=True,
    secret=True,
    # Obnam reads no variables with other beginnings for plugins that are not part of it.
    environment="OBNAM_PLUGIN_HTTP_KV_TOKEN",
)


class ChunkStore(Interface):
    def describe(self):
        return contract.Description(
            name="http-kv",
            version="0.1.0",
            summary="Keeps chunks in a simple key-value store over HTTP.",
            schemes=["kv"],
            options=[TOKEN],
            bodies=contract.Bodies.BYTES,
        )

    def plan(self, location, options):
        for name, _ in options:
            if name != TOKEN.name:
                raise Err(contract.Error_Invalid(f"no option is called {name!r}; there is {TOKEN.name}"))
        return contract.Grants(directories=[], origins=[Place(location, options).origin])
