"""Which row may be ranked against which: anchors, gallery, mixtures and their parents, stored rows."""

import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.facts.joint_space import BANK_ROLES, ROLES


def pair_mask(
    parents: tf.Tensor,
    batch: int | tf.Tensor,
    *,
    anchors: str = "originals",
    gallery: str = "both",
    rank_parents: bool = False,
    bank: tf.Tensor | None = None,
    bank_role: str = "gallery",
) -> tf.Tensor:
    """Returns bool [A, G]: whether anchor row a is to rank gallery row g.

    Rows are those of the joint space: B originals, M mixtures, then K stored rows when there is a bank. G counts all
    of them. A counts only up to the last row that can be an anchor (B for anchors="originals"), so that losses
    compute A x G similarities and no more: the first A rows are the anchors.

    No row ranks itself, no mixture without parents is ranked, and two stored rows never meet (neither has a gradient).

    Args:
        parents: int32 [M, 2], of JointSpaceInterpolation; -1 marks a mixture that does not exist.
        batch: B.
        anchors: which rows do the ranking: "originals", "mixtures" or "both".
        gallery: which rows are ranked: "originals", "mixtures" or "both".
        rank_parents: let a mixture be ranked against its own parents, in either direction. Their order follows from λ
            alone, so it teaches nothing about images (our reading).
        bank: bool [B, K], `fresh` of EmbeddingBank. A mixture does not meet stored copies of its parents.
        bank_role: whether stored rows are "gallery", "anchors" or "both".

    Raises:
        ArgumentError: an unknown name.
    """
    for name, value in (("anchors", anchors), ("gallery", gallery)):
        if value not in ROLES:
            raise ArgumentError(f"{name} {value!r} is unknown; choose one of {', '.join(ROLES)}")
    if bank_role not in BANK_ROLES:
        raise ArgumentError(f"the bank's role {bank_role!r} is unknown; choose one of {', '.join(BANK_ROLES)}")
    mixtures = tf.shape(parents)[0]
    exists = parents[:, 0] >= 0
    # bool [M, B]: row b is a parent of mixture m.
    descends = tf.reduce_any(tf.range(batch)[None, None, :] == parents[:, :, None], axis=1)
    unrelated = tf.fill(tf.shape(descends), True) if rank_parents else ~descends
    unrelated &= exists[:, None]
    distinct = ~tf.eye(batch, dtype=tf.bool)
    distinct_mixtures = ~tf.eye(mixtures, dtype=tf.bool) & exists[:, None] & exists[None, :]

    original_anchor, mixture_anchor = anchors != "mixtures", anchors != "originals"
    original_gallery, mixture_gallery = gallery != "mixtures", gallery != "originals"
    original_rows = [distinct & original_gallery, tf.transpose(unrelated) & mixture_gallery]
    mixture_rows = [unrelated & original_gallery, distinct_mixtures & mixture_gallery]
    bank_rows = []
    if bank is not None:
        # A stored row is fresh to a mixture when it is to both parents; parents that are -1 do not exist anyway.
        stale = tf.cast(~bank, tf.float32)
        fresh_to_mixture = (tf.matmul(tf.cast(descends, tf.float32), stale) < 0.5) & exists[:, None]
        stored_gallery = bank_role != "anchors"
        original_rows.append(bank & stored_gallery)
        mixture_rows.append(fresh_to_mixture & stored_gallery)
        size = tf.shape(bank)[1]
        bank_rows = [
            tf.transpose(bank) & original_gallery,
            tf.transpose(fresh_to_mixture) & mixture_gallery,
            tf.zeros((size, size), tf.bool),
        ]

    blocks = [tf.concat(original_rows, 1) & original_anchor]
    bank_anchors = bank is not None and bank_role != "gallery"
    if mixture_anchor or bank_anchors:
        blocks.append(tf.concat(mixture_rows, 1) & mixture_anchor)
    if bank_anchors:
        blocks.append(tf.concat(bank_rows, 1))
    return tf.concat(blocks, 0)
