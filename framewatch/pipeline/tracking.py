"""Logs a call of a stage to MLflow: parameters, metrics, files, and the classifier."""

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
# Limits of MLflow servers: characters in a parameter and in a tag, and parameters in one request.
_MOST_PARAM_CHARS = 6000
_MOST_TAG_CHARS = 5000
_MOST_PARAMS = 100
# Sends data to the configured server only, and keeps MLflow from printing an address with a password.
_QUIETLY = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# MLflow's own retries take minutes. That suits a busy server at the end, not a misspelt address at the start.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}

Finish = Callable[["Run", str], None]


@contextlib.contextmanager
def tracked(config: Config, stage: str) -> Iterator[Finish]:
    """Opens an MLflow run around a call of `train`, `rank` or `run`; does nothing if tracking is disabled.

    Yields:
        A function to call at the end, with the call and the path of its manifest. It does not raise, as the
        results are on disk by then; it prints a warning if logging fails.

    Raises:
        SetupError: MLflow is missing, or the server is unreachable. Raised before any work.
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
    """Returns the configuration as MLflow parameters: dotted keys, and values as in an override."""
    leaves = _leaves(config.shown())
    texts = ((key, value if isinstance(value, str) else json.dumps(value)) for key, value in leaves)
    return {_name(key): text[:_MOST_PARAM_CHARS] for key, text in texts}


def metrics(report: Mapping[str, Any], notes: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics on left-out videos and on test labels, and the counts of the stages.

    Per-video metrics and curve points are only in metrics.json.

    Args:
        report: the call's report by stage, as in the manifest.
        notes: the contents of the classifier's metrics.json.
    """
    found = {of: _without(counts, "settings", "cross_validation", "test") for of, counts in report.items()}
    measured = {"cross_validation": notes.get("cross_validation"), "test": report.get("rank", {}).get("test")}
    found |= {of: _without(values or {}, "videos") for of, values in measured.items()}
    return {_name(key): float(value) for key, value in _leaves(found) if _is_number(value)}


def _import(name: str) -> Any:
    """Imports a module of MLflow, an optional dependency whose types differ between versions."""
    for key, value in _QUIETLY.items():
        os.environ.setdefault(key, value)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SetupError(
            "tracking needs MLflow: pip install 'framewatch[tracking]', or set tracking.enabled=false"
        ) from error


def _open(mlflow: Any, config: Config, stage: str) -> str:
    """Creates the MLflow run with parameters and tags, and returns its ID."""
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
            existing = client.get_experiment_by_name(wanted.experiment)
            experiment = existing.experiment_id if existing else client.create_experiment(wanted.experiment)
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
    """Makes requests fail fast, unless the environment sets retries and timeout."""
    added = [name for name in _IMPATIENT if name not in os.environ]
    os.environ.update({name: _IMPATIENT[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _finish(mlflow: Any, run_id: str, run: "Run", manifest: str) -> None:
    """Logs the results. If that fails, prints a warning; the results themselves are complete."""
    server, wanted = _server(mlflow, run.config), run.config.tracking
    try:
        model = _log(mlflow, run_id, run, manifest)
    except Exception as error:  # from MLflow, its artifact store, or storage
        _end(mlflow, run_id, error)
        text = f"warning: tracking: not all could be logged to {server} ({_reason(error)}): the results in "
        text += f"{run.config.output} are whole; the same command, given again, redoes little and logs them"
        print_aside(text)
    else:
        print_line(f"tracking: run {run_id} of experiment {wanted.experiment}{model}, at {server}")


def _end(mlflow: Any, run_id: str, error: BaseException) -> None:
    """Marks the MLflow run as failed or killed, if the server is reachable."""
    status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
    with contextlib.suppress(Exception), _impatiently():
        client = mlflow.MlflowClient()
        client.set_tag(run_id, "error", _reason(error, _MOST_TAG_CHARS))
        client.set_terminated(run_id, status)


def _log(mlflow: Any, run_id: str, run: "Run", manifest: str) -> str:
    """Logs metrics, files, and the classifier if it was trained.

    Returns:
        A clause that names the registered version of the model; empty if none was registered.
    """
    saved = saved_model.read(run.model_path)
    assert saved is not None  # `train` wrote it, and `rank` read it
    notes = saved.notes
    client, now = mlflow.MlflowClient(), round(time.time() * 1000)
    numbers = [
        mlflow.entities.Metric(key, value, now, 0) for key, value in metrics(run.report, notes).items()
    ]
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
        with access.umasked():  # the report has pictures, and the server may be a local directory
            client.log_artifacts(run_id, scratch)
    if trained and name is not None:
        version = mlflow.register_model(f"runs:/{run_id}/{_MODEL}", name).version
        model = f", with version {version} of model {name}"
    client.set_terminated(run_id)
    return model


def _write_model(mlflow: Any, run_id: str, run: "Run", saved: SavedModel, directory: str) -> None:
    """Writes the classifier as an MLflow model that `mlflow.spark.load_model` loads.

    `mlflow.spark.log_model` makes Spark write to Hadoop's default file system and copies from there through
    the JVM. That fails in Spark Connect, and if executors do not share this file system. All of them can
    reach the output.
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
    """Returns the model's signature, features to prediction, which Unity Catalog requires."""
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
    """Returns the server's address without its password."""
    return config.shown()["tracking"]["uri"] or redact(mlflow.get_tracking_uri())


def _reason(error: BaseException, most: int = 300) -> str:
    """Returns an error's first line; for a failed connection, only the cause."""
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
    """Returns a key with only the characters and the length that MLflow allows."""
    return re.sub(r"[^\w.\- ]", "_", key)[:250]
