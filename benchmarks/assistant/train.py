"""One run of `benchmarks.assistant`: the library's own assistant and training, on images in memory."""

import json
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.assistant.arenas import Arena
from benchmarks.assistant.plan import ITSELF, Run
from benchmarks.methods.plan import METHODS
from benchmarks.methods.train import WeightedLoss
from kdistill.assistant import Assistant
from kdistill.assistant.assistant import answering
from kdistill.data.pipeline import training_batches
from kdistill.evaluation import evaluate_leave_one_out
from kdistill.files.whole import sha256_of, whole_file
from kdistill.losses.two_spaces import joined_answers
from kdistill.stages.distilling.trainer import build_distiller, loss_of, optimizer_of
from kdistill.stages.opening.models import start_student
from kdistill.teachers import select
from kdistill.training.distiller import Distiller


def setup_of(arena: Arena, assistant_steps: int, ignored: Collection[str] = ("steps",)) -> str:
    """Returns 12 hex digits that change with whatever the runs of an arena depend on, beside the run.

    Args:
        arena: of the runs.
        assistant_steps: of an assistant.
        ignored: settings that do not matter.
    """
    files = [Path(name) for name in (arena.network, arena.weights) if name and Path(name).is_file()]
    return arena.problem.setup(
        ignored=ignored,
        network=[sha256_of(file) for file in files] or arena.network,
        size=arena.image_size,
        assistant_steps=assistant_steps,
    )


def execute(arena: Arena, run: Run, folder: Path, assistant_steps: int) -> dict[str, float]:
    """Trains and judges; returns the scores of `evaluate_leave_one_out`, all NaN where training diverged.

    Args:
        arena: of the run.
        run: what to do.
        folder: keeps the assistants' answers, so that each assistant is trained once.
        assistant_steps: of an assistant.
    """
    keras.backend.clear_session()
    role, part = ("val", arena.problem.validation) if run.judged_on == "validation" else ("test", arena.problem.test)
    answers = assistant_answers(arena, run, folder, assistant_steps)
    if run.method == ITSELF:
        embeddings = answers[role]
    else:
        student = _student(arena, run, answers["pool"])
        embeddings = np.asarray(student.predict(part.pixels, batch_size=64, verbose=0))
    if not np.isfinite(embeddings).all():
        return {"map": float("nan"), "recall_at_1": float("nan")}
    return evaluate_leave_one_out(embeddings, part.labels).as_dict()


def assistant_answers(arena: Arena, run: Run, folder: Path, assistant_steps: int) -> dict[str, np.ndarray]:
    """Returns role -> float32 [n, Da], what the assistant of a run says of each image; kept in `folder`."""
    seed = 0 if run.assistant == "untaught" else run.seed
    # Students of every size stand behind the same assistant.
    named = [
        setup_of(arena, assistant_steps, ("steps", "image_size")),
        run.assistant,
        run.assistant_rate,
        run.budget,
        seed,
    ]
    digits = zlib.crc32(json.dumps(named).encode())
    file = folder / f"assistant-{run.assistant}-{run.budget}-{seed}-{digits:08x}.npz"
    if not file.exists():
        network = _assistant(arena, run, seed, assistant_steps).network
        # It answers for the pool as in the main job; as a row of the table it is judged as any other network.
        found = {"pool": answering(network)(arena.sources)}
        found |= {role: network.predict(arena.seen[role], batch_size=32, verbose=0) for role in ("val", "test")}
        with whole_file(file) as temporary:
            np.savez(temporary, **found)  # type: ignore[arg-type]
    with np.load(file, allow_pickle=False) as kept:
        return dict(kept)


def _assistant(arena: Arena, run: Run, seed: int, steps: int) -> Assistant:
    keras.utils.set_random_seed(seed)
    assistant = Assistant.of(arena.network, image_size=arena.image_size, weights=arena.weights)
    if run.assistant == "untaught":
        assistant.start(arena.seen["pool"])
        return assistant
    chosen = chosen_images(arena, run)
    settings = arena.problem.settings.changed(seed=seed)
    options: dict[str, Any] = {"steps": steps, "learning_rate": run.assistant_rate, "seed": seed}
    if run.assistant == "contrastive":
        plain = Distiller(assistant.network)
        labels = arena.problem.pool.labels[chosen]
        assistant.learn(arena.sources[chosen], labels, distiller=plain, loss="contrastive", **options)
        return assistant
    answers = arena.problem.pool.teacher[chosen]
    mixtures = settings.joint.mixtures if run.assistant == "mixed" else 0
    distiller = build_distiller(settings.changed(mixtures=mixtures), assistant.network, answers.shape[1])
    assistant.learn(arena.sources[chosen], answers, distiller=distiller, **options)
    return assistant


def chosen_images(arena: Arena, run: Run) -> np.ndarray:
    """Returns int64 [budget], positions in the pool: with the same seed a smaller budget is a prefix of a larger."""
    return select("random", run.budget, n=len(arena.problem.pool.labels), seed=run.seed)


def _student(arena: Arena, run: Run, answers: np.ndarray) -> keras.Model:
    """Returns a student trained on the whole pool as the stage `distill` trains it behind an assistant."""
    method, problem = METHODS[run.method], arena.problem
    settings = problem.settings.changed(
        seed=run.seed,
        loss=method.loss,
        loss_options=run.options,
        learning_rate=run.learning_rate,
        steps=run.steps,
        mixtures=problem.settings.joint.mixtures if method.mixing else 0,
        bank_size=problem.settings.joint.bank_size if method.bank else 0,
        assistant_backbone=arena.network,
        assistant_truth=run.truth,
    )
    student = start_student(
        settings.student, settings.run.seed, problem.pool.pixels if settings.student.student_weights else None
    )
    targets, assistant_dim = answers, None
    if run.assistant in ("mixed", "unmixed") and loss_of(settings).joint and run.truth:
        chosen = chosen_images(arena, run)
        targets, assistant_dim = joined_answers(answers, problem.pool.teacher[chosen], chosen), answers.shape[1]
    distiller = build_distiller(settings, student, answers.shape[1])
    distiller.compile(optimizer_of(settings.training), loss=WeightedLoss(loss_of(settings, assistant_dim), run.weight))
    batches = training_batches(
        problem.sources,
        targets,
        batch_size=settings.training.batch_size,
        image_size=settings.student.image_size,
        first_step=0,
        last_step=run.steps,
        seed=settings.run.seed,
        augment=settings.training.augment,
    )
    distiller.fit(batches, epochs=1, steps_per_epoch=run.steps, shuffle=False, verbose=0)
    return student
