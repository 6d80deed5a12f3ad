"""What `benchmarks.methods` compares: methods, the grid that each is tuned over, and the runs that follow."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from kdistill.errors import ArgumentError, KdistillError

CHOICE_BUDGET = 330
"""Images at which learning rate and strength of every method are chosen, once for all budgets."""

CHOICE_SEED = 1000
"""Seeds of the choice count from here, those of the test from 0: no run that was chosen by is judged."""

FURTHER_TRIALS = 9
"""How many trials beyond its grid every method is allowed, as many as the grid has: learning rates twice the largest or
half the smallest, each with every strength, while the best rate is the largest or the smallest that was tried."""

REFERENCES = ("teacher", "untouched")
"""Rows that are not trained: the teacher itself, and the student before any training."""


IMAGES_A_CLASS = 4
"""Of the supervised methods: of 330 grocery photos a random batch of 32 has 6 pairs of one class, such a batch 41."""


@dataclasses.dataclass(frozen=True)
class Strength:
    """One value of a method's second setting: options of its loss (`name=value,...`) and the weight of the loss."""

    options: str = ""
    weight: float = 1.0


def _values(*options: str) -> tuple[Strength, ...]:
    return tuple(Strength(text) for text in options)


_TEMPERATURES = _values("student_temperature=0.025", "student_temperature=0.05", "student_temperature=0.1")
# Adam's steps do not depend on the scale of a gradient unless it is as small as Adam's epsilon: powers of 100 show
# whether it is, which is what the weight of 3000 of similarity-preserving distillation is about.
_WEIGHTS = (Strength(), Strength(weight=100.0), Strength(weight=10_000.0))


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to train the student.

    Attributes:
        name: in the results.
        title: in the table and the picture.
        kind: "default", "control" (the default without mixing), "joint" (other losses over the joint space), "rival"
            (published, without labels) or "supervised".
        loss: its name in `kdistill.losses`.
        strengths: three values each, so that all are tuned over equally many combinations.
        mixing: whether mixtures are ranked too, as many and as the library's default says.
        bank: whether past rows are ranked too, as many as the library's default says.
        whole_gallery: whether its bank has room for two passes over the images, so that nearly every teacher vector
            that was paid for is in it: for losses that compare with the teacher's vectors alone, which do not age.
        images_a_class: how many images of each class stand in a batch; 1 for batches of any images.
    """

    name: str
    title: str
    kind: str
    loss: str
    strengths: tuple[Strength, ...]
    mixing: bool = False
    bank: bool = True
    whole_gallery: bool = False
    images_a_class: int = 1


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("softmax_ranking", "softmax ranking, mixtures", "default", "softmax_ranking", _TEMPERATURES, True),
        Method("softmax_ranking_unmixed", "softmax ranking, no mixing", "control", "softmax_ranking", _TEMPERATURES),
        Method(
            "softmax_ranking_batch",
            "softmax ranking, the batch alone",
            "joint",
            "softmax_ranking",
            _TEMPERATURES,
            bank=False,
        ),
        Method("list_mle", "ListMLE, mixtures", "joint", "list_mle", _TEMPERATURES, True),
        Method("pairwise_logistic", "pairwise, mixtures", "joint", "pairwise_logistic", _TEMPERATURES, True),
        Method("rkd_distance", "RKD distance, mixtures", "joint", "rkd_distance", _WEIGHTS, True),
        Method("gram", "Gram, mixtures", "joint", "gram", _WEIGHTS, True),
        Method("regression", "regression", "rival", "regression", _WEIGHTS, bank=False),
        Method("rkd", "RKD", "rival", "rkd", _values("angle_weight=0", "angle_weight=2", "angle_weight=8"), bank=False),
        Method("pkt", "PKT", "rival", "pkt", _WEIGHTS, bank=False),
        Method(
            "similarity_preserving",
            "similarity-preserving",
            "rival",
            "similarity_preserving",
            _WEIGHTS,
            bank=False,
        ),
        Method("darkrank", "DarkRank, bank", "rival", "darkrank", _values("alpha=1", "alpha=3", "alpha=9")),
        Method(
            "csd",
            "CSD, bank",
            "rival",
            "csd",
            _values("student_temperature=0.05", "student_temperature=0.2", "student_temperature=1"),
            whole_gallery=True,
        ),
        Method(
            "seed",
            "SEED, bank",
            "rival",
            "seed",
            _values("student_temperature=0.05", "student_temperature=0.2", "student_temperature=1"),
            whole_gallery=True,
        ),
        Method(
            "raml",
            "RAML",
            "rival",
            "raml",
            _values("", "cross_weight=10,self_weight=10", "cross_weight=100,self_weight=100"),
            bank=False,
        ),
        Method(
            "contrastive",
            "contrastive (labels), bank",
            "supervised",
            "contrastive",
            _values("margin=0.7", "margin=0.85", "margin=1"),
            images_a_class=IMAGES_A_CLASS,
        ),
        Method(
            "triplet_semihard",
            "triplet (labels), bank",
            "supervised",
            "triplet_semihard",
            _values("margin=0.1", "margin=0.2", "margin=0.4"),
            images_a_class=IMAGES_A_CLASS,
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its judgement; equal runs give equal results.

    Attributes:
        method: a key of METHODS or one of REFERENCES.
        budget: images that the student learns from; 0 for references.
        seed: of the choice of images, the student's start, the batches and the mixtures.
        judged_on: "validation" or "test".
        learning_rate: at the start of the cosine; 0 for references.
        options: of the loss.
        weight: of the loss.
    """

    method: str
    budget: int
    seed: int
    judged_on: str = "test"
    learning_rate: float = 0.0
    options: str = ""
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """The runs of one problem.

    Attributes:
        methods: names in METHODS.
        budgets: numbers of images, ascending.
        seeds: how many seeds each test has.
        choice_seeds: how many seeds each combination of the grid has.
        learning_rates: of the grid.
        pool: images that there are; supervised methods also get the labels of all of them.
        further_trials: of each method at most, beyond the grid; see FURTHER_TRIALS.
    """

    methods: tuple[str, ...]
    budgets: tuple[int, ...]
    seeds: int
    choice_seeds: int
    learning_rates: tuple[float, ...]
    pool: int
    further_trials: int = FURTHER_TRIALS

    def __post_init__(self) -> None:
        """Checks the names and numbers.

        Raises:
            ArgumentError: an unknown method, a budget beyond the pool, or nothing to do.
        """
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise ArgumentError(f"method {unknown[0]!r} is unknown; choose of {', '.join(METHODS)}")
        if not self.budgets or not 2 <= min(self.budgets) <= max(self.budgets) <= self.pool:
            raise ArgumentError(f"budgets lie between 2 and the {self.pool} images of the pool; got {self.budgets}")
        if self.further_trials < 0:
            raise ArgumentError(f"further trials are 0 or more; {self.further_trials} were given")
        if self.seeds < 1 or self.choice_seeds < 1:
            raise ArgumentError(f"at least 1 seed is needed; {self.seeds} and {self.choice_seeds} were given")

    def references(self) -> list[Run]:
        """Returns the runs without training; the teacher does not depend on a seed."""
        return [Run("teacher", 0, 0), *(Run("untouched", 0, seed) for seed in range(self.seeds))]

    def grid(self, method: str, learning_rates: Sequence[float] | None = None) -> list[list[Run]]:
        """Returns each combination of a rate (these, or the plan's) and a strength, one run a seed of the choice."""
        budget = min(CHOICE_BUDGET, self.pool)
        return [
            [
                Run(method, budget, CHOICE_SEED + seed, "validation", rate, strength.options, strength.weight)
                for seed in range(self.choice_seeds)
            ]
            for rate in (self.learning_rates if learning_rates is None else learning_rates)
            for strength in METHODS[method].strengths
        ]

    def trials(self, method: str, maps: Mapping[Run, float]) -> list[list[Run]]:
        """Returns the grid, and the further trials that the finished ones call for, down to the first unfinished rate.

        Args:
            method: its name.
            maps: of finished runs.
        """
        trials = self.grid(method)
        most = len(trials) + self.further_trials
        while all(run in maps for trial in trials for run in trial):
            rate = rate_beyond(trials, maps)
            further = [] if rate is None else self.grid(method, [rate])
            if not further or len(trials) + len(further) > most:
                break
            trials += further
        return trials

    def budgets_of(self, method: str) -> list[int]:
        """Returns the budgets that a method is tested at."""
        everything = [self.pool] if METHODS[method].kind == "supervised" else []
        return sorted({*self.budgets, *everything})

    def tests(self, chosen: Run) -> list[Run]:
        """Returns the test runs of the method with its chosen settings (the first run of the chosen trial)."""
        return [
            dataclasses.replace(chosen, budget=budget, seed=seed, judged_on="test")
            for seed in range(self.seeds)
            for budget in self.budgets_of(chosen.method)
        ]

    def size(self, maps: Mapping[Run, float]) -> int:
        """Returns how many runs there are, as far as finished ones (`maps`) tell."""
        choice = sum(len(trial) for method in self.methods for trial in self.trials(method, maps))
        return len(self.references()) + choice + self.seeds * sum(len(self.budgets_of(name)) for name in self.methods)


def rate_beyond(trials: Sequence[Sequence[Run]], maps: Mapping[Run, float]) -> float | None:
    """Returns the learning rate to try next, twice the largest or half the smallest; None if the best lies inside.

    Where all trials diverged, the rates were too high.
    """
    rates = [trial[0].learning_rate for trial in trials]
    try:
        best = choose(trials, maps)[0].learning_rate
    except KdistillError:
        return min(rates) / 2
    if best == max(rates):
        return best * 2
    return best / 2 if best == min(rates) else None


def choose(trials: Sequence[Sequence[Run]], maps: Mapping[Run, float]) -> tuple[Run, float]:
    """Returns the first run of the trial with the highest mean mAP, and that mean.

    A trial with a run that diverged (mAP not a number) is out.

    Raises:
        KdistillError: all diverged.
    """
    means = [sum(maps[run] for run in trial) / len(trial) for trial in trials]
    sound = [index for index, mean in enumerate(means) if mean == mean]
    if not sound:
        raise KdistillError(f"every combination of the grid diverged for {trials[0][0].method}")
    best = max(sound, key=lambda index: means[index])
    return trials[best][0], means[best]


def finished_trials(plan: Plan, method: str, maps: Mapping[Run, float]) -> list[list[Run]]:
    """Returns the trials of a method of which every run is finished; none before its grid is complete."""
    finished = [trial for trial in plan.trials(method, maps) if all(run in maps for run in trial)]
    return finished if len(finished) >= len(plan.grid(method)) else []


def chosen_settings(plan: Plan, maps: Mapping[Run, float]) -> dict[str, tuple[Run, float]]:
    """Returns what `choose` gives of the `finished_trials` of each method that has some."""
    finished = {method: finished_trials(plan, method, maps) for method in plan.methods}
    return {method: choose(trials, maps) for method, trials in finished.items() if trials}


def runs_left(plan: Plan, maps: Mapping[Run, float]) -> Iterator[Run]:
    """Yields the runs that are not in `maps`, which the caller fills meanwhile: references, choice, then tests.

    Tests come seed by seed and budget by budget, so that a benchmark that is stopped early compares all methods.
    """
    yield from (run for run in plan.references() if run not in maps)
    for method in plan.methods:
        while left := [run for trial in plan.trials(method, maps) for run in trial if run not in maps]:
            yield from left
    chosen = chosen_settings(plan, maps)
    tests = [run for method in plan.methods for run in plan.tests(chosen[method][0])]
    yield from (run for run in sorted(tests, key=lambda run: (run.seed, run.budget)) if run not in maps)
