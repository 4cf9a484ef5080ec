"""The base class of the featurizer and the predictor: resolves the network and runs it on pictures."""

import contextlib
import logging
from abc import abstractmethod

from pyspark.errors import PySparkException
from pyspark.ml import Transformer
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, FloatType, StringType, StructField, StructType

from framewatch.errors import SchemaError
from framewatch.featurizer.inference import Work
from framewatch.featurizer.params import NetworkParams
from framewatch.featurizer.persistence import WeightsReadable, WeightsWritable
from framewatch.models.resolve import OnMessage, resolve_spec
from framewatch.models.spec import FeatureSpec, Network, resize_for
from framewatch.tables.schema import METADATA_KEY

_IMAGE_FIELDS = {"height", "width", "nChannels", "mode", "data"}
_ARROW_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"
log = logging.getLogger("framewatch")


class DeepImageTransformer(NetworkParams, Transformer, WeightsWritable, WeightsReadable):
    """A transformer that runs a network on a column of pictures."""

    @abstractmethod
    def network(self, *, on_message: OnMessage = log.info) -> Network:
        """Resolves the network of the parameters, and finds or downloads its weights.

        Raises:
            WeightsError: the weights are not found, or their SHA-256 is not `weightsSha256`.
        """

    def feature_spec(
        self, *, spark: SparkSession | None = None, on_message: OnMessage = log.info
    ) -> FeatureSpec:
        """Resolves the network and how it runs.

        Args:
            spark: session whose `spark.task.*` settings give cores and GPUs of a task; None for one core
                and no assigned GPU.
            on_message: called with one line when a download or a conversion begins.

        Raises:
            WeightsError: as for `network`, or the network has no int8 version.
            ConfigError: the engine does not support the precision or the model.
            SetupError: the engine is not installed.
        """
        gpus = _setting(spark, "spark.task.resource.gpu.amount")
        network = self.network(on_message=on_message)
        return resolve_spec(
            network,
            resize_for(network, self.getScaleHint()),
            engine=self.getEngine(),
            precision=self.getPrecision(),
            has_gpu=True if gpus and float(gpus) > 0 else None,
            num_threads=self.getNumThreads() or int(_setting(spark, "spark.task.cpus") or 1),
            on_message=on_message,
        )

    @abstractmethod
    def output(self, numbers: Column) -> Column:
        """Converts the network's output, array<float>, to the values of the output column."""

    def _transform(self, dataset: DataFrame) -> DataFrame:
        index = check_columns(dataset, self)
        spark = dataset.sparkSession
        spec = self.feature_spec(spark=spark)
        rows = self.getArrowBatchRows()
        if rows and not 0 < int(_setting(spark, _ARROW_ROWS) or 0) <= rows:
            # Spark reads this setting when the job starts. Its default, 10,000 pictures, takes gigabytes.
            with contextlib.suppress(PySparkException):  # read-only, as on Databricks serverless
                spark.conf.set(_ARROW_ROWS, rows)
        ship_network(spark, spec)
        name, error = self.getOutputCol(), self.getErrorCol()
        added = [StructField(name, ArrayType(FloatType()))]
        added += [StructField(error, StringType())] if error else []
        work = Work(index, name, spec, self.getBatchSize(), error, self.getMaxPixels())
        df = dataset.mapInArrow(work, StructType([*dataset.schema.fields, *added]))
        value = F.when(column(name).isNotNull(), self.output(column(name)))
        return df.withColumn(name, value).withMetadata(name, {METADATA_KEY: spec.identity()})


def ship_network(spark: SparkSession, spec: FeatureSpec) -> None:
    """Sends the network's file to the executors, which use it if they do not find the driver's path."""
    if (_setting(spark, "spark.master") or "").startswith("local"):
        return
    file = spec.converted or spec.network.weights
    try:
        spark.addArtifacts(file.path, file=True)
    except (PySparkException, RuntimeError) as error:
        # Spark 3.5 only supports this over Connect. A worker without the file names it, and `--files`.
        log.info("%s was not sent to the workers (%s)", file.path, error)


def column(name: str) -> Column:
    """Returns the column with exactly this name, even if it contains dots."""
    return F.col("`" + name.replace("`", "``") + "`")


def _setting(spark: SparkSession | None, key: str) -> str | None:
    try:
        return spark.conf.get(key, None) if spark else None
    except PySparkException:
        return None  # some platforms do not expose their settings


def check_columns(dataset: DataFrame, params: NetworkParams) -> int:
    """Checks the columns of the parameters, and returns the index of the input column.

    Raises:
        SchemaError: inputCol is not set, does not exist or does not contain pictures, or an output column
            exists already.
    """
    if not params.isDefined(params.inputCol):
        raise SchemaError("inputCol is not set: set it to the column of pictures")
    fold = str if _setting(dataset.sparkSession, "spark.sql.caseSensitive") == "true" else str.casefold
    names = [fold(name) for name in dataset.columns]
    input_col, output_col = params.getInputCol(), params.getOutputCol()
    if fold(input_col) not in names:
        raise SchemaError(
            f"inputCol '{input_col}' is not a column: choose one of {', '.join(dataset.columns)}"
        )
    added = {"outputCol": output_col, "errorCol": params.getErrorCol()}
    for param, name in added.items():
        if name is not None and fold(name) in names:
            raise SchemaError(f"{param} '{name}' exists already: drop that column or choose another name")
        names += [fold(name)] if name is not None else []
    column = names.index(fold(input_col))
    input_type = dataset.schema.fields[column].dataType
    is_image = isinstance(input_type, StructType) and set(input_type.names) >= _IMAGE_FIELDS
    if not is_image and not isinstance(input_type, BinaryType):
        raise SchemaError(
            f"inputCol '{input_col}' has type {input_type.simpleString()[:100]}: it must contain image "
            "structs or JPEG bytes"
        )
    return column
