"""How many pairs must a teacher compare, and which? A part of the pairs, drawn by four samplers, against all of them.

    python -m benchmarks.teachers.pairs --data_dir=DIR --weights=FILE --ranker_weights=FILE --json=FILE

For each of 330 queries the ranker's untaught features propose 100 candidates, which make 4,950 pairs. The expert
teacher of the grocery photos compares all of them (`all`), or the share --share of them that a sampler draws
(`uniform`, `rr`, `rr_sum`, `rr_diff`); its probability is the logistic of the gap between its two cosines. Answers ->
ties, contradictions and cycles settled -> ranker (pairwise logistic) -> KL on the ranker's vectors of the whole pool.

Figures in mAP points on test.txt: `map_ARM`, `std_ARM`, and `gain_ARM`, `gain_std_ARM` over `all` of the same seed.
`ranker_validation_map` has the mAP of the rankers themselves on val.txt. The seed sets queries, pairs, the student's
start and the batches. Finished runs stand in the CSV file and are not repeated.
"""

import functools
from collections.abc import Callable

import keras
import numpy as np

from benchmarks.teachers.comparing import Comparison, comparison_of, parser_of, run_all, train_on_vectors
from benchmarks.teachers.comparing_results import figures_of, report
from kdistill.assistant.heads import Head, fit_preferences
from kdistill.errors import run_command
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.preferences.consistency import Settled, settle
from kdistill.preferences.pair_sampling import PAIR_SAMPLERS, sample_pairs
from kdistill.preferences.pairs import Preferences
from kdistill.preferences.proposals import propose
from kdistill.teachers import select

ALL = "all"


class Runs:
    """The answers and the rankers that learn them."""

    def __init__(self, comparison: Comparison, queries: int, candidates: int, share: float, temperature: float) -> None:
        """Takes queries, candidates of each, the share of pairs (0 to 1), and the temperature of the teacher."""
        self.comparison, self.count, self.candidates = comparison, queries, candidates
        self.pairs = round(share * candidates * (candidates - 1) / 2)
        self.temperature = temperature
        self.rankers: dict[tuple[str, int], Head] = {}

    def answers(self, arm: str, seed: int) -> Settled:
        """Returns what the teacher says, settled."""
        features = self.comparison.features
        queries = select("random", self.count, n=len(features), seed=seed)
        candidates = propose(features, queries, self.candidates)
        every = self.candidates * (self.candidates - 1) // 2
        sampler, pairs = ("uniform", every) if arm == ALL else (arm, self.pairs)
        ranks = sample_pairs(sampler, self.candidates, pairs, queries=self.count, seed=seed)
        chosen = np.take_along_axis(candidates, ranks.reshape(self.count, -1), axis=1).reshape(-1, 2)
        asked = np.repeat(queries, pairs)
        vectors = self.comparison.problem.pool.teacher
        cosines = vectors[queries] @ vectors.T
        place = np.repeat(np.arange(self.count), pairs)
        gaps = cosines[place, chosen[:, 0]] - cosines[place, chosen[:, 1]]
        probability = 1.0 / (1.0 + np.exp(-gaps / self.temperature))
        return settle(Preferences(asked, chosen[:, 0], chosen[:, 1], probability.astype(np.float32)))

    def ranker(self, arm: str, seed: int) -> Head:
        """Returns the ranker that learned the answers, fitted once."""
        if (arm, seed) not in self.rankers:
            answers = self.answers(arm, seed).preferences
            self.rankers[arm, seed] = fit_preferences(
                self.comparison.features, answers.queries, answers.first, answers.second, answers.probability
            )
        return self.rankers[arm, seed]

    def student(self, arm: str, seed: int) -> keras.Model:
        """Returns the student of that ranker."""
        features = self.comparison.features
        targets = self.ranker(arm, seed).embed(features)
        return train_on_vectors(self.comparison.problem, np.arange(len(features)), targets, seed)

    def validation_map(self, arm: str, seed: int) -> float:
        """Returns the mAP of the ranker itself on the validation images."""
        vectors = self.ranker(arm, seed).embed(self.comparison.validation_features)
        labels = self.comparison.problem.validation.labels
        return float(evaluate_leave_one_out(vectors, labels).as_dict()["map"])


def main() -> None:
    """Parses the command line, measures, writes."""
    parser = parser_of(__doc__, (ALL, *PAIR_SAMPLERS), "benchmarks/results/pair_teachers.csv")
    parser.add_argument("--queries", type=int, default=330)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.02, help="of the pairs that the samplers draw")
    parser.add_argument("--teacher_temperature", type=float, default=0.1)
    parser.add_argument("--rankers_only", action="store_true", help="train no student: the rankers on val.txt alone")
    arguments = parser.parse_args()
    comparison = comparison_of(arguments)
    if arguments.smoke:
        arguments.queries, arguments.candidates, arguments.share = 6, 6, 0.4
    facts = {
        "queries": arguments.queries,
        "candidates": arguments.candidates,
        "share": arguments.share,
        "teacher_temperature": arguments.teacher_temperature,
        "ranker": f"mobilenet_v2 {arguments.ranker_alpha:g} at {arguments.ranker_image_size}",
    }
    problem = comparison.problem
    runs = Runs(comparison, arguments.queries, arguments.candidates, arguments.share, arguments.teacher_temperature)
    arms = arguments.arms.split(",")
    seeds = range(arguments.seeds)
    rankers = {arm: [runs.validation_map(arm, seed) for seed in seeds] for arm in arms}
    maps: dict[str, list[float]] = {}
    if not arguments.rankers_only:
        setup = problem.setup(rate=problem.settings.training.learning_rate, **facts)
        students: dict[str, Callable[[int], keras.Model]] = {arm: functools.partial(runs.student, arm) for arm in arms}
        maps = run_all(arguments.csv, setup, arguments.judged_on, students, arguments.seeds, problem)
    result = {
        "figures": figures_of(maps, ALL) if ALL in maps else {},
        "maps": maps,
        "ranker_validation_map": rankers,
        "answers": {arm: runs.answers(arm, 0).counts() for arm in arms},
        "judged_on": arguments.judged_on,
        "seeds": arguments.seeds,
        **facts,
        "settings": problem.training_settings(),
    }
    report(result, arguments.json)


if __name__ == "__main__":
    run_command(main)
