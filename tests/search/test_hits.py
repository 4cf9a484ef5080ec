"""Moments in order of score become hits: whatever their number, each is told once."""

from hypothesis import given
from hypothesis import strategies as st

from framewatch.search.hits import Hit, Merged


def moment(video: str, start_s: float, score: float, length_s: float = 1.0) -> Hit:
    return Hit(f"{video}{start_s:g}", video, start_s, start_s + length_s, start_s, score, "frame")


def merged(moments: list[Hit], *, limit: int, gap_s: float | None) -> Merged:
    found = Merged(limit=limit, gap_s=gap_s, drop=0.05)
    found.offer(moments)
    return found


MOMENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.sampled_from([1.0, 2.5])),
    max_size=30,
    unique_by=lambda it: it[:2],
).map(lambda its: [moment(v, float(s), 1 - n / 100, length) for n, (v, s, length) in enumerate(its)])


@given(MOMENTS, st.integers(1, 8), st.sampled_from([0.0, 1.0, 3.0]))
def test_each_moment_is_in_a_hit_or_near_a_better_one(moments, limit, gap_s) -> None:
    found = merged(moments, limit=limit, gap_s=gap_s)
    hits = found.hits
    assert len(hits) <= limit
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    if not found.is_full:
        for it in moments:
            assert any(_inside(it, hit) or (hit.near(it, gap_s) and hit.score >= it.score) for hit in hits)
    for hit in hits:
        its = [it for it in moments if _inside(it, hit)]
        assert (hit.start_s, hit.end_s) == (min(it.start_s for it in its), max(it.end_s for it in its))
        best = next(it for it in moments if it.origin == hit.origin)
        assert (hit.score, hit.peak_s) == (best.score, best.start_s) and _inside(best, hit)


def test_neighbours_that_are_much_worse_do_not_lengthen_a_hit() -> None:
    moments = [moment("a", second, 1 - 0.04 * second) for second in range(5)]
    found = merged(moments, limit=3, gap_s=1.0).hits
    assert [(hit.start_s, hit.end_s, hit.score) for hit in found] == [(0, 2, 1.0), (4, 5, 1 - 0.16)]


def _inside(it: Hit, hit: Hit) -> bool:
    return it.video == hit.video and hit.start_s <= it.start_s and it.end_s <= hit.end_s


@given(MOMENTS, st.integers(1, 8), st.integers(0, 30))
def test_it_does_not_matter_how_many_are_offered_at_once(moments, limit, cut) -> None:
    whole, parts = merged(moments, limit=limit, gap_s=1.0), Merged(limit=limit, gap_s=1.0, drop=0.05)
    parts.offer(moments[:cut])
    parts.offer(moments[cut:])
    assert whole.hits == parts.hits and whole.is_full == parts.is_full


@given(MOMENTS, st.integers(1, 8))
def test_without_merging_the_best_are_told_one_by_one(moments, limit) -> None:
    assert merged(moments, limit=limit, gap_s=None).hits == moments[:limit]


def test_a_moment_between_two_hits_makes_one_of_them() -> None:
    moments = [moment("a", 0, 0.9), moment("a", 4, 0.89), moment("b", 2, 0.88), moment("a", 2, 0.87)]
    found = merged(moments, limit=3, gap_s=1.0)
    assert [(hit.video, hit.start_s, hit.end_s, hit.peak_s) for hit in found.hits] == [
        ("a", 0, 5, 0), ("b", 2, 3, 2)
    ]  # fmt: skip
