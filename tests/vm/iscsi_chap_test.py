"""open-iscsi proves who it is and wants the target to do so: CHAP with each algorithm that it knows, in
an emulated machine. One boot for all of it."""

import dataclasses
import os
import pathlib
import re
import signal
import sys

import pytest

import guest as vm
import initiator
from initiator import Chap
from pollux.pytest_plugin import free_port

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
from capture import Capture  # pylint: disable=wrong-import-position

BLOCK_BYTES = 512
DISK_MIB = 64
DATA_MIB = 4
GROUP = 1

TARGET = "iqn.2024-01.io.pollux:chap"
ONE_WAY = Chap("anna", "secret-of-anna-1")
MUTUAL = dataclasses.replace(ONE_WAY, muser="the-target", msecret="secret-of-target")
ALGORITHMS = {"MD5": "5", "SHA1": "6", "SHA256": "7", "SHA3-256": "8"}  # As CHAP_A has them.

# Of iscsiadm(8): the target refused the login, and the initiator gave it up itself.
REFUSED, GIVEN_UP = 24, 19


@pytest.fixture
def linux(polluxd, guest):
    """The initiator; its target wants CHAP, and so does discovery."""
    client, port = polluxd.client, free_port()
    disk = client.bdev_malloc_create(DISK_MIB * 2**20 // BLOCK_BYTES, BLOCK_BYTES)
    both = {"user": MUTUAL.user, "secret": MUTUAL.secret, "muser": MUTUAL.muser, "msecret": MUTUAL.msecret}
    client.iscsi_create_auth_group(GROUP, secrets=[both])
    client.iscsi_set_discovery_auth(require_chap=True, chap_group=GROUP)
    client.iscsi_create_portal_group(1, [{"host": "127.0.0.1", "port": str(port)}])
    client.iscsi_create_initiator_group(1, ["ANY"], ["127.0.0.1/32"])
    client.iscsi_create_target_node(
        TARGET,
        "of CHAP",
        [{"bdev_name": disk, "lun_id": 0}],
        [{"pg_tag": 1, "ig_tag": 1}],
        64,
        require_chap=True,
        chap_group=GROUP,
    )
    return initiator.Initiator(guest, port, TARGET)


def refused(attempt):
    with pytest.raises(vm.CommandFailed) as failure:
        attempt()
    return failure.value


@pytest.mark.parametrize("chap", [ONE_WAY, MUTUAL], ids=["one-way", "mutual"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_lets_the_initiator_in(guest, linux, tmp_path, algorithm, chap):
    capture = Capture(tmp_path / "capture.pcap", linux.port, "iscsi")
    disk = linux.login(chap=dataclasses.replace(chap, algorithm=algorithm))
    capture.end()
    # It would offer MD5 instead of what its own libraries lack.
    said = re.findall(r"CHAP_A=(\S+)", capture.read("-V", "-Y", "iscsi.opcode == 0x23"))
    assert said == [ALGORITHMS[algorithm]]
    # Written past the cache and read from the target again.
    guest.run(
        f"""
        set -e
        head -c 65536 /dev/urandom >/tmp/data
        dd if=/tmp/data of={disk} bs=64k oflag=direct status=none
        dd if={disk} of=/tmp/read bs=64k count=1 iflag=direct status=none
        [ "$(sha256sum </tmp/read)" = "$(sha256sum </tmp/data)" ]
        """
    )
    linux.logout()
    assert TARGET not in linux.sessions()


@pytest.mark.parametrize("chap", [ONE_WAY, MUTUAL], ids=["one-way", "mutual"])
def test_discovery_wants_the_secret_too(linux, chap):
    assert linux.discover(chap) == [TARGET]


WRONG = {
    "no-chap": (None, REFUSED),
    "wrong-secret": (dataclasses.replace(ONE_WAY, secret="secret-of-nobody"), REFUSED),
    "unknown-user": (dataclasses.replace(ONE_WAY, user="nobody"), REFUSED),
    "wrong-secret-of-target": (dataclasses.replace(MUTUAL, msecret="secret-of-nobody"), GIVEN_UP),
    "wrong-name-of-target": (dataclasses.replace(MUTUAL, muser="nobody"), GIVEN_UP),
}


@pytest.mark.parametrize("chap, code", WRONG.values(), ids=WRONG)
def test_nobody_gets_in_with_anything_wrong(polluxd, linux, chap, code):
    """Neither we by the target, nor the target by us."""
    failure = refused(lambda: linux.login(chap=chap))
    linux.forget()
    assert failure.code == code, failure
    assert TARGET not in linux.sessions()
    refused(lambda: linux.discover(chap))
    assert all(c["login_phase"] != "full_feature_phase" for c in polluxd.client.iscsi_get_connections())


def test_a_file_system_with_mutual_chap_and_digests_holds_what_fio_wrote(guest, linux):
    disk = linux.login(digests=True, chap=MUTUAL)
    assert linux.digests() == ["1", "1"]
    initiator.make_file_system(guest, disk)
    initiator.write(guest, DATA_MIB)
    initiator.verify(guest, DATA_MIB)
    initiator.unmount_and_check(guest, disk)
    linux.logout()


def test_a_target_that_stood_still_is_authenticated_again(polluxd, guest, linux):
    """Pings time out, the kernel drops the connection, and its daemon logs in by itself."""
    disk = linux.login(chap=MUTUAL)
    initiator.make_file_system(guest, disk)
    stream = initiator.Stream(guest, disk, DATA_MIB, writes_per_second=100)
    stream.await_writes(20)
    os.kill(polluxd.pid, signal.SIGSTOP)
    try:
        linux.await_state("FAILED")
        assert stream.running(), "it was to stand still in the middle of it"
    finally:
        os.kill(polluxd.pid, signal.SIGCONT)
    linux.await_state("LOGGED_IN")
    stream.finish()
    initiator.unmount_and_check(guest, disk)
    linux.logout()
