"""deploy/install-packages, on a machine whose apt is made up."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Each takes what it answers from files, and apt-get writes down how it was called.
FAKES = {
    "id": "cat $FAKE/uid",
    "dpkg-query": "sed 's/^/installed /' $FAKE/installed",
    "apt-cache": "sed 's/^/Package: /' $FAKE/known",
    "apt-get": """
echo "$*" >>$FAKE/calls
case "$*" in
  *update*) cp $FAKE/known_after_update $FAKE/known ;;
  *install*) for p; do case $p in -*|*=*|install) ;; *) grep -qx "$p" $FAKE/known || exit 100 ;; esac; done ;;
esac""",
}


class Machine:
    def __init__(self, directory):
        self.directory = directory
        (directory / "bin").mkdir()
        for name, script in FAKES.items():
            path = directory / "bin" / name
            path.write_text(f"#!/bin/bash\n{script}\n")
            path.chmod(0o755)
        shutil.copy(ROOT / "deploy/install-packages", directory)
        (directory / "packages").write_text("build  compiler  why\ntest  checker  why\ntest  compiler  why\n")
        self.set(uid=["0"], installed=[], known=["compiler", "checker"])
        self.set(known_after_update=["compiler", "checker"], calls=[])

    def set(self, **files):
        for name, lines in files.items():
            (self.directory / name).write_text("".join(line + "\n" for line in lines))

    def install(self, *purposes):
        return subprocess.run(
            ["bash", self.directory / "install-packages", *purposes],
            env={
                "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
                "FAKE": str(self.directory),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self):
        """What apt-get was asked to do: its verb and the packages."""
        lines = (self.directory / "calls").read_text().splitlines()
        return [[w for w in line.split() if not w.startswith("-") and "=" not in w] for line in lines]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_what_is_installed_is_left_alone(machine):
    machine.set(installed=["compiler", "checker"])
    assert machine.install("build", "test").returncode == 0
    assert machine.calls() == []


def test_only_what_is_missing_is_installed_and_each_package_once(machine):
    machine.set(installed=["checker"])
    assert machine.install("build", "test").returncode == 0
    assert machine.calls() == [["install", "compiler"]]


def test_the_lists_are_fetched_when_they_lack_a_package(machine):
    machine.set(known=["checker"])
    assert machine.install("test").returncode == 0
    assert machine.calls() == [["update"], ["install", "checker", "compiler"]]


def test_a_package_that_no_archive_has_is_an_error(machine):
    machine.set(known=["checker"], known_after_update=["checker"])
    result = machine.install("test")
    assert result.returncode == 1
    assert "apt-get install failed" in result.stderr


def test_another_user_is_told_what_root_should_run(machine):
    machine.set(uid=["1000"], installed=["checker"])
    result = machine.install("test")
    assert result.returncode == 1
    assert "sudo apt-get update && sudo apt-get install --no-install-recommends compiler" in result.stderr
    assert machine.calls() == []


def test_an_unknown_purpose_is_refused(machine):
    result = machine.install("build", "play")
    assert result.returncode == 2
    assert "no purpose 'play'" in result.stderr
    assert machine.calls() == []
