"""The accel layer: who executes what, what is counted, and what hosts see when it goes wrong."""

import struct

import pytest

import nvme_tcp_host as nvme
import pollux
from exports import BLOCK, MIB, export, memory_disk, saved
from iscsi_peer import CHECK_CONDITION, GOOD, Peer
from nvmf_exports import Subsystem

OPCODES = {
    *("copy", "fill", "dualcast", "compare", "crc32c", "copy_crc32c", "xor"),
    *("dif_verify", "dif_verify_copy", "dif_generate", "dif_generate_copy"),
    *("dix_generate", "dix_verify"),
}
SIZES = {
    "small_cache_size": 128,
    "large_cache_size": 16,
    "task_count": 2048,
    "sequence_count": 2048,
    "buf_count": 2048,
    "offload_min_bytes": 4096,
}


def counted(client, opcode, module="software"):
    """(executed, failed, bytes) of what one module did of one opcode."""
    for one in client.accel_get_stats()["operations"]:
        if (one["opcode"], one["module_name"]) == (opcode, module):
            return one["executed"], one["failed"], one["num_bytes"]
    return 0, 0, 0


def grown(client, opcode, module="software"):
    """A function that says by how much it has grown since."""
    before = counted(client, opcode, module)
    return lambda: tuple(now - then for now, then in zip(counted(client, opcode, module), before))


def calls(client, method):
    return [call["params"] for call in client.framework_get_config("accel") if call["method"] == method]


@pytest.fixture
def initiator(polluxd):
    """Of a memory disk that keeps metadata apart, and therefore lends no pages: I/O is copied."""
    disk = polluxd.client.bdev_malloc_create(8 * MIB // BLOCK, BLOCK, name="Apart", md_size=8)
    target = export(polluxd.client, disk)
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        assert peer.ready() == GOOD
        yield peer


@pytest.fixture
def host(polluxd):
    """Of a memory disk behind NVMe/TCP, with digests."""
    subsystem = Subsystem(polluxd.client)
    subsystem.add_memory()
    with subsystem.connect(header_digest=True, data_digest=True) as controller:
        yield controller


def read_status(peer, lba=0, blocks=8):
    return peer.run(struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0), blocks * BLOCK)[0]


# Who executes what.


def test_modules_say_what_they_can(shared_polluxd):
    modules = {one["module"]: one["supported ops"] for one in shared_polluxd.client.accel_get_module_info()}
    assert set(modules["software"]) == set(modules["error"]) == OPCODES


def test_every_opcode_has_a_module(shared_polluxd):
    assert shared_polluxd.client.accel_get_opc_assignments() == dict.fromkeys(OPCODES, "software")


@pytest.mark.parametrize(
    "opcode, module, field",
    [
        ("compress", "software", "opname"),
        ("encrypt", "software", "opname"),
        ("", "software", "opname"),
        ("Copy", "software", "opname"),
        ("copy", "dsa", "module"),
        ("copy", "", "module"),
    ],
)
@pytest.mark.parametrize("state", ["shared_polluxd", "waiting_polluxd"])
def test_what_there_is_not_is_not_assigned(request, state, opcode, module, field):
    client = request.getfixturevalue(state).client
    with pytest.raises(pollux.InvalidParams) as refused:
        client.accel_assign_opc(opcode, module)
    assert refused.value.field == field


def test_an_assignment_is_saved(polluxd):
    client = polluxd.client
    assert client.accel_assign_opc("copy", "error") is True
    assert client.accel_assign_opc("fill", "error") is True
    assert client.accel_assign_opc("fill", "software") is True
    expected = dict.fromkeys(OPCODES, "software") | {"copy": "error"}
    assert client.accel_get_opc_assignments() == expected
    polluxd.restart()
    assert polluxd.client.accel_get_opc_assignments() == expected
    polluxd.kill()
    polluxd.start()
    assert polluxd.client.accel_get_opc_assignments() == expected
    assert calls(polluxd.client, "accel_assign_opc") == [
        {"opname": "copy", "module": "error"},
        {"opname": "fill", "module": "software"},
    ]


def test_what_is_asked_for_before_initialisation_is_so_after_it(start_polluxd):
    client = start_polluxd("--wait-for-rpc").client
    client.accel_assign_opc("crc32c", "error")
    client.accel_set_options(task_count=64)
    client.framework_start_init()
    assert client.accel_get_opc_assignments()["crc32c"] == "error"
    assert calls(client, "accel_set_options")[0]["task_count"] == 64
    assert client.pollux_get_status()["health"]["state"] == "ok"


def test_the_accel_layer_stands_before_the_disks(shared_polluxd):
    subsystems = {
        one["subsystem"]: one["depends_on"] for one in shared_polluxd.client.framework_get_subsystems()
    }
    assert list(subsystems).index("accel") < list(subsystems).index("bdev")
    assert "accel" in subsystems["bdev"]


# Options.


def test_options_are_kept(polluxd):
    client = polluxd.client
    assert client.accel_set_options() is True
    assert calls(client, "accel_set_options") == [SIZES]
    assert client.accel_set_options(buf_count=1, small_cache_size=0) is True
    before = saved(client)
    assert calls(client, "accel_set_options") == [SIZES | {"buf_count": 1, "small_cache_size": 0}]
    polluxd.restart()
    assert saved(polluxd.client) == before


@pytest.mark.parametrize("field", [size for size in SIZES if size != "offload_min_bytes"])
@pytest.mark.parametrize("value", [0, 2**20 + 1, 2**32 - 1])
def test_a_size_out_of_range_is_refused(shared_polluxd, field, value):
    if value == 0 and field.endswith("cache_size"):
        pytest.skip("a cache may be empty")
    with pytest.raises(pollux.RpcError) as refused:
        shared_polluxd.client.accel_set_options(**{field: value})
    assert (refused.value.code, refused.value.field) == (-22, field)
    assert calls(shared_polluxd.client, "accel_set_options") == []


def test_there_is_no_platform_driver(waiting_polluxd):
    client = waiting_polluxd.client
    assert client.accel_set_driver() is True
    assert client.accel_set_driver("") is True
    with pytest.raises(pollux.RpcError) as refused:
        client.accel_set_driver("mlx5")
    assert (refused.value.code, refused.value.field) == (-19, "name")


# What is counted.


def test_statistics_have_what_clients_of_spdk_read(shared_polluxd):
    statistics = shared_polluxd.client.accel_get_stats()
    assert set(statistics) == {
        *("sequence_executed", "sequence_failed", "sequence_outstanding", "task_outstanding"),
        *("operations", "retry_task", "retry_sequence", "retry_iobuf", "retry_bufdesc", "given_back"),
    }
    for one in statistics["operations"]:
        assert set(one) == {"opcode", "module_name", "executed", "failed", "num_bytes"}


def test_reads_and_writes_of_a_disk_that_lends_no_pages_are_copies(polluxd, initiator):
    copies = grown(polluxd.client, "copy")
    data = bytes(range(256)) * 256
    initiator.write(5, data)
    executed, failed, size = copies()
    assert executed >= 1 and (failed, size) == (0, len(data))
    assert initiator.read(5, len(data) // BLOCK) == data
    assert copies()[2] == 2 * len(data)
    statistics = polluxd.client.accel_get_stats()
    assert (statistics["sequence_outstanding"], statistics["task_outstanding"]) == (0, 0)


def test_a_disk_that_lends_its_pages_copies_nothing(polluxd):
    target = export(polluxd.client, memory_disk(polluxd.client))
    copies = grown(polluxd.client, "copy")
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0 and peer.ready() == GOOD
        peer.write(0, bytes(range(256)) * 64)
        assert peer.read(0, 32) == bytes(range(256)) * 64
    assert copies() == (0, 0, 0)


def test_a_few_zeroes_are_filled_in(polluxd, host):
    host.write(1, 0, b"\xa5" * 16 * BLOCK).check()
    fills = grown(polluxd.client, "fill")
    host.write_zeroes(1, 3, 5).check()
    assert fills() == (1, 0, 5 * BLOCK)
    assert host.read(1, 0, 16) == b"\xa5" * 3 * BLOCK + bytes(5 * BLOCK) + b"\xa5" * 8 * BLOCK


def test_comparisons_are_counted_by_what_they_found(polluxd, host):
    data = bytes(range(256)) * 16
    host.write(1, 0, data).check()
    comparisons = grown(polluxd.client, "compare")
    assert host.compare(1, 0, data).ok
    assert host.compare(1, 0, data[:-1] + b"\0").status == nvme.COMPARE_FAILURE
    assert comparisons() == (1, 1, len(data))


def test_a_copy_on_the_target_is_a_copy(polluxd, host):
    data = bytes(range(256)) * 128
    host.write(1, 0, data).check()
    copies = grown(polluxd.client, "copy")
    host.copy(1, 1000, (0, 40), (40, 24)).check()
    assert host.read(1, 1000, 64) == data
    assert copies()[2] >= len(data) and copies()[1] == 0


# What goes wrong when it is asked to.


def test_a_failure_is_a_failed_command_of_the_host(polluxd, initiator):
    client = polluxd.client
    initiator.write(0, b"\x11" * 8 * BLOCK)
    client.accel_error_inject_error("copy", "failure", count=2)
    assert read_status(initiator) == GOOD  # The opcode is not assigned to "error".
    client.accel_assign_opc("copy", "error")
    errors = grown(client, "copy", "error")
    assert [read_status(initiator) for _ in range(4)] == [CHECK_CONDITION] * 2 + [GOOD] * 2
    assert errors() == (2, 2, 2 * 8 * BLOCK)
    assert initiator.read(0, 8) == b"\x11" * 8 * BLOCK


def test_one_of_so_many_fails_until_it_is_disabled(polluxd, initiator):
    client = polluxd.client
    client.accel_assign_opc("copy", "error")
    client.accel_error_inject_error("copy", "failure", interval=3)
    pattern = [GOOD, GOOD, CHECK_CONDITION]
    assert [read_status(initiator) for _ in range(9)] == pattern * 3
    client.accel_error_inject_error("copy", "disable")
    assert [read_status(initiator) for _ in range(6)] == [GOOD] * 6


def test_a_wrong_result_is_wrong_data(polluxd, initiator):
    client = polluxd.client
    data = b"\x22" * 8 * BLOCK
    initiator.write(0, data)
    client.accel_assign_opc("copy", "error")
    client.accel_error_inject_error("copy", "corrupt", count=1, errcode=-5)
    assert initiator.read(0, 8) != data
    assert initiator.read(0, 8) == data


def test_a_wrong_comparison_finds_a_difference_that_is_not_there(polluxd, host):
    client = polluxd.client
    data = bytes(range(256)) * 16
    host.write(1, 0, data).check()
    client.accel_assign_opc("compare", "error")
    client.accel_error_inject_error("compare", "corrupt", count=1)
    assert host.compare(1, 0, data).status == nvme.COMPARE_FAILURE
    assert host.compare(1, 0, data).ok


def test_a_restart_keeps_the_assignment_and_forgets_the_error(polluxd):
    polluxd.client.accel_assign_opc("copy", "error")
    polluxd.client.accel_error_inject_error("copy", "failure")
    disk = polluxd.client.bdev_malloc_create(MIB // BLOCK, BLOCK, name="Apart", md_size=8)
    target = export(polluxd.client, disk)
    polluxd.restart()
    assert polluxd.client.accel_get_opc_assignments()["copy"] == "error"
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0 and peer.ready() == GOOD
        assert read_status(peer) == GOOD


@pytest.mark.parametrize(
    "params",
    [
        {"opcode": "compress", "type": "failure"},
        {"opcode": "copy", "type": "sometimes"},
        {"opcode": "copy", "type": "failure", "count": -1},
        {"opcode": "copy", "type": "failure", "errcode": 2**31},
    ],
)
def test_an_error_that_cannot_be_injected_is_refused(shared_polluxd, params):
    with pytest.raises(pollux.RpcError) as refused:
        shared_polluxd.client.call("accel_error_inject_error", params)
    assert refused.value.code == -22


def test_assignments_change_under_load_and_cost_no_io(polluxd, initiator):
    client = polluxd.client
    for turn in range(60):
        client.accel_assign_opc("copy", ("error", "software")[turn % 2])
        data = bytes([turn]) * 128 * BLOCK
        lba = turn * 128
        # On its way while the assignment changes.
        cdb = struct.pack(">BBIBHB", 0x2A, 0, lba, 0, 128, 0)
        immediate = data[: min(initiator.key("FirstBurstLength", 65536), initiator.target_max())]
        pdu = initiator.command_pdu(cdb, len(data), 0x20, immediate)
        initiator.send(pdu)
        client.accel_assign_opc("copy", ("software", "error")[turn % 2])
        assert initiator.finish(pdu.tag, 0, data)[0] == GOOD
    for turn in range(60):
        assert initiator.read(turn * 128, 128) == bytes([turn]) * 128 * BLOCK
    assert counted(client, "copy", "error")[0] > 0
    assert counted(client, "copy", "error")[1] == 0
