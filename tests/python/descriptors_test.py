"""Where the descriptor set is found, and that the command line knows methods from it alone."""

import pathlib
import re

import pytest

from pollux import descriptors

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_environment_names_it(monkeypatch, descriptor_set):
    monkeypatch.setenv("POLLUX_DESCRIPTORS", str(descriptor_set))
    assert descriptors.load().methods


def test_the_build_of_a_test_run_has_it(monkeypatch, tmp_path, descriptor_set):
    monkeypatch.delenv("POLLUX_DESCRIPTORS", raising=False)
    monkeypatch.setenv("POLLUX_BUILD", str(tmp_path))
    place = tmp_path / "share/pollux/pollux.binpb"
    place.parent.mkdir(parents=True)
    place.write_bytes(descriptor_set.read_bytes())
    assert next(iter(descriptors.places())) == place
    assert descriptors.load().methods


def test_a_missing_one_says_where_it_was_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("POLLUX_DESCRIPTORS", str(tmp_path / "gone"))
    with pytest.raises(descriptors.DescriptorsMissing, match="gone"):
        descriptors.load()


def test_the_command_line_names_no_method(catalog):
    own = ROOT / "cli/method_names.h"  # What its own commands are made of.
    for path in sorted(set((ROOT / "cli").rglob("*.*")) - {own}):
        code = re.sub(r"//.*", "", path.read_text())
        assert set(re.findall(r"\w+", code)).isdisjoint(catalog.methods), path
