"""A web server on this machine that serves one file in the way that a test wants, and remembers what it was asked."""

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """One file, and how it is served. Each can be changed between requests.

    drops: of each request in turn, after how many bytes the connection ends (None: not at all; so are all after the
    last). statuses: HTTP statuses that the first requests get instead of the file.
    """

    def __init__(self, content, ranges=True, etag='"1"', length=True):
        self.content, self.ranges, self.etag, self.length = content, ranges, etag, length
        self.drops, self.statuses, self.asked, self.location = [], [], [], None

    def answer(self, request):
        """Serve one GET."""
        asked = request.headers.get("Range")
        self.asked.append(asked)
        if self.statuses:
            return request.send_error(self.statuses.pop(0))
        if self.location and request.path == "/moved.zip":
            request.send_response(302)
            request.send_header("Location", self.location)
            return request.end_headers()
        begin = 0
        if asked and self.ranges and request.headers.get("If-Range") in (None, self.etag):
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if begin >= len(self.content):
                return request.send_error(416)
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        else:
            request.send_response(200)
        if self.etag:
            request.send_header("ETag", self.etag)
        if self.length:
            request.send_header("Content-Length", str(len(self.content) - begin))
        request.end_headers()
        drop = self.drops.pop(0) if self.drops else None
        end = None if drop is None else begin + drop
        with contextlib.suppress(OSError):
            request.wfile.write(self.content[begin:end])


@contextlib.contextmanager
def serving(site):
    """-> the address of a Site, while the block runs"""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            site.answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
