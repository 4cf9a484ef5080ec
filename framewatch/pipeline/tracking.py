"""What a call of a stage made, kept by an MLflow server: parameters, metrics, files, and the classifier."""

import contextlib
import functools
import importlib
import json
import math
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyspark
from pyspark.ml import PipelineModel

import framewatch
from framewatch.config import Config
from framewatch.errors import SetupError
from framewatch.io import access, storage
from framewatch.io.redact import redact
from framewatch.io.terminal import print_aside, print_line
from framewatch.ranking import classifier
from framewatch.tables import saved_model
from framewatch.tables.saved_model import SavedModel

if TYPE_CHECKING:  # run.py imports this module
    from framewatch.pipeline.run import Run

_STAGES = ("train", "rank", "run")
_MODEL = "model"
# What MLflow servers take: characters of a parameter and of a tag, and parameters in one request.
_MOST_PARAM_CHARS = 6000
_MOST_TAG_CHARS = 5000
_MOST_PARAMS = 100
# Nobody but the configured server is told anything, and its address is not printed with a password in it.
_QUIETLY = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# MLflow's own retries take minutes: right for a busy server at the end, not for a misspelt one at the start.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}

Finish = Callable[["Run", str], None]


@contextlib.contextmanager
def tracked(config: Config, stage: str) -> Iterator[Finish]:
    """One MLflow run around a call of a stage that trains or ranks; nothing where tracking is not enabled.

    Yields:
        What to call at the end, with the run and the path of its manifest. It does not raise: results are on
        disk by then, and a line says what could not be logged.

    Raises:
        SetupError: MLflow is missing, or the server is out of reach; before any work.
    """
    if not config.tracking.enabled or stage not in _STAGES:
        yield lambda run, manifest: None
        return
    mlflow = _import("mlflow")
    run_id = _open(mlflow, config, stage)
    try:
        yield functools.partial(_finish, mlflow, run_id)
    except BaseException as error:
        _end(mlflow, run_id, error)
        raise


def parameters(config: Config) -> dict[str, str]:
    """The configuration as MLflow's parameters: dotted keys, and values in YAML as an override has them."""
    leaves = _leaves(config.shown())
    texts = ((key, value if isinstance(value, str) else json.dumps(value)) for key, value in leaves)
    return {_name(key): text[:_MOST_PARAM_CHARS] for key, text in texts}


def metrics(report: Mapping[str, Any], notes: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of left-out videos and of test labels, and the counts of the stages.

    Of single videos and the points of curves, metrics.json tells.

    Args:
        report: of the run, by stage, as the manifest has it.
        notes: of the classifier, as metrics.json has them.
    """
    found = {of: _without(counts, "settings", "cross_validation", "test") for of, counts in report.items()}
    measured = {"cross_validation": notes.get("cross_validation"), "test": report.get("rank", {}).get("test")}
    found |= {of: _without(its or {}, "videos") for of, its in measured.items()}
    return {_name(key): float(value) for key, value in _leaves(found) if _is_number(value)}


def _import(name: str) -> Any:
    """Imports a module of MLflow: an extra, whose types differ from version to version."""
    for key, value in _QUIETLY.items():
        os.environ.setdefault(key, value)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SetupError(
            "tracking needs MLflow: pip install 'framewatch[tracking]', or set tracking.enabled=false"
        ) from error


def _open(mlflow: Any, config: Config, stage: str) -> str:
    """Opens the MLflow run, with all that is known before the work, and returns its id."""
    wanted = config.tracking
    tags = {
        "framewatch": framewatch.__version__,
        "spark": pyspark.__version__,
        "stage": stage,
        "config_sha256": config.sha256(),
        "output": redact(storage.absolute(config.output)),
    }
    name = f"{stage} {storage.basename(storage.absolute(config.output))}"
    try:
        with _impatiently():
            if wanted.uri is not None:
                mlflow.set_tracking_uri(wanted.uri)
            client = mlflow.MlflowClient()
            known = client.get_experiment_by_name(wanted.experiment)
            experiment = known.experiment_id if known else client.create_experiment(wanted.experiment)
            run_id = client.create_run(experiment, tags=tags, run_name=name).info.run_id
            params = [mlflow.entities.Param(key, text) for key, text in parameters(config).items()]
            for first in range(0, len(params), _MOST_PARAMS):
                client.log_batch(run_id, params=params[first : first + _MOST_PARAMS])
    except Exception as error:
        raise SetupError(
            f"tracking.uri={_server(mlflow, config)} does not open the experiment {wanted.experiment} "
            f"({_reason(error)}): check address and server, or set tracking.enabled=false"
        ) from error
    return run_id


@contextlib.contextmanager
def _impatiently() -> Iterator[None]:
    """Lets requests fail soon, where the environment does not say how long to try."""
    added = [name for name in _IMPATIENT if name not in os.environ]
    os.environ.update({name: _IMPATIENT[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _finish(mlflow: Any, run_id: str, run: "Run", manifest: str) -> None:
    """Logs what the run made; where that fails, says so: the results themselves are whole."""
    server, wanted = _server(mlflow, run.config), run.config.tracking
    try:
        model = _log(mlflow, run_id, run, manifest)
    except Exception as error:  # of MLflow, of its store of files, or of storage
        _end(mlflow, run_id, error)
        text = f"warning: tracking: not all could be logged to {server} ({_reason(error)}): the results in "
        text += f"{run.config.output} are whole; the same command, given again, redoes little and logs them"
        print_aside(text)
    else:
        print_line(f"tracking: run {run_id} of experiment {wanted.experiment}{model}, at {server}")


def _end(mlflow: Any, run_id: str, error: BaseException) -> None:
    """Marks a run that failed, where the server can be told."""
    status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
    with contextlib.suppress(Exception), _impatiently():
        client = mlflow.MlflowClient()
        client.set_tag(run_id, "error", _reason(error, _MOST_TAG_CHARS))
        client.set_terminated(run_id, status)


def _log(mlflow: Any, run_id: str, run: "Run", manifest: str) -> str:
    """Logs numbers and files, and the classifier where one was trained; returns what to tell of that."""
    saved = saved_model.read(run.model_path)
    assert saved is not None  # who trained wrote them, who ranked read them
    notes = saved.notes
    client, now = mlflow.MlflowClient(), round(time.time() * 1000)
    numbers = [mlflow.entities.Metric(key, it, now, 0) for key, it in metrics(run.report, notes).items()]
    made_of = [mlflow.entities.RunTag(key, notes["features"][key]) for key in ("weights", "weights_sha256")]
    client.log_batch(run_id, metrics=numbers, tags=made_of)
    files = {name: storage.join(run.model_path, name) for name in ("model_card.md", "metrics.json")}
    files["manifest.json"] = manifest
    if "rank" in run.report:
        files["report/index.html"] = storage.join(run.config.output, "report", "index.html")
    trained, name, model = "train" in run.report, run.config.tracking.model_name, ""
    with tempfile.TemporaryDirectory() as scratch:
        for to, path in files.items():
            _fetch(path, os.path.join(scratch, to))
        if trained:
            _write_model(mlflow, run_id, run, saved, os.path.join(scratch, _MODEL))
        with access.umasked():  # the report has pictures, and a server may be a directory here
            client.log_artifacts(run_id, scratch)
    if trained and name is not None:
        version = mlflow.register_model(f"runs:/{run_id}/{_MODEL}", name).version
        model = f", with version {version} of model {name}"
    client.set_terminated(run_id)
    return model


def _write_model(mlflow: Any, run_id: str, run: "Run", saved: SavedModel, directory: str) -> None:
    """Writes the classifier as an MLflow model that `mlflow.spark.load_model` loads.

    `mlflow.spark.log_model` would have Spark write to Hadoop's default file system, and the JVM copy it from
    there: not in Spark Connect, and not where executors have no such file system in common. The output is in
    reach of all.
    """
    staged = storage.join(run.config.output, "_staging")
    pipeline = PipelineModel([classifier.load(saved.spark_path)])
    pipeline.write().overwrite().save(storage.join(staged, "sparkml"))
    _fetch(storage.join(staged, "sparkml"), os.path.join(directory, "sparkml"))
    storage.delete(staged)
    model = _import("mlflow.models").Model(
        _MODEL, run_id, signature=_signature(), metadata=saved.notes["features"]
    )
    kind = "pyspark.ml.pipeline.PipelineModel"
    model.add_flavor("spark", pyspark_version=pyspark.__version__, model_data="sparkml", model_class=kind)
    pyfunc = _import("mlflow.pyfunc")
    pyfunc.add_to_model(model, loader_module="mlflow.spark", data="sparkml", python_env="python_env.yaml")
    model.save(os.path.join(directory, "MLmodel"))
    needs = f"mlflow=={mlflow.__version__}\npyspark=={pyspark.__version__}\n"
    Path(directory, "requirements.txt").write_text(needs, encoding="utf-8")
    python = f"python: {platform.python_version()}\ndependencies:\n- -r requirements.txt\n"
    Path(directory, "python_env.yaml").write_text(python, encoding="utf-8")


def _signature() -> Any:
    """Features in, prediction out: Unity Catalog registers no model that does not say so."""
    models, types = _import("mlflow.models"), _import("mlflow.types.schema")
    features = types.ColSpec(types.SparkMLVector(), "features")
    prediction = types.ColSpec(types.DataType.double, "prediction")
    return models.ModelSignature(types.Schema([features]), types.Schema([prediction]))


def _fetch(uri: str, path: str) -> None:
    """Copies a file or a directory from any storage to this machine."""
    files, source = storage.filesystem(uri)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    files.get(source, path, recursive=files.isdir(source))


def _server(mlflow: Any, config: Config) -> str:
    """The server's address, without the password that it may hold."""
    return config.shown()["tracking"]["uri"] or redact(mlflow.get_tracking_uri())


def _reason(error: BaseException, most: int = 300) -> str:
    """An error's first line; of a connection that failed, the part that says why."""
    first, _, cause = str(error).partition("\n")[0].partition("(Caused by ")
    return redact(cause.rstrip("\"')") or first or type(error).__name__)[:most]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _without(values: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(key: str) -> str:
    """A key with the characters, and of the length, that MLflow takes."""
    return re.sub(r"[^\w.\- ]", "_", key)[:250]
