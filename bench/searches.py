"""A large registry: start, memory, and searches over HTTP, beside MLflow with a tenth of the versions."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import made_up
from http_load import Load, LoadGenerator, answer_to, get, post
from memory import START_SECONDS, end, free_port, last_lines
from mlflow_server import API, Mlflow
from ours import Seedhouse
from process import family_memory, ready_within
from rounds import Spread, interleave, say
from table import MEGABYTES, MILLISECONDS, Line, Target

PAGE = 50

# `serve` admits 32 registrations at once by default.
FILLING_CLIENTS = 16

P99_TARGET = Target(10, of_ratio=False)
START_TARGET = Target(300, of_ratio=False)

Parameters = dict[str, str]


@dataclass(frozen=True)
class Sizes:
    """How many versions either side has, and how long is measured."""

    versions: int
    rival_versions: int
    seconds: float
    rounds: int


@dataclass(frozen=True)
class Question:
    """A search with changing words, for either side; the rival's path begins behind its API's."""

    name: str
    ours: Sequence[Parameters]
    rival_path: str = ""
    rival: Sequence[Parameters] = ()


def measure(binary: Path, mlflow: Mlflow, generator: LoadGenerator, cache: Path, sizes: Sizes) -> list[Line]:
    """Returns the lines on a large registry; both databases stay in the cache."""
    ours = our_registry(binary, generator, cache, sizes.versions)
    rival = rival_registry(mlflow, cache, sizes.rival_versions)
    comparison = Searches(Seedhouse(binary, ours), mlflow, rival, generator, sizes)
    return [comparison.start(), *comparison.searches_and_memory()]


class Searches:
    """Both sides with their databases."""

    def __init__(
        self, seedhouse: Seedhouse, mlflow: Mlflow, rival: Path, generator: LoadGenerator, sizes: Sizes
    ) -> None:
        self.seedhouse = seedhouse
        self.mlflow = mlflow
        self.rival = rival
        self.generator = generator
        self.sizes = sizes
        self.rival_name = f"{mlflow.name}, {sizes.rival_versions:,} versions"

    def start(self) -> Line:
        """Compares the time from the start of the process to its first answer."""
        what = f"start of the process to the first answer, {self.sizes.versions:,} versions"
        say(what)
        figures = interleave(self.sizes.rounds, {"seedhouse": self.our_start, "mlflow": self.rival_start})
        return Line(what, MILLISECONDS, figures["seedhouse"], self.rival_name, figures["mlflow"], START_TARGET)

    def our_start(self) -> float:
        """Starts our server once; returns milliseconds."""
        with our_server(self.seedhouse) as (_, _, seconds):
            return seconds * 1e3

    def rival_start(self) -> float:
        """Starts the rival once; returns milliseconds."""
        with self.mlflow.serving(self.rival) as (_, _, seconds):
            return seconds * 1e3

    def searches_and_memory(self) -> list[Line]:
        """Compares each question, and what both hold in memory before and after all of them."""
        with our_server(self.seedhouse) as (pid, port, _), self.mlflow.serving(self.rival) as (rival_pid, rival_port, _):
            # What a start leaves to threads of its own is done by then.
            time.sleep(2)
            before = self.memory("at rest", pid, rival_pid)
            lines: list[Line] = []
            for question in questions(port, rival_port, self.sizes):
                lines += self.compare(question, port, rival_port)
            return [*lines, before, self.memory("after the searches", pid, rival_pid)]

    def memory(self, when: str, pid: int, rival_pid: int) -> Line:
        """Compares the memory of both, workers included."""
        ours, rival = Spread.of([family_memory(pid)]), Spread.of([family_memory(rival_pid)])
        what = f"resident memory {when}, {self.sizes.versions:,} versions"
        return Line(what, MEGABYTES, ours, f"{self.rival_name}, all its processes", rival)

    def compare(self, question: Question, port: int, rival_port: int) -> list[Line]:
        """Returns a line for the median and one for the 99th percentile, each over the rounds."""
        say(question.name)
        requests = [get(port, "/api/models", {**one, "limit": str(PAGE)}) for one in question.ours]
        runs = {"seedhouse": Runs(self.generator, port, requests, self.sizes.seconds)}
        if question.rival:
            path = f"{API}/{question.rival_path}/search"
            size = str(PAGE)
            theirs = [get(rival_port, path, {**one, "max_results": size}) for one in question.rival]
            runs["mlflow"] = Runs(self.generator, rival_port, theirs, self.sizes.seconds)
        interleave(self.sizes.rounds, {name: run.once for name, run in runs.items()})
        ours, rival = runs["seedhouse"], runs.get("mlflow")
        rival_name = f"{self.rival_name}: `{question.rival_path}`" if rival else "no such search"
        p50 = Line(f"{question.name}, p50", MILLISECONDS, ours.of(p50_ms), rival_name, rival and rival.of(p50_ms))
        p99 = Line(f"{question.name}, p99", MILLISECONDS, ours.of(p99_ms), rival_name, rival and rival.of(p99_ms), P99_TARGET)
        return [p50, p99]


@dataclass
class Runs:
    """One question to one server, asked by one client in several rounds."""

    generator: LoadGenerator
    port: int
    requests: Sequence[bytes]
    seconds: float

    def __post_init__(self) -> None:
        self.loads: list[Load] = []
        # Not measured: the first answers of every worker prepare what later ones use.
        self.generator.once(self.port, self.requests[:8], 4)

    def once(self) -> float:
        """Asks for some time."""
        self.loads.append(self.generator.for_seconds(self.port, self.requests, 1, self.seconds))
        return self.loads[-1].p50_ms

    def of(self, figure: Callable[[Load], float]) -> Spread:
        """Returns a figure over the rounds."""
        return Spread.of([figure(load) for load in self.loads])


def p50_ms(load: Load) -> float:
    """Returns the median of one run."""
    return load.p50_ms


def p99_ms(load: Load) -> float:
    """Returns the 99th percentile of one run."""
    return load.p99_ms


def questions(port: int, rival_port: int, sizes: Sizes) -> Iterator[Question]:
    """Returns what is asked. The rival has its values in tags, and finds words in names only."""
    words = [*made_up.CROPS, *made_up.TASKS]
    beginnings = ("resn", "effic", "smol", "yolo")
    versions, models = "model-versions", "registered-models"
    yield Question("newest versions, first page", [{}], versions, [{}])
    yield Question(
        "filter by type and framework, first page",
        [{"filter": f"type = {a} AND framework = {b}"} for a, b in kinds()],
        versions,
        [{"filter": f"tags.type = '{a}' AND tags.framework = '{b}'"} for a, b in kinds()],
    )
    yield Question(
        "filter by metadata and crop, first page",
        [{"filter": f"metadata.num_classes = {number} AND metadata.crop = '{crop}'"} for number, crop in numbers()],
        versions,
        [{"filter": f"tags.num_classes = '{number}' AND tags.crop = '{crop}'"} for number, crop in numbers()],
    )
    yield Question("filter by a range, first page", [{"filter": f"metadata.num_classes >= {n}"} for n in range(0, 990, 30)])
    yield Question("Chinese text, first page", [{"search": word} for word in words], models, like(words))
    yield Question("Latin text, first page", [{"search": word} for word in beginnings], models, like(beginnings))
    both = [f"{crop}{task}" for crop, task in itertools.product(made_up.CROPS, made_up.TASKS)]
    yield Question(
        "Chinese text and type, first page",
        [{"search": word, "filter": "type = vision"} for word in both],
        models,
        [{"filter": f"name LIKE '%{word}%' AND tags.type = 'vision'"} for word in both],
    )
    depth, rival_depth = sizes.versions // 2, sizes.rival_versions // 2
    newest, crop = our_cursor(port, {}, depth), our_cursor(port, {"search": "小麦"}, depth // 20)
    token = rival_token(rival_port, rival_depth)
    yield Question(f"newest versions, page behind {depth:,}", [{"cursor": newest}], versions, [{"page_token": token}])
    yield Question(f"Chinese text, page behind {depth // 20:,}", [{"search": "小麦", "cursor": crop}])


def like(words: Sequence[str]) -> list[Parameters]:
    """Returns the rival's searches for parts of names."""
    return [{"filter": f"name LIKE '%{word}%'"} for word in words]


def kinds() -> list[tuple[str, str]]:
    """Returns every type with every framework."""
    return list(itertools.product(made_up.TYPES, made_up.FRAMEWORKS))


def numbers() -> list[tuple[int, str]]:
    """Returns numbers of classes with crops."""
    return [(number, made_up.CROPS[number % len(made_up.CROPS)]) for number in range(0, 1000, 7)]


def our_cursor(port: int, parameters: Parameters, depth: int) -> str:
    """Walks page by page; returns where the page behind so many versions begins."""
    cursor: Parameters = {}
    for _ in range(max(1, depth // 500)):
        path = get(port, "/api/models", {**parameters, **cursor, "limit": "500"}).split(b" ")[1].decode()
        _, headers = answer_to(port, "GET", path)
        cursor = {"cursor": re.search(r"cursor=([^>&]+)", headers["link"]).group(1)}  # type: ignore[union-attr]
    return cursor["cursor"]


def rival_token(port: int, depth: int) -> str:
    """Returns the rival's token of the page behind so many versions."""
    path = f"{API}/model-versions/search?max_results={depth}"
    return str(answer_to(port, "GET", path)[0]["next_page_token"])


@contextlib.contextmanager
def our_server(seedhouse: Seedhouse) -> Iterator[tuple[int, int, float]]:
    """Runs our server; gives its process, its port and the seconds until it answered."""
    port, log = free_port(), seedhouse.root / "server.log"
    with log.open("wb") as sink:
        command = seedhouse.command("serve", "--listen", f"127.0.0.1:{port}")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    try:
        yield process.pid, port, ready_within(START_SECONDS, process, port, "/health", lambda: last_lines(log))
    finally:
        end(process)


def our_registry(binary: Path, generator: LoadGenerator, cache: Path, versions: int) -> Path:
    """Returns a registry with made-up versions, filled over HTTP unless the cache has one of this very binary."""
    fingerprint = hashlib.sha256(binary.read_bytes()).hexdigest()[:12]

    def fill(folder: Path) -> None:
        with our_server(Seedhouse(binary, folder)) as (_, port, _):
            bodies = (version.ours() for version in made_up.versions(versions))
            load = generator.once(port, [post(port, "/api/models", body) for body in bodies], FILLING_CLIENTS)
            say(f"  {load.rate():.0f} new models per second, {FILLING_CLIENTS} clients")

    return kept(cache, f"large-ours-{versions}", fingerprint, fill)


def rival_registry(mlflow: Mlflow, cache: Path, versions: int) -> Path:
    """The same for the rival: as many models, each with one version. Over HTTP it takes an hour on a slow machine, so that
    one model is made so, and the others are rows like its rows."""

    def fill(folder: Path) -> None:
        first, *others = made_up.versions(versions)
        with mlflow.serving(folder) as (_, port, _):
            answer_to(port, "POST", f"{API}/registered-models/create", first.rival_model())
            answer_to(port, "POST", f"{API}/model-versions/create", first.rival_version())
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            database.row_factory = sqlite3.Row
            for table in ("registered_models", "registered_model_tags", "model_versions", "model_version_tags"):
                copy_rows(database, table, first.name(), others)

    return kept(cache, f"large-mlflow-{versions}", mlflow.version(), fill)


def copy_rows(database: sqlite3.Connection, table: str, first: str, others: Sequence[made_up.MadeUp]) -> None:
    """Writes the rows of the first model once more for each of the others, with the values of that one."""
    rows = [dict(row) for row in database.execute(f"SELECT * FROM {table} WHERE name = ?", [first])]
    columns = list(rows[0])
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    for other in others:
        values = {"name": other.name(), "description": other.description()}
        values |= {"source": f"s3://bench/{other.number}", "storage_location": f"s3://bench/{other.number}"}
        tags = {tag["key"]: tag["value"] for tag in other.tags()}
        for row in rows:
            changed = {**row, **{name: value for name, value in values.items() if name in row}}
            if "key" in row:
                changed["value"] = tags[row["key"]]
            for time_column in {"creation_time", "last_updated_time"} & row.keys():
                changed[time_column] = row[time_column] + other.number
            database.execute(statement, [changed[column] for column in columns])


def kept(cache: Path, kind: str, name: str, fill: Callable[[Path], None]) -> Path:
    """Returns a folder of the cache; makes it if it is not there, whole or not at all, in the place of older ones."""
    folder = cache / f"{kind}-{name}"
    if not folder.is_dir():
        say(f"filling {folder.name}; it is kept in the cache")
        for older in cache.glob(f"{kind}-*"):
            shutil.rmtree(older)
        fresh = cache / f"{kind}-being-filled"
        fresh.mkdir()
        fill(fresh)
        fresh.rename(folder)
    return folder
