"""pollux state: a state directory is checked, backed up and restored, with polluxd running and without."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess

import pytest

from pollux.pytest_plugin import StartFailed, polluxd_path


def state(daemon, *words):
    """(exit code, output, errors)"""
    command = [polluxd_path().parent / "pollux", "state", *map(str, words), "--state-dir", daemon.state_dir]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def check(daemon):
    code, out, err = state(daemon, "check", "--json")
    assert err == ""
    return code, json.loads(out)


def make(daemon, *names):
    for name in names:
        daemon.client.bdev_null_create(name=name, num_blocks=64, block_size=512)


def names(daemon):
    return sorted(disk["name"] for disk in daemon.client.bdev_get_bdevs())


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_check_while_polluxd_runs_and_after(polluxd):
    make(polluxd, "N0", "N1")
    code, found = check(polluxd)
    assert code == 0 and found["in_use"]
    assert found["current"]["good"] and found["current"]["objects"] >= 2
    make(polluxd, "N2")  # It can be written to as before.
    polluxd.stop()
    code, later = check(polluxd)
    assert code == 0 and not later["in_use"]
    assert later["current"]["objects"] == found["current"]["objects"] + 1
    assert later["good"]["good"]
    code, out, err = state(polluxd, "check")
    assert (code, err) == (0, "")
    assert out.startswith(f"{polluxd.state_dir}/pollux.db: good, ")


def test_check_changes_nothing(polluxd):
    make(polluxd, "N0")
    polluxd.kill()  # With a journal that is not home yet.
    before = files(polluxd.state_dir)
    assert check(polluxd)[0] == 0
    after = files(polluxd.state_dir)
    assert {n: b for n, b in after.items() if not n.endswith("-shm")} == {
        n: b for n, b in before.items() if not n.endswith("-shm")
    }
    polluxd.start()
    assert names(polluxd) == ["N0"]


def page_with(path, text):
    data = bytearray(path.read_bytes())
    at = data.find(text)
    assert at > 0
    return data, at


@pytest.mark.parametrize("damage", ["a bit", "cut", "nonsense", "empty"])
def test_check_says_what_is_damaged(polluxd, damage):
    make(polluxd, "N0", "NothingElse")
    polluxd.stop()
    path = polluxd.state_dir / "pollux.db"
    if damage == "a bit":
        data, at = page_with(path, b"NothingElse")
        data[at] ^= 1
    else:
        data = {"cut": path.read_bytes()[:4096], "nonsense": os.urandom(8192), "empty": b""}[damage]
    path.write_bytes(data)
    code, found = check(polluxd)
    assert code == 1
    assert found["current"]["exists"] and not found["current"]["good"] and found["current"]["reason"]
    assert found["good"]["good"]
    assert "DAMAGED" in state(polluxd, "check")[1]


def test_a_backup_of_a_running_polluxd_is_restored(polluxd, tmp_path):
    make(polluxd, "N0", "N1")
    backup = tmp_path / "backup.db"
    assert state(polluxd, "backup", backup) == (0, f"{backup}: written\n", "")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    make(polluxd, "N2")
    polluxd.client.bdev_null_delete(name="N0")
    code, _, err = state(polluxd, "restore", backup)
    assert code == 1 and "in use" in err
    assert names(polluxd) == ["N1", "N2"]
    polluxd.stop()
    code, out, err = state(polluxd, "restore", backup)
    assert (code, err) == (0, "") and "pollux.db.before-restore" in out
    polluxd.start()
    assert names(polluxd) == ["N0", "N1"]
    # And back again.
    polluxd.stop()
    aside = polluxd.state_dir / "pollux.db.before-restore"
    shutil.copy(aside, tmp_path / "aside.db")
    assert state(polluxd, "restore", tmp_path / "aside.db")[0] == 0
    polluxd.start()
    assert names(polluxd) == ["N1", "N2"]


def test_a_backup_after_a_kill_has_all_that_was_answered(polluxd, tmp_path):
    make(polluxd, *[f"N{i}" for i in range(50)])
    polluxd.kill()
    assert state(polluxd, "backup", tmp_path / "backup.db")[0] == 0
    shutil.rmtree(polluxd.state_dir)
    assert state(polluxd, "restore", tmp_path / "backup.db") == (0, f"{polluxd.state_dir}: restored\n", "")
    polluxd.start()
    assert len(names(polluxd)) == 50


def test_restoring_over_damage_keeps_the_damage_for_who_wants_to_look(polluxd, tmp_path):
    make(polluxd, "N0")
    assert state(polluxd, "backup", tmp_path / "backup.db")[0] == 0
    polluxd.stop()
    path = polluxd.state_dir / "pollux.db"
    nonsense = os.urandom(8192)
    path.write_bytes(nonsense)
    assert state(polluxd, "restore", tmp_path / "backup.db")[0] == 0
    assert (polluxd.state_dir / "pollux.db.before-restore").read_bytes() == nonsense
    polluxd.start()
    assert names(polluxd) == ["N0"]


@pytest.mark.parametrize("what", ["nonsense", "cut", "a bit", "another database", "newer", "directory"])
def test_what_is_no_good_backup_changes_nothing(polluxd, tmp_path, what):
    make(polluxd, "N0")
    backup = tmp_path / "backup.db"
    assert state(polluxd, "backup", backup)[0] == 0
    polluxd.stop()
    if what == "nonsense":
        backup.write_bytes(os.urandom(8192))
    elif what == "cut":
        backup.write_bytes(backup.read_bytes()[:-4096])
    elif what == "a bit":
        data, at = page_with(backup, b"bdev_null_create")
        data[at] ^= 1
        backup.write_bytes(data)
    elif what == "directory":
        backup.unlink()
        backup.mkdir()
    else:
        if what == "another database":
            backup.unlink()
        with sqlite3.connect(backup) as db:
            db.execute("CREATE TABLE t (x)" if what == "another database" else "PRAGMA user_version = 99")
        db.close()
    before = files(polluxd.state_dir)
    code, out, err = state(polluxd, "restore", backup)
    assert code == 1 and out == "" and str(backup) in err
    assert files(polluxd.state_dir) == before
    polluxd.start()
    assert names(polluxd) == ["N0"]


def test_a_backup_that_cannot_be_written_leaves_the_old_one(polluxd, tmp_path):
    make(polluxd, "N0")
    code, _, err = state(polluxd, "backup", tmp_path / "no" / "such" / "file")
    assert code == 1 and "cannot" in err
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize(
    "words, word",
    [
        ([], "needs a command"),
        (["look"], "no command"),
        (["backup"], "which file"),
        (["restore", "a", "b"], "which file"),
        (["check", "a"], "takes no file"),
        (["check", "--no-such-flag"], "--no-such-flag"),
    ],
)
def test_misuse_is_told(polluxd, words, word):
    code, out, err = state(polluxd, *words)
    assert code == 2 and out == "" and word in err and "Usage" in err


def test_a_directory_with_signs_that_mean_something_to_sqlite(start_polluxd, tmp_path):
    odd = tmp_path / "100%?#x"
    daemon = start_polluxd("--state-dir", odd)
    daemon.state_dir = odd
    make(daemon, "N0")
    daemon.stop()
    assert check(daemon)[0] == 0
    assert state(daemon, "backup", tmp_path / "b?.db")[0] == 0
    assert state(daemon, "restore", tmp_path / "b?.db")[0] == 0


def test_a_directory_that_is_not_there(polluxd, tmp_path):
    polluxd.state_dir = tmp_path / "nowhere"
    assert state(polluxd, "check")[0] == 1
    assert state(polluxd, "backup", tmp_path / "b")[0] == 1
    assert not polluxd.state_dir.exists()


def test_a_restored_state_of_a_newer_version_is_refused_at_start_too(polluxd):
    make(polluxd, "N0")
    polluxd.stop()
    for name in ("pollux.db", "pollux.db.good"):
        db = sqlite3.connect(polluxd.state_dir / name)
        db.execute("PRAGMA user_version = 99")
        db.commit()
        db.close()
    code, found = check(polluxd)
    assert code == 1 and "version 99" in found["current"]["reason"]
    with pytest.raises(StartFailed):
        polluxd.start()
