"""Initiators that nobody here wrote: libiscsi's tools, and qemu-img."""

import os
import re
import shutil
import subprocess

import pytest

from exports import BLOCK, MIB, Export, admit, export, file_disk, listen, make_node, memory_disk
from iscsi_peer import Peer

IMAGE_MIB = {"quick": 64, "whole": 256}


def tool(*command, timeout=60, check=True):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if check:
        assert result.returncode == 0, (command, result.stdout, result.stderr)
    return result


@pytest.fixture(params=["memory", "file"])
def disk_kind(request):
    return request.param


@pytest.fixture
def make_disk(polluxd, tmp_path, disk_kind):
    """Makes a disk of the kind that the test runs on."""

    def make(size=16 * MIB):
        if disk_kind == "memory":
            return memory_disk(polluxd.client, size, name="Disk")
        return file_disk(polluxd.client, tmp_path / "disk", size, name="Disk")

    return make


@pytest.fixture
def target(polluxd, make_disk):
    return export(polluxd.client, make_disk())


# iscsi-ls.


def test_ls_shows_targets_and_their_luns(polluxd):
    client = polluxd.client
    port = listen(client)
    admit(client)
    one = make_node(client, "one", memory_disk(client, MIB), memory_disk(client, 2 * MIB))
    two = make_node(client, "two", memory_disk(client, 3 * MIB))
    output = tool("iscsi-ls", "-s", f"iscsi://127.0.0.1:{port}").stdout
    targets = re.findall(r"Target:(\S+) Portal:(\S+),(\d+)", output)
    assert sorted(targets) == [(one, f"127.0.0.1:{port}", "1"), (two, f"127.0.0.1:{port}", "1")]
    assert len(re.findall(r"Lun:\d+ +Type:DIRECT_ACCESS", output)) == 3


def test_ls_shows_every_portal_that_the_initiator_may_use(polluxd):
    client = polluxd.client
    first, second, hidden = listen(client, 1), listen(client, 2), listen(client, 3, private=True)
    unmapped = listen(client, 4)
    admit(client)
    make_node(client, "one", memory_disk(client, MIB), maps=[(1, 1), (2, 1), (3, 1)])
    output = tool("iscsi-ls", f"iscsi://127.0.0.1:{first}").stdout
    assert f":{first},1" in output and f":{second},2" in output
    assert f":{hidden},3" not in output and f":{unmapped}," not in output


def test_an_excluded_initiator_sees_nothing_and_gets_nowhere(polluxd):
    client = polluxd.client
    port = listen(client)
    admit(client, 1, ["iqn.2026-01.test:friend"])
    target = Export("127.0.0.1", port, make_node(client, "one", memory_disk(client, MIB)))
    friend, stranger = "iqn.2026-01.test:friend", "iqn.2026-01.test:stranger"
    assert target.iqn in tool("iscsi-ls", "-i", friend, f"iscsi://{target.portal}").stdout
    assert target.iqn not in tool("iscsi-ls", "-i", stranger, f"iscsi://{target.portal}", check=False).stdout
    tool("iscsi-inq", "-i", friend, target.url())
    assert tool("iscsi-inq", "-i", stranger, target.url(), check=False).returncode != 0


# iscsi-inq, iscsi-readcapacity16.


def test_the_standard_inquiry_names_us(target):
    output = tool("iscsi-inq", target.url()).stdout
    assert re.search(r"Peripheral Device Type:DIRECT_ACCESS", output)
    vendor = re.search(r"Vendor:(.*)", output).group(1).strip()
    assert vendor and vendor.isprintable()


def test_the_vital_product_data_are_consistent(polluxd, target):
    pages = tool("iscsi-inq", "-e", "1", "-c", "0", target.url()).stdout
    listed = {int(number, 16) for number in re.findall(r"Page:(0x[0-9a-fA-F]+)", pages)}
    assert {0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2} <= listed
    with Peer(target.portal) as peer:  # Also those that libiscsi has no words for.
        assert peer.login(target.iqn) == 0
        peer.ready()
        for page in sorted(listed):
            status, data, answer = peer.run(bytes([0x12, 1, page, 1, 0, 0]), 256)
            assert (status, data[1]) == (0, page)
            assert 256 - answer.word(44) == 4 + int.from_bytes(data[2:4], "big")
    for page in (0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2):
        assert tool("iscsi-inq", "-e", "1", "-c", page, target.url()).stdout.strip()
    first = tool("iscsi-inq", "-e", "1", "-c", 0x83, target.url()).stdout
    assert re.search(r"naa|NAA|T10|eui", first, re.IGNORECASE)
    assert tool("iscsi-inq", "-e", "1", "-c", 0x80, target.url()).stdout
    # A page that is not there is refused, not made up.
    assert tool("iscsi-inq", "-e", "1", "-c", 0xD7, target.url(), check=False).returncode != 0


def test_the_capacity_is_the_disks(polluxd, make_disk):
    target = export(polluxd.client, make_disk(24 * MIB))
    output = tool("iscsi-readcapacity16", target.url()).stdout
    numbers = dict(re.findall(r"(.*?):\s*(\d+)", output))
    assert numbers["RETURNED LOGICAL BLOCK ADDRESS"] == str(24 * MIB // BLOCK - 1)
    assert numbers["LOGICAL BLOCK LENGTH IN BYTES"] == str(BLOCK)


# iscsi-perf.


def perf(url, *options):
    """Two seconds of reads. It does not always end by itself."""
    return ["timeout", "-s", "INT", "6", "iscsi-perf", *map(str, options), "-t", "2", url]


@pytest.mark.parametrize("blocks", [8, 256])
def test_perf_reads_without_an_error(polluxd, target, blocks):
    result = tool(*perf(target.url(), "-m", 32, "-b", blocks, "-r"), check=False)
    assert not re.search(r"fail|error", result.stdout + result.stderr, re.IGNORECASE), result.stdout
    (disk,) = polluxd.client.bdev_get_iostat()["bdevs"]
    assert disk["num_read_ops"] > 100 and disk["io_error"] == {}


@pytest.mark.parametrize("blocks", [8, 256])
def test_perf_reads_with_header_digests(polluxd, target, blocks):
    url = target.url() + "?header_digest=crc32c"
    result = tool(*perf(url, "-m", 32, "-b", blocks, "-r"), check=False)
    assert not re.search(r"fail|error", result.stdout + result.stderr, re.IGNORECASE), result.stdout
    (disk,) = polluxd.client.bdev_get_iostat()["bdevs"]
    assert disk["num_read_ops"] > 100 and disk["io_error"] == {}


# qemu-img.


def copy_and_compare(polluxd, tmp_path, url, mib):
    image = tmp_path / "image"
    image.write_bytes(os.urandom(mib * MIB))
    tool("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, url, timeout=120)
    result = tool("qemu-img", "compare", "-f", "raw", "-F", "raw", image, url, timeout=120)
    assert "identical" in result.stdout
    back = tmp_path / "back"
    tool("qemu-img", "convert", "-f", "raw", "-O", "raw", url, back, timeout=120)
    assert back.read_bytes() == image.read_bytes()
    return image


@pytest.mark.parametrize(
    "mib", [IMAGE_MIB["quick"], pytest.param(IMAGE_MIB["whole"], marks=pytest.mark.nightly)]
)
def test_an_image_is_copied_there_and_back(polluxd, tmp_path, make_disk, disk_kind, mib):
    target = export(polluxd.client, make_disk(mib * MIB))
    image = copy_and_compare(polluxd, tmp_path, target.url(), mib)
    polluxd.restart()
    polluxd.client.framework_wait_init()
    same = tool("qemu-img", "compare", "-f", "raw", "-F", "raw", image, target.url(), timeout=120, check=False)
    # A file keeps it, memory does not.
    assert (same.returncode == 0) == (disk_kind == "file")
    if disk_kind == "file":
        assert (tmp_path / "disk").read_bytes() == image.read_bytes()


def test_two_initiators_copy_to_two_targets_at_once(polluxd, tmp_path):
    client = polluxd.client
    port = listen(client)
    admit(client)
    urls = []
    for name in ("one", "two"):
        disk = file_disk(client, tmp_path / f"{name}.disk", 16 * MIB, name=name)
        urls.append(Export("127.0.0.1", port, make_node(client, name, disk)).url())
        (tmp_path / f"{name}.image").write_bytes(os.urandom(16 * MIB))
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    copies = [
        subprocess.Popen(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", tmp_path / f"{name}.image", url])
        for name, url in zip(("one", "two"), urls)
    ]
    assert [one.wait(60) for one in copies] == [0, 0]
    for name in ("one", "two"):
        assert (tmp_path / f"{name}.disk").read_bytes() == (tmp_path / f"{name}.image").read_bytes()


def test_ipv6_portals_are_served(polluxd, tmp_path):
    client = polluxd.client
    target = export(client, memory_disk(client), host="[::1]")
    assert target.iqn in tool("iscsi-ls", f"iscsi://{target.portal}").stdout
    tool("iscsi-readcapacity16", target.url())


def test_many_reactors_serve_many_sessions(start_polluxd, tmp_path):
    cores = sorted(os.sched_getaffinity(0))[:2]
    polluxd = start_polluxd("-m", f"[{','.join(map(str, cores))}]")
    client = polluxd.client
    target = export(client, memory_disk(client))
    sessions = [
        subprocess.Popen(
            perf(target.url(), "-m", 8, "-b", 8, "-i", f"iqn.2026-01.test:{i}"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for i in range(4)
    ]
    try:
        busy = set()
        while any(one.poll() is None for one in sessions):
            # While it logs in, a connection is the control loop's.
            busy |= {one["thread_name"] for one in client.iscsi_get_connections()} - {"app_thread"}
    finally:
        for one in sessions:
            one.kill()
            one.wait()
    assert len(busy) == len(cores)
