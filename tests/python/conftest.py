"""A server made of a list, and the descriptors of this checkout."""

import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest

import pollux
from pollux import descriptors

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def descriptor_set(tmp_path_factory):
    out = tmp_path_factory.mktemp("descriptors") / "pollux.binpb"
    proto = ROOT / "proto"
    subprocess.run(
        ["protoc", "-I", proto, "--include_source_info", "--include_imports"]
        + [f"--descriptor_set_out={out}", *sorted(proto.glob("pollux/v1/*.proto"))],
        check=True,
    )
    return out


@pytest.fixture(scope="session")
def catalog(descriptor_set):
    return descriptors.load(descriptor_set)


class FakeServer:
    """Takes one connection at a time. `answer(request)` returns what to send for each line that
    came: a JSON value, or bytes as they are, or None. b"" closes the connection."""

    def __init__(self, family=socket.AF_UNIX):
        self.requests = []
        self.answer = lambda request: {"jsonrpc": "2.0", "id": request["id"], "result": request["method"]}
        self._directory = tempfile.mkdtemp(prefix="pollux-")
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind(f"{self._directory}/s" if family == socket.AF_UNIX else ("127.0.0.1", 0))
        self._listener.listen()
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    request = json.loads(line)
                    self.requests.append(request)
                    reply = self.answer(request)
                    if reply == b"":
                        break
                    if reply is not None:
                        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode() + b"\n"
                        connection.sendall(data)

    def close(self):
        # Closing alone would not wake the thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self._directory)


@pytest.fixture
def server():
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def tcp_server():
    fake = FakeServer(socket.AF_INET)
    yield fake
    fake.close()


@pytest.fixture
def client(server, catalog):
    with pollux.Client(server.address, timeout=10, catalog=catalog) as one:
        yield one
