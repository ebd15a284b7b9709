"""Reads cost no allocation. polluxd runs with an allocator that counts; see tests/allocations."""

import mmap
import struct
import subprocess

import pytest

from exports import MIB, export, file_disk, memory_disk, wait_until
from iscsi_peer import DATA_IN, GOOD, NOP_IN, READ, Peer
from pollux.pytest_plugin import polluxd_path

COUNTER = polluxd_path().parents[1] / "lib/libpollux_count_allocations.so"
SLOTS, SLOT = 4096, struct.Struct("=QQ")
READS = 2000
DEPTH = 32
BLOCKS = 8  # 4 KiB.


class Allocations:
    """How often each thread of a process has asked for memory. The first is the control loop."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(SLOTS * SLOT.size))
        with path.open("rb") as file:
            self.slots = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    def by_thread(self):
        return {thread: count for thread, count in SLOT.iter_unpack(self.slots[:]) if thread}

    def since(self, before):
        """The same of those that have allocated since `before`."""
        grown = {thread: count - before.get(thread, 0) for thread, count in self.by_thread().items()}
        return {thread: count for thread, count in grown.items() if count}


@pytest.fixture
def allocations(tmp_path):
    return Allocations(tmp_path / "allocations")


@pytest.fixture
def counted_polluxd(start_polluxd, allocations):
    env = {"LD_PRELOAD": str(COUNTER), "POLLUX_ALLOCATIONS": str(allocations.path)}
    return start_polluxd(env=env)


@pytest.fixture(params=["memory", "null", "file"])
def target(counted_polluxd, tmp_path, request):
    client = counted_polluxd.client
    if request.param == "memory":
        return export(client, memory_disk(client, 4 * MIB))
    if request.param == "null":
        return export(client, client.bdev_null_create("Null", 8192, 512))
    return export(client, file_disk(client, tmp_path / "disk", 4 * MIB))


def read(peer, count):
    """`count` reads of 4 KiB, DEPTH of them in flight."""
    sent = done = 0
    while done < count:
        while sent < count and sent - done < DEPTH:
            cdb = struct.pack(">BBIBHB", 0x28, 0, sent % 512 * BLOCKS, 0, BLOCKS, 0)
            peer.send(peer.command_pdu(cdb, 4096, READ))
            sent += 1
        pdu = peer.receive()
        if pdu.opcode == NOP_IN:
            peer.answer_ping(pdu)
            continue
        assert pdu.opcode == DATA_IN and pdu.flags & 1 and pdu.bhs[3] == GOOD and len(pdu.data) == 4096
        done += 1


def test_the_counter_counts(counted_polluxd, allocations):
    before = allocations.by_thread()
    assert counted_polluxd.pid in before
    counted_polluxd.client.spdk_get_version()
    assert allocations.since(before)


@pytest.mark.parametrize("digest", ["None", "CRC32C"])
def test_a_read_costs_no_allocation(counted_polluxd, allocations, target, digest):
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn, HeaderDigest=digest, DataDigest=digest) == 0
        assert peer.data_digest == (digest == "CRC32C")
        peer.ready()
        read(peer, READS)  # What grows once has grown.
        costs = []
        for count in (READS, 2 * READS):
            before = allocations.by_thread()
            read(peer, count)
            costs.append(allocations.since(before))
    assert costs == [{}, {}]


def test_a_read_of_a_foreign_initiator_costs_no_allocation(counted_polluxd, allocations, target):
    client = counted_polluxd.client

    def reads():
        return client.bdev_get_iostat()["bdevs"][0]["num_read_ops"]

    command = ["timeout", "-s", "INT", "8", "iscsi-perf", "-m", str(DEPTH), "-b", str(BLOCKS), "-t", "3", target.url()]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as initiator:
        assert wait_until(lambda: reads() > READS)
        before, first = allocations.by_thread(), reads()
        assert wait_until(lambda: reads() > first + READS)
        cost = allocations.since(before)
        del cost[counted_polluxd.pid]  # The control loop has counted reads for us.
        assert cost == {}
        initiator.terminate()
