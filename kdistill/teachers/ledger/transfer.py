"""A ledger as a table, and back; and a check of every row.

The table is an `.npz` with, for n answers: `ids` (str), `contents` (str, hash of the image), `embeddings`
(float32 [n, Dt]), `accounts` (str, who paid; tables of earlier versions have none), and the strings `teacher` and
`view`. With `ids` and `embeddings` it is also a table that `open_teacher` reads.
"""

import zlib
from pathlib import Path

import numpy as np

from kdistill.errors import KdistillError
from kdistill.files.archives import check_archive, texts
from kdistill.files.whole import whole_file
from kdistill.teachers.ledger.ledger import Ledger
from kdistill.teachers.ledger.records import ANSWERED, BAD, IN_FLIGHT, LEARNING, UNKNOWN, Question

_ARRAYS = ("ids", "contents", "embeddings", "teacher", "view")


def export_table(ledger: Ledger, path: Path) -> int:
    """Writes all answers, sorted by id, and returns their number; the file appears whole or not at all.

    Raises:
        KdistillError: there is no answer, one is damaged, or the file cannot be written.
    """
    summary = ledger.summary()
    asked = sorted((row.name, row.content, row.account) for row in ledger.rows() if row.state == ANSWERED)
    if not asked:
        raise KdistillError(f"the ledger {ledger.path} has no answers to export")
    answers = ledger.answers(content for _, content, _ in asked)
    with whole_file(path) as unfinished, open(unfinished, "wb") as file:
        np.savez(
            file,
            ids=np.array([name for name, _, _ in asked]),
            contents=np.array([content for _, content, _ in asked]),
            accounts=np.array([account for _, _, account in asked]),
            embeddings=np.stack([answers[content] for _, content, _ in asked]),
            teacher=np.array(summary.teacher),
            view=np.array(summary.view),
        )
    return len(asked)


def import_table(ledger: Ledger, path: Path) -> int:
    """Reads a table that `export_table` wrote; returns how many answers were new.

    Imported answers count nothing against this ledger's budget: they were paid for elsewhere.

    Raises:
        KdistillError: not such a table, of another teacher, view or dimension than the ledger, or with bad rows
            (nothing is imported then).
    """
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as file:
            missing = set(_ARRAYS) - set(file.files)
            if missing:
                raise KdistillError(
                    f"{path} is not an exported ledger: it has no {' and no '.join(sorted(missing))}; "
                    "give a plain table of vectors as the teacher instead"
                )
            ids, contents, embeddings, teacher, view = (file[name] for name in _ARRAYS)
            accounts = file["accounts"] if "accounts" in file.files else np.full(ids.shape, LEARNING)
    except KdistillError:
        raise
    # numpy and zipfile raise many kinds of errors on damaged files; each means the same to the user.
    except Exception as error:
        raise KdistillError(f"the table {path} cannot be read: {error}") from error
    whole = embeddings.ndim == 2 and ids.shape == contents.shape == accounts.shape == embeddings.shape[:1]
    if not whole or embeddings.dtype.kind not in "fiu" or not np.isfinite(embeddings).all():
        raise KdistillError(f"the table {path} is damaged: its rows do not belong together or are not finite")
    asked = [Question(content, name) for content, name in zip(texts(contents), texts(ids), strict=True)]
    ledger.bind(str(teacher), str(view), int(embeddings.shape[1]))
    return ledger.add_paid_elsewhere(asked, embeddings, texts(accounts))


def verify(ledger: Ledger) -> list[str]:
    """Returns a sentence for each thing that is wrong with the ledger; empty when every row is sound."""
    faults = ledger.file_faults()
    summary = ledger.summary()
    asked = 0
    for row in ledger.rows():
        if not isinstance(row.asked, int):
            faults.append(f"{row.name!r}: counted {row.asked!r} times")
            continue
        asked += row.asked
        if row.state not in (ANSWERED, BAD, IN_FLIGHT, UNKNOWN):
            faults.append(f"{row.name!r}: unknown state {row.state!r}")
        elif row.asked < 0 or (row.asked == 0 and row.state != ANSWERED):
            faults.append(f"{row.name!r}: {row.state}, but counted {row.asked} times")
        if row.view != summary.view:
            faults.append(f"{row.name!r}: of the view {row.view!r}")
        if row.state != ANSWERED:
            continue
        if row.embedding is None or len(row.embedding) != 4 * (summary.dimension or 0):
            faults.append(f"{row.name!r}: the answer does not have {summary.dimension} numbers")
        elif zlib.crc32(row.embedding) != row.checksum:
            faults.append(f"{row.name!r}: the answer differs from its checksum")
        elif not np.isfinite(np.frombuffer(row.embedding, "<f4")).all():
            faults.append(f"{row.name!r}: the answer is not finite")
    if asked != summary.spent:
        faults.append(f"the ledger says that {summary.spent} was spent, but its rows add up to {asked}")
    paid = sum(part.spent for part in summary.accounts.values())
    if paid != summary.spent:
        faults.append(f"the ledger says that {summary.spent} was spent, but its accounts add up to {paid}")
    return faults
