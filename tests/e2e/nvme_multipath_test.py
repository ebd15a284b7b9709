"""Two paths from our NVMe/TCP host to a subsystem of our target that listens twice."""

import pytest

from exports import wait_until
from nvmf_exports import IMPATIENT, NQN, Bystander, Subsystem, listen_address

DISK = "Netn1"
PATIENT = {"ctrlr_loss_timeout_sec": -1, "reconnect_delay_sec": 1}


def place(address, nqn=NQN):
    return {
        "trtype": "TCP",
        "adrfam": "ipv4",
        "traddr": address[0],
        "trsvcid": str(address[1]),
        "subnqn": nqn,
    }


class Paths:
    """A host with two paths, to a target with two listeners, one port each."""

    def __init__(self, target, host, **options):
        self.target = Subsystem(target.client, transport=IMPATIENT, ana_reporting=True)
        self.target.add_memory(disk="Exported")
        self.addresses = [self.target.address, self.target.listen()]
        self.host = host
        for address in self.addresses:
            self.attach(address, **options)

    def attach(self, address, **options):
        return self.host.client.bdev_nvme_attach_controller("Net", **place(address), **(PATIENT | options))

    def controllers(self):
        return [
            path
            for controller in self.host.client.bdev_nvme_get_controllers()
            for path in controller["ctrlrs"]
        ]

    def io_paths(self):
        """By port."""
        (group,) = self.host.client.bdev_nvme_get_io_paths()["poll_groups"]
        return {int(path["transport"]["trsvcid"]): path for path in group["io_paths"]}

    def current(self):
        return [port for port, path in self.io_paths().items() if path["current"]]

    def carried(self):
        """How many reads and writes, by port."""
        stats = self.host.client.bdev_nvme_get_path_iostat(DISK)["stats"]
        return {
            int(one["trid"]["trsvcid"]): one["stat"]["num_read_ops"] + one["stat"]["num_write_ops"]
            for one in stats
        }

    def user(self):
        """Somebody who writes and reads the disk, by the host's own target."""
        export = Subsystem(self.host.client, nqn="nqn.2024-01.io.pollux:again")
        export.add(DISK)
        return Bystander(export)


@pytest.fixture
def host(start_polluxd):
    return start_polluxd()


def test_two_paths_are_one_disk(polluxd, host):
    paths = Paths(polluxd, host)
    assert [path["state"] for path in paths.controllers()] == ["enabled", "enabled"]
    (disk,) = host.client.bdev_get_bdevs()
    specific = disk["driver_specific"]
    assert len(specific["nvme"]) == 2
    assert specific["mp_policy"] == "active_passive"
    first, second = (path["cntlid"] for path in paths.controllers())
    assert paths.current() == [paths.addresses[0][1]]
    host.client.bdev_nvme_set_preferred_path(DISK, second)
    assert paths.current() == [paths.addresses[1][1]]
    host.client.bdev_nvme_reset_controller("Net", cntlid=first)
    host.client.bdev_nvme_detach_controller("Net", **place(paths.addresses[1]))
    assert [path["cntlid"] for path in paths.controllers()] != [second]
    assert len(paths.controllers()) == 1
    host.client.bdev_nvme_detach_controller("Net")
    assert host.client.bdev_get_bdevs() == []


def test_second_paths_that_do_not_belong_are_refused(polluxd, host):
    paths = Paths(polluxd, host)
    other = Subsystem(polluxd.client, nqn="nqn.2024-01.io.pollux:other")
    for refused in (
        lambda: paths.attach(paths.addresses[0]),
        lambda: paths.attach(paths.target.listen(), hostnqn="nqn.2024-01.io.pollux:somebody"),
        lambda: paths.attach(paths.target.listen(), multipath="disable"),
        lambda: host.client.bdev_nvme_attach_controller("Net", **place(other.address, other.nqn)),
    ):
        with pytest.raises(Exception):
            refused()
    assert len(paths.controllers()) == 2


def test_io_follows_the_access_states(polluxd, host):
    paths = Paths(polluxd, host)
    first, second = paths.addresses
    user = paths.user()
    user.start()
    for worse, better in ((first, second), (second, first)) * 2:
        paths.target.set_ana_state("inaccessible", worse)
        paths.target.set_ana_state("optimized", better)
        assert wait_until(lambda port=better[1]: paths.current() == [port])
        assert user.goes_on()
    user.finish()


def test_a_path_that_is_cut_and_comes_back_loses_nothing(polluxd, start_polluxd):
    # A write that is lost is settled after the keep alive time; until then no other is sent.
    host = start_polluxd("--wait-for-rpc")
    host.client.bdev_nvme_set_options(keep_alive_timeout_ms=2000)
    host.client.framework_start_init()
    paths = Paths(polluxd, host)
    first, second = paths.addresses
    user = paths.user()
    user.start()
    assert user.goes_on()
    paths.target.stop_listening(first)
    assert wait_until(lambda: not paths.io_paths()[first[1]]["connected"])
    assert wait_until(lambda: paths.current() == [second[1]])
    assert user.goes_on()
    polluxd.client.nvmf_subsystem_add_listener(NQN, listen_address(*first))
    assert wait_until(lambda: paths.current() == [first[1]], 30)
    user.finish()


def test_the_policy_is_seen_in_what_each_path_carries(polluxd, start_polluxd):
    host = start_polluxd("--wait-for-rpc")
    host.client.bdev_nvme_set_options(io_path_stat=True)
    host.client.framework_start_init()
    paths = Paths(polluxd, host)
    user = paths.user()
    user.start()
    assert user.goes_on()
    one, other = paths.addresses[0][1], paths.addresses[1][1]
    assert paths.carried()[other] == 0
    for selector in ("round_robin", "queue_depth"):
        host.client.bdev_nvme_set_multipath_policy(DISK, "active_active", selector=selector)
        before = paths.carried()
        assert user.goes_on(40)
        after = paths.carried()
        if selector == "round_robin":
            assert after[other] > before[other] and after[one] > before[one]
    user.finish()
    for path in host.client.bdev_nvme_get_path_iostat(DISK)["stats"]:
        stat = path["stat"]
        for kind in ("read", "write"):
            least, most = stat[f"min_{kind}_latency_ticks"], stat[f"max_{kind}_latency_ticks"]
            # In turns, one path may have had nothing but reads.
            if count := stat[f"num_{kind}_ops"]:
                assert 0 < least <= stat[f"{kind}_latency_ticks"] / count <= most
            else:
                assert least == most == stat[f"{kind}_latency_ticks"] == 0


def test_paths_that_are_not_counted_say_so(polluxd, host):
    Paths(polluxd, host)
    with pytest.raises(Exception) as refused:
        host.client.bdev_nvme_get_path_iostat(DISK)
    assert "io_path_stat" in str(refused.value)


def test_the_preferred_path_is_the_same_after_a_restart_whatever_its_number(polluxd, host):
    paths = Paths(polluxd, host)
    (_, preferred), second = paths.addresses[1], paths.controllers()[1]["cntlid"]
    host.client.bdev_nvme_set_preferred_path(DISK, second)
    assert paths.current() == [preferred]
    # While the first is away, both come back with other numbers, in the other order.
    paths.target.stop_listening(paths.addresses[0])
    host.restart()
    assert wait_until(lambda: paths.current() == [preferred], 30)
    polluxd.client.nvmf_subsystem_add_listener(NQN, listen_address(*paths.addresses[0]))
    assert wait_until(lambda: len(paths.controllers()) == 2, 60)
    numbers = {int(path["trid"]["trsvcid"]): path["cntlid"] for path in paths.controllers()}
    assert numbers[preferred] != second
    assert paths.current() == [preferred]


def test_paths_and_policy_survive_a_restart_in_any_order(polluxd, host):
    paths = Paths(polluxd, host)
    host.client.bdev_nvme_set_multipath_policy(DISK, "active_active", selector="queue_depth")
    paths.target.stop_listening(paths.addresses[0])
    host.restart()
    assert wait_until(lambda: len(paths.controllers()) == 1)
    assert wait_until(lambda: len(host.client.pollux_get_status()["pending"]) == 1)
    polluxd.client.nvmf_subsystem_add_listener(NQN, listen_address(*paths.addresses[0]))
    assert wait_until(lambda: len(paths.controllers()) == 2, 60)
    (disk,) = host.client.bdev_get_bdevs()
    assert disk["driver_specific"]["mp_policy"] == "active_active"
    assert len(disk["driver_specific"]["nvme"]) == 2


def test_a_path_for_failover_is_told_as_another_place(polluxd, host):
    paths = Paths(polluxd, host)
    host.client.bdev_nvme_detach_controller("Net", **place(paths.addresses[1]))
    paths.attach(paths.addresses[1], multipath="failover")
    (path,) = paths.controllers()
    (alternate,) = path["alternate_trids"]
    assert alternate["trsvcid"] == str(paths.addresses[1][1])
