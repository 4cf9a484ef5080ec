"""`DeepImageFeaturizer`: pictures in a DataFrame become feature vectors."""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import SparkFiles, keyword_only
from pyspark.ml import Transformer
from pyspark.ml.functions import array_to_vector
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasInputCol, HasOutputCol
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, DataType, FloatType, StructField, StructType

from framewatch.errors import FramewatchError, SchemaError
from framewatch.featurizer.engines import FeatureSpec, make_predict_fn
from framewatch.featurizer.models import POOLINGS, Pooling, get_model
from framewatch.featurizer.weights import resolve_weights
from framewatch.images import decode_image, resize, struct_to_array
from framewatch.schema import METADATA_KEY

_IMAGE_FIELDS = ("height", "width", "nChannels", "mode", "data")


class DeepImageFeaturizer(
    Transformer, HasInputCol, HasOutputCol, DefaultParamsReadable, DefaultParamsWritable
):
    """Turns pictures into the features of a deep network, the input of a small classifier.

    The input column holds Spark's image structs, or JPEG or PNG bytes. The output column holds an MLlib
    vector: with the default `pooling="avg"`, 2048 numbers for InceptionV3. A null or undecodable picture
    gives a null vector; its row is kept. What made the features (model, weights and their SHA-256,
    pooling, resize, engine, precision) is in the output column's metadata under "framewatch".

    Runs as `mapInArrow`: a worker process loads the model once and goes through its rows in batches.
    After `DeepImageFeaturizer` of sparkdl 1.x, https://github.com/databricks/spark-deep-learning.
    """

    modelName: Param[str] = Param(
        Params._dummy(), "modelName", "which network, such as InceptionV3", TypeConverters.toString
    )
    weights: Param[str] = Param(
        Params._dummy(), "weights", "imagenet, nsfwjs, auto, or the path of a file", TypeConverters.toString
    )
    pooling: Param[str] = Param(
        Params._dummy(), "pooling", "avg, max, or none for the flattened feature map", TypeConverters.toString
    )
    batchSize: Param[int] = Param(
        Params._dummy(), "batchSize", "pictures in one call of the model", TypeConverters.toInt
    )

    @keyword_only
    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str | None = None,
        modelName: str | None = None,
        weights: str = "imagenet",
        pooling: Pooling = "avg",
        batchSize: int = 32,
    ) -> None:
        super().__init__()
        self._setDefault(modelName="InceptionV3", weights="imagenet", pooling="avg", batchSize=32)
        self.setParams(**self._input_kwargs)  # type: ignore[attr-defined]  # set by keyword_only

    @keyword_only
    def setParams(self, **kwargs: Any) -> "DeepImageFeaturizer":
        """Sets any of the parameters by name."""
        return self._set(**{name: value for name, value in kwargs.items() if value is not None})

    def setInputCol(self, value: str) -> "DeepImageFeaturizer":
        """Sets the column of pictures."""
        return self._set(inputCol=value)

    def setOutputCol(self, value: str) -> "DeepImageFeaturizer":
        """Sets the column to add."""
        return self._set(outputCol=value)

    def setModelName(self, value: str) -> "DeepImageFeaturizer":
        """Sets the network."""
        return self._set(modelName=value)

    def getModelName(self) -> str:
        """The network's name."""
        return self.getOrDefault(self.modelName)

    def setWeights(self, value: str) -> "DeepImageFeaturizer":
        """Sets where the weights come from."""
        return self._set(weights=value)

    def getWeights(self) -> str:
        """Where the weights come from."""
        return self.getOrDefault(self.weights)

    def setPooling(self, value: Pooling) -> "DeepImageFeaturizer":
        """Sets how the last feature map becomes a vector."""
        return self._set(pooling=value)

    def getPooling(self) -> Pooling:
        """How the last feature map becomes a vector.

        Raises:
            FramewatchError: it is none of the known ways.
        """
        value = self.getOrDefault(self.pooling)
        for pooling in POOLINGS:
            if pooling == value:
                return pooling
        raise FramewatchError(f"pooling '{value}' is not known: choose one of {', '.join(POOLINGS)}")

    def setBatchSize(self, value: int) -> "DeepImageFeaturizer":
        """Sets the number of pictures in one call of the model."""
        return self._set(batchSize=value)

    def getBatchSize(self) -> int:
        """Pictures in one call of the model."""
        return self.getOrDefault(self.batchSize)

    def feature_spec(self, *, say: Callable[[str], None] = lambda _: None) -> FeatureSpec:
        """Model, weights and pooling, the weights found or fetched; `say` is told of a download.

        Raises:
            WeightsError: there are no such weights.
        """
        name = self.getModelName()
        return FeatureSpec(name, resolve_weights(self.getWeights(), name, say=say), self.getPooling())

    def _transform(self, dataset: DataFrame) -> DataFrame:
        input_col, output_col = self.getInputCol(), self.getOutputCol()
        input_type = _check_columns(dataset, input_col, output_col)
        get_model(self.getModelName())
        spec = self.feature_spec()
        work = functools.partial(
            _featurize_batches,
            column=dataset.columns.index(input_col),
            output_col=output_col,
            is_struct=isinstance(input_type, StructType),
            spec=spec,
            batch_size=self.getBatchSize(),
        )
        schema = StructType([*dataset.schema.fields, StructField(output_col, ArrayType(FloatType()))])
        vector = F.when(F.col(output_col).isNotNull(), array_to_vector(F.col(output_col)))
        return (
            dataset.mapInArrow(work, schema)
            .withColumn(output_col, vector)
            .withMetadata(output_col, {METADATA_KEY: spec.identity()})
        )


def _check_columns(dataset: DataFrame, input_col: str, output_col: str) -> DataType:
    types = {field.name: field.dataType for field in dataset.schema.fields}
    if input_col not in types:
        raise SchemaError(f"inputCol '{input_col}' is not a column: choose one of {', '.join(types)}")
    if output_col in types:
        raise SchemaError(f"outputCol '{output_col}' exists already: drop that column or choose another name")
    input_type = types[input_col]
    is_image = isinstance(input_type, StructType) and set(_IMAGE_FIELDS) <= set(input_type.names)
    if not is_image and not isinstance(input_type, BinaryType):
        raise SchemaError(
            f"inputCol '{input_col}' is {input_type.simpleString()[:100]}: it must hold image structs or "
            "JPEG bytes"
        )
    return input_type


def find_on_worker(path: str) -> str:
    """The driver's weights on this machine: at the same path, or among the session's files."""
    return path if os.path.isfile(path) else SparkFiles.get(os.path.basename(path))


def _featurize_batches(
    batches: Iterator[pa.RecordBatch],
    *,
    column: int,
    output_col: str,
    is_struct: bool,
    spec: FeatureSpec,
    batch_size: int,
) -> Iterator[pa.RecordBatch]:
    """Adds a column of float32 lists to each Arrow batch. Loads the model at the first row, not before."""
    for batch in batches:
        for start in range(0, batch.num_rows, batch_size):
            rows = batch.slice(start, batch_size)
            features = _features(rows.column(column), is_struct, spec)
            yield pa.RecordBatch.from_arrays(
                [*rows.columns, features], names=[*rows.schema.names, output_col]
            )


def _features(pictures: pa.Array, is_struct: bool, spec: FeatureSpec) -> pa.Array:
    """One list of float32 for each picture, null where there is none."""
    decode = struct_to_array if is_struct else decode_image
    images = [decode(value.as_py()) for value in pictures]
    valid = [resize(image, spec.model.input_size) for image in images if image is not None]
    if not valid:
        return pa.nulls(len(images), pa.list_(pa.float32()))
    values = make_predict_fn(spec, find=find_on_worker)(np.stack(valid))
    rows = iter(values)
    return pa.array([None if image is None else next(rows) for image in images], pa.list_(pa.float32()))
