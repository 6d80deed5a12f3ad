# Everything runs in an environment of its own, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Tests in two processes, up to 2 GB each; files stay whole, since their tests share what they set up.
SPREAD ?= -n 2 --dist=loadfile --no-loadscope-reorder --durations=25 --durations-min=5

.PHONY: docs environments quickstart test test-long lint test-addons test-clients test-cluster test-servers test-loggers \
  test-web clean

# uv downloads and unpacks what five environments share once. All of it would take a minute to compile in each; what an
# import of TensorFlow and Keras takes is compiled while others are made, by one process and not by every one of the tests'.
UV = .venv-uv/bin/uv
INSTALL = $(UV) pip install --quiet --python
COMPILE = -c 'import kdistill.console.frameworks as ours; ours.prepare_frameworks(); import tensorflow, keras'
export PYTHONDONTWRITEBYTECODE =

environments: $(VENV)/installed-test .venv-addons/installed .venv-extras/installed .venv-servers/installed \
  .venv-docs/installed

$(UV):
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/pip install --quiet uv

quickstart: $(VENV)/installed
	$(BIN)/python main.py --flagfile=configs/quickstart.flags

# What answers within minutes, and needs nothing but the test extra.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(SPREAD) -m "not long"

# Whole runs that are killed, several processes, smoke runs of benchmarks: of the files that hold any. Their processes share
# the cores: threads of each would wait for those of the others, a tenth of the time.
test-long: export TF_NUM_INTRAOP_THREADS = 1
test-long: export OPENBLAS_NUM_THREADS = 1
test-long: export OMP_NUM_THREADS = 1
test-long: $(VENV)/installed-test
	$(BIN)/python -m pytest $(SPREAD) -m long $(sort $(shell grep -rlE --include='*.py' 'mark\.long' tests))

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Exported files in other runtimes (MediaPipe, OpenCV, OpenVINO), galleries in other libraries (faiss, usearch, Milvus),
# teachers of KerasHub.
test-clients: .venv-extras/installed
	.venv-extras/bin/python -m pytest $(SPREAD) tests/clients

# What the optional parts want beside each other, in one environment.
.venv-extras/installed: setup.cfg | $(UV)
	$(PYTHON) -m venv .venv-extras
	$(INSTALL) .venv-extras/bin/python -e '.[clients,kerashub,litert,search,milvus,postgres,ray,mlflow,wandb,test]'
	.venv-extras/bin/python $(COMPILE)
	touch $@

# Tests whose ledgers may lie in any engine.
LEDGER_TESTS = $(addprefix tests/teachers/test_,accounts.py crash.py ledger.py ledger_properties.py old_ledgers.py repeatable.py)

# Ray and a real PostgreSQL server (Debian's package, installed where it is missing and we may).
test-cluster: .venv-extras/installed
	if [ "$$(id -u)" = 0 ] && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
	  apt-get update -qq && apt-get install -y -qq postgresql >/dev/null; \
	fi
	.venv-extras/bin/python -m pytest $(SPREAD) --ledger_engine=postgres tests/cluster $(LEDGER_TESTS)

# Services as the world has them: MLServer, Triton (its binary stands in a wheel) and a server in OpenAI's form, in an
# environment of their own, since they want other versions of what TensorFlow needs.
test-servers: $(VENV)/installed-test .venv-servers/installed
	$(BIN)/python -m pytest tests/servers

.venv-servers/installed: tests/servers/requirements.txt | $(UV)
	$(PYTHON) -m venv .venv-servers
	$(INSTALL) .venv-servers/bin/python -r $<
	touch $@

# MLflow and Weights & Biases, without a network.
test-loggers: .venv-extras/installed
	.venv-extras/bin/python -m pytest $(SPREAD) tests/loggers

# The documentation site in build/site: warnings are errors, and every link has to lead somewhere.
docs: .venv-docs/installed build/start.ipynb
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict
	.venv-docs/bin/python docs/hooks/check_site.py build/site

# Executed, with what its cells show. `make test-long` writes it too.
build/start.ipynb: docs/start.ipynb | $(VENV)/installed-test
	$(BIN)/python docs/hooks/execute.py $< $@

# The extra alone, without the package and its TensorFlow.
.venv-docs/installed: setup.cfg | $(UV)
	$(PYTHON) -m venv .venv-docs
	$(PYTHON) docs/hooks/requirements.py setup.cfg docs >.venv-docs/requirements.txt
	$(INSTALL) .venv-docs/bin/python -r .venv-docs/requirements.txt
	touch $@

# The search page in a real browser: needs node, npm and chromium.
test-web: $(VENV)/installed-test
	npm ci --prefix export/web --no-audit --no-fund --loglevel=error
	ONNXRUNTIME_NODE_INSTALL=skip npm ci --prefix export/examples/node --no-audit --no-fund --loglevel=error
	npm run --prefix export/web --silent check
	$(BIN)/python -m pytest tests/web

# tensorflow-addons needs TensorFlow 2.15, so Python 3.11 and an environment of its own.
ADDONS_PYTHON ?= python3.11
# Where Keras, TensorFlow or their converters decide the answer; what holds none of them answers alike under both.
KERAS_TESTS = $(addprefix tests/,assistant compression hashing layers losses preferences students training \
  evaluation/test_embedding.py) $(addprefix tests/export/test_,float_head.py formats.py hamming_retriever.py \
  onnx_retriever.py retriever.py student_kinds.py) $(addprefix tests/runtimes/test_model_,\
  inputs.py outputs.py) $(addprefix tests/stages/test_,assist_stage.py interrupted.py main.py own_backbone.py \
  own_callbacks.py) $(addprefix tests/teachers/test_,exported_tensorflow.py listed_signatures.py model_answers.py \
  scaling.py trusted_packages.py)
test-addons: .venv-addons/installed
	.venv-addons/bin/python -m pytest $(SPREAD) tests/addons $(KERAS_TESTS) -m "not long or both_stacks"

# Any of the smaller ones in one process, one after the other, beside something that takes two.
alone-%:
	$(MAKE) SPREAD= $*

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg | $(VENV)/bin/python $(UV)
	$(INSTALL) $(BIN)/python -e .
	touch $@

$(VENV)/installed-test: setup.cfg | $(VENV)/bin/python $(UV)
	$(INSTALL) $(BIN)/python -e '.[notebook,test]'
	$(BIN)/python $(COMPILE)
	touch $@ $(VENV)/installed

.venv-addons/installed: setup.cfg | $(UV)
	$(ADDONS_PYTHON) -m venv .venv-addons
	$(INSTALL) .venv-addons/bin/python -e '.[addons,test]'
	.venv-addons/bin/python $(COMPILE)
	touch $@

clean:
	rm -rf $(VENV) .venv-addons .venv-extras .venv-servers .venv-docs .venv-uv build dist *.egg-info \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis
