"""What `benchmarks.asymmetric` compares: methods, how each is tuned, and the runs that follow."""

import dataclasses
from collections.abc import Iterator, Mapping

from benchmarks.assistant.plan import best
from benchmarks.methods.plan import CHOICE_SEED

RATES = (2e-4, 4e-4, 8e-4)
"""Of students, for every method that trains one."""
SEARCHES = ("asymmetric", "symmetric", "reverse")
"""Student queries in the teacher's gallery, in the student's, and the teacher's queries in the student's gallery."""


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to a student in the teacher's space.

    Attributes:
        title: in the tables.
        kind: "ours", "own" (a student in its own space), "rival", "head" (frozen features under a fitted map) or
            "control".
        strengths: values of its second setting, `name=value,...`, all tried at each learning rate.
    """

    title: str
    kind: str
    strengths: tuple[str, ...] = ("",)


_TEMPERATURES = tuple(f"student_temperature={value}" for value in (0.05, 0.2, 1.0))
METHODS: dict[str, Method] = {
    "across": Method("all known vectors, mixtures", "ours", ("own=0", "own=0.5", "own=1")),
    "across_unmixed": Method("all known vectors, no mixing", "control", ("own=0", "own=0.5", "own=1")),
    "across_unturned": Method("all known vectors, queries not turned", "control", ("own=0", "own=0.5", "own=1")),
    "own": Method("own space", "own", tuple(f"student_temperature={value}" for value in (0.025, 0.05, 0.1))),
    "regression": Method("regression", "rival", ("weight=1", "weight=100", "weight=10000")),
    "aml": Method("contrastive AML", "rival", ("margin=0.5", "margin=0.7", "margin=0.9")),
    "raml": Method("RAML", "rival", ("", "cross_weight=10,self_weight=10", "cross_weight=100,self_weight=100")),
    "csd": Method("CSD, all known vectors", "rival", _TEMPERATURES),
    "ssp": Method("SSP", "rival", ("temperature=0.02", "temperature=0.05", "temperature=0.1")),
    "ridge": Method("ridge over frozen features", "head"),
    "procrustes": Method("Procrustes over frozen features", "head"),
    "residual_mlp": Method("residual MLP over frozen features", "head"),
    "ridge_turned": Method("ridge over frozen features, queries turned", "control"),
    "regression_turned": Method("regression, queries turned", "control", ("weight=1", "weight=100", "weight=10000")),
    "rkd": Method("RKD (relations alone)", "control", ("angle_weight=0", "angle_weight=2", "angle_weight=8")),
    "random_head": Method("random head", "control"),
}
UNTRAINED = ("ridge_turned", "random_head")
"""Of the controls."""
TRAINED = tuple(name for name, method in METHODS.items() if method.kind != "head" and name not in UNTRAINED)
RIVALS = tuple(name for name, method in METHODS.items() if method.kind in ("rival", "head"))


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and one way to search with it; equal runs give equal results.

    Attributes:
        method: a key of METHODS.
        budget: images with an answer.
        seed: of the choice of images, the start, the batches and the mixtures.
        search: one of SEARCHES.
        judged_on: "validation" or "test".
        teacher: a key of `benchmarks.asymmetric.arenas.TEACHERS`.
        assistant: whether one answers for the images without an answer.
        table: whether all of the teacher's vectors are known, without their images.
        dimension: of the space; 0 for all of the teacher's.
        learning_rate: at the start of the cosine; 0 where nothing is trained.
        strength: one of the method's.
    """

    method: str
    budget: int
    seed: int
    search: str = "asymmetric"
    judged_on: str = "test"
    teacher: str = "expert"
    assistant: int = 0
    table: int = 0
    dimension: int = 0
    learning_rate: float = 0.0
    strength: str = ""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is run.

    Attributes:
        budgets: of the curve of both spaces.
        compared: of the comparison with the rivals.
        choice: the budget at which every method is tuned, once for all.
        table: budgets at which all of the teacher's vectors are known.
        projected: the budget and the dimension of the part `projected`.
        seeds: of a test.
        steps: of a student.
        assistant_steps: of an assistant.
        rates: of students.
        methods: that are compared.
        strengths: of each method that are tried.
    """

    budgets: tuple[int, ...] = (66, 165, 330, 660, 1320)
    compared: tuple[int, ...] = (66, 330, 1320)
    choice: int = 330
    table: tuple[int, ...] = (66, 330)
    projected: tuple[int, int] = (330, 128)
    seeds: int = 3
    steps: int = 1200
    assistant_steps: int = 300
    rates: tuple[float, ...] = RATES
    methods: tuple[str, ...] = tuple(METHODS)
    strengths: int = 3


_FEW = ("across", "own", "csd", "ssp", "ridge", "random_head")
SMOKE = Sizes((4, 8), (4,), 8, (4,), (8, 4), 1, 2, 2, RATES[:1], _FEW, 1)
"""A minute's version."""

PARTS = ("compared", "assisted", "curve", "table", "projected", "lite2")


def trials(method: str, sizes: Sizes, **about: object) -> list[Run]:
    """Returns the grid of a method, judged on the validation images with a seed of its own."""
    search = "symmetric" if METHODS[method].kind == "own" else "asymmetric"
    base = Run(method, sizes.choice, CHOICE_SEED, search, "validation")
    base = dataclasses.replace(base, **about)  # type: ignore[arg-type]
    if method not in TRAINED:
        return [base]
    return [
        dataclasses.replace(base, learning_rate=rate, strength=strength)
        for rate in sizes.rates
        for strength in METHODS[method].strengths[: sizes.strengths]
    ]


def tests(chosen: Run, budgets: tuple[int, ...], sizes: Sizes, **about: object) -> list[Run]:
    """Returns the test runs of a method with its chosen settings, all ways to search of a seed one after the other."""
    searches = ("symmetric",) if METHODS[chosen.method].kind == "own" else SEARCHES
    runs = [
        dataclasses.replace(chosen, budget=budget, seed=seed, search=search, judged_on="test")
        for seed in range(sizes.seeds)
        for budget in budgets
        for search in searches
    ]
    return [dataclasses.replace(run, **about) for run in runs]  # type: ignore[arg-type]


def wanted(part: str, maps: Mapping[Run, float], sizes: Sizes) -> Iterator[list[Run]]:
    """Yields the runs of a part in groups; what a later group does depends on the results of those before.

    A method is tuned once without an assistant and once behind one, with as many trials as every other trained one.
    """
    if part in ("compared", "assisted"):
        assisted = int(part == "assisted")
        for method in sizes.methods:
            if assisted and METHODS[method].kind == "control":
                continue
            grid = trials(method, sizes, assistant=assisted)
            yield grid
            chosen = best(grid, maps)
            if chosen is not None:
                # With an answer for each image there is nothing left for an assistant.
                budgets = tuple(budget for budget in sizes.compared if not (assisted and budget == max(sizes.budgets)))
                yield tests(chosen, budgets, sizes)
        return
    for method in ("across", "own") if part == "curve" else ("across",):
        grid = trials(method, sizes)
        yield grid
        chosen = best(grid, maps)
        if chosen is None:
            continue
        if part == "curve":
            yield tests(chosen, sizes.budgets, sizes)
        elif part == "table":
            yield tests(chosen, sizes.table, sizes, table=1)
        elif part == "lite2":
            yield tests(chosen, sizes.compared, sizes, teacher="lite2")
        else:
            budget, dimension = sizes.projected
            yield tests(chosen, (budget,), sizes, teacher="pooled")
            yield tests(chosen, (budget,), sizes, teacher="pooled", dimension=dimension)
