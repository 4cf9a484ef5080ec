"""The one definition of similarity: formula, centring, empty frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.models.similarity import Similarity, unit

RNG = np.random.default_rng(0)


def footage(num_videos: int = 6, num_frames: int = 60, *, length: int = 40, noise: float = 0.002):
    """Features of fixed cameras that show one of two events in a quarter of the frames each, or nothing."""
    scenes = 1 + RNG.random((num_videos, 1, length))
    events = RNG.normal(size=(2, length))
    shown = np.tile(np.repeat([0, 1, -1, -1], num_frames // 4), (num_videos, 1))
    rows = scenes + noise * RNG.normal(size=(num_videos, num_frames, length))
    rows += np.where(shown[..., None] >= 0, 0.5 * events[shown], 0)
    videos = np.repeat([f"{n}.mp4" for n in range(num_videos)], num_frames)
    return rows.reshape(-1, length).astype(np.float32), videos, shown.ravel()


def test_the_formula() -> None:
    rows, videos, _ = footage()
    similarity = Similarity.fit(rows, videos, centre="footage")
    left = unit(rows.astype(float))
    left -= left.mean(axis=0)
    covariance = left.T @ left / len(left)
    ridge = 0.01 * np.trace(covariance)
    values, vectors = np.linalg.eigh(covariance + ridge * np.eye(40))
    left = left @ vectors @ np.diag(np.sqrt(ridge / values)) @ vectors.T  # as a shrunk discriminant whitens
    wanted = np.concatenate([left, np.full((len(left), 1), similarity.constant)], axis=1)
    np.testing.assert_allclose(similarity.vectors(rows), unit(wanted), atol=2e-3)
    np.testing.assert_allclose(similarity.vectors(7 * rows), similarity.vectors(rows), atol=1e-4)
    plain = Similarity.fit(rows, videos, centre="none")
    np.testing.assert_allclose(plain.vectors(rows), unit(rows), atol=1e-6)


@pytest.mark.parametrize("num_videos", [1, 6])
def test_events_are_found_in_one_video_of_one_camera_too(num_videos: int) -> None:
    rows, videos, shown = footage(num_videos)
    vectors = Similarity.fit(rows, videos, centre="scene").vectors(rows)
    found = vectors @ vectors.T
    same = shown[:, None] == shown
    events = (shown >= 0)[:, None] & (shown >= 0)
    assert found[same & events].mean() > found[~same & events].mean() + 0.4


def test_empty_frames_are_alike_and_unlike_events() -> None:
    rows, videos, shown = footage()
    similarity = Similarity.fit(rows, videos, centre="scene")
    vectors, empty = similarity.vectors(rows), shown < 0
    of_video = videos[:, None] == videos
    found = vectors @ vectors.T
    assert found[of_video & empty[:, None] & empty].min() > 0.9
    assert found[of_video & empty[:, None] & ~empty].max() < 0.7
    still = np.ones((50, 40)) + 1e-4 * RNG.normal(size=(50, 40))  # nothing ever happens
    vectors = Similarity.fit(still, np.repeat("a.mp4", 50), centre="scene").vectors(still)
    assert (vectors @ vectors.T).min() > 0.99
    assert not similarity.vectors(np.zeros((1, 40))).any()


@given(st.integers(1, 30), st.integers(1, 12), st.sampled_from(["scene", "footage", "none"]))
def test_vectors_have_unit_length_whatever_is_fitted(num_frames: int, length: int, centre) -> None:
    rows = np.random.default_rng(num_frames).random((num_frames, length)) + 0.1
    similarity = Similarity.fit(rows, np.repeat("a", num_frames), centre=centre)
    vectors = similarity.vectors(rows)
    assert vectors.shape == (num_frames, similarity.length)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert similarity.is_plain == (centre == "none" or num_frames < 10)
