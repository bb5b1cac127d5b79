"""A web server on this machine that tests fetch from, and that can be made to misbehave."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class Site:
    """What the server has, and what it does wrong.

    Attributes
    ----------
    url
        Its address.
    files
        Content by path.
    headers
        Further headers by path.
    breaks
        How many more times a path's answer breaks off, each time half-way.
    busy
        How many more times a path is answered by 503.
    ranges
        Whether it can send parts of files.
    requests
        Method, path and range of each request.
    page
        Objects in a page of the listing of a bucket.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    page: int = 2

    def listing(self, query: dict[str, list[str]]) -> bytes:
        """Answer as a bucket does."""
        prefix, start = query["prefix"][0], int(query.get("continuation-token", ["0"])[0])
        keys = sorted(path[1:] for path in self.files if path[1:].startswith(prefix))
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.files['/' + key])}</Size></Contents>"
            for key in keys[start : start + self.page]
        )
        end = start + self.page
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < len(keys) else ""
        return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rows}{token}</ListBucketResult>'.encode()


@contextmanager
def serving() -> Iterator[Site]:
    """Run a server for as long as the context lasts."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            address = urlsplit(self.path)
            path, query = unquote(address.path), parse_qs(address.query)
            asked = self.headers.get("Range")
            site.requests.append((self.command, path, asked))
            content = site.listing(query) if "list-type" in query else site.files.get(path)
            if site.busy.get(path, 0):
                site.busy[path] -= 1
                self.reply(503, b"", {})
            elif content is None:
                self.reply(404, b"there is no such file", {})
            else:
                headers = {"ETag": f'"{hash(content)}"', **site.headers.get(path, {})}
                same = self.headers.get("If-Range") in (None, headers["ETag"])
                first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and site.ranges and same else None
                if first is None:
                    self.reply(200, content, headers)
                else:
                    headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
                    self.reply(206, content[first:], headers)

        def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            path = unquote(urlsplit(self.path).path)
            if status in (200, 206) and site.breaks.get(path, 0):
                site.breaks[path] -= 1
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.close_connection = True
            else:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
