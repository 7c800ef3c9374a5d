"""Where a location leads, and requests to it over wasi:http.

Resources of WASI are handles: one that is made of another one has to go first, hence the many `with`.
"""

import re

from componentize_py_types import Err, Ok
from wit_world.exports import chunk_store as contract
from wit_world.imports import outgoing_handler
from wit_world.imports import types as http
from wit_world.imports.streams import StreamError_Closed

LOCATION = re.compile(r"kv:(https?)://([A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?)(/[A-Za-z0-9._~/-]*)?")
METHODS = {"GET": http.Method_Get, "HEAD": http.Method_Head, "PUT": http.Method_Put, "DELETE": http.Method_Delete}
# Why a connection was not made, where trying it again does not help.
FINAL = (http.ErrorCode_HttpRequestDenied, http.ErrorCode_DestinationIpProhibited, http.ErrorCode_TlsCertificateError)


class Answer:
    def __init__(self, response):
        self.status = response.status()
        with response.headers() as fields:
            self.headers = {name.lower(): value.decode("latin-1") for name, value in fields.entries()}
        self.body = response.consume()

    def header(self, name):
        return self.headers.get(name, "")

    def read(self):
        """The whole body, so that the connection can be used again."""
        pieces = []
        with self.body as body, body.stream() as stream:
            while True:
                try:
                    pieces.append(stream.blocking_read(1 << 20))
                except Err as end:
                    if isinstance(end.value, StreamError_Closed):
                        return b"".join(pieces)
                    raise Err(unavailable("the answer of the server broke off")) from None


def unavailable(message, delay_ms=None):
    """The one error that Obnam answers by trying again."""
    return contract.Error_Unavailable(contract.UnavailableError(message, delay_ms))


class Place:
    """`kv:https://HOST[:PORT][/PATH]`, and the token."""

    def __init__(self, location, options):
        found = LOCATION.fullmatch(location)
        if not found:
            raise Err(contract.Error_Invalid("this is no location of the plugin http-kv: write kv:https://HOST[:PORT]/PATH"))
        self.scheme, self.authority, path = found.groups()
        self.path = (path or "").rstrip("/") + "/"
        # As the contract writes origins. Obnam grants it, for the location names it.
        self.origin = f"{self.scheme}://{self.authority}"
        self.token = dict(options).get("token", "")

    def __str__(self):
        return f"{self.origin}{self.path}"

    def keys(self, prefix, after, limit, doing):
        """Keys in ascending order, as (size, when it was stored, key)."""
        answer = self.request("GET", f"?prefix={prefix}&after={after}&limit={limit}", doing, expect=(200, 404))
        if answer.status == 404:
            why = "there is no key-value store at this path; is the address right?"
            raise Err(contract.Error_NotInitialised(f"could not {doing}: {why}"))
        try:
            lines = [line.split(" ") for line in answer.read().decode().splitlines()]
            return [(int(size), int(stored), key) for size, stored, key in lines]
        except ValueError:
            raise Err(contract.Error_Other(f"could not {doing}: {self.origin} answers with something else")) from None

    def request(self, method, key, doing, body=b"", expect=(200,), headers={}):
        """The answer to a request, if it has one of the expected statuses; else it is explained."""
        try:
            answer = self.send(method, key, body, headers)
        except Err as error:
            why = type(error.value).__name__.removeprefix("ErrorCode_")
            # Obnam says more about it: it has seen what went wrong.
            message = f"could not {doing}: {self.origin} cannot be asked ({why})"
            raise Err(contract.Error_Denied(message) if isinstance(error.value, FINAL) else unavailable(message)) from None
        if answer.status in expect:
            return answer
        answer.read()
        raise Err(self.refusal(answer, doing))

    def refusal(self, answer, doing):
        match answer.status:
            case 401 | 403:
                return contract.Error_Denied(f"could not {doing}: {self.origin} does not accept the token; was it copied whole?")
            case 404:
                return contract.Error_NotFound(f"could not {doing}: there is no such key")
            case 413 | 507:
                return contract.Error_Quota(f"could not {doing}: {self.origin} has no room for it")
            case 408 | 429 | 500 | 502 | 503 | 504:
                pause = answer.header("retry-after")
                delay = min(int(pause), 3600) * 1000 if pause.isdecimal() else None
                return unavailable(f"could not {doing}: {self.origin} cannot answer now (status {answer.status})", delay)
            case status:
                return contract.Error_Other(f"could not {doing}: {self.origin} answers with status {status}")

    def send(self, method, key, body, headers):
        """Sends a request and waits for the head of the answer. Fails with an error code of wasi:http."""
        fields = {"authorization": f"Bearer {self.token}", **headers}
        if method == "PUT":
            # Without it the body would go out in chunks.
            fields["content-length"] = str(len(body))
        fields = http.Fields.from_list([(name, value.encode()) for name, value in fields.items()])
        request = http.OutgoingRequest(fields)
        request.set_method(METHODS[method]())
        request.set_scheme(http.Scheme_Https() if self.scheme == "https" else http.Scheme_Http())
        request.set_authority(self.authority)
        request.set_path_with_query(f"{self.path}{key}")
        outgoing = request.body() if body else None
        with outgoing_handler.handle(request, None) as future:
            if outgoing is not None:
                try:
                    write(outgoing, body)
                except Err:
                    pass  # A server may refuse before it has read everything: its answer counts.
            with future.subscribe() as ready:
                ready.block()
            match future.get():
                case Ok(Ok(response)):
                    with response:
                        return Answer(response)
                case Ok(Err() as error):
                    raise error
        raise Err(http.ErrorCode_InternalError(None))


def write(outgoing, body):
    """Writes a body. There is no flush at the end: with the last byte the stream is closed."""
    with outgoing.write() as stream:
        rest = memoryview(body)
        while rest:
            room = stream.check_write()
            if room == 0:
                with stream.subscribe() as ready:
                    ready.block()
            stream.write(bytes(rest[:room]))
            rest = rest[room:]
    http.OutgoingBody.finish(outgoing, None)
