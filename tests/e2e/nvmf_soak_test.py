"""The NVMe/TCP target over a long time: verified I/O while hosts come and go, and nothing grows.

The short form shows that the test works; `nightly` is the long one."""

import os
import random
import subprocess
import threading
import time

import pytest

import nvme_tcp_host as nvme
from nvmf_exports import BLOCK, NQN, Bystander, Subsystem
from pollux.pytest_plugin import polluxd_path

CONNECTS_PER_MINUTE = 100
# What may come to be after the first sample without being a leak: pools and caches that fill, in KiB.
GROWTH_KIB = 8192


class Comers(threading.Thread):
    """Hosts that come at an even pace, do a little, and go in order or without a word, one in the middle
    of its data."""

    def __init__(self, subsystem, seed):
        super().__init__()
        self.subsystem, self.random = subsystem, random.Random(seed)
        self.count, self.error, self.over = 0, None, threading.Event()

    def run(self):
        try:
            begin = time.monotonic()
            while not self.over.wait(max(0, begin + 60 / CONNECTS_PER_MINUTE * self.count - time.monotonic())):
                self.visit()
                self.count += 1
        except BaseException as error:  # Told by stop().
            self.error = error

    def visit(self):
        if self.random.random() < 0.2:
            return nvme.Controller(self.subsystem.address, nvme.DISCOVERY_NQN).close()
        controller = self.subsystem.connect(nvme.Host(), queues=self.random.choice([1, 4]), depth=32)
        queue = controller.queues[0]
        lba = self.random.randrange(64) * 64
        data = os.urandom(64 * BLOCK)
        controller.write(2, lba, data).check()
        assert controller.read(2, lba, 64) == data
        if self.random.random() < 0.5:
            return controller.shut_down()
        queue.hold_r2t = True
        queue.submit(nvme.lba_entry(nvme.WRITE, 2, lba, 64), bytes(64 * BLOCK), in_capsule=False)
        return controller.close()

    def stop(self):
        self.over.set()
        self.join(60)
        if self.error is not None:
            raise self.error


def resident_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Rss:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seconds", [20, pytest.param(1800, marks=pytest.mark.nightly)])
def test_hosts_come_and_go_and_nothing_grows(polluxd, seconds):
    subsystem = Subsystem(polluxd.client)
    for nsid in (1, 2, 3):
        subsystem.add_memory(nsid)
    perf = polluxd_path().parent / "pollux-perf"
    target = "trtype:TCP adrfam:IPv4 traddr:{} trsvcid:{} subnqn:{}".format(*subsystem.address, NQN)
    comers, bystander = Comers(subsystem, seed=1), Bystander(subsystem)
    bystander.start()
    comers.start()
    samples = []
    end = time.monotonic() + seconds
    passes = 0
    try:
        while time.monotonic() < end:
            # Namespace 3, whole, over and over: it exits with 1 when one block is not what was written.
            subprocess.run(
                [perf, target, "-n", "3", "-w", "randrw", "--verify", "-q", "32", "--queues", "2", "-t", "4", "--quiet"],
                check=True,
                capture_output=True,
                timeout=120,
            )
            passes += 1
            samples.append((resident_kib(polluxd.pid), descriptors(polluxd.pid)))
            assert bystander.goes_on(1)
    finally:
        comers.stop()
        bystander.finish()
    print(f"{passes} passes, {comers.count} visits, first {samples[0]}, last {samples[-1]} (KiB, descriptors)")
    assert comers.count > 0 and passes > 0
    subsystem.await_controllers(0)
    warm = samples[min(2, len(samples) - 1)][0]
    assert max(kib for kib, _ in samples) < warm + GROWTH_KIB
    # A visitor has 5 connections at most, the bystander 2, and pollux-perf has gone.
    assert max(fds for _, fds in samples) <= min(fds for _, fds in samples) + 8
