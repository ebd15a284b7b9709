"""NVMe/TCP on the wire, from Python's standard library: the NVM Express TCP Transport Specification 1.0
read by hand. It shares nothing with the target's code, so that they cannot share a mistake.
"""

import socket
import struct

# PDU types, figure 14.
IC_REQ, IC_RESP, H2C_TERM, C2H_TERM, COMMAND, RESPONSE, H2C_DATA, C2H_DATA, R2T = 0, 1, 2, 3, 4, 5, 6, 7, 9
NAMES = {
    **{IC_REQ: "ICReq", IC_RESP: "ICResp", H2C_TERM: "H2CTermReq", C2H_TERM: "C2HTermReq"},
    **{COMMAND: "CapsuleCmd", RESPONSE: "CapsuleResp", H2C_DATA: "H2CData", C2H_DATA: "C2HData", R2T: "R2T"},
}
HEADER_LENGTH = {
    **{IC_REQ: 128, IC_RESP: 128, H2C_TERM: 24, C2H_TERM: 24},
    **{COMMAND: 72, RESPONSE: 24, H2C_DATA: 24, C2H_DATA: 24, R2T: 24},
}
WITHOUT_DIGESTS = (IC_REQ, IC_RESP, H2C_TERM, C2H_TERM)

# Flags of the common header.
HDGST, DDGST, LAST, SUCCESS = 1, 2, 4, 8

# Fatal error statuses of a terminate request, figure 20.
INVALID_HEADER_FIELD, SEQUENCE_ERROR, HEADER_DIGEST_ERROR, OUT_OF_RANGE, LIMIT_EXCEEDED, UNSUPPORTED = range(1, 7)


def _crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def digest(data):
    return struct.pack("<I", crc32c(data))


class Closed(Exception):
    """The other end closed the connection."""


class BadDigest(Exception):
    """A digest that came does not fit what it stands behind."""


class Pdu:
    """A PDU that came: its header of hlen bytes, and its data."""

    def __init__(self, header, data=b""):
        self.header = bytes(header)
        self.data = data

    type = property(lambda self: self.header[0])
    flags = property(lambda self: self.header[1])
    hlen = property(lambda self: self.header[2])
    pdo = property(lambda self: self.header[3])
    plen = property(lambda self: self.dword(4))
    # Of H2CData, C2HData and R2T: which command, which transfer, which bytes.
    cid = property(lambda self: self.word(8))
    ttag = property(lambda self: self.word(10))
    offset = property(lambda self: self.dword(12))
    length = property(lambda self: self.dword(16))
    # Of terminate requests.
    fes = property(lambda self: self.word(8))
    fei = property(lambda self: self.dword(10))

    def word(self, offset):
        return struct.unpack_from("<H", self.header, offset)[0]

    def dword(self, offset):
        return struct.unpack_from("<I", self.header, offset)[0]

    def __repr__(self):
        return f"<{NAMES.get(self.type, self.type)} {self.header[1:].hex()} and {len(self.data)} bytes>"


def common_header(kind, flags=0, hlen=None, pdo=0, plen=0):
    return struct.pack("<BBBBI", kind, flags, HEADER_LENGTH[kind] if hlen is None else hlen, pdo, plen)


class Wire:
    """A connection to a target: bytes and PDUs. `header_digest` and `data_digest`: as agreed."""

    def __init__(self, address, timeout=10.0):
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.header_digest = self.data_digest = False
        self.cpda = 0  # The alignment of the data that we send, 0's based in dwords.
        self.maxh2cdata = 4096
        self.ic_resp = None
        self._received = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes by a TCP reset: what is on its way is lost."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def ic_req(self, pfv=0, hpda=0, dgst=0, maxr2t=0, reserved=bytes(112), **header):
        header = {"plen": 128} | header
        return common_header(IC_REQ, **header) + struct.pack("<HBBI", pfv, hpda, dgst, maxr2t) + reserved

    def initialize(self, header_digest=False, data_digest=False, hpda=0, maxr2t=0):
        """ICReq and ICResp. Digests are used where both ends want them."""
        dgst = header_digest | data_digest << 1
        self.send_bytes(self.ic_req(hpda=hpda, dgst=dgst, maxr2t=maxr2t))
        answer = self.receive()
        assert answer.type == IC_RESP, answer
        assert (answer.hlen, answer.plen, answer.pdo) == (128, 128, 0)
        assert answer.word(8) == 0  # PFV
        agreed = answer.header[11]
        assert agreed & ~dgst == 0, "a digest that nobody asked for"
        self.cpda = answer.header[10]
        self.header_digest, self.data_digest = bool(agreed & 1), bool(agreed & 2)
        self.maxh2cdata = answer.dword(12)
        assert self.maxh2cdata >= 4096 and self.maxh2cdata % 4 == 0
        self.ic_resp = answer
        return self

    def encode(self, kind, specific, data=b"", flags=0, **damage):
        """A PDU as it should be, but for `damage` to the fields of its common header (hlen, pdo, plen)
        or to its digests (hdgst, ddgst)."""
        hlen = 8 + len(specific)
        with_digest = self.header_digest and kind not in WITHOUT_DIGESTS
        if with_digest:
            flags |= HDGST
        place = hlen + 4 * with_digest
        pdo = 0
        if data:
            align = (self.cpda + 1) * 4
            pdo = -(-place // align) * align
            if self.data_digest and kind not in WITHOUT_DIGESTS:
                flags |= DDGST
        body = b""
        if data:
            body = bytes(pdo - place) + bytes(data)
            if flags & DDGST:
                body += damage.get("ddgst", None) or digest(data)
        plen = place + len(body)
        header = common_header(
            kind,
            damage.get("flags", flags),
            damage.get("hlen", hlen),
            damage.get("pdo", pdo if kind not in WITHOUT_DIGESTS else 0),
            damage.get("plen", plen),
        )
        header += specific
        return header + (damage.get("hdgst", None) or digest(header) if with_digest else b"") + body

    def send(self, kind, specific, data=b"", flags=0, **damage):
        self.send_bytes(self.encode(kind, specific, data, flags, **damage))

    def send_bytes(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed("while sending") from None

    def send_terminate(self, fes, fei=0, header=b""):
        specific = struct.pack("<HI10x", fes, fei)
        self.send_bytes(common_header(H2C_TERM, plen=24 + len(header)) + specific + header)

    def receive_bytes(self, count):
        while len(self._received) < count:
            try:
                piece = self.socket.recv(1 << 18)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise Closed(f"after {len(self._received)} of {count} bytes")
            self._received += piece
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    def receive(self):
        """The next PDU, whatever it is; its form is checked."""
        common = self.receive_bytes(8)
        kind, flags, hlen, pdo, plen = struct.unpack("<BBBBI", common)
        assert kind in (IC_RESP, C2H_TERM, RESPONSE, C2H_DATA, R2T), common.hex()
        assert hlen == HEADER_LENGTH[kind] and hlen <= plen <= 1 << 24, common.hex()
        header = common + self.receive_bytes(hlen - 8)
        rest = self.receive_bytes(plen - hlen)
        place = hlen
        if kind not in WITHOUT_DIGESTS:
            assert bool(flags & HDGST) == self.header_digest, common.hex()
        if flags & HDGST:
            if rest[:4] != digest(header):
                raise BadDigest(header.hex())
            place += 4
        pdu = Pdu(header)
        if kind == C2H_TERM:
            pdu.data = rest
        elif kind == C2H_DATA:
            assert pdo >= place and bool(flags & DDGST) == self.data_digest, common.hex()
            end = plen - (4 if flags & DDGST else 0)
            pdu.data = rest[pdo - hlen : end - hlen]
            assert not any(rest[place - hlen : pdo - hlen]), "padding that is not zero"
            assert len(pdu.data) == pdu.length, common.hex()
            if flags & DDGST and rest[end - hlen :] != digest(pdu.data):
                raise BadDigest(header.hex())
        else:
            assert plen == place and pdo == 0, common.hex()
        return pdu

    def data(self, cid, ttag, offset, data, last=True, length=None, **damage):
        """H2CData."""
        length = len(data) if length is None else length
        specific = struct.pack("<HHII4x", cid, ttag, offset, length)
        self.send(H2C_DATA, specific, data, LAST if last else 0, **damage)
