"""The routes of the Similar page: search for similar moments, show, play and review them."""

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
    given,
    one_of,
    takes,
    uploaded,
)
from framewatch.review.similar_moments import Answer
from framewatch.review.verdict_routes import ANSWER_FIELDS
from framewatch.search.hits import Hit
from framewatch.search.moment_vectors import SCOPES

_THUMBNAIL_WIDTH = 240
MOST_UPLOAD_BYTES = 8 << 20
# The example: a moment, a second of a video, or the name of a frame.
_LIKE = {"moment": WHOLE, "video": WHOLE, "second": SECONDS, "origin": TEXT}
_FIELDS = {
    **_LIKE,
    "picture": TEXT,
    "scope": one_of(SCOPES),
    "min_probability": NUMBER,
    "by_video": FLAG,
    "limit": WHOLE,
}


def similar_routes(page: Callable[[], Any], *, csrf: str, version: str) -> Blueprint:
    """Returns the routes below `/similar`.

    Args:
        page: returns the page of the latest ranking.
        csrf: the CSRF token for POST requests.
        version: the version of the static files.
    """
    routes = Blueprint("similar", __name__, url_prefix="/similar")
    _add_page(routes, page, csrf, version)
    _add_search(routes, page)
    _add_media(routes, page)
    _add_verdicts(routes, page)
    return routes


def _add_page(routes: Blueprint, page: Callable[[], Any], csrf: str, version: str) -> None:
    @routes.get("/")
    @takes(Fields(_LIKE))  # read by the script of the page
    def index() -> str:
        current = page()
        return render_template(
            "similar.html",
            csrf=csrf,
            output=current.desk.results.output,
            reviewer=current.reviewer,
            version=version,
            most_mb=MOST_UPLOAD_BYTES >> 20,
        )


def _add_search(routes: Blueprint, page: Callable[[], Any]) -> None:
    @routes.post("/search")
    @takes(Fields(json=_FIELDS))
    def search() -> Response:
        current, values = page(), given()
        if len(values.keys() & {"moment", "second", "origin", "picture"}) > 1:
            raise InputError(
                "the search has several examples: give one of a moment, a second, a frame or a picture"
            )
        if "moment" in values:
            values = {**values, "origin": _origin_of_moment(current, values["moment"])}
        elif "second" in values:
            values = {**values, "origin": _origin_at(current, values.get("video", 0), values["second"])}
        answer = current.similar.search(values)
        return jsonify(_results(current, answer, values))

    @routes.post("/picture")
    @takes(Fields(upload_bytes=MOST_UPLOAD_BYTES))
    def upload() -> Response:
        return jsonify(picture=page().similar.encode_picture(uploaded()))


def _origin_of_moment(page: Any, moment: int) -> str:
    origins = page.desk.moments.origins
    if not 0 <= moment < len(origins):
        raise InputError(f"moment={moment} is not valid: give a number below {len(origins)}")
    return origins[moment].as_py()


def _origin_at(page: Any, video: int, second: float) -> str:
    """Returns the origin of the frame that is shown at a second of a video, by the video's index."""
    names = page.desk.moments.names
    if not 0 <= video < len(names):
        raise InputError(f"there is no video {video}: give a number below {len(names)}")
    frames = page.finder.frames(page.finder.videos.index(names[video]))
    if not frames:
        raise InputError(f"{basename(names[video])} has no frames: choose another video")
    before = [origin for origin, time_s in frames if time_s <= second + 1e-6]
    return before[-1] if before else frames[0][0]


def _results(page: Any, answer: Answer, values: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": answer.id,
        "like": values.get("origin"),
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
        current = page()
        # The thumbnail of a clip is its first frame.
        origin = current.similar.hit(name, number).origin.rpartition("+")
        data = current.pictures.thumbnail(origin[0] or origin[2], _THUMBNAIL_WIDTH)
        if data is None:
            raise InputError("the frames table has no picture of this frame")
        return send_file(io.BytesIO(data), mimetype="image/jpeg", max_age=3600)

    @routes.get("/<name>/<int:number>.mp4")
    def clip(name: str, number: int) -> Response:
        current = page()
        hit = current.similar.hit(name, number)
        begin, end = clip_range(hit.start_s, hit.end_s, hit.peak_s, lead_s=current.lead_s)
        path = current.clips.get(hit.video, current.finder.modified[hit.video], begin, end)
        return send_file(path, mimetype="video/mp4", conditional=True, max_age=3600)


def _add_verdicts(routes: Blueprint, page: Callable[[], Any]) -> None:
    @routes.post("/<name>/<int:number>/verdict")
    @takes(Fields(json=ANSWER_FIELDS))
    def judge(name: str, number: int) -> Response:
        current, values = page(), given()
        hit = current.similar.hit(name, number)
        verdict = current.desk.judge(
            Verdict(
                video=hit.video,
                start_s=hit.start_s,
                end_s=hit.end_s,
                answer=values["answer"],
                reviewer=values.get("reviewer", ""),
                reason="similar",
                model=current.desk.results.ranking["model"],
                prob2=hit.probability,
            )
        )
        current.learn_when_due()
        return jsonify(verdict=asdict(verdict))
