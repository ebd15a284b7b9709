"""libiscsi's conformance tests. Each suite runs in a process of its own, on a fresh disk.

The program's own totals count a skipped test as passed, so its output is counted here.
"""

import re
import shutil
import subprocess

import pytest

from exports import MIB, export, file_disk, memory_disk

SUITES = {
    "SCSI": (
        "ReadCapacity10 ReadCapacity16 Read6 Read10 Read12 Read16 Write10 Write12 Write16 Inquiry "
        "TestUnitReady Mandatory ProutRegister ProutReserve ProutClear ProutPreempt PrinReadKeys "
        "PrinServiceactionRange PrinReportCapabilities Reserve6"
    ).split(),
    "iSCSI": ["iSCSIcmdsn", "iSCSIdatasn", "iSCSIResiduals", "iSCSITMF"],
}
NAMES = [f"{family}.{suite}" for family, suites in SUITES.items() for suite in suites]

BEGIN = re.compile(r"^ *Test: (\S+) \.\.\.", re.MULTILINE)


def count(output):
    """{test: "passed" | "skipped" | "failed"}, from the verbose output."""
    results = {}
    parts = BEGIN.split(output)
    for name, text in zip(parts[1::2], parts[2::2]):
        # What it says on the way, "[FAILED]" too, may be what it wants; its verdict has a list.
        if re.search(r"FAILED\n +1\. ", text):
            results[name] = "failed"
        elif "[SKIPPED]" in text:
            results[name] = "skipped"
        elif "passed" in text:
            results[name] = "passed"
        else:
            results[name] = "failed"  # The program ended within it.
    return results


def run_suite(name, *urls):
    if shutil.which("iscsi-test-cu") is None:
        pytest.skip("iscsi-test-cu is not installed")
    return subprocess.run(
        ["iscsi-test-cu", "--dataloss", "--verbose", "-t", name, *urls],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("name", NAMES)
def test_conformance(polluxd, tmp_path, record_property, name, kind):
    client = polluxd.client
    size = 64 * MIB
    disk = memory_disk(client, size) if kind == "memory" else file_disk(client, tmp_path / "disk", size)
    judge(run_suite(name, export(client, disk).url()), record_property)


def judge(result, record_property):
    results = count(result.stdout)
    for outcome in ("passed", "skipped", "failed"):
        record_property(outcome, sorted(test for test, what in results.items() if what == outcome))
    print(results)
    assert results, result.stdout + result.stderr
    assert "failed" not in results.values(), result.stdout
    assert result.returncode == 0, result.stdout
    assert "passed" in results.values() or set(results.values()) == {"skipped"}


# Those that need a second initiator; libiscsi gives it another name.
TWO_PATHS = ["SCSI.ProutClear", "SCSI.ProutPreempt", "SCSI.Reserve6", "SCSI.ProutReserve"]


@pytest.mark.parametrize("name", TWO_PATHS)
def test_reservations_on_two_paths(polluxd, record_property, name):
    client = polluxd.client
    url = export(client, memory_disk(client, 64 * MIB)).url()
    judge(run_suite(name, url, url), record_property)


@pytest.mark.parametrize("name", ["iSCSI", "SCSI.MultipathIO"])
@pytest.mark.parametrize("digest", ["none", "crc32c"])
def test_the_protocol_with_and_without_header_digests(polluxd, record_property, name, digest):
    """What libiscsi has of the protocol itself, and of two sessions of one disk."""
    client = polluxd.client
    url = export(client, memory_disk(client, 64 * MIB)).url() + f"?header_digest={digest}"
    judge(run_suite(name, *[url] * (2 if "Multipath" in name else 1)), record_property)
