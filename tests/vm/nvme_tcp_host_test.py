"""Our NVMe/TCP host uses Linux's target: nvmet in an emulated machine, reached by a forwarded port."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

import guest as vm
import nvmet
from pollux.pytest_plugin import free_port

BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD") or pathlib.Path(__file__).parents[2] / "build").resolve()
NQN = "nqn.2024-01.io.example:linux"
SECONDS_MAX = 300


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return value


class Linux:
    def __init__(self, machine, port):
        self.guest, self.port = machine, port
        self.target = nvmet.Target(machine)

    def place(self, nqn=NQN):
        return {
            "trtype": "TCP",
            "adrfam": "ipv4",
            "traddr": "127.0.0.1",
            "trsvcid": str(self.port),
            "subnqn": nqn,
        }

    def run(self, program, *arguments):
        where = " ".join(f"{key}:{value}" for key, value in self.place().items())
        done = subprocess.run(
            [BUILD / "bin" / program, where, *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def machine():
    if not (vm.CACHE / "stamp").exists() or not shutil.which("qemu-system-x86_64"):
        pytest.skip(f"no guest in {vm.CACHE}: tests/run --vm builds it")
    port = free_port()
    guest = vm.Guest(cpus=2, forward={port: 4420})
    guest.boot()
    yield Linux(guest, port)
    guest.stop()


@pytest.fixture
def linux(machine):
    machine.target.add_subsystem(NQN)
    machine.target.add_namespace(NQN, 1, mib=16)
    machine.target.add_port(1)
    machine.target.serve(NQN, 1)
    yield machine
    machine.target.clear()


def test_identify_knows_linux(linux):
    told = json.loads(linux.run("pollux-identify", "--json"))
    assert told["controller"]["subnqn"] == NQN


@pytest.mark.parametrize("digests", [[], ["--header-digest", "--data-digest"]])
def test_what_is_written_is_read_back(linux, digests):
    linux.run("pollux-perf", "-w", "verify", "-o", "64k", "-q", "16", "--queues", "2", *digests)


def test_short_and_long_transfers(linux):
    linux.run("pollux-perf", "-w", "verify", "-o", "4k", "-q", "64", "--range", "0:4096")
    linux.run("pollux-perf", "-w", "verify", "-o", "1m", "-q", "4")


def test_a_target_that_goes_is_connected_to_again(linux, polluxd):
    client = polluxd.client
    client.bdev_nvme_attach_controller(
        "Linux",
        **linux.place(),
        fabrics_connect_timeout_us=30000000,
        ctrlr_loss_timeout_sec=-1,
        reconnect_delay_sec=1,
    )

    def state():
        return client.bdev_nvme_get_controllers()[0]["ctrlrs"][0]["state"]

    linux.target.withdraw(NQN, 1)
    assert wait_until(lambda: state() == "resetting", 60)
    linux.target.serve(NQN, 1)
    assert wait_until(lambda: state() == "enabled", 120)
    client.bdev_nvme_detach_controller("Linux")
