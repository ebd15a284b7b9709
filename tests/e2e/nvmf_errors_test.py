"""What went wrong, and how often: the error log of our target, and its statistics, from outside."""

import struct

import pytest

import nvme_tcp_host as nvme
from exports import BLOCK
from nvme_tcp_host import Host
from nvmf_exports import DISK_BLOCKS, NQN, Subsystem

ERROR_LOG, HEALTH_LOG = 0x01, 0x02
ENTRY_BYTES = 64
NO_LOCATION = 0xFFFF


@pytest.fixture(scope="module")
def subsystem(shared_polluxd):
    one = Subsystem(shared_polluxd.client)
    one.add_memory(1, disk="Counted")
    yield one
    shared_polluxd.client.nvmf_delete_subsystem(NQN)


@pytest.fixture
def controller(subsystem):
    with subsystem.connect(queues=2) as one:
        yield one


class Entry:
    """Figure 206."""

    def __init__(self, data):
        self.count, self.sqid, self.cid, self.status_field, self.location = struct.unpack_from("<QHHHH", data)
        self.lba, self.nsid, self.vendor, self.trtype = struct.unpack_from("<QIBB", data, 16)
        self.status = self.status_field >> 1 & 0x7FF


def errors(controller, entries=64):
    data = controller.get_log(ERROR_LOG, entries * ENTRY_BYTES).check().data
    page = [Entry(data[at : at + ENTRY_BYTES]) for at in range(0, len(data), ENTRY_BYTES)]
    return [entry for entry in page if entry.count]


def more(completion):
    return bool(completion.status_field >> 14 & 1)


def test_identify_says_how_many_errors_are_kept(controller):
    assert controller.identify(1).check().data[262] == 63, "ELPE, 0's based"
    assert errors(controller) == []


def test_errors_of_all_queues_are_in_the_log(controller):
    failed = [
        controller.identify(0x55),
        controller.io(nvme.lba_entry(nvme.READ, 1, DISK_BLOCKS, 1), expect=BLOCK, queue=controller.queues[0]),
        controller.io(nvme.lba_entry(nvme.READ, 7, 0, 1), expect=BLOCK, queue=controller.queues[1]),
        controller.io(nvme.entry(0x77, 1), queue=controller.queues[1]),
    ]
    assert all(more(one) and not one.ok for one in failed)
    log = errors(controller)
    assert [one.count for one in log] == [4, 3, 2, 1], "the newest first"
    assert [one.sqid for one in log] == [2, 2, 1, 0]
    assert [one.cid for one in log] == [one.cid for one in reversed(failed)]
    assert [one.status_field | 1 for one in log] == [one.status_field | 1 for one in reversed(failed)]
    assert [one.location for one in log] == [0, 4, 40, 40], "opcode, NSID, SLBA, CNS"
    assert [one.nsid for one in log[:3]] == [1, 7, 1]
    assert log[2].lba == DISK_BLOCKS
    assert {one.trtype for one in log} == {3}
    health = controller.get_log(HEALTH_LOG, 512).check().data
    assert struct.unpack_from("<Q", health, 176)[0] == 4


def test_what_a_host_has_to_expect_is_no_error(controller):
    controller.write(1, 0, bytes(BLOCK)).check()
    compared = controller.compare(1, 0, b"\1" * BLOCK)
    assert compared.status == nvme.COMPARE_FAILURE and not more(compared)
    assert errors(controller) == []


def test_each_controller_has_a_log_of_its_own(subsystem, controller):
    with subsystem.connect(Host()) as other:
        assert not other.identify(0x55).ok
        assert len(errors(other)) == 1
    assert errors(controller) == []


def test_a_flood_of_errors_keeps_the_last_64_and_the_count(controller):
    for _ in range(1000):
        assert not controller.io(nvme.lba_entry(nvme.READ, 9, 0, 1), expect=BLOCK).ok
    assert [one.count for one in errors(controller)] == list(range(1000, 936, -1))
    assert [one.count for one in errors(controller, 2)] == [1000, 999]


def test_a_reset_empties_the_log(controller):
    assert not controller.identify(0x55).ok
    controller.disable()
    controller.enable()
    assert errors(controller) == []
    assert not controller.identify(0x55).ok
    assert [one.count for one in errors(controller)] == [2]


# Log pages that are not there, and beyond their end.


@pytest.mark.parametrize("page", [0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x13, 0x81, 0xC0])
def test_log_pages_that_are_not_there_say_so(controller, page):
    assert controller.get_log(page, 512).status == nvme.INVALID_LOG_PAGE
    assert [one.location for one in errors(controller)] == [40]


def test_effects_of_features(controller):
    page = struct.unpack("<256I", controller.get_log(0x12, 1024).check().data)
    for feature, effect in enumerate(page):
        known = controller.get_features(feature, select=3, nsid=1).ok
        assert bool(effect & 1) == known, hex(feature)


@pytest.mark.parametrize("cns", [0x04, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1D, 0xFF])
def test_structures_that_are_not_there_say_so(controller, cns):
    assert controller.identify(cns).status == nvme.INVALID_FIELD
    assert [one.location for one in errors(controller)] == [40]


def test_write_uncorrectable_is_not_offered(controller):
    assert not struct.unpack_from("<H", controller.identify(1).check().data, 520)[0] & 2, "ONCS"
    assert controller.io(nvme.lba_entry(4, 1, 0, 1)).status == nvme.INVALID_OPCODE


# Statistics.


def test_namespaces_and_hosts_are_counted(shared_polluxd, subsystem):
    def counted():
        (one,) = shared_polluxd.client.nvmf_get_subsystem_stats(NQN)
        return one["namespaces"], {each["hostnqn"]: each for each in one["hosts"]}

    def number(before, after, member):
        return after[member] - before[member]

    host = Host()
    (before,), _ = counted()
    with subsystem.connect(host, queues=2) as controller:
        for queue in controller.queues:
            controller.io(nvme.lba_entry(nvme.WRITE, 1, 0, 4), bytes(4 * BLOCK), queue=queue).check()
            controller.io(nvme.lba_entry(nvme.READ, 1, 0, 1), expect=BLOCK, queue=queue).check()
        controller.flush(1).check()
        controller.compare(1, 0, b"\1" * BLOCK)
        controller.io(nvme.lba_entry(nvme.READ, 1, DISK_BLOCKS, 1), expect=BLOCK)
        (after,), hosts = counted()
        mine = hosts[host.nqn]
        assert mine["controllers"] == 1
        assert (after["nsid"], after["bdev_name"]) == (1, "Counted")
        for base, now in ((before, after), (None, mine)):
            base = base or dict.fromkeys(now, 0) | {"failures": dict.fromkeys(now["failures"], 0)}
            assert number(base, now, "num_write_ops") == 2
            assert number(base, now, "bytes_written") == 8 * BLOCK
            assert number(base, now, "num_read_ops") == 2
            assert number(base, now, "bytes_read") == 2 * BLOCK
            failures = {each: now["failures"][each] - base["failures"][each] for each in now["failures"]}
            assert failures == dict.fromkeys(failures, 0) | {"command": 1, "miscompare": 1}
        assert number(before, after, "num_other_ops") == 1
    subsystem.await_controllers(0)
    _, hosts = counted()
    assert hosts[host.nqn]["controllers"] == 0 and hosts[host.nqn]["num_read_ops"] == 2


def test_statistics_of_nothing(shared_polluxd, subsystem):
    del subsystem
    client = shared_polluxd.client
    assert [one["nqn"] for one in client.nvmf_get_subsystem_stats()] == [NQN]
    for nqn in ("nqn.2024-01.io.pollux:none", "nqn.2014-08.org.nvmexpress.discovery"):
        with pytest.raises(Exception, match="-32602"):
            client.nvmf_get_subsystem_stats(nqn)
