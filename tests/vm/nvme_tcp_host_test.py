"""Our NVMe/TCP host uses Linux's target: nvmet in an emulated machine, reached by forwarded ports."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

import guest as vm
import nvmet
from nvme_writers import BLOCK, Writers, nvme
from pollux.pytest_plugin import free_port

BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD") or pathlib.Path(__file__).parents[2] / "build").resolve()
NQN = "nqn.2024-01.io.example:linux"
AGAIN = "nqn.2024-01.io.pollux:again"
SECONDS_MAX = 300
DISK_MIB = 16
INSIDE = (4420, 4421)  # The ports of the guest; number 1 and 2 of nvmet.
PATIENT = {"ctrlr_loss_timeout_sec": -1, "reconnect_delay_sec": 1, "fabrics_connect_timeout_us": 30000000}


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return value


class Linux:
    def __init__(self, machine, ports):
        self.guest, self.ports = machine, ports
        self.target = nvmet.Target(machine)

    def place(self, number=1):
        return {
            "trtype": "TCP",
            "adrfam": "ipv4",
            "traddr": "127.0.0.1",
            "trsvcid": str(self.ports[number - 1]),
            "subnqn": NQN,
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
    ports = [free_port() for _ in INSIDE]
    guest = vm.Guest(cpus=2, forward=dict(zip(ports, INSIDE)))
    guest.boot()
    yield Linux(guest, ports)
    guest.stop()


@pytest.fixture
def linux(machine):
    machine.target.add_subsystem(NQN)
    machine.target.add_namespace(NQN, 1, mib=DISK_MIB)
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
    client.bdev_nvme_attach_controller("Linux", **linux.place(), **PATIENT)

    def state():
        return client.bdev_nvme_get_controllers()[0]["ctrlrs"][0]["state"]

    linux.target.withdraw(NQN, 1)
    assert wait_until(lambda: state() == "resetting", 60)
    linux.target.serve(NQN, 1)
    assert wait_until(lambda: state() == "enabled", 120)
    client.bdev_nvme_detach_controller("Linux")


# Two paths.


class Paths:
    """A polluxd that reaches the subsystem by both ports, and exports what it finds there: to writers."""

    def __init__(self, linux, daemon):
        self.target, self.guest, self.client = linux.target, linux.guest, daemon.client
        self.numbers = {str(port): number for number, port in enumerate(linux.ports, 1)}
        for number in self.numbers.values():
            self.client.bdev_nvme_attach_controller("Linux", **linux.place(number), **PATIENT)
        self.client.nvmf_create_transport("TCP")
        self.client.nvmf_create_subsystem(AGAIN, allow_any_host=True)
        self.address = "127.0.0.1", free_port()
        where = {"trtype": "TCP", "adrfam": "IPv4", "traddr": self.address[0], "trsvcid": str(self.address[1])}
        self.client.nvmf_subsystem_add_listener(AGAIN, where)

    def write(self, nsid=1):
        self.client.nvmf_subsystem_add_ns(AGAIN, {"bdev_name": f"Linuxn{nsid}", "nsid": nsid})
        return Writers(self._connect, DISK_MIB * (1 << 20) // BLOCK, nsid)

    def _connect(self):
        controller = nvme.Controller(self.address, AGAIN, kato=0, timeout=120)
        controller.create_queues(1)
        return controller

    def io_paths(self, disk="Linuxn1"):
        """By number of the port."""
        (group,) = self.client.bdev_nvme_get_io_paths(name=disk)["poll_groups"]
        return {self.numbers[path["transport"]["trsvcid"]]: path for path in group["io_paths"]}

    def accessible(self, disk="Linuxn1"):
        return {number for number, path in self.io_paths(disk).items() if path["accessible"]}

    def connected(self):
        return {number for number, path in self.io_paths().items() if path["connected"]}

    def current(self, disk="Linuxn1"):
        return [number for number, path in self.io_paths(disk).items() if path["current"]]

    def set_states(self, *states, group=1):
        """Of port 1 and of port 2, where it is not None."""
        for number, state in enumerate(states, 1):
            if state is not None:
                self.target.set_ana_state(number, group, state)

    def reach(self, accessible, current, disk="Linuxn1"):
        """Waits until bdev_nvme_get_io_paths says so."""
        told = wait_until(
            lambda: self.accessible(disk) == accessible and self.current(disk) == current, SECONDS_MAX / 5
        )
        assert told, self.io_paths(disk)


def sum_of(guest, device):
    return guest.run(f"dd if={device} bs=1M iflag=direct 2>/dev/null | sha256sum").split()[0]


@pytest.fixture
def twice(linux):
    linux.target.add_port(2, INSIDE[1])
    linux.target.serve(NQN, 2)
    return linux


@pytest.fixture
def impatient(start_polluxd):
    """A lost write is settled after the keep alive time, and holds back the others as long."""
    daemon = start_polluxd("--wait-for-rpc")
    daemon.client.bdev_nvme_set_options(keep_alive_timeout_ms=5000)
    daemon.client.framework_start_init()
    return daemon


@pytest.fixture
def paths(twice, impatient):
    return Paths(twice, impatient)


BEST, GOOD, NONE = nvmet.OPTIMIZED, nvmet.NON_OPTIMIZED, nvmet.INACCESSIBLE
CHANGE, LOSS = nvmet.CHANGE, nvmet.PERSISTENT_LOSS


def finish(paths, writers, device="/dev/disk0"):
    """What was written is what Linux itself finds on its disk."""
    image = writers.finish()
    assert sum_of(paths.guest, device) == hashlib.sha256(image).hexdigest()


def test_verified_io_follows_the_access_states(paths):
    writers = paths.write()
    for states, accessible, current in (
        ((BEST, BEST), {1, 2}, [1]),
        ((NONE, BEST), {2}, [2]),
        ((BEST, GOOD), {1, 2}, [1]),
        ((GOOD, BEST), {1, 2}, [2]),
        ((CHANGE, BEST), {2}, [2]),
        ((BEST, CHANGE), {1}, [1]),
        ((LOSS, GOOD), {2}, [2]),
        ((GOOD, LOSS), {1}, [1]),
        ((GOOD, GOOD), {1, 2}, [1]),
        ((BEST, BEST), {1, 2}, [1]),
    ):
        # What becomes better first.
        for number, state in sorted(enumerate(states, 1), key=lambda one: one[1] not in (BEST, GOOD)):
            paths.target.set_ana_state(number, 1, state)
        paths.reach(accessible, current)
        assert writers.go_on()
    finish(paths, writers)


@pytest.mark.parametrize("state", [CHANGE, NONE])
def test_io_waits_while_no_path_takes_any(paths, state):
    writers = paths.write()
    for number in (2, 1):
        assert writers.go_on()
        paths.set_states(state, state)
        assert wait_until(lambda: not paths.accessible(), 30)
        paths.target.set_ana_state(number, 1, BEST)
        paths.reach({number}, [number])
        assert writers.go_on()
    finish(paths, writers)


def test_a_path_is_cut_and_comes_back_under_verified_io(paths):
    writers = paths.write()
    assert writers.go_on()
    for number, other in ((1, 2), (2, 1)):
        paths.target.withdraw(NQN, number)
        assert wait_until(lambda alive=other: paths.connected() == {alive}, 60)
        assert wait_until(lambda alive=other: paths.current() == [alive], 60)
        assert writers.go_on()
        paths.target.serve(NQN, number)
        assert wait_until(lambda: paths.connected() == {1, 2}, 120)
        assert wait_until(lambda: paths.current() == [1], 60)
        assert writers.go_on()
    finish(paths, writers)


def test_a_path_that_is_cut_comes_back_in_another_state(paths):
    writers = paths.write()
    assert writers.go_on()
    paths.target.withdraw(NQN, 1)
    paths.target.set_ana_state(1, 1, NONE)
    paths.target.serve(NQN, 1)
    assert wait_until(lambda: paths.connected() == {1, 2} and paths.accessible() == {2}, 120)
    assert writers.go_on()
    # The only one that takes I/O is cut, and the other takes over when it may.
    paths.target.withdraw(NQN, 2)
    assert wait_until(lambda: paths.connected() == {1}, 60)
    paths.target.set_ana_state(1, 1, GOOD)
    assert wait_until(lambda: paths.current() == [1], 60)
    assert writers.go_on()
    paths.target.serve(NQN, 2)
    assert wait_until(lambda: paths.connected() == {1, 2} and paths.current() == [2], 120)
    assert writers.go_on()
    finish(paths, writers)


def test_each_group_has_its_own_way(twice, impatient):
    twice.target.add_namespace(NQN, 2, mib=DISK_MIB, group=2)
    paths = Paths(twice, impatient)
    paths.set_states(BEST, GOOD, group=1)
    paths.set_states(GOOD, BEST, group=2)
    paths.reach({1, 2}, [1], "Linuxn1")
    paths.reach({1, 2}, [2], "Linuxn2")
    one, two = paths.write(1), paths.write(2)
    assert one.go_on() and two.go_on()
    paths.target.set_ana_state(1, 1, NONE)
    paths.reach({2}, [2], "Linuxn1")
    paths.reach({1, 2}, [2], "Linuxn2")
    assert one.go_on() and two.go_on()
    finish(paths, one)
    finish(paths, two, "/dev/disk1")


def test_a_namespace_moves_to_another_group(paths):
    paths.set_states(NONE, BEST, group=2)
    paths.reach({1, 2}, [1])
    # Before any I/O is refused that would tell.
    paths.target.move_to_group(NQN, 1, 2)
    paths.reach({2}, [2])
    writers = paths.write()
    assert writers.go_on()
    assert paths.accessible() == {2}
    for group, accessible, current in ((1, {1, 2}, [1]), (2, {2}, [2])):
        paths.target.move_to_group(NQN, 1, group)
        paths.reach(accessible, current)
        assert writers.go_on()
    finish(paths, writers)
