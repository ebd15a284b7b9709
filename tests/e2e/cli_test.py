"""The command line against a running polluxd."""

import json
import os
import re
import subprocess

import pytest

from pollux.pytest_plugin import free_port, polluxd_path

PROGRAM = polluxd_path().parent / "pollux"


@pytest.fixture
def cli(polluxd):
    """Runs the program and returns how it ended."""

    def run(*arguments, stdin="", env=None):
        return subprocess.run(
            [PROGRAM, "-s", polluxd.socket, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **(env or {})},
        )

    return run


def lines(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_disk_is_exported_with_the_short_forms(cli, polluxd):
    portal = f"127.0.0.1:{free_port()}"
    assert lines(cli("bdev_malloc_create", "8K", "512", "--name", "Malloc0")) == ["Malloc0"]
    assert lines(cli("bdev_null_create", "Null0", "2048", "512")) == ["Null0"]
    assert lines(cli("iscsi_create_portal_group", "1", portal)) == ["true"]
    assert lines(cli("iscsi_create_initiator_group", "2", "ANY", "127.0.0.0/8,::1")) == ["true"]
    node = ("disk1", "Disk 1", "Malloc0:0,Null0:3", "1:2", "64", "--disable-chap")
    assert lines(cli("iscsi_create_target_node", *node)) == ["true"]

    (shown,) = polluxd.client.iscsi_get_target_nodes()
    assert shown["luns"] == [{"bdev_name": "Malloc0", "lun_id": 0}, {"bdev_name": "Null0", "lun_id": 3}]
    assert shown["pg_ig_maps"] == [{"pg_tag": 1, "ig_tag": 2}]
    assert shown["disable_chap"] is True
    (group,) = polluxd.client.iscsi_get_initiator_groups()
    assert group["netmasks"] == ["127.0.0.0/8", "::1"]
    assert polluxd.client.bdev_get_bdevs("Malloc0")[0]["num_blocks"] == 8192


def test_json_is_what_the_server_answered(cli, polluxd):
    polluxd.client.bdev_null_create("Null0", 2048, 512)
    done = cli("--json", "bdev_get_bdevs", "Null0")
    assert json.loads(done.stdout) == polluxd.client.bdev_get_bdevs("Null0")


def test_a_list_is_a_table(cli):
    head, *rows = lines(cli("framework_get_subsystems"))
    assert head.split() == ["subsystem", "depends_on"]
    assert [row.split()[0] for row in rows][:2] == ["accel", "bdev"]


def test_a_refusal_is_exit_code_1_and_says_why(cli):
    done = cli("bdev_malloc_create", "8K", "500")
    assert done.returncode == 1 and done.stdout == ""
    words = dict(line.split(None, 1) for line in done.stderr.splitlines()[1:])
    assert (words["code"], words["field"], words["value"]) == ("-22", "block_size", "500")
    assert words["reason"]


def test_misuse_is_exit_code_2_and_reaches_no_server(cli):
    for arguments in (["bdev_malloc_create"], ["no_such_method"], ["log_set_level", "LOUD"], ["--nonsense"], []):
        done = cli(*arguments)
        assert done.returncode == 2 and done.stderr, arguments


def test_no_server_is_exit_code_3(polluxd, tmp_path):
    for where in (tmp_path / "none", f"127.0.0.1:{free_port()}"):
        done = subprocess.run([PROGRAM, "-s", where, "spdk_get_version"], capture_output=True, check=False)
        assert done.returncode == 3 and done.stderr


def test_tcp_is_an_address(start_polluxd):
    port = free_port()
    start_polluxd("--rpc-tcp", f"127.0.0.1:{port}")
    done = subprocess.run(
        [PROGRAM, "-s", f"127.0.0.1:{port}", "spdk_get_version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "SPDK" in done.stdout


def test_calls_come_from_standard_input_until_one_fails(cli, polluxd):
    script = """
        # Three disks, of which the second has the name of the first.
        bdev_null_create Null0 2048 512
        bdev_null_create Null0 2048 512
        bdev_null_create Null1 2048 512
    """
    done = cli("-", stdin=script)
    assert done.returncode == 1 and done.stdout == "Null0\n"
    assert "line 4" in done.stderr
    assert [disk["name"] for disk in polluxd.client.bdev_get_bdevs()] == ["Null0"]


def test_every_method_has_help(cli, polluxd):
    overview = cli("--help").stdout
    for name in polluxd.client.rpc_get_methods():
        assert f"  {name} " in overview
        assert cli(name, "--help").stdout.startswith(f"Usage: pollux {name}")


def test_the_default_socket_is_the_daemons():
    defaults = {
        re.search(r"default: (\S+\.sock)", subprocess.check_output([program, "--help"], text=True))[1]
        for program in (PROGRAM, polluxd_path())
    }
    assert len(defaults) == 1, defaults


def test_a_closed_pipe_ends_it(polluxd):
    """`pollux ... | head -0` neither hangs nor crashes."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run([PROGRAM, "-s", polluxd.socket, "rpc_get_methods"], stdout=out, check=False)
    assert done.returncode != 0
