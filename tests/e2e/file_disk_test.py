"""File disks when the file or what lies below it fails: full, cut short, limited, broken. What was
flushed stays, the initiator hears the right reason, and all recovers when the cause is gone."""

import contextlib
import os
import resource
import struct
import subprocess

import pytest

import pollux
from exports import BLOCK, MIB, export, fails_to_start, file_disk
from iscsi_peer import CHECK_CONDITION, GOOD, Peer
from pollux.pytest_plugin import Daemon

# Sense key, additional sense code and qualifier. SPC-4 §4.5.6 and annex F.
SPACE_ALLOCATION_FAILED = (7, 0x27, 7)
UNRECOVERED_READ_ERROR = (3, 0x11, 0)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: needs root")


def run(*command):
    return subprocess.run([str(one) for one in command], check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def mounted(kind, folder, size):
    """A file system of its own. ext4 takes direct I/O and has a journal, tmpfs neither."""
    folder.mkdir()
    if kind == "tmpfs":
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "pollux", folder)
    else:
        image = folder.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(size + 4 * MIB)  # The journal and tables besides.
        run("mke2fs", "-q", "-t", "ext4", "-m", "0", "-b", "4096", "-J", "size=4", image)
        try:
            run("mount", "-o", "loop", image, folder)
        except subprocess.CalledProcessError as failure:
            pytest.skip(f"no loop devices here: {failure.stderr}")
    try:
        yield folder
    finally:
        run("umount", "-l", folder)


@contextlib.contextmanager
def loop_device(backing):
    try:
        device = run("losetup", "--find", "--show", backing)
    except subprocess.CalledProcessError as failure:
        pytest.skip(f"no loop devices here: {failure.stderr}")
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


class Disk:
    """LUN 0 of an export, in blocks of 4 KiB that are filled with one byte."""

    UNIT = 4096

    def __init__(self, peer):
        self.peer = peer

    def _cdb(self, opcode, unit, count):
        scale = self.UNIT // BLOCK
        return struct.pack(">BBIBHB", opcode, 0, unit * scale, 0, count * scale, 0)

    @staticmethod
    def _outcome(status, answer):
        """GOOD, or the sense that came."""
        if status == CHECK_CONDITION:
            sense = answer.data[2:]
            return sense[2] & 0xF, sense[12], sense[13]
        return status

    def write(self, unit, fill, count=1):
        data = bytes([fill]) * (self.UNIT * count)
        status, _, answer = self.peer.run(self._cdb(0x2A, unit, count), data=data)
        return self._outcome(status, answer)

    def read(self, unit, count=1):
        """The bytes that the units are filled with, or the sense."""
        status, data, answer = self.peer.run(self._cdb(0x28, unit, count), self.UNIT * count)
        if status != GOOD:
            return self._outcome(status, answer)
        return {data[i] for i in range(0, len(data), 512)}

    def flush(self):
        status, _, answer = self.peer.run(bytes([0x35]))
        return self._outcome(status, answer)


@pytest.fixture
def connect():
    """Opens the disk that an export shows."""
    with contextlib.ExitStack() as peers:

        def one(target):
            peer = peers.enter_context(Peer(target.portal, timeout=30))
            assert peer.login(target.iqn) == 0
            peer.ready()
            return Disk(peer)

        yield one


# Full.


@needs_root
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_file_system_loses_nothing_and_recovers(polluxd, connect, tmp_path, kind):
    with mounted(kind, tmp_path / "small", 8 * MIB) as folder:
        ballast = folder / "ballast"
        ballast.write_bytes(b"b" * (4 * MIB))
        target = export(polluxd.client, file_disk(polluxd.client, folder / "disk", 64 * MIB))
        disk = connect(target)
        assert disk.write(0, 1, count=16) == GOOD
        assert disk.flush() == GOOD

        written = 16
        while (outcome := disk.write(written, 2)) == GOOD:
            written += 1
        assert outcome == SPACE_ALLOCATION_FAILED
        assert 256 < written < 2048, "4 MiB were to be had"
        # Once more, and at the far end; what is there may still be written and read.
        assert disk.write(written, 2) == SPACE_ALLOCATION_FAILED
        assert disk.write(16000, 2, count=4) == SPACE_ALLOCATION_FAILED
        assert disk.write(3, 3) == GOOD
        assert disk.flush() == GOOD
        assert (disk.read(0, 3), disk.read(3), disk.read(4, 12)) == ({1}, {3}, {1})
        assert disk.read(16, 64) == {2}

        ballast.unlink()
        for unit in (written, 16000, 16003):
            assert disk.write(unit, 4) == GOOD
        assert disk.flush() == GOOD
        polluxd.restart().client.framework_wait_init()
        disk = connect(target)
        assert (disk.read(0, 3), disk.read(3), disk.read(written), disk.read(16003)) == ({1}, {3}, {4}, {4})
        polluxd.client.bdev_aio_delete("File0")


def test_a_file_that_may_not_grow_is_full_and_polluxd_lives(polluxd, connect, tmp_path):
    disk = connect(export(polluxd.client, file_disk(polluxd.client, tmp_path / "disk", 64 * MIB)))
    assert disk.write(4096, 1) == GOOD  # At 16 MiB.
    limits = resource.prlimit(polluxd.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(polluxd.pid, resource.RLIMIT_FSIZE, (8 * MIB, limits[1]))
    assert disk.write(8192, 2) == SPACE_ALLOCATION_FAILED
    assert disk.write(5, 2) == GOOD
    assert disk.read(4096) == {1}
    resource.prlimit(polluxd.pid, resource.RLIMIT_FSIZE, limits)
    assert disk.write(8192, 2) == GOOD
    assert (disk.read(8192), disk.read(5)) == ({2}, {2})


# Cut short.


@pytest.mark.parametrize("where", ["/tmp", "/dev/shm"])
def test_a_file_cut_short_is_a_medium_error_until_it_is_mended(polluxd, connect, tmp_path, where):
    path = tmp_path / "disk"
    if where == "/dev/shm":
        path = type(path)(f"/dev/shm/pollux-{os.getpid()}-{tmp_path.name}")
    try:
        disk = connect(export(polluxd.client, file_disk(polluxd.client, path, 4 * MIB)))
        assert disk.write(0, 1, count=16) == GOOD
        assert disk.flush() == GOOD
        os.truncate(path, 2 * MIB + 1000)
        assert disk.read(1000) == UNRECOVERED_READ_ERROR
        assert disk.read(500, 20) == UNRECOVERED_READ_ERROR  # Half of it is there.
        assert disk.read(0, 16) == {1}
        assert disk.flush() == GOOD
        assert polluxd.log().count("has become shorter than its disk") == 1
        # Nobody takes a disk away from its initiators by that.
        with pytest.raises(pollux.Busy):
            polluxd.client.bdev_aio_rescan("File0")
        assert polluxd.client.bdev_get_bdevs("File0")[0]["num_blocks"] == 4 * MIB // BLOCK

        os.truncate(path, 4 * MIB)
        assert disk.read(500, 20) == {0}
        assert disk.write(1000, 5) == GOOD
        assert (disk.read(1000), disk.read(0, 16)) == ({5}, {1})
    finally:
        if where == "/dev/shm":
            path.unlink(missing_ok=True)


@needs_root
def test_a_broken_medium_is_a_medium_error_until_it_is_whole(polluxd, connect, tmp_path):
    backing = tmp_path / "backing"
    backing.write_bytes(b"\1" * (4 * MIB))
    with loop_device(backing) as device:
        disk = connect(export(polluxd.client, polluxd.client.bdev_aio_create(device, "File0", BLOCK)))
        os.truncate(backing, 2 * MIB)
        assert disk.read(0, 16) == {1}
        # The kernel reads zeroes behind the end of the backing file, or fails; it never succeeds with data.
        assert disk.read(1000) in (UNRECOVERED_READ_ERROR, {0})
        os.truncate(backing, 4 * MIB)
        assert disk.write(1000, 2) == GOOD
        assert disk.flush() == GOOD
        assert disk.read(1000) == {2}
        polluxd.client.bdev_aio_delete("File0")


# Limits of memory.


class Confined(Daemon):
    """May lock only so many bytes in memory."""

    def __init__(self, directory, bytes_max):
        super().__init__(directory)
        self._bytes_max = bytes_max

    def command(self):
        limit = f"--memlock={self._bytes_max}:{self._bytes_max}"
        return ["prlimit", limit, "setpriv", "--bounding-set=-ipc_lock", *super().command()]


@needs_root
def test_without_memory_to_lock_for_its_buffers_it_does_without(connect, tmp_path):
    daemon = Confined(tmp_path / "polluxd", MIB).start()
    try:
        disk = connect(export(daemon.client, file_disk(daemon.client, tmp_path / "disk")))
        assert disk.write(0, 7, count=256) == GOOD
        assert disk.flush() == GOOD
        assert disk.read(0, 256) == {7}
        assert "io_uring does not take" in daemon.log()
    finally:
        daemon.finish()


@needs_root
def test_without_memory_to_lock_for_a_ring_it_says_which_limit_it_was(tmp_path):
    daemon = Confined(tmp_path / "polluxd", 4096)
    fails_to_start(daemon, "no io_uring.*RLIMIT_MEMLOCK")
