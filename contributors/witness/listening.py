"""The plain HTTP of c2sp.org/tlog-witness, for logs and tools that speak it: `POST /add-checkpoint`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from contributors.witness.cosigner import Answer, Cosigner
from protos.transport.channel import split_address
from trust.errors import Unavailable
from trust.witnessing import MAX_REQUEST

SECONDS = 30.0  # of silence, then the connection is closed


@contextmanager
def listening(cosigner: Cosigner, address: str) -> Iterator[int]:
    """Answer at HOST:PORT while the block lasts; gives the port. Raises `Unavailable` when it is taken."""

    class Handler(_Handler):
        witness = cosigner

    host, port = split_address(address)
    try:
        server = ThreadingHTTPServer((host.strip("[]"), port), Handler)
    except OSError as error:
        raise Unavailable(f"{address} cannot be listened on ({error.strerror}).", "Choose another port.") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="witness-http", daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    witness: Cosigner
    protocol_version = "HTTP/1.1"  # connections are kept alive
    timeout = SECONDS
    server_version = "coalition-witness"
    sys_version = ""

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_REQUEST:
            self.close_connection = True  # what follows is not read
            status, why = (413, b"The request is too long.\n") if length.isdigit() else (411, b"Say how long it is.\n")
            self._send(Answer(status, why))
            return
        body = self.rfile.read(int(length))
        if self.path != "/add-checkpoint":
            self._send(Answer(404, b"This witness answers POST /add-checkpoint.\n"))
            return
        self._send(self.witness.answer(body))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Events tell what matters."""
