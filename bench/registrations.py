"""Registrations: durable versions per second over HTTP, by one client and by eight, beside MLflow."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Callable

import made_up
from http_load import LoadGenerator, post
from memory import serving
from mlflow_server import API, Mlflow
from ours import Seedhouse
from rounds import interleave, say
from table import REQUESTS_PER_SECOND, Line, Target

# Both sides spread the versions over this many models: MLflow reads all versions of a model to number the next one.
MODELS = 128

CLIENTS = (8, 1)
OURS = "seedhouse"

VERSIONS_TARGET = Target(50, of_ratio=True)

# More new models than a run can make, each with a name of its own.
NEW_MODELS_PER_SECOND = 15_000


def measure(
    binary: Path, mlflow: Mlflow, generator: LoadGenerator, work: Path, seconds: float, rounds: int
) -> list[Line]:
    """Returns the lines on registrations; both servers start empty and with default settings."""
    with tempfile.TemporaryDirectory(prefix="registrations-", dir=work) as temporary:
        folder = Path(temporary)
        seedhouse = Seedhouse(binary, folder / "root")
        say("registrations: starting both servers")
        with serving(seedhouse, folder / "ours.log") as (_, port), mlflow.serving(folder / "mlflow") as (_, rival_port, _):
            comparison = Registrations(generator, port, rival_port, seconds)
            comparison.make_models()
            return comparison.new_versions(mlflow.name, rounds) + comparison.new_models(mlflow.name, rounds)


class Registrations:
    """Both servers, and what they are asked."""

    def __init__(self, generator: LoadGenerator, port: int, rival_port: int, seconds: float) -> None:
        self.generator = generator
        self.rival_generator = generator.for_rival()
        self.port = port
        self.rival_port = rival_port
        self.seconds = seconds
        self.models = list(made_up.versions(MODELS))
        self.batch = itertools.count(1)

    def make_models(self) -> None:
        """Makes the models that get versions; it also has every worker of either server answer before the clock starts."""
        self.generator.once(self.port, [post(self.port, "/api/models", model.ours()) for model in self.models], 8)
        bodies = [model.rival_model() for model in self.models]
        path = f"{API}/registered-models/create"
        self.rival_generator.once(self.rival_port, [post(self.rival_port, path, body) for body in bodies], 1)
        self.rival_generator.once(self.rival_port, self.rival_versions(), 8)

    def new_versions(self, rival: str, rounds: int) -> list[Line]:
        """Compares versions of models that exist, as records without files."""
        lines = []
        for clients in CLIENTS:
            say(f"new versions, {clients} clients")
            figures = interleave(
                rounds,
                {
                    OURS: self.rate(self.port, self.our_versions, clients),
                    rival: self.rate(self.rival_port, self.rival_versions, clients),
                },
            )
            what = f"new durable versions, {clients} client{'s' * (clients > 1)}"
            lines.append(Line(what, REQUESTS_PER_SECOND, figures[OURS], rival, figures[rival], VERSIONS_TARGET))
        return lines

    def new_models(self, rival: str, rounds: int) -> list[Line]:
        """Compares models with a new name; ours get their first version with it, MLflow's do not."""
        say("new models, 8 clients")
        figures = interleave(
            rounds,
            {
                OURS: self.rate(self.port, self.our_models, 8),
                rival: self.rate(self.rival_port, self.rival_models, 8),
            },
        )
        what = "new durable models, 8 clients (ours with a first version)"
        return [Line(what, REQUESTS_PER_SECOND, figures[OURS], rival, figures[rival])]

    def rate(self, port: int, requests: Callable[[], list[bytes]], clients: int) -> Callable[[], float]:
        """Returns a task that gives the answers per second."""
        generator = self.generator if port == self.port else self.rival_generator
        return lambda: generator.for_seconds(port, requests(), clients, self.seconds).rate()

    def our_versions(self) -> list[bytes]:
        """Returns one request for each model; sent again, it makes the next version."""
        requests = []
        for model in self.models:
            body = {key: value for key, value in model.ours().items() if key not in ("name", "model_id", "model_type")}
            path = f"/api/models/{model.name()}/versions"
            requests.append(post(self.port, path, {**body, "type": model.model_type}))
        return requests

    def rival_versions(self) -> list[bytes]:
        """The same for the rival."""
        path = f"{API}/model-versions/create"
        return [post(self.rival_port, path, model.rival_version()) for model in self.models]

    def our_models(self) -> list[bytes]:
        """Returns requests with names that were never used."""
        return [post(self.port, "/api/models", body) for body in self.fresh_bodies(NEW_MODELS_PER_SECOND, "ours")]

    def rival_models(self) -> list[bytes]:
        """The same for the rival, which needs fewer."""
        path = f"{API}/registered-models/create"
        return [post(self.rival_port, path, body) for body in self.fresh_bodies(NEW_MODELS_PER_SECOND // 10, "rival")]

    def fresh_bodies(self, per_second: int, side: str) -> list[dict[str, object]]:
        """Returns bodies with the number of the batch in the name."""
        batch = next(self.batch)
        bodies = []
        for version in made_up.versions(int(per_second * self.seconds) + 8):
            name = f"{version.name()}_{batch}"
            if side == "ours":
                bodies.append({**version.ours(), "name": name, "model_id": f"{name}_v1"})
            else:
                bodies.append({**version.rival_model(), "name": name})
        return bodies
