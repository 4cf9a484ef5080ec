"""`DeepImageFeaturizer`: pictures in a DataFrame become feature vectors."""

from typing import Self

from pyspark import keyword_only
from pyspark.ml.functions import array_to_vector
from pyspark.ml.param import TypeConverters
from pyspark.sql import Column

from framewatch.featurizer.base import DeepImageTransformer, log
from framewatch.featurizer.params import choice, param
from framewatch.io.images import MAX_PIXELS
from framewatch.models.registry import POOLINGS, Pooling, is_model_file
from framewatch.models.resolve import OnMessage, resolve_network
from framewatch.models.spec import Network


class DeepImageFeaturizer(DeepImageTransformer):
    """Turns pictures into the features of a deep network, the input of a small classifier.

    The input column holds Spark's image structs, or the bytes of JPEG or PNG files, as `frames.content`
    does. The output column holds an MLlib vector: with the default `pooling="avg"`, 2048 numbers for
    InceptionV3; `framewatch.sparkdl.DeepImageFeaturizer` has the old, unpooled lengths. A picture that is
    null, damaged or too large gives a null vector, and so do features that are not finite; the row is kept,
    `errorCol` holds the reason, and the worker's log counts them. What made
    the features (model, weights and their SHA-256, pooling, resize, engine, precision) is in the output
    column's metadata under "framewatch".

    Runs as `mapInArrow`: a worker process loads the network once and goes through its rows in batches.
    `transform` lowers the session's `spark.sql.execution.arrow.maxRecordsPerBatch` to `arrowBatchRows`.
    After `DeepImageFeaturizer` of sparkdl 1.x, https://github.com/databricks/spark-deep-learning.

    Args:
        inputCol: the column of pictures.
        outputCol: the column to add.
        modelName: a name of the registry (InceptionV3, Xception, ResNet50, VGG16, VGG19, ...), or the path of
            a whole Keras model.
        scaleHint: how pictures are stretched to the input size. `SCALE_AREA_AVERAGING` and `SCALE_SMOOTH`
            average areas, `SCALE_DEFAULT`, `SCALE_FAST` and `SCALE_REPLICATE` take the nearest pixel.
        weights: `imagenet`, `nsfwjs`, `auto` (the first of these in reach), or the path of a weights file.
        weightsSha256: the SHA-256 that the weights must have; a saved featurizer carries it.
        pooling: `avg` or `max` over the last feature map, or `none` for all of it, flattened in the order
            height, width, channel.
        layer: of a model file, the layer whose output is taken; the last without it.
        preprocessing: of a model file, how pixels of 0 to 255 are scaled: `tf` (x/127.5-1), `caffe` (BGR less
            the ImageNet means), `torch`, `unit` (x/255), `raw` (not at all: the model does it).
        engine: `tensorflow`, `openvino`, or `auto`: TensorFlow on a GPU, else OpenVINO where installed.
        precision: `float32`, `bfloat16`, `int8` (after `framewatch quantize`), or `auto`: bfloat16 where the
            CPU has it, else float32.
        batchSize: pictures in one call of the network.
        maxPixels: pictures of more pixels are not decoded.
        errorCol: the column to add for why a picture has no features: `null`, `no picture`, `damaged`,
            `too large`, or `not finite`; null where it has some. No column without it.
        numThreads: of a worker; 0 for the cores of a task slot, `spark.task.cpus`.
        arrowBatchRows: most rows in one Arrow batch; 0 leaves the session's setting.
        saveWeights: whether `save` puts the weights inside; else their name and SHA-256.

    Raises:
        TypeError: a value is not among the valid ones, which the message lists.

    Example:
        >>> featurizer = DeepImageFeaturizer(inputCol="content", outputCol="features", weights="auto")
        >>> features = featurizer.transform(frames)
        >>> features.select("features").dtypes
        [('features', 'vector')]
    """

    pooling = param("pooling", "how the last feature map becomes a vector", choice("pooling", POOLINGS))
    layer = param("layer", "of a model file: the layer to cut at", TypeConverters.toString)
    saveWeights = param("saveWeights", "whether save puts the weights inside", TypeConverters.toBoolean)

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
        """Sets how the last feature map becomes a vector: `avg`, `max`, or `none`."""
        return self._set(pooling=value)

    def getPooling(self) -> Pooling:
        """How the last feature map becomes a vector."""
        return self.getOrDefault(self.pooling)

    def setLayer(self, value: str) -> Self:
        """Sets the layer of a model file to cut at."""
        return self._set(layer=value)

    def getLayer(self) -> str | None:
        """The layer of a model file to cut at; None for its output."""
        return self.getOrDefault(self.layer) if self.isDefined(self.layer) else None

    def setSaveWeights(self, value: bool) -> Self:
        """Sets whether `save` puts the weights inside."""
        return self._set(saveWeights=value)

    def getSaveWeights(self) -> bool:
        """Whether `save` puts the weights inside."""
        return self.getOrDefault(self.saveWeights)

    def network(self, *, on_message: OnMessage = log.info) -> Network:
        """The network that the parameters name, its weights found or fetched.

        Raises:
            WeightsError: there are no such weights, or they have another SHA-256 than `weightsSha256`.
        """
        model = self.getModelName()
        # A model file's weights are itself, and only it needs to know its preprocessing.
        is_file = is_model_file(model)
        return resolve_network(
            model,
            self.getWeights() if not is_file or self.isSet(self.weights) else None,
            pooling=self.getPooling(),
            layer=self.getLayer(),
            preprocessing=self.getPreprocessing() if is_file or self.isSet(self.preprocessing) else None,
            sha256=self.getWeightsSha256(),
            on_message=on_message,
        )

    def output(self, numbers: Column) -> Column:
        """An MLlib vector."""
        return array_to_vector(numbers)
