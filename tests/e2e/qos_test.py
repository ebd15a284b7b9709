"""Limits of a device's I/O: what bdev_set_qos_limit says holds, is shown, and stays."""

import itertools
import time

import pytest

import pollux
from exports import MIB, export, file_disk, memory_disk, saved, wait_until
from iscsi_peer import Peer

STAYS = 2**64 - 1
NONE = {"rw_ios_per_sec": 0, "rw_mbytes_per_sec": 0, "r_mbytes_per_sec": 0, "w_mbytes_per_sec": 0}


def limits(client, name):
    return client.bdev_get_bdevs(name)[0]["assigned_rate_limits"]


def limit(client, name, **values):
    assert client.call("bdev_set_qos_limit", {"name": name, **values}) is True


@pytest.fixture
def client(polluxd):
    return polluxd.client


def test_limits_are_shown_and_each_can_be_changed_alone(client):
    memory_disk(client, name="Disk")
    assert limits(client, "Disk") == NONE
    limit(client, "Disk", rw_ios_per_sec=1234)
    assert limits(client, "Disk") == NONE | {"rw_ios_per_sec": 1234}, "exactly, not rounded"
    limit(client, "Disk", r_mbytes_per_sec=7, w_mbytes_per_sec=8, rw_ios_per_sec=STAYS)
    assert limits(client, "Disk") == {
        "rw_ios_per_sec": 1234, "rw_mbytes_per_sec": 0, "r_mbytes_per_sec": 7, "w_mbytes_per_sec": 8,
    }  # fmt: skip
    limit(client, "Disk", rw_ios_per_sec=0, r_mbytes_per_sec=0, w_mbytes_per_sec=0)
    assert limits(client, "Disk") == NONE
    assert "bdev_set_qos_limit" not in str(saved(client))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "rw_ios_per_sec"),
        ({"rw_ios_per_sec": STAYS, "w_mbytes_per_sec": STAYS}, "rw_ios_per_sec"),
        ({"rw_mbytes_per_sec": 2**44}, "rw_mbytes_per_sec"),
        ({"r_mbytes_per_sec": 2**64 - 2}, "r_mbytes_per_sec"),
    ],
)
def test_what_limits_nothing_is_refused(client, values, field):
    memory_disk(client, name="Disk")
    with pytest.raises(pollux.RpcError) as caught:
        limit(client, "Disk", **values)
    assert (caught.value.code, caught.value.field) == (-22, field)
    assert limits(client, "Disk") == NONE


def test_a_device_that_is_not_there_is_told(client):
    with pytest.raises(pollux.NoDevice):
        limit(client, "Nobody", rw_ios_per_sec=1000)
    with pytest.raises(pollux.RpcError) as caught:
        limit(client, "Nobody", rw_ios_per_sec=-1)
    assert caught.value.code == -32603


def test_the_limit_is_the_devices_whatever_name_was_used(client):
    memory_disk(client, name="Disk")
    limit(client, client.bdev_get_bdevs("Disk")[0]["uuid"], rw_ios_per_sec=500)
    assert limits(client, "Disk")["rw_ios_per_sec"] == 500


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_limits_outlive_the_process(polluxd, tmp_path, how):
    file_disk(polluxd.client, tmp_path / "disk", name="File")
    limit(polluxd.client, "File", rw_ios_per_sec=1500, w_mbytes_per_sec=3)
    config = saved(polluxd.client)
    getattr(polluxd, how)()
    polluxd.start()
    assert saved(polluxd.client) == config
    assert limits(polluxd.client, "File") == NONE | {"rw_ios_per_sec": 1500, "w_mbytes_per_sec": 3}


def test_a_device_that_comes_back_has_its_limits(polluxd, tmp_path):
    path = tmp_path / "disk"
    file_disk(polluxd.client, path, name="File")
    limit(polluxd.client, "File", rw_ios_per_sec=1500)
    config = saved(polluxd.client)
    polluxd.kill()
    path.rename(tmp_path / "away")
    polluxd.start()
    assert polluxd.client.bdev_get_bdevs() == []
    assert saved(polluxd.client) == config
    (tmp_path / "away").rename(path)
    assert wait_until(lambda: polluxd.client.bdev_get_bdevs() != [], seconds=30)
    assert wait_until(lambda: limits(polluxd.client, "File")["rw_ios_per_sec"] == 1500)
    assert wait_until(lambda: polluxd.client.pollux_get_status()["pending"] == [], seconds=30)
    assert saved(polluxd.client) == config


def test_a_device_that_comes_back_while_polluxd_runs_has_its_limits(client):
    memory_disk(client, name="Base")
    client.bdev_passthru_create(name="Top", base_bdev_name="Base")
    limit(client, "Top", rw_ios_per_sec=1500)
    client.bdev_malloc_delete("Base")
    assert client.bdev_get_bdevs() == []
    memory_disk(client, name="Base")
    assert wait_until(lambda: len(client.bdev_get_bdevs()) == 2)
    assert wait_until(lambda: limits(client, "Top")["rw_ios_per_sec"] == 1500)
    assert limits(client, "Base") == NONE


def test_limits_go_with_a_deleted_device(polluxd, tmp_path):
    client = polluxd.client
    memory_disk(client, name="Disk")
    limit(client, "Disk", rw_ios_per_sec=10)
    client.bdev_malloc_delete("Disk")
    memory_disk(client, name="Disk")
    assert limits(client, "Disk") == NONE
    client.bdev_malloc_delete("Disk")

    # Also with one that was deleted while it was pending.
    path = tmp_path / "disk"
    file_disk(client, path, name="File")
    limit(client, "File", rw_ios_per_sec=10)
    polluxd.kill()
    path.unlink()
    polluxd.start()
    polluxd.client.bdev_aio_delete("File")
    assert polluxd.client.pollux_get_status()["pending"] == []
    assert "bdev_set_qos_limit" not in str(saved(polluxd.client))


def test_an_initiator_gets_no_more_than_the_limit(client):
    """Time is only bounded from below: a slow machine does not fail here."""
    memory_disk(client, 16 * MIB, name="Disk")
    target = export(client, "Disk")
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        limit(client, "Disk", rw_ios_per_sec=100)
        begin = time.monotonic()
        for lba in range(60):
            assert len(peer.read(lba, 8)) == 4096
        assert time.monotonic() - begin >= 0.45, "ten milliseconds are saved up, and no more"

        limit(client, "Disk", rw_ios_per_sec=0, w_mbytes_per_sec=4)
        begin = time.monotonic()
        for index in range(32):
            peer.write(index * 128, bytes(65536))
        assert time.monotonic() - begin >= 0.45
        assert peer.read(0, 8) == bytes(4096)


def test_limits_change_while_io_runs(client):
    memory_disk(client, 16 * MIB, name="Disk")
    target = export(client, "Disk")
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        for rate, lba in zip(itertools.cycle([1, 100_000, 0, 50, 0]), range(200)):
            limit(client, "Disk", rw_ios_per_sec=rate, rw_mbytes_per_sec=rate)
            if rate != 1:
                peer.write(lba, bytes([lba % 256]) * 512)
                assert peer.read(lba, 1) == bytes([lba % 256]) * 512
