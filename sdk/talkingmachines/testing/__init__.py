"""A server without any model, for tests of programs that use this package.

    from talkingmachines import Client
    from talkingmachines.testing import MockServer

    with MockServer() as server, Client(server.address) as client:
        server.fail("Say", "NO_FREE_SLOT", retry_after_s=2.0)
        ...

It speaks real gRPC on 127.0.0.1, and always answers the same.
"""

from talkingmachines.testing._server import MockServer, Request

__all__ = ["MockServer", "Request"]
