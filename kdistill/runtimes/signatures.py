"""Which signature of a SavedModel or TFLite file is run."""

from collections.abc import Mapping, Sequence


def choose_signature(
    signatures: Mapping[str, Sequence[str]], output: str | None, usual: Sequence[str]
) -> tuple[str | None, str | None, str]:
    """Returns (signature, name of the wanted output within it, "SIGNATURE:" where it is not the one taken unasked).

    `SIGNATURE:NAME` names both, `SIGNATURE:` (or a name that is a signature's and no output's) the signature alone, and
    an output's name the only signature that has it. Otherwise the first of the usual names counts, or the only one.

    Args:
        signatures: name -> names of its outputs.
        output: what the caller wants, or None.
        usual: names of signatures, the first of which that is there counts.

    Returns:
        None as the signature where there is none, or several of which none is known.
    """
    known = [key for key in usual if key in signatures]
    if not known and len(signatures) == 1:
        known = list(signatures)
    unasked = known[0] if known else None
    if output is None:
        return unasked, None, ""
    key, wanted = _named(signatures, output)
    if key is None or key == unasked:
        return unasked, wanted, ""
    return key, wanted, f"{key}:"


def _named(signatures: Mapping[str, Sequence[str]], output: str) -> tuple[str | None, str | None]:
    key, colon, name = output.partition(":")
    if colon and key in signatures:
        return key, name or None
    having = [key for key, names in signatures.items() if output in names]
    if output in signatures and not having:
        return output, None
    return (having[0] if len(having) == 1 else None), output
