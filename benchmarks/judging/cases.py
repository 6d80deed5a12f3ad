"""The students that are judged: of many methods, numbers of images, seeds, lengths of training and sizes."""

import dataclasses

import numpy as np

from benchmarks.methods.plan import METHODS, Run

COUNTS = {"grocery": 40, "omniglot": 20, "generated": 6}
"""Students of each problem."""

WATCHED = {"grocery": 10, "omniglot": 0, "generated": 2}
"""How many of them are judged on the way as well."""

SIZES = {"grocery": (64, 96), "omniglot": (32,), "generated": (16,)}
STEPS = {"grocery": (40, 80, 160, 300), "omniglot": (60, 150, 300, 600), "generated": (2, 4)}
BUDGETS = {"grocery": (33, 66, 165, 330, 1320), "omniglot": (33, 66, 165, 330, 1320), "generated": (8, 16)}
RATES = {"grocery": (1e-4, 2e-4, 4e-4), "omniglot": (1e-3, 2e-3, 4e-3), "generated": (1e-3,)}


@dataclasses.dataclass(frozen=True)
class Case:
    """One student.

    Attributes:
        run: its method, images, seed and learning rate.
        image_size: side of its input in pixels.
        steps: of its training.
        watched: whether it is judged on the way.
    """

    run: Run
    image_size: int
    steps: int
    watched: bool


def cases_of(problem: str) -> list[Case]:
    """Returns the students of a problem, drawn once and for all; the watched ones train longest, on few images."""
    random = np.random.default_rng(20)
    names = sorted(METHODS)
    found: list[Case] = []
    while len(found) < COUNTS[problem]:
        number = len(found)
        watched = number < WATCHED[problem]
        method = METHODS["softmax_ranking" if watched else names[number % len(names)]]
        strength = method.strengths[int(random.integers(len(method.strengths)))]
        run = Run(
            method=method.name,
            budget=int(random.choice(BUDGETS[problem][:4] if watched else BUDGETS[problem])),
            seed=number,
            learning_rate=float(random.choice(RATES[problem])),
            options=strength.options,
            weight=strength.weight,
            judged_on="test",
        )
        steps = STEPS[problem][-1] if watched else int(random.choice(STEPS[problem]))
        found.append(Case(run, int(random.choice(SIZES[problem])), steps, watched))
    # Images are read once a size.
    return sorted(found, key=lambda case: (case.image_size, case.run.seed))
