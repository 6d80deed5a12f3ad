"""What `benchmarks.assistant` compares: assistants, the students behind them, and the runs that follow."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TypeVar

from benchmarks.methods.plan import CHOICE_BUDGET, CHOICE_SEED, METHODS

RunT = TypeVar("RunT")

ITSELF = "assistant"
"""The method of a run that judges the assistant, not a student behind it."""

DEFAULT = "softmax_ranking"
ASSISTANTS = ("mixed", "unmixed", "untaught", "contrastive")
"""How the assistant learned: the answers with mixtures, without, nothing at all, or class labels of the same images."""

RATES = (1e-4, 2e-4, 4e-4)
"""Of assistants."""

RIVAL_RATES = (2e-4, 4e-4, 8e-4)
"""Of students, for every method."""

RIVALS = tuple(name for name, method in METHODS.items() if method.kind == "rival")


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its judgement; equal runs give equal results.

    Attributes:
        problem: a key of `benchmarks.assistant.arenas.ARENAS`.
        assistant: one of ASSISTANTS.
        method: ITSELF, or a key of METHODS for the student.
        budget: images that were asked about; 0 for an untaught assistant.
        seed: of the choice of images, starts, batches and mixtures.
        judged_on: "validation" or "test".
        assistant_rate: the assistant's learning rate at the start.
        learning_rate: the student's; 0 where there is none.
        steps: of the student.
        truth: weight of the teacher's own ranking beside the assistant's, for losses that rank over the joint space.
        options: of its loss.
        weight: of its loss.
    """

    problem: str
    assistant: str
    method: str
    budget: int
    seed: int
    judged_on: str = "test"
    assistant_rate: float = 2e-4
    learning_rate: float = 0.0
    steps: int = 0
    truth: float = 0.0
    options: str = ""
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a student behind an assistant is trained.

    Attributes:
        learning_rate: at the start.
        steps: of training.
        truth: weight of the teacher's own ranking.
    """

    learning_rate: float
    steps: int
    truth: float = 0.0


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is run.

    Attributes:
        budgets: images asked about.
        mixing_budgets: of the part `mixing`; the first is the one that rates are chosen at.
        largest: the budget of the problems that have one.
        seeds: of a test.
        mixing_seeds: of a test in the part `mixing`.
        choice_budget: images asked about when rivals are tuned.
        at_96: recipe of the default at 96 pixels.
        at_128: recipe of the default at 128 pixels.
        short: steps in the parts `rivals` and `labels`.
        assistant_steps: of an assistant.
        rivals: keys of METHODS in the part `rivals`, beside the default.
        rates: of assistants, in the part `mixing`.
        trials: of each method in the part `rivals`, at most.
    """

    budgets: tuple[int, ...] = (66, 165, 330)
    mixing_budgets: tuple[int, ...] = (66, 165)
    largest: int = 330
    seeds: int = 3
    mixing_seeds: int = 5
    choice_budget: int = CHOICE_BUDGET
    at_96: Recipe = Recipe(4e-4, 1200)
    at_128: Recipe = Recipe(4e-4, 1200)
    short: int = 300
    assistant_steps: int = 300
    rivals: tuple[str, ...] = RIVALS
    rates: tuple[float, ...] = RATES
    trials: int = 9


SMOKE = Sizes((8,), (8,), 8, 1, 1, 8, Recipe(1e-3, 2), Recipe(1e-3, 2), 2, 2, (), RATES[:1], 1)
"""A minute's version."""


def behind(run: Run, recipe: Recipe, method: str = DEFAULT) -> Run:
    """Returns the run of a student behind the assistant of `run`."""
    return dataclasses.replace(run, method=method, **dataclasses.asdict(recipe))


def headline(problem: str, budgets: tuple[int, ...], seeds: int, recipe: Recipe) -> list[Run]:
    """Returns the assistants and the students behind them, seed by seed."""
    runs = []
    for seed in range(seeds):
        for budget in budgets:
            assistant = Run(problem, "mixed", ITSELF, budget, seed)
            runs += [assistant, behind(assistant, recipe)]
    return runs


def untaught(problem: str, seeds: int, recipe: Recipe) -> list[Run]:
    """Returns the control: an assistant that was told nothing, itself and the students behind it."""
    assistant = Run(problem, "untaught", ITSELF, 0, 0)
    return [assistant, *(dataclasses.replace(behind(assistant, recipe), seed=seed) for seed in range(seeds))]


def mixing_choice(problem: str, budget: int, rates: tuple[float, ...]) -> dict[str, list[Run]]:
    """Returns the assistants with and without mixing at every rate, judged on the validation images."""
    return {
        kind: [Run(problem, kind, ITSELF, budget, CHOICE_SEED, "validation", rate) for rate in rates]
        for kind in ("mixed", "unmixed")
    }


def mixing_tests(chosen: Mapping[str, Run], seeds: int) -> list[Run]:
    """Returns the tests of the chosen rates, both kinds of a seed one after the other."""
    return [dataclasses.replace(run, seed=seed, judged_on="test") for seed in range(seeds) for run in chosen.values()]


def rival_choice(problem: str, method: str, budget: int, steps: int) -> list[Run]:
    """Returns the grid of a method behind one assistant, judged on the validation images."""
    assistant = Run(problem, "mixed", method, budget, CHOICE_SEED, "validation", steps=steps)
    return [
        dataclasses.replace(assistant, learning_rate=rate, options=strength.options, weight=strength.weight)
        for rate in RIVAL_RATES
        for strength in METHODS[method].strengths
    ]


def rival_tests(chosen: Run, budgets: tuple[int, ...], seeds: int) -> list[Run]:
    """Returns the tests of a method with its chosen settings."""
    return [
        dataclasses.replace(chosen, budget=budget, seed=seed, judged_on="test")
        for seed in range(seeds)
        for budget in budgets
    ]


def best(runs: list[RunT], maps: Mapping[RunT, float]) -> RunT | None:
    """Returns the run with the highest mAP; None while one is missing. A run that diverged is out."""
    if any(run not in maps for run in runs):
        return None
    sound = [run for run in runs if maps[run] == maps[run]]
    return max(sound, key=lambda run: maps[run]) if sound else None


PARTS = ("headline", "untaught", "large", "lite2", "mixing", "rivals", "labels")


def wanted(part: str, maps: Mapping[Run, float], sizes: Sizes) -> Iterator[list[Run]]:
    """Yields the runs of a part in groups; what a later group does depends on the results of those before."""
    if part == "headline":
        yield headline("grocery", sizes.budgets, sizes.seeds, sizes.at_96)
    elif part == "untaught":
        yield untaught("grocery", sizes.seeds, sizes.at_96)
    elif part == "large":
        yield headline("grocery_128", (sizes.largest,), sizes.seeds, sizes.at_128)
    elif part == "lite2":
        yield headline("lite2", (sizes.largest,), sizes.seeds, sizes.at_128)
    elif part == "mixing":
        grid = mixing_choice("grocery", sizes.mixing_budgets[0], sizes.rates)
        yield [run for runs in grid.values() for run in runs]
        chosen = {kind: best(runs, maps) for kind, runs in grid.items()}
        sure = {kind: run for kind, run in chosen.items() if run is not None}
        if len(sure) == len(grid):
            for budget in sizes.mixing_budgets:
                at = {kind: dataclasses.replace(run, budget=budget) for kind, run in sure.items()}
                yield mixing_tests(at, sizes.mixing_seeds)
    elif part == "rivals":
        for method in (DEFAULT, *sizes.rivals):
            trials = rival_choice("grocery", method, sizes.choice_budget, sizes.short)[: sizes.trials]
            yield trials
            run = best(trials, maps)
            if run is not None:
                yield rival_tests(run, sizes.budgets, sizes.seeds)
    else:
        runs = headline("grocery", sizes.budgets, sizes.seeds, Recipe(sizes.at_96.learning_rate, sizes.short))
        yield [dataclasses.replace(run, assistant="contrastive") for run in runs]
