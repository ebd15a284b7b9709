"""Linux's own initiator uses our disks: the kernel's iscsi_tcp with open-iscsi, in an emulated machine."""

import pytest

import initiator
from pollux.pytest_plugin import free_port

PORT_GROUP, INITIATOR_GROUP = 1, 1
BLOCK_BYTES = 512
DISK_MIB = 64
DATA_MIB = 8


@pytest.fixture
def export(polluxd):
    """Exports a disk under a target of its own; returns the port and the target's name."""

    def one(disk):
        client, port, target = polluxd.client, free_port(), f"iqn.2024-01.io.pollux:{disk.lower()}"
        client.iscsi_create_portal_group(PORT_GROUP, [{"host": "127.0.0.1", "port": str(port)}])
        client.iscsi_create_initiator_group(INITIATOR_GROUP, ["ANY"], ["127.0.0.1/32"])
        client.iscsi_create_target_node(
            target,
            disk,
            [{"bdev_name": disk, "lun_id": 0}],
            [{"pg_tag": PORT_GROUP, "ig_tag": INITIATOR_GROUP}],
            64,
            disable_chap=True,
        )
        return port, target

    return one


@pytest.fixture
def memory_disk(polluxd):
    return polluxd.client.bdev_malloc_create(DISK_MIB * 2**20 // BLOCK_BYTES, BLOCK_BYTES, name="Memory")


@pytest.fixture
def file_disk(polluxd, tmp_path):
    path = tmp_path / "disk.img"
    with open(path, "wb") as file:
        file.truncate(DISK_MIB * 2**20)
    return polluxd.client.bdev_aio_create(str(path), "File", BLOCK_BYTES)


def test_a_file_system_on_a_memory_disk_holds_what_fio_wrote(guest, export, memory_disk):
    port, target = export(memory_disk)
    linux = initiator.Initiator(guest, port, target)

    assert linux.discover() == [target]
    disk = linux.login()
    initiator.make_file_system(guest, disk)
    initiator.write(guest, DATA_MIB)
    initiator.verify(guest, DATA_MIB)
    initiator.unmount_and_check(guest, disk)
    linux.logout()
    assert target not in linux.sessions()

    disk = linux.login()
    guest.run(f"mount {disk} /mnt")
    initiator.verify(guest, DATA_MIB)
    initiator.unmount_and_check(guest, disk)
    linux.logout()


def test_a_file_system_over_a_session_with_digests_holds_what_fio_wrote(guest, export, memory_disk):
    port, target = export(memory_disk)
    linux = initiator.Initiator(guest, port, target)
    linux.discover()
    disk = linux.login(digests=True)
    assert linux.digests() == ["1", "1"]
    initiator.make_file_system(guest, disk)
    initiator.write(guest, DATA_MIB)
    initiator.verify(guest, DATA_MIB)
    initiator.unmount_and_check(guest, disk)
    linux.logout()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_initiator_recovers_when_the_daemon_is_restarted_under_writes(
    polluxd, guest, export, file_disk, end
):
    port, target = export(file_disk)
    linux = initiator.Initiator(guest, port, target)
    linux.discover()
    disk = linux.login()
    initiator.make_file_system(guest, disk)
    initiator.write(guest, DATA_MIB)

    stream = initiator.Stream(guest, disk, DATA_MIB, writes_per_second=100)
    stream.await_writes(50)
    getattr(polluxd, end)()
    polluxd.start()
    assert stream.running(), "the restart was to happen in the middle of it"
    stream.finish()

    # The process is a new one: whoever is logged in has come by itself. After an orderly stop that is
    # because the target asked it to log out, after a kill because the connection broke.
    connections = polluxd.client.iscsi_get_connections()
    assert [c["login_phase"] for c in connections] == ["full_feature_phase"]
    assert target in linux.sessions()
    initiator.verify(guest, DATA_MIB)
    initiator.unmount_and_check(guest, disk)
    linux.logout()
