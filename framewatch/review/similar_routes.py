"""The Similar page's requests: look for moments like one, see them, play them, answer for them."""

import io
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, jsonify, render_template, send_file

from framewatch.errors import InputError
from framewatch.feedback import Verdict
from framewatch.io.storage import basename
from framewatch.review.clip_cache import clip_range
from framewatch.review.fields import (
    FLAG,
    NUMBER,
    SECONDS,
    TEXT,
    WHOLE,
    Fields,
    choice,
    given,
    takes,
    uploaded,
)
from framewatch.review.similar_moments import Answer
from framewatch.review.verdict_routes import ANSWER_FIELDS
from framewatch.search.hits import Hit
from framewatch.search.moment_vectors import SCOPES

_THUMBNAIL_WIDTH = 240
MOST_UPLOAD_BYTES = 8 << 20
# What is looked for: a moment, a second of a video, or a frame's name; or the name that an upload was given.
_LIKE = {"moment": WHOLE, "video": WHOLE, "second": SECONDS, "origin": TEXT}
_FIELDS = {
    **_LIKE,
    "picture": TEXT,
    "scope": choice(SCOPES),
    "min_probability": NUMBER,
    "by_video": FLAG,
    "limit": WHOLE,
}


def similar_routes(page: Callable[[], Any], *, csrf: str, version: str) -> Blueprint:
    """The routes below `/similar`.

    Args:
        page: gives the page of the latest ranking.
        csrf: the token of the page's POSTs.
        version: of the static files.
    """
    routes = Blueprint("similar", __name__, url_prefix="/similar")
    _add_page(routes, page, csrf, version)
    _add_search(routes, page)
    _add_media(routes, page)
    _add_verdicts(routes, page)
    return routes


def _add_page(routes: Blueprint, page: Callable[[], Any], csrf: str, version: str) -> None:
    @routes.get("/")
    @takes(Fields(_LIKE))  # for the page's script
    def index() -> str:
        its = page()
        return render_template(
            "similar.html",
            csrf=csrf,
            output=its.desk.results.output,
            reviewer=its.reviewer,
            version=version,
            most_mb=MOST_UPLOAD_BYTES >> 20,
        )


def _add_search(routes: Blueprint, page: Callable[[], Any]) -> None:
    @routes.post("/search")
    @takes(Fields(json=_FIELDS))
    def search() -> Response:
        its, said = page(), given()
        if len(said.keys() & {"moment", "second", "origin", "picture"}) > 1:
            raise InputError("several things are looked for: give a moment, a second, a frame or a picture")
        if "moment" in said:
            said = {**said, "origin": _origin_of_moment(its, said["moment"])}
        elif "second" in said:
            said = {**said, "origin": _origin_at(its, said.get("video", 0), said["second"])}
        answer = its.similar.search(said)
        return jsonify(_told(its, answer, said))

    @routes.post("/picture")
    @takes(Fields(upload_bytes=MOST_UPLOAD_BYTES))
    def upload() -> Response:
        return jsonify(picture=page().similar.take_in(uploaded()))


def _origin_of_moment(page: Any, moment: int) -> str:
    origins = page.desk.moments.origins
    if not 0 <= moment < len(origins):
        raise InputError(f"moment={moment} is not valid: there are {len(origins)}")
    return origins[moment].as_py()


def _origin_at(page: Any, video: int, second: float) -> str:
    """The frame that is shown at a second of a video, by the video's number on the review page."""
    names = page.desk.moments.names
    if not 0 <= video < len(names):
        raise InputError(f"there is no video {video}: there are {len(names)}")
    frames = page.finder.frames(page.finder.videos.index(names[video]))
    if not frames:
        raise InputError(f"{basename(names[video])} has no frames")
    before = [origin for origin, time_s in frames if time_s <= second + 1e-6]
    return before[-1] if before else frames[0][0]


def _told(page: Any, answer: Answer, said: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": answer.id,
        "like": said.get("origin"),
        "hits": [_hit(page, number, hit) for number, hit in enumerate(answer.hits)],
    }


def _hit(page: Any, number: int, hit: Hit) -> dict[str, Any]:
    begin, end = clip_range(hit.start_s, hit.end_s, hit.peak_s, lead_s=page.lead_s)
    return {
        "number": number,
        **asdict(hit),
        "name": basename(hit.video),
        "clip": {"start_s": begin, "end_s": end},
    }


def _add_media(routes: Blueprint, page: Callable[[], Any]) -> None:
    @routes.get("/<name>/<int:number>.jpg")
    def picture(name: str, number: int) -> Response:
        its = page()
        # A clip is shown by its first frame.
        origin = its.similar.hit(name, number).origin.rpartition("+")
        data = its.pictures.thumbnail(origin[0] or origin[2], _THUMBNAIL_WIDTH)
        if data is None:
            raise InputError("the frames table has no picture of this frame")
        return send_file(io.BytesIO(data), mimetype="image/jpeg", max_age=3600)

    @routes.get("/<name>/<int:number>.mp4")
    def clip(name: str, number: int) -> Response:
        its = page()
        hit = its.similar.hit(name, number)
        begin, end = clip_range(hit.start_s, hit.end_s, hit.peak_s, lead_s=its.lead_s)
        path = its.clips.get(hit.video, its.finder.modified[hit.video], begin, end)
        return send_file(path, mimetype="video/mp4", conditional=True, max_age=3600)


def _add_verdicts(routes: Blueprint, page: Callable[[], Any]) -> None:
    @routes.post("/<name>/<int:number>/verdict")
    @takes(Fields(json=ANSWER_FIELDS))
    def judge(name: str, number: int) -> Response:
        its, said = page(), given()
        hit = its.similar.hit(name, number)
        kept = its.desk.judge(
            Verdict(
                video=hit.video,
                start_s=hit.start_s,
                end_s=hit.end_s,
                answer=said["answer"],
                reviewer=said.get("reviewer", ""),
                reason="similar",
                model=its.desk.results.ranking["model"],
                prob2=hit.probability,
            )
        )
        its.learn_when_due()
        return jsonify(verdict=asdict(kept))
