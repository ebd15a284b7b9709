"""Everything that changes a LUN for all of its hosts, at once: hosts on two reactors that write, copy,
sanitize, eject, prevent, protect and reserve, while the appliance changes access states and takes LUNs away."""

import random
import struct
import threading
import time

from exports import MIB, admit, memory_disk
from iscsi_peer import Peer
from pollux.pytest_plugin import free_port

NAME = "iqn.2016-06.io.spdk:disk"
SECONDS = 6
GOOD, CHECK_CONDITION, RESERVATION_CONFLICT, TASK_ABORTED = 0x00, 0x02, 0x18, 0x40

TEST_UNIT_READY = bytes(6)
READ, WRITE = (struct.pack(">BBIBHB", opcode, 0, 0, 0, 16, 0) for opcode in (0x28, 0x2A))
EJECT, LOAD = bytes([0x1B, 0, 0, 0, 2, 0]), bytes([0x1B, 0, 0, 0, 3, 0])
PREVENT, ALLOW = bytes([0x1E, 0, 0, 0, 1, 0]), bytes([0x1E, 0, 0, 0, 0, 0])
RESERVE, RELEASE = bytes([0x16, 0, 0, 0, 0, 0]), bytes([0x17, 0, 0, 0, 0, 0])
MODE_SELECT = bytes([0x15, 0x10, 0, 0, 16, 0])
SANITIZE = bytes([0x48, 0x81, 0, 0, 0, 0, 0, 0, 5, 0])  # OVERWRITE with IMMED.
COPY_HERE = struct.pack(">B9xIxx", 0x83, 44)


def control_page(protect):
    return bytes([0, 0, 0, 0, 0x0A, 0x0A, 2, 0x10, 8 if protect else 0, 0x40, 0, 0, 0xFF, 0xFF, 0, 0])


def copy_list():
    """64 blocks from the beginning of the unit to its middle, without an identifier for results."""
    segment = struct.pack(">BBHHHHHQQ", 2, 0, 24, 0xFFFF, 0xFFFF, 0, 64, 0, 1024)
    return struct.pack(">BBHIII", 0, 0x18, 0, 0, len(segment), 0) + segment


ACTIONS = [
    *[(WRITE, 0, b"\x5a" * 16 * 512), (READ, 16 * 512, b"")] * 4,
    *[(COPY_HERE, 0, copy_list()), (MODE_SELECT, 0, control_page(True)), (MODE_SELECT, 0, control_page(False))] * 2,
    *[(EJECT, 0, b""), (LOAD, 0, b""), (PREVENT, 0, b""), (ALLOW, 0, b""), (RESERVE, 0, b""), (RELEASE, 0, b"")],
    (SANITIZE, 0, bytes([1, 0, 0, 1, 0xEE])),
]


class Host(threading.Thread):
    """Does anything at random, and keeps the statuses that it got."""

    def __init__(self, port, seed, end):
        super().__init__()
        self.statuses, self.failure = {}, None
        self._port, self._random, self._end = port, random.Random(seed), end

    def run(self):
        try:
            while time.monotonic() < self._end:
                with Peer(f"127.0.0.1:{self._port}") as peer:
                    peer.login(NAME)
                    for _ in range(self._random.randrange(1, 200)):
                        cdb, length, data = self._random.choice(ACTIONS)
                        status, _, _ = peer.run(cdb, length, data, lun=self._random.choice((0, 0, 1)))
                        self.statuses[status] = self.statuses.get(status, 0) + 1
        except Exception as failure:  # pylint: disable=broad-exception-caught
            self.failure = failure


def test_changes_from_all_sides_leave_a_unit_that_works(start_polluxd):
    daemon = start_polluxd("-m", "0x3")
    client = daemon.client
    ports = {1: free_port(), 2: free_port()}
    for tag, port in ports.items():
        client.iscsi_create_portal_group(tag, [{"host": "127.0.0.1", "port": str(port)}])
    admit(client)
    first, second = memory_disk(client, MIB), memory_disk(client, MIB)
    luns = [{"bdev_name": one, "lun_id": lun, "removable": True} for lun, one in enumerate((first, second))]
    maps = [{"pg_tag": tag, "ig_tag": 1} for tag in ports]
    client.iscsi_create_target_node("disk", "a", luns, maps, 64, disable_chap=True)

    end = time.monotonic() + SECONDS
    hosts = [Host(ports[1 + number % 2], number, end) for number in range(6)]
    for host in hosts:
        host.start()
    states = ("standby", "unavailable", "non_optimized", "optimized")
    while time.monotonic() < end:
        for state in states:
            client.pollux_iscsi_target_node_set_access_state(NAME, 2, state)
        client.bdev_malloc_delete(second)
        assert memory_disk(client, MIB, name=second) == second
    for host in hosts:
        host.join()
    assert not [host.failure for host in hosts if host.failure]
    statuses = {status for host in hosts for status in host.statuses}
    assert statuses <= {GOOD, CHECK_CONDITION, RESERVATION_CONFLICT, TASK_ABORTED}
    assert all(host.statuses.get(GOOD) and host.statuses.get(CHECK_CONDITION) for host in hosts)

    with Peer(f"127.0.0.1:{ports[2]}") as peer:
        peer.login(NAME)
        peer.ready()
        deadline = time.monotonic() + 10
        # What was under way comes to its end; then what hosts have left behind is taken back.
        while peer.run(LOAD)[0] != GOOD and time.monotonic() < deadline:
            time.sleep(0.05)
        assert peer.run(MODE_SELECT, data=control_page(False))[0] == GOOD
        peer.write(0, b"\xa5" * 8192)
        assert peer.run(COPY_HERE, data=copy_list())[0] == GOOD
        assert peer.read(1024, 16) == b"\xa5" * 8192
