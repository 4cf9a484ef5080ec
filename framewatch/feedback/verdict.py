"""A verdict: one answer of a reviewer."""

import uuid
from dataclasses import dataclass, field
from typing import Literal, get_args

from framewatch.errors import InputError
from framewatch.tables.results import FileId

Answer = Literal["suspicious", "not", "unsure"]
ANSWERS: tuple[str, ...] = get_args(Answer)

_MOST_NAME = 40


@dataclass(frozen=True)
class Verdict:
    """One reviewer's answer about `[start_s, end_s)` of a video.

    Attributes:
        video: URI of the video.
        answer: `suspicious`, `not` or `unsure`.
        reviewer: name of the reviewer.
        reason: why the moment was shown: `top`, `uncertain`, `random`, or `chosen` by the reviewer.
        model: identity of the classifier that ranked the moment.
        prob2: probability of the moment when it was shown.
        at: time of the answer, ISO 8601 in UTC; later answers of a reviewer replace earlier ones.
        id: permanent identifier.
        size_bytes: size of the video's file; None if unknown, as in logs of older versions.
        modified_ms: modification time of the file, epoch milliseconds; None if unknown.
    """

    video: str
    start_s: float
    end_s: float
    answer: str
    reviewer: str
    reason: str = "chosen"
    model: str = ""
    prob2: float | None = None
    at: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    size_bytes: int | None = None
    modified_ms: int | None = None

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise InputError(f"answer={self.answer} is not valid: choose one of {', '.join(ANSWERS)}")
        if not 0 <= self.start_s < self.end_s < float("inf"):
            raise InputError(
                f"[{self.start_s}, {self.end_s}) is not a range of seconds: give start_s below end_s, from 0"
            )
        name = self.reviewer
        if not name.strip() or len(name) > _MOST_NAME or not name.isprintable():
            raise InputError(f"reviewer={name!r} is not valid: give a name of 1 to {_MOST_NAME} characters")

    @property
    def has_file(self) -> bool:
        """Whether the verdict records the file that was reviewed."""
        return self.size_bytes is not None or self.modified_ms is not None

    def is_of(self, file: FileId) -> bool:
        """Returns whether the verdict may be about this file: known sizes and times are equal."""
        pairs = zip((self.size_bytes, self.modified_ms), file, strict=True)
        return all(own is None or other is None or own == other for own, other in pairs)
