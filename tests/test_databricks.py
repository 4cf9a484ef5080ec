"""The Databricks bundle, as far as it can be checked without a workspace.

Jobs are checked by Databricks' own typed classes (the package databricks-bundles, made from the schema that
the CLI validates with), their parameters by framewatch's own command line, the wheel by building it.
"""

import copy
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from databricks.bundles.jobs import Job

from framewatch.cli import main as command_line
from framewatch.config import Config, load_config

TEXT = (ROOT / "databricks.yml").read_text(encoding="utf-8")
BUNDLE: dict[str, Any] = yaml.safe_load(TEXT)
TARGETS = list(BUNDLE["targets"])
JOBS = list(BUNDLE["resources"]["jobs"])
STAGES = ["ingest", "train", "rank"]

# Of `databricks bundle schema`: what is not a job, and so not in databricks-bundles.
KEYS = {
    "": {
        "artifacts", "bundle", "experimental", "include", "permissions", "presets", "resources", "run_as",
        "scripts", "sync", "targets", "variables", "workspace",
    },
    "bundle": {"cluster_id", "databricks_cli_version", "deployment", "git", "name", "uuid"},
    "sync": {"exclude", "include", "paths"},
    "artifacts.*": {"build", "dynamic_version", "executable", "files", "path", "type"},
    "variables.*": {"default", "description", "lookup", "type"},
    "resources": {"jobs"},
    "targets.*": {
        "artifacts", "bundle", "cluster_id", "default", "git", "mode", "permissions", "presets", "resources",
        "run_as", "sync", "variables", "workspace",
    },
    "targets.*.workspace": {
        "artifact_path", "file_path", "host", "profile", "resource_path", "root_path", "state_path",
    },
}  # fmt: skip


def resolved(value: Any, values: dict[str, Any]) -> Any:
    """`value` with each ${reference} replaced, as the CLI does it: a whole one keeps its type."""
    if isinstance(value, dict):
        return {key: resolved(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, values) for item in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{([\w.]+)\}", value)
    return values[whole[1]] if whole else re.sub(r"\$\{([\w.]+)\}", lambda m: str(values[m[1]]), value)


def jobs_of(target: str) -> dict[str, dict[str, Any]]:
    """The jobs as they are deployed to a target; workspace files are those of the repository."""
    values = {f"var.{name}": variable["default"] for name, variable in BUNDLE["variables"].items()}
    of_target = BUNDLE["targets"][target].get("variables", {})
    values |= {f"var.{name}": value for name, value in of_target.items()}
    return resolved(BUNDLE["resources"]["jobs"], {**values, "workspace.file_path": str(ROOT)})


def tasks_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {task["task_key"]: task for task in job["tasks"]}


def config_of(job: dict[str, Any], task: str) -> Config:
    """The configuration that a task runs with: what its script makes of its parameters."""
    run = tasks_of(job)[task]["spark_python_task"]
    defaults = {f"job.parameters.{one['name']}": one["default"] for one in job["parameters"]}
    given = [re.sub(r"\{\{([\w.]+)\}\}", lambda m: defaults[m[1]], text) for text in run["parameters"]]
    script = (ROOT / run["python_file"]).read_text(encoding="utf-8")
    verb = re.search(r'job\("(\w+)"\)', script)[1]
    args = command_line._parser().parse_args([verb, *given])
    return load_config(args.config, args.overrides)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


# Targets, variables, what is synced


def test_dev_is_the_default_target_and_names_no_workspace() -> None:
    modes = {name: target["mode"] for name, target in BUNDLE["targets"].items()}
    assert modes == {"dev": "development", "prod": "production"}
    assert [name for name, target in BUNDLE["targets"].items() if target.get("default")] == ["dev"]
    assert "root_path" in BUNDLE["targets"]["prod"]["workspace"]  # else the CLI refuses mode: production
    assert "@" not in TEXT and "https://" not in TEXT and "host" not in yaml.safe_dump(BUNDLE)


@pytest.mark.parametrize("path", KEYS)
def test_sections_have_only_keys_that_the_cli_knows(path: str) -> None:
    found = [BUNDLE]
    for part in filter(None, path.split(".")):
        found = [
            child for one in found for key, child in one.items() if part in ("*", key) and child is not None
        ]
    assert found
    assert [key for section in found for key in section if key not in KEYS[path]] == []


def test_each_variable_that_is_used_is_declared_and_the_other_way_round() -> None:
    used = {name for text in strings(BUNDLE) for name in re.findall(r"\$\{var\.(\w+)\}", text)}
    assert used == set(BUNDLE["variables"])
    for target in BUNDLE["targets"].values():
        assert set(target.get("variables", {})) <= used


@pytest.mark.parametrize("name", JOBS)
def test_each_job_parameter_that_is_used_is_declared_and_the_other_way_round(name: str) -> None:
    job = BUNDLE["resources"]["jobs"][name]
    used = {name for text in strings(job) for name in re.findall(r"\{\{job\.parameters\.(\w+)\}\}", text)}
    assert used == {parameter["name"] for parameter in job["parameters"]}


def test_what_is_synced_exists_and_holds_no_tests_and_no_outputs() -> None:
    paths = BUNDLE["sync"]["paths"]
    assert [path for path in paths if not (ROOT / path).is_dir()] == []
    assert not set(paths) & {".", "tests", "out", ".venv"}


# Jobs


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", JOBS)
def test_a_job_has_only_settings_that_databricks_knows_with_values_of_their_type(
    name: str, target: str
) -> None:
    job = jobs_of(target)[name]
    # The classes turn "2" into 2; what they had to turn was not of its type.
    assert Job.from_dict(copy.deepcopy(job)).as_dict() == job


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        (["tasks", 0], "depend_on", [], "Unexpected field 'depend_on' for class Task"),
        (["tasks", 0], "max_retries", "twice", "invalid literal for int"),
        (["tasks", 0], "libraries", "./dist/*.whl", "Unexpected type"),
        (["job_clusters", 0, "new_cluster"], "spark_env_var", {}, "'spark_env_var' for class ClusterSpec"),
        (["job_clusters", 0, "new_cluster"], "data_security_mode", "SINGLE", "not a valid DataSecurityMode"),
        (["trigger"], "file_arrivals", {}, "'file_arrivals' for class TriggerSettings"),
    ],
)
def test_a_wrong_setting_is_refused(place: list[Any], key: str, value: Any, message: str) -> None:
    job = jobs_of("dev")["framewatch_watch"]
    section: Any = job
    for part in place:
        section = section[part]
    section[key] = value
    with pytest.raises(ValueError, match=message):
        Job.from_dict(job)


def test_a_reference_to_a_variable_that_is_not_declared_is_refused() -> None:
    with pytest.raises(KeyError, match=r"var\.cataloge"):
        resolved({"url": "/Volumes/${var.cataloge}/x"}, {"var.catalog": "main"})


def test_the_stages_run_one_after_the_other() -> None:
    tasks = jobs_of("prod")["framewatch"]["tasks"]
    assert [task["task_key"] for task in tasks] == STAGES
    after = [[one["task_key"] for one in task.get("depends_on", [])] for task in tasks]
    assert after == [[], ["ingest"], ["train"]]


@pytest.mark.parametrize("name", JOBS)
def test_each_task_runs_a_synced_script_on_the_cluster_of_the_job_with_the_wheel(name: str) -> None:
    job = jobs_of("prod")[name]
    for task in job["tasks"]:
        script = Path(task["spark_python_task"]["python_file"])
        assert (ROOT / script).is_file()
        assert script.parts[0] in BUNDLE["sync"]["paths"]
        assert task["job_cluster_key"] in [cluster["job_cluster_key"] for cluster in job["job_clusters"]]
        assert {"whl": "./dist/*.whl"} in task["libraries"]


def test_each_stage_is_run_by_its_own_script() -> None:
    scripts = [task["spark_python_task"]["python_file"] for task in jobs_of("prod")["framewatch"]["tasks"]]
    verbs = [
        re.search(r'job\("(\w+)"\)', (ROOT / script).read_text(encoding="utf-8"))[1] for script in scripts
    ]
    assert verbs == STAGES


# What the jobs run with


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_takes_its_parameters(stage: str, target: str) -> None:
    job = jobs_of(target)["framewatch"]
    config = config_of(job, stage)
    names = {parameter["name"]: parameter["default"] for parameter in job["parameters"]}
    assert (config.catalog.name, config.catalog.database) == (names["catalog"], names["schema"])
    assert config.output == f"/Volumes/{names['catalog']}/{names['schema']}/{names['volume']}/out"
    assert config == config_of(job, "ingest")  # or one stage would not find the tables of another


def test_an_override_that_framewatch_does_not_know_is_refused() -> None:
    job = jobs_of("dev")["framewatch"]
    job["tasks"][0]["spark_python_task"]["parameters"].append("catalogue.name=main")
    with pytest.raises(Exception, match=r"unknown configuration key 'catalogue\.name'"):
        config_of(job, "ingest")


def test_the_configuration_alone_is_that_of_the_target_prod() -> None:
    alone = load_config(ROOT / "conf" / "databricks.yaml")
    assert alone == config_of(jobs_of("prod")["framewatch"], "rank")


def test_new_videos_are_ranked_by_the_classifier_of_the_other_job_without_training() -> None:
    jobs = jobs_of("prod")
    known, new = config_of(jobs["framewatch"], "rank"), config_of(jobs["framewatch_watch"], "rank_new")
    assert new.labels.train is None and new.videos.train == []
    assert new.classifier.path == f"{known.output}/model"
    # Nothing of the other job's is written over.
    assert new.output != known.output and new.catalog.database != known.catalog.database
    watched = jobs["framewatch_watch"]["trigger"]["file_arrival"]["url"]
    assert [f"{path}/" for path in new.videos.test] == [watched]


def test_triggers_leave_it_to_the_target_whether_they_are_paused() -> None:
    triggers = [job["trigger"] for job in jobs_of("dev").values() if "trigger" in job]
    assert triggers and not any("pause_status" in trigger for trigger in triggers)


@pytest.mark.parametrize("target", TARGETS)
def test_weights_lie_on_the_volume_and_zip_files_do_not(target: str) -> None:
    for job in jobs_of(target).values():
        names = {parameter["name"]: parameter["default"] for parameter in job["parameters"]}
        volume = f"/Volumes/{names['catalog']}/{names['schema']}/{names['volume']}/"
        for cluster in job["job_clusters"]:
            environment = cluster["new_cluster"]["spark_env_vars"]
            assert environment["KERAS_HOME"].startswith(volume)
            assert not environment["FRAMEWATCH_HOME"].startswith("/Volumes/")


# Scripts


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "jobs").glob("*.py")))
def test_a_script_ends_by_an_exception_only_where_it_failed(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Databricks takes any SystemExit for a failure, that of 0 as well.
    monkeypatch.setattr(sys, "argv", [script])
    monkeypatch.setattr(command_line, "main", lambda arguments: 0)
    runpy.run_path(str(ROOT / "jobs" / script), run_name="__main__")
    monkeypatch.setattr(command_line, "main", lambda arguments: 2)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "jobs" / script), run_name="__main__")
    assert ended.value.code == 2


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """What the bundle's build command makes of a copy of the package."""
    copied = tmp_path_factory.mktemp("bundle")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copied)
    shutil.copytree(ROOT / "framewatch", copied / "framewatch", ignore=shutil.ignore_patterns("__pycache__"))
    # Isolation would fetch setuptools anew.
    command = f"{BUNDLE['artifacts']['wheel']['build']} --no-build-isolation"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=copied,
        env={**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    built = list((copied / "dist").glob("*.whl"))
    assert len(built) == 1
    return zipfile.Path(built[0])


def test_the_wheel_asks_for_no_pyspark(wheel: zipfile.Path) -> None:
    metadata = next(name for name in wheel.root.namelist() if name.endswith("/METADATA"))
    metadata = (wheel / metadata).read_text(encoding="utf-8")
    needs = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", metadata, re.MULTILINE)
    assert "numpy" in needs and "pyspark" not in needs


# The documentation


def test_the_documentation_has_the_variables_the_jobs_and_the_build_command() -> None:
    page = (ROOT / "docs" / "how-to" / "databricks.md").read_text(encoding="utf-8")
    for name, variable in BUNDLE["variables"].items():
        row = rf"^\| `{name}` \| `?{re.escape(str(variable['default']))}\b"
        assert re.search(row, page, re.MULTILINE), name
    assert set(re.findall(r"databricks bundle run (\w+)", page)) == set(JOBS)
    assert BUNDLE["artifacts"]["wheel"]["build"] in page
