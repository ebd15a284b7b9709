"""Initiators that lie, break off, or never speak. Another session must not notice."""

import os
import random
import re
import resource
import select
import socket
import struct
import threading
import time

import pytest

import iscsi_peer as iscsi
from exports import BLOCK, export, memory_disk, wait_until
from hang_up import send_and_hang_up
from iscsi_peer import FINAL, IMMEDIATE, Closed, Pdu, Peer, header, text

ANSWER_SECONDS = 5


class Bystander(threading.Thread):
    """A session that writes and reads back as long as the test runs; any surprise is kept."""

    def __init__(self, target):
        super().__init__()
        self.peer = Peer(target.portal)
        assert self.peer.login(target.iqn, name="iqn.2026-01.test:bystander") == 0
        self.peer.ready()
        self.ended = threading.Event()
        self.rounds = 0
        self.trouble = None

    def run(self):
        rng = random.Random(1)
        try:
            while not self.ended.is_set():
                lba, blocks = rng.randrange(2048, 4096), rng.choice([1, 8, 64, 200])
                data = rng.randbytes(blocks * BLOCK)
                self.peer.write(lba, data)
                assert self.peer.read(lba, blocks) == data
                self.rounds += 1
        except Exception as trouble:  # pylint: disable=broad-except
            self.trouble = trouble

    def finish(self):
        before = self.rounds
        wait_until(lambda: self.rounds > before or self.trouble)
        self.ended.set()
        self.join(30)
        assert self.trouble is None, repr(self.trouble)
        assert self.rounds > before
        self.peer.logout()


@pytest.fixture
def target(polluxd):
    return export(polluxd.client, memory_disk(polluxd.client, 4 << 20))


@pytest.fixture
def bystander(target):
    one = Bystander(target)
    one.start()
    yield one
    one.finish()


def connections_end(polluxd, left):
    """All connections but `left` are gone, in time."""
    assert wait_until(lambda: len(polluxd.client.iscsi_get_connections()) <= left), (
        polluxd.client.iscsi_get_connections()
    )


def outcome(peer):
    """What the target does about what was sent: "closed", "silent", or the PDU that it answers."""
    peer.socket.settimeout(ANSWER_SECONDS)
    try:
        return peer.receive()
    except Closed:
        return "closed"
    except socket.timeout:
        return "silent"


def login_refused(answer):
    return answer == "closed" or answer.opcode == iscsi.LOGIN_RESPONSE and answer.bhs[36] != 0


NAME = "InitiatorName=iqn.2026-01.test:liar\0"


# The text of a login.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"=",
        b"=\0",
        b"no equals sign\0",
        NAME.encode() + b"InitiatorName=iqn.2026-01.test:other\0",
        b"InitiatorName=\0",
        b"InitiatorName=" + b"x" * 224 + b"\0",
        b"InitiatorName=" + b"x" * 8000 + b"\0",
        b"TargetName=iqn.2016-06.io.spdk:disk\0",
        NAME.encode() + b"SessionType=Nonsense\0",
        NAME.encode() + b"TargetName=iqn.2016-06.io.spdk:nobody\0",
        NAME.encode() + b"TargetName=%n%s%n%s\0",
        NAME.encode() + b"SessionType=Normal\0",
        NAME.encode() + b"TargetName=iqn.2016-06.io.spdk:disk\0AuthMethod=CHAP\0",
        NAME.encode() + b"TargetName=iqn.2016-06.io.spdk:disk\0MaxRecvDataSegmentLength=1\0",
        NAME.encode() + b"TargetName=iqn.2016-06.io.spdk:disk\0MaxConnections=99999999999999999999\0",
        NAME.encode() + b"TargetName=iqn.2016-06.io.spdk:disk\0FirstBurstLength=262144\0MaxBurstLength=512\0"
        b"MaxBurstLength=512\0",
        b"\xff\xfe" * 100 + b"\0",
        NAME.encode()[:-1],
    ],
    ids=lambda data: repr(data[:60]),
)
def test_a_login_whose_text_is_damaged_is_answered(polluxd, target, data):
    with Peer(target.portal) as peer:
        peer.send(peer.login_pdu(data))
        answer = outcome(peer)
        assert answer != "silent"
        # Refused, or negotiated to something sound.
        if not login_refused(answer):
            assert answer.opcode in (iscsi.LOGIN_RESPONSE, iscsi.REJECT)
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0


def test_unknown_keys_are_not_understood_and_the_answer_is_bounded(target):
    with Peer(target.portal) as peer:
        keys = "".join(f"X-{'k' * 20}{i}=v\0" for i in range(200))
        data = f"{NAME}TargetName={target.iqn}\0{keys}".encode()[:8192]
        peer.send(peer.login_pdu(data))
        answer = outcome(peer)
        assert answer == "closed" or answer.opcode == iscsi.LOGIN_RESPONSE
        if answer != "closed" and answer.bhs[36] == 0:
            assert b"NotUnderstood" in answer.data and len(answer.data) <= 8192


def test_a_login_without_an_end_is_ended(polluxd, target):
    with Peer(target.portal) as peer:
        answer = None
        for i in range(100):
            # C: more is to come.
            pdu = peer.login_pdu(b"X-a=" + b"v" * 4000 + b"\0", transit=False)
            pdu.bhs = pdu.bhs[:1] + bytes([pdu.bhs[1] | 0x40]) + pdu.bhs[2:]
            try:
                peer.send(pdu)
            except OSError:
                answer = "closed"
                break
            answer = outcome(peer)
            if login_refused(answer):
                break
        assert login_refused(answer) and i < 64
    connections_end(polluxd, 0)


@pytest.mark.parametrize("opcode", [0, 1, 2, 4, 5, 6, 0x10, 0x1C, 0x21, 0x3F])
def test_what_is_no_login_before_the_login_ends_the_connection(polluxd, target, opcode):
    with Peer(target.portal) as peer:
        peer.send(Pdu(header(opcode | IMMEDIATE, FINAL)))
        answer = outcome(peer)
        assert login_refused(answer)
    connections_end(polluxd, 0)


@pytest.mark.parametrize("stages", [(0, 0), (0, 2), (2, 3), (3, 3), (1, 0), (1, 1), (1, 2)])
def test_stages_that_do_not_follow_are_refused(polluxd, target, stages):
    with Peer(target.portal) as peer:
        peer.send(peer.login_pdu(f"{NAME}TargetName={target.iqn}\0".encode(), *stages))
        answer = outcome(peer)
        assert answer != "silent" and login_refused(answer)
    connections_end(polluxd, 0)


def test_refused_logins_do_not_fill_the_log(polluxd, target):
    began = time.monotonic()
    for _ in range(300):
        with Peer(target.portal) as peer:
            assert peer.login("iqn.2026-01.test:nobody") != 0
    seconds = time.monotonic() - began

    def told():
        log = polluxd.log()
        shown = log.count("is refused, status")
        left_out = sum(map(int, re.findall(r"(\d+) more lines about logins were left out", log)))
        return (shown, left_out) if shown + left_out == 300 else None

    shown, _ = wait_until(told)
    assert shown <= 10 * (seconds + 2)


def test_a_login_that_names_no_session_of_ours_is_refused(target):
    with Peer(target.portal) as peer:
        peer.tsih = 999
        assert peer.login(target.iqn) == 0x020A  # Session does not exist.


def test_the_same_isid_takes_the_place_of_the_old_session(target):
    with Peer(target.portal) as old, Peer(target.portal) as new:
        assert old.login(target.iqn) == 0
        new.isid = old.isid
        assert new.login(target.iqn) == 0
        assert outcome(old) == "closed"
        assert new.ready() == 0


# Lengths that lie.


def read_cdb(lba, blocks):
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


def write_cdb(lba, blocks):
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, blocks, 0)


@pytest.fixture
def liar(target):
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn, name="iqn.2026-01.test:liar") == 0
        peer.ready()
        yield peer


def handled(peer):
    """The target answered or closed; if it goes on, it still serves this session."""
    answer = outcome(peer)
    assert answer != "silent"
    if answer == "closed":
        return answer
    try:
        while answer.opcode in (iscsi.DATA_IN, iscsi.R2T):
            if answer.opcode == iscsi.R2T or answer.flags & 1:
                break
            answer = peer.receive()
        assert peer.ready() in (0, 2)
    except Closed:
        return "closed"
    return answer


@pytest.mark.parametrize("opcode", [iscsi.COMMAND, iscsi.DATA_OUT, iscsi.TEXT, iscsi.NOP_OUT, iscsi.TASK])
def test_no_data_where_data_are_expected(liar, bystander, opcode):
    words = (BLOCK, liar.cmd_sn, liar.exp_stat_sn)
    flags = FINAL | (iscsi.WRITE if opcode == iscsi.COMMAND else 1)
    bhs = header(opcode, flags, 0, tag=77, words=words)
    if opcode == iscsi.COMMAND:
        bhs = bhs[:32] + write_cdb(0, 1).ljust(16, b"\0")
    if opcode != iscsi.DATA_OUT:
        liar.cmd_sn += 1
    liar.send(Pdu(bhs))
    handled(liar)


@pytest.mark.parametrize("length", [1 << 24, (1 << 24) - 1, 1 << 20, 300000])
def test_a_data_segment_beyond_what_was_agreed(liar, bystander, length):
    length = min(length, (1 << 24) - 1)
    bhs = header(iscsi.NOP_OUT | IMMEDIATE, FINAL, length, tag=5, words=(iscsi.NO_TAG, liar.cmd_sn, liar.exp_stat_sn))
    liar.socket.sendall(bhs)
    assert handled(liar) == "closed" or True


@pytest.mark.parametrize("ahs", [1, 255])
def test_additional_headers_that_nobody_asked_for(liar, bystander, ahs):
    pdu = liar.command_pdu(bytes(6))
    bhs = pdu.bhs[:4] + bytes([ahs]) + pdu.bhs[5:]
    liar.socket.sendall(bhs + bytes(range(256))[: ahs * 4].ljust(ahs * 4, b"\xff"))
    handled(liar)


@pytest.mark.parametrize("expected", [0, 1, 511, 513, 4096, 1 << 20, 0xFFFFFFFF])
def test_an_expected_length_that_is_not_the_commands(liar, bystander, expected):
    liar.send(liar.command_pdu(read_cdb(0, 1), expected, iscsi.READ))
    answer = handled(liar)
    assert answer != "closed"


@pytest.mark.parametrize("expected", [0, 1, 511, 513, 4096])
def test_a_write_of_another_length_than_it_says(liar, bystander, expected):
    liar.send(liar.command_pdu(write_cdb(0, 1), expected, iscsi.WRITE, b"z" * min(expected, 512)))
    handled(liar)


def test_more_immediate_data_than_expected_data(liar, bystander):
    liar.send(liar.command_pdu(write_cdb(0, 1), 512, iscsi.WRITE, b"z" * 4096))
    handled(liar)


def test_commands_of_every_operation_code_are_answered(liar, bystander):
    writes, reserves = (0x2A, 0x0A, 0x8A, 0xAA), (0x16, 0x56)  # What the bystander would see.
    for code in range(256):
        if code in (*writes, *reserves):
            continue
        cdb = bytes([code]) + bytes(15)
        liar.send(liar.command_pdu(cdb, 64, iscsi.READ))
        answer = liar.receive()
        while answer.opcode == iscsi.DATA_IN and not answer.flags & 1:
            answer = liar.receive()
        assert answer.opcode in (iscsi.RESPONSE, iscsi.DATA_IN), hex(code)


ALLOCATING = {
    "inquiry": (0x12, 3, 2),
    "mode sense 6": (0x1A, 4, 1),
    "mode sense 10": (0x5A, 7, 2),
    "request sense": (0x03, 4, 1),
    "report luns": (0xA0, 6, 4),
    "read capacity 16": (0x9E, 10, 4),
    "report opcodes": (0xA3, 6, 4),
}


@pytest.mark.parametrize("command", ALLOCATING, ids=lambda one: one.replace(" ", "-"))
def test_allocation_lengths_bound_what_comes(liar, command):
    code, offset, size = ALLOCATING[command]
    for length in (0, 1, 3, 4, 5, 8, 255, 256, 65535, 65536, 2**31, 2**32 - 1):
        if length >= 1 << 8 * size:
            continue
        cdb = bytearray(16)
        cdb[0] = code
        if code == 0x9E:
            cdb[1] = 0x10
        if code == 0xA3:
            cdb[1] = 0x0C
        if code in (0x1A, 0x5A):
            cdb[2] = 0x3F
        cdb[offset : offset + size] = length.to_bytes(size, "big")
        buffer = 65536
        status, data, _ = liar.run(cdb, buffer)
        assert status in (0, 2)
        # Nothing beyond the allocation length, which also means: nothing of anybody's memory.
        assert not any(data[min(length, buffer) :])


def test_what_was_never_written_reads_as_zeroes(liar):
    assert liar.read(0, 256) == bytes(256 * BLOCK)


# Data-Out that nobody asked for.


def test_data_out_for_no_task_of_ours(liar, bystander):
    for ttt in (0, 1, 0xFFFFFFFE, iscsi.NO_TAG):
        words = (ttt, 0, liar.exp_stat_sn, 0, 0, 0, 0)
        liar.send(Pdu(header(iscsi.DATA_OUT, FINAL, 512, tag=4242, words=words), b"q" * 512))
    assert handled(liar) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 4096},
        {"offset": 0xFFFFFE00},
        {"size": 8192},
        {"number": 7},
        {"ttt": 12345},
        {"tag": 999},
        {"final": False},
    ],
    ids=str,
)
def test_data_out_beside_what_the_target_asked_for(polluxd, target, bystander, change):
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn, ImmediateData="No", InitialR2T="Yes", name="iqn.2026-01.test:liar") == 0
        peer.ready()
        pdu = peer.command_pdu(write_cdb(0, 8), 4096, iscsi.WRITE)
        peer.send(pdu)
        r2t = peer.receive()
        assert r2t.opcode == iscsi.R2T
        size = change.get("size", r2t.word(44))
        words = (
            change.get("ttt", r2t.word(20)),
            0,
            peer.exp_stat_sn,
            0,
            change.get("number", 0),
            change.get("offset", r2t.word(40)),
            0,
        )
        flags = FINAL if change.get("final", True) else 0
        peer.send(Pdu(header(iscsi.DATA_OUT, flags, size, tag=change.get("tag", pdu.tag), words=words), b"q" * size))
        if "final" in change:
            # All that was asked for came, and nobody waits for an empty PDU that says so: the write is
            # done, before the ping or after it.
            answers = [peer.nop(b"still there"), peer.receive()]
            assert {one.opcode: one.data for one in answers} == {iscsi.NOP_IN: b"still there", iscsi.RESPONSE: b""}
        else:
            answer = outcome(peer)
            assert answer != "silent"
    connections_end(polluxd, 1)


def test_data_out_twice_for_one_request(polluxd, target, bystander):
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn, ImmediateData="No", InitialR2T="Yes", name="iqn.2026-01.test:liar") == 0
        peer.ready()
        peer.send(peer.command_pdu(write_cdb(0, 8), 4096, iscsi.WRITE))
        r2t = peer.receive()
        for _ in range(2):
            peer.send_data_out(peer.tag, r2t, b"q" * 4096)
        assert handled(peer) is not None


# Command numbers.


@pytest.mark.parametrize("ahead", [2, 64, 1000, 0x7FFFFFFF])
def test_a_command_outside_of_the_window_is_ignored(liar, ahead):
    good = liar.cmd_sn
    liar.cmd_sn = (liar.max_cmd_sn + ahead) & 0xFFFFFFFF
    liar.send(liar.command_pdu(bytes(6)))
    liar.cmd_sn = (good - ahead) & 0xFFFFFFFF
    liar.send(liar.command_pdu(bytes(6)))
    liar.cmd_sn = good
    assert liar.ready() == 0


def test_a_gap_waits_for_the_missing_command(liar):
    first, second = liar.command_pdu(bytes(6)), liar.command_pdu(bytes(6))
    liar.send(second)
    ready, _, _ = select.select([liar.socket], [], [], 0.2)
    assert not ready
    liar.send(first)
    assert [liar.receive().tag for _ in range(2)] == [first.tag, second.tag]


def test_a_tag_in_use_again(liar, bystander):
    pdus = [liar.command_pdu(read_cdb(0, 8), 4096, iscsi.READ, tag=5) for _ in range(8)]
    liar.socket.sendall(b"".join(pdu.encode() for pdu in pdus))
    handled(liar)


# Streams that break off.


def whole_conversation(target):
    """The bytes of a login, a write and a read as one stream, with nothing waited for."""
    peer = Peer(target.portal)
    try:
        said = text(
            InitiatorName="iqn.2026-01.test:cut",
            TargetName=target.iqn,
            SessionType="Normal",
            ImmediateData="Yes",
            InitialR2T="No",
        )
        login = peer.login_pdu(said).encode()
        write = peer.command_pdu(write_cdb(0, 1), 512, iscsi.WRITE, b"c" * 512).encode()
        read = peer.command_pdu(read_cdb(0, 8), 4096, iscsi.READ).encode()
        return login, write + read
    finally:
        peer.close()


def test_a_connection_cut_at_every_byte(polluxd, target, bystander):
    login, rest = whole_conversation(target)
    cuts = list(range(len(login) + 1)) + [len(login) + i for i in range(1, len(rest) + 1, 3)]
    for position, cut in enumerate(cuts):
        with socket.create_connection((target.host, target.port)) as connection:
            connection.sendall((login + rest)[:cut])
            if position % 2:  # An abrupt end: a reset instead of an orderly one.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connections_end(polluxd, 1)


def test_a_session_that_vanishes_with_all_its_work(polluxd, target, bystander):
    for _ in range(30):
        with Peer(target.portal) as peer:
            assert peer.login(target.iqn, name="iqn.2026-01.test:gone") == 0
            pdus = [peer.command_pdu(read_cdb(i, 128), 65536, iscsi.READ) for i in range(16)]
            pdus += [peer.command_pdu(write_cdb(i, 128), 65536, iscsi.WRITE) for i in range(16)]
            peer.socket.sendall(b"".join(pdu.encode() for pdu in pdus))
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connections_end(polluxd, 1)


def test_random_bits_are_flipped(polluxd, target, bystander):
    login, rest = whole_conversation(target)
    rng = random.Random(7)
    for _ in range(300):
        stream = bytearray(login + rest)
        # Mostly in headers.
        for _ in range(rng.randint(1, 4)):
            place = rng.choice([rng.randrange(48), len(login) + rng.randrange(48), rng.randrange(len(stream))])
            stream[place] ^= 1 << rng.randrange(8)
        with socket.create_connection((target.host, target.port)) as connection:
            connection.settimeout(ANSWER_SECONDS)
            send_and_hang_up(connection, stream)
    connections_end(polluxd, 1)


def test_garbage_is_not_spoken_to(polluxd, target, bystander):
    rng = random.Random(8)
    for _ in range(50):
        with socket.create_connection((target.host, target.port)) as connection:
            try:
                connection.sendall(rng.randbytes(rng.choice([1, 48, 5000, 100000])))
            except OSError:
                pass
    connections_end(polluxd, 1)


# Many, and silent.


def test_a_thousand_connections_that_say_nothing(polluxd, target, bystander):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    silent = []
    try:
        for _ in range(1000):
            try:
                silent.append(socket.create_connection((target.host, target.port), 5))
            except OSError:
                break
        assert len(silent) > 500
        before = bystander.rounds
        assert wait_until(lambda: bystander.rounds > before + 10)
        assert polluxd.client.spdk_get_version()
    finally:
        for one in silent:
            one.close()
    connections_end(polluxd, 1)
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0


def test_half_a_header_and_then_silence(polluxd, target, bystander):
    """Slow ones hold only themselves; they go when the daemon does."""
    login, _ = whole_conversation(target)
    slow = [socket.create_connection((target.host, target.port)) for _ in range(100)]
    for i, one in enumerate(slow):
        one.sendall(login[: i + 1])
    before = bystander.rounds
    assert wait_until(lambda: bystander.rounds > before + 10)
    for one in slow:
        one.close()
    connections_end(polluxd, 1)


def test_an_initiator_that_never_reads_holds_only_itself(polluxd, target, bystander):
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn, name="iqn.2026-01.test:deaf") == 0
        peer.ready()
        # All that the window allows, 256 KiB each, and not one byte is read.
        count = (peer.max_cmd_sn - peer.cmd_sn + 1) & 0xFFFFFFFF
        assert 0 < count <= 4096
        for i in range(count):
            peer.send(peer.command_pdu(read_cdb(0, 512), 512 * BLOCK, iscsi.READ))
        before = bystander.rounds
        assert wait_until(lambda: bystander.rounds > before + 20)
    connections_end(polluxd, 1)


def test_descriptors_and_memory_come_back(polluxd, target):
    def use():
        for _ in range(50):
            with Peer(target.portal) as peer:
                assert peer.login(target.iqn) == 0
                peer.ready()
                peer.read(0, 64)

    def descriptors():
        return len(os.listdir(f"/proc/{polluxd.pid}/fd"))

    use()
    connections_end(polluxd, 0)
    before = descriptors()
    for _ in range(4):
        use()
    connections_end(polluxd, 0)
    assert wait_until(lambda: descriptors() <= before)


def test_a_stopped_daemon_goes_on(polluxd, target, bystander):
    os.kill(polluxd.pid, 19)
    time.sleep(1)
    os.kill(polluxd.pid, 18)
    before = bystander.rounds
    assert wait_until(lambda: bystander.rounds > before + 10)


@pytest.mark.nightly
def test_who_does_not_log_in_in_half_a_minute_is_sent_away(polluxd, target, bystander):
    login, _ = whole_conversation(target)
    slow = [socket.create_connection((target.host, target.port)) for _ in range(10)]
    for i, one in enumerate(slow):
        one.sendall(login[: 10 * i])
    deadline = time.monotonic() + 40
    for one in slow:
        one.settimeout(max(0.1, deadline - time.monotonic()))
        while one.recv(1000):
            pass
    connections_end(polluxd, 1)


@pytest.mark.nightly
def test_who_does_not_answer_a_ping_is_sent_away(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    client = polluxd.client
    client.iscsi_set_options(nop_in_interval=1, nop_timeout=3)
    client.framework_start_init()
    target = export(client, memory_disk(client))
    with Peer(target.portal) as deaf, Peer(target.portal) as awake:
        assert deaf.login(target.iqn) == 0 and awake.login(target.iqn) == 0
        for _ in range(6):
            ping = awake.receive()
            assert ping.opcode == iscsi.NOP_IN
            awake.answer_ping(ping)
        assert len(client.iscsi_get_connections()) == 1
        assert awake.ready() == 0
