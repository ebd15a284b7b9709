"""What is watched of block devices: histograms, queue depths, the last I/Os, what takes too long."""

import base64
import struct

import pytest

import pollux
from exports import MIB, export, file_disk, listen, memory_disk, saved, wait_until
from histograms import decode
from iscsi_peer import GOOD, READ, Peer

S = 10**9


def range_of(value, granularity):
    return max(value.bit_length() - granularity, 0)


def iostat(client, name="Disk"):
    return client.bdev_get_iostat(names=[name])["bdevs"][0]


@pytest.fixture
def client(polluxd):
    return polluxd.client


@pytest.fixture
def peer(client, tmp_path):
    """An initiator of a file disk."""
    target = export(client, file_disk(client, tmp_path / "disk", name="Disk"))
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        yield peer


# Histograms.


def test_a_histogram_has_each_io_where_spdk_puts_it(client, peer):
    assert client.bdev_enable_histogram("Disk", True) is True
    client.bdev_reset_iostat()
    for i in range(20):
        peer.read(i * 8, 8)
    for i in range(10):
        peer.write(i * 8, bytes(4096))
    answer = client.bdev_get_histogram("Disk")
    assert (answer["granularity"], answer["tsc_rate"]) == (7, S)
    assert answer["min_range"] == range_of(1000, 7) and answer["max_range"] == range_of(120 * S - 1, 7)
    buckets = decode(answer)
    stat = iostat(client)
    assert sum(count for _, count in buckets) == stat["num_read_ops"] + stat["num_write_ops"] == 30
    # Each value is at least its bucket's first, and less than 1/128 more.
    total = stat["read_latency_ticks"] + stat["write_latency_ticks"]
    low = sum(first * count for first, count in buckets)
    assert low <= total <= low * (1 + 1 / 128) + 30
    longest = max(stat["max_read_latency_ticks"], stat["max_write_latency_ticks"])
    first, _ = buckets[-1]
    assert first <= longest <= first * (1 + 1 / 128) + 1


def test_a_histogram_is_of_one_kind(client, peer):
    client.bdev_enable_histogram("Disk", True, opc="write")
    peer.read(0, 8)
    peer.write(0, bytes(4096))
    assert sum(count for _, count in decode(client.bdev_get_histogram("Disk"))) == 1


def test_a_histogram_has_the_size_that_was_asked_for(client, peer):
    client.bdev_enable_histogram("Disk", True, granularity=3, min_nsec=0, max_nsec=2**64 - 1)
    peer.read(0, 8)
    answer = client.bdev_get_histogram("Disk")
    assert (answer["granularity"], answer["min_range"], answer["max_range"]) == (3, 0, 61)
    ((first, count),) = decode(answer)
    assert count == 1
    longest = iostat(client)["max_read_latency_ticks"]
    assert first <= longest < first * 9 / 8 + 1
    # All of it lies below, or above, what is shown.
    client.bdev_enable_histogram("Disk", True, min_nsec=10**12, max_nsec=10**13)
    peer.read(0, 8)
    answer = client.bdev_get_histogram("Disk")
    assert [count for _, count in decode(answer)] == [1]
    assert base64.b64decode(answer["histogram"])[:8] == struct.pack("<Q", 1)
    client.bdev_enable_histogram("Disk", True, min_nsec=0, max_nsec=2)
    peer.read(0, 8)
    assert base64.b64decode(client.bdev_get_histogram("Disk")["histogram"])[-8:] == struct.pack("<Q", 1)


def test_borders_count_what_lies_below_them(client, peer):
    client.bdev_enable_histogram("Disk", True)
    for i in range(20):
        peer.read(i * 8, 8)
    buckets = decode(client.bdev_get_histogram("Disk"))
    borders = [0, *(first for first, _ in buckets), 10**15]
    expected = [sum(count for first, count in buckets if first <= border) for border in borders]
    answer = client.bdev_get_histogram_borders("Disk", borders)
    assert answer == {"borders_count": [*expected, 20]}
    assert client.bdev_get_histogram_borders("Disk", []) == {"borders_count": [20]}


def test_lent_memory_counts(client):
    target = export(client, memory_disk(client, name="Disk"))
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        client.bdev_enable_histogram("Disk", True)
        client.bdev_reset_iostat()
        for i in range(5):
            peer.read(i * 8, 8)
        # A loan ends when its data was sent, and that may be after it has come.
        assert wait_until(lambda: iostat(client)["num_read_ops"] >= 5)
        assert wait_until(lambda: sum(n for _, n in decode(client.bdev_get_histogram("Disk"))) >= 5)
        counted = sum(n for _, n in decode(client.bdev_get_histogram("Disk")))
        assert counted == iostat(client)["num_read_ops"]


@pytest.mark.parametrize(
    "params, code",
    [
        ({"granularity": 0}, -22),
        ({"granularity": 11}, -22),
        ({"granularity": 300}, -22),
        ({"granularity": -1}, -32603),
        ({"min_nsec": 10, "max_nsec": 10}, -22),
        ({"opc": "zcopy"}, -32603),
        ({"opc": 7}, -32603),
        ({"name": "Nobody"}, -19),
        ({"enable": "yes"}, -32603),
    ],
)
def test_a_histogram_that_cannot_be_is_refused(client, params, code):
    client.bdev_null_create("Disk", 2048, 512)
    with pytest.raises(pollux.RpcError) as caught:
        client.call("bdev_enable_histogram", {"name": "Disk", "enable": True} | params)
    assert caught.value.code == code
    with pytest.raises(pollux.RpcError) as caught:
        client.bdev_get_histogram("Disk")
    assert caught.value.code == -14  # As SPDK answers where none is enabled.


def test_a_histogram_that_is_not_enabled_is_not_shown(client):
    client.bdev_null_create("Disk", 2048, 512)
    client.bdev_enable_histogram("Disk", True)
    client.bdev_enable_histogram("Disk", False)
    client.bdev_enable_histogram("Disk", False)
    for method, params in (("bdev_get_histogram", {}), ("bdev_get_histogram_borders", {"borders": [1]})):
        for name, code in (("Disk", -14), ("Nobody", -19)):
            with pytest.raises(pollux.RpcError) as caught:
                client.call(method, {"name": name} | params)
            assert caught.value.code == code
    client.bdev_enable_histogram("Disk", True)
    with pytest.raises(pollux.InvalidArgument):
        client.bdev_get_histogram_borders("Disk", list(range(257)))


def test_a_device_goes_with_its_histogram(client, peer):
    for _ in range(5):
        client.bdev_enable_histogram("Disk", True)
        client.bdev_set_timeout("Disk", 1)
        client.bdev_set_qd_sampling_period("Disk", 100)
        client.bdev_enable_histogram("Disk", True, granularity=2)
    client.bdev_aio_delete("Disk")
    client.bdev_null_create("Disk", 2048, 512)
    with pytest.raises(pollux.RpcError) as caught:
        client.bdev_get_histogram("Disk")
    assert caught.value.code == -14, "another device of that name begins without"
    assert "queue_depth" not in iostat(client)


# Queue depths.


def test_queue_depths_are_looked_at(client):
    # I/O that lasts for several periods.
    client.bdev_null_create("Base", 2048, 512)
    target = export(client, client.bdev_delay_create("Disk", "Base", *[5000] * 4))
    assert not any("queue_depth" in key for key in iostat(client))
    assert client.bdev_set_qd_sampling_period("Disk", 1000) is True
    stat = iostat(client)
    assert (stat["queue_depth_polling_period"], stat["queue_depth"]) == (1000, 0)
    assert stat["io_time"] == 0 == stat["weighted_io_time"]
    share = client.bdev_get_iostat(names=["Disk"], per_channel=True)["channels"][0]
    assert "queue_depth" not in share
    # While there is I/O there is time, at last.
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        for _ in range(2000):
            peer.read(0, 64)
            stat = iostat(client)
            if stat["io_time"] > 0:
                break
    assert stat["weighted_io_time"] >= stat["io_time"] > 0
    client.bdev_set_qd_sampling_period("Disk", 0)
    assert "io_time" not in iostat(client)
    with pytest.raises(pollux.NoDevice):
        client.bdev_set_qd_sampling_period("Nobody", 10)
    with pytest.raises(pollux.InvalidArgument):
        client.bdev_set_qd_sampling_period("Disk", 2**64 - 1)


# The last I/Os.


def test_the_last_ios_are_told(client, peer):
    assert client.bdev_get_io_trace() | {"ticks": 0} == {"tick_rate": S, "ticks": 0, "entries": 0, "ios": []}
    assert client.bdev_set_io_trace(50) is True
    peer.write(16, bytes(4096))
    peer.read(24, 8)
    answer = client.bdev_get_io_trace(name="Disk")
    assert answer["entries"] == 64
    write, read = answer["ios"]
    assert {"name": "Disk", "type": "write", "lba": 16, "num_blocks": 8, "status": "success",
            "source": "iscsi", "lent": False, "number": 0}.items() <= write.items()  # fmt: skip
    assert (read["type"], read["lba"], read["number"]) == ("read", 24, 1)
    assert 0 < read["latency_ticks"] <= read["ticks"] - write["ticks"]
    assert read["ticks"] <= answer["ticks"]
    assert read["thread_id"] in {one["id"] for one in client.thread_get_stats()["threads"]}

    for lba in range(100):
        peer.read(lba, 1)
    assert [one["lba"] for one in client.bdev_get_io_trace(count=64)["ios"]] == list(range(36, 100))
    assert [one["lba"] for one in client.bdev_get_io_trace(count=2)["ios"]] == [98, 99]
    client.bdev_aio_delete("Disk")
    assert {one["name"] for one in client.bdev_get_io_trace(count=64)["ios"]} == {"Disk"}
    client.bdev_set_io_trace(0)
    assert client.bdev_get_io_trace()["ios"] == []


def test_loans_are_told_too(client):
    target = export(client, memory_disk(client, name="Disk"))
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        client.bdev_set_io_trace(16)
        peer.read(24, 8)
        (read,) = wait_until(lambda: client.bdev_get_io_trace()["ios"])
        assert (read["lent"], read["source"], read["lba"]) == (True, "iscsi", 24)


def test_a_trace_that_cannot_be_is_refused(client):
    for entries in (65537, 2**32 - 1):
        with pytest.raises(pollux.InvalidArgument):
            client.bdev_set_io_trace(entries)
    with pytest.raises(pollux.RpcError):
        client.call("bdev_set_io_trace", {})
    with pytest.raises(pollux.InvalidArgument):
        client.bdev_get_io_trace(count=10001)
    with pytest.raises(pollux.NoDevice):
        client.bdev_get_io_trace(name="Nobody")
    client.bdev_set_io_trace(65536)
    assert client.bdev_get_io_trace()["entries"] == 65536


# Timeouts.


def test_a_timeout_is_set_and_quiet_while_all_is_well(client, peer):
    assert client.bdev_set_timeout("Disk", 1, action="reset") is True
    for i in range(50):
        peer.read(i, 1)
    assert "num_timed_out" not in iostat(client)
    assert "bdev_timeout" in client.notify_get_types()
    assert not [e for e in client.notify_get_notifications() if e["type"] == "bdev_timeout"]


def test_an_io_that_takes_too_long_is_told_and_aborted(client, peer):
    client.bdev_set_qos_limit("Disk", rw_ios_per_sec=1)
    client.bdev_set_timeout("Disk", 1, action="abort")
    reads = [peer.command_pdu(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 512, READ) for _ in range(5)]
    for read in reads:
        peer.send(read)
    # One a second may go; the last would have to wait for four.
    statuses = [peer.finish(read.tag, 512)[0] for read in reads]
    assert statuses[0] == GOOD and statuses[-1] != GOOD
    late = iostat(client)["num_timed_out"]
    assert late >= 3
    events = [one for one in client.notify_get_notifications() if one["type"] == "bdev_timeout"]
    assert 1 <= len(events) <= late and {one["ctx"] for one in events} == {"Disk"}
    client.bdev_reset_iostat()
    assert "num_timed_out" not in iostat(client)


@pytest.mark.parametrize(
    "params", [{"timeout_sec": 1000001}, {"timeout_sec": -1}, {"action": "panic"}, {"name": "Nobody"}]
)
def test_a_timeout_that_cannot_be_is_refused(client, params):
    client.bdev_null_create("Disk", 2048, 512)
    with pytest.raises(pollux.RpcError):
        client.call("bdev_set_timeout", {"name": "Disk", "timeout_sec": 1} | params)


# What is saved.


def test_what_is_watched_is_watched_after_a_restart(polluxd):
    client = polluxd.client
    for name in ("Disk", "Other"):
        client.bdev_null_create(name, 2048, 512)
        client.bdev_enable_histogram(name, True, opc="read", granularity=5, min_nsec=7, max_nsec=7000)
        client.bdev_set_qd_sampling_period(name, 12345)
        client.bdev_set_timeout(name, 9, action="abort")
    client.bdev_enable_histogram("Other", False)
    client.bdev_set_qd_sampling_period("Other", 0)
    client.bdev_set_timeout("Other", 0)
    client.bdev_set_io_trace(64)
    before = saved(client)
    methods = [one["method"] for one in client.framework_get_config("bdev")]
    for method in ("bdev_enable_histogram", "bdev_set_qd_sampling_period", "bdev_set_timeout"):
        assert methods.count(method) == 1
        assert methods.index(method) > methods.index("bdev_null_create")
    polluxd.restart()
    client = polluxd.client
    assert saved(client) == before
    answer = client.bdev_get_histogram("Disk")
    assert (answer["granularity"], answer["min_range"], answer["max_range"]) == (5, 0, range_of(6999, 5))
    assert iostat(client)["queue_depth_polling_period"] == 12345
    assert client.bdev_get_io_trace()["entries"] == 0, "the trace is not saved"
    client.bdev_null_delete("Disk")
    client.bdev_null_delete("Other")
    left = [one["method"] for one in client.framework_get_config("bdev")]
    assert left == ["bdev_wait_for_examine"]
