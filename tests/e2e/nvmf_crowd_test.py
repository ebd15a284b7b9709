"""Hosts in great numbers, slow ones and hasty ones: others are served, and nothing stays behind."""

import contextlib
import os
import resource
import socket
import time

import pytest

import nvme_tcp_host as nvme
from exports import BLOCK, MIB, wait_until
from nvme_tcp_host import DISCOVERY_NQN, Controller, Host
from nvme_tcp_wire import Wire
from nvmf_exports import Bystander, Subsystem

PAGE = resource.getpagesize()
# What an allocator keeps of the most that there was at a time.
SLACK = 24 * MIB
AT_A_TIME = 200


@pytest.fixture(scope="module")
def subsystem(shared_polluxd):
    one = Subsystem(shared_polluxd.client)
    one.add_memory(1)
    return one


@pytest.fixture
def bystander(subsystem):
    one = Bystander(subsystem)
    one.start()
    yield one
    one.finish()


class Holdings:
    """What the daemon holds: descriptors and memory."""

    def __init__(self, daemon):
        self.pid = daemon.pid

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * PAGE


@pytest.fixture
def holdings(shared_polluxd, subsystem):
    """Afterwards all descriptors are given back, and about all memory."""
    with subsystem.connect() as controller:
        controller.read(1, 0, 1)
    # What is needed for so many at a time is kept for the next.
    with contextlib.ExitStack() as stack:
        for _ in range(AT_A_TIME):
            stack.enter_context(Controller(subsystem.address, DISCOVERY_NQN, Host()))
    subsystem.await_controllers(0)
    held = Holdings(shared_polluxd)
    descriptors, resident = held.descriptors(), held.resident()
    yield held
    assert wait_until(lambda: held.descriptors() <= descriptors, 60), (held.descriptors(), descriptors)
    grown = held.resident() - resident
    print(f"memory: {grown / MIB:+.1f} MiB")
    assert grown < SLACK


def allow_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_discovery_sessions(holdings, subsystem, bystander, count):
    """Up to AT_A_TIME; every other one goes without a word."""
    del holdings
    there = []
    with contextlib.ExitStack() as stack:
        for number in range(count):
            if len(there) == AT_A_TIME:
                for one in there:
                    one.close() if number % 2 else one.shut_down()
                there.clear()
            there.append(stack.enter_context(Controller(subsystem.address, DISCOVERY_NQN, Host())))
            if number % 50 == 0:
                assert there[-1].get_log(0x70, 1024, nsid=0).ok
    assert bystander.goes_on(10)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count, seconds", [(50, 3), pytest.param(1000, 60, marks=pytest.mark.nightly)])
def test_hosts_that_send_a_byte_a_second(holdings, subsystem, bystander, count, seconds):
    allow_descriptors(count + 1024)
    stream = Wire(subsystem.address).ic_req() + bytes(1024)
    slow = []
    try:
        for _ in range(count):
            slow.append(socket.create_connection(subsystem.address, 5))
        at_first = holdings.resident()
        for second in range(seconds):
            began = time.monotonic()
            for one in slow:
                with contextlib.suppress(OSError):  # Whoever does not connect in time is sent away.
                    one.send(stream[second : second + 1])
            assert bystander.goes_on(5)
            while time.monotonic() < began + 1:
                assert bystander.goes_on(1)
        assert holdings.resident() - at_first < SLACK
        with subsystem.connect() as controller:
            assert len(controller.read(1, 0, 8)) == 8 * BLOCK
    finally:
        for one in slow:
            one.close()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [2000, pytest.param(1_000_000, marks=pytest.mark.nightly)])
def test_a_flood_of_commands_that_fail(holdings, subsystem, bystander, count):
    """Each is logged; the log keeps the last 64."""
    del holdings
    with subsystem.connect(depth=128) as controller:
        (queue,) = controller.queues
        bad = nvme.lba_entry(nvme.READ, 7, 0, 1)
        for _ in range(count // 100):
            cids = [queue.submit(bad, expect=BLOCK) for _ in range(100)]
            assert not any(one.ok for one in queue.wait_all(cids))
        log = controller.get_log(0x01, 64 * 64).check().data
        assert int.from_bytes(log[:8], "little") == count // 100 * 100
        assert bystander.goes_on(10)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_controllers_that_come_and_go(holdings, subsystem, bystander, count):
    """As another host each: what is remembered of them is bounded."""
    del holdings
    for number in range(count):
        with subsystem.connect(Host()) as controller:
            controller.read(1, number % 64, 1)
    (counted,) = subsystem.client.nvmf_get_subsystem_stats(subsystem.nqn)
    assert min(count, 1024) <= len(counted["hosts"]) <= 1024 + 2
    assert bystander.goes_on(10)
