"""Translates questions about several classes to SQL: `'left bag' then walking within 30 s`.

A term of a question is the name of a class, in quotes if it has several words; or `label`, the frames that
the trained classifier predicts as suspicious; or `incident`. Terms are combined from left to right by

    A then B within 30 s    B begins after A begins, and at most 30 s after A ends
    A and B                 the seconds that are in both
    A and not B             clips of A that overlap no clip of B
"""

import re
from collections.abc import Iterator

from framewatch.errors import InputError

_TOKEN = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)"|([^\s'"]+))""")
_WORDS = ("then", "and", "not", "within")
_HELP = "write A then B within 30 s, A and B, or A and not B, with names of several words in quotes"


def compound_sql(question: str, *, period_s: float = 1.0) -> str:
    """Returns a SELECT of `video`, `start_s`, `end_s` over `class_clips`, `predictions` and `incidents`.

    It is valid in Spark SQL and DuckDB.

    Args:
        question: a question in the form described in this module.
        period_s: seconds between sampled frames, which is the length of a predicted frame.

    Raises:
        InputError: the question has another form; the message shows the valid forms.
    """
    tokens = list(_tokens(question))
    if not tokens:
        raise InputError(f"the question is empty: {_HELP}")
    found, rest = _thing(tokens, question, period_s)
    while rest:
        word, rest = rest[0], rest[1:]
        if word == (True, "then"):
            other, rest = _thing(rest, question, period_s)
            within_s, rest = _within(rest, question)
            found = _then(found, other, within_s)
        elif word == (True, "and") and rest[:1] == [(True, "not")]:
            other, rest = _thing(rest[1:], question, period_s)
            found = _and_not(found, other)
        elif word == (True, "and"):
            other, rest = _thing(rest, question, period_s)
            found = _and(found, other)
        else:
            raise InputError(f"'{word[1]}' is not expected in the question {question!r}: {_HELP}")
    return f"{found}\norder by video, start_s"


# Whether the token has no quotes; and its text.
_Token = tuple[bool, str]


def _tokens(question: str) -> Iterator[_Token]:
    place = 0
    while question[place:].strip():
        match = _TOKEN.match(question, place)
        if match is None:
            raise InputError(f"a quote is not closed in the question {question!r}: {_HELP}")
        place = match.end()
        bare = match.group(3) is not None
        yield bare, match.group(match.lastindex or 3)


def _thing(tokens: list[_Token], question: str, period_s: float) -> tuple[str, list[_Token]]:
    if not tokens or (tokens[0][0] and tokens[0][1] in _WORDS):
        after = tokens[0][1] if tokens else "the end"
        raise InputError(f"a name is missing before {after} in the question {question!r}: {_HELP}")
    bare, name = tokens[0]
    if bare and name in ("incident", "incidents"):
        return "select video, start_s, end_s\nfrom incidents", tokens[1:]
    if bare and name == "label":
        return _predicted(period_s), tokens[1:]
    return _clips(name), tokens[1:]


def _clips(name: str) -> str:
    """Returns a SELECT of a class's clips; overlapping clips of several prompts are merged."""
    in_order = "partition by video order by start_s, end_s rows between unbounded preceding and"
    return f"""select video, min(start_s) as start_s, max(end_s) as end_s
from (
  select video, start_s, end_s, sum(begins) over ({in_order} current row) as number
  from (
    select video, start_s, end_s,
      case when start_s <= max(end_s) over ({in_order} 1 preceding) then 0 else 1 end as begins
    from class_clips
    where class = {sql_string(name)}
  ) clips
) numbered
group by video, number"""


def _within(tokens: list[_Token], question: str) -> tuple[float, list[_Token]]:
    words = [text for _, text in tokens[:3]]
    match = re.fullmatch(r"within (\d+(?:\.\d+)?) ?s(?: .*)?", " ".join(words))
    if match is None:
        raise InputError(f"`then` lacks its `within 30 s` in the question {question!r}: {_HELP}")
    return float(match.group(1)), tokens[3 if len(words) > 2 and words[2] == "s" else 2 :]


def _predicted(period_s: float) -> str:
    following = "lead(timestamp_s) over (partition by video order by timestamp_s)"
    ends = f"timestamp_s + {period_s!r}"
    return f"""select video, start_s, end_s
from (
  select video, timestamp_s as start_s, least(coalesce({following}, {ends}), {ends}) as end_s, prediction
  from predictions
) frames
where prediction = 1"""


def _then(first: str, second: str, within_s: float) -> str:
    return f"""select a.video, a.start_s, greatest(a.end_s, min(b.end_s)) as end_s
from (
{_indented(first)}
) a join (
{_indented(second)}
) b on b.video = a.video and b.start_s > a.start_s and b.start_s <= a.end_s + {within_s!r}
group by a.video, a.start_s, a.end_s"""


def _and(first: str, second: str) -> str:
    return f"""select a.video, greatest(a.start_s, b.start_s) as start_s, least(a.end_s, b.end_s) as end_s
from (
{_indented(first)}
) a join (
{_indented(second)}
) b on b.video = a.video and b.start_s < a.end_s and a.start_s < b.end_s"""


def _and_not(first: str, second: str) -> str:
    return f"""select a.video, a.start_s, a.end_s
from (
{_indented(first)}
) a
where not exists (
  select 1 from (
{_indented(_indented(second))}
  ) b
  where b.video = a.video and b.start_s < a.end_s and a.start_s < b.end_s
)"""


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def sql_string(text: str) -> str:
    """Returns a string literal that is valid in both engines, whose escapes for quotes differ."""
    parts = re.split(r"(['\\])", text)
    terms = [f"chr({ord(part)})" if part in ("'", "\\") else f"'{part}'" for part in parts if part]
    return terms[0] if len(terms) == 1 else f"concat({', '.join(terms)})"
