"""Bytes to a server and JSON values back, over a Unix or TCP socket."""

import collections
import json
import os
import select
import socket
import time

from pollux.errors import CallTimeout, CannotConnect, ConnectionLost

READ_BYTES = 256 * 1024


def parse_address(address):
    """A path stays a path; "127.0.0.1:5260", "[::1]:5260" and (host, port) become (host, port)."""
    if isinstance(address, tuple):
        host, port = address
        return str(host), int(port)
    address = os.fspath(address)
    host, colon, port = address.rpartition(":")
    if "/" in address or not colon or not port.isdigit():
        return address
    return host.strip("[]"), int(port)


class Connection:
    """One connection. Answers are lines; each holds one JSON value."""

    def __init__(self, address, timeout=60.0):
        self.address = parse_address(address)
        self.timeout = timeout
        self._lines = collections.deque()  # Whole lines that came and were not asked for yet.
        self._pieces = []  # The line that is under way.
        try:
            if isinstance(self.address, tuple):
                self._socket = socket.create_connection(self.address, timeout)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            else:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    self._socket.connect(self.address)
                except OSError:
                    self._socket.close()
                    raise
        except OSError as error:
            raise CannotConnect(f"{address}: {error.strerror or error}") from error
        self._socket.setblocking(False)

    def close(self):
        self._socket.close()

    def fileno(self):
        return self._socket.fileno()

    def deadline(self):
        """When a call that begins now has taken too long."""
        return None if self.timeout is None else time.monotonic() + self.timeout

    def send(self, data, deadline=None):
        """Sends all of `data`. What arrives meanwhile is kept, so that the server is never stuck
        with answers that we do not take."""
        view = memoryview(data)
        while view:
            readable, writable = self._wait(True, deadline)
            if readable:
                self._read()
            if writable:
                try:
                    view = view[self._socket.send(view) :]
                except BlockingIOError:
                    pass
                except OSError as error:
                    raise ConnectionLost(f"while sending: {error.strerror}") from error

    def receive(self, deadline=None):
        """The next JSON value."""
        while not self._lines:
            self._wait(False, deadline)
            self._read()
        return json.loads(self._lines.popleft())

    def _wait(self, writing, deadline):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if writing else 0))
        ready = poll.poll(None if left is None else left * 1000)
        if not ready:
            raise CallTimeout(f"no answer within {self.timeout:g} s")
        events = ready[0][1]
        return bool(events & ~select.POLLOUT), bool(events & select.POLLOUT)

    def _read(self):
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise ConnectionLost(error.strerror) from error
        if not data:
            raise ConnectionLost("the server closed the connection")
        if b"\n" not in data:
            self._pieces.append(data)
            return
        *lines, rest = (b"".join(self._pieces) + data).split(b"\n")
        self._pieces = [rest] if rest else []
        self._lines.extend(line for line in lines if line.strip())
