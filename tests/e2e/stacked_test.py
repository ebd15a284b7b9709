"""Stacked disks: pass-through, delay, error, split and concatenation, over RPC and as hosts see them."""

import json
import struct
import threading
import time

import nvme_tcp_host as nvme
import pytest

import pollux
from exports import BLOCK, MIB, export, memory_disk, saved, wait_until
from iscsi_peer import ASYNC, DATA_IN, NOP_IN, READ, RESPONSE, WRITE, Peer
from nvmf_exports import Subsystem

UUID = "b7a1e2a4-7a0e-4b3e-9c51-0c7d3a0f6f10"
GOOD, CHECK_CONDITION, BUSY = 0, 2, 8
FLUSH = bytes([0x35]) + bytes(9)


@pytest.fixture
def client(polluxd):
    return polluxd.client


def names(client):
    return [bdev["name"] for bdev in client.bdev_get_bdevs()]


def one(client, name):
    (bdev,) = client.bdev_get_bdevs(name)
    return bdev


def pending(client):
    return {(each["kind"], each["name"]): each for each in client.pollux_get_status()["pending"]}


def make_passthru(client, base="Mem", name="PT0", **more):
    client.bdev_passthru_create(name, base, **more)
    return [name]


def make_delay(client, base="Mem", name="Slow", **more):
    client.bdev_delay_create(name, base, 1, 2, 3, 4, **more)
    return [name]


def make_error(client, base="Mem", **more):
    client.bdev_error_create(base, **more)
    return ["EE_" + base]


def make_split(client, base="Mem"):
    client.bdev_split_create(base, 2)
    return [base + "p0", base + "p1"]


def make_concat(client, base="Mem", name="Big"):
    client.bdev_raid_create(name, "concat", [base], strip_size_kb=64)
    return [name]


DELETE = {
    "passthru": lambda c: c.bdev_passthru_delete("PT0"),
    "delay": lambda c: c.bdev_delay_delete("Slow"),
    "error": lambda c: c.bdev_error_delete("EE_Mem"),
    "split": lambda c: c.bdev_split_delete("Mem"),
    "concat": lambda c: c.bdev_raid_delete("Big"),
}
MAKE = {
    "passthru": make_passthru,
    "delay": make_delay,
    "error": make_error,
    "split": make_split,
    "concat": make_concat,
}


@pytest.fixture(params=sorted(MAKE))
def kind(request):
    return request.param


# Every kind.


def test_a_stacked_disk_claims_its_base_and_gives_it_back(client, kind):
    memory_disk(client, MIB, name="Mem")
    made = MAKE[kind](client)
    assert names(client) == ["Mem", *made]
    base = one(client, "Mem")
    assert base["claimed"] and base["claim_type"] == "exclusive_write"
    with pytest.raises(pollux.RpcError):
        client.bdev_passthru_create("Second", "Mem")
    assert DELETE[kind](client) is True
    assert names(client) == ["Mem"] and not one(client, "Mem")["claimed"]
    with pytest.raises(pollux.RpcError):
        DELETE[kind](client)


def test_a_call_whose_base_is_missing_is_kept_until_it_appears(client, kind):
    made = MAKE[kind](client)
    assert names(client) == []
    (waiting,) = pending(client).values()
    assert "Mem" in waiting["reason"] and waiting["method"].startswith("bdev_")
    assert len(client.framework_get_config("bdev")) >= 1
    memory_disk(client, MIB, name="Mem")
    client.bdev_wait_for_examine()
    assert names(client) == ["Mem", *made] and not pending(client)


def test_a_disk_that_waits_for_its_base_can_be_deleted(client, kind):
    MAKE[kind](client)
    assert DELETE[kind](client) is True
    assert not pending(client)
    memory_disk(client, MIB, name="Mem")
    client.bdev_wait_for_examine()
    assert names(client) == ["Mem"]


def test_it_goes_with_its_base_and_comes_back_with_it(client, kind):
    memory_disk(client, MIB, name="Mem")
    made = MAKE[kind](client)
    config = client.framework_get_config("bdev")
    client.bdev_malloc_delete("Mem")
    assert names(client) == [] and len(pending(client)) == 1
    memory_disk(client, MIB, name="Mem")
    client.bdev_wait_for_examine()
    assert names(client) == ["Mem", *made]
    again = client.framework_get_config("bdev")
    assert sorted(map(str, again)) == sorted(map(str, config))
    DELETE[kind](client)


def test_it_is_the_same_after_a_restart(polluxd, kind):
    memory_disk(polluxd.client, MIB, name="Mem", uuid=UUID)
    MAKE[kind](polluxd.client)
    config, shown = saved(polluxd.client), polluxd.client.bdev_get_bdevs()
    polluxd.kill()
    polluxd.start()
    assert saved(polluxd.client) == config
    assert polluxd.client.bdev_get_bdevs() == shown
    assert polluxd.client.pollux_get_status()["health"]["state"] == "ok"


def test_a_configuration_may_name_it_before_its_base(start_polluxd, tmp_path, kind):
    """SPDK saves stacked disks before the disks they lie on."""
    daemon = start_polluxd("--no-state")
    memory_disk(daemon.client, MIB, name="Mem", uuid=UUID)
    made = MAKE[kind](daemon.client)
    calls = daemon.client.framework_get_config("bdev")
    calls.sort(key=lambda call: call["method"] == "bdev_malloc_create")
    daemon.client.nvmf_create_subsystem("nqn.2024-01.io.pollux:disk", allow_any_host=True)
    daemon.client.nvmf_subsystem_add_ns("nqn.2024-01.io.pollux:disk", {"bdev_name": made[0]})
    config = {
        "subsystems": [
            {"subsystem": "bdev", "config": [*calls, {"method": "bdev_wait_for_examine"}]},
            {"subsystem": "nvmf", "config": daemon.client.framework_get_config("nvmf")},
        ]
    }
    daemon.stop()
    path = tmp_path / "spdk.json"
    path.write_text(json.dumps(config))
    second = start_polluxd("--no-state", "-c", str(path))
    assert names(second.client) == ["Mem", *made] and not pending(second.client)
    (subsystem,) = second.client.nvmf_get_subsystems()[1:]
    assert [ns["bdev_name"] for ns in subsystem["namespaces"]] == [made[0]]


def test_without_auto_examine_a_base_that_comes_later_is_examined_on_demand(start_polluxd, kind):
    daemon = start_polluxd("--wait-for-rpc")
    client = daemon.client
    client.bdev_set_options(bdev_auto_examine=False)
    client.framework_start_init()
    made = MAKE[kind](client)
    memory_disk(client, MIB, name="Mem")
    client.bdev_wait_for_examine()
    assert names(client) == ["Mem"] and "bdev_examine" in next(iter(pending(client).values()))["reason"]
    client.bdev_examine("Mem")
    client.bdev_wait_for_examine()
    assert names(client) == ["Mem", *made] and not pending(client)


# What each shows and refuses.


def code(call, *arguments, **parameters):
    with pytest.raises(pollux.RpcError) as failure:
        call(*arguments, **parameters)
    return failure.value.code


def test_each_kind_is_shown_as_spdk_shows_it(client):
    memory_disk(client, MIB, name="Mem")
    make_passthru(client)
    assert one(client, "PT0")["product_name"] == "passthru"
    assert one(client, "PT0")["driver_specific"] == {"passthru": {"name": "PT0", "base_bdev_name": "Mem"}}
    make_delay(client, "PT0")
    assert one(client, "Slow")["product_name"] == "delay"
    assert one(client, "Slow")["driver_specific"]["delay"] == {
        "name": "Slow", "base_bdev_name": "PT0", "avg_read_latency": 1, "p99_read_latency": 2,
        "avg_write_latency": 3, "p99_write_latency": 4,
    }  # fmt: skip
    make_error(client, "Slow")
    assert one(client, "EE_Slow")["product_name"] == "Error Injection Disk"
    make_split(client, "EE_Slow")
    assert one(client, "EE_Slowp1")["product_name"] == "Split Disk"
    assert one(client, "EE_Slowp1")["driver_specific"] == {"split": {"base_bdev": "EE_Slow", "offset_blocks": 1024}}
    client.bdev_raid_create("Big", "concat", ["EE_Slowp1", "EE_Slowp0"], strip_size_kb=64)
    assert one(client, "Big")["product_name"] == "Raid Volume"
    (raid,) = client.bdev_raid_get_bdevs("online")
    assert one(client, "Big")["driver_specific"]["raid"] == {key: raid[key] for key in raid if key != "name"}
    assert [base["name"] for base in raid["base_bdevs_list"]] == ["EE_Slowp1", "EE_Slowp0"]
    assert one(client, "Big")["num_blocks"] == 2048
    # A tower falls as one.
    client.bdev_malloc_delete("Mem")
    assert names(client) == [] and len(pending(client)) == 5
    memory_disk(client, MIB, name="Mem")
    assert wait_until(lambda: not pending(client))
    assert one(client, "Big")["num_blocks"] == 2048


def test_the_latency_of_a_delay_disk_is_changed_and_saved(polluxd):
    client = polluxd.client
    memory_disk(client, MIB, name="Mem", uuid=UUID)
    make_delay(client)
    assert client.bdev_delay_update_latency("Slow", "p99_write", 77) is True
    polluxd.kill()
    polluxd.start()
    assert one(polluxd.client, "Slow")["driver_specific"]["delay"]["p99_write_latency"] == 77


def test_errors_have_the_codes_of_spdk(client):
    memory_disk(client, MIB, name="Mem")
    assert code(client.bdev_passthru_delete, "Mem") == -19
    assert code(client.bdev_passthru_create, "Mem", "Mem") == -17
    assert code(client.bdev_passthru_create, "PT0", "Mem", uuid="no") == -22
    assert code(client.call, "bdev_passthru_create", {"name": "PT0"}) == -32603
    make_passthru(client)
    assert code(client.bdev_passthru_create, "PT1", "Mem") == -1
    assert code(client.bdev_delay_delete, "PT0") == -19
    assert code(client.bdev_delay_create, "Slow", "PT0", 1, 1, 1, 3600000001) == -22
    assert code(client.bdev_delay_update_latency, "PT0", "avg_read", 1) == -32602
    assert code(client.bdev_error_delete, "PT0") == -19
    assert code(client.bdev_error_inject_error, "PT0", "read", "failure") == -19
    assert code(client.bdev_error_resume_pending, "PT0") == -19
    assert code(client.call, "bdev_error_create", {}) == -32602
    assert code(client.bdev_split_create, "PT0", 0) == -32602
    assert code(client.bdev_split_create, "Mem", 2) == -32602
    assert code(client.bdev_split_delete, "PT0") == -32602
    assert code(client.bdev_raid_create, "Big", "raid1", ["PT0"]) == -95
    assert code(client.bdev_raid_create, "Big", "concat", ["PT0"], strip_size_kb=3) == -22
    assert code(client.bdev_raid_create, "Big", "concat", [], strip_size_kb=4) == -22
    assert code(client.bdev_raid_create, "Big", "concat", ["PT0"], strip_size_kb=4, superblock=True) == -95
    assert code(client.bdev_raid_delete, "PT0") == -19
    assert code(client.call, "bdev_raid_get_bdevs", {"category": "some"}) == -32700
    make_error(client, "PT0")
    assert code(client.bdev_error_create, "PT0") == -17
    assert code(client.bdev_error_inject_error, "EE_PT0", "read", "nvme_failure") == -22
    assert code(client.bdev_error_inject_error, "EE_PT0", "flush", "corrupt_data", corrupt_value=1) == -22


def test_a_waiting_name_is_taken(client):
    make_error(client)
    assert code(client.bdev_error_create, "Mem") == -17
    make_concat(client, "Mem2")
    assert code(client.bdev_raid_create, "Big", "concat", ["Mem3"], strip_size_kb=4) == -17
    (raid,) = client.bdev_raid_get_bdevs("configuring")
    assert (raid["name"], raid["state"], raid["num_base_bdevs_discovered"]) == ("Big", "configuring", 0)
    make_split(client, "Mem2")
    assert code(client.bdev_split_create, "Mem2", 3) == -32602


# Over iSCSI: the exact sense of each error, and no lost completion.


def sense(answer):
    """Key, ASC and ASCQ of a response's sense data."""
    data = answer.data[2:]
    return data[2] & 0xF, data[12], data[13]


class Lun:
    """LUN 0 of a node that exports the error disk on a memory disk."""

    def __init__(self, client):
        self.client = client
        memory_disk(client, MIB, name="Mem")
        make_error(client)
        self.target = export(client, "EE_Mem")
        self.peer = self.connect()

    def connect(self):
        peer = Peer(self.target.portal)
        assert peer.login(self.target.iqn) == 0
        assert peer.ready() == GOOD
        return peer

    def inject(self, io_type, error_type, **more):
        self.client.bdev_error_inject_error("EE_Mem", io_type, error_type, **more)

    def read(self, lba=0, blocks=1):
        return self.peer.run(struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0), blocks * BLOCK)

    def write(self, lba=0, data=bytes(BLOCK)):
        return self.peer.run(struct.pack(">BBIBHB", 0x2A, 0, lba, 0, len(data) // BLOCK, 0), data=data)

    def unmap(self, lba=0, blocks=8):
        data = struct.pack(">HHIQII", 22, 16, 0, lba, blocks, 0)
        return self.peer.run(struct.pack(">BBIBHB", 0x42, 0, 0, 0, len(data), 0), data=data)

    def flush(self):
        return self.peer.run(FLUSH)


@pytest.fixture
def lun(client):
    lun = Lun(client)
    yield lun
    lun.peer.close()


ERRORS = {
    "failure": ({}, CHECK_CONDITION, (0x4, 0x44, 0x00), (0x4, 0x44, 0x00)),
    "nomem": ({}, BUSY, None, None),
    # Unrecovered Read Error, Write Fault, Guard, LBA Out of Range, Capacity Exceeded, Write Protected,
    # Not Ready, Internal Error.
    "281": ({"nvme_sct": 2, "nvme_sc": 0x81}, CHECK_CONDITION, (0x3, 0x11, 0x00), (0x3, 0x0C, 0x00)),
    "280": ({"nvme_sct": 2, "nvme_sc": 0x80}, CHECK_CONDITION, (0x3, 0x11, 0x00), (0x3, 0x0C, 0x00)),
    "282": ({"nvme_sct": 2, "nvme_sc": 0x82}, CHECK_CONDITION, (0x3, 0x11, 0x00), (0x3, 0x0C, 0x00)),
    "080": ({"nvme_sct": 0, "nvme_sc": 0x80}, CHECK_CONDITION, (0x5, 0x21, 0x00), (0x5, 0x21, 0x00)),
    "081": ({"nvme_sct": 0, "nvme_sc": 0x81}, CHECK_CONDITION, (0x7, 0x27, 0x07), (0x7, 0x27, 0x07)),
    "020": ({"nvme_sct": 0, "nvme_sc": 0x20}, CHECK_CONDITION, (0x7, 0x27, 0x00), (0x7, 0x27, 0x00)),
    "082": ({"nvme_sct": 0, "nvme_sc": 0x82}, BUSY, None, None),
    "006": ({"nvme_sct": 0, "nvme_sc": 0x06}, CHECK_CONDITION, (0x4, 0x44, 0x00), (0x4, 0x44, 0x00)),
}


@pytest.mark.parametrize("error", sorted(ERRORS))
def test_each_error_has_its_sense(lun, error):
    more, status, read_sense, write_sense = ERRORS[error]
    error_type = "nvme_failure" if more else error
    lun.inject("all", error_type, **more)
    commands = [(lun.read, read_sense), (lun.write, write_sense), (lun.unmap, write_sense), (lun.flush, write_sense)]
    for run, expected in commands:
        came, _, answer = run()
        assert came == status, run
        if expected:
            assert sense(answer) == expected, run
        came, _, answer = run()
        assert came == GOOD, (run, answer.data.hex())


def test_corrupt_data_succeeds_and_differs_in_one_byte(lun):
    data = bytes(range(256)) * 4
    lun.peer.write(8, data)
    lun.inject("read", "corrupt_data", corrupt_offset=600, corrupt_value=0x81)
    wrong = lun.peer.read(8, 2)
    assert [i for i in range(1024) if wrong[i] != data[i]] == [600] and wrong[600] == data[600] ^ 0x81
    assert lun.peer.read(8, 2) == data
    lun.inject("write", "corrupt_data", corrupt_offset=3, corrupt_value=1)
    lun.peer.write(8, data)
    assert lun.peer.read(8, 2) == data[:3] + bytes([data[3] ^ 1]) + data[4:]


def test_what_is_pending_ends_when_it_is_resumed(lun):
    lun.inject("write", "pending", num=3)
    pdus = [
        lun.peer.command_pdu(struct.pack(">BBIBHB", 0x2A, 0, i, 0, 1, 0), BLOCK, 0x20, bytes([i + 1]) * BLOCK)
        for i in range(3)
    ]
    for pdu in pdus:
        lun.peer.send(pdu)
    second = lun.connect()
    assert second.read(0, 1) == bytes(BLOCK)
    lun.client.bdev_error_resume_pending("EE_Mem")
    for pdu in pdus:
        assert lun.peer.finish(pdu.tag)[0] == GOOD
    assert second.read(2, 1) == b"\3" * BLOCK
    second.close()


def test_a_pending_command_ends_when_the_disk_is_deleted(lun):
    lun.inject("read", "pending")
    pdu = lun.peer.command_pdu(struct.pack(">BBIBHB", 0x28, 0, 0, 0, 1, 0), BLOCK, 0x40)
    lun.peer.send(pdu)
    second = lun.connect()  # By now the command is with the disk.
    second.close()
    begin = time.monotonic()
    lun.client.bdev_error_delete("EE_Mem")
    assert time.monotonic() - begin < 5
    status, _, answer = lun.peer.finish(pdu.tag, BLOCK)
    assert status == CHECK_CONDITION and sense(answer)[0] == 0x5


def test_no_completion_is_lost_among_errors_and_delays(client):
    """Commands in flight at once, through an error disk on a delay disk: each is answered, once."""
    memory_disk(client, MIB, name="Mem")
    client.bdev_delay_create("Slow", "Mem", 200, 3000, 100, 5000)
    make_error(client, "Slow")
    target = export(client, "EE_Slow")
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0 and peer.ready() == GOOD
        failures = 0
        for round_ in range(40):
            client.bdev_error_inject_error("EE_Slow", "all", ["failure", "nomem"][round_ % 2], num=3)
            waiting = set()
            for i in range(16):
                write = i % 2
                cdb = struct.pack(">BBIBHB", 0x2A if write else 0x28, 0, i, 0, 1, 0)
                pdu = peer.command_pdu(cdb, BLOCK, 0x20 if write else 0x40, bytes(BLOCK) if write else b"")
                peer.send(pdu)
                waiting.add(pdu.tag)
            while waiting:
                pdu = peer.receive()
                if pdu.opcode == 0x25 and not pdu.flags & 1:
                    continue
                assert pdu.opcode in (0x21, 0x25)
                waiting.remove(pdu.tag)
                failures += pdu.bhs[3] != GOOD
        assert failures == 40 * 6
        peer.nop(b"still here")


class Load(threading.Thread):
    """An initiator that keeps 16 commands in flight and holds the target to answer each, once."""

    def __init__(self, target):
        super().__init__()
        self.target = target
        self.stopping = threading.Event()
        self.answers = {}
        self.fault = None

    def run(self):
        try:
            with Peer(self.target.portal, timeout=60) as peer:
                assert peer.login(self.target.iqn) == 0
                self.keep_busy(peer)
        except Exception as fault:  # Told by the test's own thread.
            self.fault = fault

    def keep_busy(self, peer):
        waiting = set()
        while waiting or not self.stopping.is_set():
            while len(waiting) < 16 and not self.stopping.is_set():
                lba = len(waiting) * 64
                if len(waiting) % 3 == 0:
                    cdb = struct.pack(">BBIBHB", 0x2A, 0, lba, 0, 1, 0)
                    pdu = peer.command_pdu(cdb, BLOCK, WRITE, bytes(BLOCK))
                else:
                    pdu = peer.command_pdu(struct.pack(">BBIBHB", 0x28, 0, lba, 0, 8, 0), 8 * BLOCK, READ)
                waiting.add(pdu.tag)
                peer.send(pdu)
            answer = peer.receive()
            if answer.opcode == NOP_IN:
                peer.answer_ping(answer)
            elif answer.opcode == RESPONSE or answer.opcode == DATA_IN and answer.flags & 1:
                waiting.remove(answer.tag)
                self.answers[answer.bhs[3]] = self.answers.get(answer.bhs[3], 0) + 1
            else:
                assert answer.opcode in (DATA_IN, ASYNC), answer.opcode


@pytest.mark.parametrize("times", [50, pytest.param(1000, marks=pytest.mark.nightly)])
def test_the_disk_comes_and_goes_under_load(client, times):
    """A stacked disk, or its base, is removed and made again while hosts read and write."""
    memory_disk(client, MIB, name="Mem")
    make_passthru(client)
    target = export(client, "PT0")
    loads = [Load(target) for _ in range(4)]
    for load in loads:
        load.start()
    try:
        for round_ in range(times):
            if round_ % 2:
                client.bdev_passthru_delete("PT0")
                assert names(client) == ["Mem"]
                make_passthru(client)
            else:
                client.bdev_malloc_delete("Mem")
                assert names(client) == []
                memory_disk(client, MIB, name="Mem")
                client.bdev_wait_for_examine()
            assert names(client) == ["Mem", "PT0"]
    finally:
        for load in loads:
            load.stopping.set()
        for load in loads:
            load.join()
    assert [load.fault for load in loads] == [None] * 4
    print([load.answers for load in loads])
    assert all(load.answers[GOOD] > 0 for load in loads)
    assert any(len(load.answers) > 1 for load in loads), "some met the time when there was no disk"
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        assert wait_until(lambda: peer.ready() == GOOD)


# Over NVMe/TCP.


NVME_INTERNAL_ERROR, NVME_COMMAND_INTERRUPTED, NVME_ABORTED = 0x006, 0x021, 0x007


def read_status(controller):
    return controller.io(nvme.lba_entry(nvme.READ, 1, 0, 1), expect=BLOCK).status


def test_an_nvme_host_sees_the_very_status(client):
    memory_disk(client, MIB, name="Mem")
    make_error(client)
    subsystem = Subsystem(client)
    subsystem.add("EE_Mem", 1)
    controller = subsystem.connect()
    try:
        for sct, sc in [(0, 0x06), (0, 0x20), (0, 0x81), (1, 0x82), (2, 0x80), (2, 0x81), (2, 0x82), (2, 0x86), (7, 0xC1)]:
            client.bdev_error_inject_error("EE_Mem", "all", "nvme_failure", nvme_sct=sct, nvme_sc=sc)
            expected = sct << 8 | sc
            assert read_status(controller) == expected
            assert controller.write(1, 0, bytes(BLOCK)).status == expected
            assert read_status(controller) == 0 and controller.write(1, 0, bytes(BLOCK)).ok
        for error_type, status in [("failure", NVME_INTERNAL_ERROR), ("nomem", NVME_COMMAND_INTERRUPTED)]:
            client.bdev_error_inject_error("EE_Mem", "read", error_type)
            assert read_status(controller) == status
            assert read_status(controller) == 0
    finally:
        controller.close()


def test_a_pending_command_of_an_nvme_host_can_be_aborted(client):
    memory_disk(client, MIB, name="Mem")
    make_error(client)
    subsystem = Subsystem(client)
    subsystem.add("EE_Mem", 1)
    controller = subsystem.connect()
    try:
        client.bdev_error_inject_error("EE_Mem", "read", "pending")
        queue = controller.queues[0]
        cid = queue.submit(nvme.lba_entry(nvme.READ, 1, 0, 1), expect=BLOCK)
        assert controller.write(1, 5, bytes(BLOCK)).ok
        assert controller.abort(1, cid).dw0 & 1 == 0
        assert queue.wait(cid).status == NVME_ABORTED
    finally:
        controller.close()


def test_a_delay_disk_delays(client):
    memory_disk(client, MIB, name="Mem")
    client.bdev_delay_create("Slow", "Mem", 50000, 50000, 0, 0)
    subsystem = Subsystem(client)
    subsystem.add("Slow", 1)
    controller = subsystem.connect()
    try:
        begin = time.monotonic()
        controller.read(1, 0, 1)
        assert time.monotonic() - begin >= 0.05
        client.bdev_delay_update_latency("Slow", "avg_read", 0)
        client.bdev_delay_update_latency("Slow", "p99_read", 0)
        for _ in range(10):
            controller.read(1, 0, 1)
        statistics = client.bdev_get_iostat(names=["Slow"])["bdevs"][0]
        assert statistics["max_read_latency_ticks"] >= 50_000_000
    finally:
        controller.close()


def test_parts_and_their_concatenation_hold_the_same_data(client):
    memory_disk(client, 4 * MIB, name="Mem")
    client.bdev_split_create("Mem", 4, split_size_mb=1)
    client.bdev_raid_create("Big", "concat", ["Memp3", "Memp0", "Memp2"], strip_size_kb=64)
    subsystem = Subsystem(client)
    subsystem.add("Big", 1)
    subsystem.add("Memp1", 2)
    controller = subsystem.connect()
    data = bytes(i // BLOCK % 251 for i in range(64 * 1024))
    part = MIB // BLOCK
    try:
        controller.write(1, part - 64, data).check()  # Across the end of the first.
        assert controller.read(1, part - 64, 128) == data
        assert controller.compare(1, part - 64, data).ok
        assert controller.read(2, 0, 128) == bytes(len(data))
        assert controller.deallocate(1, (part - 64, 128)).ok
        assert controller.read(1, part - 64, 128) == bytes(len(data))
    finally:
        controller.close()
    client.nvmf_delete_subsystem(subsystem.nqn)
