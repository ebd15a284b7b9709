"""An iSCSI initiator over a plain socket, with its own idea of the wire: RFC 7143 read by hand.

It shares nothing with the target's code, so that they cannot share a mistake. A test may send what
no initiator would.
"""

import os
import socket
import struct

BHS = 48
NO_TAG = 0xFFFFFFFF
RECEIVE_MAX = 262144  # Our MaxRecvDataSegmentLength.

# Opcodes, §11.2.1.2. The target's have 0x20.
NOP_OUT, COMMAND, TASK, LOGIN, TEXT, DATA_OUT, LOGOUT, SNACK = 0, 1, 2, 3, 4, 5, 6, 0x10
NOP_IN, RESPONSE, TASK_RESPONSE, LOGIN_RESPONSE, TEXT_RESPONSE = 0x20, 0x21, 0x22, 0x23, 0x24
DATA_IN, LOGOUT_RESPONSE, R2T, ASYNC, REJECT = 0x25, 0x26, 0x31, 0x32, 0x3F

IMMEDIATE = 0x40
FINAL = 0x80
READ, WRITE = 0x40, 0x20

GOOD, CHECK_CONDITION = 0, 2


DIGEST = 4  # Bytes, the least significant one first. §13.1


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _crc_table()


def digest(data):
    """CRC32C as it stands on the wire."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


class Closed(Exception):
    """The target closed the connection."""


class Pdu:
    """A PDU: its header, which the fields are parts of, and its data without padding."""

    def __init__(self, bhs, data=b""):
        self.bhs = bytes(bhs)
        self.data = data

    opcode = property(lambda self: self.bhs[0] & 0x3F)
    flags = property(lambda self: self.bhs[1])
    data_length = property(lambda self: int.from_bytes(self.bhs[5:8], "big"))
    ahs_length = property(lambda self: self.bhs[4] * 4)
    tag = property(lambda self: self.word(16))
    stat_sn = property(lambda self: self.word(24))
    exp_cmd_sn = property(lambda self: self.word(28))
    max_cmd_sn = property(lambda self: self.word(32))

    def word(self, offset):
        return struct.unpack_from(">I", self.bhs, offset)[0]

    def encode(self, header_digest=False, data_digest=False):
        data = self.data + bytes(-len(self.data) % 4)
        head = digest(self.bhs) if header_digest else b""
        return self.bhs + head + data + (digest(data) if data and data_digest else b"")


def header(opcode, flags=0, data=0, lun=0, tag=NO_TAG, words=()):
    """A basic header segment. `words` go to bytes 20 to 47."""
    begin = bytes([opcode, flags, 0, 0, 0]) + data.to_bytes(3, "big") + struct.pack(">H6xI", lun, tag)
    return begin + struct.pack(f">{len(words)}I", *words).ljust(28, b"\0")


def text(**keys):
    return b"".join(f"{key}={value}".encode() + b"\0" for key, value in keys.items())


def parse_text(data):
    return dict(item.split("=", 1) for item in data.decode().split("\0") if item)


class Peer:
    """One connection, and the session that it is all of."""

    def __init__(self, portal, timeout=10):
        host, _, port = portal.rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.isid = b"\x80" + os.urandom(5)  # Random format, §11.12.5.
        self.cmd_sn = 1
        self.exp_stat_sn = 0
        self.max_cmd_sn = 1
        self.tag = 0
        self.keys = {}
        self.tsih = 0
        self.header_digest = self.data_digest = False  # As login agreed.
        self.rejects = []  # Of other PDUs than those that are waited for.

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # Bytes and PDUs.

    def send(self, pdu):
        self.socket.sendall(pdu.encode(self.header_digest, self.data_digest))

    def receive_bytes(self, count):
        data = bytearray()
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise Closed(f"after {len(data)} of {count} bytes")
            data += piece
        return bytes(data)

    def receive(self):
        bhs = self.receive_bytes(BHS)
        pdu = Pdu(bhs)
        ahs = self.receive_bytes(pdu.ahs_length)
        if self.header_digest:
            assert self.receive_bytes(DIGEST) == digest(bhs + ahs), "a wrong header digest"
        padded = self.receive_bytes(pdu.data_length + -pdu.data_length % 4)
        if self.data_digest and padded:
            assert self.receive_bytes(DIGEST) == digest(padded), "a wrong data digest"
        pdu.data = padded[: pdu.data_length]
        if pdu.opcode not in (DATA_IN, R2T) or pdu.opcode == DATA_IN and pdu.flags & 1:
            if pdu.stat_sn == self.exp_stat_sn:
                self.exp_stat_sn = (self.exp_stat_sn + 1) & 0xFFFFFFFF
        self.max_cmd_sn = pdu.max_cmd_sn
        return pdu

    def next_tag(self):
        self.tag += 1
        return self.tag

    # Login, §11.12.

    def login_pdu(self, data, current=1, following=3, transit=True, tag=1, tsih=None):
        flags = (0x80 if transit else 0) | current << 2 | following
        bhs = bytearray(header(LOGIN | IMMEDIATE, flags, len(data), tag=tag))
        bhs[8:14] = self.isid
        bhs[14:16] = struct.pack(">H", self.tsih if tsih is None else tsih)
        bhs[24:32] = struct.pack(">II", self.cmd_sn, self.exp_stat_sn)
        return Pdu(bhs, data)

    def login(self, target=None, name="iqn.2026-01.test:peer", **keys):
        """A normal session with `target`, or one for discovery. Returns the status: 0 is success."""
        said = {"InitiatorName": name, "SessionType": "Normal" if target else "Discovery"}
        if target:
            said["TargetName"] = target
        said |= {"HeaderDigest": "None", "DataDigest": "None", "MaxRecvDataSegmentLength": RECEIVE_MAX}
        if target:
            said |= {"InitialR2T": "No", "ImmediateData": "Yes", "FirstBurstLength": 65536}
        said |= keys
        said = {key: value for key, value in said.items() if value is not None}
        self.send(self.login_pdu(text(**said)))
        return self.finish_login()

    def finish_login(self):
        """Goes on until the target lets us in or refuses."""
        while True:
            answer = self.receive()
            assert answer.opcode == LOGIN_RESPONSE, answer.opcode
            self.keys |= parse_text(answer.data)
            status = struct.unpack_from(">H", answer.bhs, 36)[0]
            if status != 0:
                return status
            self.exp_stat_sn = (answer.stat_sn + 1) & 0xFFFFFFFF
            self.tsih = struct.unpack_from(">H", answer.bhs, 14)[0]
            if answer.flags & 0x83 == 0x83:
                self.header_digest = self.keys.get("HeaderDigest") == "CRC32C"
                self.data_digest = self.keys.get("DataDigest") == "CRC32C"
                return 0
            self.send(self.login_pdu(b"", current=1, following=3))

    def key(self, name, default):
        return int(self.keys.get(name, default))

    # Full feature phase.

    def command_pdu(self, cdb, length=0, flags=0, data=b"", lun=0, tag=None):
        tag = self.next_tag() if tag is None else tag
        words = (length, self.cmd_sn, self.exp_stat_sn)
        bhs = header(COMMAND, FINAL | flags | 1, len(data), lun, tag, words)
        self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        return Pdu(bhs[:32] + bytes(cdb).ljust(16, b"\0"), data)

    def run(self, cdb, length=0, data=b"", lun=0):
        """One SCSI command to its end: (status, data that came, response or last Data-In)."""
        if data:
            immediate = data[: min(len(data), self.key("FirstBurstLength", 65536), self.target_max())]
            if self.keys.get("ImmediateData") == "No":
                immediate = b""
            pdu = self.command_pdu(cdb, len(data), WRITE, immediate, lun)
        else:
            pdu = self.command_pdu(cdb, length, READ if length else 0, lun=lun)
        tag = pdu.tag
        self.send(pdu)
        return self.finish(tag, length, data)

    def target_max(self):
        return self.key("MaxRecvDataSegmentLength", 8192)

    def finish(self, tag, length=0, data=b""):
        came = bytearray(length)
        while True:
            pdu = self.receive()
            if pdu.opcode == DATA_IN:
                offset = pdu.word(40)
                came[offset : offset + len(pdu.data)] = pdu.data
                if pdu.flags & 1:
                    return pdu.bhs[3], bytes(came), pdu
            elif pdu.opcode == R2T:
                self.send_data_out(tag, pdu, data)
            elif pdu.opcode == RESPONSE and pdu.tag == tag:
                return pdu.bhs[3], bytes(came), pdu
            elif pdu.opcode == NOP_IN:
                self.answer_ping(pdu)
            elif pdu.opcode == REJECT and Pdu(pdu.data[:BHS]).tag != tag:
                self.rejects.append(pdu)
            elif pdu.opcode in (RESPONSE, TASK_RESPONSE):
                pass  # Of a command that the test has given up.
            else:
                raise AssertionError(f"an unexpected PDU, opcode {pdu.opcode:#x}")

    def send_data_out(self, tag, r2t, data):
        offset, wanted = r2t.word(40), r2t.word(44)
        number = 0
        while wanted > 0:
            size = min(wanted, self.target_max())
            wanted -= size
            words = (r2t.word(20), 0, self.exp_stat_sn, 0, number, offset, 0)
            bhs = header(DATA_OUT, FINAL if wanted == 0 else 0, size, tag=tag, words=words)
            self.send(Pdu(bhs[:8] + r2t.bhs[8:16] + bhs[16:], data[offset : offset + size]))
            offset += size
            number += 1

    def answer_ping(self, ping):
        if ping.word(20) != NO_TAG:
            words = (ping.word(20), self.cmd_sn, self.exp_stat_sn)
            self.send(Pdu(header(NOP_OUT | IMMEDIATE, FINAL, tag=NO_TAG, words=words)))

    def nop(self, data=b""):
        """A ping; returns what came back."""
        words = (NO_TAG, self.cmd_sn, self.exp_stat_sn)
        self.send(Pdu(header(NOP_OUT | IMMEDIATE, FINAL, len(data), tag=self.next_tag(), words=words), data))
        return self.receive()

    def text(self, data, tag=None):
        words = (NO_TAG, self.cmd_sn, self.exp_stat_sn)
        bhs = header(TEXT, FINAL, len(data), tag=tag or self.next_tag(), words=words)
        self.cmd_sn += 1
        self.send(Pdu(bhs, data))
        return self.receive()

    def logout(self):
        words = (0, self.cmd_sn, self.exp_stat_sn)
        self.send(Pdu(header(LOGOUT | IMMEDIATE, FINAL, tag=self.next_tag(), words=words)))
        answer = self.receive()
        assert answer.opcode == LOGOUT_RESPONSE and answer.bhs[2] == 0
        self.close()

    # SCSI.

    def ready(self, lun=0):
        """TEST UNIT READY until unit attentions are gone; the last status."""
        for _ in range(4):
            status, _, _ = self.run(bytes(6), lun=lun)
            if status == GOOD:
                break
        return status

    def read(self, lba, blocks, block_size=512, lun=0):
        cdb = struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)
        status, data, answer = self.run(cdb, blocks * block_size, lun=lun)
        assert status == GOOD, (status, answer.data.hex())
        return data

    def write(self, lba, data, block_size=512, lun=0):
        cdb = struct.pack(">BBIBHB", 0x2A, 0, lba, 0, len(data) // block_size, 0)
        status, _, answer = self.run(cdb, data=data, lun=lun)
        assert status == GOOD, (status, answer.data.hex())
