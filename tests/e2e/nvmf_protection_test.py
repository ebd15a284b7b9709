"""Protection information end to end: memory disks that keep it, served over NVMe/TCP with their metadata at the end
of each block. NVM Command Set Specification 1.0, chapter 5.2."""

import struct

import pytest

import nvme_tcp_host as nvme
import pollux
from exports import BLOCK, export
from nvme_structures import IdentifyNamespace
from nvmf_exports import Subsystem

BLOCKS = 1024
GUARD, APPLICATION, REFERENCE = 1 << 28, 1 << 27, 1 << 26  # PRCHK, in dword 12.
PRACT = 1 << 29
EVERYTHING = GUARD | APPLICATION | REFERENCE
GUARD_ERROR, APPLICATION_ERROR, REFERENCE_ERROR, INVALID_PROTECTION = 0x282, 0x283, 0x284, 0x181
ESCAPE = b"\xff" * 8
TAG = 0xBEEF

# Type, bytes of metadata, protection information at its start.
FORMATS = {1: (1, 8, False), 2: (1, 64, True), 3: (1, 16, False), 4: (2, 8, True), 5: (3, 8, False)}


def crc16_t10dif(data):
    """Polynomial 8BB7h, from 0, not reflected."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x8BB7 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


assert crc16_t10dif(b"123456789") == 0xD0DB


class Format:
    def __init__(self, nsid):
        self.nsid = nsid
        self.type, self.metadata, self.first = FORMATS[nsid]
        self.block = BLOCK + self.metadata
        self.at = BLOCK if self.first else self.block - 8  # Of the protection information.

    def blocks(self, lba, count, fill=0x5A, guard=0, tag=TAG, reference=0):
        """Blocks with protection information; `guard` and `reference` are how far it is off."""
        result = b""
        for i in range(count):
            data = bytes([fill + i & 0xFF]) * BLOCK + bytes([0x77]) * (self.metadata - 8) * (not self.first)
            own = struct.pack(">HHI", crc16_t10dif(data) ^ guard, tag, lba + i + reference)
            result += data + own + bytes([0x66]) * (self.metadata - 8) * self.first
        return result

    def protection(self, blocks, index):
        start = index * self.block + self.at
        return blocks[start : start + 8]

    def command(self, opcode, lba, blocks, prinfo=0, tag=TAG, mask=0xFFFF, reference=None):
        sqe = bytearray(nvme.lba_entry(opcode, self.nsid, lba, blocks, prinfo))
        if prinfo:
            struct.pack_into("<II", sqe, 56, lba if reference is None else reference, mask << 16 | tag)
        return bytes(sqe)


@pytest.fixture(scope="module")
def subsystem(shared_polluxd):
    client, one = shared_polluxd.client, Subsystem(shared_polluxd.client)
    for nsid, (kind, metadata, first) in FORMATS.items():
        options = {"md_size": metadata, "md_interleave": True, "dif_type": kind, "dif_is_head_of_md": first}
        one.add(client.bdev_malloc_create(BLOCKS, BLOCK, name=f"Protected{nsid}", **options), nsid)
    yield one
    client.nvmf_delete_subsystem(one.nqn)


@pytest.fixture
def controller(subsystem):
    with subsystem.connect() as one:
        yield one


@pytest.fixture(params=FORMATS, ids=lambda nsid: f"type{FORMATS[nsid][0]}-{FORMATS[nsid][1]}")
def form(request):
    return Format(request.param)


def write(controller, form, lba, data, prinfo=0, **words):
    return controller.io(form.command(nvme.WRITE, lba, len(data) // form.block, prinfo, **words), data)


def read(controller, form, lba, blocks, prinfo=0, **words):
    return controller.io(form.command(nvme.READ, lba, blocks, prinfo, **words), expect=blocks * form.block)


def checks(form):
    """All that can be asked for."""
    return EVERYTHING if form.type != 3 else GUARD | APPLICATION


# What it says of itself.


def test_identify_says_what_the_disk_keeps(controller, form):
    told = IdentifyNamespace(controller.identify(0, form.nsid).check().data)
    assert told.dps == form.type | (8 if form.first else 0)
    assert told.dpc == 1 << form.type - 1 | (8 if form.first else 16)
    assert (told.mc, told.flbas) == (1, 16)
    assert struct.unpack_from("<H", told.data, 128) == (form.metadata,) and told.block_size == BLOCK


def test_bdev_get_bdevs_shows_it(shared_polluxd, subsystem, form):
    (disk,) = shared_polluxd.client.bdev_get_bdevs(f"Protected{form.nsid}")
    shown = disk["md_size"], disk["md_interleave"], disk["dif_type"], disk["dif_is_head_of_md"]
    assert shown == (form.metadata, True, form.type, form.first)
    assert disk["block_size"] == form.block and disk["dif_pi_format"] == 0
    assert disk["enabled_dif_check_types"] == {"reftag": form.type != 3, "apptag": False, "guard": True}
    del subsystem


@pytest.mark.parametrize(
    "params, field",
    [
        ({"md_size": 0, "dif_type": 1}, "dif_type"),
        ({"md_size": 8, "dif_type": 4}, "dif_type"),
        ({"md_size": 8, "dif_is_head_of_md": True}, "dif_is_head_of_md"),
        ({"md_size": 16, "dif_type": 1, "dif_pi_format": 1}, "dif_pi_format"),
        ({"md_size": 16, "dif_type": 1, "dif_pi_format": 2}, "dif_pi_format"),
    ],
)
def test_what_is_not_kept_is_refused(shared_polluxd, params, field):
    with pytest.raises(pollux.InvalidArgument) as caught:
        shared_polluxd.client.bdev_malloc_create(BLOCKS, BLOCK, name="Refused", **params)
    assert caught.value.field == field


# Writes and reads.


@pytest.mark.parametrize("count", [1, 3, 16, 200])
@pytest.mark.parametrize("checked", [False, True])
def test_what_is_right_is_written_and_read(controller, form, count, checked):
    data, prinfo = form.blocks(40, count, fill=count), checks(form) if checked else 0
    assert write(controller, form, 40, data, prinfo).check()
    assert read(controller, form, 40, count, prinfo).check().data == data


@pytest.mark.parametrize("bad", [0, 1, 7])
def test_the_target_tells_what_is_wrong(controller, form, bad):
    good = form.blocks(300, 8)
    assert write(controller, form, 300, good, checks(form)).ok
    faults = [(GUARD_ERROR, {"guard": 1}), (APPLICATION_ERROR, {"tag": TAG ^ 1})]
    if form.type != 3:
        faults.append((REFERENCE_ERROR, {"reference": 1}))
    for status, fault in faults:
        wrong = bytearray(form.blocks(300, 8, 0x11))
        wrong[bad * form.block : (bad + 1) * form.block] = form.blocks(300 + bad, 1, 0x11 + bad, **fault)
        wrong = bytes(wrong)
        assert write(controller, form, 300, wrong, checks(form)).status == status
    assert read(controller, form, 300, 8, checks(form)).check().data == good


def test_the_disk_lets_nothing_wrong_in_on_its_own(controller, form):
    """PRCHK is 0: no check by the controller."""
    good = form.blocks(400, 4)
    assert write(controller, form, 400, good).ok
    assert write(controller, form, 400, form.blocks(400, 4, 0x11, guard=0x8000)).status == nvme.WRITE_FAULT
    moved = write(controller, form, 400, form.blocks(400, 4, 0x5A, reference=1))
    assert moved.status == (0 if form.type == 3 else nvme.WRITE_FAULT)
    if form.type != 3:
        assert read(controller, form, 400, 4).check().data == good
    assert write(controller, form, 400, form.blocks(400, 4, 0x5A, tag=1)).ok


def test_an_application_tag_is_checked_under_its_mask(controller, form):
    assert write(controller, form, 420, form.blocks(420, 2)).ok
    assert read(controller, form, 420, 2, APPLICATION, tag=TAG ^ 0xF0).status == APPLICATION_ERROR
    assert read(controller, form, 420, 2, APPLICATION, tag=TAG ^ 0xF0, mask=0xFF0F).ok


def test_what_cannot_be_asked_for(controller, form):
    data = form.blocks(0, 1)
    assert write(controller, form, 0, data, PRACT).status == nvme.INVALID_FIELD
    if form.type != 2:
        assert read(controller, form, 0, 1, REFERENCE, reference=7).status == INVALID_PROTECTION


# Blocks that nobody wrote.


def assert_escape(form, blocks):
    for i in range(len(blocks) // form.block):
        assert form.protection(blocks, i) == ESCAPE
        assert not any(blocks[i * form.block : i * form.block + BLOCK])


def test_what_was_never_written_passes_every_check(controller, form):
    assert_escape(form, read(controller, form, 900, 16, checks(form)).check().data)
    assert controller.io(form.command(nvme.VERIFY, 900, 16, checks(form))).ok


@pytest.mark.parametrize("how", ["write zeroes", "write zeroes that deallocate", "deallocate"])
def test_what_was_zeroed_passes_every_check(controller, form, how):
    data = form.blocks(500, 24)
    assert write(controller, form, 500, data, checks(form)).ok
    if how == "deallocate":
        assert controller.deallocate(form.nsid, (508, 8)).ok
    else:
        flags = nvme.DEALLOCATE if "that" in how else 0
        assert controller.write_zeroes(form.nsid, 508, 8, flags).ok
    found = read(controller, form, 500, 24, checks(form)).check().data
    assert_escape(form, found[8 * form.block : 16 * form.block])
    assert found[: 8 * form.block] == data[: 8 * form.block]
    assert found[16 * form.block :] == data[16 * form.block :]
    assert write(controller, form, 508, data[8 * form.block : 16 * form.block], checks(form)).ok
    assert read(controller, form, 500, 24, checks(form)).check().data == data


# Compare and Copy.


def test_compare_has_protection_information_too(controller, form):
    data = form.blocks(600, 4)
    assert write(controller, form, 600, data).ok
    compare = form.command(nvme.COMPARE, 600, 4)
    assert controller.io(compare, data).ok
    assert controller.io(compare, form.blocks(600, 4, tag=1)).status == nvme.COMPARE_FAILURE


def test_a_copy_takes_protection_information_along(controller, form):
    """As it is. Where the reference tag is the block's address it is wrong elsewhere, and the disk says so."""
    data = form.blocks(700, 4)
    assert write(controller, form, 700, data).ok
    assert controller.write_zeroes(form.nsid, 750, 8).ok
    done = controller.copy(form.nsid, 750, (700, 4))
    if form.type == 3:
        assert done.ok and read(controller, form, 750, 4, checks(form)).check().data == data
    else:
        assert done.status == nvme.WRITE_FAULT
        assert_escape(form, read(controller, form, 750, 4, checks(form)).check().data)
    assert controller.copy(form.nsid, 754, (950, 4)).ok  # Never written: nothing is held against it.
    assert_escape(form, read(controller, form, 754, 4, checks(form)).check().data)


# Who cannot carry it.


def test_metadata_that_is_apart_is_no_namespace(shared_polluxd, subsystem):
    client = shared_polluxd.client
    client.bdev_malloc_create(BLOCKS, BLOCK, name="Apart", md_size=8, dif_type=1)
    with pytest.raises(pollux.RpcError):
        subsystem.add("Apart", 9)
    client.bdev_malloc_delete("Apart")


def test_a_lun_does_not_carry_metadata_among_its_data(shared_polluxd, subsystem):
    """An initiator would take it for data. Nothing of the target node is made."""
    client = shared_polluxd.client
    client.bdev_malloc_create(BLOCKS, BLOCK, name="Among", md_size=8, md_interleave=True, dif_type=1)
    with pytest.raises(pollux.RpcError) as caught:
        export(client, "Among")
    assert "metadata among its data" in str(caught.value)
    assert client.iscsi_get_target_nodes() == []
    client.bdev_malloc_delete("Among")
    del subsystem
