"""What a moment is: windows over frames, near-duplicates, labels, and times of day."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.errors import InputError
from framewatch.models.similarity import unit
from framewatch.search.fitted import Fitted
from framewatch.search.moment_vectors import Frames, clip_windows, moments_of, still_frames
from framewatch.search.query import MomentFilter, QueryPart, combine, parse_clip
from framewatch.search.source import at_clock, parse_day
from framewatch.video.name_clock import clock_of

TIMES = st.lists(st.integers(0, 60), unique=True, max_size=40).map(lambda its: np.array(sorted(its), float))


@given(TIMES, st.sampled_from([2.0, 5.0, 6.0]))
def test_windows_have_frames_of_so_many_seconds_and_miss_no_pair(times_s, clip_s) -> None:
    windows = clip_windows(times_s, clip_s)
    for first, stop in windows:
        assert stop - first >= 2 and times_s[stop - 1] - times_s[first] < clip_s
    assert [stop for _, stop in windows] == sorted({stop for _, stop in windows})
    for number in range(len(times_s) - 1):  # what is half a window apart is together in one
        if times_s[number + 1] - times_s[number] <= clip_s / 2 - 1e-9:
            assert any(first <= number and number + 1 < stop for first, stop in windows)
    assert clip_windows(times_s, 0) == []


def test_clips_are_means_and_know_what_is_known_of_their_frames() -> None:
    vectors = np.eye(4, dtype=np.float32)
    frames = Frames(
        "a/b.mp4", [f"f{n}" for n in range(4)], np.arange(4.0),
        np.array([0.1, np.nan, 0.7, np.nan]), np.array([0, np.nan, 1, np.nan]), vectors,
    )  # fmt: skip
    moments = moments_of(frames, clip_s=2, period_s=1, still_cosine=0.99)
    assert moments.origins == ["f0", "f1", "f2", "f3", "f0+2s", "f1+2s", "f2+2s"]
    assert moments.starts_s.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert moments.ends_s.tolist() == [1, 2, 3, 4, 2, 3, 4]
    assert moments.scopes == ["frame"] * 4 + ["clip"] * 3
    np.testing.assert_allclose(moments.vectors[4], [0.5**0.5, 0.5**0.5, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(moments.probabilities, [0.1, np.nan, 0.7, np.nan, 0.1, 0.7, 0.7])
    np.testing.assert_array_equal(moments.labels, [0, np.nan, 1, np.nan, 0, 1, 1])
    none = Frames("a", [], np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, 0), np.float32))
    assert len(moments_of(none, clip_s=2, period_s=1, still_cosine=0.99)) == 0


def test_still_frames_are_like_the_last_that_was_not() -> None:
    angles = np.radians([0, 4, 8, 12, 90, 91])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # 12 degrees differ from 0, however small each step is.
    assert still_frames(vectors, np.cos(np.radians(10))).tolist() == [False, True, True, False, False, True]


@pytest.mark.parametrize(
    ("name", "clock"),
    [
        ("hall_2026-11-22_08-30-15.mp4", 30615), ("20261122T233000.mp4", 84600),
        ("x 2026.01.02 00.00.01.avi", 1), ("Fight1.mp4", None), ("cam_20261122.mp4", None),
        ("2026-11-22_29-30-15.mp4", None), ("120261122083000.mp4", None),
    ],
)  # fmt: skip
def test_the_time_of_day_in_a_name(name: str, clock: float | None) -> None:
    assert clock_of(f"file:/a/b/{name}") == clock


def test_times_of_day_go_over_midnight() -> None:
    assert at_clock(86_399.0, np.array([0.0, 1.0, 61.0])).tolist() == [86_399, 0, 60]
    assert np.isnan(at_clock(None, np.zeros(2))).all()
    assert (parse_day("22:30"), parse_day("06:00:05")) == (81_000, 21_605)
    with pytest.raises(InputError, match="'25:00' is no time of day"):
        parse_day("25:00")
    night = MomentFilter(between_s=(79_200, 21_600)).expression()
    assert "(clock_s >= 79200 or clock_s < 21600)" in night
    assert "(clock_s >= 100 and clock_s < 200)" in MomentFilter(between_s=(100, 200)).expression()


def test_weights_say_how_much_and_whether() -> None:
    assert QueryPart.parse("frame", "a b*c.jpg") == QueryPart("frame", "a b*c.jpg")
    assert QueryPart.parse("frame", "a.jpg*-0.5") == QueryPart("frame", "a.jpg", -0.5)
    x, y = np.array([3.0, 0.0]), np.array([0.0, 5.0])
    both = combine(np.stack([x, y]), [QueryPart("frame", "x"), QueryPart("frame", "y", -1.0)])
    np.testing.assert_allclose(both, [0.5**0.5, -(0.5**0.5)], atol=1e-6)
    with pytest.raises(InputError, match="are the same: give other weights"):
        combine(np.stack([x, x]), [QueryPart("frame", "x"), QueryPart("frame", "x", -1.0)])
    for wrong, told in [("a.jpg*0", "says nothing"), (" ", "--frame is empty")]:
        with pytest.raises(InputError, match=told):
            QueryPart.parse("frame", wrong)


def test_clips_by_seconds() -> None:
    assert parse_clip("a@b/Fight5.mpg@12-18.5") == ("a@b/Fight5.mpg", 12, 18.5)
    for wrong in ("Fight5", "Fight5@18-12", "Fight5@a-b", "@1-2"):
        with pytest.raises(InputError, match="is not valid: give a video and its seconds"):
            parse_clip(wrong)


@pytest.mark.parametrize(
    "wrong", [{"min_probability": 2}, {"max_probability": float("nan")}, {"label": 2}, {"scope": "video"}]
)
def test_a_filter_checks_itself(wrong) -> None:
    with pytest.raises(InputError, match=rf"{next(iter(wrong))}=.* is not valid"):
        MomentFilter(**wrong)


def test_a_sketch_keeps_inner_products_as_well_as_its_length_allows(tmp_path) -> None:
    rng = np.random.default_rng(1)
    vectors = unit((rng.normal(size=(300, 8)) @ rng.normal(size=(8, 64))).astype(np.float32))
    fitted = Fitted.fit(vectors, np.zeros(300), scenes=0, sketch=8, num_videos=1)
    assert fitted.similarity.is_plain and fitted.columns.shape == (64, 8)
    np.testing.assert_allclose(fitted.vectors(vectors), vectors, atol=1e-6)
    sketches = fitted.sketches(vectors)
    np.testing.assert_allclose(sketches @ sketches.T, vectors @ vectors.T, atol=1e-4)
    fitted.write(f"{tmp_path}/s.npz")
    again = Fitted.read(f"{tmp_path}/s.npz")
    assert again.num_videos == 1 and np.array_equal(again.columns, fitted.columns)
    for name, its in vars(fitted.similarity).items():
        assert np.array_equal(getattr(again.similarity, name), its)
    (tmp_path / "s.npz").write_bytes(b"x")
    with pytest.raises(InputError, match="run `framewatch index --rebuild`"):
        Fitted.read(f"{tmp_path}/s.npz")


def of_scenes(*, num_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of six videos, their scenes far apart; the video of each; whether something happens in it."""
    rng = np.random.default_rng(2)
    scenes, event = rng.normal(size=(6, 1, 40)), rng.normal(size=40)
    happens = rng.random((6, num_frames, 1)) < 0.5
    rows = 3 + scenes + 0.3 * happens * event + 0.02 * rng.normal(size=(6, num_frames, 40))
    videos = np.repeat([f"{n}.mp4" for n in range(6)], num_frames)
    return unit(rows.reshape(-1, 40).astype(np.float32)), videos, happens.ravel()


def share_of_the_same(vectors: np.ndarray, videos: np.ndarray, happens: np.ndarray) -> float:
    """Of the five nearest of other videos, how many are as the frame is."""
    scores = np.where(videos[:, None] == videos, -np.inf, vectors @ vectors.T)
    nearest = np.argsort(-scores, axis=1)[:, :5]
    return float((happens[nearest] == happens[:, None]).mean())


def test_told_from_their_scenes_the_nearest_are_those_where_the_same_happens() -> None:
    vectors, videos, happens = of_scenes(num_frames=30)
    fitted = Fitted.fit(vectors, videos, scenes=256, sketch=0, num_videos=6)
    assert fitted.similarity.scenes.shape == (6, 40)
    told = fitted.vectors(vectors)
    np.testing.assert_allclose(np.linalg.norm(told, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(fitted.vectors(5 * vectors), told, atol=1e-4)  # whatever their length
    before, after = (share_of_the_same(its, videos, happens) for its in (vectors, told))
    assert after > before + 0.05
    few = Fitted.fit(vectors, videos, scenes=3, sketch=0, num_videos=6)
    assert few.similarity.scenes.shape == (3, 40)


def test_a_few_frames_tell_nothing_of_a_scene() -> None:
    vectors, videos, _ = of_scenes(num_frames=9)
    assert Fitted.fit(vectors, videos, scenes=256, sketch=0, num_videos=6).similarity.is_plain
