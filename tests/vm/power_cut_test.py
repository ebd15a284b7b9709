"""Power cuts: polluxd runs in an emulated machine, with a file disk on a disk whose cache is volatile.
The machine is killed under verified writes, the cache is lost, and what was flushed must be there.

Every block holds which write of it this was, in each of its sectors. The test writes over iSCSI and
keeps the ledger outside: after a flush (or a write with FUA) that was answered, no block may ever show
an older write than the one that was answered before the flush was sent; and never one that was not sent.
"""

import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import threading
import time

import pytest

import guest as vm
from pollux.pytest_plugin import free_port
from volatile_disk import VolatileDisk

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from iscsi_peer import GOOD, WRITE, Closed, Peer  # noqa: E402

BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD") or pathlib.Path(__file__).parents[2] / "build").resolve()
TARGET, PORT = "iqn.2024-01.io.pollux:powercut", 3260
MIB = 1 << 20
IMAGE_BYTES, FILE_BYTES = 48 * MIB, 24 * MIB
SECTOR, UNIT = 512, 4096
UNITS = FILE_BYTES // UNIT
BURST_MAX = 8  # Writes in flight.
CUTS = 4
START_SECONDS_MAX = 180
HUGEPAGES = 160  # For its pools, which io_uring then keeps pinned.
STAMP = struct.Struct(">QQ")  # Unit, number of the write.


class Ledger:
    """What each unit may hold: from the last write known to be durable to the last one sent."""

    def __init__(self):
        self.number = 0
        self.sent = {}  # unit -> number
        self.answered = {}
        self.durable = {}

    def next(self, unit):
        self.number += 1
        self.sent[unit] = self.number
        return STAMP.pack(unit, self.number).ljust(SECTOR, b"\xa5") * (UNIT // SECTOR)

    def check(self, unit, data):
        """None, or what is wrong with the unit."""
        for at in range(0, UNIT, SECTOR):
            sector = data[at : at + SECTOR]
            number = 0
            if any(sector):
                whose, number = STAMP.unpack_from(sector)
                if whose != unit or sector != STAMP.pack(unit, number).ljust(SECTOR, b"\xa5"):
                    return f"unit {unit}: a sector of something else"
            if not self.durable.get(unit, 0) <= number <= self.sent.get(unit, 0):
                least, most = self.durable.get(unit, 0), self.sent.get(unit, 0)
                return f"unit {unit} holds write {number}; {least} was flushed, {most} the last one sent"
        return None

    def begin_anew(self, found):
        """After a cut: what was answered and not flushed may be lost, or torn. `found` has the oldest and
        the youngest write that the sectors of each unit hold."""
        for unit, (oldest, youngest) in found.items():
            self.answered[unit], self.sent[unit] = oldest, youngest


class Appliance:
    """polluxd in a guest that is booted anew after each cut."""

    def __init__(self, disk, kind):
        self.disk = disk
        self.kind = kind
        self.host_port = free_port()
        self.guest = None

    def start(self):
        self.guest = vm.Guest(
            1536, hugepages=HUGEPAGES, host_root=True, disks=[self.disk.uri], forward={self.host_port: PORT}
        )
        self.guest.boot()
        run = self.guest.run
        run("until_true 30 'grep -qsx disk0 /sys/block/vd*/serial'")
        device = run("basename $(dirname $(grep -lx disk0 /sys/block/vd*/serial))").strip()
        for program in ("polluxd", "pollux"):
            run(f"cp /host{BUILD}/bin/{program} /tmp/{program}")
        if self.kind == "file":
            run(f"mkdir /tmp/disk; mount /dev/{device} /tmp/disk; in_host_root true; mount --rbind /tmp /host/tmp")
            path = "/tmp/disk/file"
        else:
            path = f"/dev/{device}"
        run("in_host_root /tmp/polluxd -r /tmp/rpc.sock --no-state --hugepages on >/tmp/polluxd.log 2>&1 &")
        self.await_answer()
        run("! grep 'does without' /tmp/polluxd.log")  # Registered buffers.
        self.call(f"bdev_aio_create {path} Disk --block-size 512")
        self.call(f'iscsi_create_portal_group 1 \'[{{"host": "{vm.ADDRESS}", "port": "{PORT}"}}]\'')
        self.call("iscsi_create_initiator_group 1 '[\"ANY\"]' '[\"ANY\"]'")
        self.call(
            f"iscsi_create_target_node {TARGET} disk '[{{\"bdev_name\": \"Disk\", \"lun_id\": 0}}]' "
            "'[{\"pg_tag\": 1, \"ig_tag\": 1}]' 64 --disable-chap true"
        )
        peer = Peer(f"127.0.0.1:{self.host_port}", timeout=60)
        assert peer.login(TARGET) == 0
        peer.ready()
        return peer

    def await_answer(self):
        """By the host's clock: on a busy host the guest's may run several times too fast."""
        end = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                return self.call("spdk_get_version")
            except vm.CommandFailed:
                assert time.monotonic() < end, self.guest.run("cat /tmp/polluxd.log")
                time.sleep(0.5)

    def call(self, words):
        return self.guest.run(f"in_host_root /tmp/pollux -s /tmp/rpc.sock {words}")

    def cut(self, rng):
        self.guest.stop()
        return self.disk.power_cut(rng)


def cdb(opcode, unit, count=1, fua=False):
    scale = UNIT // SECTOR
    return struct.pack(">BBIBHB", opcode, 8 if fua else 0, unit * scale, 0, count * scale, 0)


def burst(peer, ledger, rng, fua):
    """Some writes at once, to different units."""
    units = rng.sample(range(UNITS), rng.randint(1, BURST_MAX))
    tags = []
    for unit in units:
        data = ledger.next(unit)
        pdu = peer.command_pdu(cdb(0x2A, unit, fua=fua), UNIT, WRITE, data)
        tags.append((pdu.tag, unit, ledger.number))
        peer.send(pdu)
    for _ in tags:  # In whichever order they are answered.
        answer = peer.receive()
        assert answer.bhs[3] == GOOD, answer.data.hex()
        unit, number = next((unit, number) for tag, unit, number in tags if tag == answer.tag)
        ledger.answered[unit] = number
        if fua:
            ledger.durable[unit] = number


def flush(peer, ledger):
    covered = dict(ledger.answered)
    status, _, answer = peer.run(bytes([0x35]))
    assert status == GOOD, answer.data.hex()
    ledger.durable.update(covered)


def write_until_dead(peer, ledger, rng, with_fua):
    """By flushes or by FUA, never by both: each would do the other's work, since FUA is a flush here."""
    try:
        while True:
            for _ in range(rng.randint(1, 6)):
                burst(peer, ledger, rng, fua=with_fua and rng.random() < 0.3)
            if not with_fua:
                flush(peer, ledger)
    except (Closed, OSError):
        pass


def read_all(peer, ledger):
    """What each unit holds; fails when that may not be."""
    wrong, found = [], {}
    for unit in range(0, UNITS, 16):
        data = peer.read(unit * (UNIT // SECTOR), 16 * UNIT // SECTOR)
        for i in range(16):
            one = data[i * UNIT : (i + 1) * UNIT]
            complaint = ledger.check(unit + i, one)
            if complaint:
                wrong.append(complaint)
            numbers = [STAMP.unpack_from(one, at)[1] for at in range(0, UNIT, SECTOR)]
            found[unit + i] = min(numbers), max(numbers)
    assert not wrong, wrong[:10]
    return found


@pytest.fixture(params=["file", "device"])
def appliance(request, tmp_path):
    if not (vm.CACHE / "stamp").exists() or not shutil.which("qemu-system-x86_64"):
        pytest.skip(f"no guest in {vm.CACHE}: tests/run --vm builds it")
    image = tmp_path / "disk.img"
    size = IMAGE_BYTES if request.param == "file" else FILE_BYTES
    with image.open("wb") as file:
        file.truncate(size)
    if request.param == "file":
        # A file that is all hole: its blocks are found and entered while it is written.
        content = tmp_path / "content"
        content.mkdir()
        with (content / "file").open("wb") as file:
            file.truncate(FILE_BYTES)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", content, image], check=True)
    disk = VolatileDisk(image)
    one = Appliance(disk, request.param)
    yield one
    if one.guest is not None:
        one.guest.stop()
    disk.close()


@pytest.mark.timeout(900)
def test_what_was_flushed_survives_every_power_cut(appliance):
    seed = int(os.environ.get("POLLUX_SEED", random.SystemRandom().getrandbits(32)))
    print(f"POLLUX_SEED={seed}")
    rng = random.Random(seed)
    ledger = Ledger()
    peer = appliance.start()
    for cut in range(CUTS):
        arguments = (peer, ledger, random.Random(rng.random()), cut % 2 == 1)
        writer = threading.Thread(target=write_until_dead, args=arguments)
        before = appliance.disk.flushes
        writer.start()
        writer.join(4 + 4 * rng.random())
        assert writer.is_alive(), "it was to be cut in the middle of the writes"
        lost = appliance.cut(rng)
        flushes = appliance.disk.flushes - before
        writer.join(60)
        assert not writer.is_alive()
        flushed = sum(number > 0 for number in ledger.durable.values())
        print(f"{ledger.number} writes so far, {flushed} units flushed, {lost} sectors lost")
        peer = appliance.start()
        ledger.begin_anew(read_all(peer, ledger))
        assert flushes > 5, "too few of them to prove anything"
