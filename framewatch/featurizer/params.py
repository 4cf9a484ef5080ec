"""The parameters of the featurizer and the predictor, and their validation."""

from collections.abc import Callable, Collection
from typing import Any, Self

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasInputCol, HasOutputCol

from framewatch.io.images import MAX_PIXELS
from framewatch.models.registry import MODELS, PREPROCESSINGS, is_model_file, unknown_model
from framewatch.models.spec import ENGINES, PRECISIONS, SCALE_HINTS


def param(name: str, doc: str, converter: Callable[[Any], Any]) -> Param[Any]:
    """Returns a class-level parameter, which PySpark copies to each instance."""
    return Param(Params._dummy(), name, doc, converter)


def choice(name: str, choices: Collection[str]) -> Callable[[Any], str]:
    """Returns a type converter that accepts only `choices`, and raises TypeError for other values."""

    def convert(value: Any) -> str:
        if value not in choices:
            raise TypeError(f"{name} {value!r} is unknown: choose one of {', '.join(choices)}")
        return str(value)

    return convert


def at_least(lowest: int) -> Callable[[Any], int]:
    """Returns a type converter that accepts only integers of at least `lowest`."""

    def convert(value: Any) -> int:
        number = TypeConverters.toInt(value)
        if number < lowest:
            raise TypeError(f"{number} is too small: give {lowest} or more")
        return number

    return convert


def _model_name(value: Any) -> str:
    if not isinstance(value, str) or not (value in MODELS or is_model_file(value)):
        raise TypeError(unknown_model(value))
    return value


class NetworkParams(HasInputCol, HasOutputCol):
    """Parameters of the network and of how it runs."""

    modelName = param("modelName", "a registered name, or the path of a Keras or ONNX file", _model_name)
    scaleHint = param(
        "scaleHint", "how pictures are resized to the input size", choice("scaleHint", SCALE_HINTS)
    )
    weights = param("weights", "imagenet, nsfwjs, auto, or the path of a file", TypeConverters.toString)
    weightsSha256 = param(
        "weightsSha256", "required SHA-256 of the weights; any if unset", TypeConverters.toString
    )
    preprocessing = param(
        "preprocessing",
        "for a Keras model file: how pixels are scaled",
        choice("preprocessing", PREPROCESSINGS),
    )
    engine = param("engine", "the library that runs the network", choice("engine", ENGINES))
    precision = param("precision", "the number format of the computation", choice("precision", PRECISIONS))
    batchSize = param("batchSize", "number of pictures in one call of the network", at_least(1))
    numThreads = param("numThreads", "threads of a worker; 0 for the cores of a task slot", at_least(0))
    arrowBatchRows = param(
        "arrowBatchRows", "maximum rows in an Arrow batch; 0 keeps the session's setting", at_least(0)
    )

    maxPixels = param("maxPixels", "larger pictures are not decoded", at_least(1))
    errorCol = param("errorCol", "the column to add for the reason of a null output", TypeConverters.toString)

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(
            maxPixels=MAX_PIXELS,
            modelName="InceptionV3",
            scaleHint="SCALE_AREA_AVERAGING",
            weights="imagenet",
            preprocessing="raw",
            engine="auto",
            precision="auto",
            batchSize=32,
            numThreads=0,
            arrowBatchRows=64,
        )

    def setParams(self, **params: Any) -> Self:
        """Sets parameters by name; None keeps the current value."""
        return self._set(**{name: value for name, value in params.items() if value is not None})

    def setInputCol(self, value: str) -> Self:
        """Sets the column of pictures."""
        return self._set(inputCol=value)

    def setOutputCol(self, value: str) -> Self:
        """Sets the column to add."""
        return self._set(outputCol=value)

    def setModelName(self, value: str) -> Self:
        """Sets the network: a registered name, or the path of a whole Keras model or an ONNX network."""
        return self._set(modelName=value)

    def getModelName(self) -> str:
        """Returns the name of the network."""
        return self.getOrDefault(self.modelName)

    def setScaleHint(self, value: str) -> Self:
        """Sets how pictures are resized to the input size."""
        return self._set(scaleHint=value)

    def getScaleHint(self) -> str:
        """Returns how pictures are resized to the input size."""
        return self.getOrDefault(self.scaleHint)

    def setWeights(self, value: str) -> Self:
        """Sets where the weights come from."""
        return self._set(weights=value)

    def getWeights(self) -> str:
        """Returns where the weights come from."""
        return self.getOrDefault(self.weights)

    def setWeightsSha256(self, value: str) -> Self:
        """Sets the required SHA-256 of the weights."""
        return self._set(weightsSha256=value)

    def getWeightsSha256(self) -> str | None:
        """Returns the required SHA-256 of the weights, or None."""
        return self.getOrDefault(self.weightsSha256) if self.isDefined(self.weightsSha256) else None

    def setPreprocessing(self, value: str) -> Self:
        """Sets how pixels are scaled for a Keras model file: `tf`, `caffe`, `torch`, `unit`, or `raw`."""
        return self._set(preprocessing=value)

    def getPreprocessing(self) -> str:
        """Returns how pixels are scaled for a Keras model file."""
        return self.getOrDefault(self.preprocessing)

    def setEngine(self, value: str) -> Self:
        """Sets the library that runs the network: `tensorflow`, `openvino`, or `auto`."""
        return self._set(engine=value)

    def getEngine(self) -> str:
        """Returns the library that runs the network."""
        return self.getOrDefault(self.engine)

    def setPrecision(self, value: str) -> Self:
        """Sets the number format of the computation: `float32`, `bfloat16`, `int8`, or `auto`."""
        return self._set(precision=value)

    def getPrecision(self) -> str:
        """Returns the number format of the computation."""
        return self.getOrDefault(self.precision)

    def setBatchSize(self, value: int) -> Self:
        """Sets the number of pictures in one call of the network."""
        return self._set(batchSize=value)

    def getBatchSize(self) -> int:
        """Returns the number of pictures in one call of the network."""
        return self.getOrDefault(self.batchSize)

    def setNumThreads(self, value: int) -> Self:
        """Sets the threads of a worker; 0 for the cores of a task slot."""
        return self._set(numThreads=value)

    def getNumThreads(self) -> int:
        """Returns the threads of a worker; 0 for the cores of a task slot."""
        return self.getOrDefault(self.numThreads)

    def setArrowBatchRows(self, value: int) -> Self:
        """Sets the maximum number of rows in an Arrow batch; 0 keeps the session's setting."""
        return self._set(arrowBatchRows=value)

    def getArrowBatchRows(self) -> int:
        """Returns the maximum number of rows in an Arrow batch; 0 keeps the session's setting."""
        return self.getOrDefault(self.arrowBatchRows)

    def setMaxPixels(self, value: int) -> Self:
        """Sets the maximum number of pixels of a picture; larger ones are not decoded."""
        return self._set(maxPixels=value)

    def getMaxPixels(self) -> int:
        """Returns the maximum number of pixels of a picture; larger ones are not decoded."""
        return self.getOrDefault(self.maxPixels)

    def setErrorCol(self, value: str) -> Self:
        """Sets the column to add for the reason of a null output."""
        return self._set(errorCol=value)

    def getErrorCol(self) -> str | None:
        """Returns the column to add for the reason of a null output, or None."""
        return self.getOrDefault(self.errorCol) if self.isDefined(self.errorCol) else None
