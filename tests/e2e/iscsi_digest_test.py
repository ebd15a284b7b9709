"""iSCSI with header and data digests, and with digests that are wrong. RFC 7143 §7.8, §13.1."""

import os
import struct

import pytest

import iscsi_peer as iscsi
from exports import BLOCK, admit, export, listen, memory_disk
from iscsi_peer import CHECK_CONDITION, FINAL, GOOD, IMMEDIATE, WRITE, Closed, Pdu, Peer, header, text

DATA_DIGEST_ERROR = 2
ABORTED_COMMAND, PROTOCOL_SERVICE_CRC_ERROR = 0xB, (0x47, 0x05)
BOTH = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}


@pytest.fixture
def target(polluxd):
    return export(polluxd.client, memory_disk(polluxd.client, 4 << 20))


@pytest.fixture
def peer(target):
    with Peer(target.portal) as one:
        assert one.login(target.iqn, **BOTH) == 0
        assert one.header_digest and one.data_digest
        assert one.ready() == GOOD
        yield one


def damaged(pdu, byte=0):
    """The PDU with both digests, and a bit of its data flipped afterwards."""
    wire = bytearray(pdu.encode(True, True))
    wire[iscsi.BHS + iscsi.DIGEST + byte] ^= 0x04
    return bytes(wire)


def write_pdu(peer, lba, data, immediate, flags=WRITE):
    cdb = struct.pack(">BBIBHB", 0x2A, 0, lba, 0, len(data) // BLOCK, 0)
    return peer.command_pdu(cdb, len(data), flags, data[:immediate])


def expect_reject(peer, of):
    reject = peer.receive()
    assert (reject.opcode, reject.bhs[2]) == (iscsi.REJECT, DATA_DIGEST_ERROR)
    assert reject.data == of.bhs


def expect_crc_error(answer):
    status, _, response = answer
    assert status == CHECK_CONDITION
    sense = response.data[2:]
    assert sense[2] & 0xF == ABORTED_COMMAND
    assert (sense[12], sense[13]) == PROTOCOL_SERVICE_CRC_ERROR


def expect_goes_on(peer):
    data = os.urandom(8 * BLOCK)
    peer.write(1000, data)
    assert peer.read(1000, 8) == data


def test_the_table_gives_what_the_standard_says():
    """RFC 3720 §B.4."""
    assert iscsi.digest(bytes(32)) == bytes.fromhex("aa36918a")
    assert iscsi.digest(b"\xff" * 32) == bytes.fromhex("43aba862")
    assert iscsi.digest(bytes(range(32))) == bytes.fromhex("4e79dd46")
    assert iscsi.digest(bytes(range(31, -1, -1))) == bytes.fromhex("5cdb3f11")


@pytest.mark.parametrize("header_digest", ["None", "CRC32C", "CRC32C,None", "None,CRC32C"])
@pytest.mark.parametrize("data_digest", ["None", "CRC32C"])
def test_every_kind_of_request_is_answered_with_what_was_agreed(target, header_digest, data_digest):
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn, HeaderDigest=header_digest, DataDigest=data_digest) == 0
        assert peer.header_digest == header_digest.startswith("CRC32C")
        assert peer.data_digest == (data_digest == "CRC32C")
        assert peer.ready() == GOOD
        for blocks in (1, 16, 17, 129, 400):
            data = os.urandom(blocks * BLOCK)
            peer.write(blocks, data)
            assert peer.read(blocks, blocks) == data
        for length in range(36, 41):  # Padding of each size.
            status, data, _ = peer.run(bytes([0x12, 0, 0, 0, length, 0]), length)
            assert (status, len(data)) == (GOOD, length)
        assert peer.run(struct.pack(">BBIBHB", 0x28, 0, 1 << 30, 0, 1, 0), BLOCK)[0] == CHECK_CONDITION
        for size in (0, 1, 2, 3, 4, 8193, 20001):
            ping = os.urandom(size)
            answer = peer.nop(ping)
            assert (answer.opcode, answer.data) == (iscsi.NOP_IN, ping)
        assert target.iqn.encode() in peer.text(text(SendTargets="")).data
        words = (iscsi.NO_TAG, peer.cmd_sn, peer.exp_stat_sn)
        peer.send(Pdu(header(iscsi.TASK | IMMEDIATE, FINAL | 5, tag=peer.next_tag(), words=words)))
        assert peer.receive().opcode == iscsi.TASK_RESPONSE
        peer.send(Pdu(header(iscsi.SNACK, FINAL, tag=peer.next_tag())))
        assert peer.receive().opcode == iscsi.REJECT
        peer.logout()


def test_discovery_sessions_may_have_digests(target):
    with Peer(target.portal) as peer:
        assert peer.login(**BOTH) == 0
        assert target.iqn.encode() in peer.text(text(SendTargets="All")).data


@pytest.mark.parametrize("byte", [0, 1, 5, 7, 20, 32, 47, 48, 51])
def test_a_wrong_header_digest_ends_the_connection_without_an_answer(target, peer, byte):
    wire = bytearray(write_pdu(peer, 0, bytes(BLOCK), BLOCK).encode(True, True))
    wire[byte] ^= 0x80
    peer.socket.sendall(wire)
    with pytest.raises(Closed, match="after 0 of"):
        peer.receive()
    with Peer(target.portal) as other:
        assert other.login(target.iqn, **BOTH) == 0
        other.ready()
        expect_goes_on(other)


@pytest.mark.parametrize("blocks", [1, 16, 64])
def test_damaged_immediate_data_fails_the_command_and_is_not_written(peer, blocks):
    data = os.urandom(blocks * BLOCK)
    peer.write(0, bytes(len(data)))
    immediate = min(len(data), peer.target_max(), peer.key("FirstBurstLength", 65536))
    pdu = write_pdu(peer, 0, data, immediate)
    peer.socket.sendall(damaged(pdu, immediate - 1))
    expect_reject(peer, pdu)
    expect_crc_error(peer.finish(pdu.tag))
    assert peer.read(0, blocks) == bytes(len(data))
    expect_goes_on(peer)


@pytest.mark.parametrize("piece", [4096, 32768, 65536])
def test_damaged_data_out_fails_the_command_when_its_sequence_is_over(peer, piece):
    data = os.urandom(65536)
    for bad in range(0, len(data), piece):
        pdu = write_pdu(peer, 0, data, 0)
        peer.send(pdu)
        r2t = peer.receive()
        assert (r2t.opcode, r2t.word(44)) == (iscsi.R2T, len(data))
        for number, offset in enumerate(range(0, len(data), piece)):
            last = offset + piece == len(data)
            words = (r2t.word(20), 0, peer.exp_stat_sn, 0, number, offset, 0)
            bhs = header(iscsi.DATA_OUT, FINAL if last else 0, piece, tag=pdu.tag, words=words)
            out = Pdu(bhs, data[offset : offset + piece])
            if offset != bad:
                peer.send(out)
                continue
            peer.socket.sendall(damaged(out, piece // 2))
            expect_reject(peer, out)
        expect_crc_error(peer.finish(pdu.tag))
        expect_goes_on(peer)


@pytest.mark.parametrize("size", [1, 512, 20000])
def test_a_damaged_ping_or_text_is_rejected_and_the_session_goes_on(peer, size):
    for opcode in (iscsi.NOP_OUT | IMMEDIATE, iscsi.TEXT):
        words = (iscsi.NO_TAG, peer.cmd_sn, peer.exp_stat_sn)
        pdu = Pdu(header(opcode, FINAL, size, tag=peer.next_tag(), words=words), os.urandom(size))
        if opcode == iscsi.TEXT:
            peer.cmd_sn += 1
        peer.socket.sendall(damaged(pdu, size - 1))
        expect_reject(peer, pdu)
    expect_goes_on(peer)


def test_a_target_may_require_digests(polluxd):
    client = polluxd.client
    port = listen(client)
    admit(client)
    disk = memory_disk(client, 4 << 20)
    iqn = "iqn.2026-01.test:strict"
    client.iscsi_create_target_node(
        iqn,
        "strict",
        [{"bdev_name": disk, "lun_id": 0}],
        [{"pg_tag": 1, "ig_tag": 1}],
        64,
        disable_chap=True,
        header_digest=True,
        data_digest=True,
    )
    (node,) = client.iscsi_get_target_nodes()
    assert node["header_digest"] and node["data_digest"]
    portal = f"127.0.0.1:{port}"
    with Peer(portal) as peer:
        assert peer.login(iqn, HeaderDigest="None,CRC32C", DataDigest="None,CRC32C") == 0
        assert peer.header_digest and peer.data_digest
        peer.ready()
        expect_goes_on(peer)
    with Peer(portal) as peer:
        assert peer.login(iqn, HeaderDigest="CRC32C", DataDigest="None") == 0x0200
    with Peer(portal) as peer:  # One that says nothing is asked, and this one does not answer.
        peer.send(
            peer.login_pdu(
                text(InitiatorName="iqn.2026-01.test:peer", TargetName=iqn, SessionType="Normal")
            )
        )
        answer = peer.receive()
        assert answer.flags & 0x80 == 0
        asked = iscsi.parse_text(answer.data)
        assert (asked["HeaderDigest"], asked["DataDigest"]) == ("CRC32C", "CRC32C")
