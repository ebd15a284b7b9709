"""Two initiators fight for a disk, as clusters do, and what they reserved survives a kill."""

import struct

from exports import export, file_disk, memory_disk
from iscsi_peer import Peer

GOOD, CONFLICT = 0x00, 0x18
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE, MOVE = range(8)
WRITE_EXCLUSIVE, REGISTRANTS_ONLY = 1, 5
APTPL = 0x01
PREEMPTED = (0x2A, 0x05)  # REGISTRATIONS PREEMPTED.


class Host(Peer):
    """An initiator whose port has the same name at each login."""

    def __init__(self, target, name):
        super().__init__(target.portal)
        self.isid = b"\x00\x02\x3d\x00\x00" + name.encode()
        assert self.login(target.iqn, name=f"iqn.2026-01.test:{name}") == 0
        assert self.ready() in (GOOD, CONFLICT)

    def reserve_out(self, action, key, service_key=0, kind=0, flags=0):
        cdb = struct.pack(">BBBHIB", 0x5F, action, kind, 0, 24, 0)
        data = struct.pack(">QQIBxH", key, service_key, 0, flags, 0)
        return self.run(cdb, data=data)[0]

    def reserve_in(self, action, length=256):
        cdb = struct.pack(">BBBIHB", 0x5E, action, 0, 0, length, 0)
        status, data, _ = self.run(cdb, length)
        assert status == GOOD
        return data

    def registered_keys(self):
        data = self.reserve_in(0)
        (length,) = struct.unpack_from(">I", data, 4)
        return [key for (key,) in struct.iter_unpack(">Q", data[8 : 8 + length])]

    def reservation(self):
        """(key, type), or nothing."""
        data = self.reserve_in(1)
        if struct.unpack_from(">I", data, 4)[0] == 0:
            return None
        return struct.unpack_from(">Q", data, 8)[0], data[21]

    def try_write(self):
        return self.run(struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 1, 0), data=bytes(512))[0]

    def attention(self):
        """(ASC, ASCQ) of the unit attention that waits, or nothing."""
        status, _, answer = self.run(bytes(6))
        return None if status == GOOD else tuple(answer.data[14:16])


def kill_and_start(polluxd):
    polluxd.kill()
    polluxd.start()
    polluxd.client.iscsi_get_portal_groups()  # Answered when the portals are open.


def test_a_node_fences_another(start_polluxd):
    """What fence_scsi does: all register, one reserves for all, the dead one's key is preempted."""
    daemon = start_polluxd("-m", "[0,1]")
    target = export(daemon.client, memory_disk(daemon.client))
    with Host(target, "a") as a, Host(target, "b") as b, Host(target, "c") as c:
        for key, host in enumerate((a, b, c), 1):
            assert host.try_write() == GOOD
            assert host.reserve_out(IGNORE, 0, key) == GOOD
        assert a.reserve_out(RESERVE, 1, kind=REGISTRANTS_ONLY) == GOOD
        assert [host.try_write() for host in (a, b, c)] == [GOOD] * 3
        assert b.reserve_out(PREEMPT_AND_ABORT, 2, 1, REGISTRANTS_ONLY) == GOOD
        assert a.attention() == PREEMPTED
        assert [host.try_write() for host in (a, b, c)] == [CONFLICT, GOOD, GOOD]
        assert b.registered_keys() == [2, 3]
        assert b.reservation() == (2, REGISTRANTS_ONLY)
        assert a.reserve_out(REGISTER, 1, 4) == CONFLICT
        assert a.reserve_out(REGISTER, 0, 4) == GOOD
        assert a.try_write() == GOOD


def test_what_was_reserved_with_aptpl_survives_a_kill(polluxd, tmp_path):
    client = polluxd.client
    target = export(client, file_disk(client, tmp_path / "disk"))
    with Host(target, "a") as a:
        assert a.reserve_out(REGISTER, 0, 0xA, flags=APTPL) == GOOD
        assert a.reserve_out(RESERVE, 0xA, kind=WRITE_EXCLUSIVE) == GOOD
    for _ in range(2):
        kill_and_start(polluxd)
        with Host(target, "b") as b, Host(target, "a") as a:
            assert b.registered_keys() == [0xA]
            assert b.reservation() == (0xA, WRITE_EXCLUSIVE)
            assert b.try_write() == CONFLICT
            assert a.try_write() == GOOD
    polluxd.restart()
    polluxd.client.iscsi_get_portal_groups()
    with Host(target, "b") as b, Host(target, "a") as a:
        assert b.try_write() == CONFLICT
        assert a.reserve_out(REGISTER, 0xA, 0xB) == GOOD  # Without APTPL.
    kill_and_start(polluxd)
    with Host(target, "b") as b:
        assert b.registered_keys() == []
        assert b.try_write() == GOOD


def test_without_aptpl_nothing_survives(polluxd, tmp_path):
    client = polluxd.client
    target = export(client, file_disk(client, tmp_path / "disk"))
    with Host(target, "a") as a:
        assert a.reserve_out(REGISTER, 0, 0xA) == GOOD
        assert a.reserve_out(RESERVE, 0xA, kind=WRITE_EXCLUSIVE) == GOOD
    kill_and_start(polluxd)
    with Host(target, "b") as b:
        assert b.registered_keys() == []
        assert b.try_write() == GOOD


def test_a_deleted_target_forgets(polluxd, tmp_path):
    client = polluxd.client
    target = export(client, file_disk(client, tmp_path / "disk"))
    with Host(target, "a") as a:
        assert a.reserve_out(REGISTER, 0, 0xA, flags=APTPL) == GOOD
    client.iscsi_delete_target_node(target.iqn)
    client.iscsi_create_target_node(
        target.iqn,
        "anew",
        [{"bdev_name": "File0", "lun_id": 0}],
        [{"pg_tag": 1, "ig_tag": 1}],
        64,
        disable_chap=True,
    )
    with Host(target, "b") as b:
        assert b.registered_keys() == []


def test_reserve_6_ends_with_the_session(polluxd):
    client = polluxd.client
    target = export(client, memory_disk(client))
    with Host(target, "b") as b:
        for _ in range(20):
            with Host(target, "a") as a:
                assert a.run(bytes([0x16, 0, 0, 0, 0, 0]))[0] == GOOD
                assert b.try_write() == CONFLICT
                a.logout()
            with Host(target, "a") as a:  # The old session is gone when the new one is there.
                a.logout()
            assert b.try_write() == GOOD
