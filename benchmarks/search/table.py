"""The race as a table and as a picture of time against bytes a row."""

from pathlib import Path
from typing import Any

from kdistill.files.whole import whole_file


def table(results: dict[str, dict[str, Any]], min_recall: float) -> str:
    """Returns Markdown: a table for each gallery, the fastest first, what misses the recall behind the others."""
    lines = []
    for name, result in results.items():
        kind, size = name.split("/")
        versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
        lines += [f"{kind}, {int(size):,} rows, {result['date']}; {versions}", ""]
        searches = result["searches"]
        columns = [(threads, batch) for threads, by_batch in searches["ours_int8"]["ms"].items() for batch in by_batch]
        heads = [f"ms for {batch}, {threads} thread{'s' * (threads != '1')}" for threads, batch in columns]
        lines += [f"| search | recall@10 | bytes a row | {' | '.join(heads)} | build s | setting |"]
        lines += ["|" + "---|" * (len(columns) + 5)]
        threads, batch = columns[0]
        ranked = sorted(
            searches.items(), key=lambda item: (item[1]["recall"] < min_recall, item[1]["ms"][threads][batch])
        )
        for search, facts in ranked:
            note = "" if facts["recall"] >= min_recall else " (not ranked)"
            times = " | ".join(f"{facts['ms'][threads][batch]:.3g}" for threads, batch in columns)
            setting = "" if facts["setting"] is None else facts["setting"]
            lines.append(
                f"| {search}{note} | {facts['recall']:.4f} | {facts['bytes_a_row']:.0f} | {times} "
                f"| {facts['build_seconds']:.1f} | {setting} |"
            )
        lines.append("")
        lines += [f"{peer}: {reason}." for peer, reason in result["absent"].items()]
        lines += [""] * bool(result["absent"])
    return "\n".join(lines)


def draw(results: dict[str, dict[str, Any]], min_recall: float, path: Path) -> None:
    """Draws milliseconds of one query on one thread over bytes a row, a panel a gallery; hollow: below the recall."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(3, len(results))
    rows = -(-len(results) // columns)
    figure, panels = pyplot.subplots(rows, columns, figsize=(5.2 * columns, 4.2 * rows), squeeze=False)
    for panel in panels.flat[len(results) :]:
        panel.axis("off")
    for panel, (name, result) in zip(panels.flat, results.items(), strict=False):
        for search, facts in result["searches"].items():
            first = next(iter(facts["ms"].values()))
            point = facts["bytes_a_row"], first["1"]
            colour = "tab:red" if search.startswith("ours") else "tab:blue"
            face = colour if facts["recall"] >= min_recall else "none"
            panel.scatter(*point, edgecolors=colour, facecolors=face, s=24)
            panel.annotate(search.removeprefix("faiss_"), point, fontsize=6, xytext=(3, 2), textcoords="offset points")
        panel.set(xscale="log", yscale="log", xlabel="bytes a row", ylabel="ms a query", title=name)
    figure.tight_layout()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
