"""Our NVMe/TCP host against our target: pollux-identify, pollux-perf and polluxd as a host."""

import json
import subprocess
import time

import pytest

from exports import export, wait_until
from nvmf_exports import NQN, Subsystem
from pollux.pytest_plugin import polluxd_path

BIN = polluxd_path().parent


@pytest.fixture
def target(polluxd):
    subsystem = Subsystem(polluxd.client)
    subsystem.add_memory(disk="Exported")
    return subsystem


def place(target):
    return {
        "trtype": "TCP",
        "adrfam": "ipv4",
        "traddr": target.address[0],
        "trsvcid": str(target.address[1]),
        "subnqn": target.nqn,
    }


def run(program, target, *arguments):
    where = " ".join(f"{key}:{value}" for key, value in place(target).items())
    done = subprocess.run(
        [BIN / program, where, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_identify_tells_of_a_controller_on_the_network(target):
    told = json.loads(run("pollux-identify", target, "--json"))
    assert told["controller"]["subnqn"] == NQN


@pytest.mark.parametrize("digests", [[], ["--header-digest", "--data-digest"]])
@pytest.mark.parametrize("size", ["4k", "128k"])
def test_what_perf_writes_it_reads_back(target, size, digests):
    run("pollux-perf", target, "-w", "verify", "-o", size, "-q", "32", "--queues", "2", *digests)


@pytest.fixture
def host(start_polluxd):
    return start_polluxd()


def attach(host, target, **options):
    return host.client.bdev_nvme_attach_controller("Net", **place(target), **options)


def test_a_controller_on_the_network_becomes_disks(host, target):
    assert attach(host, target, hdgst=True, ddgst=True) == ["Netn1"]
    (controller,) = host.client.bdev_nvme_get_controllers()
    (path,) = controller["ctrlrs"]
    assert path["state"] == "enabled"
    assert path["trid"] == place(target) | {"adrfam": "IPv4"}
    (disk,) = host.client.bdev_get_bdevs("Netn1")
    assert disk["driver_specific"]["nvme"][0]["trid"]["subnqn"] == NQN
    export(host.client, "Netn1")
    host.client.bdev_nvme_detach_controller("Net")
    assert host.client.bdev_nvme_get_controllers() == []
    assert wait_until(lambda: target.controllers() == [])


def test_a_target_that_was_restarted_is_connected_to_again(host, target, polluxd):
    attach(host, target, ctrlr_loss_timeout_sec=-1, reconnect_delay_sec=1)

    def state():
        return host.client.bdev_nvme_get_controllers()[0]["ctrlrs"][0]["state"]

    polluxd.kill()
    assert wait_until(lambda: state() == "resetting")
    polluxd.start()
    assert wait_until(lambda: state() == "enabled", 60)


def test_the_disks_go_with_a_target_that_stays_away_and_come_back_with_it(host, target, polluxd):
    attach(host, target, ctrlr_loss_timeout_sec=2, reconnect_delay_sec=1)
    polluxd.kill()
    assert wait_until(lambda: host.client.bdev_nvme_get_controllers() == [], 30)
    assert host.client.bdev_get_bdevs() == []
    polluxd.start()
    assert wait_until(lambda: host.client.bdev_get_bdevs() != [], 60)


def test_a_target_that_is_not_there_is_refused(host, target, polluxd):
    polluxd.kill()
    began = time.monotonic()
    with pytest.raises(Exception) as refused:
        attach(host, target)
    assert "refused" in str(refused.value).lower()
    assert time.monotonic() - began < 10
    assert host.client.bdev_nvme_get_controllers() == []
