"""An NVMe/TCP host in Python: queues, controllers, every command, and what no host would send.

    host = Host()
    with Controller(address, NQN, host) as controller:   # Connect, enable
        controller.create_queues(2)
        assert controller.write(1, 0, data).ok
        assert controller.read(1, 0, 8) == data

NVM Express Base Specification 2.0 with its fabrics chapters, NVM Command Set Specification 1.0.
"""

import dataclasses
import struct
import time
import uuid

from nvme_structures import IdentifyController
from nvme_tcp_wire import C2H_DATA, C2H_TERM, COMMAND, R2T, RESPONSE, SUCCESS, LAST, Wire

DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
EVERY_NSID = 0xFFFFFFFF
DYNAMIC = 0xFFFF

# Opcodes of admin commands.
GET_LOG_PAGE, IDENTIFY, ABORT, SET_FEATURES, GET_FEATURES, ASYNC_EVENT, KEEP_ALIVE = 2, 6, 8, 9, 10, 12, 0x18
FABRICS = 0x7F
# Of fabrics commands: the type, byte 4.
PROPERTY_SET, CONNECT, PROPERTY_GET, AUTH_SEND, AUTH_RECEIVE, DISCONNECT = 0, 1, 4, 5, 6, 8
# Of I/O commands.
FLUSH, WRITE, READ, WRITE_UNCORRECTABLE, COMPARE, WRITE_ZEROES, DSM, VERIFY = 0, 1, 2, 4, 5, 8, 9, 0xC
RESERVATION_REGISTER, RESERVATION_REPORT, RESERVATION_ACQUIRE, RESERVATION_RELEASE, COPY = 0xD, 0xE, 0x11, 0x15, 0x19

# Properties, Base §3.1.3.
CAP, VS, INTMS, CC, CSTS, NSSR, AQA = 0, 8, 0xC, 0x14, 0x1C, 0x20, 0x24
CC_ENABLE = 0x00460001  # EN, I/O queue entries of 64 and 16 bytes.
CSTS_RDY, CSTS_CFS, CSTS_SHST = 1, 2, 0xC

# Features.
ARBITRATION, POWER, TEMPERATURE, ERROR_RECOVERY, WRITE_CACHE, QUEUES, COALESCING = 1, 2, 4, 5, 6, 7, 8
ATOMICITY, EVENTS, KATO, HOST_BEHAVIOUR, HOST_ID, RESERVATION_MASK = 0xA, 0xB, 0xF, 0x16, 0x81, 0x82
RESERVATION_PERSISTENCE, WRITE_PROTECTION = 0x83, 0x84

# Log pages.
SUPPORTED_PAGES, ERRORS, SMART, FIRMWARE, CHANGED_NAMESPACES, EFFECTS, ANA, DISCOVERY = 0, 1, 2, 3, 4, 5, 0xC, 0x70

# Statuses: SCT << 8 | SC.
INVALID_OPCODE, INVALID_FIELD, CID_CONFLICT, TRANSFER_ERROR = 1, 2, 3, 4
ABORTED, ABORTED_QUEUE_GONE, FAILED_FUSED, MISSING_FUSED, INVALID_NAMESPACE, SEQUENCE = 7, 8, 9, 0xA, 0xB, 0xC
INVALID_SGL, SGL_LENGTH, SGL_TYPE, SGL_OFFSET, HOST_ID_INCONSISTENT, KATO_INVALID = 0xD, 0xF, 0x11, 0x16, 0x18, 0x1A
WRITE_PROTECTED, TRANSIENT_TRANSPORT, LBA_RANGE, CAPACITY = 0x20, 0x22, 0x80, 0x81
ABORT_LIMIT, EVENT_LIMIT, INVALID_LOG_PAGE, NOT_SAVEABLE, NOT_CHANGEABLE, NOT_PER_NAMESPACE = (
    *(0x103, 0x105, 0x109),
    *(0x10D, 0x10E, 0x10F),
)
CONNECT_FORMAT, CONTROLLER_BUSY, CONNECT_PARAMETERS, RESTART_DISCOVERY, CONNECT_HOST = 0x180, 0x181, 0x182, 0x183, 0x184
READ_ONLY_RANGE, SIZE_LIMIT = 0x182, 0x183
WRITE_FAULT, READ_ERROR, COMPARE_FAILURE = 0x280, 0x281, 0x285
ANA_PERSISTENT_LOSS, ANA_INACCESSIBLE, ANA_TRANSITION = 0x301, 0x302, 0x303

FUSE_FIRST, FUSE_SECOND = 1, 2
USES_SGL = 0x40
IN_CAPSULE, BY_TRANSPORT = 0x01, 0x5A  # SGL descriptor types.
FUA = 1 << 30
DEALLOCATE = 1 << 25  # Of Write Zeroes.


@dataclasses.dataclass
class Host:
    """Who connects."""

    nqn: str = ""
    id: bytes = b""

    def __post_init__(self):
        self.id = self.id or uuid.uuid4().bytes
        self.nqn = self.nqn or f"nqn.2014-08.org.nvmexpress:uuid:{uuid.UUID(bytes=self.id)}"


class CommandFailed(Exception):
    """A command that should succeed did not."""

    def __init__(self, completion):
        super().__init__(f"status {completion.status:#x}, dnr {completion.dnr}, dw0 {completion.dw0:#x}")
        self.completion = completion


class Terminated(Exception):
    """The target ended the connection by a terminate request."""

    def __init__(self, pdu):
        super().__init__(f"C2HTermReq: FES {pdu.fes:#x} FEI {pdu.fei:#x}, {pdu.data.hex()}")
        self.pdu = pdu


@dataclasses.dataclass
class Completion:
    dw0: int
    dw1: int
    sqhd: int
    sqid: int
    cid: int
    status_field: int
    data: bytes = b""
    by_flag: bool = False  # There was no response capsule: the last C2HData had SUCCESS.

    status = property(lambda self: self.status_field >> 1 & 0x7FF)
    dnr = property(lambda self: bool(self.status_field >> 15))
    ok = property(lambda self: self.status == 0)
    value = property(lambda self: self.dw1 << 32 | self.dw0)

    def check(self):
        if not self.ok:
            raise CommandFailed(self)
        return self


@dataclasses.dataclass
class Exchange:
    """A command on its way."""

    data: bytes  # For the target.
    buffer: bytearray  # From the target.
    arrived: int = 0
    completion: Completion = None


def entry(opcode, nsid=0, flags=0, **words):
    """A submission queue entry without cid and SGL. `words`: cdw2, cdw3, cdw10 to cdw15."""
    dwords = [0] * 16
    dwords[0], dwords[1] = opcode | flags << 8, nsid
    for name, value in words.items():
        dwords[int(name.removeprefix("cdw"))] = value & 0xFFFFFFFF
    return struct.pack("<16I", *dwords)


def fabrics_entry(fctype, specific=b""):
    """A fabrics command: its type in byte 4, its own fields from byte 40 on."""
    return struct.pack("<BBHB35x", FABRICS, 0, 0, fctype) + specific.ljust(24, b"\0")


def sgl(kind, length, address=0):
    return struct.pack("<QI3xB", address, length, kind)


class Queue(Wire):
    """A queue pair: one connection. `capsule`: how much data a command capsule may have."""

    def __init__(self, address, timeout=10.0, **options):
        super().__init__(address, timeout)
        self.address = address
        self.initialize(**options)
        self.capsule = 8192
        self.qid = 0
        self.exchanges = {}
        self.events = []  # Completions of Asynchronous Event Requests, cids in event_cids.
        self.event_cids = set()
        self.r2ts = []  # When on_r2t is set: those that nobody answered.
        self.hold_r2t = False
        self._cid = 0

    def next_cid(self):
        while True:
            self._cid = (self._cid + 1) & 0xFFFF
            if self._cid not in self.exchanges and self._cid not in self.event_cids:
                return self._cid

    def capsule_of(self, sqe, cid, data=b"", expect=0, in_capsule=None, descriptor=None):
        """The bytes of a command capsule, and the exchange that it begins."""
        data = bytes(data)
        if in_capsule is None:
            in_capsule = bool(data) and len(data) <= self.capsule
        if descriptor is None:
            if in_capsule:
                descriptor = sgl(IN_CAPSULE, len(data))
            else:
                descriptor = sgl(BY_TRANSPORT, len(data) or expect)
        sqe = bytearray(sqe)
        sqe[1] |= USES_SGL
        sqe[2:4] = struct.pack("<H", cid)
        sqe[24:40] = descriptor
        return bytes(sqe), data if in_capsule else b"", Exchange(data, bytearray(expect))

    def submit(self, sqe, data=b"", expect=0, cid=None, **how):
        """Sends a command and returns its identifier. `expect`: how many bytes come back."""
        cid = self.next_cid() if cid is None else cid
        sqe, capsule, exchange = self.capsule_of(sqe, cid, data, expect, **how)
        self.exchanges[cid] = exchange
        self.send(COMMAND, sqe, capsule)
        return cid

    def submit_together(self, *commands):
        """Several at once, in one piece of the stream: (sqe, data, expect) each."""
        stream, cids = b"", []
        for sqe, data, expect in commands:
            cid = self.next_cid()
            sqe, capsule, self.exchanges[cid] = self.capsule_of(sqe, cid, data, expect)
            stream += self.encode(COMMAND, sqe, capsule)
            cids.append(cid)
        self.send_bytes(stream)
        return cids

    def run(self, sqe, data=b"", expect=0, **how):
        return self.wait(self.submit(sqe, data, expect, **how))

    def wait(self, cid):
        """Serves the connection until this command has ended."""
        while self.exchanges[cid].completion is None:
            self.serve_one()
        return self.exchanges.pop(cid).completion

    def forget(self, cid):
        self.exchanges.pop(cid, None)

    def wait_all(self, cids):
        return [self.wait(cid) for cid in cids]

    def serve_one(self):
        """Takes one PDU and does what it asks for."""
        pdu = self.receive()
        if pdu.type == C2H_TERM:
            raise Terminated(pdu)
        if pdu.type == R2T:
            if self.hold_r2t:
                self.r2ts.append(pdu)
            else:
                self.answer(pdu)
        elif pdu.type == C2H_DATA:
            self._on_data(pdu)
        else:
            assert pdu.type == RESPONSE, pdu
            self._complete(Completion(*struct.unpack("<IIHHHH", pdu.header[8:])))
        return pdu

    def answer(self, r2t):
        """The data of an R2T, in PDUs as large as the target takes."""
        exchange = self.exchanges[r2t.cid]
        begin, end = r2t.offset, r2t.offset + r2t.length
        assert 0 < r2t.length and end <= len(exchange.data), r2t
        while begin < end:
            size = min(end - begin, self.maxh2cdata)
            piece = exchange.data[begin : begin + size]
            self.data(r2t.cid, r2t.ttag, begin, piece, last=begin + size == end)
            begin += size

    def next_r2t(self):
        """Holds R2Ts back from here on, and returns the next one that comes."""
        self.hold_r2t = True
        while not self.r2ts:
            self.serve_one()
        return self.r2ts.pop(0)

    def _on_data(self, pdu):
        exchange = self.exchanges[pdu.cid]
        assert pdu.offset == exchange.arrived, f"data out of order: {pdu}"
        assert pdu.offset + pdu.length <= len(exchange.buffer), f"more than was asked for: {pdu}"
        exchange.buffer[pdu.offset : pdu.offset + pdu.length] = pdu.data
        exchange.arrived += pdu.length
        if pdu.flags & SUCCESS:
            assert pdu.flags & LAST, pdu
            self._complete(Completion(0, 0, 0, self.qid, pdu.cid, 0, by_flag=True))

    def _complete(self, completion):
        if completion.cid in self.event_cids:
            self.event_cids.remove(completion.cid)
            self.events.append(completion)
            return
        exchange = self.exchanges[completion.cid]
        assert exchange.completion is None, f"a command ended twice: {completion}"
        completion.data = bytes(exchange.buffer[: exchange.arrived])
        exchange.completion = completion

    # Fabrics commands, Base §6.

    def connect(self, subnqn, host, qid=0, depth=32, cntlid=DYNAMIC, kato=0, cattr=0, recfmt=0, data=None, **how):
        """`depth` in entries, `kato` in milliseconds."""
        if data is None:
            data = connect_data(subnqn, host, cntlid)
        specific = struct.pack("<HHHBxI", recfmt, qid, (depth - 1) & 0xFFFF, cattr, kato)
        completion = self.run(fabrics_entry(CONNECT, specific), data, **how)
        if completion.ok:
            self.qid = qid
        return completion

    def property_get(self, offset, size=4, **how):
        """Of 4 or 8 bytes."""
        specific = struct.pack("<B3xI", size == 8, offset)
        return self.run(fabrics_entry(PROPERTY_GET, specific), **how)

    def property_set(self, offset, value, size=4):
        return self.run(fabrics_entry(PROPERTY_SET, struct.pack("<B3xIQ", size == 8, offset, value)))

    def disconnect(self, recfmt=0):
        return self.run(fabrics_entry(DISCONNECT, struct.pack("<H", recfmt)))


def connect_data(subnqn, host, cntlid=DYNAMIC):
    """Connect's data, figure 380."""
    encoded = [name.encode() if isinstance(name, str) else name for name in (subnqn, host.nqn)]
    return struct.pack("<16sH238x256s256s256x", host.id, cntlid, *encoded)


class Controller:
    """A controller with its admin queue, enabled, and the I/O queues that create_queues() makes."""

    def __init__(self, address, subnqn, host=None, kato=0, enable=True, timeout=10.0, admin_depth=32, **options):
        self.address, self.subnqn, self.host = address, subnqn, host or Host()
        self.timeout, self.options = timeout, options
        self.queues = []  # [0]: the I/O queue 1.
        self.admin = Queue(address, timeout, **options)
        try:
            connected = self.admin.connect(subnqn, self.host, depth=admin_depth, kato=kato).check()
            self.cntlid = connected.dw0 & 0xFFFF
            if enable:
                self.enable()
        except BaseException:
            self.admin.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Goes without a word, as a host that died."""
        for queue in [*self.queues, self.admin]:
            queue.close()

    def shut_down(self):
        """Goes as a host should: Base §3.6.2."""
        for queue in self.queues:
            queue.close()
        self.admin.property_set(CC, CC_ENABLE | 1 << 14).check()
        self.await_status(CSTS_SHST, 2 << 2)
        self.admin.close()

    def enable(self):
        self.admin.property_set(CC, CC_ENABLE).check()
        self.await_status(CSTS_RDY, CSTS_RDY)

    def disable(self):
        self.admin.property_set(CC, CC_ENABLE & ~1).check()
        self.await_status(CSTS_RDY, 0)

    def await_status(self, mask, value):
        deadline = time.monotonic() + self.timeout
        while self.admin.property_get(CSTS).check().dw0 & mask != value:
            assert time.monotonic() < deadline, f"CSTS does not become {value:#x}"

    def capabilities(self):
        return self.admin.property_get(CAP, 8).check().value

    def create_queues(self, count, depth=32, **options):
        """I/O queues 1 to `count`; the target may have fewer. Returns the first."""
        granted = self.set_features(QUEUES, (count - 1) << 16 | count - 1).check().dw0
        count = min(count, (granted & 0xFFFF) + 1, (granted >> 16) + 1)
        # What fits into a capsule must come in it: Linux's target waits for it, whatever the SGL says.
        capsule = IdentifyController(self.identify(1).check().data).ioccsz * 16 - 64
        for _ in range(count - len(self.queues)):
            queue = self.open_queue(len(self.queues) + 1, depth, **options)
            queue.capsule = capsule
            self.queues.append(queue)
        return self.queues[0]

    def open_queue(self, qid, depth=32, check=True, cattr=0, **options):
        queue = Queue(self.address, self.timeout, **(self.options | options))
        completion = queue.connect(self.subnqn, self.host, qid, depth, self.cntlid, cattr=cattr)
        if check and not completion.ok:
            queue.close()
            raise CommandFailed(completion)
        queue.connected = completion
        return queue

    # Admin commands. Each returns the completion.

    def identify(self, cns, nsid=0, cntid=0, csi=0, length=4096, **words):
        sqe = entry(IDENTIFY, nsid, cdw10=cns | cntid << 16, cdw11=csi << 24, **words)
        return self.admin.run(sqe, expect=length)

    def get_log(self, page, length, offset=0, nsid=EVERY_NSID, lsp=0, lsi=0, retain=False, csi=0, dwords=None):
        """`length`: what the SGL has room for; `dwords`: what NUMD says, where that is to differ."""
        numd = (length // 4 if dwords is None else dwords) - 1 & 0xFFFFFFFF
        sqe = entry(
            GET_LOG_PAGE,
            nsid,
            cdw10=page | lsp << 8 | retain << 15 | (numd & 0xFFFF) << 16,
            cdw11=numd >> 16 | lsi << 16,
            cdw12=offset,
            cdw13=offset >> 32,
            cdw14=csi << 24,
        )
        return self.admin.run(sqe, expect=length)

    def get_features(self, feature, select=0, nsid=0, value=0, length=0):
        return self.admin.run(entry(GET_FEATURES, nsid, cdw10=feature | select << 8, cdw11=value), expect=length)

    def set_features(self, feature, value=0, nsid=0, save=False, data=b"", **words):
        sqe = entry(SET_FEATURES, nsid, cdw10=feature | save << 31, cdw11=value, **words)
        return self.admin.run(sqe, data)

    def abort(self, sqid, cid):
        return self.admin.run(entry(ABORT, cdw10=cid << 16 | sqid))

    def keep_alive(self):
        return self.admin.run(entry(KEEP_ALIVE))

    def request_event(self):
        """An Asynchronous Event Request: its completion comes to admin.events."""
        cid = self.admin.submit(entry(ASYNC_EVENT))
        self.admin.exchanges.pop(cid)
        self.admin.event_cids.add(cid)
        return cid

    def next_event(self):
        """(type, information, log page) of the next event; one must have been requested."""
        while not self.admin.events:
            self.admin.serve_one()
        dw0 = self.admin.events.pop(0).check().dw0
        return dw0 & 7, dw0 >> 8 & 0xFF, dw0 >> 16 & 0xFF

    # I/O commands, on the first queue unless told otherwise.

    def io(self, sqe, data=b"", expect=0, queue=None, **how):
        return (queue or self.queues[0]).run(sqe, data, expect, **how)

    def read(self, nsid, lba, blocks, block_size=512, **more):
        return self.io(lba_entry(READ, nsid, lba, blocks), expect=blocks * block_size, **more).check().data

    def write(self, nsid, lba, data, block_size=512, fua=False, **more):
        sqe = lba_entry(WRITE, nsid, lba, len(data) // block_size, FUA if fua else 0)
        return self.io(sqe, data, **more)

    def compare(self, nsid, lba, data, block_size=512, **more):
        return self.io(lba_entry(COMPARE, nsid, lba, len(data) // block_size), data, **more)

    def flush(self, nsid):
        return self.io(entry(FLUSH, nsid))

    def verify(self, nsid, lba, blocks):
        return self.io(lba_entry(VERIFY, nsid, lba, blocks))

    def write_zeroes(self, nsid, lba, blocks, flags=0):
        return self.io(lba_entry(WRITE_ZEROES, nsid, lba, blocks, flags))

    def write_uncorrectable(self, nsid, lba, blocks):
        return self.io(lba_entry(WRITE_UNCORRECTABLE, nsid, lba, blocks))

    def deallocate(self, nsid, *ranges, attributes=4, count=None):
        """Dataset Management: (lba, blocks) each."""
        data = b"".join(struct.pack("<IIQ", 0, blocks, lba) for lba, blocks in ranges)
        count = len(ranges) if count is None else count
        return self.io(entry(DSM, nsid, cdw10=(count - 1) & 0xFF, cdw11=attributes), data)

    def copy(self, nsid, lba, *ranges, form=0, count=None, **more):
        """Copies (lba, blocks) each to `lba`, in source range entries of format 0."""
        data = b"".join(copy_range(first, blocks) for first, blocks in ranges)
        count = (len(ranges) if count is None else count) - 1 & 0xFF
        return self.io(
            entry(COPY, nsid, cdw10=lba & 0xFFFFFFFF, cdw11=lba >> 32, cdw12=count | form << 8), data, **more
        )

    def compare_and_write(self, nsid, lba, expected, data, block_size=512, queue=None):
        """The fused pair. Returns both completions."""
        queue = queue or self.queues[0]
        blocks = len(data) // block_size
        pair = queue.submit_together(
            (lba_entry(COMPARE, nsid, lba, blocks, fuse=FUSE_FIRST), expected, 0),
            (lba_entry(WRITE, nsid, lba, blocks, fuse=FUSE_SECOND), data, 0),
        )
        return queue.wait_all(pair)


def copy_range(lba, blocks):
    """A source range entry of format 0, NVM Command Set figure 38. Blocks are 0's based."""
    return struct.pack("<8xQH14x", lba, (blocks - 1) & 0xFFFF)


def lba_entry(opcode, nsid, lba, blocks, cdw12=0, fuse=0):
    """A command of a range of blocks. Their number is 0's based on the wire."""
    words = {"cdw10": lba & 0xFFFFFFFF, "cdw11": lba >> 32, "cdw12": (blocks - 1) & 0xFFFF | cdw12}
    return entry(opcode, nsid, fuse, **words)
