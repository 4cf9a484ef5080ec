"""Configuration sections from inputs to features: videos, labels, frames and the network."""

from dataclasses import dataclass, field

from framewatch.config.checks import require, require_choice
from framewatch.io.images import MAX_PIXELS
from framewatch.models.registry import MODELS, POOLINGS, PREPROCESSINGS, is_model_file, is_onnx_file
from framewatch.models.spec import ENGINES, PRECISIONS, SCALE_HINTS

# Which pictures of the sampled frames the table `frames` holds.
KEPT = ("none", "thumbnails", "full")


@dataclass(frozen=True)
class VideosConfig:
    """The videos: files, directories, which are searched recursively, or globs; one or a list."""

    train: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    root: str | None = None


@dataclass(frozen=True)
class LabelsConfig:
    """CSV files of hand labels and of groups, and whether reviewers' verdicts are labels too."""

    train: str | None = None
    test: str | None = None
    groups: str | None = None
    verdicts: bool = False


@dataclass(frozen=True)
class SamplingConfig:
    """Which frames to sample: `fps` per second, each with a burst of pictures that shows what moves."""

    fps: float = 1.0
    mode: str = "exact"
    tolerance_s: float = 0.5
    burst: int = 1
    burst_step_s: float = 0.2

    def __post_init__(self) -> None:
        require(
            0 < self.fps <= 240, "sampling.fps", self.fps, "give frames per second, above 0 and up to 240"
        )
        require_choice("sampling.mode", self.mode, ("exact", "keyframes"))
        require(self.tolerance_s > 0, "sampling.tolerance_s", self.tolerance_s, "give seconds above 0")
        require(1 <= self.burst <= 100, "sampling.burst", self.burst, "give 2 to 100 pictures, or 1 for none")
        require(self.burst_step_s > 0, "sampling.burst_step_s", self.burst_step_s, "give seconds above 0")
        lasts_s = (self.burst - 1) * self.burst_step_s
        require(
            lasts_s < 1 / self.fps,
            "sampling.burst",
            self.burst,
            f"a burst of {lasts_s:g} s must end before the next sample, after {1 / self.fps:g} s: give fewer "
            "pictures, or a shorter sampling.burst_step_s",
        )
        rule = "sampling.mode=keyframes decodes no pictures between keyframes: give 1, or sampling.mode=exact"
        require(self.burst == 1 or self.mode == "exact", "sampling.burst", self.burst, rule)


@dataclass(frozen=True)
class FramesConfig:
    """How frames are stored."""

    keep: str = "auto"
    jpeg_quality: int = 95
    max_side: int = 0
    write_images: bool = False

    def __post_init__(self) -> None:
        require_choice("frames.keep", self.keep, ("auto", *KEPT))
        require(1 <= self.jpeg_quality <= 100, "frames.jpeg_quality", self.jpeg_quality, "give 1 to 100")
        rule = "give 16 or more pixels, or 0 for any size"
        require(self.max_side == 0 or self.max_side >= 16, "frames.max_side", self.max_side, rule)
        keeps_full = self.keep in ("auto", "full") or not self.write_images
        require(keeps_full, "frames.keep", self.keep, "frames.write_images=true needs frames.keep=full")


@dataclass(frozen=True)
class ImagesConfig:
    """The maximum size of pictures to decode: frames, pictures in queries, and uploaded pictures."""

    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        require(self.max_pixels >= 1, "images.max_pixels", self.max_pixels, "give a number of pixels above 0")


@dataclass(frozen=True)
class ExtractConfig:
    """How videos are read: resuming, batches, timeouts, retries."""

    mode: str = "resume"
    videos_per_batch: int = 64
    chunk_s: float = 600.0
    timeout_s: float = 3600.0
    max_failed_share: float = 0.1
    max_attempts: int = 3
    decode_all: bool = False

    def __post_init__(self) -> None:
        require_choice("extract.mode", self.mode, ("resume", "retry", "overwrite"))
        for name in ("chunk_s", "timeout_s"):
            value = getattr(self, name)
            require(value > 0, f"extract.{name}", value, "give seconds above 0")
        require(
            self.videos_per_batch >= 1, "extract.videos_per_batch", self.videos_per_batch, "give 1 or more"
        )
        require(self.max_attempts >= 1, "extract.max_attempts", self.max_attempts, "give 1 or more")
        require(
            0 <= self.max_failed_share <= 1,
            "extract.max_failed_share",
            self.max_failed_share,
            "give a share, 0 to 1",
        )


@dataclass(frozen=True)
class FeaturesConfig:
    """How features are stored."""

    precision: str = "single"

    def __post_init__(self) -> None:
        require_choice("features.precision", self.precision, ("single", "half"))


@dataclass(frozen=True)
class FeaturizerConfig:
    """The network that turns frames into features, and how it runs."""

    model: str = "InceptionV3"
    weights: str = "imagenet"
    scale_hint: str = "SCALE_AREA_AVERAGING"
    pooling: str = "avg"
    layer: str | None = None
    preprocessing: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    batch_size: int = 32
    threads: int = 0
    arrow_batch_rows: int = 64
    calibration_frames: int = 200
    frames_per_task: int = 64
    mode: str = "resume"

    def __post_init__(self) -> None:
        require(
            self.model in MODELS or is_model_file(self.model),
            "featurizer.model",
            self.model,
            f"choose one of {', '.join(MODELS)}, or give a whole Keras model (.keras or .h5) or an "
            "ONNX network (.onnx)",
        )
        is_onnx = is_onnx_file(self.model)
        for name in ("layer", "preprocessing"):
            require(
                getattr(self, name) is None or (is_model_file(self.model) and not is_onnx),
                f"featurizer.{name}",
                getattr(self, name),
                f"it is for a Keras model file, and {self.model} has its own",
            )
        require_choice("featurizer.preprocessing", self.preprocessing or "raw", tuple(PREPROCESSINGS))
        require_choice("featurizer.scale_hint", self.scale_hint, tuple(SCALE_HINTS))
        require_choice("featurizer.pooling", self.pooling, POOLINGS)
        rule = f"the YAML file beside {self.model} declares it"
        require(not is_onnx or self.pooling == "avg", "featurizer.pooling", self.pooling, rule)
        require_choice("featurizer.engine", self.engine, ENGINES)
        require_choice("featurizer.precision", self.precision, PRECISIONS)
        require_choice("featurizer.mode", self.mode, ("resume", "overwrite"))
        for name in ("batch_size", "frames_per_task", "calibration_frames"):
            require(getattr(self, name) >= 1, f"featurizer.{name}", getattr(self, name), "give 1 or more")
        for name in ("threads", "arrow_batch_rows"):
            require(getattr(self, name) >= 0, f"featurizer.{name}", getattr(self, name), "give 0 or more")
