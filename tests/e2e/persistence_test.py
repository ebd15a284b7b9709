"""What is configured stays: across restarts, kills, missing devices, damage and full disks."""

import contextlib
import os
import socket
import sqlite3
import subprocess

import pytest

import pollux
from exports import (
    BLOCK,
    MIB,
    admit,
    export,
    file_disk,
    listen,
    make_node,
    memory_disk,
    saved,
    shown,
    wait_until,
)
from iscsi_peer import Peer
from pollux.pytest_plugin import StartFailed

UUID = "b7a1e2a4-7a0e-4b3e-9c51-0c7d3a0f6f10"


def status(polluxd):
    return polluxd.client.pollux_get_status()


def healthy(polluxd):
    return status(polluxd)["health"] == {"state": "ok", "reasons": []}


def pending(polluxd):
    return {(one["kind"], one["name"]): one for one in status(polluxd)["pending"]}


# Each kind of object: made, changed as it can be.


def make_malloc(client, _):
    memory_disk(client, MIB, name="Mem", uuid=UUID)


def make_malloc_without_a_name(client, _):
    memory_disk(client, MIB)
    memory_disk(client, MIB)
    client.bdev_malloc_delete("Malloc0")


def make_null(client, _):
    client.bdev_null_create("Null", 2048, 512, physical_block_size=4096)


def make_resized_null(client, _):
    client.bdev_null_create("Null", 2048, 512)
    client.bdev_null_resize("Null", 5)


def make_aio(client, tmp_path):
    file_disk(client, tmp_path / "aio", fallocate=True)


def make_uring(client, tmp_path):
    (tmp_path / "uring").write_bytes(bytes(MIB))
    client.bdev_uring_create(str(tmp_path / "uring"), "Uring", 4096)


def make_rescanned_aio(client, tmp_path):
    file_disk(client, tmp_path / "aio", MIB)
    os.truncate(tmp_path / "aio", 3 * MIB)
    client.bdev_aio_rescan("File0")


def make_portal_group(client, _):
    listen(client, 3, private=True)


def make_waiting_portal_group(client, _):
    listen(client, 3, wait=True)


def make_started_portal_group(client, _):
    listen(client, 3, wait=True)
    client.iscsi_start_portal_group(3)


def make_initiator_group(client, _):
    admit(client, 9, ["iqn.2026-01.test:a", "!iqn.2026-01.test:b"], ["127.0.0.0/8"])


def make_changed_initiator_group(client, _):
    admit(client, 9)
    client.iscsi_initiator_group_add_initiators(9, initiators=["iqn.2026-01.test:a"], netmasks=["10.0.0.0/8"])
    client.iscsi_initiator_group_remove_initiators(9, initiators=["ANY"])


def make_target_node(client, tmp_path):
    memory_disk(client, MIB, name="Mem", uuid=UUID)
    export(client, "Mem", file_disk(client, tmp_path / "aio"))


def make_changed_target_node(client, _):
    for name in "AB":
        client.bdev_null_create(name, 2048, 512)
    for tag in (1, 2):
        listen(client, tag)
        admit(client, tag)
    make_node(client, "disk", "A", maps=[(1, 1), (2, 1)])
    client.iscsi_target_node_add_lun("disk", "B", lun_id=5)
    client.iscsi_target_node_add_pg_ig_maps("disk", [{"pg_tag": 2, "ig_tag": 2}])
    client.iscsi_target_node_remove_pg_ig_maps("disk", [{"pg_tag": 1, "ig_tag": 1}])


def make_node_whose_group_was_deleted(client, _):
    client.bdev_null_create("A", 2048, 512)
    for tag in (1, 2):
        listen(client, tag)
        admit(client, tag)
    make_node(client, "disk", "A", maps=[(1, 1), (2, 1)])
    client.iscsi_delete_portal_group(1)
    listen(client, 1)


MAKERS = [value for name, value in sorted(globals().items()) if name.startswith("make_") and name != "make_node"]


def without_identity(objects):
    """A memory disk comes back with a new identity, unless one was given."""
    for bdev in objects["bdevs"]:
        if bdev["product_name"] == "Malloc disk" and bdev["uuid"] != UUID:
            bdev["aliases"] = bdev["uuid"] = None
    return objects


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("make", MAKERS, ids=lambda one: one.__name__[5:])
def test_an_object_is_the_same_after_a_restart(polluxd, tmp_path, make, how):
    make(polluxd.client, tmp_path)
    config, objects = saved(polluxd.client), without_identity(shown(polluxd.client))
    getattr(polluxd, how)()
    polluxd.start()
    assert saved(polluxd.client) == config
    assert without_identity(shown(polluxd.client)) == objects
    assert healthy(polluxd)


def test_what_was_deleted_stays_deleted(polluxd, tmp_path):
    make_target_node(polluxd.client, tmp_path)
    client = polluxd.client
    client.iscsi_delete_target_node("disk")
    client.iscsi_delete_portal_group(1)
    client.iscsi_delete_initiator_group(1)
    client.bdev_malloc_delete("Mem")
    client.bdev_aio_delete("File0")
    polluxd.kill()
    polluxd.start()
    assert not any(shown(polluxd.client).values())


def test_without_state_nothing_stays(start_polluxd):
    polluxd = start_polluxd("--no-state")
    polluxd.client.bdev_null_create("Null", 8, 512)
    assert "state_dir" not in status(polluxd)
    polluxd.restart()
    assert polluxd.client.bdev_get_bdevs() == []


def test_the_state_is_for_its_owner_alone(polluxd):
    polluxd.client.bdev_null_create("Null", 8, 512)
    assert polluxd.state_dir.stat().st_mode & 0o777 == 0o700
    for path in polluxd.state_dir.iterdir():
        assert path.stat().st_mode & 0o077 == 0 or path.stat().st_mode & 0o777 == 0o644
    assert status(polluxd)["state_dir"] == str(polluxd.state_dir)


# Pending.


@pytest.fixture
def exported_file(polluxd, tmp_path):
    """A file disk that is exported; its file is moved away while polluxd is down."""
    path = tmp_path / "disk"
    target = export(polluxd.client, file_disk(polluxd.client, path))
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        peer.ready()
        peer.write(5, b"kept" * 128)
    return path, target


def test_a_missing_file_makes_its_disk_pending_until_it_is_back(polluxd, exported_file):
    path, target = exported_file
    config, objects = saved(polluxd.client), shown(polluxd.client)
    polluxd.kill()
    path.rename(path.with_suffix(".away"))
    polluxd.start()
    waiting = pending(polluxd)
    disk = waiting["bdev", "File0"]
    assert disk["method"] == "bdev_aio_create" and disk["params"]["filename"] == str(path)
    assert str(path) in disk["reason"] and disk["since"].endswith("Z")
    assert "File0" in waiting["iscsi_lun", f"{target.iqn}:0"]["reason"]
    health = status(polluxd)["health"]
    assert health["state"] == "degraded" and any("File0" in one for one in health["reasons"])
    assert saved(polluxd.client) == config
    assert polluxd.client.iscsi_get_target_nodes() == objects["target nodes"]
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        assert peer.ready() != 0
        path.with_suffix(".away").rename(path)
        assert wait_until(lambda: healthy(polluxd))
        assert peer.ready() == 0
        assert peer.read(5, 1) == b"kept" * 128
    assert saved(polluxd.client) == config
    assert shown(polluxd.client) == objects


def test_a_pending_disk_lives_with_the_next_change(polluxd, exported_file):
    path, _ = exported_file
    polluxd.kill()
    path.rename(path.with_suffix(".away"))
    polluxd.start()
    path.with_suffix(".away").rename(path)
    polluxd.client.bdev_null_create("Null", 8, 512)
    assert wait_until(lambda: healthy(polluxd), seconds=1)


def test_a_pending_name_is_taken_and_a_pending_object_can_be_deleted(polluxd, exported_file):
    path, target = exported_file
    polluxd.kill()
    path.unlink()
    polluxd.start()
    with pytest.raises(pollux.Exists, match="pending"):
        polluxd.client.bdev_null_create("File0", 8, 512)
    polluxd.client.bdev_aio_delete("File0")
    assert ("bdev", "File0") not in pending(polluxd)
    polluxd.client.bdev_null_create("File0", 8, 512)
    assert wait_until(lambda: healthy(polluxd))
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        assert peer.ready() == 0
    polluxd.kill()
    polluxd.start()
    assert healthy(polluxd) and polluxd.client.bdev_get_bdevs("File0")[0]["product_name"] == "Null disk"


def test_a_taken_port_makes_the_portal_group_pending_until_it_is_free(polluxd):
    client = polluxd.client
    target = export(client, memory_disk(client, name="Mem", uuid=UUID))
    config, objects = saved(client), shown(client)
    polluxd.kill()
    with socket.create_server((target.host, target.port)):
        polluxd.start()
        reason = pending(polluxd)["iscsi_portal_group", "1"]["reason"]
        assert str(target.port) in reason or "use" in reason
        assert status(polluxd)["health"]["state"] == "degraded"
        # Nothing else waits for it, and it is saved as it was.
        assert len(pending(polluxd)) == 1
        assert saved(polluxd.client) == config
        # Still pending after a second restart.
        polluxd.kill()
        polluxd.start()
        assert ("iscsi_portal_group", "1") in pending(polluxd)
    assert wait_until(lambda: healthy(polluxd))
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        assert peer.ready() == 0
    assert saved(polluxd.client) == config
    assert shown(polluxd.client) == objects


def test_a_pending_portal_group_can_be_deleted(polluxd):
    client = polluxd.client
    target = export(client, memory_disk(client, name="Mem"))
    polluxd.kill()
    with socket.create_server((target.host, target.port)):
        polluxd.start()
        polluxd.client.iscsi_delete_portal_group(1)
        assert polluxd.client.iscsi_get_portal_groups() == [] and healthy(polluxd)
        polluxd.kill()
        polluxd.start()
        assert polluxd.client.iscsi_get_portal_groups() == [] and healthy(polluxd)
        assert polluxd.client.iscsi_get_target_nodes()[0]["pg_ig_maps"] == []


SPELLINGS = ["disk", "DISK", "iqn.2016-06.io.spdk:disk", "IQN.2016-06.io.SPDK:Disk"]


@pytest.fixture
def pending_node(polluxd):
    """A target node whose portal group is not in the configuration that the start finds."""
    export(polluxd.client, memory_disk(polluxd.client, name="Mem"))
    polluxd.kill()
    with contextlib.closing(sqlite3.connect(polluxd.state_dir / "pollux.db")) as database:
        database.execute("DELETE FROM calls WHERE kind = 'iscsi_portal_group'")
        database.commit()
    polluxd.start()
    assert set(pending(polluxd)) == {("iscsi_target_node", "iqn.2016-06.io.spdk:disk")}
    return polluxd


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_pending_node_can_be_deleted_by_any_of_its_names(pending_node, name):
    pending_node.client.iscsi_delete_target_node(name)
    assert healthy(pending_node)
    pending_node.kill()
    pending_node.start()
    assert healthy(pending_node) and pending_node.client.iscsi_get_target_nodes() == []


@pytest.mark.parametrize("name", SPELLINGS)
def test_each_name_of_a_pending_node_is_taken(pending_node, name):
    listen(pending_node.client, 2)
    with pytest.raises(pollux.InvalidParams, match="pending"):
        make_node(pending_node.client, name, "Mem", maps=((2, 1),))
    make_node(pending_node.client, "other", "Mem", maps=((2, 1),))
    assert len(pending(pending_node)) == 1


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_change_by_any_name_of_a_node_is_saved(polluxd, name):
    export(polluxd.client, memory_disk(polluxd.client, name="Mem"))
    polluxd.client.bdev_null_create("Null", 8, 512)
    polluxd.client.iscsi_target_node_add_lun(name, "Null")
    nodes = polluxd.client.iscsi_get_target_nodes()
    polluxd.restart()
    assert polluxd.client.iscsi_get_target_nodes() == nodes
    polluxd.client.iscsi_delete_target_node(name)
    polluxd.restart()
    assert polluxd.client.iscsi_get_target_nodes() == []


# Damage.


@pytest.fixture
def two_starts(polluxd):
    """Disk "Good" is in the copy of the last good start, "Later" came after it."""
    polluxd.client.bdev_null_create("Good", 8, 512)
    polluxd.restart()
    polluxd.client.bdev_null_create("Later", 8, 512)
    polluxd.kill()
    return polluxd


def names(polluxd):
    return [one["name"] for one in polluxd.client.bdev_get_bdevs()]




def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def zero_the_beginning(path):
    with path.open("r+b") as file:
        file.write(bytes(100))


def flip_bits_in_a_name(path):
    data = path.read_bytes()
    assert b"Good" in data
    path.write_bytes(data.replace(b"Good", b"Gooe"))


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [cut, empty, zero_the_beginning, flip_bits_in_a_name, remove])
def test_a_damaged_database_falls_back_on_the_last_good_start(two_starts, damage):
    polluxd = two_starts
    database = polluxd.state_dir / "pollux.db"
    for suffix in ("-wal", "-shm"):
        (polluxd.state_dir / f"pollux.db{suffix}").unlink(missing_ok=True)
    damage(database)
    polluxd.start()
    assert names(polluxd) == ["Good"]
    health = status(polluxd)["health"]
    assert health["state"] == "degraded"
    assert any("damaged" in reason and "last good start" in reason for reason in health["reasons"])
    assert "damaged" in polluxd.log()
    # From here on it is a configuration like any other.
    polluxd.client.bdev_null_create("New", 8, 512)
    polluxd.kill()
    polluxd.start()
    assert names(polluxd) == ["Good", "New"] and healthy(polluxd)


@pytest.mark.parametrize("damage", [cut, empty, zero_the_beginning])
def test_when_the_copy_is_damaged_too_the_start_is_refused(two_starts, damage):
    polluxd = two_starts
    for suffix in ("-wal", "-shm"):
        (polluxd.state_dir / f"pollux.db{suffix}").unlink(missing_ok=True)
    damage(polluxd.state_dir / "pollux.db")
    damage(polluxd.state_dir / "pollux.db.good")
    before = {path.name: path.read_bytes() for path in polluxd.state_dir.iterdir() if path.is_file()}
    with pytest.raises(StartFailed, match="(?s)exit code 1.*pollux.db"):
        polluxd.start()
    # Whatever can be saved of it is still there.
    for name in ("pollux.db", "pollux.db.good"):
        assert (polluxd.state_dir / name).read_bytes() == before[name]


def test_a_damaged_journal_loses_no_acknowledged_start(two_starts):
    polluxd = two_starts
    journal = polluxd.state_dir / "pollux.db-wal"
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 0x10
    journal.write_bytes(data)
    polluxd.start()
    assert "Good" in names(polluxd)


def set_schema_version(polluxd, version):
    for name in ("pollux.db", "pollux.db.good"):
        with contextlib.closing(sqlite3.connect(polluxd.state_dir / name)) as database:
            database.execute(f"PRAGMA user_version = {version}")
            database.commit()


def test_a_newer_schema_is_refused_and_left_alone(two_starts):
    polluxd = two_starts
    set_schema_version(polluxd, 99)
    with pytest.raises(StartFailed, match="(?s)exit code 1.*version 99"):
        polluxd.start()
    set_schema_version(polluxd, 1)
    polluxd.start()
    assert names(polluxd) == ["Good", "Later"]


# A full disk.


@pytest.fixture
def small_state(tmp_path):
    """A state directory on a file system of 1 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "pollux-test", path], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not permitted")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill(directory):
    path = directory / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return path


def test_a_full_disk_is_an_error_and_later_all_is_saved(start_polluxd, small_state):
    polluxd = start_polluxd("--state-dir", small_state)
    client = polluxd.client
    client.bdev_null_create("Before", 8, 512)
    filler = fill(small_state)
    refusals = 0
    for i in range(40):
        try:
            client.bdev_null_create(f"Full{i}", 8, 512)
        except pollux.RpcError as error:
            refusals += 1
            assert "could not be saved" in error.message, error
    assert refusals > 0
    health = status(polluxd)["health"]
    assert health["state"] == "degraded" and any("could not be saved" in one for one in health["reasons"])
    # What was refused is in effect all the same, and saved with the next change that can be.
    filler.unlink()
    client.bdev_null_create("After", 8, 512)
    assert healthy(polluxd)
    running = [one["name"] for one in client.bdev_get_bdevs()]
    assert "Full39" in running
    polluxd.kill()
    polluxd.start()
    assert names(polluxd) == running


def test_data_of_a_file_disk_survives_and_that_of_memory_does_not(polluxd, tmp_path):
    client = polluxd.client
    target = export(client, memory_disk(client, name="Mem"), file_disk(client, tmp_path / "disk"))
    data = os.urandom(64 * BLOCK)

    def session():
        peer = Peer(target.portal)
        assert peer.login(target.iqn) == 0
        peer.ready(0), peer.ready(1)
        return peer

    with session() as peer:
        for lun in (0, 1):
            peer.write(100, data, lun=lun)
            assert peer.read(100, 64, lun=lun) == data
        # SYNCHRONIZE CACHE: from here on it is durable.
        assert peer.run(bytes([0x35]) + bytes(9), lun=1)[0] == 0
    polluxd.kill()
    polluxd.start()
    polluxd.client.framework_wait_init()
    with session() as peer:
        assert peer.read(100, 64, lun=0) == bytes(len(data))
        assert peer.read(100, 64, lun=1) == data
