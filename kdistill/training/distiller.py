"""The trainer: a Keras model whose `train_step` teaches the student to rank in the joint space.

One class and long, since Keras wants compiling, the steps, metrics and both directions of saving in one place.
"""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from kdistill import losses, stacks
from kdistill.errors import ArgumentError
from kdistill.facts.joint_space import JOINT_SPACES
from kdistill.layers.bank import EmbeddingBank
from kdistill.layers.interpolation import JointSpaceInterpolation
from kdistill.layers.numbers import is_count, numbers_of, numbers_of_labels
from kdistill.layers.pairs import pair_mask
from kdistill.training import optimizers
from kdistill.training.batches import as_labels, as_vectors, check_arrays, parts_of, vector_dim
from kdistill.training.distribution import gather_rows


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How `compile` was told to run the steps."""

    run_eagerly: bool
    steps_per_execution: int
    jit_compile: bool


@keras.saving.register_keras_serializable(package="kdistill")
class Distiller(keras.Model):
    """Distils a teacher's embeddings into a student with `model.fit(images, teacher_embeddings)`.

    The teacher is not called here: its answers [n, Dt], of any type of number, are the targets. Each step embeds a
    batch, mixes rows of both spaces with the same (i, j, λ), and lets the loss compare the two rankings over the joint
    rows. What is shipped is `distiller.student`, never the distiller.

    Targets may also be `(teacher_embeddings, ids)` with an integer for each image, by which the bank knows it again;
    without, equal vectors are taken for the same image. `evaluate` gives the same loss each time and changes nothing.

    Under a `tf.distribute` strategy (docs/distributed.md) each replica embeds its part of the global batch.

    Source: Laskar & Kannala, ACCV 2020 (arXiv 2007.05299); the ranking form, the mask and the bank are our reading.

    Examples:
        >>> distiller = Distiller(student, interpolation=JointSpaceInterpolation(64), bank=EmbeddingBank(1024))
        >>> distiller.compile(keras.optimizers.Adam(5e-4), loss="softmax_ranking")
        >>> distiller.fit(images, teacher_embeddings, batch_size=32, epochs=20)
    """

    def __init__(
        self,
        student: keras.Model,
        interpolation: JointSpaceInterpolation | None = None,
        bank: EmbeddingBank | None = None,
        anchors: str = "originals",
        rank_against: str = "both",
        rank_parents: bool = False,
        projection_dim: int | None = None,
        joint_space: str = "global",
        **kwargs: Any,
    ) -> None:
        """Holds the student and the parts of the joint space.

        Args:
            student: uint8 or float [B, H, W, 3] -> float32 [B, Ds].
            interpolation: makes the M mixtures; None trains on the original rows only. Labels cannot be mixed.
            bank: keeps past rows of the training as more to rank against, for losses that rank over the joint space
                (`joint`) or take past rows without mixtures (`banks`); None keeps none. With labels as targets it needs
                ids, since two images may have the same label.
            anchors: the rows that rank: "originals", "mixtures" or "both".
            rank_against: the rows that are ranked: "originals", "mixtures" or "both".
            rank_parents: whether a mixture and its own two parents may be ranked against each other.
            projection_dim: Dt for losses that need equal dimensions: a linear layer, dropped after training, maps the
                student's embedding to it. None for all others.
            joint_space: under several replicas, "global" ranks over the rows of all of them, so that loss and gradient
                are those of one process with the global batch; "replica" over each replica's own rows, another and
                cheaper objective. Without a strategy both are the same.
            **kwargs: of keras.Model.

        Raises:
            ArgumentError: an unknown joint space, a student that is no model with one output, or a projection of no
                whole number of dimensions.
        """
        super().__init__(**kwargs)
        if not isinstance(student, keras.layers.Layer) or len(stacks.listed(getattr(student, "outputs", [0]))) != 1:
            raise ArgumentError(f"the student must be a Keras model with one output; {student!r} was given")
        if projection_dim is not None and not is_count(projection_dim):
            raise ArgumentError(f"the projection's dimension must be a whole number above 0; it is {projection_dim!r}")
        if joint_space not in JOINT_SPACES:
            raise ArgumentError(f"joint space {joint_space!r} is unknown; choose one of {', '.join(JOINT_SPACES)}")
        self.joint_space = joint_space
        self.student = student
        self.interpolation = interpolation
        self.bank = bank
        self.anchors = anchors
        self.rank_against = rank_against
        self.rank_parents = rank_parents
        self.projection_dim = projection_dim
        self.projection = None
        if projection_dim is not None:
            self.projection = keras.layers.Dense(projection_dim, name="to_teacher", dtype="float32")
            self.projection.build((None, student.output_shape[-1]))
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.built = True

    def build_joint_space(self, teacher_dim: int | None) -> None:
        """Creates the weights of interpolation and bank, which otherwise come with the first batch.

        Needed in a strategy's scope: a replica's step must not create variables.

        Args:
            teacher_dim: Dt; None where the targets are labels.
        """
        targets = (None,) if teacher_dim is None else (None, teacher_dim)
        shapes = (None, self.projection_dim or self.student.output_shape[-1]), targets
        for part in (self.interpolation, self.bank):
            if part is not None and not part.built:
                part.build(shapes)

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = "softmax_ranking",
        *,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """Sets the optimizer and the loss, as `keras.Model.compile` does.

        Args:
            optimizer: a Keras optimizer or its name.
            loss: a name known to `losses.get`, one of our losses, or any Keras loss on (targets, embeddings).
            loss_weights: not supported.
            metrics: not supported: `kdistill.training.callbacks.RetrievalEvaluation` measures what counts.
            weighted_metrics: not supported.
            run_eagerly: run each step without a graph, for debugging.
            steps_per_execution: steps in one call of TensorFlow; callbacks see every so manieth step.
            jit_compile: off unless asked for: on CPUs XLA's convolutions were seven times slower than TensorFlow's own.
            **kwargs: of keras.Model.compile.

        Raises:
            ArgumentError: an argument that is not supported, an unknown loss, or something that is none.
        """
        refused = {"loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        for name, value in refused.items():
            if value:
                raise ArgumentError(
                    f"a distiller has one loss and takes no {name}; RetrievalEvaluation measures the student's quality"
                )
        ranking_loss = losses.get(loss) if isinstance(loss, str) else loss
        if not callable(ranking_loss):
            raise ArgumentError(f"a loss is a name or a Keras loss on (targets, embeddings); {loss!r} was given")
        if self.interpolation is not None and getattr(ranking_loss, "needs_labels", False):
            raise ArgumentError(
                f"{ranking_loss.name} learns from class labels, which cannot be mixed; leave out mixtures"
            )
        if self.interpolation is not None and self.bank is not None and getattr(ranking_loss, "banks", False):
            raise ArgumentError(f"{ranking_loss.name} ranks past rows but no mixtures; leave out mixtures or the bank")
        if steps_per_execution is not None and not is_count(steps_per_execution):
            raise ArgumentError(f"steps_per_execution must be a whole number above 0; it is {steps_per_execution!r}")
        self.run_options = RunOptions(bool(run_eagerly), int(steps_per_execution or 1), jit_compile)
        super().compile(optimizer=optimizer, **dataclasses.asdict(self.run_options), **kwargs)
        self.ranking_loss = ranking_loss

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns the arguments of `compile`, serialised; None before it was called."""
        if not hasattr(self, "ranking_loss"):
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            "loss": serialize(self.ranking_loss),
            # Beside its step and rate an optimizer has variables only after the first step of a training.
            "trained": len(list(self.optimizer.variables)) > 2,
            **dataclasses.asdict(self.run_options),
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a distiller that is being loaded; the state of its optimizer is loaded after that."""
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        trained = config.pop("trained", True)
        parts = {name: deserialize(config[name]) for name in ("optimizer", "loss")}
        self.compile(**{**config, **parts})
        if trained:
            optimizers.create_variables(self.optimizer, self.trainable_variables)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does.

        Raises:
            ArgumentError: sample or class weights, or targets that the loss cannot learn from.
        """
        validation = kwargs.get("validation_data")
        for targets in (_targets(args, kwargs), validation[1] if isinstance(validation, tuple) else None):
            check_arrays(targets)
        with stacks.own_errors():
            self._create_variables(vector_dim(args[0] if args else kwargs.get("x"), _targets(args, kwargs)))
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what `keras.Model.evaluate` does; refuses what `fit` refuses."""
        check_arrays(_targets(args, kwargs))
        with stacks.own_errors():
            return super().evaluate(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.train_on_batch` does; refuses what `fit` refuses."""
        check_arrays(_targets(args, kwargs))
        with stacks.own_errors():
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what `keras.Model.test_on_batch` does; refuses what `fit` refuses."""
        check_arrays(_targets(args, kwargs))
        with stacks.own_errors():
            return super().test_on_batch(*args, **kwargs)

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the student's embeddings, float32 [B, Ds]."""
        return self.student(images, training=training)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running mean of the loss, reset by Keras at each epoch."""
        return [self.loss_tracker]

    def joint_loss(
        self, targets: tf.Tensor, embeddings: tf.Tensor, training: bool = False, ids: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the scalar float32 loss of a batch.

        Args:
            targets: the teacher's vectors [B, Dt], or labels int [B] for losses that need labels.
            embeddings: the student's [B, Ds].
            training: whether the bank takes part and takes these rows in, and the mixtures are new ones.
            ids: integers [B], the numbers of the images; None takes equal vectors for the same image.

        Raises:
            ArgumentError: targets that the loss cannot learn from, or labels without ids where a bank takes part.
        """
        targets = self._checked(tf.convert_to_tensor(targets))
        embeddings = tf.cast(embeddings, tf.float32)
        if self.projection is not None:
            embeddings = self.projection(embeddings)
        joint = getattr(self.ranking_loss, "joint", False)
        shared = self.joint_space == "global"
        bank = self.bank if self._takes_bank() and training else None
        everywhere: tuple[tf.Tensor, ...] = (embeddings, targets)
        if bank is not None:
            if ids is None and getattr(self.ranking_loss, "needs_labels", False):
                raise ArgumentError(
                    f"{self.ranking_loss.name} learns from labels, by which a bank cannot tell one image from another; "
                    "give (labels, ids) as targets, or leave out the bank"
                )
            everywhere += (numbers_of(targets) if ids is None else tf.cast(tf.reshape(ids, [-1]), tf.int64),)
        own = everywhere
        if shared or bank is not None:
            everywhere = tuple(gather_rows(rows) for rows in own)
        if shared:
            own = everywhere
        embeddings, targets = own[:2]
        rows, answers, parents = embeddings, targets, tf.zeros((0, 2), tf.int32)
        if self.interpolation is not None:
            rows, answers, parents = self.interpolation((embeddings, targets), shared=shared, evaluating=not training)
        if not joint and bank is None:
            # Ours give the mean themselves; Keras 2 refuses to take it under a strategy.
            ours = isinstance(self.ranking_loss, losses.DistillationLoss)
            return self.ranking_loss.call(answers, rows) if ours else tf.reduce_mean(self.ranking_loss(answers, rows))
        fresh = None
        if bank is not None:
            # It stores the rows of all replicas, so that it holds the same everywhere.
            past_rows, past_answers, fresh = bank((embeddings, targets), ids=own[2], store=everywhere)
            rows, answers = tf.concat([rows, past_rows], 0), tf.concat([answers, past_answers], 0)
        mask = pair_mask(
            parents,
            tf.shape(embeddings)[0],
            # Which of originals and mixtures rank and are ranked: only joint losses have both.
            anchors=self.anchors if joint else "originals",
            gallery=self.rank_against if joint else "both",
            rank_parents=self.rank_parents,
            bank=fresh,
        )
        if getattr(self.ranking_loss, "across", False):
            sizes = {"originals": tf.shape(embeddings)[0], "mixtures": tf.shape(parents)[0]}
            return self.ranking_loss.call(answers, rows, mask=mask, **sizes)
        return self.ranking_loss.call(answers, rows, mask=mask)

    def _create_variables(self, teacher_dim: int | None) -> None:
        """Creates what the first step would: TensorFlow traces a step that creates variables twice.

        Args:
            teacher_dim: Dt; None where only the first batch will tell.
        """
        with self.distribute_strategy.scope():
            if teacher_dim is not None and not getattr(self.ranking_loss, "needs_labels", False):
                self.build_joint_space(teacher_dim)
            optimizers.create_variables(self.optimizer, self.trainable_variables)

    def _takes_bank(self) -> bool:
        """Says whether there is a bank whose rows the loss takes."""
        return self.bank is not None and any(getattr(self.ranking_loss, name, False) for name in ("joint", "banks"))

    def _checked(self, targets: tf.Tensor) -> tf.Tensor:
        """Returns the targets as the loss takes them: vectors as float32, labels as they are or as numbers."""
        name = getattr(self.ranking_loss, "name", None) or "the loss"
        if getattr(self.ranking_loss, "needs_labels", False):
            targets = as_labels(targets, name)
            if not self._takes_bank():
                return targets
            with tf.init_scope():
                self.build_joint_space(None)
            return numbers_of_labels(targets)
        if getattr(self.ranking_loss, "joint", False) or self.interpolation is not None or self._takes_bank():
            targets = as_vectors(targets, name)
            with tf.init_scope():  # also inside a loop in a graph, where no variable can be created
                self.build_joint_space(int(targets.shape[-1]))
            return targets
        return tf.cast(targets, tf.float32) if targets.dtype.is_floating else targets

    def batch_loss(self, data: Any) -> tf.Tensor:
        """Returns the scalar float32 loss of a batch (`parts_of`) in training: forward, interpolate, rank."""
        images, targets, ids = parts_of(data)
        return self.joint_loss(targets, self.student(images, training=True), training=True, ids=ids)

    def gradients_of(self, data: Any) -> tuple[tf.Tensor, list[Any], list[Any]]:
        """Returns the loss with the student's own, its gradients, and the variables that they belong to."""
        with tf.GradientTape() as tape:
            loss = self.batch_loss(data) + sum(self.student.losses)
            # Optimizers sum over replicas; the mean is wanted.
            objective = stacks.scaled(loss / tf.distribute.get_strategy().num_replicas_in_sync, self.optimizer)
        variables = self.trainable_variables
        return loss, stacks.unscaled(tape.gradient(objective, variables), self.optimizer), variables

    def update_step(self, data: Any) -> tf.Tensor:
        """One step, also of a replica: gradients and update. Returns the loss."""
        loss, gradients, variables = self.gradients_of(data)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of `fit`: `update_step` and the running mean of its loss."""
        self.loss_tracker.update_state(self.update_step(data))
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The loss on `validation_data`, without the bank and with the same draws for each batch; changes no state."""
        images, targets, _ = parts_of(data)
        self.loss_tracker.update_state(self.joint_loss(targets, self.student(images, training=False)))
        return {metric.name: metric.result() for metric in self.metrics}

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`, layers serialised."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "student": serialize(self.student),
            "interpolation": None if self.interpolation is None else serialize(self.interpolation),
            "bank": None if self.bank is None else serialize(self.bank),
            "anchors": self.anchors,
            "rank_against": self.rank_against,
            "rank_parents": self.rank_parents,
            "projection_dim": self.projection_dim,
            "joint_space": self.joint_space,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Distiller":
        """Rebuilds a distiller from `get_config`."""
        config = dict(config)
        for part in ("student", "interpolation", "bank"):
            if config[part] is not None:
                config[part] = keras.saving.deserialize_keras_object(config[part], custom_objects=custom_objects)
        return cls(**config)


def _targets(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns the targets among the arguments of `fit` and its like."""
    return kwargs.get("y", args[1] if len(args) > 1 else None)
