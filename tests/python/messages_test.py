"""Params and results to messages and back: as the server's own codec does it (tests/unit/rpc)."""

import subprocess
import types

import pytest

import pollux
from conftest import ROOT
from pollux import descriptors
from pollux.messages import Codec

KINDS = types.SimpleNamespace(
    name="kinds",
    request="pollux.rpc_test.Kinds",
    response="pollux.rpc_test.Kinds",
    bare="",
    decode_error=-32602,
)


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    """Of the .proto of the unit tests, which has every kind of field and every option."""
    out = tmp_path_factory.mktemp("kinds") / "test.binpb"
    subprocess.run(
        ["protoc", "-I", ROOT / "proto", "-I", ROOT / "tests/unit/rpc", "--include_imports"]
        + [f"--descriptor_set_out={out}", ROOT / "tests/unit/rpc/test.proto"],
        check=True,
    )
    return Codec(descriptors.load(out))


def there_and_back(codec, params):
    return codec.decode(KINDS, codec.encode(KINDS, params).SerializeToString())


FULL = {
    "flag": True,
    "i32": -(2**31),
    "i64": -(2**63),
    "u32": 2**32 - 1,
    "u64": 2**64 - 1,
    "s64": 2**63 - 1,
    "f32": 7,
    "single": 1.5,
    "real": -1e300,
    "text": "grüße\n",
    "blob": "00FF",
    "colour": "red",
    "mode": "all",
    "point": {"x": 1, "y": 2},
    "names": ["a", ""],
    "points": [{"x": 1}, {"x": 2}],
    "numbers": [0, 2**64 - 1],
    "modes": ["none", "all"],
    "flags": [False, True],
    "reals": [0.5],
    "features": {"b": False, "a": True},
    "places": {"home": {"x": 3}},
    "maybe_flag": False,
    "maybe_number": 0,
    "maybe_text": "",
    "maybe_mode": "none",
    "free": {"any": [1, None, "x"]},
    "frees": [None, 1, {}],
    "supported ops": ["copy"],
    "by_number": 0,
    "blobs": ["AB", ""],
    "rarely": ["x"],
}


def test_every_kind_of_field_comes_back(codec):
    answer = there_and_back(codec, FULL)
    assert {key: answer[key] for key in FULL} == FULL
    assert set(answer) - set(FULL) == {"i32s", "i64s", "u32s", "singles"}  # Empty lists.


def test_what_is_absent_stays_absent(codec):
    answer = there_and_back(codec, None)
    absent = {"colour", "point", "maybe_flag", "maybe_number", "free", "password", "by_name", "by_number", "rarely"}
    assert absent.isdisjoint(answer)
    assert answer["mode"] == "none" and answer["names"] == [] and answer["features"] == {}
    assert answer["u64"] == 0 and answer["text"] == ""


def test_a_secret_is_sent_and_not_shown(codec):
    assert b"hidden" in codec.encode(KINDS, {"password": "hidden"}).SerializeToString()
    assert "password" not in there_and_back(codec, {"password": "hidden"})


def test_a_bare_result_is_the_field(codec):
    bare = types.SimpleNamespace(**{**vars(KINDS), "bare": "maybe_text"})
    assert codec.decode(bare, b"") is None
    assert codec.decode(bare, codec.encode(KINDS, {"maybe_text": ""}).SerializeToString()) == ""


@pytest.mark.parametrize(
    "params, field",
    [
        ([1], "params"),
        ({"no": 1}, "no"),
        ({"flag": 1}, "flag"),
        ({"i32": 2**31}, "i32"),
        ({"i32": True}, "i32"),
        ({"u32": -1}, "u32"),
        ({"u64": 2**64}, "u64"),
        ({"u64": 1.5}, "u64"),
        ({"u64": "1"}, "u64"),
        ({"real": float("inf")}, "real"),
        ({"real": "1"}, "real"),
        ({"text": 5}, "text"),
        ({"text": None}, "text"),
        ({"blob": "0"}, "blob"),
        ({"colour": "blue"}, "colour"),
        ({"colour": ""}, "colour"),
        ({"colour": 1}, "colour"),
        ({"point": []}, "point"),
        ({"point": {"z": 1}}, "point.z"),
        ({"names": "a"}, "names"),
        ({"names": ["a", 1]}, "names[1]"),
        ({"points": [{"x": 1}, {"x": "1"}]}, "points[1].x"),
        ({"features": {"a": 1}}, "features.a"),
        ({"places": {"a": {"q": 1}}}, "places.a.q"),
        ({"supported_ops": []}, "supported_ops"),
    ],
    ids=str,
)
def test_what_does_not_decode_is_refused_as_the_server_does(codec, params, field):
    with pytest.raises(pollux.InvalidParams) as caught:
        codec.encode(KINDS, params)
    assert (caught.value.field, caught.value.errno, caught.value.method) == (field, 22, "kinds")
    assert caught.value.reason


def test_whole_numbers_may_be_written_with_a_fraction(codec):
    assert there_and_back(codec, {"u64": 10.0})["u64"] == 10
