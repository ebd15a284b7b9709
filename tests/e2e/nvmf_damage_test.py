"""Hosts that lie, break off, or never speak. Another host must not notice."""

import os
import random
import resource
import socket
import struct
import threading
import time

import pytest

import nvme_tcp_host as nvme
import nvme_tcp_wire as wire
from exports import BLOCK, wait_until
from hang_up import send_and_hang_up
from nvme_tcp_host import DISCOVERY_NQN, Controller, Host, Queue
from nvme_tcp_wire import C2H_TERM, COMMAND, HEADER_LENGTH, Closed, Wire, common_header
from nvmf_exports import IMPATIENT, NQN, Bystander, Subsystem

ANSWER_SECONDS = 5
TYPES = sorted(HEADER_LENGTH)
CAPSULE = 8192


@pytest.fixture(scope="module")
def subsystem(shared_polluxd):
    one = Subsystem(shared_polluxd.client, transport=IMPATIENT)
    one.add_memory(1)
    return one


@pytest.fixture(scope="module")
def module_bystander(subsystem):
    one = Bystander(subsystem)
    one.start()
    yield one
    one.finish()


@pytest.fixture(autouse=True)
def bystander(module_bystander):
    yield module_bystander
    assert module_bystander.goes_on(2), repr(module_bystander.trouble)


@pytest.fixture
def liar(subsystem):
    """A controller with a queue, whose R2Ts the test answers."""
    with subsystem.connect(timeout=ANSWER_SECONDS) as one:
        one.queues[0].hold_r2t = True
        yield one


def outcome(connection):
    """What the target does about what was sent: "closed", "silent", or the terminate request."""
    connection.socket.settimeout(ANSWER_SECONDS)
    try:
        while True:
            pdu = connection.receive()
            if pdu.type == C2H_TERM:
                return pdu
    except Closed:
        return "closed"
    except TimeoutError:
        return "silent"


def ended(connection):
    """The connection ends, in time, by a terminate request or without one. Returns what outcome() did."""
    told = outcome(connection)
    assert told != "silent"
    if told != "closed":
        try:
            connection.receive_bytes(1)
            pytest.fail("something came after the terminate request")
        except Closed:
            pass
    return told


def ended_with(connection, fes, fei=None):
    """It ends with a terminate request that says so."""
    told = ended(connection)
    assert told != "closed", "there was no terminate request"
    assert told.fes == fes, f"FES {told.fes}, FEI {told.fei:#x}"
    if fei is not None:
        assert told.fei == fei
    assert told.plen == 24 + len(told.data) and len(told.data) <= 128
    return told


# ICReq.


@pytest.mark.parametrize(
    "damage, fes, fei",
    [
        ({"pfv": 1}, wire.UNSUPPORTED, 8),
        ({"pfv": 0xFFFF}, wire.UNSUPPORTED, 8),
        ({"hpda": 32}, wire.INVALID_HEADER_FIELD, 10),
        ({"hpda": 255}, wire.INVALID_HEADER_FIELD, 10),
        ({"hlen": 127}, wire.INVALID_HEADER_FIELD, 2),
        ({"hlen": 0}, wire.INVALID_HEADER_FIELD, 2),
        ({"hlen": 255}, wire.INVALID_HEADER_FIELD, 2),
        ({"plen": 127}, wire.INVALID_HEADER_FIELD, 4),
        ({"plen": 129}, wire.INVALID_HEADER_FIELD, 4),
        ({"plen": 0}, wire.INVALID_HEADER_FIELD, 4),
        ({"plen": 0xFFFFFFFF}, wire.INVALID_HEADER_FIELD, 4),
    ],
    ids=str,
)
def test_a_damaged_icreq_is_told_where(subsystem, damage, fes, fei):
    with Wire(subsystem.address) as connection:
        connection.send_bytes(connection.ic_req(**damage))
        ended_with(connection, fes, fei)


@pytest.mark.parametrize(
    "options",
    [{"dgst": 0xFC}, {"maxr2t": 0xFFFFFFFF}, {"reserved": b"\xff" * 112}, {"flags": wire.HDGST | wire.DDGST}],
    ids=str,
)
def test_reserved_bits_and_any_maxr2t_do_no_harm(subsystem, options):
    with Wire(subsystem.address) as connection:
        connection.send_bytes(connection.ic_req(**options))
        answer = connection.receive()
        assert answer.type in (wire.IC_RESP, C2H_TERM)
        if answer.type == wire.IC_RESP:
            assert answer.header[11] == 0 and not any(answer.header[16:])


def test_a_second_icreq(liar):
    queue = liar.queues[0]
    queue.send_bytes(queue.ic_req())
    ended_with(queue, wire.SEQUENCE_ERROR)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in (wire.IC_REQ, wire.H2C_TERM)])
def test_anything_before_icreq(subsystem, kind):
    with Wire(subsystem.address) as connection:
        hlen = HEADER_LENGTH[kind]
        connection.send_bytes(common_header(kind, plen=hlen) + bytes(hlen - 8))
        ended(connection)


@pytest.mark.parametrize("count", [300, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_many_bad_icreqs_leave_nothing_behind(subsystem, shared_polluxd, count):
    def descriptors():
        return len(os.listdir(f"/proc/{shared_polluxd.pid}/fd"))

    rng = random.Random(5)
    before = descriptors()
    for _ in range(count):
        with Wire(subsystem.address) as connection:
            bad = bytearray(connection.ic_req(dgst=3))
            bad[rng.randrange(12)] ^= rng.randrange(1, 256)
            connection.send_bytes(bytes(bad))
    assert wait_until(lambda: descriptors() <= before)


# Headers.

LENGTHS = [0, 1, 7, 8, 9, 23, 24, 25, 71, 72, 73, 127, 128, 129, 200, 255]


@pytest.mark.parametrize("digests", [False, True], ids=["plain", "digests"])
@pytest.mark.parametrize("kind", TYPES, ids=wire.NAMES.get)
def test_every_length_of_a_header(subsystem, kind, digests):
    for hlen in LENGTHS:
        if hlen == HEADER_LENGTH[kind]:
            continue
        with Queue(subsystem.address, header_digest=digests, data_digest=digests) as queue:
            queue.send_bytes(common_header(kind, wire.HDGST * digests, hlen, plen=max(hlen, 8) + 4 * digests) + bytes(300))
            ended(queue)


@pytest.mark.parametrize("kind", [8, *range(10, 16), 0x20, 0x80, 0xFF])
def test_types_that_are_not_there(subsystem, kind):
    with Queue(subsystem.address) as queue:
        queue.send_bytes(struct.pack("<BBBBI", kind, 0, 24, 0, 24) + bytes(16))
        ended_with(queue, wire.INVALID_HEADER_FIELD, 0)


@pytest.mark.parametrize("kind", [wire.IC_RESP, C2H_TERM, wire.RESPONSE, wire.C2H_DATA, wire.R2T], ids=wire.NAMES.get)
def test_types_that_only_targets_send(liar, kind):
    queue = liar.queues[0]
    hlen = HEADER_LENGTH[kind]
    queue.send_bytes(common_header(kind, plen=hlen) + bytes(hlen - 8))
    ended(queue)


@pytest.mark.parametrize("plen", [0, 7, 8, 71, 73, 72 + 3, 72 + CAPSULE + 1, 1 << 20, 1 << 31, 0xFFFFFFFF])
def test_lengths_of_a_command_capsule(liar, plen):
    queue = liar.queues[0]
    sqe, _, _ = queue.capsule_of(nvme.lba_entry(nvme.WRITE, 1, 0, 1), 1, bytes(BLOCK))
    pdo = 72 if plen > 72 else 0
    queue.send_bytes(common_header(COMMAND, pdo=pdo, plen=plen) + sqe + bytes(1000))
    assert outcome(queue) != "silent"


@pytest.mark.parametrize("pdo", [1, 8, 71, 73, 74, 75, 255])
def test_places_where_the_data_cannot_be(liar, pdo):
    queue = liar.queues[0]
    sqe, data, _ = queue.capsule_of(nvme.lba_entry(nvme.WRITE, 1, 0, 1), 1, bytes(BLOCK))
    queue.send(COMMAND, sqe, data, pdo=pdo)
    told = ended(queue)
    assert told == "closed" or told.fes == wire.INVALID_HEADER_FIELD


@pytest.mark.parametrize("flags", [wire.HDGST, wire.DDGST, wire.HDGST | wire.DDGST])
def test_digests_that_were_not_agreed(liar, flags):
    queue = liar.queues[0]
    sqe, data, _ = queue.capsule_of(nvme.lba_entry(nvme.WRITE, 1, 0, 1), 1, bytes(BLOCK))
    queue.send(COMMAND, sqe, data, flags=flags)
    ended(queue)


def test_a_missing_digest(subsystem):
    with Queue(subsystem.address, header_digest=True) as queue:
        queue.header_digest = False
        queue.send(COMMAND, bytes(64))
        ended(queue)


@pytest.mark.parametrize("bit", range(32))
def test_a_wrong_header_digest_ends_the_connection(subsystem, bit):
    with Queue(subsystem.address, header_digest=True) as queue:
        sqe, data, _ = queue.capsule_of(nvme.fabrics_entry(nvme.CONNECT), 1)
        good = wire.digest(common_header(COMMAND, wire.HDGST, plen=76) + sqe)
        bad = struct.pack("<I", struct.unpack("<I", good)[0] ^ 1 << bit)
        queue.send(COMMAND, sqe, data, hdgst=bad)
        told = ended_with(queue, wire.HEADER_DIGEST_ERROR)
        assert told.fei == struct.unpack("<I", bad)[0]


def test_more_data_in_a_capsule_than_is_taken(liar):
    queue = liar.queues[0]
    for size in (CAPSULE + 4, 64 * 1024):
        with Queue(liar.address) as other:
            sqe, _, _ = other.capsule_of(nvme.lba_entry(nvme.WRITE, 1, 0, 1), 1, bytes(BLOCK))
            other.send(COMMAND, sqe, bytes(size))
            ended(other)
    assert queue.run(nvme.entry(nvme.FLUSH, 1)).ok


# Data that nobody asked for.


def waiting_write(liar, blocks=64):
    """A write that waits for its data: its R2T."""
    queue = liar.queues[0]
    queue.submit(nvme.lba_entry(nvme.WRITE, 1, 0, blocks), bytes(blocks * BLOCK), in_capsule=False)
    r2t = queue.next_r2t()
    assert r2t.ttag not in (0, 0xFFFF) or r2t.ttag == 0
    assert r2t.offset == 0 and 0 < r2t.length <= blocks * BLOCK
    return queue, r2t


@pytest.mark.parametrize("ttag", [0, 1, 2, 127, 128, 129, 0x7FFF, 0xFFFE, 0xFFFF])
def test_data_before_any_command(subsystem, ttag):
    with subsystem.connect() as controller:
        queue = controller.queues[0]
        queue.data(0, ttag, 0, bytes(512))
        ended_with(queue, wire.INVALID_HEADER_FIELD, 10)


def test_data_before_connect(subsystem):
    for ttag in (0, 1, 0xFFFF):
        with Queue(subsystem.address) as queue:
            queue.data(0, ttag, 0, bytes(512))
            ended(queue)


def test_data_for_a_read(liar):
    queue = liar.queues[0]
    cid = queue.submit(nvme.lba_entry(nvme.READ, 1, 0, 256), expect=256 * BLOCK)
    for ttag in (0, 1, cid):
        try:
            queue.data(cid, ttag, 0, bytes(512))
        except Closed:
            break
    ended(queue)


def test_data_for_a_transfer_tag_that_was_not_given(liar):
    queue, r2t = waiting_write(liar)
    queue.data(r2t.cid, r2t.ttag ^ 0x8000, 0, bytes(512), last=False)
    ended_with(queue, wire.INVALID_HEADER_FIELD, 10)


def test_data_for_transfer_tag_0(liar):
    queue, r2t = waiting_write(liar)
    queue.data(r2t.cid, 0, 0, bytes(512), last=False)
    if r2t.ttag:
        ended_with(queue, wire.INVALID_HEADER_FIELD, 10)


def test_data_of_another_command(liar):
    queue, r2t = waiting_write(liar)
    queue.data(r2t.cid ^ 1, r2t.ttag, 0, bytes(512), last=False)
    ended_with(queue, wire.INVALID_HEADER_FIELD, 8)


@pytest.mark.parametrize(
    "offset, length",
    [
        (512, 512),
        (64 * BLOCK, 512),
        (0xFFFFFE00, 512),
        (0xFFFFFFFF, 1),
        (0, 64 * BLOCK + 512),
        (1, 512),
        (0x80000000, 512),
    ],
)
def test_data_beside_what_was_asked_for(liar, offset, length):
    queue, r2t = waiting_write(liar)
    queue.data(r2t.cid, r2t.ttag, offset, bytes(length), last=False)
    told = ended(queue)
    assert told != "closed" and told.fes in (wire.OUT_OF_RANGE, wire.LIMIT_EXCEEDED, wire.INVALID_HEADER_FIELD)


@pytest.mark.parametrize("said", [0, 511, 513, 1 << 16, 1 << 31, 0xFFFFFE00, 0xFFFFFFFF])
def test_a_length_that_is_not_that_of_the_data(liar, said):
    queue, r2t = waiting_write(liar)
    queue.data(r2t.cid, r2t.ttag, 0, bytes(512), length=said, last=False)
    ended(queue)


@pytest.mark.parametrize("offset, said", [(0xFFFFFE00, 0x400), (0xFFFFFFFF, 0x201), (0x200, 0xFFFFFE00)])
def test_sums_that_wrap(liar, offset, said):
    queue, r2t = waiting_write(liar)
    queue.data(r2t.cid, r2t.ttag, offset, bytes(512), length=said)
    ended(queue)


@pytest.mark.parametrize("plen", [24, 25, 24 + 511, 24 + 513, 24 + (1 << 20), 0xFFFFFFFF])
def test_a_pdu_length_that_is_not_that_of_the_data(liar, plen):
    queue, r2t = waiting_write(liar)
    queue.data(r2t.cid, r2t.ttag, 0, bytes(512), last=False, plen=plen)
    ended(queue)


def test_data_twice_for_one_request(liar):
    queue, r2t = waiting_write(liar)
    data = bytes(r2t.length)
    queue.data(r2t.cid, r2t.ttag, 0, data)
    try:
        queue.data(r2t.cid, r2t.ttag, 0, data)
    except Closed:
        pass
    ended(queue)


def test_the_first_piece_twice(liar):
    queue, r2t = waiting_write(liar)
    queue.data(r2t.cid, r2t.ttag, 0, bytes(512), last=False)
    queue.data(r2t.cid, r2t.ttag, 0, bytes(512), last=False)
    ended_with(queue, wire.OUT_OF_RANGE)


@pytest.mark.parametrize("last", [True, False])
def test_the_last_flag_where_it_does_not_belong(liar, last):
    queue, r2t = waiting_write(liar)
    queue.data(r2t.cid, r2t.ttag, 0, bytes(512 if last else r2t.length), last=last)
    told = ended(queue)
    assert told != "closed" and told.fes in (wire.INVALID_HEADER_FIELD, wire.OUT_OF_RANGE, wire.SEQUENCE_ERROR)


def test_empty_pieces(liar):
    queue, r2t = waiting_write(liar)
    for _ in range(100):
        try:
            queue.data(r2t.cid, r2t.ttag, 0, b"", last=False)
        except Closed:
            break
    ended(queue)


def test_pieces_of_four_bytes_are_taken(liar):
    queue, r2t = waiting_write(liar, 16)
    data = os.urandom(r2t.length)
    stream = b"".join(
        queue.encode(
            wire.H2C_DATA,
            struct.pack("<HHII4x", r2t.cid, r2t.ttag, place, 4),
            data[place : place + 4],
            wire.LAST if place + 4 == len(data) else 0,
        )
        for place in range(0, len(data), 4)
    )
    queue.send_bytes(stream)
    assert queue.wait(r2t.cid).ok
    assert liar.read(1, 0, 16) == data


# Terminate requests.


@pytest.mark.parametrize("extra", [0, 8, 72, 128])
def test_a_host_may_terminate(liar, extra):
    queue = liar.queues[0]
    queue.send_terminate(wire.HEADER_DIGEST_ERROR, 4711, bytes(extra))
    assert ended(queue) == "closed", "a terminate request is not answered with one"


@pytest.mark.parametrize("extra", [129, 1000, 100_000])
def test_a_terminate_request_that_is_too_long(liar, extra):
    queue = liar.queues[0]
    try:
        queue.send_terminate(1, 0, bytes(extra))
        outcome(queue)
    except Closed:
        pass


# Commands.


def test_a_command_identifier_in_use(liar):
    queue = liar.queues[0]
    reads = [(nvme.lba_entry(nvme.READ, 1, 0, 256), 256 * BLOCK)] * 8
    stream = b""
    for sqe, expect in reads:
        sqe, _, exchange = queue.capsule_of(sqe, 9, expect=expect)
        stream += queue.encode(COMMAND, sqe)
    del exchange
    queue.send_bytes(stream)
    # Whatever becomes of them, the target stands; another queue of the same controller works.
    other = liar.open_queue(5, check=False)
    other.close()
    liar.keep_alive()


def test_a_write_whose_identifier_waits_already(liar):
    queue, r2t = waiting_write(liar)
    sqe, data, _ = queue.capsule_of(nvme.lba_entry(nvme.WRITE, 1, 0, 1), r2t.cid, bytes(BLOCK))
    queue.send(COMMAND, sqe, data)
    pdu = queue.receive()
    if pdu.type == wire.RESPONSE:
        assert struct.unpack_from("<H", pdu.header, 22)[0] >> 1 & 0x7FF == nvme.CID_CONFLICT
    else:
        assert pdu.type == C2H_TERM


@pytest.mark.parametrize("psdt", [0x00, 0x80, 0xC0])
def test_prps_have_no_place_here(liar, psdt):
    queue = liar.queues[0]
    sqe, _, exchange = queue.capsule_of(nvme.lba_entry(nvme.READ, 1, 0, 1), 21, expect=BLOCK)
    queue.exchanges[21] = exchange
    queue.send(COMMAND, sqe[:1] + bytes([psdt]) + sqe[2:])
    assert queue.wait(21).status == nvme.INVALID_FIELD


def test_more_commands_than_the_queue_has_entries(subsystem):
    with subsystem.connect(depth=4, timeout=ANSWER_SECONDS) as controller:
        queue = controller.queues[0]
        reads = [(nvme.lba_entry(nvme.READ, 1, i, 1), b"", BLOCK) for i in range(500)]
        try:
            cids = queue.submit_together(*reads)
            assert all(one.status in (0, nvme.INVALID_FIELD, nvme.SEQUENCE) for one in queue.wait_all(cids))
        except (Closed, nvme.Terminated):
            pass


@pytest.mark.parametrize("opcode", range(0, 256, 5))
def test_any_admin_command_with_any_length(subsystem, opcode):
    rng = random.Random(opcode)
    with subsystem.connect(queues=0) as controller:
        if opcode == nvme.FABRICS:
            return
        for length in (0, 1, 4, 16, 100, 4095, 4096, 4097, 65536, 1 << 20):
            words = {f"cdw{i}": rng.choice([0, 1, 2, 0xFFFF, 0x10000, 1 << 31, 0xFFFFFFFF]) for i in range(10, 16)}
            sqe = nvme.entry(opcode, rng.choice([0, 1, 2, 0xFFFFFFFF]), **words)
            if opcode == nvme.ASYNC_EVENT:
                return
            from_host = opcode & 3 == 1
            if from_host:
                controller.admin.run(sqe, bytes(min(length, CAPSULE)))
            else:
                controller.admin.run(sqe, expect=length)
        assert controller.admin.property_get(nvme.CSTS).ok


@pytest.mark.parametrize("seed", range(20))
def test_random_io_commands(subsystem, seed):
    rng = random.Random(seed)
    with subsystem.connect() as controller:
        queue = controller.queues[0]
        for _ in range(100):
            opcode = rng.choice([0, 1, 2, 4, 5, 8, 9, 0xC, 0xD, 0x11, 0x15, 0x19, rng.randrange(256)])
            if opcode == nvme.FABRICS:
                continue
            words = {
                "cdw10": rng.choice([0, 1, 255, 0x3FFF, 0xFFFFFFFF, rng.getrandbits(32)]),
                "cdw11": rng.choice([0, 0, 4, 0xFFFFFFFF]),
                "cdw12": rng.choice([0, 7, 255, 0xFFFF, rng.getrandbits(32)]),
                "cdw13": rng.getrandbits(32),
            }
            # Only the first half of the disk is this host's.
            if opcode in (1, 8, 0x19) and words["cdw11"] == 0:
                words["cdw10"] &= 0xFFF
                words["cdw12"] &= 0xFF0000FF
            if opcode == 9:
                words["cdw11"] = 0
            sqe = nvme.entry(opcode, rng.choice([0, 1, 1, 1, 7, 0xFFFFFFFF]), **words)
            size = rng.choice([0, 512, 4096, CAPSULE, rng.randrange(CAPSULE)])
            queue.run(sqe, bytes(size) if opcode & 1 else b"", expect=0 if opcode & 1 else 131072)
        assert controller.keep_alive().status in (0, nvme.KATO_INVALID)


# Floods.


def test_a_flood_of_event_requests(subsystem):
    with subsystem.connect(queues=0, admin_depth=128) as controller:
        admin = controller.admin
        limited = 0
        for _ in range(20):
            cids = [admin.submit(nvme.entry(nvme.ASYNC_EVENT)) for _ in range(100)]
            controller.keep_alive()
            while sum(admin.exchanges[cid].completion is not None for cid in cids) < len(cids) - 16:
                admin.serve_one()
            limited += sum(
                admin.exchanges[cid].completion is not None and admin.exchanges[cid].completion.status == nvme.EVENT_LIMIT
                for cid in cids
            )
        assert limited >= 20 * 100 - 16


def test_a_storm_of_aborts(subsystem):
    with subsystem.connect(admin_depth=128) as controller:
        queue = controller.queues[0]
        for _ in range(20):
            cids = [queue.submit(nvme.lba_entry(nvme.READ, 1, i, 64), expect=64 * BLOCK) for i in range(20)]
            aborts = [controller.admin.submit(nvme.entry(nvme.ABORT, cdw10=cid << 16 | 1)) for cid in cids for _ in range(5)]
            assert all(one.status in (0, nvme.ABORT_LIMIT) for one in controller.admin.wait_all(aborts))
            assert all(one.status in (0, nvme.ABORTED) for one in queue.wait_all(cids))
        assert controller.read(1, 0, 1)


def test_aborts_of_aborts_and_of_oneself(subsystem):
    with subsystem.connect(admin_depth=128) as controller:
        cids = [controller.admin.submit(nvme.entry(nvme.ABORT, cdw10=cid << 16)) for cid in range(100)]
        assert all(one.status in (0, nvme.ABORT_LIMIT) for one in controller.admin.wait_all(cids))


# Streams that break off.


def conversation():
    """The bytes of a connection up to a write and a read, with nothing waited for."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        connection = Wire(nobody.getsockname())
        queue = Queue.__new__(Queue)
        queue.__dict__ |= connection.__dict__ | {"exchanges": {}, "event_cids": set(), "_cid": 0, "capsule": CAPSULE}
        specific = struct.pack("<HHHBxI", 0, 0, 31, 0, 0)
        pieces = [connection.ic_req()]
        for sqe, data, expect in (
            (nvme.fabrics_entry(nvme.CONNECT, specific), nvme.connect_data(NQN, Host()), 0),
            (nvme.fabrics_entry(nvme.PROPERTY_SET, struct.pack("<B3xIQ", 0, nvme.CC, nvme.CC_ENABLE)), b"", 0),
            (nvme.entry(nvme.IDENTIFY, cdw10=1), b"", 4096),
            (nvme.entry(nvme.SET_FEATURES, cdw10=nvme.QUEUES), b"", 0),
            (nvme.entry(nvme.GET_LOG_PAGE, nvme.EVERY_NSID, cdw10=2 | 127 << 16), b"", 512),
        ):
            sqe, capsule, _ = queue.capsule_of(sqe, len(pieces), data, expect)
            pieces.append(queue.encode(COMMAND, sqe, capsule))
        connection.close()
    return b"".join(pieces)


def test_a_connection_cut_at_every_byte(subsystem):
    stream = conversation()
    for cut in range(0, len(stream) + 1, 3):
        with socket.create_connection(subsystem.address) as connection:
            connection.sendall(stream[:cut])
            if cut % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    subsystem.await_controllers(1)


def test_random_bits_are_flipped(subsystem):
    stream = conversation()
    rng = random.Random(7)
    for _ in range(300):
        damaged = bytearray(stream)
        for _ in range(rng.randint(1, 4)):
            place = rng.choice([rng.randrange(128), 128 + rng.randrange(72), rng.randrange(len(stream))])
            damaged[place] ^= 1 << rng.randrange(8)
        with socket.create_connection(subsystem.address) as connection:
            connection.settimeout(ANSWER_SECONDS)
            send_and_hang_up(connection, damaged)
    subsystem.await_controllers(1)


def test_garbage_is_not_spoken_to(subsystem):
    rng = random.Random(8)
    for _ in range(50):
        with socket.create_connection(subsystem.address) as connection:
            try:
                connection.sendall(rng.randbytes(rng.choice([1, 8, 128, 5000, 100000])))
            except OSError:
                pass
    subsystem.await_controllers(1)


@pytest.mark.parametrize("seed", range(15))
def test_a_host_that_vanishes_with_all_its_work(subsystem, seed):
    rng = random.Random(seed)
    controller = subsystem.connect(queues=rng.randint(1, 4))
    for queue in controller.queues:
        queue.hold_r2t = True
        for i in range(20):
            if rng.random() < 0.5:
                queue.submit(nvme.lba_entry(nvme.READ, 1, i, 256), expect=256 * BLOCK)
            else:
                queue.submit(nvme.lba_entry(nvme.WRITE, 1, i, 64), bytes(64 * BLOCK), in_capsule=False)
    for _ in range(rng.randint(0, 4)):
        controller.admin.submit(nvme.entry(nvme.ASYNC_EVENT))
        controller.admin.submit(nvme.entry(nvme.IDENTIFY, cdw10=1), expect=4096)
    connections = [controller.admin, *controller.queues]
    rng.shuffle(connections)
    for connection in connections:
        (connection.reset if rng.random() < 0.5 else connection.close)()
        time.sleep(rng.choice([0, 0, 0.002]))
    subsystem.await_controllers(1)


def test_an_io_queue_for_a_controller_that_is_dying(subsystem, shared_polluxd):
    for _ in range(30):
        controller = subsystem.connect(queues=0)
        controller.set_features(nvme.QUEUES, 3).check()
        queue = Queue(subsystem.address)
        controller.admin.reset()
        try:
            done = queue.connect(NQN, controller.host, 1, cntlid=controller.cntlid)
            assert done.status in (0, nvme.CONNECT_PARAMETERS, nvme.SEQUENCE)
            if done.ok:
                with pytest.raises(Closed):
                    queue.serve_one()
        except Closed:
            pass
        queue.close()
        shared_polluxd.client.nvmf_subsystem_get_qpairs(NQN)
    subsystem.await_controllers(1)


def test_the_same_queue_identifier_again_and_again(subsystem):
    with subsystem.connect(queues=1) as controller:
        for _ in range(50):
            sqe = nvme.fabrics_entry(nvme.CONNECT, struct.pack("<HHHBxI", 0, 1, 31, 0, 0))
            data = nvme.connect_data(NQN, controller.host, controller.cntlid)
            queues = [Queue(subsystem.address) for _ in range(2)]
            cids = [queue.submit(sqe, data) for queue in queues]
            controller.queues[0].reset()
            done = [queue.wait(cid) for queue, cid in zip(queues, cids)]
            assert sum(one.ok for one in done) <= 1
            for queue in queues:
                queue.close()

            def connected():
                queue = controller.open_queue(1, check=False)
                if not queue.connected.ok:
                    queue.close()
                    return False
                controller.queues[0] = queue
                return True

            assert wait_until(connected)
        assert controller.read(1, 0, 1)


def test_what_is_deleted_twice_while_hosts_come(shared_polluxd):
    """Subsystems come and go by two clients, and hosts try to connect all the time."""
    name = f"{NQN}-fleeting"
    stop = threading.Event()
    address = {}

    def come():
        while not stop.is_set():
            try:
                if address:
                    Controller(address["is"], name, timeout=ANSWER_SECONDS).close()
            except (OSError, Closed, nvme.CommandFailed, nvme.Terminated, AssertionError):
                pass

    threads = [threading.Thread(target=come) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with shared_polluxd.connect() as other:
            for _ in range(20):
                one = Subsystem(shared_polluxd.client, name)
                address["is"] = one.address
                time.sleep(0.02)
                failed = 0
                for client in (shared_polluxd.client, other):
                    try:
                        client.nvmf_delete_subsystem(name)
                    except Exception:  # pylint: disable=broad-except
                        failed += 1
                assert failed == 1
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


# Many, and silent.


def test_a_thousand_connections_that_say_nothing(subsystem, bystander):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    silent = []
    try:
        for _ in range(1000):
            silent.append(socket.create_connection(subsystem.address, 5))
        assert bystander.goes_on(10)
        with subsystem.connect() as controller:
            assert controller.read(1, 0, 1)
    finally:
        for one in silent:
            one.close()


def test_half_a_header_and_then_silence(subsystem, bystander):
    stream = conversation()
    slow = [socket.create_connection(subsystem.address) for _ in range(200)]
    for number, one in enumerate(slow):
        one.sendall(stream[: 5 * number + 1])
    assert bystander.goes_on(10)
    for one in slow:
        one.close()
    subsystem.await_controllers(1)


def test_one_byte_at_a_time(subsystem):
    with Wire(subsystem.address) as connection:
        for byte in connection.ic_req():
            connection.send_bytes(bytes([byte]))
        assert connection.receive().type == wire.IC_RESP


def test_a_host_that_never_reads_holds_only_itself(subsystem, bystander):
    with subsystem.connect(depth=128) as deaf:
        queue = deaf.queues[0]
        for i in range(127):
            queue.submit(nvme.lba_entry(nvme.READ, 1, i, 256), expect=256 * BLOCK)
        assert bystander.goes_on(20)
    subsystem.await_controllers(1)


def test_hosts_that_never_send_their_data_hold_only_themselves(subsystem, bystander):
    controllers = []
    for _ in range(20):
        one = subsystem.connect(depth=128)
        one.queues[0].hold_r2t = True
        controllers.append(one)
        for i in range(127):
            one.queues[0].submit(nvme.lba_entry(nvme.WRITE, 1, i, 256), bytes(256 * BLOCK), in_capsule=False)
    assert bystander.goes_on(20)
    for one in controllers:
        one.close()
    subsystem.await_controllers(1)


@pytest.mark.nightly
def test_who_does_not_connect_in_time_is_sent_away(subsystem):
    stream = conversation()
    slow = [socket.create_connection(subsystem.address) for _ in range(10)]
    for number, one in enumerate(slow):
        one.sendall(stream[: 20 * number])
    deadline = time.monotonic() + 60
    for one in slow:
        one.settimeout(max(0.1, deadline - time.monotonic()))
        while one.recv(1000):
            pass


def test_a_half_open_host_is_found_by_its_keep_alive(subsystem):
    with subsystem.connect(kato=1000) as silent:
        silent.queues[0].submit(nvme.lba_entry(nvme.WRITE, 1, 0, 64), bytes(64 * BLOCK), in_capsule=False)
        subsystem.await_controllers(1)


def test_a_stopped_daemon_goes_on(shared_polluxd, bystander):
    os.kill(shared_polluxd.pid, 19)
    time.sleep(1)
    os.kill(shared_polluxd.pid, 18)
    assert bystander.goes_on(10)


def test_names_that_are_formats_do_no_harm_in_the_log(subsystem, shared_polluxd):
    for text in (b"nqn.2024-01.io.pollux:%n%s%n%s%x", b"nqn.2024-01.io.pollux:\n\x1b[31mred", b"nqn.2024-01.io.pollux:" + b"%s" * 90):
        host = Host()
        data = bytearray(nvme.connect_data(NQN, host))
        data[512:768] = text.ljust(256, b"\0")
        with Queue(subsystem.address) as queue:
            queue.connect(NQN, host, data=bytes(data))
        data[256:512] = text.ljust(256, b"\0")
        with Queue(subsystem.address) as queue:
            assert not queue.connect(NQN, host, data=bytes(data)).ok
    assert "\x1b[31m" not in shared_polluxd.log()


def test_descriptors_come_back(subsystem, shared_polluxd):
    def use():
        for _ in range(20):
            with subsystem.connect(queues=3) as controller:
                controller.write(1, 0, bytes(64 * BLOCK)).check()
            Controller(subsystem.address, DISCOVERY_NQN).close()

    def descriptors():
        return len(os.listdir(f"/proc/{shared_polluxd.pid}/fd"))

    use()
    subsystem.await_controllers(1)
    before = descriptors()
    for _ in range(3):
        use()
    subsystem.await_controllers(1)
    assert wait_until(lambda: descriptors() <= before)
