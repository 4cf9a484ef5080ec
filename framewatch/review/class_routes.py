"""The routes of the Classes page: define classes, run them, and view the results."""

import io
import json
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, render_template, send_file

from framewatch.errors import InputError
from framewatch.io.storage import basename
from framewatch.review.class_runner import ClassFinder
from framewatch.review.clip_cache import LONGEST_S, ClipCache
from framewatch.review.fields import NUMBER, OBJECT, TEXT, WHOLE, Fields, given, takes
from framewatch.tables.frame_pictures import Pictures

_THUMBNAIL_WIDTH = 192


Finder = Callable[[], ClassFinder]


def class_routes(
    finder: Finder, pictures: Callable[[], Pictures], clips: ClipCache, *, csrf: str, version: str
) -> Blueprint:
    """Returns the routes below `/classes`.

    Args:
        finder: returns the current `ClassFinder`.
        pictures: returns the pictures of the current ranking.
        clips: the cache of clips.
        csrf: the CSRF token for POST requests.
        version: the version of the static files.
    """
    routes = Blueprint("classes", __name__, url_prefix="/classes")
    _add_page(routes, finder, csrf, version)
    _add_answers(routes, finder)
    _add_frames(routes, finder, pictures)
    _add_clips(routes, finder, clips)
    return routes


def _add_page(routes: Blueprint, finder: Finder, csrf: str, version: str) -> None:
    @routes.get("/")
    def page() -> str:
        current = finder()
        videos = [{"number": n, "name": basename(uri), "uri": uri} for n, uri in enumerate(current.videos)]
        return render_template(
            "classes.html",
            csrf=csrf,
            output=current.results.output,
            videos=videos[:2000],
            version=version,
            texts=current.supports_texts,
        )


def _add_answers(routes: Blueprint, finder: Finder) -> None:
    @routes.post("/run")
    @takes(Fields(json={"request": OBJECT, "min_duration_ratio": NUMBER}))
    def run() -> Response:
        values = given()
        ratio = values.get("min_duration_ratio", 0.5)
        return jsonify(finder().run(values.get("request", {}), min_duration_ratio=ratio).page(0))

    @routes.get("/<name>/videos")
    @takes(Fields({"offset": WHOLE}))
    def videos(name: str) -> Response:
        return jsonify(finder().get(name).page(given().get("offset", 0)))

    @routes.get("/<name>/clips/<int:video>")
    @takes(Fields({"class": TEXT, "offset": WHOLE}))
    def more(name: str, video: int) -> Response:
        return jsonify(finder().get(name).clips(video, given().get("class", ""), given().get("offset", 0)))

    @routes.get("/<name>/timeline/<int:video>")
    def timeline(name: str, video: int) -> Response:
        return jsonify(finder().get(name).timeline(video))

    @routes.get("/<name>/classifications.json")
    def as_json(name: str) -> Response:
        text = json.dumps(finder().get(name).as_json(), indent=2, ensure_ascii=False)
        return _download(text, "application/json", "classifications.json")

    @routes.get("/<name>/clips.csv")
    def as_csv(name: str) -> Response:
        return _download(finder().get(name).as_csv(), "text/csv", "class_clips.csv")


def _download(text: str, mimetype: str, name: str) -> Response:
    answer = Response(text, mimetype=mimetype)
    answer.headers["Content-Disposition"] = f"attachment; filename={name}"
    return answer


def _add_frames(routes: Blueprint, finder: Finder, pictures: Callable[[], Pictures]) -> None:
    @routes.get("/frames/<int:video>")
    def frames(video: int) -> Response:
        found: list[dict[str, Any]] = [
            {"second": time_s, "origin": origin} for origin, time_s in finder().frames(video)
        ]
        return jsonify(frames=found)

    @routes.get("/frames/<int:video>/<int:place>.jpg")
    def picture(video: int, place: int) -> Response:
        found = finder().frames(video)
        if place >= len(found):
            raise InputError(f"there is no frame {place}: the video has {len(found)} frames")
        data = pictures().thumbnail(found[place][0], _THUMBNAIL_WIDTH)
        if data is None:
            raise InputError("the frames table has no picture of this frame")
        return send_file(io.BytesIO(data), mimetype="image/jpeg", max_age=3600)


def _add_clips(routes: Blueprint, finder: Finder, clips: ClipCache) -> None:
    @routes.get("/<name>/play/<int:video>/<float:begin>-<float:end>.mp4")
    def play(name: str, video: int, begin: float, end: float) -> Response:
        if not 0 <= begin < end or end - begin > LONGEST_S + 1:
            raise InputError(f"[{begin}, {end}) is not a clip: give a range of at most {LONGEST_S:g} seconds")
        uri = finder().get(name).video(video).video
        path = clips.get(uri, finder().modified[uri], begin, end)
        return send_file(path, mimetype="video/mp4", conditional=True, max_age=3600)
