"""Defines the SQL views, each one SELECT for both Spark SQL and DuckDB. Does not import Spark."""

import re
from collections.abc import Mapping
from string import Template

from framewatch.tables.ledger import LATEST_SQL

_KIND = re.compile(r"(?:f\.)?kind as kind")
# Times are quotients of ticks. Rounding may place the frame at an incident's end this far before it.
_ROUNDING_S = 1e-6


def _clock(seconds: str) -> str:
    """Returns SQL that formats seconds, which must not be null, as h:mm:ss, rounded down."""
    parts = (f"{seconds} / 3600", f"{seconds} % 3600 / 60", f"{seconds} % 60")
    return f"printf('%d:%02d:%02d', {', '.join(f'cast(floor({part}) as bigint)' for part in parts)})"


def _name(video: str) -> str:
    return f"split_part({video}, '/', -1)"


# Uses only functions that mean the same in both engines.
_VIEWS = {
    "top_frames": f"""
select
  f.rank, f.video, {_name("f.video")} as name, f.frame_index, f.timestamp_s,
  {_clock("f.timestamp_s")} as clock,
  f.prob2, f.prediction, f.origin, i.rank as incident, f.kind as kind
from $predictions f
left join $incidents i
  on i.video = f.video and f.timestamp_s >= i.start_s and f.timestamp_s < i.end_s - {_ROUNDING_S:.6f}
""",
    "top_incidents": f"""
select
  rank, video, {_name("video")} as name, start_s, end_s, end_s - start_s as length_s,
  {_clock("start_s")} as starts_at,
  {_clock("end_s")} as ends_at,
  {_clock("peak_s")} as peak_at,
  peak_s, peak_prob2, num_frames, peak_origin, kind as kind
from $incidents
""",
    "video_summary": f"""
select
  v.video, {_name("v.video")} as name, v.status, v.duration_s,
  coalesce(f.frames_ranked, 0) as frames_ranked,
  coalesce(f.suspicious_frames, 0) as suspicious_frames,
  coalesce(i.incidents, 0) as incidents,
  i.first_s,
  case when i.first_s is not null then {_clock("i.first_s")} end as first_at,
  coalesce(i.suspicious_s, 0) as suspicious_s,
  case when i.suspicious_s > v.duration_s then 1
    else coalesce(i.suspicious_s, 0) / nullif(v.duration_s, 0) end as suspicious_share,
  f.peak_s,
  case when f.peak_s is not null then {_clock("f.peak_s")} end as peak_at,
  f.peak_prob2
from $videos v
join {LATEST_SQL} l on l.video = v.video and l.batch = v.batch
left join (
  select
    video, count(*) as frames_ranked, count(case when prediction = 1 then 1 end) as suspicious_frames,
    max(prob2) as peak_prob2, min(case when prob2 = highest then timestamp_s end) as peak_s
  from (
    select video, timestamp_s, prob2, prediction, max(prob2) over (partition by video) as highest
    from $predictions
  ) ranked
  group by video
) f on f.video = v.video
left join (
  select video, count(*) as incidents, min(start_s) as first_s, sum(end_s - start_s) as suspicious_s
  from $incidents
  group by video
) i on i.video = v.video
""",
    "failed_videos": f"""
select
  v.video, {_name("v.video")} as name, v.status, v.error, v.duration_s, v.num_frames, v.size_bytes,
  v.modified_at
from $videos v
join {LATEST_SQL} l on l.video = v.video and l.batch = v.batch
where v.status in ('failed', 'partial', 'unreadable')
order by v.status, v.video
""",
}


def selects(tables: Mapping[str, str], *, kinds: bool = True) -> dict[str, str]:
    """Returns the SELECT of each view whose tables exist.

    Args:
        tables: the existing tables of `predictions`, `incidents` and `videos`, with their names in SQL.
        kinds: whether `predictions` and `incidents` have the column `kind`, which older versions did not
            write.

    Returns:
        The SELECT of each view by the view's name.
    """
    texts = dict(_VIEWS)
    if not kinds:
        texts = {name: _KIND.sub("cast(null as string) as kind", text) for name, text in texts.items()}
    templates = {name: Template(text.strip()) for name, text in texts.items()}
    return {
        name: template.substitute(tables)
        for name, template in templates.items()
        if tables.keys() >= set(template.get_identifiers())
    }
