"""What belongs to the project: its root and its files."""

import functools
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


@functools.lru_cache(maxsize=None)
def files(root=ROOT):
    """Every file of the project below `root`, as sorted paths relative to it: what git tracks, or is
    about to; in a copy without git, what is not made by a build or a run."""
    git = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if git.returncode == 0:
        paths = [pathlib.Path(os.fsdecode(name)) for name in git.stdout.split(b"\0") if name]
    else:
        paths = [path.relative_to(root) for path in root.rglob("*")]
        paths = [path for path in paths if not _made(path)]
    return sorted(path for path in paths if (root / path).is_file())


def _made(path):
    made = {".git", ".cache", "__pycache__", ".pytest_cache", ".hypothesis"}
    return (
        path.parts[0].startswith("build")
        or not made.isdisjoint(path.parts)
        or path.parts[:3] == ("tests", "vm", "cache")
    )


def cpp_files(root=ROOT):
    return [path for path in files(root) if path.suffix in (".cc", ".h")]
