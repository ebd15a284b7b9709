"""What admin commands return, by the offsets of the specifications' figures: NVM Express Base 2.0, NVM
Command Set 1.0. Each class is a view of bytes."""

import dataclasses
import struct
import uuid

CHANGED_NAMESPACES_MAX = 1024


def _number(offset, size):
    return property(lambda self: int.from_bytes(self.data[offset : offset + size], "little"))


def _text(offset, size):
    return property(lambda self: self.data[offset : offset + size].rstrip(b"\0 ").decode())


class View:
    def __init__(self, data):
        self.data = data


class IdentifyController(View):
    """CNS 01h, Base figure 276."""

    vid, ssvid = _number(0, 2), _number(2, 2)
    sn, mn, fr = _text(4, 20), _text(24, 40), _text(64, 8)
    cmic, mdts, cntlid, ver = _number(76, 1), _number(77, 1), _number(78, 2), _number(80, 4)
    oaes, ctratt, cntrltype = _number(92, 4), _number(96, 4), _number(111, 1)
    crdt1, crdt2, crdt3 = _number(128, 2), _number(130, 2), _number(132, 2)
    oacs, acl, aerl, frmw = _number(256, 2), _number(258, 1), _number(259, 1), _number(260, 1)
    lpa, elpe, npss, kas = _number(261, 1), _number(262, 1), _number(263, 1), _number(320, 2)
    anatt, anacap, anagrpmax, nanagrpid = _number(342, 1), _number(343, 1), _number(344, 4), _number(348, 4)
    sqes, cqes, maxcmd, nn = _number(512, 1), _number(513, 1), _number(514, 2), _number(516, 4)
    oncs, fuses, fna, vwc = _number(520, 2), _number(522, 2), _number(524, 1), _number(525, 1)
    awun, awupf, nwpc, acwu = _number(526, 2), _number(528, 2), _number(531, 1), _number(532, 2)
    ocfs, sgls, mnan, subnqn = _number(534, 2), _number(536, 4), _number(540, 4), _text(768, 256)
    ioccsz, iorcsz, icdoff = _number(1792, 4), _number(1796, 4), _number(1800, 2)
    fcatt, msdbd, ofcs = _number(1802, 1), _number(1803, 1), _number(1804, 2)


# Bits of ONCS.
ONCS_COMPARE, ONCS_UNCORRECTABLE, ONCS_DSM, ONCS_ZEROES = 1, 2, 4, 8
ONCS_SAVE, ONCS_RESERVATIONS, ONCS_TIMESTAMP, ONCS_VERIFY, ONCS_COPY = 16, 32, 64, 128, 256


class IdentifyNamespace(View):
    """CNS 00h, NVM Command Set figure 97."""

    nsze, ncap, nuse = _number(0, 8), _number(8, 8), _number(16, 8)
    nsfeat, nlbaf, flbas, mc, dpc, dps = (_number(24 + i, 1) for i in range(6))
    nmic, rescap, fpi, dlfeat = (_number(30 + i, 1) for i in range(4))
    nawun, nawupf, nacwu = _number(34, 2), _number(36, 2), _number(38, 2)
    mssrl, mcl, msrc = _number(74, 2), _number(76, 4), _number(80, 1)
    anagrpid, nsattr = _number(92, 4), _number(99, 1)
    nguid = property(lambda self: self.data[104:120])
    eui64 = property(lambda self: self.data[120:128])

    @property
    def block_size(self):
        return 1 << self.data[128 + 4 * (self.flbas & 15) + 2]


def namespace_list(data):
    """A list of NSIDs (or of controllers: size 2), which ends at the first 0."""
    found = [one for one, in struct.iter_unpack("<I", data)]
    return found[: found.index(0)] if 0 in found else found


def controller_list(data):
    count, = struct.unpack_from("<H", data)
    return list(struct.unpack_from(f"<{count}H", data, 2))


def identifiers(data):
    """CNS 03h: {1: EUI64, 2: NGUID, 3: UUID, 4: command set}. Figure 277."""
    found, place = {}, 0
    while place + 4 <= len(data) and data[place + 1]:
        kind, size = data[place], data[place + 1]
        value = data[place + 4 : place + 4 + size]
        assert kind not in found, "twice the same type"
        found[kind] = uuid.UUID(bytes=value) if kind == 3 else value
        place += 4 + size
    assert not any(data[place:])
    return found


@dataclasses.dataclass(frozen=True)
class AnaGroup:
    group: int
    change_count: int
    state: int
    nsids: tuple


def ana_groups(data):
    """The ANA log page: its change count, and the groups by their identifiers."""
    changes, count = struct.unpack_from("<QH", data)
    place, groups = 16, {}
    for _ in range(count):
        group, nsids, group_changes, state = struct.unpack_from("<IIQB", data, place)
        names = struct.unpack_from(f"<{nsids}I", data, place + 32)
        groups[group] = AnaGroup(group, group_changes, state & 15, names)
        place += 32 + 4 * nsids
    return changes, groups


@dataclasses.dataclass(frozen=True)
class DiscoveryEntry:
    trtype: int
    adrfam: int
    subtype: int
    treq: int
    portid: int
    cntlid: int
    asqsz: int
    eflags: int
    trsvcid: str
    subnqn: str
    traddr: str


def discovery_log(data):
    """(generation, entries) of a discovery log page. Figure 264."""
    generation, count, form = struct.unpack_from("<QQH", data)
    assert form == 0
    entries = []
    for place in range(1024, 1024 * (1 + min(count, len(data) // 1024 - 1)), 1024):
        numbers = struct.unpack_from("<BBBBHHHH", data, place)
        words = [data[place + begin : place + end] for begin, end in ((32, 64), (256, 512), (512, 768))]
        entries.append(DiscoveryEntry(*numbers, *(word.rstrip(b" \0").decode() for word in words)))
    return generation, count, entries
