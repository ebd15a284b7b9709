"""Wireshark's dissector reads what our target says: a third reading of the specification."""

import re

import pytest

import nvme_structures as structures
import nvme_tcp_host as nvme
from capture import Capture
from exports import BLOCK
from nvmf_exports import Subsystem

PREFERENCES = ("nvme-tcp.check_hdgst:TRUE", "nvme-tcp.check_ddgst:TRUE")


def talk(subsystem, **options):
    with nvme.Controller(subsystem.address, nvme.DISCOVERY_NQN, **options) as discovery:
        structures.discovery_log(discovery.get_log(nvme.DISCOVERY, 4096, nsid=0).check().data)
    with subsystem.connect(queues=2, **options) as controller:
        for cns in (0, 1, 2, 3):
            controller.identify(cns, 0 if cns == 2 else 1).check()
        for page, size in ((nvme.SMART, 512), (nvme.EFFECTS, 4096), (nvme.FIRMWARE, 512)):
            controller.get_log(page, size).check()
        controller.get_features(nvme.EVENTS).check()
        controller.keep_alive()
        for size in (1, 8, 16, 17, 100, 256):
            controller.write(1, 3, bytes([size & 0xFF]) * size * BLOCK).check()
            assert controller.read(1, 3, size) == bytes([size & 0xFF]) * size * BLOCK
        controller.write_zeroes(1, 0, 8).check()
        controller.deallocate(1, (0, 8)).check()
        assert not read_beyond(controller).ok
        controller.shut_down()


def read_beyond(controller):
    return controller.io(nvme.lba_entry(nvme.READ, 1, 1 << 40, 1), expect=BLOCK)


@pytest.mark.parametrize("digests", [False, True], ids=["plain", "digests"])
def test_a_capture_has_no_malformed_packet(polluxd, tmp_path, digests):
    subsystem = Subsystem(polluxd.client)
    subsystem.add_memory(1)
    capture = Capture(tmp_path / "capture.pcap", subsystem.address[1], "nvme-tcp", PREFERENCES)
    talk(subsystem, header_digest=digests, data_digest=digests)
    capture.end()

    assert not capture.read("-Y", "_ws.malformed")
    kinds = set(re.findall(r"\d+", capture.read("-T", "fields", "-e", "nvme-tcp.type")))
    assert kinds >= {"0", "1", "4", "5", "6", "7", "9"}, kinds  # ICReq, ICResp, capsules, data, R2T.
    if digests:
        for name in ("hdgst", "ddgst"):
            states = set(re.findall(r"\d+", capture.read("-T", "fields", "-e", f"nvme-tcp.{name}.status")))
            assert states == {"1"}, f"{name}: {states}"  # 0 would be bad.
