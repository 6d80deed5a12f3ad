"""The images of a run, as its settings name them; nothing is read yet and TensorFlow is not needed."""

from kdistill.data import RetrievalData
from kdistill.data.layouts.sources import open_data
from kdistill.settings import Settings


def data_of(settings: Settings) -> RetrievalData:
    """Opens the run's data."""
    data = settings.data
    return open_data(
        data.dataset,
        data_dir=data.data_dir,
        pool_file=data.pool_file,
        gallery_file=data.gallery_file,
        query_file=data.query_file,
        val_file=data.val_file,
        gnd_file=data.gnd_file,
        pool_dir=data.pool_dir,
        distractor_dir=data.distractor_dir,
        max_megapixels=data.max_megapixels,
        seed=settings.run.seed,
    )
