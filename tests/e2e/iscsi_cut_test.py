"""A connection is cut in every state and every few bytes of a login, a write and a read, in either
direction: nothing leaks, nothing hangs, and nobody else notices."""

import os
import socket
import struct

import pytest

from damage_test import Bystander, connections_end
from exports import BLOCK, Export, export, make_node, memory_disk, wait_until
from iscsi_chap import ChapPeer
from iscsi_peer import GOOD
from pollux.pytest_plugin import is_instrumented, polluxd_path

BLOCKS = 8
NEVER = 1 << 40
USER, SECRET = "cut", "secret-of-the-cut"
MUTUAL = ("the-target", "secret-of-target")
GROUP = 1

# Passes over all cuts, and what the last may have grown beyond the first: allocators, the log's buffers.
PASSES = 2
# A sanitizer keeps what was freed for a while: up to 256 MiB of it.
GROWTH_KIB = 4096 if not is_instrumented(polluxd_path()) else 512 * 1024


class Cut(Exception):
    """As many bytes have passed as were to."""


class Scissors:
    """A socket that ends when so many bytes were sent, or so many received. `marks`: how many of each
    had passed after each call, which is where one PDU ends and the next may begin."""

    def __init__(self, connection, sent_max=NEVER, received_max=NEVER):
        self.connection = connection
        self.left = {"sent": sent_max, "received": received_max}
        self.passed = {"sent": 0, "received": 0}
        self.marks = {"sent": {0}, "received": {0}}

    def sendall(self, data):
        part = data[: self.left["sent"]]
        self.connection.sendall(part)
        self._count("sent", len(part))
        if len(part) < len(data) or self.left["sent"] == 0:
            raise Cut

    def recv(self, count):
        if self.left["received"] == 0:
            raise Cut
        data = self.connection.recv(min(count, self.left["received"]))
        self._count("received", len(data))
        return data

    def _count(self, direction, count):
        self.left[direction] -= count
        self.passed[direction] += count
        self.marks[direction].add(self.passed[direction])

    def close(self):
        self.connection.close()


def shut_down(connection):
    """An orderly end: the target has to close too."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass
    connection.close()


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def converse(target, chap, scissors):
    """A login, a write whose data are asked for, a read, and a logout, as far as `scissors` let it."""
    peer = ChapPeer(target.portal)
    peer.socket = scissors(peer.socket)
    try:
        if chap:
            assert peer.authenticate(target.iqn, USER, SECRET, mutual=MUTUAL) == 0
        else:
            assert peer.login(target.iqn, ImmediateData="No", InitialR2T="Yes") == 0
        assert peer.ready() == GOOD
        data = os.urandom(BLOCKS * BLOCK)
        peer.write(0, data)
        assert peer.read(0, BLOCKS) == data
        peer.logout()
    except Cut:
        pass
    return peer.socket


@pytest.fixture
def client(polluxd):
    return polluxd.client


@pytest.fixture
def targets(client):
    """One that is cut, and one of somebody else behind the same portal."""
    cut = export(client, memory_disk(client, 4 << 20))
    other = Export(cut.host, cut.port, make_node(client, "other", memory_disk(client, 4 << 20)))
    return cut, other


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Rss:"))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("step", [512, pytest.param(64, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("chap", [False, True], ids=["no-chap", "mutual-chap"])
@pytest.mark.parametrize("end", [shut_down, reset])
def test_nothing_is_left_of_connections_that_were_cut(polluxd, client, targets, step, chap, end):
    target, other = targets
    if chap:
        both = {"user": USER, "secret": SECRET, "muser": MUTUAL[0], "msecret": MUTUAL[1]}
        client.iscsi_create_auth_group(GROUP, secrets=[both])
        client.iscsi_target_node_set_auth(target.iqn, require_chap=True, mutual_chap=True, chap_group=GROUP)
    whole = converse(target, chap, Scissors)
    places = {
        direction: sorted(whole.marks[direction] | set(range(0, whole.passed[direction], step)))
        for direction in ("sent", "received")
    }
    places = {direction: [at for at in some if at < whole.passed[direction]] for direction, some in places.items()}

    bystander = Bystander(other)
    bystander.start()
    samples = []
    try:
        for _ in range(PASSES):
            for direction, some in places.items():
                for at in some:
                    limits = {f"{direction}_max": at}
                    end(converse(target, chap, lambda one: Scissors(one, **limits)).connection)
            connections_end(polluxd, 1)
            samples.append((descriptors(polluxd.pid), resident_kib(polluxd.pid)))
    finally:
        bystander.finish()
    print({direction: len(some) for direction, some in places.items()}, samples)
    assert wait_until(lambda: descriptors(polluxd.pid) <= samples[0][0])
    assert samples[-1][1] < samples[0][1] + GROWTH_KIB
    assert converse(target, chap, Scissors).left["sent"] > 0
