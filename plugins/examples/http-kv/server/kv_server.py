#!/usr/bin/env python3
"""A key-value store over HTTP, in a directory: the place that the example plugin keeps chunks in.

    PUT    /KEY   with "If-None-Match: *"   201; 412 if there is such a key
    GET    /KEY   perhaps with "Range"      200, 206, 404, 416
    HEAD   /KEY                             200, 404
    DELETE /KEY                             204, also if there is no such key
    GET    /?prefix=P&after=K&limit=N       200: the next N keys behind K that begin with P, in ascending order,
                                            a line for each: SIZE SECONDS-SINCE-1970 KEY

A value is complete and on the disk when 201 is answered, and never changes. All requests carry the token, as
"Authorization: Bearer TOKEN". There is no TLS: put a proxy in front of it, or stay on one computer.
"""

import argparse
import hmac
import os
import re
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

# No key begins with a dot: those files are being written.
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!-]{0,199}")
LARGEST = 64 << 20


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The head and the body of an answer go out together, at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", len(body))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def file(self):
        """The file of the key that is asked for; None if it was answered already."""
        # What was sent has to be read in any case, for the next request comes behind it.
        length = int(self.headers.get("Content-Length", 0))
        self.content = self.rfile.read(max(0, min(length, LARGEST + 1)))
        given = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, b"Bearer " + self.server.token):
            return self.answer(401, WWW_Authenticate="Bearer")
        url = urlsplit(self.path)
        if self.command == "GET" and url.path == "/":
            return self.list({name: values[0] for name, values in parse_qs(url.query).items()})
        key = unquote(url.path.removeprefix("/"))
        return self.server.directory / key if KEY.fullmatch(key) else self.answer(404)

    def list(self, query):
        prefix, after, limit = query.get("prefix", ""), query.get("after", ""), int(query.get("limit", 1000))
        lines = []
        for key in sorted(os.listdir(self.server.directory)):
            if len(lines) == limit:
                break
            if KEY.fullmatch(key) and key.startswith(prefix) and key > after:
                try:
                    status = os.stat(self.server.directory / key)
                except FileNotFoundError:
                    continue  # It was removed meanwhile.
                lines.append(f"{status.st_size} {int(status.st_mtime)} {key}\n")
        self.answer(200, "".join(lines).encode())

    def do_GET(self):
        if not (file := self.file()):
            return
        try:
            value = file.open("rb")
        except FileNotFoundError:
            return self.answer(404)
        with value:
            size = os.fstat(value.fileno()).st_size
            first, last, status, headers = 0, size - 1, 200, {}
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
                if first > last:
                    return self.answer(416, Content_Range=f"bytes */{size}")
                status, headers = 206, {"Content_Range": f"bytes {first}-{last}/{size}"}
            value.seek(first)
            body = value.read(last - first + 1) if self.command == "GET" else b""
            modified = self.date_time_string(os.fstat(value.fileno()).st_mtime)
            self.answer(status, body, Content_Length=last - first + 1, Last_Modified=modified, **headers)

    do_HEAD = do_GET

    def do_PUT(self):
        if not (file := self.file()):
            return
        if self.headers.get("If-None-Match") != "*":
            return self.answer(428)  # Nothing is ever replaced here, so the client has to know that.
        if len(self.content) != int(self.headers.get("Content-Length", -1)):
            return self.answer(413)
        temporary = file.with_name(f".{secrets.token_hex(8)}")
        try:
            with temporary.open("wb") as out:
                out.write(self.content)
                out.flush()
                os.fsync(out.fileno())
            os.link(temporary, file)  # Fails if there is one.
            self.sync()
            self.answer(201)
        except FileExistsError:
            self.answer(412)
        except OSError as error:
            self.answer(507, str(error).encode())
        finally:
            temporary.unlink(missing_ok=True)

    def do_DELETE(self):
        if file := self.file():
            file.unlink(missing_ok=True)
            self.sync()
            self.answer(204)

    def sync(self):
        descriptor = os.open(self.server.directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # A client that went away is no news.
            super().handle_error(request, client_address)


def main():
    arguments = argparse.ArgumentParser(description="A key-value store over HTTP, in a directory.")
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--port", type=int, default=8765)
    arguments.add_argument("--token-file", type=Path, required=True)
    chosen = arguments.parse_args()
    chosen.directory.mkdir(parents=True, exist_ok=True)
    for left in chosen.directory.glob(".*"):
        left.unlink()  # By a server that was stopped while it wrote.
    server = Server(("127.0.0.1", chosen.port), Handler)
    server.directory, server.token = chosen.directory, chosen.token_file.read_bytes().strip()
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
