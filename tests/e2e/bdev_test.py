"""Block devices: memory, null and file disks, their properties, statistics and events."""

import os

import pytest

import pollux
from exports import BLOCK, MIB, admit, export, file_disk, listen, make_node, memory_disk
from iscsi_peer import Peer

KEYS = {
    "name", "aliases", "product_name", "block_size", "num_blocks", "preferred_write_alignment",
    "preferred_write_granularity", "optimal_write_size", "preferred_unmap_alignment",
    "preferred_unmap_granularity", "uuid", "assigned_rate_limits", "claimed", "zoned",
    "supported_io_types", "driver_specific",
}  # fmt: skip
OPTIONAL_KEYS = {"numa_id", "md_size", "md_interleave", "dif_type", "claim_type", "memory_domains"}
IO_TYPES = {
    "read", "write", "unmap", "flush", "reset", "nvme_admin", "nvme_io", "nvme_io_md", "write_zeroes",
    "zcopy", "get_zone_info", "zone_management", "zone_append", "compare", "compare_and_write", "abort",
    "seek_hole", "seek_data", "copy", "nvme_iov_md", "nvme_nssr", "write_uncorrectable",
}  # fmt: skip
RATE_LIMITS = {"rw_ios_per_sec", "rw_mbytes_per_sec", "r_mbytes_per_sec", "w_mbytes_per_sec"}
COUNTERS = {
    "bytes_read", "num_read_ops", "bytes_written", "num_write_ops", "bytes_unmapped", "num_unmap_ops",
    "bytes_copied", "num_copy_ops", "io_error",
}  # fmt: skip
for _kind in ("read", "write", "unmap", "copy"):
    COUNTERS |= {f"{prefix}{_kind}_latency_ticks" for prefix in ("", "max_", "min_")}

UUID = "b7a1e2a4-7a0e-4b3e-9c51-0c7d3a0f6f10"


@pytest.fixture
def client(polluxd):
    return polluxd.client


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(bytes(MIB))
    return path


# Each makes a disk of 1 MiB of its kind, and names its other methods' prefix and its product name.
KINDS = {
    "malloc": (lambda c, name, file: c.bdev_malloc_create(2048, 512, name=name), "Malloc disk"),
    "null": (lambda c, name, file: c.bdev_null_create(name, 2048, 512), "Null disk"),
    "aio": (lambda c, name, file: c.bdev_aio_create(str(file), name, 512), "AIO disk"),
    "uring": (lambda c, name, file: c.bdev_uring_create(str(file), name, 512), "URING bdev"),
}


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return request.param


@pytest.fixture
def make(client, file, kind):
    return lambda name="Disk": KINDS[kind][0](client, name, file)


@pytest.fixture
def delete(client, kind):
    return lambda name="Disk": client.call(f"bdev_{kind}_delete", {"name": name})


# Every kind.


def test_a_disk_is_made_shown_and_deleted(client, kind, make, delete):
    assert make() == "Disk"
    (disk,) = client.bdev_get_bdevs("Disk")
    assert KEYS <= set(disk) <= KEYS | OPTIONAL_KEYS
    assert set(disk["supported_io_types"]) == IO_TYPES
    assert set(disk["assigned_rate_limits"]) == RATE_LIMITS and not any(disk["assigned_rate_limits"].values())
    assert disk["product_name"] == KINDS[kind][1]
    assert (disk["block_size"], disk["num_blocks"]) == (512, 2048)
    assert disk["uuid"] in disk["aliases"]
    assert (disk["claimed"], disk["zoned"]) == (False, False)
    assert disk["supported_io_types"]["read"] and disk["supported_io_types"]["write"]
    assert not disk["supported_io_types"]["nvme_admin"]
    assert client.bdev_get_bdevs(disk["uuid"]) == [disk]
    assert delete() is True
    assert client.bdev_get_bdevs() == []


def test_a_name_is_taken_once(client, make, tmp_path):
    make()
    other = tmp_path / "other"
    other.write_bytes(bytes(MIB))
    for make_other, _ in KINDS.values():
        with pytest.raises(pollux.RpcError) as caught:
            make_other(client, "Disk", other)
        assert (caught.value.errno, caught.value.value) == (17, "Disk")
    assert len(client.bdev_get_bdevs()) == 1


def test_an_unknown_disk_is_no_device(delete, client):
    with pytest.raises(pollux.NoDevice) as caught:
        delete("Nobody")
    assert (caught.value.field, caught.value.value) == ("name", "Nobody")
    with pytest.raises(pollux.NoDevice):
        client.bdev_get_bdevs("Nobody")


def test_a_disk_of_another_kind_is_not_deleted(client, kind, make):
    make()
    for other in sorted(set(KINDS) - {kind}):
        with pytest.raises(pollux.NoDevice):
            client.call(f"bdev_{other}_delete", {"name": "Disk"})
    assert client.bdev_get_bdevs("Disk")


def test_a_deleted_name_is_free_again(make, delete):
    for _ in range(5):
        make()
        delete()


# Memory disks.


def test_generated_names_take_the_first_free_number(client):
    assert [memory_disk(client) for _ in range(3)] == ["Malloc0", "Malloc1", "Malloc2"]
    client.bdev_malloc_delete("Malloc1")
    assert memory_disk(client) == "Malloc1"


def test_a_given_identity_is_the_disks(client):
    memory_disk(client, name="A", uuid=UUID)
    (disk,) = client.bdev_get_bdevs(UUID)
    assert (disk["name"], disk["uuid"]) == ("A", UUID)
    with pytest.raises(pollux.Exists):
        memory_disk(client, name="B", uuid=UUID)
    assert len(client.bdev_get_bdevs()) == 1


@pytest.mark.parametrize(
    "params, field",
    [
        ({"num_blocks": 0, "block_size": 512}, "num_blocks"),
        ({"num_blocks": 8, "block_size": 0}, "block_size"),
        ({"num_blocks": 8, "block_size": 513}, "block_size"),
        ({"num_blocks": 8, "block_size": 131072}, "block_size"),
        ({"num_blocks": 8, "block_size": 512, "uuid": "no"}, "uuid"),
        ({"num_blocks": 8, "block_size": 512, "md_size": 7}, "md_size"),
        ({"num_blocks": 8, "block_size": 512, "dif_type": 4}, "dif_type"),
        ({"num_blocks": 8, "block_size": 512, "physical_block_size": 700}, "physical_block_size"),
    ],
)
def test_an_unacceptable_memory_disk_is_refused(shared_polluxd, params, field):
    with pytest.raises(pollux.InvalidArgument) as caught:
        shared_polluxd.client.call("bdev_malloc_create", params)
    assert caught.value.field == field and caught.value.reason
    assert caught.value.value == str(params[field])
    assert shared_polluxd.client.bdev_get_bdevs() == []


@pytest.mark.parametrize("blocks", [2**63, 2**64 - 1, 2**44])
def test_more_memory_than_there_is_is_refused(shared_polluxd, blocks):
    with pytest.raises((pollux.NoMemory, pollux.InvalidArgument)):
        shared_polluxd.client.bdev_malloc_create(blocks, 512)
    assert shared_polluxd.client.bdev_get_bdevs() == []


def test_metadata_is_shown(client):
    client.bdev_malloc_create(64, 512, name="Md", md_size=8, md_interleave=True)
    (disk,) = client.bdev_get_bdevs("Md")
    assert (disk["block_size"], disk["md_size"], disk["md_interleave"]) == (520, 8, True)


# Null disks.


def test_a_null_disk_is_resized(client):
    client.bdev_null_create("Null", 2048, 512)
    assert client.bdev_null_resize("Null", 3) is True
    assert client.bdev_get_bdevs("Null")[0]["num_blocks"] == 3 * 2048
    with pytest.raises(pollux.NoDevice):
        client.bdev_null_resize("Nobody", 3)
    with pytest.raises(pollux.InvalidArgument) as caught:
        client.bdev_null_resize("Null", 0)
    assert caught.value.field == "new_size"


def test_a_null_disk_of_a_size_beyond_measure_is_refused(client):
    client.bdev_null_create("Null", 2048, 512)
    for size in (2**44, 2**63, 2**64 - 1):
        with pytest.raises(pollux.InvalidArgument):
            client.bdev_null_resize("Null", size)
    assert client.bdev_get_bdevs("Null")[0]["num_blocks"] == 2048


# File disks.


@pytest.mark.parametrize("how", ["aio", "uring"])
def test_a_file_disk_follows_its_file(client, file, how):
    KINDS[how][0](client, "Disk", file)
    os.truncate(file, 2 * MIB)
    assert client.bdev_get_bdevs("Disk")[0]["num_blocks"] == 2048
    client.call(f"bdev_{how}_rescan", {"name": "Disk"})
    assert client.bdev_get_bdevs("Disk")[0]["num_blocks"] == 4096
    with pytest.raises(pollux.NoDevice):
        client.call(f"bdev_{how}_rescan", {"name": "Nobody"})


def test_what_is_no_file_is_refused(client, tmp_path):
    with pytest.raises(pollux.NotFound) as caught:
        client.bdev_aio_create(str(tmp_path / "nothing"), "A", 512)
    assert caught.value.field == "filename"
    with pytest.raises(pollux.InternalError) as caught:
        client.bdev_uring_create(str(tmp_path / "nothing"), "A", 512)
    assert (caught.value.field, caught.value.errno) == ("filename", 2)
    with pytest.raises(pollux.RpcError):
        client.bdev_aio_create(str(tmp_path), "A", 512)
    with pytest.raises(pollux.RpcError):
        client.bdev_aio_create("/dev/null", "A", 512)
    (tmp_path / "empty").touch()
    with pytest.raises(pollux.RpcError):
        client.bdev_aio_create(str(tmp_path / "empty"), "A", 512)
    assert client.bdev_get_bdevs() == []


def test_a_file_keeps_its_data_when_its_disk_is_deleted(client, file):
    file.write_bytes(os.urandom(MIB))
    before = file.read_bytes()
    client.bdev_aio_create(str(file), "Disk", 512)
    client.bdev_aio_delete("Disk")
    assert file.read_bytes() == before


def test_a_read_only_file_disk_refuses_writes(client, file):
    client.bdev_aio_create(str(file), "Disk", 512, readonly=True)
    target = export(client, "Disk")
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        assert peer.read(0, 8) == bytes(8 * 512)
        status, _, answer = peer.run(bytes([0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0]), data=b"x" * 512)
        # Data protect, §4.5.6 of SPC-4.
        assert status == 2 and answer.data[2 + 2] & 0xF == 7


# Statistics.


@pytest.fixture
def used(client, tmp_path):
    """A file disk after 3 reads of 4 KiB and 2 writes of 8 KiB."""
    target = export(client, file_disk(client, tmp_path / "used", name="Disk"))
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        client.bdev_reset_iostat()
        for i in range(3):
            peer.read(i * 8, 8)
        for i in range(2):
            peer.write(i * 16, bytes(8192))
        peer.logout()
    return client


def totals(one):
    return one["bytes_read"], one["num_read_ops"], one["bytes_written"], one["num_write_ops"]


def test_io_is_counted(used):
    answer = used.bdev_get_iostat()
    assert answer["tick_rate"] == 10**9 and answer["ticks"] > 0
    (disk,) = answer["bdevs"]
    assert set(disk) == COUNTERS | {"name"}
    assert totals(disk) == (3 * 4096, 3, 2 * 8192, 2)
    assert 0 < disk["min_read_latency_ticks"] <= disk["max_read_latency_ticks"] <= disk["read_latency_ticks"]
    assert disk["min_unmap_latency_ticks"] == 0 and disk["io_error"] == {}


def test_io_is_counted_by_channel(used):
    answer = used.bdev_get_iostat(names=["Disk"], per_channel=True)
    assert set(answer) == {"tick_rate", "ticks", "name", "channels"} and answer["name"] == "Disk"
    assert all(set(one) == COUNTERS | {"thread_id"} for one in answer["channels"])
    assert [sum(part) for part in zip(*map(totals, answer["channels"]))] == [3 * 4096, 3, 2 * 8192, 2]
    threads = {one["id"] for one in used.thread_get_stats()["threads"]}
    assert {one["thread_id"] for one in answer["channels"]} <= threads


def test_per_channel_needs_one_name(used):
    used.bdev_null_create("Null", 8, 512)
    for names in (None, ["Disk", "Null"]):
        with pytest.raises(pollux.InvalidArgument):
            used.bdev_get_iostat(names=names, per_channel=True)
    with pytest.raises(pollux.NoDevice):
        used.bdev_get_iostat(names=["Nobody"])


def test_counters_are_set_back_as_asked(used):
    used.bdev_reset_iostat(name="Disk", mode="none")
    used.bdev_reset_iostat(name="Disk", mode="error")
    assert totals(used.bdev_get_iostat()["bdevs"][0])[1] == 3
    used.bdev_reset_iostat(mode="maxmin")
    disk = used.bdev_get_iostat()["bdevs"][0]
    assert totals(disk)[1] == 3 and disk["max_read_latency_ticks"] == 0 == disk["min_read_latency_ticks"]
    # Read and set back in one.
    assert totals(used.bdev_get_iostat(reset_mode="all")["bdevs"][0])[1] == 3
    disk = used.bdev_get_iostat()["bdevs"][0]
    assert not any(value for key, value in disk.items() if key != "name")
    with pytest.raises(pollux.NoDevice):
        used.bdev_reset_iostat(name="Nobody")


# Events.


def test_events_are_numbered(client, file):
    assert {"bdev_register", "bdev_unregister", "bdev_resize"} <= set(client.notify_get_types())
    client.bdev_null_create("Null", 2048, 512)
    client.bdev_null_resize("Null", 2)
    client.bdev_null_delete("Null")
    assert client.notify_get_notifications() == [
        {"type": "bdev_register", "ctx": "Null", "id": 0},
        {"type": "bdev_resize", "ctx": "Null", "id": 1},
        {"type": "bdev_unregister", "ctx": "Null", "id": 2},
    ]
    assert [one["id"] for one in client.notify_get_notifications(id=1, max=1)] == [1]
    assert client.notify_get_notifications(id=3) == []


def test_the_last_1024_events_are_kept(client):
    for _ in range(600):
        client.call_many([("bdev_null_create", {"name": "N", "num_blocks": 8, "block_size": 512}),
                          ("bdev_null_delete", {"name": "N"})])  # fmt: skip
    events = client.notify_get_notifications()
    assert [one["id"] for one in events] == list(range(1200 - 1024, 1200))
    assert client.notify_get_notifications(id=5, max=2) == events[:2]


# Waiting.


def test_a_disk_can_be_waited_for(polluxd):
    with polluxd.connect() as other:
        line = b'{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs","params":{"name":"Late","timeout":20000}}\n'
        other.connection.send(line)
        other.spdk_get_version()
        polluxd.client.bdev_null_create("Late", 8, 512)
        answer = other.connection.receive(other.connection.deadline())
        assert [one["name"] for one in answer["result"]] == ["Late"]
        with pytest.raises(pollux.NoDevice):
            other.bdev_get_bdevs("Never", timeout=10)


def test_examine_says_what_it_says(start_polluxd):
    client = start_polluxd("--wait-for-rpc").client
    client.bdev_set_options(bdev_auto_examine=False)
    client.framework_start_init()
    client.bdev_null_create("Null", 8, 512)
    assert client.bdev_examine("Null") is True
    with pytest.raises(pollux.Exists):
        client.bdev_examine("Null")
    assert client.bdev_wait_for_examine() is True


def test_examine_is_refused_while_it_happens_by_itself(client):
    with pytest.raises(pollux.InvalidArgument):
        client.bdev_examine("Null")


# Removal.


def test_a_disk_in_use_is_deleted_and_its_lun_is_pending(client):
    target = export(client, memory_disk(client, name="Disk"))
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        peer.write(0, b"x" * BLOCK)
        client.bdev_malloc_delete("Disk")
        status, _, _ = peer.run(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 512)
        assert status != 0
        memory_disk(client, name="Disk")
        assert peer.ready() == 0
        assert peer.read(0, 1) == bytes(BLOCK)
    assert client.pollux_get_status()["health"]["state"] == "ok"


def test_two_nodes_may_share_a_disk(client, tmp_path):
    file_disk(client, tmp_path / "disk")
    listen(client)
    admit(client)
    nodes = [make_node(client, name, "File0") for name in ("one", "two")]
    portal = client.iscsi_get_portal_groups()[0]["portals"][0]
    address = f"{portal['host']}:{portal['port']}"
    with Peer(address) as one, Peer(address) as two:
        assert one.login(nodes[0]) == 0 and two.login(nodes[1]) == 0
        one.ready(), two.ready()
        one.write(7, b"y" * BLOCK)
        assert two.read(7, 1) == b"y" * BLOCK
