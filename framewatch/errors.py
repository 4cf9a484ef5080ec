"""What framewatch says when it cannot go on.

Every message is one line that names the value it got, the rule, and the remedy. The command line
prints it without a stack trace and exits with 2.
"""


class FramewatchError(Exception):
    """Something the user can mend; the message says what and how."""


class ConfigError(FramewatchError):
    """A configuration key or value that is not valid."""


class InputError(FramewatchError):
    """Videos, labels, or tables that are missing or do not fit together."""


class NoVideosError(InputError):
    """A pattern matches no video, or nothing at all."""


class WatchError(FramewatchError):
    """A watch that has failed several times in a row."""


class PictureError(InputError):
    """A picture that cannot be used.

    Attributes:
        reason: why, in words that are the same for all such pictures, to be counted.
    """

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason


class PictureTooLargeError(PictureError):
    """A picture of more pixels than `images.max_pixels`; it has not been decoded."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "too large")


class SchemaError(FramewatchError):
    """A DataFrame lacks a column, or has one of another type."""


class WeightsError(FramewatchError):
    """Model weights that are missing, damaged, or of another model."""


class LockLostError(FramewatchError):
    """Another run has taken over the output of this one, which must not write any more."""


class SetupError(FramewatchError):
    """The machine lacks something, such as Java or an optional package."""


class VideoError(FramewatchError):
    """A video that cannot be read; becomes its `videos.error`, never a failed job."""


class UnreadableError(VideoError):
    """The storage does not give the file: missing, forbidden, not connected. A later try may succeed."""
