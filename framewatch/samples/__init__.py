"""Synthetic CCTV clips of a lobby with known labels, for the demo and the tests.

    from framewatch.samples import draw_samples

    clips = draw_samples("build/samples")

draws a small set of videos in which people walk, browse, meet and wait. In some of them, somebody collapses
or leaves a bag behind, or two people fight. The labels are exact, because they come from the script of the
clips.
"""

from framewatch.samples.render import frames
from framewatch.samples.script import Clip, LabelRange
from framewatch.samples.stories import script
from framewatch.samples.write import DEFAULT_SEED, draw_samples, labels_csv

__all__ = ["DEFAULT_SEED", "Clip", "LabelRange", "draw_samples", "frames", "labels_csv", "script"]
