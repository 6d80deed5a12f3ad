"""The stage `web`: the search page of a run in its folder `site`."""

import contextlib
import os

from absl import logging

from export.web.build import build_site
from kdistill.settings import Settings
from kdistill.stages.stage import Result
from kdistill.stages.workdir import Workdir


def web(settings: Settings, workdir: Workdir) -> Result:
    """Builds `site/` in the run's folder.

    Raises:
        ArgumentError: the stage `evaluate` was not run.
        KdistillError: npm is missing or a file cannot be made.
    """
    site = workdir.path / "site"
    # Of a site that runs again the record has removed the files; folders alone are no site.
    for folder, _, _ in os.walk(site, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    build_site(workdir.path, site, data_dir=settings.data.data_dir)
    logging.info("wrote %s; look at it with: python -m http.server --directory %s", site, site)
    return Result(made=sorted(file for file in site.rglob("*") if file.is_file()))
