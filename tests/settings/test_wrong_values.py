"""Every setting at wrong values: exit status 2, one sentence that names it, nothing asked, no TensorFlow."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdistill.settings import FIELDS

REPOSITORY = Path(__file__).parents[2]

LISTS = ["--dataset=lists", "--data_dir={data}", "--teacher={data}/teacher.npz"]
MODEL = ["--teacher={data}/model.onnx"]
KERAS = ["--teacher={data}/model.keras"]
SERVICE = ["--teacher=http://127.0.0.1:9/embed"]
BACKBONE = ["--teacher={data}/w.weights.h5"]
REVISITED = ["--dataset=revisited", "--data_dir={data}", "--teacher={data}/teacher.npz"]
ORDER = ["--teacher_answers=order"]
ASSISTANT = [*ORDER, "--assistant_backbone=mobilenet_v2"]
WHOLE = ["--assistant_backbone=mobilenet_v2"]
PAIRS = ["--teacher_answers=pairs", "--assistant_backbone=small_cnn", "--assistant_image_size=32"]
TARGET = ["--target_flops=0.5"]
WHITEN = ["--whiten=pca"]

# Wrong where that package is not installed.
_HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None
ADDONS_LOSS, ADDONS_OPTIMIZER = ([], []) if _HAS_ADDONS else (["Addons>triplet"], ["Addons>LAMB"])

CONVERTER = [] if importlib.util.find_spec("litert_converter") else ["litert"]

# setting -> (the other flags, wrong values)
WRONG: dict[str, tuple[list[str], list[str]]] = {
    "workdir": ([], ["", " ", "{data}/teacher.npz"]),
    "seed": ([], ["-1", "1.5", "x", ""]),
    "strict": ([], ["perhaps"]),
    "cache_gb": (LISTS, ["-1", "nan", "inf", "much"]),
    "dataset": ([], ["imagenet", "", "Digits", "folder"]),
    "data_dir": (["--dataset=folder", "--teacher={data}/teacher.npz"], ["", "nowhere", "{data}/teacher.npz"]),
    "pool_file": (LISTS, ["nowhere.txt", "a\\0b"]),
    "gallery_file": (LISTS, ["nowhere.txt"]),
    "query_file": (LISTS, ["nowhere.txt"]),
    "val_file": (LISTS, ["nowhere.txt"]),
    "gnd_file": (REVISITED, ["nowhere.pkl"]),
    "max_megapixels": ([], ["0", "-1", "nan", "inf", "many"]),
    "pool_dir": (REVISITED, ["nowhere"]),
    "distractor_dir": (REVISITED, ["nowhere"]),
    "teacher": ([], ["nowhere.npz", "nowhere.onnx", "no_such_module:embed", "http://", "", "https://:99999/x"]),
    "teacher_answers": ([], ["ranks", ""]),
    "teacher_scaling": (MODEL, ["clip-ish", "", "nowhere.json"]),
    "teacher_output": (MODEL, ["a\\0b"]),
    "teacher_pooling": (MODEL, ["max", ""]),
    "teacher_backbone": (BACKBONE, ["vgg"]),
    "teacher_alpha": (BACKBONE, ["0", "-1", "nan", "inf", "wide"]),
    "teacher_image_size": (BACKBONE, ["0", "31", "160x96", "-32", "2.5", "1000000"]),
    "trust_packages": (KERAS, ["os", "no_such_package_here", "a b", "keras_hub,subprocess", "tensorflow", "a\\0b"]),
    "teacher_api": (SERVICE, ["jena", "", "nowhere.json", "{data}/broken.json", "jina", "jina_rerank"]),
    "teacher_model": (SERVICE, ["some"]),
    "requests_per_minute": (SERVICE, ["0", "-1", "nan", "inf", "few"]),
    "teacher_headers": (SERVICE, ["Authorization", "Authorization=NO_SUCH_VARIABLE_HERE", "=X", "a b=PATH"]),
    "teacher_timeout": (SERVICE, ["0", "-1", "nan", "inf", "soon"]),
    "teacher_retries": (SERVICE, ["-1", "1.5", "many"]),
    "query_budget": ([], ["0", "-5", "1.5", "all", "100000"]),
    "tune": ([], ["-1", "x", "5"]),
    "judge_queries": ([], ["-1", "3", "100000", "some"]),
    "selection": ([], ["oracle"]),
    "price_per_query": ([], ["-0.01", "nan", "inf", "cheap"]),
    "dry_run": ([], ["maybe"]),
    "ask_batch_size": ([], ["0", "-1", "x"]),
    "concurrency": (SERVICE, ["0", "-1", "257", "1.5", "many"]),
    "ledger": ([], ["{data}", "nowhere/ledger.sqlite", "mysql://u:p@h/db", "postgresql+psycopg://"]),
    "engine": ([], ["spark"]),
    "actors": (["--engine=ray"], ["-1", "x"]),
    "candidates": (ORDER, ["0", "1", "-3", "x"]),
    "pair_queries": (PAIRS, ["0", "-1"]),
    "pair_sampler": (PAIRS, ["best"]),
    "pair_both_ways": (PAIRS, ["perhaps"]),
    "pair_tie_margin": (PAIRS, ["-0.1", "0.6", "nan"]),
    "assistant_backbone": (ORDER, ["vgg", "nowhere.keras", "nowhere:function", "kerashub:"]),
    "assistant_backbone_scaling": (["--assistant_backbone=math:sqrt"], ["imagenet", ""]),
    "assistant_alpha": (ASSISTANT, ["0", "-1", "nan"]),
    "assistant_image_size": (ASSISTANT, ["0", "30"]),
    "assistant_weights": (ASSISTANT, ["nowhere.weights.h5"]),
    "assistant_training": (ASSISTANT, ["whole", "half"]),
    "assistant_dim": (WHOLE, ["0", "1", "x"]),
    "assistant_steps": (ASSISTANT, ["0", "-1"]),
    "assistant_learning_rate": (WHOLE, ["0", "-1", "nan"]),
    "assistant_truth": (WHOLE, ["-0.1", "inf", "x"]),
    "assistant_if_better": (WHOLE, ["perhaps"]),
    "backbone": ([], ["vgg", "", "nowhere.keras", "kerashub:", "no_such_module_here:network"]),
    "backbone_scaling": (["--backbone=math:sqrt"], ["imagenet", ""]),
    "alpha": (["--backbone=mobilenet_v2"], ["0", "-0.5", "nan", "inf", "x"]),
    "image_size": ([], ["0", "-32", "7", "160x96", "x", "99999"]),
    "embedding_dim": ([], ["-1", "1", "x"]),
    "space": ([], ["", "Teacher", "mine"]),
    "gallery_vectors": (["--space=teacher"], ["nowhere.npz", "main.py", "{data}"]),
    "pointwise_weight": (["--space=teacher"], ["-1", "nan", "inf", "x", ""]),
    "query_turn": (["--space=teacher"], ["-1", "3", "nan", "x", ""]),
    "own_weight": (["--space=teacher"], ["-1", "nan", "inf", "x", ""]),
    "pooling": ([], ["max"]),
    "student_weights": (["--backbone=mobilenet_v2", "--alpha=0.4"], ["imagenet", "nowhere.keras", "nowhere.h5"]),
    "hash_bits": ([], ["-8", "12", "x"]),
    "mixtures": ([], ["-1", "1.5", "x"]),
    "mixing": ([], ["gamma"]),
    "mixing_alpha": ([], ["0", "-1", "nan", "inf"]),
    "pairing": ([], ["near"]),
    "renormalise": (["--loss_options=similarity=dot"], ["perhaps"]),
    "anchors": ([], ["all"]),
    "rank_against": ([], ["all"]),
    "rank_parents": ([], ["perhaps"]),
    "bank_size": ([], ["-1", "x"]),
    "loss": ([], ["hinge", "", "contrastive", "triplet_semihard", *ADDONS_LOSS]),
    "loss_options": ([], ["temperature", "=1", "margin=2", "student_temperature=0", "similarity=l2", "top_k=3"]),
    "optimizer": ([], ["adamant", "", *ADDONS_OPTIMIZER]),
    "learning_rate": ([], ["0", "-1e-3", "nan", "inf", "fast"]),
    "steps": ([], ["0", "-1", "1.5", "x"]),
    "batch_size": ([], ["0", "-1", "x"]),
    "augment": ([], ["perhaps"]),
    "freeze_batch_norm": ([], ["perhaps"]),
    "whiten_teacher": ([], ["perhaps"]),
    "hash_distillation": (["--hash_bits=8"], ["-1", "nan"]),
    "hash_quantisation": (["--hash_bits=8"], ["-1", "nan"]),
    "callbacks": ([], ["nowhere", "no_such_module:make", "os:no_such_function", "os:sep", "os:getcwd", "a b:c"]),
    "evaluations": ([], ["0", "-1", "x"]),
    "training_precision": ([], ["float16", ""]),
    "strategy": ([], ["parameter_server"]),
    "joint_space": (["--strategy=mirrored"], ["everywhere"]),
    "target_flops": ([], ["-1", "nan", "inf"]),
    "target_params": ([], ["-1", "nan", "half"]),
    "shrink_from": (TARGET, ["0", "1.5", "0.7", "nan"]),
    "shrink_until": (TARGET, ["0.1", "1", "nan"]),
    "channel_importance": (TARGET, ["size"]),
    "channel_neighbours": ([*TARGET, "--channel_importance=neighbours"], ["0", "-1"]),
    "channel_cost_power": (TARGET, ["-1", "nan"]),
    "refit_readers": (TARGET, ["perhaps"]),
    "scales": ([], ["0", "-1", "1,x", "nan", ""]),
    "whiten": ([], ["zca", "foo"]),
    "whiten_dir": (WHITEN, ["nowhere"]),
    "whiten_dim": (WHITEN, ["-1", "129", "x"]),
    "whiten_shrinkage": (WHITEN, ["-0.1", "1.1", "nan"]),
    "most_queries": ([], ["-1", "1.5", "all"]),
    "max_memory_mb": ([], ["0", "-1", "x"]),
    "score_teacher": ([], ["perhaps"]),
    "scoring_budget": (["--teacher=os:getcwd", "--score_teacher=yes"], ["-1", "x"]),
    "converter": ([], ["toco", "", *CONVERTER]),
    "gallery_precision": ([], ["int4", ""]),
    "shards": ([], ["-1", "x", "auto"]),
    "export_if_not_better": ([], ["perhaps"]),
    "top_k": ([], ["0", "-1", "x"]),
    "benchmark_runs": ([], ["0", "-1"]),
    "benchmark_threads": ([], ["0", "-1"]),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of each wrong value: (setting, arguments) -> status, text, tensorflow, seconds."""
    data = tmp_path_factory.mktemp("data")
    for name in ("teacher.npz", "model.keras", "model.onnx", "w.weights.h5", "broken.json", "pool.txt", "test.txt"):
        (data / name).write_bytes(b"x.jpg, 1\n")
    runs = tmp_path_factory.mktemp("runs")
    cases = []
    for name, (others, values) in WRONG.items():
        for value in values:
            own = [] if name == "workdir" else [f"--workdir={runs}/{len(cases)}"]
            flags = [*own, *others, f"--{name}={value}"]
            cases.append((name, [flag.replace("{data}", str(data)).replace("\\0", "\0") for flag in flags]))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("every_wrong_value.py"))],
        input=json.dumps([arguments for _, arguments in cases]),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(runs.iterdir()), "a work folder was made"
    return [(name, arguments, found) for (name, arguments), found in zip(cases, json.loads(done.stdout), strict=True)]


def test_every_setting_is_tried():
    assert WRONG.keys() == FIELDS.keys()


def test_each_ends_with_status_2_and_one_sentence_about_it(outcomes):
    for name, arguments, found in outcomes:
        assert found["status"] == 2, (arguments, found)
        lines = found["text"].strip().splitlines()
        assert len(lines) == 1, (arguments, found)
        assert lines[0].startswith("error: "), (arguments, found)
        spoken = {name, *(["student_weights"] if name == "alpha" else ["alpha"])}
        assert any(word in lines[0] for word in spoken), (arguments, found)


def test_each_is_found_before_tensorflow_is_imported(outcomes):
    for _, arguments, found in outcomes:
        assert not found["tensorflow"], arguments
