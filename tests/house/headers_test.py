"""Each header compiles alone, under all warnings: who includes it needs nothing before it."""

import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess

import pytest

import project

BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD") or project.ROOT / "build").resolve()
# Headers that passed, by a hash of all that they depend on.
CACHE = BUILD / "house" / "headers.json"


@functools.lru_cache(maxsize=None)
def compiler():
    """The compiler with its flags, as the tests of the rpc folder have them: they see everything."""
    path = BUILD / "compile_commands.json"
    if not path.exists():
        pytest.fail(f"{path} is missing: run cmake --preset release first")
    commands = [entry["command"] for entry in json.loads(path.read_text())]
    words = shlex.split(next(command for command in commands if "/pollux_rpc_test.dir/" in command))
    files = (".cc", ".o", "/ccache")
    flags = [word for word in words if word not in ("-c", "-o") and not word.endswith(files)]
    return [*flags, "-isystem", "/usr/include/dpdk", "-fsyntax-only", "-x", "c++"]


@functools.lru_cache(maxsize=None)
def own_includes(path):
    """Everything of ours that a header reaches, with itself."""
    reached = {path}
    for name in re.findall(r'#include "([^"]+)"', (project.ROOT / path).read_text()):
        if (project.ROOT / name).is_file():
            reached |= own_includes(pathlib.Path(name))
    return frozenset(reached)


def fingerprint(path):
    digest = hashlib.sha256(" ".join(compiler()).encode())
    for name in sorted(own_includes(path)):
        digest.update((project.ROOT / name).read_bytes())
    for generated in sorted((BUILD / "generated").rglob("*.pb.h")):
        digest.update(f"{generated} {generated.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


def errors(path):
    """What the compiler says about a file that includes nothing but this header."""
    result = subprocess.run(
        [*compiler(), "-"],
        input=f'#include "{path}"\n#include "{path}"\n',
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stderr if result.returncode else ""


@pytest.mark.timeout(1200)  # Two minutes on two free cores, the first time.
def test_each_header_compiles_alone():
    headers = [path for path in project.cpp_files() if path.suffix == ".h"]
    prints = {str(path): fingerprint(path) for path in headers}
    passed = json.loads(CACHE.read_text()) if CACHE.exists() else {}
    todo = [path for path in prints if passed.get(path) != prints[path]]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = dict(zip(todo, pool.map(errors, todo)))
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    CACHE.write_text(json.dumps({path: prints[path] for path in prints if not found.get(path)}))
    wrong = [f"{path}:\n{text}" for path, text in found.items() if text]
    assert not wrong, "\n".join(wrong)


def test_a_header_that_leans_on_another_is_found(tmp_path):
    header = tmp_path / "leans.h"
    header.write_text("#pragma once\nstd::string Name();\n")
    assert "std" in errors(header)
