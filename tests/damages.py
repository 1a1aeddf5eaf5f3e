"""Damage to files, at random, for tests of what a state or an export does about it."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

FOREIGN = (b"\xff\xfe{not ours}", b'{"a": [1]}', b"null", b"[]", b"PAR1 is not enough PAR1", b"\x00" * 300)


def damage(random: Random, root: Path) -> dict[Path, str]:
    """Damage one to three files below a folder, or one of its folders, and say what was done to each."""
    done: dict[Path, str] = {}
    if random.random() < 0.1:
        folder = random.choice(sorted(path for path in root.rglob("*") if path.is_dir()))
        shutil.rmtree(folder)
        folder.write_bytes(b"not a folder")
        done[folder] = "a file"
        return done
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for path in random.sample(files, random.randint(1, min(3, len(files)))):
        content = path.read_bytes()
        kinds = ["empty", "cut", "foreign", "gone", "folder", "full folder", "beside"]
        if path.suffix == ".parquet" and len(content) > 16:
            kinds += ["flipped"] * 2
        kind = done[path] = random.choice(kinds)
        if kind == "empty":
            path.write_bytes(b"")
        elif kind == "cut":
            path.write_bytes(content[: random.randrange(max(1, len(content)))])
        elif kind == "foreign":
            path.write_bytes(random.choice(FOREIGN))
        elif kind == "flipped":
            at = random.randrange(4, len(content))
            path.write_bytes(
                content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
            )
        elif kind == "beside":
            for name in ("notes.txt", ".DS_Store", f"{path.name}.bak", f"copy of {path.name}"):
                (path.parent / name).write_bytes(content)
        else:
            path.unlink()
            if kind != "gone":
                path.mkdir()
            if kind == "full folder":
                (path / "readme").write_text("not ours")
    return done


def named(problem: str, done: dict[Path, str]) -> list[Path]:
    """Return what was damaged and is named in a message."""
    return [
        path
        for path, kind in done.items()
        if re.search(
            rf"{re.escape(str(path))}{'' if kind == 'a file' else '(?![/=-]|[.]?[a-z0-9])'}", problem
        )
    ]


def remove(path: Path) -> None:
    """Delete what is there, as a person would whom a message has told to."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
