"""Wireshark's dissector reads what our iSCSI target says with both digests, which libiscsi cannot have:
a third reading of the specification. conformance_test.py has the captures of libiscsi."""

import os
import re

import pytest

from capture import Capture
from exports import BLOCK, export, memory_disk
from iscsi_peer import CHECK_CONDITION, GOOD, Peer


def talk(target, **keys):
    with Peer(target.portal) as discovery:
        assert discovery.login(**{key: keys[key] for key in ("HeaderDigest", "DataDigest")}) == 0
        assert target.iqn.encode() in discovery.text(b"SendTargets=All\0").data
        discovery.logout()
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn, **keys) == 0
        assert peer.ready() == GOOD
        for blocks in (1, 16, 17, 129, 400):
            data = os.urandom(blocks * BLOCK)
            peer.write(blocks, data)
            assert peer.read(blocks, blocks) == data
        for length in range(36, 41):  # Padding of each size.
            assert peer.run(bytes([0x12, 0, 0, 0, length, 0]), length)[0] == GOOD
        beyond = bytes([0x28, 0, 0x40, 0, 0, 0, 0, 0, 1, 0])
        assert peer.run(beyond, BLOCK)[0] == CHECK_CONDITION
        peer.nop(b"ping")
        peer.logout()


@pytest.mark.parametrize("digest", ["None", "CRC32C"])
@pytest.mark.parametrize("initial_r2t", ["Yes", "No"])
def test_a_capture_has_no_malformed_packet(polluxd, tmp_path, digest, initial_r2t):
    target = export(polluxd.client, memory_disk(polluxd.client))
    capture = Capture(tmp_path / "capture.pcap", target.port, "iscsi")
    talk(target, HeaderDigest=digest, DataDigest=digest, InitialR2T=initial_r2t)
    capture.end()

    assert not capture.read("-Y", "_ws.malformed or _ws.expert.severity == Error")
    said = capture.read("-V")
    opcodes = {int(one, 16) for one in re.findall(r"0x[0-9a-f]+", capture.read("-T", "fields", "-e", "iscsi.opcode"))}
    assert opcodes >= {0x00, 0x01, 0x03, 0x04, 0x05, 0x06, 0x20, 0x21, 0x23, 0x24, 0x25, 0x26, 0x31}, opcodes
    for name in ("HeaderDigest", "DataDigest"):
        verdicts = set(re.findall(rf"{name}: 0x[0-9a-f]+ \((\w+) CRC32\)", said))
        assert verdicts == ({"Good"} if digest == "CRC32C" else set()), f"{name}: {verdicts}"
