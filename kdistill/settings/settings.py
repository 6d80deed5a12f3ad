"""All settings of a run in one plain object: what the command line fills in and the stages read."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a run; `main.py` explains each one beside its flag of the same name."""

    workdir: str = "runs/quickstart"
    seed: int = 0
    strict: bool = False
    # Data
    dataset: str = "digits"
    data_dir: str | None = None
    pool_file: str = "pool.txt"
    gallery_file: str = "test.txt"
    query_file: str | None = None
    val_file: str | None = None
    gnd_file: str | None = None
    pool_dir: str | None = None
    distractor_dir: str | None = None
    # Teacher
    teacher: str = "digits"
    teacher_scaling: str = "symmetric"
    teacher_backbone: str = "mobilenet_v2"
    teacher_alpha: float = 1.0
    teacher_image_size: int = 224
    teacher_headers: tuple[str, ...] = ()
    teacher_timeout: float = 60.0
    teacher_retries: int = 5
    teacher_answers: str = "vectors"
    candidates: int = 20
    pair_queries: int = 100
    pair_sampler: str = "rr_sum"
    pair_both_ways: bool = False
    pair_tie_margin: float = 0.0
    ranker_backbone: str | None = None
    ranker_alpha: float = 1.0
    ranker_image_size: int = 224
    ranker_weights: str | None = None
    ranker_steps: int = 300
    query_budget: int = 100
    ask_batch_size: int = 32
    selection: str = "random"
    price_per_query: float = 0.0
    dry_run: bool = False
    ledger: str | None = None
    engine: str = "local"
    actors: int = 0
    # Student
    backbone: str = "small_cnn"
    alpha: float = 1.0
    image_size: int = 32
    embedding_dim: int = 128
    pooling: str = "avg"
    student_weights: str | None = None
    hash_bits: int = 0
    # Distillation
    loss: str = "softmax_ranking"
    loss_options: str = ""
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    steps: int = 600
    batch_size: int = 32
    augment: bool = True
    freeze_batch_norm: bool = False
    mixtures: int = 64
    mixing: str = "beta"
    mixing_alpha: float = 0.3
    pairing: str = "random"
    renormalise: bool = True
    anchors: str = "originals"
    rank_against: str = "both"
    rank_parents: bool = False
    bank_size: int = 1024
    whiten_teacher: bool = False
    hash_distillation: float = 0.1
    hash_quantisation: float = 0.1
    evaluations: int = 6
    # A student that shrinks
    target_flops: float = 0.0
    target_params: float = 0.0
    shrink_from: float = 0.25
    shrink_until: float = 0.6
    channel_importance: str = "output"
    channel_neighbours: int = 5
    channel_cost_power: float = 0.0
    refit_readers: bool = True
    strategy: str = "none"
    joint_space: str = "global"
    # Judging and delivering
    scales: tuple[float, ...] = (1.0,)
    whiten: str = "none"
    whiten_dir: str | None = None
    whiten_dim: int = 0
    whiten_shrinkage: float = 0.0
    max_memory_mb: int = 512
    score_teacher: str = "auto"
    top_k: int = 10
    benchmark_runs: int = 50
    benchmark_threads: int = 1


_DATA = (
    "dataset",
    "data_dir",
    "pool_file",
    "gallery_file",
    "query_file",
    "val_file",
    "gnd_file",
    "pool_dir",
    "distractor_dir",
)
_STUDENT = ("backbone", "alpha", "image_size", "embedding_dim", "pooling", "student_weights", "hash_bits", "seed")
_ASK = (
    *_DATA,
    *_STUDENT,
    "teacher",
    "teacher_scaling",
    "teacher_backbone",
    "teacher_alpha",
    "teacher_image_size",
    "query_budget",
    "selection",
    "teacher_answers",
    "candidates",
    "pair_queries",
    "pair_sampler",
    "pair_both_ways",
    "ranker_backbone",
    "ranker_alpha",
    "ranker_image_size",
    "ranker_weights",
)
_DISTILL = (
    *_ASK,
    "loss",
    "loss_options",
    "optimizer",
    "learning_rate",
    "steps",
    "batch_size",
    "augment",
    "freeze_batch_norm",
    "mixtures",
    "mixing",
    "mixing_alpha",
    "pairing",
    "renormalise",
    "anchors",
    "rank_against",
    "rank_parents",
    "bank_size",
    "whiten_teacher",
    "hash_distillation",
    "hash_quantisation",
    "target_flops",
    "target_params",
    "shrink_from",
    "shrink_until",
    "channel_importance",
    "channel_neighbours",
    "channel_cost_power",
    "refit_readers",
    "ranker_steps",
    "pair_tie_margin",
    "joint_space",
)
_EVALUATE = (
    *_DISTILL,
    "scales",
    "whiten",
    "whiten_dir",
    "whiten_dim",
    "whiten_shrinkage",
    "score_teacher",
)
_EXPORT = (*_EVALUATE, "top_k")
_BENCHMARK = (*_EXPORT, "benchmark_runs", "benchmark_threads")

STAGE_SETTINGS: dict[str, tuple[str, ...]] = {
    "ask": _ASK,
    "distill": _DISTILL,
    "evaluate": _EVALUATE,
    "export": _EXPORT,
    "benchmark": _BENCHMARK,
    "report": _BENCHMARK,
    "web": _EVALUATE,
}
"""The stages in their order, each with the settings that its result depends on."""

DEFAULT_STAGES = tuple(stage for stage in STAGE_SETTINGS if stage != "web")
"""What runs without --stages; the web page needs npm, so it is asked for by name."""
