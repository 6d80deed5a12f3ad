"""Command line: flags in, stages out. See `python main.py --help` and the files in configs/."""

import dataclasses
import difflib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging

from kdistill.console.quiet import quiet
from kdistill.errors import ArgumentError, run_command
from kdistill.settings.settings import DEFAULT_STAGES, STAGE_SETTINGS, Settings

_HELP = {
    "workdir": "Folder of the run; everything that it makes lies there.",
    "seed": "Seed of the choice of questions, of training and of the embedded data's split.",
    "strict": "Stop at the first unreadable image or bad answer instead of skipping it.",
    "dataset": "digits (embedded), folder (DIR/pool, DIR/gallery/CLASS), lists (files of `path, label`), or revisited.",
    "data_dir": "Folder of the images.",
    "pool_file": "lists: file in --data_dir that names the images that the student may learn from.",
    "gallery_file": "lists: file that names the labelled images that are searched.",
    "query_file": "lists: file that names the labelled images that search; empty: leave-one-out over the gallery.",
    "val_file": "lists: file of labelled images on which training is watched (never chosen by).",
    "gnd_file": "revisited: the ground truth in --data_dir; empty: its only gnd_*.pkl.",
    "pool_dir": "revisited: folder of unlabelled images to learn from.",
    "distractor_dir": "revisited: folder of further gallery images.",
    "teacher": "The black box: digits (embedded), a table (.npz, .npy), a model (.keras, SavedModel, .tflite, .onnx), "
    "a Python function (package.module:function), an http(s) address, or the pooled features of a backbone "
    "(imagenet, or its .weights.h5 file). {data_dir} stands for --data_dir.",
    "teacher_scaling": "What pixels a model teacher takes: symmetric (-1 to 1), unit (0 to 1), none (0 to 255), torch.",
    "teacher_backbone": "Backbone of a teacher that is imagenet or a .weights.h5 file.",
    "teacher_alpha": "Width multiplier of that backbone.",
    "teacher_image_size": "Side in pixels of that backbone's input.",
    "teacher_headers": "http: headers as Header=VARIABLE, the value standing in that environment variable.",
    "teacher_timeout": "http: seconds that one request may take.",
    "teacher_retries": "http: times that a request is sent again after 429 or 5xx.",
    "teacher_answers": "What the teacher gives: vectors, order (it ranks candidates for a query image), or pairs (it "
    "says which of two images matches a query better).",
    "candidates": "order, pairs: images that are compared for one query, those that the student itself finds nearest.",
    "pair_queries": "pairs: query images that --query_budget is spread over.",
    "pair_sampler": "pairs: which are asked, by the ranks of the two candidates: uniform, rr, rr_sum or rr_diff.",
    "pair_both_ways": "pairs: ask each one in both orders, which costs two questions and finds contradictions.",
    "pair_tie_margin": "pairs: a probability this near to 0.5 is a tie.",
    "ranker_backbone": "order, pairs: network of the ranker, a larger temporary student that learns the answers and "
    "then teaches vectors; empty (order only): the student learns the orders itself.",
    "ranker_alpha": "Width multiplier of the ranker's backbone.",
    "ranker_image_size": "Side in pixels of the ranker's input.",
    "ranker_weights": "Weights of the ranker's backbone: a .weights.h5 file, imagenet, or empty (random).",
    "ranker_steps": "Training steps of the ranker.",
    "query_budget": "How many questions the teacher may be asked.",
    "ask_batch_size": "Images in one question to the teacher; a crash can lose the answers of one.",
    "selection": "How the images to ask about are chosen: random, k-center, k-means++ or density.",
    "price_per_query": "What one answer costs, in your currency.",
    "dry_run": "With --stages=ask: say what would be asked and at what cost, and ask nothing.",
    "ledger": "Where the answers are kept: a file, or a postgresql+psycopg:// address that several machines share (the "
    "password stands better in PGPASSWORD or ~/.pgpass); empty: ledger.sqlite in --workdir.",
    "engine": "What asks the teacher: local (this process), or ray (actors, on all machines of a Ray cluster).",
    "actors": "ray: processes that ask; 0 for one a core of the cluster.",
    "backbone": "small_cnn, mobilenet_v1, mobilenet_v2, mobilenet_v3_small or resnet50_v2.",
    "alpha": "Width multiplier of the backbone.",
    "image_size": "Side in pixels of the student's input.",
    "embedding_dim": "Dimensions of the student's embedding; 0 leaves out the projection behind the pooled features.",
    "pooling": "avg or gem.",
    "student_weights": "Start of the backbone: a .weights.h5 file, imagenet (downloaded by Keras), a student.keras of "
    "another run (its projection too), or empty (random).",
    "hash_bits": "Bits of the student's binary code, a multiple of 8; 0 for an embedding of numbers.",
    "loss": "The loss, by name; an unknown name lists them all.",
    "loss_options": "Options of the loss: name=value,name=value.",
    "optimizer": "The optimizer, by its Keras name.",
    "learning_rate": "Learning rate at the start; it falls to 0 along a cosine.",
    "steps": "Training steps.",
    "batch_size": "Images a step.",
    "augment": "Show the student mildly changed views (the teacher's answer is for the plain one).",
    "freeze_batch_norm": "Keep the batch normalisation of a pretrained backbone as it is.",
    "mixtures": "Mixtures a step; 0 trains on original rows only.",
    "mixing": "Distribution of the weight λ: beta, uniform or fixed.",
    "mixing_alpha": "a of beta(a, a).",
    "pairing": "Which rows are mixed: random, teacher_knn or far.",
    "renormalise": "Give mixtures unit length.",
    "anchors": "Rows that rank: originals, mixtures or both.",
    "rank_against": "Rows that are ranked: originals, mixtures or both.",
    "rank_parents": "Rank mixtures against their own parents too.",
    "bank_size": "Past rows that are ranked as well; 0 for none.",
    "hash_distillation": "With --hash_bits: weight of the code of a strongly changed view being that of the mild one.",
    "hash_quantisation": "With --hash_bits: weight of the code's coordinates being close to -1 and 1.",
    "whiten_teacher": "Whiten the teacher's answers (fitted on the answers alone).",
    "evaluations": "How often training pauses to record, watch validation and save a checkpoint.",
    "target_flops": "Shrink the student, while it learns, to this many multiply-adds an image, or to this share of "
    "them (up to 1); 0 leaves its size.",
    "target_params": "The same for its number of weights.",
    "shrink_from": "Share of the steps after which the student begins to shrink.",
    "shrink_until": "Share of the steps after which it has its size.",
    "channel_importance": "What keeps a channel: output (its reader gives less without it), neighbours (it makes "
    "the teacher's neighbours alike) or loss (without it, the loss would change).",
    "channel_neighbours": "neighbours: how many of each image count.",
    "channel_cost_power": "0: the least important channels go first; 1: the least important for what they cost.",
    "refit_readers": "When channels are cut, fit the layers that read them to give what they gave before.",
    "strategy": "Train on several devices: none, mirrored (the GPUs of this machine), or multiworker (the cluster in "
    "TF_CONFIG: start the same command on every worker, with one --workdir that all of them see).",
    "joint_space": "Under a strategy, rank over the rows of all replicas (global), or each over its own (replica).",
    "scales": "Input scales whose embeddings are averaged in a further row of the evaluation, such as 1,0.7071,0.5.",
    "whiten": "Whiten the student's embeddings in a further row: none, pca, or learned (from pairs of one class).",
    "whiten_dir": "Folder of images to fit the whitening on; empty: the pool (pca) or the validation images (learned).",
    "whiten_dim": "Dimensions that whitening keeps; 0 for all.",
    "whiten_shrinkage": "0 to 1: how far whitening trusts its few images less than their average.",
    "score_teacher": "Give the teacher a row in the table: yes, no, or auto (yes unless it is an http address). "
    "This asks it about the test images, outside the budget.",
    "max_memory_mb": "MiB that an evaluation may take beside its inputs.",
    "top_k": "Neighbours that the exported retriever returns.",
    "benchmark_runs": "Timed runs for each file.",
    "benchmark_threads": "Threads of each runtime.",
}


def define_flags() -> None:
    """Defines one flag for each setting, with the setting's default."""
    kinds: dict[type, Callable[..., object]] = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for field in dataclasses.fields(Settings):
        if isinstance(field.default, tuple):
            flags.DEFINE_list(field.name, [str(value) for value in field.default], _HELP[field.name])
        else:
            kind = type(field.default) if field.default is not None else str
            kinds[kind](field.name, field.default, _HELP[field.name])
    flags.DEFINE_list("stages", list(DEFAULT_STAGES), f"Stages to run, of: {', '.join(STAGE_SETTINGS)}.")
    flags.DEFINE_boolean("redo", False, "Run stages again that are done; answers already paid for are kept.")


def settings_from_flags() -> Settings:
    """Returns the settings that the flags describe.

    Raises:
        ArgumentError: a value that cannot be right.
    """
    values = {field.name: getattr(flags.FLAGS, field.name) for field in dataclasses.fields(Settings)}
    try:
        values["scales"] = tuple(float(scale) for scale in values["scales"])
    except ValueError as error:
        raise ArgumentError(f"--scales takes numbers such as 1,0.7071,0.5: {error}") from error
    values["teacher_headers"] = tuple(values["teacher_headers"])
    for name, value in values.items():
        if value == "" and Settings.__dataclass_fields__[name].default is None:
            values[name] = None
        elif isinstance(value, str) and "{data_dir}" in value:
            # So that a flagfile can name files that lie with the data.
            values[name] = value.replace("{data_dir}", values["data_dir"] or ".")
    return Settings(**values)


def run_stages(settings: Settings, stages: Sequence[str], redo: bool) -> None:
    """Runs the stages in their order, each unless it is done.

    Raises:
        ArgumentError: an unknown stage, or a folder that was made with other settings.
        KdistillError: a stage failed.
    """
    unknown = [stage for stage in stages if stage not in STAGE_SETTINGS]
    if unknown:
        close = difflib.get_close_matches(unknown[0], STAGE_SETTINGS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; choose of {', '.join(STAGE_SETTINGS)}"
        raise ArgumentError(f"there is no stage {unknown[0]!r}{hint}")
    from kdistill.stages.workdir import Workdir

    workers = None
    if settings.strategy == "multiworker" and "distill" in stages and not settings.dry_run:
        _import_tensorflow()
        from kdistill.stages.workers import Workers

        workers = Workers()
        if workers.follow(settings):
            return
    workdir = Workdir(settings.workdir)
    if not settings.dry_run:
        workdir.write_flags(settings)
    for stage in STAGE_SETTINGS:
        done = False if redo and stage in stages else workdir.is_done(stage, settings)
        if stage not in stages:
            continue
        if done:
            logging.info("%s: already done in %s; nothing to do", stage, workdir.path)
            if workers is not None and stage == "distill":
                workers.lead(train=False)
            continue
        logging.info("%s ...", stage)
        started = time.monotonic()
        if redo:
            workdir.forget(stage)
        if workers is not None and stage == "distill":
            workers.lead(train=True)
        _stage(stage)(settings, workdir)
        if settings.dry_run:
            return
        workdir.mark_done(stage, settings)
        logging.info("%s: done in %.1f s", stage, time.monotonic() - started)


def main(arguments: Sequence[str]) -> None:
    """Runs the command line."""
    if len(arguments) > 1:
        name = arguments[1].partition("=")[0].lstrip("-")
        close = difflib.get_close_matches(name, _HELP, 1)
        hint = f"; did you mean --{close[0]}?" if close else ""
        raise app.UsageError(f"unexpected argument {arguments[1]!r}: settings are given as --name=value{hint}")
    run_command(
        lambda: run_stages(settings_from_flags(), flags.FLAGS.stages, flags.FLAGS.redo),
        tracebacks=logging.get_verbosity() >= logging.DEBUG,
    )


def cli() -> None:
    """The entry point `kdistill`; shipped flagfiles are found wherever the package is installed."""
    define_flags()
    logging.set_verbosity(logging.INFO)
    # TensorFlow tells its inner news through the same logger; a user waits for ours.
    logging.get_absl_handler().addFilter(lambda record: "tensorflow" not in Path(record.pathname).parts)
    app.run(main, [_shipped(argument) for argument in sys.argv])


def _import_tensorflow() -> None:
    # Imported when needed, so that --help and mistakes in flags answer at once; quietly, since start-up notices are
    # no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import tensorflow  # noqa: F401


def _stage(name: str) -> Callable:
    _import_tensorflow()
    if name == "ask":
        from kdistill.stages.ask import ask_teacher as stage
    elif name == "distill":
        from kdistill.stages.distill import distill as stage
    elif name == "evaluate":
        from kdistill.stages.evaluate import evaluate as stage
    elif name == "export":
        from export.stage import export_run as stage
    elif name == "benchmark":
        from export.measure.stage import benchmark_run as stage
    elif name == "report":
        from kdistill.stages.report import report as stage
    else:
        from export.web.stage import web as stage
    return stage


def _shipped(argument: str) -> str:
    """Turns --flagfile=configs/NAME.flags into the installed file where there is none in this folder."""
    name, equals, path = argument.partition("=")
    if name.lstrip("-") != "flagfile" or not equals or Path(path).exists():
        return argument
    import kdistill.configs

    shipped = [Path(folder) / Path(path).name for folder in kdistill.configs.__path__]
    return next((f"{name}={file}" for file in shipped if file.exists()), argument)


if __name__ == "__main__":
    cli()
