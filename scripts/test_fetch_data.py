"""Tests of fetch_data.py: real archives and files, and a stand-in for pip and apt, so no network.

Run with `python3 -m unittest discover scripts`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import fetch_data
from fetch_data import Archive, DataFile, Part, copied
from fetch_models import FetchError, Unreachable


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
        self.part = Part("fields", "MIT", (archive,), files)
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
            fetch_data.fetch([Part("fields", "MIT", (archive,), self.part.files)], self.folder, FakeRegistry(content))
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


if __name__ == "__main__":
    unittest.main()
