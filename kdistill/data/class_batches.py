"""Batches of several images a class (P classes x K images), for losses that learn from labels."""

import collections

import numpy as np

from kdistill.errors import ArgumentError


class ClassBatches:
    """How the images of one pass are put into batches of K images a class.

    Each class is cut into groups of K images in an order of its own; what is left over waits for another pass, whose
    orders are others. A class of fewer than K images is one smaller group. A batch takes groups of different classes in
    a random order, those that fit, before others those of which every batch that is left needs one: P classes with K
    images each where all classes have as many. Only where nothing else is left does a class stand in a batch with two
    groups, or a group stand in two batches.

    Attributes:
        batch_size: B, no larger than the number of images that a pass has.
        steps_a_pass: how many batches a pass has; what does not fill the last one is left out.
    """

    def __init__(self, labels: np.ndarray, images_a_class: int, batch_size: int) -> None:
        """Counts.

        Args:
            labels: [n], of every image.
            images_a_class: K.
            batch_size: B where there are as many images.

        Raises:
            ArgumentError: no labels, a K below 1, or a B that is no multiple of K.
        """
        if isinstance(images_a_class, bool) or not isinstance(images_a_class, int) or images_a_class < 1:
            raise ArgumentError(f"images a class are a whole number of at least 1; {images_a_class!r} was given")
        if np.ndim(labels) != 1 or not len(labels):
            raise ArgumentError(f"labels are one for each image; an array of shape {list(np.shape(labels))} was given")
        if batch_size % images_a_class:
            raise ArgumentError(f"a batch of {batch_size} images cannot be cut into classes of {images_a_class} images")
        _, self._classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        self._images_a_class = images_a_class
        self._used = np.where(counts < images_a_class, counts, counts - counts % images_a_class)
        self.batch_size = min(batch_size, int(self._used.sum()))
        self.steps_a_pass = int(self._used.sum()) // self.batch_size

    def rows_of_pass(self, random: np.random.Generator) -> np.ndarray:
        """Returns int64 [steps_a_pass · B], the places of the images of a pass, batch by batch; none stands twice."""
        groups = []
        for number, used in enumerate(self._used):
            members = random.permutation(np.flatnonzero(self._classes == number))[:used]
            groups += np.split(members, range(self._images_a_class, used, self._images_a_class))
        waiting = [groups[place] for place in random.permutation(len(groups))]
        batches = []
        for left in range(self.steps_a_pass, 0, -1):
            batch, waiting = self._filled(waiting, left)
            batches.append(batch)
        return np.concatenate(batches)

    def _filled(self, waiting: list[np.ndarray], batches: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Returns int64 [B], the first groups that fit together, and those that wait for the batches after this one."""
        many = collections.Counter(self._class_of(group) for group in waiting)
        waiting = sorted(waiting, key=lambda group: many[self._class_of(group)] < batches)
        taken: list[np.ndarray] = []
        inside: set[int] = set()
        room = self.batch_size
        # First groups of classes that are not in the batch yet, then of any class, then a part of a group.
        for repeated in (False, True):
            left = []
            for group in waiting:
                own = self._class_of(group)
                if len(group) <= room and (repeated or own not in inside):
                    taken.append(group)
                    inside.add(own)
                    room -= len(group)
                else:
                    left.append(group)
            waiting = left
        if room:
            taken.append(waiting[0][:room])
            waiting = [waiting[0][room:], *waiting[1:]]
        return np.concatenate(taken), waiting

    def _class_of(self, group: np.ndarray) -> int:
        return int(self._classes[group[0]])
