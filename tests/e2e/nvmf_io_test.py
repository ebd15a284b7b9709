"""Reads, writes and the other I/O commands of our target, from outside: their data and every status."""

import os
import random
import struct
import threading

import pytest

import nvme_tcp_host as nvme
from exports import BLOCK, MIB, file_disk
from nvme_structures import IdentifyNamespace
from nvme_tcp_host import Host
from nvme_tcp_wire import BadDigest, Closed
from nvmf_exports import DISK_BLOCKS, NQN, Subsystem, wait_until

KIB = 1024
CAPSULE = 8 * KIB  # The transport's default: data up to here may come with the command.
TRANSFER_MAX = 128 * KIB
NSID, NSID_4K, NSID_NULL = 1, 2, 3


@pytest.fixture(scope="module", params=["memory", "file"])
def subsystem(shared_polluxd, tmp_path_factory, request):
    """A memory disk lends its memory to the network; a file is read and written through buffers."""
    client, one = shared_polluxd.client, Subsystem(shared_polluxd.client)
    one.null = client.bdev_null_create(f"Null-{request.param}", 2048, BLOCK)
    if request.param == "memory":
        one.add_memory(NSID)
        one.add_memory(NSID_4K, blocks=1024, block=4096)
    else:
        directory = tmp_path_factory.mktemp("disks")
        one.add(file_disk(client, directory / "disk.img", DISK_BLOCKS * BLOCK), NSID)
        (directory / "disk4k.img").write_bytes(bytes(1024 * 4096))
        one.add(client.bdev_aio_create(str(directory / "disk4k.img"), "File4K", 4096), NSID_4K)
    one.add(one.null, NSID_NULL)
    yield one
    client.nvmf_delete_subsystem(one.nqn)


@pytest.fixture
def controller(subsystem):
    with subsystem.connect(queues=2) as one:
        yield one


def pattern(size, seed=0):
    return b"".join(struct.pack("<II", i, seed) for i in range(size // 8 + 1))[:size]


# Data.

DIGESTS = [
    *({}, {"header_digest": True}, {"data_digest": True}),
    {"header_digest": True, "data_digest": True},
]


@pytest.mark.parametrize("hpda", [0, 1, 7, 31])
@pytest.mark.parametrize("options", DIGESTS, ids=lambda one: "+".join(one) or "plain")
def test_what_is_written_is_read_back(subsystem, options, hpda):
    with subsystem.connect(hpda=hpda, **options) as controller:
        queue = controller.queues[0]
        wanted = options.get("header_digest", False), options.get("data_digest", False)
        assert (queue.header_digest, queue.data_digest) == wanted
        for seed, size in enumerate((512, 4 * KIB, CAPSULE, CAPSULE + 512, 64 * KIB, TRANSFER_MAX)):
            data = pattern(size, seed)
            assert controller.write(NSID, 8 * seed, data).ok
            assert controller.read(NSID, 8 * seed, size // BLOCK) == data


@pytest.mark.parametrize("size", [512, 1024, 4 * KIB, CAPSULE])
@pytest.mark.parametrize("in_capsule", [True, False])
def test_data_in_the_capsule_and_by_a_transfer_are_the_same(controller, size, in_capsule):
    data = pattern(size, 77)
    assert controller.write(NSID, 100, data, in_capsule=in_capsule).ok
    assert controller.read(NSID, 100, size // BLOCK) == data


def test_blocks_of_4_kib(controller):
    data = pattern(64 * KIB, 4)
    assert controller.write(NSID_4K, 3, data, 4096).ok
    assert controller.read(NSID_4K, 3, 16, 4096) == data
    assert controller.read(NSID_4K, 4, 1, 4096) == data[4096:8192]


def test_the_last_block_and_the_whole_disk(controller):
    assert controller.write(NSID, DISK_BLOCKS - 1, pattern(BLOCK, 9)).ok
    assert controller.read(NSID, DISK_BLOCKS - 1, 1) == pattern(BLOCK, 9)
    step = TRANSFER_MAX // BLOCK
    for lba in range(0, DISK_BLOCKS, 16 * step):
        assert controller.write(NSID, lba, pattern(TRANSFER_MAX, lba)).ok
        assert controller.read(NSID, lba, step) == pattern(TRANSFER_MAX, lba)


def test_what_was_never_written_is_zeroes(shared_polluxd, subsystem):
    subsystem.add_memory(9, blocks=256)
    with subsystem.connect() as controller:
        assert controller.read(9, 0, 256) == bytes(256 * BLOCK)
    subsystem.remove(9)
    del shared_polluxd


def test_fua_and_flush(controller):
    assert controller.write(NSID, 0, pattern(4096), fua=True).ok
    assert controller.io(nvme.lba_entry(nvme.READ, NSID, 0, 8, nvme.FUA), expect=4096).check().data == pattern(4096)
    assert controller.flush(NSID).ok
    assert controller.flush(nvme.EVERY_NSID).status in (0, nvme.INVALID_NAMESPACE)


def test_success_may_come_with_the_last_data(subsystem):
    with subsystem.connect() as controller:
        done = controller.io(nvme.lba_entry(nvme.READ, NSID, 0, 256), expect=TRANSFER_MAX)
        assert done.by_flag and done.ok


def test_without_c2h_success_every_read_has_a_response(polluxd):
    one = Subsystem(polluxd.client, transport={"c2h_success": False})
    one.add_memory(1)
    with one.connect() as controller:
        done = controller.io(nvme.lba_entry(nvme.READ, 1, 0, 8), expect=4096)
        assert done.ok and not done.by_flag and done.data == bytes(4096)


@pytest.mark.parametrize("depth", [2, 16, 128])
def test_a_queue_full_of_commands(subsystem, depth):
    with subsystem.connect(depth=depth) as controller:
        queue = controller.queues[0]
        count = depth - 1
        for size in (512, CAPSULE, 32 * KIB):
            blocks = size // BLOCK
            writes = [
                (nvme.lba_entry(nvme.WRITE, NSID, i * blocks, blocks), pattern(size, i), 0) for i in range(count)
            ]
            cids = queue.submit_together(*writes) if size <= CAPSULE else [queue.submit(*one) for one in writes]
            assert all(done.ok for done in queue.wait_all(cids))
            reads = [(nvme.lba_entry(nvme.READ, NSID, i * blocks, blocks), b"", size) for i in range(count)]
            done = queue.wait_all(queue.submit_together(*reads))
            assert [one.check().data for one in done] == [pattern(size, i) for i in range(count)]


def test_a_depth_of_1024(polluxd):
    one = Subsystem(polluxd.client, transport={"max_queue_depth": 1024})
    one.add_memory(1)
    with one.connect(depth=1024) as controller:
        queue = controller.queues[0]
        assert controller.capabilities() & 0xFFFF == 1023
        reads = [(nvme.lba_entry(nvme.READ, 1, i, 1), b"", BLOCK) for i in range(1023)]
        assert all(one.ok for one in queue.wait_all(queue.submit_together(*reads)))
        writes = [queue.submit(nvme.lba_entry(nvme.WRITE, 1, i * 8, 8), b"w" * 4096, in_capsule=False) for i in range(1023)]
        assert all(one.ok for one in queue.wait_all(writes))


def test_queues_are_independent(subsystem):
    with subsystem.connect(queues=4) as controller:
        ends = []

        def work(number):
            queue = controller.queues[number]
            for i in range(50):
                lba = number * 1000 + i * 8
                controller.write(NSID, lba, pattern(4096, lba), queue=queue).check()
                assert controller.read(NSID, lba, 8, queue=queue) == pattern(4096, lba)
            ends.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(ends) == [0, 1, 2, 3]


# What is beyond the end, too long, or not there.

RANGES = {
    "read": lambda lba, blocks: (nvme.lba_entry(nvme.READ, NSID, lba, blocks), b"", blocks * BLOCK),
    "write": lambda lba, blocks: (nvme.lba_entry(nvme.WRITE, NSID, lba, blocks), bytes(blocks * BLOCK), 0),
    "compare": lambda lba, blocks: (nvme.lba_entry(nvme.COMPARE, NSID, lba, blocks), bytes(blocks * BLOCK), 0),
    "write zeroes": lambda lba, blocks: (nvme.lba_entry(nvme.WRITE_ZEROES, NSID, lba, blocks), b"", 0),
    "verify": lambda lba, blocks: (nvme.lba_entry(nvme.VERIFY, NSID, lba, blocks), b"", 0),
}


@pytest.mark.parametrize("lba", [DISK_BLOCKS, DISK_BLOCKS - 7, 1 << 32, 1 << 63, (1 << 64) - 1, (1 << 64) - 8])
@pytest.mark.parametrize("command", RANGES)
def test_a_range_beyond_the_end(controller, command, lba):
    sqe, data, expect = RANGES[command](lba, 8)
    done = controller.io(sqe, data, expect)
    assert done.status == nvme.LBA_RANGE and done.dnr
    assert controller.io(*RANGES[command](DISK_BLOCKS - 8, 8)).status in (0, nvme.COMPARE_FAILURE)


@pytest.mark.parametrize("opcode", [nvme.READ, nvme.WRITE, nvme.COMPARE])
def test_a_command_of_more_than_mdts(controller, opcode):
    size = TRANSFER_MAX + BLOCK
    data = bytes(size) if opcode != nvme.READ else b""
    queue = controller.queues[0]
    queue.hold_r2t = True
    done = controller.io(nvme.lba_entry(opcode, NSID, 0, size // BLOCK), data, 0 if data else size)
    assert done.status == nvme.INVALID_FIELD and done.dnr
    assert not queue.r2ts, "data was asked for that is not taken"


@pytest.mark.parametrize("nsid", [0, 4, 33, 0xFFFFFFFE, 0xFFFFFFFF])
@pytest.mark.parametrize("command", [*RANGES, "flush", "dsm", "copy"])
def test_a_namespace_that_is_not_there(controller, command, nsid):
    if command == "flush":
        if nsid == nvme.EVERY_NSID:
            return
        done = controller.flush(nsid)
    elif command == "dsm":
        done = controller.deallocate(nsid, (0, 8))
    elif command == "copy":
        done = controller.copy(nsid, 0, (8, 8))
    else:
        sqe, data, expect = RANGES[command](0, 8)
        done = controller.io(sqe[:4] + struct.pack("<I", nsid) + sqe[8:], data, expect)
    assert done.status == nvme.INVALID_NAMESPACE and done.dnr


@pytest.mark.parametrize("length", [0, 1, 511, 4095, 4097, 8192])
@pytest.mark.parametrize("opcode", [nvme.READ, nvme.WRITE, nvme.COMPARE])
def test_an_sgl_of_another_length_than_the_blocks(controller, opcode, length):
    data = bytes(length) if opcode != nvme.READ else b""
    done = controller.io(nvme.lba_entry(opcode, NSID, 0, 8), data, 0 if data else length)
    assert done.status in (nvme.SGL_LENGTH, nvme.INVALID_FIELD) and done.dnr
    assert controller.read(NSID, 0, 8) is not None


SGL_ERRORS = {
    "no such type": (nvme.sgl(0xF0, 4096), nvme.SGL_TYPE),
    "a key": (nvme.sgl(0x40, 4096), nvme.SGL_TYPE),
    "an address": (nvme.sgl(0x00, 4096, 0xDEADBEEF000), nvme.SGL_TYPE),
    "a bit bucket": (nvme.sgl(0x10, 4096), nvme.SGL_TYPE),
    "a segment": (nvme.sgl(0x20, 4096), nvme.SGL_TYPE),
    "a last segment": (nvme.sgl(0x30, 16), nvme.SGL_TYPE),
    "a cycle of segments": (nvme.sgl(0x21, 16), nvme.SGL_TYPE),
    "an offset for a read": (nvme.sgl(nvme.IN_CAPSULE, 4096), nvme.SGL_TYPE),
}


@pytest.mark.parametrize("what", SGL_ERRORS)
def test_a_read_with_an_sgl_that_is_not_offered(controller, what):
    descriptor, status = SGL_ERRORS[what]
    done = controller.io(nvme.lba_entry(nvme.READ, NSID, 0, 8), expect=4096, descriptor=descriptor)
    assert done.status in (status, nvme.INVALID_FIELD) and done.dnr
    assert controller.read(NSID, 0, 1)


@pytest.mark.parametrize(
    "address, length, status",
    [
        (1, 4096, nvme.SGL_LENGTH),
        (4096, 4096, nvme.SGL_LENGTH),
        (4097, 4096, nvme.SGL_OFFSET),
        (1 << 63, 4096, nvme.SGL_OFFSET),
        ((1 << 64) - 1, 4096, nvme.SGL_OFFSET),
        ((1 << 64) - 4096, 4096, nvme.SGL_OFFSET),
        (0, 4097, nvme.SGL_LENGTH),
        (0, 0xFFFFFFFF, nvme.SGL_LENGTH),
    ],
)
def test_an_offset_beyond_the_capsule(controller, address, length, status):
    sqe = nvme.lba_entry(nvme.WRITE, NSID, 0, 8)
    done = controller.io(sqe, bytes(4096), descriptor=nvme.sgl(nvme.IN_CAPSULE, length, address))
    assert done.status in (status, nvme.INVALID_FIELD, nvme.SGL_OFFSET, nvme.SGL_LENGTH) and done.dnr
    assert controller.write(NSID, 0, bytes(4096)).ok


def test_an_offset_within_the_capsule(controller):
    data = pattern(CAPSULE, 12)
    sqe = nvme.lba_entry(nvme.WRITE, NSID, 0, 8)
    assert controller.io(sqe, data, descriptor=nvme.sgl(nvme.IN_CAPSULE, 4096, 1024)).ok
    assert controller.read(NSID, 0, 8) == data[1024:5120]


@pytest.mark.parametrize("opcode", [3, 4, 7, 0xA, 0xD, 0xE, 0x11, 0x15, 0x18, 0x20, 0x7C, 0x80, 0xFF])
def test_commands_that_are_not_offered(controller, opcode):
    done = controller.io(nvme.entry(opcode, NSID), bytes(4096) if opcode & 3 == 1 else b"", 4096 if opcode & 3 == 2 else 0)
    assert done.status == nvme.INVALID_OPCODE and done.dnr


# Compare, and the fused pair.


def test_compare(controller):
    data = pattern(16 * KIB, 5)
    assert controller.write(NSID, 0, data).ok
    assert controller.compare(NSID, 0, data).ok
    for place in (0, 8191, 8192, 16 * KIB - 1):
        other = bytearray(data)
        other[place] ^= 1
        assert controller.compare(NSID, 0, bytes(other)).status == nvme.COMPARE_FAILURE
    assert controller.read(NSID, 0, 32) == data


def test_compare_and_write(controller):
    old, new = pattern(4096, 1), pattern(4096, 2)
    controller.write(NSID, 0, old).check()
    assert [one.status for one in controller.compare_and_write(NSID, 0, old, new)] == [0, 0]
    assert controller.read(NSID, 0, 8) == new
    statuses = [one.status for one in controller.compare_and_write(NSID, 0, old, bytes(4096))]
    assert statuses == [nvme.COMPARE_FAILURE, nvme.FAILED_FUSED]
    assert controller.read(NSID, 0, 8) == new


def test_compare_and_write_is_atomic_among_hosts(subsystem):
    rounds = 40
    with subsystem.connect() as setting:
        setting.write(NSID, 0, struct.pack("<Q", 0).ljust(BLOCK, b"\0")).check()
        counts = []

        def count():
            done = 0
            with subsystem.connect() as controller:
                while done < rounds:
                    old = controller.read(NSID, 0, 1)
                    new = struct.pack("<Q", struct.unpack_from("<Q", old)[0] + 1).ljust(BLOCK, b"\0")
                    statuses = [one.status for one in controller.compare_and_write(NSID, 0, old, new)]
                    assert statuses in ([0, 0], [nvme.COMPARE_FAILURE, nvme.FAILED_FUSED])
                    done += statuses == [0, 0]
            counts.append(done)

        threads = [threading.Thread(target=count) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert counts == [rounds] * 3
        assert struct.unpack_from("<Q", setting.read(NSID, 0, 1))[0] == 3 * rounds


def fused(opcode, lba, blocks, half, nsid=NSID):
    return nvme.lba_entry(opcode, nsid, lba, blocks, fuse=half)


FIRST, SECOND = nvme.FUSE_FIRST, nvme.FUSE_SECOND
BROKEN_PAIRS = {
    "another range": [fused(nvme.COMPARE, 0, 1, FIRST), fused(nvme.WRITE, 1, 1, SECOND)],
    "another length": [fused(nvme.COMPARE, 0, 1, FIRST), fused(nvme.WRITE, 0, 2, SECOND)],
    "another namespace": [fused(nvme.COMPARE, 0, 1, FIRST), fused(nvme.WRITE, 0, 1, SECOND, NSID_4K)],
    "write first": [fused(nvme.WRITE, 0, 1, FIRST), fused(nvme.COMPARE, 0, 1, SECOND)],
    "two writes": [fused(nvme.WRITE, 0, 1, FIRST), fused(nvme.WRITE, 0, 1, SECOND)],
    "two reads": [fused(nvme.READ, 0, 1, FIRST), fused(nvme.READ, 0, 1, SECOND)],
    "second alone": [fused(nvme.WRITE, 0, 1, SECOND)],
    "reserved": [fused(nvme.WRITE, 0, 1, 3)],
    "first, then a plain one": [fused(nvme.COMPARE, 0, 1, FIRST), fused(nvme.WRITE, 0, 1, 0)],
    "first twice": [fused(nvme.COMPARE, 0, 1, FIRST), fused(nvme.COMPARE, 0, 1, FIRST), fused(nvme.WRITE, 0, 1, SECOND)],
    "a flush between": [fused(nvme.COMPARE, 0, 1, FIRST), nvme.entry(nvme.FLUSH, NSID), fused(nvme.WRITE, 0, 1, SECOND)],
}


@pytest.mark.parametrize("what", BROKEN_PAIRS)
def test_a_pair_that_does_not_belong_together(controller, what):
    controller.write(NSID, 0, pattern(2 * BLOCK, 6)).check()
    queue = controller.queues[0]

    def data_of(sqe):
        if sqe[0] not in (nvme.WRITE, nvme.COMPARE):
            return b""
        return pattern((struct.unpack_from("<H", sqe, 48)[0] + 1) * (4096 if sqe[4] == NSID_4K else BLOCK), 6)

    commands = BROKEN_PAIRS[what]
    cids = queue.submit_together(
        *((sqe, data_of(sqe), BLOCK if sqe[0] == nvme.READ else 0) for sqe in commands)
    )
    statuses = [one.status for one in queue.wait_all(cids)]
    wrong = (nvme.MISSING_FUSED, nvme.FAILED_FUSED, nvme.INVALID_FIELD)
    for sqe, status in zip(commands, statuses):
        if sqe[1] & 3 == 0:
            assert status == 0
        elif what == "first twice" and sqe is not commands[0]:
            assert status in (0, *wrong)
        else:
            assert status in wrong, statuses
    assert controller.read(NSID, 0, 2) == pattern(2 * BLOCK, 6)


# Write Zeroes, Dataset Management, Verify, Copy.


@pytest.mark.parametrize("flags", [0, nvme.DEALLOCATE])
def test_write_zeroes(controller, flags):
    data = pattern(64 * KIB, 8)
    controller.write(NSID, 0, data).check()
    assert controller.write_zeroes(NSID, 16, 32, flags).ok
    assert controller.read(NSID, 0, 128) == data[: 16 * BLOCK] + bytes(32 * BLOCK) + data[48 * BLOCK :]
    assert controller.write_zeroes(NSID, 0, DISK_BLOCKS if DISK_BLOCKS < 65536 else 65536).ok
    assert controller.read(NSID, 0, 128) == bytes(64 * KIB)


def test_deallocate(controller):
    data = pattern(64 * KIB, 9)
    controller.write(NSID, 0, data).check()
    zeroes = IdentifyNamespace(controller.identify(0, NSID).check().data).dlfeat & 7 == 1
    assert controller.deallocate(NSID, (8, 8), (64, 16)).ok
    read = controller.read(NSID, 0, 128)
    if zeroes:
        expected = bytearray(data)
        expected[8 * BLOCK : 16 * BLOCK] = bytes(8 * BLOCK)
        expected[64 * BLOCK : 80 * BLOCK] = bytes(16 * BLOCK)
        assert read == expected


def test_dataset_management_that_only_tells(controller):
    data = pattern(4096, 10)
    controller.write(NSID, 0, data).check()
    assert controller.deallocate(NSID, (0, 8), attributes=0).ok
    assert controller.deallocate(NSID, (0, 8), attributes=3).ok
    assert controller.read(NSID, 0, 8) == data


def test_256_ranges(controller):
    controller.write(NSID, 0, pattern(128 * KIB, 11)).check()
    assert controller.deallocate(NSID, *((i, 1) for i in range(256))).ok
    assert controller.deallocate(NSID, *((0, 0) for _ in range(256))).ok


def test_ranges_beyond_the_end_leave_the_others_alone(controller):
    data = pattern(4096, 12)
    controller.write(NSID, 0, data).check()
    for bad in ((DISK_BLOCKS, 1), (DISK_BLOCKS - 1, 2), ((1 << 64) - 1, 2), (0, 0xFFFFFFFF)):
        done = controller.deallocate(NSID, (0, 8), bad)
        assert done.status in (nvme.LBA_RANGE, nvme.SIZE_LIMIT) and done.dnr
    assert controller.read(NSID, 0, 8) == data


@pytest.mark.parametrize("count, sent", [(1, 0), (2, 1), (256, 255), (256, 1)])
def test_fewer_ranges_than_are_announced(controller, count, sent):
    done = controller.deallocate(NSID, *((0, 8) for _ in range(sent)), count=count)
    assert done.status in (nvme.SGL_LENGTH, nvme.INVALID_FIELD) and done.dnr


def test_verify(controller):
    assert controller.verify(NSID, 0, 256).ok
    assert controller.verify(NSID, DISK_BLOCKS - 1, 1).ok


def test_copy(controller):
    data = pattern(64 * KIB, 13)
    controller.write(NSID, 0, data).check()
    assert controller.copy(NSID, 1000, (0, 8), (64, 16), (8, 1)).ok
    expected = data[: 8 * BLOCK] + data[64 * BLOCK : 80 * BLOCK] + data[8 * BLOCK : 9 * BLOCK]
    assert controller.read(NSID, 1000, 25) == expected
    assert controller.read(NSID, 0, 128) == data


def test_a_copy_as_large_as_may_be(controller):
    told = IdentifyNamespace(controller.identify(0, NSID).check().data)
    assert told.mssrl and told.mcl >= told.mssrl
    blocks = min(told.mssrl, DISK_BLOCKS // 4)
    for lba in range(0, blocks, 256):
        controller.write(NSID, lba, pattern(min(256, blocks - lba) * BLOCK, lba)).check()
    assert controller.copy(NSID, 2 * blocks, (0, blocks)).ok
    for lba in range(0, blocks, 256):
        size = min(256, blocks - lba)
        assert controller.read(NSID, 2 * blocks + lba, size) == pattern(size * BLOCK, lba)
    ranges = [(i, 1) for i in range(told.msrc + 1)]
    assert controller.copy(NSID, 8192, *ranges).ok


def test_a_copy_that_is_too_large(controller):
    told = IdentifyNamespace(controller.identify(0, NSID).check().data)
    if told.mssrl < 65535:
        assert controller.copy(NSID, 0, (8192, told.mssrl + 1)).status == nvme.SIZE_LIMIT
    if told.msrc < 255:
        ranges = [(8192, 1)] * (told.msrc + 2)
        assert controller.copy(NSID, 0, *ranges).status == nvme.SIZE_LIMIT


@pytest.mark.parametrize("lba, source", [(0, (DISK_BLOCKS - 1, 2)), (DISK_BLOCKS - 1, (0, 2)), (1 << 63, (0, 1)), (0, (1 << 63, 1))])
def test_a_copy_beyond_the_end(controller, lba, source):
    done = controller.copy(NSID, lba, source)
    assert done.status == nvme.LBA_RANGE and done.dnr


@pytest.mark.parametrize("form", [1, 2, 4, 15])
def test_copy_formats_that_are_not_offered(controller, form):
    assert controller.copy(NSID, 1000, (0, 8), form=form).status == nvme.INVALID_FIELD


def test_a_copy_with_fewer_ranges_than_announced(controller):
    done = controller.copy(NSID, 1000, (0, 8), count=3)
    assert done.status in (nvme.SGL_LENGTH, nvme.INVALID_FIELD)


# Write protection.


def test_a_namespace_that_is_write_protected(controller, subsystem):
    data = pattern(4096, 14)
    controller.write(NSID, 0, data).check()
    with subsystem.connect() as other:
        controller.set_features(nvme.WRITE_PROTECTION, 1, nsid=NSID).check()
        try:
            assert other.get_features(nvme.WRITE_PROTECTION, nsid=NSID).check().dw0 == 1
            assert IdentifyNamespace(other.identify(0, NSID).check().data).nsattr & 1
            for one in (controller, other):
                assert one.write(NSID, 0, bytes(4096)).status == nvme.WRITE_PROTECTED
                assert one.write_zeroes(NSID, 0, 8).status == nvme.WRITE_PROTECTED
                assert one.deallocate(NSID, (0, 8)).status == nvme.WRITE_PROTECTED
                assert one.copy(NSID, 0, (64, 8)).status == nvme.WRITE_PROTECTED
                pair = one.compare_and_write(NSID, 0, data, bytes(4096))
                assert [done.ok for done in pair] == [False, False]
                assert one.read(NSID, 0, 8) == data
                assert one.compare(NSID, 0, data).ok and one.flush(NSID).ok
        finally:
            controller.set_features(nvme.WRITE_PROTECTION, 0, nsid=NSID).check()
    assert controller.write(NSID, 0, bytes(4096)).ok


@pytest.mark.parametrize("nsid", [0, 4, 0xFFFFFFFF])
def test_write_protection_of_no_namespace(controller, nsid):
    assert controller.set_features(nvme.WRITE_PROTECTION, 1, nsid=nsid).status == nvme.INVALID_NAMESPACE


def test_a_disk_that_can_only_be_read(polluxd, tmp_path):
    (tmp_path / "disk.img").write_bytes(pattern(MIB, 15))
    polluxd.client.bdev_aio_create(str(tmp_path / "disk.img"), "Read0", BLOCK, readonly=True)
    one = Subsystem(polluxd.client)
    one.add("Read0", 1)
    with one.connect() as controller:
        assert controller.read(1, 0, 256) == pattern(MIB, 15)[: 256 * BLOCK]
        assert controller.write(1, 0, bytes(BLOCK)).status == nvme.WRITE_PROTECTED
        assert IdentifyNamespace(controller.identify(0, 1).check().data).nsattr & 1


# Digests.


def test_damaged_data_is_a_transport_error_that_may_be_tried_again(subsystem):
    with subsystem.connect(data_digest=True) as controller:
        queue = controller.queues[0]
        old = pattern(4096, 16)
        controller.write(NSID, 0, old).check()
        for size in (4096, 16 * KIB):
            sqe = nvme.lba_entry(nvme.WRITE, NSID, 0, size // BLOCK)
            queue.hold_r2t = False
            encode = queue.encode
            queue.encode = lambda *words, **more: encode(*words, **more, ddgst=b"\xde\xad\xbe\xef")
            done = controller.io(sqe, pattern(size, 17))
            queue.encode = encode
            assert done.status == nvme.TRANSIENT_TRANSPORT and not done.dnr
            assert controller.write(NSID, 0, old).ok, "the connection goes on"


def test_every_header_and_all_data_that_come_have_digests(subsystem):
    with subsystem.connect(header_digest=True, data_digest=True) as controller:
        try:
            for blocks in (1, 3, 17, 256):
                assert len(controller.read(NSID, 0, blocks)) == blocks * BLOCK
        except BadDigest as damage:
            pytest.fail(str(damage))


# ANA.


def test_io_through_an_inaccessible_listener_is_refused_until_it_is_not(shared_polluxd):
    one = Subsystem(shared_polluxd.client, f"{NQN}-ana", ana_reporting=True)
    one.add_memory(1)
    try:
        with one.connect() as controller:
            one.set_ana_state("inaccessible")
            commands = {
                "read": lambda: controller.io(*RANGES["read"](0, 8)),
                "write": lambda: controller.write(1, 0, bytes(4096)),
                "flush": lambda: controller.flush(1),
                "dsm": lambda: controller.deallocate(1, (0, 8)),
                "write zeroes": lambda: controller.write_zeroes(1, 0, 8),
                "compare": lambda: controller.compare(1, 0, bytes(4096)),
            }
            for command, run in commands.items():
                done = run()
                assert (done.status, done.dnr) == (nvme.ANA_INACCESSIBLE, False), command
            assert controller.identify(0, 1).ok
            for state in ("non_optimized", "optimized"):
                one.set_ana_state(state)
                for command, run in commands.items():
                    assert run().ok, (state, command)
    finally:
        shared_polluxd.client.nvmf_delete_subsystem(one.nqn)


def test_ana_transitions_under_io_lose_no_command(shared_polluxd):
    one = Subsystem(shared_polluxd.client, f"{NQN}-flapping", ana_reporting=True)
    one.add_memory(1)
    ended = threading.Event()
    seen = set()

    def flap():
        while not ended.is_set():
            for state in ("inaccessible", "optimized", "non_optimized"):
                one.set_ana_state(state)

    thread = threading.Thread(target=flap)
    try:
        with one.connect() as controller:
            queue = controller.queues[0]
            # The client of the daemon is not one for two threads: this one only reads and writes.
            thread.start()
            for i in range(200):
                cids = [queue.submit(nvme.lba_entry(nvme.WRITE, 1, j * 8, 8), bytes([i & 0xFF]) * 4096) for j in range(16)]
                seen |= {done.status for done in queue.wait_all(cids)}
            ended.set()
            thread.join(30)
            assert seen <= {0, nvme.ANA_INACCESSIBLE, nvme.ANA_TRANSITION}
            one.set_ana_state("optimized")
            assert controller.write(1, 0, bytes(4096)).ok
    finally:
        ended.set()
        shared_polluxd.client.nvmf_delete_subsystem(one.nqn)


# Namespaces that come, go and change under I/O.


def test_a_namespace_is_removed_under_io(subsystem):
    with subsystem.connect() as controller:
        for _ in range(5):
            subsystem.add_memory(9, blocks=4096)
            queue = controller.queues[0]
            cids = [queue.submit(nvme.lba_entry(nvme.WRITE, 9, i * 8, 8), bytes(4096)) for i in range(15)]
            cids += [queue.submit(nvme.lba_entry(nvme.READ, 9, i * 8, 8), expect=4096) for i in range(15)]
            subsystem.remove(9)
            statuses = {one.status for one in queue.wait_all(cids)}
            assert statuses <= {0, nvme.INVALID_NAMESPACE, nvme.ABORTED}
            assert controller.io(nvme.lba_entry(nvme.READ, 9, 0, 1), expect=BLOCK).status == nvme.INVALID_NAMESPACE


def test_a_namespace_is_removed_while_a_write_waits_for_its_host(subsystem):
    subsystem.add_memory(9, blocks=4096)
    with subsystem.connect() as controller:
        queue = controller.queues[0]
        queue.hold_r2t = True
        cid = queue.submit(nvme.lba_entry(nvme.WRITE, 9, 0, 64), bytes(64 * BLOCK), in_capsule=False)
        r2t = queue.next_r2t()
        subsystem.remove(9)
        queue.answer(r2t)
        assert queue.wait(cid).status in (nvme.INVALID_NAMESPACE, nvme.ABORTED)
        assert controller.read(NSID, 0, 1)


def test_the_disk_of_a_namespace_is_deleted_under_io(polluxd):
    one = Subsystem(polluxd.client)
    one.add_memory(1, disk="Goes")
    one.add_memory(2)
    with one.connect() as controller:
        queue = controller.queues[0]
        cids = [queue.submit(nvme.lba_entry(nvme.READ, 1, i * 8, 8), expect=4096) for i in range(20)]
        polluxd.client.bdev_malloc_delete("Goes")
        assert {done.status for done in queue.wait_all(cids)} <= {0, nvme.INVALID_NAMESPACE, nvme.ABORTED}
        assert controller.read(2, 0, 8)
        done = controller.io(nvme.lba_entry(nvme.READ, 1, 0, 1), expect=BLOCK)
        assert done.status == nvme.INVALID_NAMESPACE


def test_a_disk_that_grew_can_be_used_to_its_end(polluxd, tmp_path):
    one = Subsystem(polluxd.client)
    one.add(file_disk(polluxd.client, tmp_path / "disk.img", MIB), 1)
    with one.connect() as controller:
        assert controller.write(1, MIB // BLOCK, bytes(BLOCK)).status == nvme.LBA_RANGE
        os.truncate(tmp_path / "disk.img", 2 * MIB)
        polluxd.client.bdev_aio_rescan("File0")
        assert controller.write(1, 2 * MIB // BLOCK - 1, bytes(BLOCK)).ok
        assert controller.write(1, 2 * MIB // BLOCK, bytes(BLOCK)).status == nvme.LBA_RANGE


# Coming back.


def test_a_host_that_breaks_off_under_io_finds_what_was_acknowledged(polluxd):
    one = Subsystem(polluxd.client)
    one.add_memory(1)
    host, acknowledged = Host(), {}
    for round_ in range(10):
        controller = one.connect(host)
        queue = controller.queues[0]
        for lba, data in acknowledged.items():
            assert controller.read(1, lba, 8) == data
        cids = {
            queue.submit(nvme.lba_entry(nvme.WRITE, 1, i * 8, 8), pattern(4096, round_ * 100 + i)): i for i in range(20)
        }
        for cid in list(cids)[:10]:
            if queue.wait(cid).ok:
                acknowledged[cids[cid] * 8] = pattern(4096, round_ * 100 + cids[cid])
        for cid in list(cids)[10:]:
            acknowledged.pop(cids[cid] * 8, None)
        queue.reset()
        controller.admin.reset()
    assert wait_until(lambda: one.controllers() == [])


def test_acknowledged_writes_outlive_the_daemon(polluxd, tmp_path):
    one = Subsystem(polluxd.client)
    one.add(file_disk(polluxd.client, tmp_path / "disk.img"), 1)
    with one.connect() as controller:
        for i in range(64):
            controller.write(1, i * 8, pattern(4096, i)).check()
        controller.flush(1).check()
        polluxd.kill()
        with pytest.raises(Closed):
            controller.queues[0].serve_one()
    polluxd.start()

    def connected():
        try:
            return nvme.Controller(one.address, NQN)
        except (OSError, nvme.CommandFailed):
            return None

    controller = wait_until(connected)
    controller.create_queues(1)
    for i in range(64):
        assert controller.read(1, i * 8, 8) == pattern(4096, i)
    controller.close()


def test_statistics_count_commands(shared_polluxd, controller):
    def completed():
        return sum(one["completed_nvme_io"] for one in shared_polluxd.client.nvmf_get_stats()["poll_groups"])

    before = completed()
    for i in range(25):
        controller.read(NSID, i, 1)
    assert completed() >= before + 25
    groups = shared_polluxd.client.nvmf_get_stats()["poll_groups"]
    assert sum(one["current_admin_qpairs"] for one in groups) >= 1
    assert sum(one["current_io_qpairs"] for one in groups) >= 2


# Everything at once, against a model of the disk.


def random_command(rng, model, kinds, taken):
    """One that touches no block of another in `taken`: (first block, blocks, entry, data), or None. What it
    does is done to the model."""
    blocks = rng.choice([1, 2, 7, 8, 16, 17, 32, 64, 100, 256])
    lba = rng.randrange(len(model) // BLOCK - blocks)
    if any(lba < end and begin < lba + blocks for begin, end in taken):
        return None
    taken.append((lba, lba + blocks))
    kind = rng.choice(kinds)
    data = rng.randbytes(blocks * BLOCK) if kind == "write" else bytes(blocks * BLOCK)
    model[lba * BLOCK : (lba + blocks) * BLOCK] = data
    if kind == "write":
        return lba, blocks, nvme.lba_entry(nvme.WRITE, NSID, lba, blocks), data
    if kind == "write zeroes":
        flags = rng.choice([0, nvme.DEALLOCATE])
        return lba, blocks, nvme.lba_entry(nvme.WRITE_ZEROES, NSID, lba, blocks, flags), b""
    ranges = struct.pack("<IIQ", 0, blocks, lba)
    return lba, blocks, nvme.entry(nvme.DSM, NSID, cdw11=4), ranges


@pytest.mark.parametrize("kinds", [("write",), ("write", "write zeroes"), ("write", "write zeroes", "deallocate")], ids=len)
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_many_at_once_leave_what_a_model_of_the_disk_says(polluxd, tmp_path, kind, kinds):
    one = Subsystem(polluxd.client)
    if kind == "file":
        one.add(file_disk(polluxd.client, tmp_path / "disk.img", 8 * MIB), NSID)
    else:
        one.add_memory(NSID)
    rng, model = random.Random(3), bytearray(8 * MIB)
    with one.connect(depth=64) as controller:
        queue = controller.queues[0]
        if IdentifyNamespace(controller.identify(0, NSID).check().data).dlfeat & 7 != 1:
            kinds = tuple(kind for kind in kinds if kind != "deallocate")  # Nobody knows what is there then.
        for _ in range(60):
            taken = []
            commands = [random_command(rng, model, kinds, taken) for _ in range(16)]
            commands = [command for command in commands if command]
            cids = [queue.submit(sqe, data, in_capsule=rng.choice([None, False])) for _, _, sqe, data in commands]
            assert all(done.ok for done in queue.wait_all(cids))
            for lba, blocks, _, _ in commands:
                assert controller.read(NSID, lba, blocks) == model[lba * BLOCK : (lba + blocks) * BLOCK]
        for lba in range(0, len(model) // BLOCK, 256):
            assert controller.read(NSID, lba, 256) == model[lba * BLOCK : (lba + 256) * BLOCK]
