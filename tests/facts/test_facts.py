"""What is said without TensorFlow is what the rooms do: signatures, defaults, needs, widths and sizes."""

import inspect
import subprocess
import sys

import keras
import pytest

from kdistill import losses, students
from kdistill.errors import ArgumentError
from kdistill.facts import losses as loss_facts
from kdistill.facts import students as student_facts
from kdistill.facts.options import Option
from kdistill.preferences.losses import ListMLEOfOrders, list_mle_of_orders
from kdistill.training import optimizers


def test_no_fact_imports_tensorflow_or_keras():
    script = (
        "import pkgutil, importlib, sys, kdistill.facts as facts\n"
        "for module in pkgutil.iter_modules(facts.__path__):\n"
        "    importlib.import_module(f'kdistill.facts.{module.name}')\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'scipy'} & set(sys.modules)\n"
        "assert 'kdistill.facts.losses' in sys.modules and not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


CLASSES = {**{name: type(losses.get(name)) for name in losses.names()}, loss_facts.ORDERS: ListMLEOfOrders}
FUNCTIONS = {name: kind.function for name, kind in CLASSES.items()}


def test_every_loss_has_facts_and_every_fact_a_loss():
    assert losses.names() == tuple(loss_facts.LOSSES)
    assert {name: kind.known_as for name, kind in CLASSES.items()} == {name: name for name in CLASSES}
    assert FUNCTIONS[loss_facts.ORDERS] is list_mle_of_orders


@pytest.mark.parametrize("name", CLASSES)
def test_options_are_those_of_the_signatures(name):
    options = {option.name: option.default for option in loss_facts.facts_of(name).options}
    for taken in (CLASSES[name].__init__, FUNCTIONS[name]):
        signature = inspect.signature(taken).parameters.values()
        own = {
            p.name: p.default for p in signature if p.name not in ("self", "name", "kwargs", "y_true", "y_pred", "mask")
        }
        own_of_class = {key: value for key, value in own.items() if key in options}
        assert own_of_class == options
        assert taken is FUNCTIONS[name] or own == options


@pytest.mark.parametrize("name", losses.names())
def test_the_loss_says_of_itself_what_the_facts_say(name):
    facts = loss_facts.LOSSES[name]
    loss = losses.get(name)
    assert (loss.joint, loss.needs_labels, loss.needs_equal_dims) == (
        facts.joint,
        facts.needs_labels,
        facts.needs_equal_dims,
    )


def test_an_option_comes_back_as_a_plain_value_of_its_kind():
    values = loss_facts.checked_options("darkrank", {"alpha": 2, "top_k": 5})
    assert values == {"alpha": 2.0, "beta": 3.0, "top_k": 5, "form": "hard"}
    assert [type(value) for value in values.values()] == [float, float, int, str]


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        (Option("x", 1.0, above=0), [0.1, 3], [0, -1, "1", None, float("nan"), float("inf"), True]),
        (Option("x", 1.0, least=0), [0, 0.5], [-0.1, [1]]),
        (Option("x", 2, least=1, most=3), [1, 3], [0, 4, 2.0, "2", False]),
        (Option("x", True), [True, False], [1, 0, "true", None]),
        (Option("x", "a", choices=("a", "b")), ["a", "b"], ["c", "", 1, None]),
    ],
)
def test_bounds_and_kinds(option, good, bad):
    assert [option.checked(value) for value in good] == good
    for value in bad:
        with pytest.raises(ArgumentError, match=r"^x "):
            option.checked(value)


def test_every_optimizer_is_a_class_of_keras():
    for name in optimizers.names():
        assert isinstance(optimizers.get(name, 0.1), keras.optimizers.Optimizer)


WIDTHS = {
    # backbone: widths taken without weights, widths refused without weights, widths refused with imagenet
    "small_cnn": ([0.01, 0.5, 2.0], [0, -1, float("nan"), float("inf")], [0.5, 1.0]),
    "mobilenet_v1": ([0.03125, 1.0, 1.7], [0.03, 0], [0.35, 1.3, 1.001]),
    "mobilenet_v2": ([0.1, 1.7], [0, -0.35], [0.25, 0.7]),
    "mobilenet_v3_small": ([0.25, 0.5, 1.5], [0], [0.25, 0.5, 1.5]),
    "resnet50_v2": ([1, 1.0], [0.5, 0.999, 2.0], [0.5]),
}


@pytest.mark.parametrize("backbone", student_facts.BACKBONES)
def test_widths(backbone):
    taken, refused, unpublished = WIDTHS[backbone]
    for alpha in taken:
        student_facts.check_width(backbone, alpha, None)
    for alpha in refused:
        with pytest.raises(ArgumentError, match=f"^{backbone} .*alpha"):
            student_facts.check_width(backbone, alpha, None)
    for alpha in unpublished:
        with pytest.raises(ArgumentError, match=f"^{backbone} "):
            student_facts.check_width(backbone, alpha, "imagenet")
    for alpha in student_facts.BACKBONES[backbone].published_widths:
        student_facts.check_width(backbone, alpha, "imagenet")


@pytest.mark.parametrize("backbone", [name for name in student_facts.BACKBONES if name != "resnet50_v2"])
def test_a_width_changes_the_student_and_the_narrowest_one_builds(backbone):
    facts = student_facts.BACKBONES[backbone]
    narrow = students.build(backbone, alpha=max(facts.narrowest, 0.05), image_size=facts.smallest, embedding_dim=4)
    assert narrow.count_params() < students.build(backbone, image_size=facts.smallest, embedding_dim=4).count_params()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet50_v2", "alpha": 0.5}, "one width: alpha must be 1; 0.5 was given"),
        ({"backbone": "mobilenet_v3_small", "alpha": 0.5, "weights": "imagenet"}, "alpha of 0.75, 1; 0.5 was given"),
        ({"backbone": "mobilenet_v2", "alpha": 0.25, "weights": "imagenet"}, "0.35, 0.5, 0.75, 1, 1.3, 1.4"),
        ({"backbone": "small_cnn", "weights": "imagenet"}, "no published weights"),
        ({"backbone": "small_cnn", "weights": "some.weights.h5"}, "no published weights"),
        ({"backbone": "small_cnn", "alpha": 0.0}, "above 0; 0.0 was given"),
        ({"backbone": "small_cnn", "image_size": 7}, "8 or more"),
        ({"backbone": "mobilenet_v1", "image_size": 0}, "32 or more"),
        ({"backbone": "small_cnn", "pooling": "cls"}, "gives a map"),
    ],
)
def test_a_student_is_refused_before_anything_is_built_or_downloaded(options, message):
    with pytest.raises(ArgumentError, match=message):
        students.build(**{"image_size": 32, **options})


def test_keras_refuses_the_widths_that_the_facts_refuse():
    """Keras's own check, which a wrong width reaches before any download."""
    for application, backbone in (
        (keras.applications.MobileNetV2, "mobilenet_v2"),
        (keras.applications.MobileNetV3Small, "mobilenet_v3_small"),
    ):
        for alpha in WIDTHS[backbone][2]:
            with pytest.raises(ValueError, match="alpha"):
                application(alpha=alpha, include_top=False, weights="imagenet", input_shape=(224, 224, 3))


def test_empty_weights_are_none():
    assert students.build("small_cnn", image_size=8, weights="", embedding_dim=4).count_params() > 0
