"""Names of label files and ends of paths, in their forms."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.ranking.label_names import depth, ends, forms, trimmed
from framewatch.video.suffixes import VIDEO_SUFFIXES


def found(path: str, name: str) -> list[tuple[bool, str]]:
    """How a name matches the end of a path: whether whole, and in which form."""
    own = trimmed(name)
    wanted = forms(own)
    matches = []
    for whole, end in ends(path, {depth(own)}, VIDEO_SUFFIXES):
        matches += [(whole, form) for form in end._fields if getattr(end, form) == getattr(wanted, form)][:1]
    return matches


@pytest.mark.parametrize(
    ("path", "name", "match"),
    [
        ("file:/v/a.mp4", "a.mp4", (True, "exact")),
        ("file:/v/a.mp4", "a", (False, "exact")),
        ("file:/v/a.mp4", "v/a", (False, "exact")),
        ("file:/v/a.mp4", "/v/a.mp4", (True, "exact")),
        ("file:/v/a.mp4", "file:///v/a.mp4", (True, "exact")),
        ("s3a://b/v/a.mp4", "s3://b/v/a.mp4", (True, "exact")),
        ("file:/v/a.mp4", "./v//a.mp4", (True, "exact")),
        ("file:/v/front-1606742747.272411-0lb.mp4", "front-1606742747.272411-0lb", (False, "exact")),
        ("file:/v/hall.cam1", "hall.cam1", (True, "exact")),
        ("file:/v/a.mp4", r"v\a.mp4", (True, "composed")),
        ("file:/v/a.mp4", r".\v\\a", (False, "composed")),
        ("file:/v/a\\b.mp4", "a\\b.mp4", (True, "exact")),
        ("file:/v/U\u0308.mp4", "\u00dc.mp4", (True, "composed")),
        ("file:/v/\u00dc.mp4", "U\u0308", (False, "composed")),
        ("file:/v/a.mp4", " a.mp4 ", (True, "composed")),
        ("file:/v/=a.mp4", "'=a.mp4", (True, "composed")),
        ("file:/v/Stra\u00dfe.mp4", "STRASSE.MP4", (True, "caseless")),
        ("file:/v/U\u0308.mp4", "\u00fc.MP4", (True, "caseless")),
    ],
)
def test_a_name_matches(path: str, name: str, match: tuple[bool, str]) -> None:
    assert found(path, name) == [match]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("file:/v/hall.cam1", "hall"),  # not a video's suffix
        ("file:/v/a.mp4", "b.mp4"),
        ("file:/v/ba.mp4", "a.mp4"),
        ("file:/w/v/a.mp4", "/v/a.mp4"),
        ("file:/v/a.mp4", "a.mpg"),
        ("file:/v/.mp4", ""),
        ("file:/v/a.mp4", "x/v/v/a.mp4"),
    ],
)
def test_a_name_does_not_match(path: str, name: str) -> None:
    assert found(path, name) == []


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1), min_size=1
    )
)
def test_every_end_of_a_path_matches_in_any_form(parts: list[str]) -> None:
    parts = [f"x{part}x" for part in parts]
    path = "file:/" + "/".join(parts) + ".mp4"
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        assert (False, "exact") in found(path, name)
        for form in ("NFC", "NFD"):
            assert found(path, unicodedata.normalize(form, name))
