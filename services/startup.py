"""Answers on the people's port from the first second on, until the gateway takes it over."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from services.ports import listen_shared


class StartupListener:
    """A tiny HTTP server: /healthz is 200, everything else 503 and says what is waited for."""

    def __init__(self, host: str, port: int) -> None:
        """Begin to listen.

        Raises:
            Unavailable: The port cannot be had.
        """
        self.waiting_for = ["Ray"]
        listener = listen_shared(host, port)
        # a thread accepts, and looks at most this often whether it should stop
        listener.setblocking(True)
        self._server = _Server((host, port), self._handler(), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="startup", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer whoever has connected already, then leave the port to the gateway; idempotent."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.socket.setblocking(False)
            self._server.timeout = 0
            while self._server.handle_request_if_any():
                pass
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5.0  # a client that says nothing may not hold up the end

            def do_GET(self) -> None:
                if self.path == "/healthz":
                    self._answer(200, "application/json", {"status": "ok"})
                    return
                missing = owner.waiting_for
                body = {
                    "type": "urn:talkingmachines:not-ready",
                    "title": "Not ready",
                    "status": 503,
                    "detail": f"starting: waiting for {', '.join(missing)}",
                    "reason": "NOT_READY",
                    "waiting_for": missing,
                }
                self._answer(503, "application/problem+json", body)

            do_POST = do_GET  # noqa: N815  the base class's name

            def _answer(self, status: int, media_type: str, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", media_type)
                self.send_header("content-length", str(len(content)))
                if status == 503:
                    self.send_header("retry-after", "1")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for answers that are on their way

    def handle_request_if_any(self) -> bool:
        """Answer one connection that waits already; False when there is none."""
        try:
            request, address = self.get_request()
        except BlockingIOError:
            return False
        request.setblocking(True)
        self.process_request(request, address)
        return True
