"""Settings of the training."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """The loss, the optimizer and the steps."""

    loss: str = setting("softmax_ranking", "The loss, by name; an unknown name lists them all.", common=True)
    loss_options: str = setting("", "Options of the loss: name=value,name=value.", common=True)
    optimizer: str = setting("adam", "The optimizer, by its Keras name.")
    learning_rate: float = setting(
        1e-3, "Learning rate at the start; it falls to 0 along a cosine.", above=0, high=1e6, common=True
    )
    steps: int = setting(600, "Training steps.", low=1, high=10**9, common=True)
    batch_size: int = setting(32, "Images a step.", low=1, high=1_000_000, common=True)
    augment: bool = setting(
        True, "Show the student mildly changed views (the teacher's answer is for the plain one).", common=True
    )
    freeze_batch_norm: bool = setting(False, "Keep the batch normalisation of a pretrained backbone as it is.")
    whiten_teacher: bool = setting(False, "Whiten the teacher's answers (fitted on the answers alone).")
    hash_distillation: float = setting(
        0.1, "With --hash_bits: weight of the code of a strongly changed view being that of the mild one.", low=0,
        high=1e6,
    )  # fmt: skip
    hash_quantisation: float = setting(
        0.1, "With --hash_bits: weight of the code's coordinates being close to -1 and 1.", low=0, high=1e6
    )
    training_precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = setting(
        "float32",
        "What student and whole assistant compute with while they learn; their weights, and what is delivered, are "
        "float32 in any case. Pays on GPUs (mixed_float16) and on processors with such instructions (mixed_bfloat16).",
    )
    tune: int = setting(
        0,
        "How many settings of training are tried and judged by the held-out answers (learning rate, steps, "
        "temperatures, mixtures, projection, assistant) at no further question; takes about as long as half as many "
        "trainings. 0: none.",
        low=0,
        high=1000,
    )
    callbacks: tuple[str, ...] = setting(
        (),
        "Callbacks of one's own, as package.module:function,...: each function gets the run's context and returns a "
        "Keras callback for the training of the assistant and of the student (docs/callbacks.md).",
    )
    evaluations: int = setting(
        6,
        "How often training pauses to record, watch validation and save a checkpoint.",
        low=1,
        high=100_000,
        decides=False,
    )
    strategy: Literal["none", "mirrored", "multiworker"] = setting(
        "none",
        "Train on several devices: none, mirrored (the GPUs of this machine), or multiworker (the cluster in "
        "TF_CONFIG: start the same command on every worker, with one --workdir that all of them see).",
        decides=False,
    )
    joint_space: Literal["global", "replica"] = setting(
        "global", "Under a strategy, rank over the rows of all replicas (global), or each over its own (replica)."
    )
