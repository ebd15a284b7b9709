"""The command line's save, load, diff and apply, watch, --every and completion."""

import json
import signal
import stat
import subprocess
import time

import pytest

from exports import MIB, export, memory_disk, saved, wait_until
from pollux.pytest_plugin import polluxd_path

PROGRAM = polluxd_path().parent / "pollux"


def cli(daemon, *arguments, stdin="", program_options=()):
    return subprocess.run(
        [PROGRAM, "-s", daemon.socket, *program_options, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def done(result):
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def signs(result):
    """The first two words of each line that is a difference."""
    return [tuple(line.split()[:2]) for line in result.stdout.splitlines() if line[0] in "+-~"]


@pytest.fixture
def configured(polluxd):
    client = polluxd.client
    export(client, memory_disk(client, MIB, name="Disk"))
    client.bdev_set_qos_limit("Disk", rw_ios_per_sec=10000)
    client.bdev_null_create("Null0", 2048, 512)
    return polluxd


# save and load.


def test_what_save_writes_load_makes_again(configured, start_polluxd, tmp_path):
    file = tmp_path / "config.json"
    assert done(cli(configured, "save", file)) == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not (tmp_path / "config.json.new").exists()
    # SPDK's form: what its loader reads, and our own -c.
    config = json.loads(file.read_text())
    assert {"bdev", "iscsi"} <= {one["subsystem"] for one in config["subsystems"]}
    before = saved(configured.client)
    configured.stop()

    other = start_polluxd()
    assert done(cli(other, "load", file)) == ""
    assert saved(other.client) == before
    other.stop()
    assert saved(start_polluxd("--no-state", "-c", file).client) == before


def test_save_writes_to_the_output_and_load_reads_the_input(configured, start_polluxd):
    text = done(cli(configured, "save"))
    before = saved(configured.client)
    configured.stop()
    other = start_polluxd()
    done(cli(other, "load_config", stdin=text))  # As rpc.py calls it.
    assert saved(other.client) == before


def test_load_goes_through_the_initialisation(start_polluxd, tmp_path):
    polluxd = start_polluxd("--wait-for-rpc")
    file = tmp_path / "config.json"
    file.write_text("""{
      // Comments, batches and unknown subsystems are SPDK's.
      "subsystems": [
        {"subsystem": "bdev", "config": [
          [{"method": "bdev_null_create", "params": {"name": "A", "num_blocks": 8, "block_size": 512}}],
          {"method": "bdev_set_options", "params": {"bdev_io_pool_size": 65535}}]},
        {"subsystem": "vmd", "config": [{"method": "vmd_enable"}]},
        {"subsystem": "fsdev", "config": null}
      ]}""")
    result = cli(polluxd, "load", file)
    done(result)
    assert "vmd_enable was left out: there is no subsystem vmd" in result.stderr
    assert polluxd.client.bdev_get_bdevs()[0]["name"] == "A"
    # Too late for some: that is said, and is no failure, as with SPDK's loader.
    polluxd.client.bdev_null_delete("A")
    result = cli(polluxd, "load", file)
    done(result)
    assert "bdev_set_options was left out" in result.stderr
    assert polluxd.client.bdev_get_bdevs()[0]["name"] == "A"


def test_load_stops_at_the_first_failure_and_says_where(polluxd, tmp_path):
    file = tmp_path / "config.json"
    calls = [{"method": "bdev_null_create", "params": {"name": name, "num_blocks": 8, "block_size": size}}
             for name, size in (("A", 512), ("B", 513), ("C", 512))]  # fmt: skip
    file.write_text(json.dumps({"subsystems": [{"subsystem": "bdev", "config": calls}]}))
    result = cli(polluxd, "load", file)
    assert result.returncode == 1
    assert "field   block_size" in result.stderr and 'stopped at bdev_null_create {"name":"B"' in result.stderr
    assert [one["name"] for one in polluxd.client.bdev_get_bdevs()] == ["A"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "config.json: "),
        ('{"subsystems": [{"subsystem": "bdev", "config": [', "config.json: "),
        ("[]", "is no object"),
        ("{}", "subsystems"),
        ('{"subsystems": [{"config": []}]}', "subsystems[0].subsystem"),
        ('{"subsystems": [{"subsystem": "bdev", "config": [{"params": {}}]}]}', "config[0].method"),
        ('{"subsystems": [{"subsystem": "bdev", "config": [{"method": "bdev_none"}]}]}', "no method bdev_none"),
        ('{"subsystems": [{"subsystem": "bdev", "config": [{"method": "bdev_get_bdevs", "params": 1}]}]}', "params"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["load", "diff", "apply"])
def test_a_file_that_is_no_configuration_changes_nothing(shared_polluxd, tmp_path, command, text, complaint):
    file = tmp_path / "config.json"
    file.write_text(text)
    result = cli(shared_polluxd, command, file)
    assert result.returncode == 2 and complaint in result.stderr, result.stderr
    assert shared_polluxd.client.bdev_get_bdevs() == []


def test_a_file_cut_at_any_byte_changes_nothing(polluxd, start_polluxd, tmp_path):
    polluxd.client.bdev_null_create("A", 8, 512)
    text = done(cli(polluxd, "save")).rstrip()
    polluxd.client.bdev_null_delete("A")
    for size in range(0, len(text), 7):
        result = cli(polluxd, "load", stdin=text[:size])
        assert result.returncode == 2, (size, result)
    assert polluxd.client.bdev_get_bdevs() == []


def test_files_that_cannot_be_read_or_written(polluxd, tmp_path):
    for command in ("load", "diff", "apply"):
        result = cli(polluxd, command, tmp_path / "none")
        assert result.returncode == 2 and "No such file or directory" in result.stderr
    result = cli(polluxd, "save", tmp_path / "none" / "file")
    assert result.returncode == 2 and "No such file or directory" in result.stderr
    old = tmp_path / "old"
    old.write_text("precious")
    with open("/dev/full", "wb") as full:
        result = subprocess.run([PROGRAM, "-s", polluxd.socket, "save"], stdout=full, check=False)
        assert result.returncode == 1
    (tmp_path / "old.new").mkdir()  # The new one cannot be made: the old one stays.
    assert cli(polluxd, "save", old).returncode == 2
    assert old.read_text() == "precious"


# diff and apply.


def test_a_saved_configuration_differs_in_nothing(configured):
    text = done(cli(configured, "save"))
    assert done(cli(configured, "diff", "-", stdin=text)) == ""
    assert done(cli(configured, "apply", "-", stdin=text)) == ""


def test_diff_says_what_is_missing_what_is_more_and_what_is_other(configured):
    text = done(cli(configured, "save"))
    client = configured.client
    client.bdev_set_qos_limit("Disk", rw_ios_per_sec=20000)
    client.bdev_null_delete("Null0")
    client.bdev_null_create("Null1", 2048, 512)
    result = cli(configured, "diff", "-", stdin=text)
    assert result.returncode == 1
    assert sorted(signs(result)) == [
        ("+", "bdev_null_create"),
        ("-", "bdev_null_create"),
        ("~", "bdev_set_qos_limit"),
    ]
    assert "    rw_ios_per_sec is 20000, wanted 10000\n" in result.stdout


def test_apply_makes_what_is_missing_and_says_what_differs(configured):
    text = done(cli(configured, "save"))
    before = saved(configured.client)
    client = configured.client
    client.iscsi_delete_target_node(client.iscsi_get_target_nodes()[0]["name"])
    client.bdev_null_delete("Null0")
    result = cli(configured, "apply", "-", stdin=text)
    assert sorted(signs(result)) == [("+", "bdev_null_create"), ("+", "iscsi_create_target_node")]
    assert done(result)
    assert cli(configured, "diff", "-", stdin=text).returncode == 0
    assert {json.dumps(one, sort_keys=True) for one in before} == {
        json.dumps(one, sort_keys=True) for one in saved(client)
    }
    client.bdev_null_resize("Null0", 2)
    result = cli(configured, "apply", "-", stdin=text)
    assert result.returncode == 1 and signs(result) == [("~", "bdev_null_create")]
    assert "num_blocks is 4096, wanted 2048" in result.stdout


def test_what_a_file_does_not_say_may_be_anything(configured):
    text = json.dumps({"subsystems": [{"subsystem": "bdev", "config": [
        {"method": "bdev_null_create", "params": {"name": "Null0", "num_blocks": 2048, "block_size": 512}},
        {"method": "bdev_malloc_create", "params": {"name": "Disk", "num_blocks": 2048, "block_size": 512,
                                                    "md_size": 0}}]}]})  # fmt: skip
    assert done(cli(configured, "apply", "-", stdin=text)) == ""


def test_apply_stops_at_a_refusal(configured):
    text = json.dumps({"subsystems": [{"subsystem": "bdev", "config": [
        {"method": "bdev_null_create", "params": {"name": "X", "num_blocks": 8, "block_size": 7}},
        {"method": "bdev_null_create", "params": {"name": "Y", "num_blocks": 8, "block_size": 512}}]}]})  # fmt: skip
    result = cli(configured, "apply", "-", stdin=text)
    assert result.returncode == 1 and "block_size" in result.stderr
    assert "Y" not in {one["name"] for one in configured.client.bdev_get_bdevs()}


@pytest.mark.parametrize("words", [["diff"], ["apply"], ["save", "a", "b"], ["diff", "a", "b"]])
def test_how_it_is_used(shared_polluxd, words):
    result = cli(shared_polluxd, *words)
    assert result.returncode == 2 and f"Usage: pollux {words[0]}" in result.stderr


@pytest.mark.parametrize("command", ["save", "load", "diff", "watch"])
def test_without_a_server(tmp_path, command):
    file = tmp_path / "config.json"
    file.write_text('{"subsystems": []}')
    words = [file] if command in ("load", "diff") else []
    result = subprocess.run(
        [PROGRAM, "-s", tmp_path / "none", command, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 3 and result.stderr


# watch and --every.


class Running:
    """A command that does not end by itself; its output so far."""

    def __init__(self, daemon, tmp_path, *words):
        self.path = tmp_path / "out"
        with self.path.open("wb") as out:
            self.process = subprocess.Popen(
                [PROGRAM, "-s", daemon.socket, *words],
                stdout=out,
                stderr=out,
                # A shell's background jobs ignore it, and so would what they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def lines(self):
        return self.path.read_text().splitlines()

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


def test_watch_prints_what_happens(polluxd, tmp_path):
    polluxd.client.bdev_null_create("Before", 8, 512)
    running = Running(polluxd, tmp_path, "watch")
    number = 0
    while not running.lines():  # Until it has begun.
        polluxd.client.bdev_null_create(f"N{number}", 8, 512)
        number += 1
        time.sleep(0.05)
        assert number < 1000 and running.process.poll() is None
    polluxd.client.bdev_null_delete("Before")
    assert wait_until(lambda: any("bdev_unregister  Before" in line for line in running.lines()), 30)
    assert not any("bdev_register  Before" in line for line in running.lines())
    running.end()


def test_watch_says_that_the_server_is_gone(polluxd, tmp_path):
    running = Running(polluxd, tmp_path, "--json", "watch")
    while not running.lines():
        polluxd.client.bdev_null_create("N", 8, 512)
        polluxd.client.bdev_null_delete("N")
        time.sleep(0.05)
    assert set(json.loads(running.lines()[0])) == {"type", "ctx", "id"}
    polluxd.stop()
    assert running.process.wait(60) == 3


def test_every_makes_a_call_again(polluxd, tmp_path):
    running = Running(polluxd, tmp_path, "--every", "0.05", "--json", "bdev_get_bdevs")
    assert wait_until(lambda: len(running.lines()) >= 3, 30)
    assert set(running.lines()) == {"[]"}
    polluxd.client.bdev_null_create("N", 8, 512)
    assert wait_until(lambda: '"N"' in running.lines()[-1], 30)
    running.end()
    assert cli(polluxd, "--every", "0", "bdev_get_bdevs").returncode == 2
    assert cli(polluxd, "--every", "0.01", "bdev_get_bdevs", "None").returncode == 1  # Ends with the failure.


# Completion.


def completed(daemon, *words):
    return done(cli(daemon, "complete", "--", *words)).split()


def test_words_are_completed(configured):
    client = configured.client
    target = client.iscsi_get_target_nodes()[0]["name"]
    assert {"bdev_get_bdevs", "bdev_get_iostat"} <= set(completed(configured, "bdev_get"))
    assert {"save", "spdk_get_version"} <= set(completed(configured, "s"))
    assert completed(configured, "--json", "bdev_null_cr") == ["bdev_null_create"]
    assert completed(configured, "bdev_get_bdevs", "") == ["Disk", "Null0"]
    assert completed(configured, "bdev_null_delete", "N") == ["Null0"]
    assert completed(configured, "bdev_set_qos_limit", "Disk", "--rw-i") == ["--rw-ios-per-sec"]
    assert completed(configured, "iscsi_delete_target_node", "") == [target]
    assert completed(configured, "bdev_get_bdevs", "--name", "D") == ["Disk"]
    assert completed(configured, "no_such_method", "") == []
    assert "--every" in completed(configured, "--")
    assert completed(configured) and completed(configured, "")


def test_nothing_but_names_needs_the_server(tmp_path):
    run = [PROGRAM, "-s", tmp_path / "none", "complete", "--"]
    assert b"bdev_null_create\n" in subprocess.run([*run, "bdev_nu"], capture_output=True, check=True).stdout
    assert subprocess.run([*run, "bdev_get_bdevs", ""], capture_output=True, check=True).stdout == b""


def test_bash_completes(configured):
    script = f"""
      PATH={PROGRAM.parent}:$PATH
      pollux() {{ command pollux -s {configured.socket} "$@"; }}
      source <(pollux completion bash)
      COMP_WORDS=(pollux bdev_null_delete Nu) COMP_CWORD=2
      _pollux
      echo "${{COMPREPLY[@]}}"
    """
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == "Null0\n", shell.stderr
    for name in ("tcsh", ""):
        assert cli(configured, "completion", *[name] * bool(name)).returncode == 2
    assert "compdef pollux" in done(cli(configured, "completion", "zsh"))


def test_a_flag_that_is_misspelt(shared_polluxd):
    result = cli(shared_polluxd, "bdev_null_create", "N", 8, 512, "--md-sise", 8)
    assert "there is no flag --md-sise; did you mean --md-size?" in result.stderr
    result = cli(shared_polluxd, "bdev_null_create", "N", 8, 512, "--zzz", 8)
    assert "there is no flag --zzz; there is --name, " in result.stderr
