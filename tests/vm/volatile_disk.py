"""A disk with a cache that a power failure empties, served by NBD to QEMU.

    disk = VolatileDisk(image_path)
    guest = Guest(disks=[disk.uri])
    ...
    guest.stop()
    lost = disk.power_cut(random.Random(seed))

What is written lies in the cache until the guest flushes it; there is no FUA, so that kernels flush after
a write instead. A power cut keeps of each write in the cache some sectors and not the others, as a real
disk may; the image then is the disk.
"""

import pathlib
import socket
import struct
import tempfile
import threading

SECTOR = 512

# The NBD protocol: doc/proto.md of NetworkBlockDevice/nbd.
GREETING = struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 0x0003)  # Fixed newstyle, no zeroes.
OPTION_REPLY_MAGIC = 0x3E889045565A9
OPT_ABORT, OPT_GO = 2, 7
REP_ACK, REP_INFO, REP_ERR_UNSUP = 1, 3, 0x80000001
HAS_FLAGS, SEND_FLUSH = 1, 4
REQUEST, REPLY = struct.Struct(">IHHQQI"), struct.Struct(">IIQ")
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
READ, WRITE, DISCONNECT, FLUSH = range(4)
EINVAL = 22


class VolatileDisk:
    """One at a time may use it. `flushes` counts what reached it."""

    def __init__(self, image):
        self._image = pathlib.Path(image)
        self._seen = bytearray(self._image.read_bytes())  # As the guest sees it.
        self._stable = bytearray(self._seen)
        self._cache = []  # (offset, data) since the last flush, in order.
        self._lock = threading.Lock()
        self._directory = tempfile.TemporaryDirectory(prefix="pollux-disk.")
        path = f"{self._directory.name}/nbd"
        self.uri = f"nbd+unix:///?socket={path}"
        self.flushes = 0
        self._idle = threading.Event()  # Nobody is connected.
        self._idle.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def power_cut(self, rng):
        """To be called when the guest is dead. Returns how many sectors were lost."""
        lost = 0
        self._idle.wait()  # What the guest had sent may still come.
        with self._lock:
            for offset, data in self._cache:
                for at in range(0, len(data), SECTOR):
                    if rng.random() < 0.5:
                        self._stable[offset + at : offset + at + SECTOR] = data[at : at + SECTOR]
                    else:
                        lost += 1
            self._cache.clear()
            self._seen[:] = self._stable
            self._image.write_bytes(self._stable)
        return lost

    def close(self):
        self._listener.close()
        self._directory.cleanup()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._idle.clear()
            with connection:
                try:
                    if self._negotiate(connection):
                        self._transmit(connection)
                except (ConnectionError, EOFError):
                    pass  # The guest is dead.
            self._idle.set()

    def _negotiate(self, connection):
        connection.sendall(GREETING)
        receive(connection, 4)
        while True:
            _, option, length = struct.unpack(">QII", receive(connection, 16))
            receive(connection, length)

            def reply(kind, data=b"", option=option):
                connection.sendall(struct.pack(">QIII", OPTION_REPLY_MAGIC, option, kind, len(data)) + data)

            if option == OPT_GO:
                reply(REP_INFO, struct.pack(">HQH", 0, len(self._seen), HAS_FLAGS | SEND_FLUSH))
                reply(REP_ACK)
                return True
            if option == OPT_ABORT:
                reply(REP_ACK)
                return False
            reply(REP_ERR_UNSUP)

    def _transmit(self, connection):
        while True:
            magic, _, kind, handle, offset, length = REQUEST.unpack(receive(connection, REQUEST.size))
            assert magic == REQUEST_MAGIC
            data = receive(connection, length) if kind == WRITE else b""
            if kind == DISCONNECT:
                return
            with self._lock:
                error, answer = self._execute(kind, offset, length, data)
            connection.sendall(REPLY.pack(REPLY_MAGIC, error, handle) + answer)

    def _execute(self, kind, offset, length, data):
        if kind == READ:
            return 0, bytes(self._seen[offset : offset + length])
        if kind == FLUSH:
            self.flushes += 1
            for at, piece in self._cache:
                self._stable[at : at + len(piece)] = piece
            self._cache.clear()
            return 0, b""
        if kind != WRITE:
            return EINVAL, b""
        self._seen[offset : offset + length] = data
        self._cache.append((offset, data))
        return 0, b""


def receive(connection, count):
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
