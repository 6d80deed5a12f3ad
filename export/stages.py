"""The stages of deployment."""

from kdistill.stages.stage import Stage

EXPORT = Stage(
    "export",
    "writes the student and the retriever as files and checks each against the student",
    "export.stage:export_run",
    groups=("export",),
    inputs=("gallery", "queries", "pool"),
    reads=("student.keras", "gallery.npz"),
    makes=("card.json",),
    follows=("evaluate",),
    hands_on=True,
)

BENCHMARK = Stage(
    "benchmark",
    "measures latency and memory of every file",
    "export.measure.stage:measure_run",
    groups=("measuring",),
    inputs=("teacher",),
    reads=("student.keras", "card.json"),
    follows=("export",),
    hands_on=True,
)

WEB = Stage(
    "web",
    "writes the search page; it needs npm, so it is asked for by name",
    "export.web.stage:web",
    groups=(),
    inputs=("gallery", "queries"),
    reads=("student.keras", "gallery.npz"),
    follows=("evaluate",),
    default=False,
    hands_on=True,
)

DEPLOYMENT_STAGES = (EXPORT, BENCHMARK, WEB)
