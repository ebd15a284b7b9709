"""Our host follows discovery services: one polluxd exports and refers, another one attaches what it is told of."""

import json
import subprocess

import pytest

from exports import wait_until
from nvmf_exports import NQN, Subsystem, free_port, listen_address
from pollux.errors import RpcError
from pollux.pytest_plugin import polluxd_path

BIN = polluxd_path().parent
DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
AGAIN = {"ctrlr_loss_timeout_sec": -1, "reconnect_delay_sec": 1}


def offer(daemon, name, **options):
    """A subsystem with a disk."""
    subsystem = Subsystem(daemon.client, f"{NQN}-{name}", **options)
    subsystem.add_memory(disk=f"Disk-{name}")
    return subsystem


def offer_discovery(daemon, name):
    """The same, and a discovery service that stays when it goes."""
    subsystem = offer(daemon, name)
    subsystem.discovery = "127.0.0.1", free_port("127.0.0.1")
    daemon.client.nvmf_subsystem_add_listener(DISCOVERY_NQN, listen_address(*subsystem.discovery))
    return subsystem


@pytest.fixture
def target(polluxd):
    return offer_discovery(polluxd, "a")


@pytest.fixture
def host(start_polluxd):
    return start_polluxd()


def place(address):
    return {"trtype": "TCP", "adrfam": "ipv4", "traddr": address[0], "trsvcid": str(address[1])}


def follow(host, target, name="nvme", **options):
    options = {"wait_for_attach": True, **options}
    return host.client.bdev_nvme_start_discovery(name, **place(target.discovery), **options)


def disks(host):
    return {disk["name"] for disk in host.client.bdev_get_bdevs() if disk["product_name"].startswith("NVMe")}


def subsystems(host):
    """{name: NQN}"""
    return {one["name"]: one["ctrlrs"][0]["trid"]["subnqn"] for one in host.client.bdev_nvme_get_controllers()}


def paths(host, name="nvme0"):
    """The ports by which a controller is reached."""
    for one in host.client.bdev_nvme_get_controllers():
        if one["name"] == name:
            return {int(path["trid"]["trsvcid"]) for path in one["ctrlrs"]}
    return set()


def code_of(call, *arguments, **options):
    with pytest.raises(RpcError) as refused:
        call(*arguments, **options)
    return refused.value.code


# --- What is found.


def test_what_a_service_names_becomes_disks(host, target):
    assert follow(host, target) is True
    assert disks(host) == {"nvme0n1"}
    assert subsystems(host) == {"nvme0": target.nqn}
    [info] = host.client.bdev_nvme_get_discovery_info()
    assert info["name"] == "nvme" and info["referrals"] == []
    assert info["trid"]["traddr"] == target.address[0]
    assert info["trid"]["trsvcid"] == str(target.discovery[1])
    assert info["trid"]["subnqn"] == DISCOVERY_NQN
    assert "error" not in info
    assert host.client.bdev_nvme_stop_discovery("nvme") is True
    assert disks(host) == set() and host.client.bdev_nvme_get_controllers() == []
    assert host.client.bdev_nvme_get_discovery_info() == []
    assert wait_until(lambda: target.controllers() == [])


def test_disks_come_and_go_with_their_subsystems(host, target, polluxd):
    follow(host, target)
    other = offer(polluxd, "b")
    assert wait_until(lambda: disks(host) == {"nvme0n1", "nvme1n1"}), disks(host)
    assert subsystems(host) == {"nvme0": target.nqn, "nvme1": other.nqn}
    polluxd.client.nvmf_delete_subsystem(target.nqn)
    assert wait_until(lambda: disks(host) == {"nvme1n1"}), disks(host)
    target = Subsystem(polluxd.client, target.nqn)
    target.add("Disk-a")
    assert wait_until(lambda: disks(host) == {"nvme0n1", "nvme1n1"}), "its number is kept"
    assert subsystems(host)["nvme0"] == target.nqn


def test_every_address_of_a_subsystem_is_a_path(host, target):
    second = target.listen()
    follow(host, target)
    assert paths(host) == {target.address[1], second[1]}
    assert disks(host) == {"nvme0n1"}
    third = target.listen()
    assert wait_until(lambda: paths(host) == {target.address[1], second[1], third[1]})
    target.stop_listening(second)
    assert wait_until(lambda: paths(host) == {target.address[1], third[1]}), "path by path"
    assert disks(host) == {"nvme0n1"}


def test_referrals_are_followed_and_forgotten(host, target, start_polluxd):
    far = start_polluxd()
    other = offer_discovery(far, "far")
    # Each refers to the other, and to itself.
    for client, address in ((target.client, other.discovery), (far.client, target.discovery)):
        client.nvmf_discovery_add_referral(listen_address(*address))
    target.client.nvmf_discovery_add_referral(listen_address(*target.discovery))
    follow(host, target)
    assert wait_until(lambda: disks(host) == {"nvme0n1", "nvme1n1"}), disks(host)
    [info] = host.client.bdev_nvme_get_discovery_info()
    assert [one["trid"]["trsvcid"] for one in info["referrals"]] == [str(other.discovery[1])]
    target.client.nvmf_discovery_remove_referral(listen_address(*other.discovery))
    assert wait_until(lambda: disks(host) == {"nvme0n1"}), disks(host)
    [info] = host.client.bdev_nvme_get_discovery_info()
    assert info["referrals"] == []


def test_hosts_are_told_of_what_they_may_use(host, target, polluxd):
    hostnqn = "nqn.2024-01.io.example:friend"
    secret = offer(polluxd, "secret", allow_any_host=False)
    follow(host, target, hostnqn=hostnqn)
    assert subsystems(host) == {"nvme0": target.nqn}
    polluxd.client.nvmf_subsystem_add_host(secret.nqn, hostnqn)
    assert wait_until(lambda: subsystems(host) == {"nvme0": target.nqn, "nvme1": secret.nqn})


def test_what_the_user_attached_stays_the_users(host, target, polluxd):
    host.client.bdev_nvme_attach_controller("Mine", **place(target.address), subnqn=target.nqn)
    other = offer(polluxd, "b")
    follow(host, target)
    assert subsystems(host)["Mine"] == target.nqn
    assert other.nqn in subsystems(host).values()
    host.client.bdev_nvme_stop_discovery("nvme")
    assert subsystems(host) == {"Mine": target.nqn}


# --- What is lost.


def test_a_target_that_was_killed_is_found_again(host, target, polluxd):
    follow(host, target, **AGAIN)
    polluxd.kill()
    assert wait_until(lambda: "error" in host.client.bdev_nvme_get_discovery_info()[0], 30)
    assert disks(host) == {"nvme0n1"}, "what a lost service named stays"
    polluxd.start()
    assert wait_until(lambda: "error" not in host.client.bdev_nvme_get_discovery_info()[0], 60)
    other = offer(polluxd, "b")
    assert wait_until(lambda: other.nqn in subsystems(host).values(), 30)


def test_a_controller_that_was_given_up_is_attached_again(host, target, polluxd):
    follow(host, target, ctrlr_loss_timeout_sec=1, reconnect_delay_sec=1)
    polluxd.kill()
    assert wait_until(lambda: disks(host) == set(), 30)
    polluxd.start()
    assert wait_until(lambda: disks(host) == {"nvme0n1"}, 60)


def test_a_service_that_is_not_there_yet_is_waited_for(host, polluxd):
    address = "127.0.0.1", free_port("127.0.0.1")
    assert host.client.bdev_nvme_start_discovery("nvme", **place(address)) is True
    assert wait_until(lambda: "error" in host.client.bdev_nvme_get_discovery_info()[0], 30)
    offer(polluxd, "late")
    polluxd.client.nvmf_subsystem_add_listener(DISCOVERY_NQN, listen_address(*address))
    assert wait_until(lambda: disks(host) == {"nvme0n1"}, 30), disks(host)


# --- After a restart.


def test_names_are_the_same_after_a_restart_and_exports_come_back(host, target, polluxd):
    follow(host, target)
    offer(polluxd, "b")
    assert wait_until(lambda: len(disks(host)) == 2)
    before = subsystems(host)
    mine = Subsystem(host.client, f"{NQN}-again")
    mine.add("nvme1n1")
    # Another order of discovery: a is away, and comes back later.
    polluxd.client.nvmf_subsystem_remove_listener(target.nqn, listen_address(*target.address))
    target.listen()
    host.kill()
    host.start()
    assert wait_until(lambda: subsystems(host) == before, 60), subsystems(host)

    def exported():
        [one] = [one for one in host.client.nvmf_get_subsystems() if one["nqn"] == mine.nqn]
        return [ns["bdev_name"] for ns in one["namespaces"]]

    assert wait_until(lambda: exported() == ["nvme1n1"], 30)
    assert [one["name"] for one in host.client.bdev_nvme_get_discovery_info()] == ["nvme"]


def test_what_was_stopped_does_not_come_back(host, target):
    follow(host, target)
    host.client.bdev_nvme_stop_discovery("nvme")
    host.kill()
    host.start()
    assert host.client.bdev_nvme_get_discovery_info() == []
    assert host.client.bdev_nvme_get_controllers() == []


def test_the_saved_configuration_has_the_discovery_and_not_its_controllers(host, target):
    follow(host, target)
    calls = host.client.framework_get_config("bdev")
    methods = [call["method"] for call in calls]
    assert methods.count("bdev_nvme_start_discovery") == 1
    assert "bdev_nvme_attach_controller" not in methods
    [saved] = [call["params"] for call in calls if call["method"] == "bdev_nvme_start_discovery"]
    assert saved["subsystems"] == [target.nqn]


# --- What is refused.


def test_nothing_is_followed_twice(host, target):
    follow(host, target)
    second = free_port("127.0.0.1")
    start = host.client.bdev_nvme_start_discovery
    assert code_of(start, "nvme", **place(("127.0.0.1", second))) == -17
    assert code_of(start, "other", **place(target.discovery)) == -17
    assert code_of(host.client.bdev_nvme_stop_discovery, "other") == -2


@pytest.mark.parametrize(
    "wrong",
    [
        {"trtype": "RDMA"},
        {"trtype": "PCIe", "traddr": "0000:01:00.0"},
        {"traddr": "target.example"},
        {"trsvcid": "nvme"},
        {"trsvcid": "70000"},
        {"adrfam": "ipv6"},
        {"hostnqn": "nqn." + "x" * 300},
        {"ctrlr_loss_timeout_sec": -2},
        {"reconnect_delay_sec": 5},
    ],
)
def test_wrong_parameters(host, wrong):
    options = {**place(("127.0.0.1", 8009)), **wrong}
    assert code_of(host.client.bdev_nvme_start_discovery, "nvme", **options) in (-22, -95)
    assert host.client.bdev_nvme_get_discovery_info() == []


def test_waiting_has_an_end(host):
    address = "127.0.0.1", free_port("127.0.0.1")
    start = host.client.bdev_nvme_start_discovery
    assert code_of(start, "nvme", **place(address), attach_timeout_ms=500) == -110
    assert host.client.bdev_nvme_get_discovery_info() == []
    host.kill()
    host.start()
    assert host.client.bdev_nvme_get_discovery_info() == []


# --- The tools.


def run(program, address, *arguments):
    where = f"trtype:TCP adrfam:IPv4 traddr:{address[0]} trsvcid:{address[1]}"
    return subprocess.run([BIN / program, where, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_identify_tells_what_a_service_names(target):
    target.client.nvmf_discovery_add_referral(listen_address("192.0.2.1", 8009))
    done = run("pollux-identify", target.discovery, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    entries = told["discovery"]["entries"]
    assert (target.nqn, str(target.address[1])) in [(one["subnqn"], one["trsvcid"]) for one in entries]
    assert "192.0.2.1" in [one["traddr"] for one in entries if one["subtype"] == 1]
    text = run("pollux-identify", target.discovery).stdout
    assert target.nqn in text and f"TCP 127.0.0.1 port {target.address[1]}" in text


def test_perf_says_what_to_do_with_a_service(target):
    done = run("pollux-perf", target.discovery, "-t", "1")
    assert done.returncode != 0
    assert "pollux-identify" in done.stderr and "subnqn:" in done.stderr
