"""Runs stages in their order: what is done stays, what was made from something else is said and made again."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging

from kdistill.data import RetrievalData
from kdistill.errors import ArgumentError, NotBetter
from kdistill.settings import Settings
from kdistill.settings.checks import check, check_gallery, check_pool
from kdistill.settings.held_out_checks import check_tuning, held_out_count
from kdistill.stages.callbacks import check_callbacks, tell_run_end
from kdistill.stages.opening.inputs import Inputs
from kdistill.stages.record import Record, refuse
from kdistill.stages.stage import Registry, Stage
from kdistill.stages.workdir import Workdir


def run_stages(
    registry: Registry,
    settings: Settings,
    names: Sequence[str],
    *,
    redo: bool = False,
    before_training: Callable[[bool], None] | None = None,
) -> None:
    """Runs the named stages, each unless it is done.

    A stage that was finished with other settings is refused; one whose images or files changed since runs again. All
    that can be known before the first question is checked before it.

    Args:
        registry: all stages.
        settings: of the run.
        names: of the stages to run, in any order.
        redo: run them again although they are done.
        before_training: told right before the stage `distill` whether it trains; for processes that train along.

    Raises:
        ArgumentError: an unknown stage, settings that cannot be right, or a folder that was made with others.
        NotBetter: all that was to be done is, and the student is not better than before distillation.
        KdistillError: a stage failed, or another run holds the folder.
    """
    wanted = [registry[name] for name in dict.fromkeys(names)]
    if not wanted:
        raise ArgumentError(f"--stages names no stage; choose of {', '.join(registry.names)}")
    if settings.asking.dry_run and [stage.name for stage in wanted] != ["ask"] and set(names) != set(registry.defaults):
        raise ArgumentError("--dry_run says what the stage 'ask' would do; give --stages=ask with it")
    check(settings)
    wanted = [stage for stage in wanted if stage.needed(settings)]
    if not wanted:
        raise ArgumentError(f"the stage {names[0]!r} has nothing to do with these settings")
    inputs = Inputs(settings, Path(settings.run.workdir), keep=not settings.asking.dry_run)
    if registry["ask"] in wanted:
        _check_questions(settings, inputs.data)
    if any(stage.name in ("ask", "evaluate", "export") for stage in wanted):
        check_gallery(settings, len(inputs.data.gallery))
    check_callbacks(settings)
    workdir = Workdir(settings.run.workdir, create=not settings.asking.dry_run)
    if settings.asking.dry_run:
        registry["ask"].function()(settings, workdir)
        return
    with workdir.locked():
        record = Record(workdir.path, registry)
        _check_plan(registry, record, settings, inputs, wanted, workdir, redo)
        if registry["ask"] in wanted:
            # What later stages read is looked at before anything is paid for.
            for name in dict.fromkeys(name for stage in wanted for name in stage.inputs):
                inputs.digest(name)
        record.write_figures()
        record.write_flags(settings)
        for stage in registry:
            if stage not in wanted:
                continue
            if stage.hands_on and _not_better(record, settings):
                logging.warning("%s: left out, since the student is not better than before distillation", stage.name)
                record.remove(stage)  # what an earlier student left under these names goes
                continue
            _run(stage, record, settings, inputs, workdir, redo, before_training)
        tell_run_end(settings, workdir.path, record.figures())
        sentence = _not_better(record, settings)
        if sentence and any(stage.hands_on or stage.name == "evaluate" for stage in wanted):
            raise NotBetter(
                f"{sentence} Nothing was exported; --export_if_not_better hands it on all the same, and "
                f"{workdir.path / 'report.html'} shows what was measured"
            )


def _not_better(record: Record, settings: Settings) -> str:
    """Returns the verdict on a student that is not to be handed on; "" for one that is."""
    verdict = record.figures().get("verdict", {})
    if verdict.get("better") is not False or settings.export.export_if_not_better:
        return ""
    return str(verdict["sentence"])


def _check_questions(settings: Settings, data: RetrievalData) -> None:
    held_out = held_out_count(settings, len(data.gallery), data.labelled)
    check_pool(settings, len(data.pool), held_out if data.pool_is_gallery else 0)
    check_tuning(settings, held_out)


def _check_plan(
    registry: Registry,
    record: Record,
    settings: Settings,
    inputs: Inputs,
    wanted: Sequence[Stage],
    workdir: Workdir,
    redo: bool,
) -> None:
    """Raises before anything is done where a stage to run is refused, or rests on one that is neither done nor run."""
    again: set[str] = set()  # stages that run, and all that follow them
    for stage in registry:
        runs = stage in wanted
        concerned = runs or any(stage in registry.before(other.name) for other in wanted)
        if not concerned or not stage.needed(settings):
            continue
        missing = next(
            (
                file
                for file in registry.reads(stage, settings)
                if runs and not _will_be(file, registry, record, wanted, again)
            ),
            None,
        )
        if missing is not None:
            maker = registry.maker(missing).name
            state = "run" if maker not in again else "run again"
            raise ArgumentError(
                f"{workdir.path / missing} is missing or out of date; {state} the stage {maker!r} first "
                f"(--stages={maker})"
            )
        if not record.is_done(stage) or stage.name in again:
            again |= {stage.name, *(other.name for other in registry.after(stage.name))} if runs else set()
            continue
        difference = None if runs and redo else record.difference(stage, settings, inputs)
        if difference is not None and (difference.by_setting or not runs):
            raise refuse(stage, workdir.path, difference)
        if (runs and redo) or difference is not None:
            again |= {stage.name, *(other.name for other in registry.after(stage.name))}


def _will_be(file: str, registry: Registry, record: Record, wanted: Sequence[Stage], again: set[str]) -> bool:
    maker = registry.maker(file)
    return maker in wanted or (record.is_done(maker) and maker.name not in again)


def _run(
    stage: Stage,
    record: Record,
    settings: Settings,
    inputs: Inputs,
    workdir: Workdir,
    redo: bool,
    before_training: Callable[[bool], None] | None,
) -> None:
    told = before_training if stage.name == "distill" else None
    if record.is_done(stage) and not redo:
        difference = record.difference(stage, settings, inputs)
        if difference is None:
            logging.info("%s: already done in %s; nothing to do", stage.name, workdir.path)
            if told is not None:
                told(False)
            return
        if difference.by_setting:
            raise refuse(stage, workdir.path, difference)
        logging.info("%s: %s; it runs again", stage.name, difference.reason)
    logging.info("%s ...", stage.name)
    started = time.monotonic()
    record.leave_out(stage, settings)
    record.begin(stage)
    record.write_flags(settings)
    if redo:
        workdir.forget(stage.name)
    if told is not None:
        told(True)
    read = record.inputs_of(stage, inputs)
    workdir.figures = record.figures()
    inputs.forget_images()
    result = stage.function()(settings, workdir)
    record.finish(stage, settings, read, result)
    logging.info("%s: done in %.1f s", stage.name, time.monotonic() - started)
