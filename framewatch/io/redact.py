"""Hides secrets in printed, logged and written text and settings.

All redaction goes through `redact`. It errs on the side of hiding: it hides whole query strings, and every
Spark setting that is not in the list of harmless ones.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

# Replaces a hidden value.
HIDDEN = "(hidden)"

T = TypeVar("T")

# Options of Spark and of file sources whose values are not secret. A name that ends in a dot is a prefix.
_HARMLESS = """
    spark.app.name spark.app_name spark.conf spark.master spark.remote spark.submit.deployMode
    spark.default.parallelism spark.serializer spark.local.dir spark.jars.packages spark.log.level
    spark.driver.cores spark.driver.host spark.driver.port spark.driver.memory spark.driver.memoryOverhead
    spark.driver.maxResultSize spark.executor.cores spark.executor.instances spark.executor.memory
    spark.executor.memoryOverhead spark.executor.resource. spark.driver.resource. spark.task.
    spark.dynamicAllocation. spark.memory. spark.scheduler. spark.shuffle. spark.speculation
    spark.network.timeout spark.python.worker. spark.ui.enabled spark.ui.port spark.ui.showConsoleProgress
    spark.eventLog.enabled spark.eventLog.dir spark.sql.adaptive. spark.sql.ansi. spark.sql.arrow.
    spark.sql.autoBroadcastJoinThreshold spark.sql.caseSensitive spark.sql.catalogImplementation
    spark.sql.execution. spark.sql.extensions spark.sql.files. spark.sql.parquet. spark.sql.session.timeZone
    spark.sql.shuffle. spark.sql.sources. spark.sql.streaming. spark.sql.warehouse.dir
    cloudFiles.format cloudFiles.includeExistingFiles cloudFiles.maxFilesPerTrigger
    cloudFiles.useNotifications cloudFiles.allowOverwrites cloudFiles.backfillInterval
    latestFirst maxFileAge maxFilesPerTrigger pathGlobFilter recursiveFileLookup
""".split()  # noqa: SIM905  # a list literal would be four times as long
_HARMLESS_NAMES = frozenset(name for name in _HARMLESS if not name.endswith("."))
_HARMLESS_PREFIXES = tuple(name for name in _HARMLESS if name.endswith("."))

_SECRET_WORD = (
    r"(?:password|passwd|passphrase|secret|token(?!izer)|credential|signature|authorization|cookie|jaas"
    r"|(?:access|account|api|client|encryption|private|shared|signing|ssh|subscription)[._-]?(?:access)?"
    r"[._-]?key|connection[._-]?string"
    r"|(?:(?<![a-z0-9])|(?<=%3f)|(?<=%26))(?:sig|sas|pwd|pass)(?![a-z0-9]))"
)
# The end of a setting's name that holds the path of a secret instead of the secret.
_IS_PLACE = r"(?:[._-]?(?:file|path|dir))"
_SECRET_NAME = re.compile(rf"{_SECRET_WORD}(?!.*{_IS_PLACE}$)", re.IGNORECASE)
_SEPARATOR = r"""(?:\\?["'\]])*(?:\s*(?:=>?|:|->|%3D)\s*|</name>\s*<value>)"""
_VALUE = r"""(?P<value>\\["'][^"'\\]*|"(?:[^"\\]|\\.)*|'(?:[^'\\]|\\.)*|\{[^}]*\}|[^\s"'\\,;&<>{]+)"""
# `token=x`, `"password": "x"`, `spark.conf[fs.azure.account.key.name]: x`.
_ASSIGNED = re.compile(
    rf"({_SECRET_WORD}(?![\w.-]{{0,100}}{_IS_PLACE}\b)[\w.-]{{0,100}}{_SEPARATOR})"
    rf"(?:(?:basic|bearer|digest|negotiate|token)\s+)?(?!//){_VALUE}",
    re.IGNORECASE,
)
_SPARK_SETTING = re.compile(rf"(\b(?P<name>spark\.[\w.-]+)(?:\\?[\"'\]])*(?:\s*(?:=|->)\s*|,(?=\S))){_VALUE}")

_URL_START = r"\b([a-z][a-z0-9+.-]*):(?://)"
# A password may contain a slash or an @. Text after a port number is not a password.
_USER = re.compile(rf"{_URL_START}([^/\s\"'?#]*@|[^/\s:@\"'\[]*:(?!\d+/)[^\s\"']*@)", re.IGNORECASE)
_QUERY = re.compile(
    rf"({_URL_START}[^\s?\"'<>]*(?:\?|/;))(?!\(hidden\))([^\s\"'<>]+?)"
    r"(?=[),.;:\]]{0,5}(?:[\s\"'<>]|$))",
    re.IGNORECASE,
)
# `user:password@host:port`, as drivers name a server in their messages.
_LOGIN = re.compile(r"(?<![\w/])[^\s:/@\"'(,=]{1,100}:[^\s/@\"']{1,100}@(?=[\w.-]{1,100}:\d)")
# In URLs of object stores and files, a question mark is a wildcard unless `name=value` follows.
_STORES = ("s3", "s3a", "s3n", "gs", "abfs", "abfss", "wasb", "wasbs", "hdfs", "dbfs", "file")
# Azure URLs have a container in the position of the user.
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")

# Secrets that are recognized by their format, with any name.
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
    r"|(?i:(?<=bearer )[\w.~+/=-]{8,})"
    r"|\beyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?"  # JSON web token
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b(?::[^\s\"'@]+)?"  # AWS access key, and a secret key that follows
    r"|(?<![\w+/])[A-Za-z0-9+/]{86}=="  # key of an Azure storage account
    r"|\bAIza[\w-]{35}|\bya29\.[\w-]+|\bGOCSPX-[\w-]+"  # Google
    r"|\bdapi[0-9a-f]{32}|\bgh[opsru]_\w{30,}|\bgithub_pat_\w+|\bhf_[A-Za-z0-9]{30,}|\bxox[abeprs]-[\w-]+",
    re.DOTALL,
)


def redact(value: T) -> T:
    """Hides the secrets in a text, or in the texts of mappings and lists.

    Hides the user and the query string of every URL, values assigned to names such as `password` or
    `account.key`, every Spark setting that is not harmless, private keys, and tokens of known formats.
    Keeps numbers, and the name of the container in an Azure URL.
    """
    return _redacted(value)


def redact_options(options: Mapping[str, str]) -> dict[str, str]:
    """Hides the value of every Spark option that is not in the list of harmless ones."""
    return {key: redact(value) if _is_harmless(key) else HIDDEN for key, value in options.items()}


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return _redacted_text(value)
    if isinstance(value, Mapping):
        return {key: _redacted_item(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


def _redacted_item(key: Any, value: Any) -> Any:
    return HIDDEN if isinstance(value, str) and _SECRET_NAME.search(str(key)) else _redacted(value)


def _redacted_text(text: str) -> str:
    text = _SHAPES.sub(HIDDEN, text)
    if "://" in text:
        text = _USER.sub(_without_user, text)
        text = _QUERY.sub(_without_query, text)
    text = _LOGIN.sub("", text) if "@" in text else text
    text = _ASSIGNED.sub(_without_value, text)
    return _SPARK_SETTING.sub(_without_setting, text) if "spark." in text else text


def _without_user(match: re.Match[str]) -> str:
    scheme, user = match[1].lower(), match[2]
    return match[0] if scheme in _CONTAINERS and ":" not in user else f"{match[1]}://"


def _without_query(match: re.Match[str]) -> str:
    is_glob = match[2].lower() in _STORES and not re.match(r"[\w.%-]+=", match[3])
    return match[0] if is_glob else f"{match[1]}{HIDDEN}"


def _without_value(match: re.Match[str]) -> str:
    quote = re.match(r"""\\?["']|""", match["value"])
    return f"{match[1]}{quote[0] if quote else ''}{HIDDEN}"


def _without_setting(match: re.Match[str]) -> str:
    return match[0] if _is_harmless(match["name"]) else _without_value(match)


def _is_harmless(key: str) -> bool:
    key = key.removeprefix("spark.conf.")
    return key in _HARMLESS_NAMES or key.startswith(_HARMLESS_PREFIXES)
