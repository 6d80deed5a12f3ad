"""Does a teacher that only gives orders teach as well as one that gives vectors?

    python -m benchmarks.teachers.orders --data_dir=DIR --weights=FILE --ranker_weights=FILE --json=FILE

The expert teacher of the grocery photos answers the same number of questions in three ways, and a student of one kind
(MobileNetV2 0.35 at 96 px) learns from each with the same number of steps:

    vectors    330 vectors, the main job's loss and mixtures
    ranker     330 orders of 20 candidates -> ranker (ListMLE) -> KL on the ranker's vectors of the whole pool
    direct     the same 330 orders -> ListMLE on the student itself: the control
    untaught   no question: KL on the vectors of the ranker before it learned anything

Figures in mAP points on test.txt: `map_ARM`, `std_ARM`, and `gain_ARM`, `gain_std_ARM` over `vectors` of the same seed.
The seed sets the choice of questions, the student's start and the batches. `--judged_on=validation` is for choosing
settings; finished runs stand in the CSV file and are not repeated.
"""

import keras
import numpy as np

from benchmarks.teachers.comparing import (
    Comparison,
    comparison_of,
    parser_of,
    run_all,
    train_on_orders,
    train_on_vectors,
)
from benchmarks.teachers.comparing_results import figures_of, report
from kdistill.assistant.heads import Head, fit_orders, untaught
from kdistill.errors import run_command
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.preferences.proposals import propose
from kdistill.teachers import select

ARMS = ("vectors", "ranker", "direct", "untaught")


class Runs:
    """The four ways; each is a function of the seed."""

    def __init__(self, comparison: Comparison, budget: int, candidates: int, direct: dict[str, float]) -> None:
        """Takes questions to ask, candidates of each order, and the options of `train_on_orders`."""
        self.comparison, self.budget, self.candidates, self.direct_options = comparison, budget, candidates, direct
        self.everything = np.arange(len(comparison.features))

    def queries(self, seed: int) -> np.ndarray:
        """Returns int64 [budget], rows of the pool."""
        return select("random", self.budget, n=len(self.comparison.features), seed=seed)

    def orders(self, seed: int) -> np.ndarray:
        """Returns int64 [budget, k], the candidates of each query in the teacher's order."""
        queries = self.queries(seed)
        candidates = propose(self.comparison.features, queries, self.candidates)
        teacher = self.comparison.problem.pool.teacher
        cosines = np.einsum("md,mkd->mk", teacher[queries], teacher[candidates])
        return np.take_along_axis(candidates, np.argsort(-cosines, axis=1, kind="stable"), axis=1)

    def fitted(self, seed: int) -> Head:
        """Returns the ranker that learned the orders."""
        return fit_orders(self.comparison.features, self.queries(seed), self.orders(seed))

    def vectors(self, seed: int) -> keras.Model:
        """Returns the student of the vectors."""
        queries = self.queries(seed)
        problem = self.comparison.problem
        return train_on_vectors(problem, queries, problem.pool.teacher[queries], seed)

    def ranker(self, seed: int) -> keras.Model:
        """Returns the student of the ranker."""
        targets = self.fitted(seed).embed(self.comparison.features)
        return train_on_vectors(self.comparison.problem, self.everything, targets, seed)

    def untaught(self, seed: int) -> keras.Model:
        """Returns the student of the ranker before its first question."""
        targets = untaught(self.comparison.features).embed(self.comparison.features)
        return train_on_vectors(self.comparison.problem, self.everything, targets, seed)

    def direct(self, seed: int) -> keras.Model:
        """Returns the student of the orders alone."""
        lists = np.concatenate([self.queries(seed)[:, None], self.orders(seed)], axis=1)
        options = self.direct_options
        return train_on_orders(
            self.comparison.problem,
            lists,
            seed,
            learning_rate=options["learning_rate"],
            temperature=options["temperature"],
            lists_a_batch=int(options["lists_a_batch"]),
        )


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = parser_of(__doc__, ARMS, "benchmarks/results/order_teachers.csv")
    parser.add_argument("--budget", type=int, default=330)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--direct_learning_rate", type=float, default=2e-4)
    parser.add_argument("--direct_temperature", type=float, default=0.1)
    parser.add_argument("--direct_lists", type=int, default=2, help="lists in a batch")
    arguments = parser.parse_args()
    comparison = comparison_of(arguments)
    if arguments.smoke:
        arguments.budget, arguments.candidates, arguments.direct_lists = 6, 4, 1
    direct = {
        "learning_rate": arguments.direct_learning_rate,
        "temperature": arguments.direct_temperature,
        "lists_a_batch": arguments.direct_lists,
    }
    facts = {
        "budget": arguments.budget,
        "candidates": arguments.candidates,
        "ranker": f"mobilenet_v2 {arguments.ranker_alpha:g} at {arguments.ranker_image_size}",
    }
    problem = comparison.problem
    runs = Runs(comparison, arguments.budget, arguments.candidates, direct)
    maps: dict[str, list[float]] = {}
    for arm in arguments.arms.split(","):
        # Each arm's line is known by what that arm depends on, so that tuning the control repeats no other run.
        depends = {"direct": {**facts, **direct}, "vectors": {"budget": arguments.budget}}.get(arm, facts)
        setup = problem.setup(rate=problem.settings.training.learning_rate, **depends)
        maps |= run_all(arguments.csv, setup, arguments.judged_on, {arm: getattr(runs, arm)}, arguments.seeds, problem)
    rankers = []
    for seed in range(arguments.seeds if "ranker" in maps else 0):
        vectors = runs.fitted(seed).embed(comparison.validation_features)
        rankers.append(evaluate_leave_one_out(vectors, problem.validation.labels).as_dict()["map"])
    result = {
        "figures": figures_of(maps, "vectors") if "vectors" in maps else {},
        "maps": maps,
        "ranker_validation_map": rankers,
        "judged_on": arguments.judged_on,
        "seeds": arguments.seeds,
        **facts,
        "direct": direct,
        "settings": problem.training_settings(),
    }
    report(result, arguments.json)


if __name__ == "__main__":
    run_command(main)
