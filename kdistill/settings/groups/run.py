"""Settings of the run as a whole."""

import dataclasses

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Where a run lies and what it starts from."""

    workdir: str = setting(
        "runs/quickstart", "Folder of the run; everything that it makes lies there.", common=True, decides=False
    )
    seed: int = setting(
        0, "Seed of the choice of questions, of training and of the embedded data's split; of any size.", low=0,
        common=True,
    )  # fmt: skip
    strict: bool = setting(
        False, "Stop at the first unreadable image or bad answer instead of skipping it.", decides=False
    )
    cache_gb: float = setting(
        20.0,
        "GB (10^9 bytes) of the work folder that decoded photos of the pool may take, where they have no room in "
        "--max_memory_mb; 0 to decode them anew each time.",
        low=0, high=1e6, decides=False,
    )  # fmt: skip

    @property
    def small_seed(self) -> int:
        """The seed in 31 bits, for Keras and TensorFlow; a larger one is folded."""
        seed = self.seed
        while seed >= 2**31:
            seed = (seed >> 31) ^ (seed & (2**31 - 1))
        return seed
