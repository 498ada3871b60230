#!/usr/bin/env python3
"""Solves the problems of crates/native/fixtures/optimization with SciPy (HiGHS) and writes `expected.json` beside them; makes
random problems and their answers anew in `random.json`.

The results are in the repository. This makes them again: `pip install scipy==1.17.1`, then run it.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import scipy
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

FOLDER = Path(__file__).resolve().parent.parent / "crates" / "native" / "fixtures" / "optimization"
# Names of documents and the parameters that are set.
CASES = [
    ("crops", {}),
    ("crops", {"water": 250000}),
    ("crops", {"water": 250000, "labour": 3000, "rice_price": 700}),
    ("crops", {"land": 0}),
    ("crops", {"legume_share": 0.45, "nitrogen": 6000}),
    ("greenhouses", {}),
    ("greenhouses", {"power": 120}),
    ("crops", {"rice_price": 900}),
    ("greenhouses", {"power": 170, "benches": 41}),
    ("greenhouses", {"power": 20}),
]
STATUS = {0: "optimal", 2: "infeasible", 3: "unbounded"}


def number(text, parameters: dict[str, float]) -> float:
    """Returns what a number of a document is."""
    if isinstance(text, str):
        return parameters[text]
    if isinstance(text, dict):
        return parameters[text["parameter"]] * text.get("times", 1) + text.get("plus", 0)
    return text


def solve(document: dict, chosen: dict[str, float]) -> dict:
    """Solves a document; prices are for its own direction."""
    parameters = {p["name"]: p["default"] for p in document.get("parameters", [])} | chosen
    variables = document["variables"]
    place = {v["name"]: i for i, v in enumerate(variables)}

    def row(coefficients: dict) -> np.ndarray:
        values = np.zeros(len(variables))
        for name, text in coefficients.items():
            values[place[name]] = number(text, parameters)
        return values

    objective = document["objective"]
    sign = 1.0 if objective["direction"] == "minimise" else -1.0
    cost = sign * row(objective["coefficients"])
    lower, upper, whole = [], [], []
    for v in variables:
        is_binary = v.get("kind") == "binary"
        low = v.get("lower", 0)
        lower.append(0 if is_binary else -np.inf if low is None else number(low, parameters))
        high = v.get("upper")
        upper.append(1 if is_binary else np.inf if high is None else number(high, parameters))
        whole.append(v.get("kind", "continuous") != "continuous")
    constraints = document.get("constraints", [])
    rows = [(row(c["coefficients"]), c["relation"], number(c["right_side"], parameters)) for c in constraints]
    constant = number(objective.get("constant", 0), parameters)

    def answer(result) -> dict:
        found = {"outcome": STATUS[result.status]}
        if result.status == 0:
            found["objective"] = sign * result.fun + constant
            found["variables"] = [float(x) for x in result.x]
        return found

    if any(whole):
        limits = []
        for values, relation, right in rows:
            limits.append(
                LinearConstraint(values, -np.inf if relation == "<=" else right, np.inf if relation == ">=" else right)
            )
        rest = {"constraints": limits, "integrality": whole, "bounds": Bounds(lower, upper), "options": {"mip_rel_gap": 0}}
        result = milp(cost, **rest)
        if result.status == 4:  # infeasible or unbounded: without an objective only the first is left
            return {"outcome": "unbounded" if milp(0 * cost, **rest).status == 0 else "infeasible"}
        return answer(result)
    above = [(a, b) if r == "<=" else (-a, -b) for a, r, b in rows if r != "="]
    equal = [(a, b) for a, r, b in rows if r == "="]
    result = linprog(
        cost,
        A_ub=[a for a, _ in above] or None,
        b_ub=[b for _, b in above] or None,
        A_eq=[a for a, _ in equal] or None,
        b_eq=[b for _, b in equal] or None,
        bounds=list(zip(lower, upper)),
        method="highs-ds",
        # Otherwise some answers are "infeasible or unbounded".
        options={"presolve": False},
    )
    found = answer(result)
    if result.status == 0:
        unequal, equations = iter(result.ineqlin.marginals), iter(result.eqlin.marginals)
        prices = []
        for _, relation, _ in rows:
            price = next(equations) if relation == "=" else next(unequal)
            prices.append(float(sign * (-price if relation == ">=" else price)) + 0.0)
        found["shadow_prices"] = prices
        found["reduced_costs"] = [float(sign * (l + u)) + 0.0 for l, u in zip(result.lower.marginals, result.upper.marginals)]
    return found


def random_document(generator: random.Random) -> dict:
    """Returns a small problem with whole coefficients, of any outcome."""
    count = generator.randint(1, 5)
    kinds = generator.choice([["continuous"], ["continuous"], ["integer"], ["continuous", "integer", "binary"]])
    names = [f"x{i}" for i in range(count)]

    def variable(name: str) -> dict:
        kind = generator.choice(kinds)
        if kind == "binary":
            return {"name": name, "kind": kind}
        lower = generator.choice([0, 0, generator.randint(-6, 3)] + ([None] if kind == "continuous" else []))
        made = {"name": name, "kind": kind, "lower": lower}
        if kind == "integer" or generator.random() < 0.6:
            made["upper"] = (lower or 0) + generator.randint(0, 9)
        return made

    def coefficients() -> dict:
        chosen = [name for name in names if generator.random() < 0.75] or [names[0]]
        return {name: generator.randint(-7, 9) for name in chosen}

    constraints = [
        {
            "name": f"c{i}",
            "coefficients": coefficients(),
            "relation": generator.choice(["<=", "<=", ">=", "="]),
            "right_side": generator.randint(-8, 24),
        }
        for i in range(generator.randint(0, 5))
    ]
    direction = generator.choice(["maximise", "minimise"])
    return {
        "seedhouse": "optimization/1",
        "variables": [variable(name) for name in names],
        "objective": {"direction": direction, "coefficients": coefficients()},
        "constraints": constraints,
    }


def main() -> None:
    """Writes both files."""
    made_by = f"scipy {scipy.__version__}"
    cases = []
    for name, parameters in CASES:
        document = json.loads((FOLDER / f"{name}.json").read_text())
        cases.append({"document": name, "parameters": parameters} | solve(document, parameters))
    write("expected.json", {"made_by": made_by, "cases": cases})
    generator = random.Random(20261201)
    problems = []
    while len(problems) < 120:
        document = random_document(generator)
        found = solve(document, {})
        kept = {key: found[key] for key in ("outcome", "objective") if key in found}
        problems.append({"document": document} | kept)
    write("random.json", {"made_by": made_by, "problems": problems})


def write(name: str, content: dict) -> None:
    """Writes one item per line."""
    (key, items), made_by = list(content.items())[1], content["made_by"]
    lines = ",\n".join(json.dumps(item) for item in items)
    (FOLDER / name).write_text(f'{{"made_by": "{made_by}", "{key}": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
