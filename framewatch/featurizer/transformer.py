"""`DeepImageFeaturizer`: converts pictures to feature vectors."""

from collections.abc import Mapping
from typing import Any, Self

from pyspark import keyword_only
from pyspark.ml.functions import array_to_vector
from pyspark.ml.param import TypeConverters
from pyspark.sql import Column

from framewatch.errors import ConfigError
from framewatch.featurizer.base import DeepImageTransformer, log
from framewatch.featurizer.params import choice, param
from framewatch.io.images import MAX_PIXELS
from framewatch.models.network_declaration import declaration_from_json, parse_declaration
from framewatch.models.registry import POOLINGS, Pooling, is_model_file, is_onnx_file
from framewatch.models.resolve import OnMessage, resolve_network
from framewatch.models.spec import Network


def _declaration(value: Mapping[str, Any] | str) -> str:
    """Converts a declaration to JSON; raises TypeError for one that is not valid."""
    try:
        if isinstance(value, str):
            return declaration_from_json(value).to_json()
        return parse_declaration(value, "declaration").to_json()
    except ConfigError as error:
        raise TypeError(str(error)) from error


class DeepImageFeaturizer(DeepImageTransformer):
    """Converts pictures to the features of a deep network, for training a small classifier.

    The input column contains Spark's image structs, or the bytes of JPEG or PNG files, like
    `frames.content`. The output column contains an MLlib vector: with the default `pooling="avg"`, 2048
    numbers for InceptionV3; `framewatch.sparkdl.DeepImageFeaturizer` has the old, unpooled lengths. A picture
    that is null, damaged or too large gives a null vector, and so do features that are not finite. The row
    is kept, `errorCol` has the reason, and the worker logs the counts. The metadata of the output column,
    under "framewatch", identifies model, weights and their SHA-256, pooling, resize, engine and precision.

    Runs with `mapInArrow`: each worker process loads the network once, and processes its rows in batches.
    `transform` lowers the session's `spark.sql.execution.arrow.maxRecordsPerBatch` to `arrowBatchRows`.
    Compatible with `DeepImageFeaturizer` of sparkdl 1.x,
    https://github.com/databricks/spark-deep-learning.

    Args:
        inputCol: the column of pictures.
        outputCol: the column to add.
        modelName: a registered name (InceptionV3, Xception, ResNet50, VGG16, VGG19, ...), or the path of a
            whole Keras model or of an ONNX network, which has a YAML file beside it.
        scaleHint: how pictures are resized to the input size. `SCALE_AREA_AVERAGING` and `SCALE_SMOOTH`
            average areas; `SCALE_DEFAULT`, `SCALE_FAST` and `SCALE_REPLICATE` take the nearest pixel.
        weights: `imagenet`, `nsfwjs`, `auto` (the first of these that is available), or the path of a
            weights file.
        weightsSha256: required SHA-256 of the weights; set when a featurizer is saved.
        pooling: `avg` or `max` over the last feature map, or `none` for the whole map, flattened in the order
            height, width, channel. An ONNX network declares it.
        layer: for a Keras model file, the layer to use as output; by default the last one.
        preprocessing: for a Keras model file, how pixels from 0 to 255 are scaled: `tf` (x/127.5-1), `caffe`
            (BGR minus the ImageNet means), `torch`, `unit` (x/255), `raw` (unscaled, for models that scale).
        declaration: for an ONNX network, the keys of its YAML file; by default the file is read. A saved
            featurizer contains them.
        engine: `tensorflow`, `openvino`, or `auto`: TensorFlow on a GPU, else OpenVINO if installed.
        precision: `float32`, `bfloat16`, `int8` (after `framewatch quantize`), or `auto`: bfloat16 if the
            CPU supports it, else float32.
        batchSize: number of pictures in one call of the network.
        maxPixels: larger pictures are not decoded.
        errorCol: the column to add for the reason of a null output: `null`, `no picture`, `damaged`,
            `too large`, or `not finite`; null for a picture with features. By default no column is added.
        numThreads: threads of a worker; 0 for the cores of a task slot, `spark.task.cpus`.
        arrowBatchRows: maximum rows in an Arrow batch; 0 keeps the session's setting.
        saveWeights: whether `save` includes the weights instead of only their name and SHA-256.

    Raises:
        TypeError: a value is not valid; the message lists the valid ones.

    Example:
        >>> featurizer = DeepImageFeaturizer(inputCol="content", outputCol="features", weights="auto")
        >>> features = featurizer.transform(frames)
        >>> features.select("features").dtypes
        [('features', 'vector')]
    """

    pooling = param("pooling", "how the last feature map is reduced", choice("pooling", POOLINGS))
    layer = param("layer", "for a Keras model file: the layer to use as output", TypeConverters.toString)
    declaration = param("declaration", "for an ONNX network: its input and output, as JSON", _declaration)
    saveWeights = param("saveWeights", "whether save includes the weights", TypeConverters.toBoolean)

    @keyword_only
    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str | None = None,
        modelName: str | None = None,
        scaleHint: str = "SCALE_AREA_AVERAGING",
        weights: str = "imagenet",
        weightsSha256: str | None = None,
        pooling: Pooling = "avg",
        layer: str | None = None,
        preprocessing: str | None = None,
        declaration: Mapping[str, Any] | None = None,
        engine: str = "auto",
        precision: str = "auto",
        batchSize: int = 32,
        maxPixels: int = MAX_PIXELS,
        errorCol: str | None = None,
        numThreads: int = 0,
        arrowBatchRows: int = 64,
        saveWeights: bool = False,
    ) -> None:
        super().__init__()
        self._setDefault(pooling="avg", saveWeights=False)
        self.setParams(**self._input_kwargs)  # type: ignore[attr-defined]  # set by keyword_only

    def setPooling(self, value: Pooling) -> Self:
        """Sets how the last feature map is reduced to a vector: `avg`, `max`, or `none`."""
        return self._set(pooling=value)

    def getPooling(self) -> Pooling:
        """Returns how the last feature map is reduced to a vector."""
        return self.getOrDefault(self.pooling)

    def setLayer(self, value: str) -> Self:
        """Sets the layer of a Keras model file to use as output."""
        return self._set(layer=value)

    def getLayer(self) -> str | None:
        """Returns the layer of a Keras model file to use as output, or None for its own output."""
        return self.getOrDefault(self.layer) if self.isDefined(self.layer) else None

    def setDeclaration(self, value: Mapping[str, Any] | str) -> Self:
        """Sets the declaration of an ONNX network: the keys of its YAML file, or the same as JSON."""
        return self._set(declaration=value)

    def getDeclaration(self) -> str | None:
        """Returns the declaration of an ONNX network as JSON, or None to read its YAML file."""
        return self.getOrDefault(self.declaration) if self.isDefined(self.declaration) else None

    def setSaveWeights(self, value: bool) -> Self:
        """Sets whether `save` includes the weights."""
        return self._set(saveWeights=value)

    def getSaveWeights(self) -> bool:
        """Returns whether `save` includes the weights."""
        return self.getOrDefault(self.saveWeights)

    def network(self, *, on_message: OnMessage = log.info) -> Network:
        """Resolves the network of the parameters, and finds or downloads its weights.

        Raises:
            ConfigError: a parameter is for another kind of model, or the declaration is missing or not valid.
            WeightsError: the weights are not found, or their SHA-256 is not `weightsSha256`.
        """
        model = self.getModelName()
        declaration = self.getDeclaration()
        # A model file contains its weights. Only Keras files need the parameter preprocessing, and an ONNX
        # network declares its pooling.
        is_file, is_onnx = is_model_file(model), is_onnx_file(model)
        is_keras = is_file and not is_onnx
        return resolve_network(
            model,
            self.getWeights() if not is_file or self.isSet(self.weights) else None,
            pooling=self.getPooling() if not is_onnx or self.isSet(self.pooling) else None,
            layer=self.getLayer(),
            preprocessing=self.getPreprocessing() if is_keras or self.isSet(self.preprocessing) else None,
            declaration=declaration_from_json(declaration) if declaration else None,
            sha256=self.getWeightsSha256(),
            on_message=on_message,
        )

    def output(self, numbers: Column) -> Column:
        """Returns an MLlib vector."""
        return array_to_vector(numbers)
