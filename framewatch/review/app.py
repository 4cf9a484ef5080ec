"""The web application of the review page: the queue, moments, pictures, clips and verdicts."""

import io
import threading
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, Response, abort, jsonify, render_template, send_file
from werkzeug.exceptions import HTTPException

from framewatch.errors import FramewatchError, InputError, PictureTooLargeError
from framewatch.feedback import STATES
from framewatch.feedback.desk import Desk
from framewatch.feedback.loop import REASONS
from framewatch.io.redact import redact
from framewatch.io.storage import basename
from framewatch.review.authentication import protect
from framewatch.review.class_routes import class_routes
from framewatch.review.class_runner import ClassFinder
from framewatch.review.clip_cache import LONGEST_S, BusyError, ClipCache, clip_range
from framewatch.review.fields import WHOLE, Fields, check_fields, check_index, given, takes
from framewatch.review.queue_filters import FIELDS, QueueFilter
from framewatch.review.similar_moments import SimilarFinder
from framewatch.review.similar_routes import similar_routes
from framewatch.review.timelines import Timelines
from framewatch.review.verdict_routes import add_verdicts
from framewatch.tables.frame_pictures import Pictures

_PAGE = 60
_THUMBNAIL_WIDTH, _POSTER_WIDTH = 192, 640


class Page:
    """The state of the page for one ranking. A new ranking gets a new `Page`."""

    def __init__(
        self,
        desk: Desk,
        clips: ClipCache,
        finder: ClassFinder,
        similar: SimilarFinder,
        *,
        lead_s: float,
        reviewer: str,
    ) -> None:
        """Creates the page of a desk.

        Args:
            desk: moments and verdicts.
            clips: the cache of clips.
            finder: finds classes by prompts.
            similar: finds similar moments.
            lead_s: seconds to play before the peak of a moment.
            reviewer: the default name of the reviewer.
        """
        self.desk, self.clips, self.lead_s, self.reviewer = desk, clips, lead_s, reviewer
        self.pictures = Pictures(desk.results)
        self.finder, self.similar = finder, similar
        self.timelines = Timelines(desk)
        self._modified = {row["video"]: str(row["modified_at"]) for row in desk.results.videos()}

    def item(self, moment: int) -> dict[str, Any]:
        """Returns a moment as JSON for the queue."""
        moments, queue = self.desk.moments, self.desk.queue
        video = moments.names[moments.videos[moment]]
        start_s, end_s = float(moments.starts_s[moment]), float(moments.ends_s[moment])
        return {
            "id": moment,
            "rank": moment + 1,
            "kind": "incident" if moment < moments.num_incidents else "frame",
            "event": moments.kinds[moment],
            "video": int(moments.videos[moment]),
            "name": basename(video),
            "start_s": start_s,
            "end_s": end_s,
            "peak_s": float(moments.peaks_s[moment]),
            "num_frames": int(moments.num_frames[moment]),
            "prob2": float(moments.prob2[moment]),
            "now": float(1 / (1 + np.exp(-queue.log_odds[moment]))),
            "reason": REASONS[queue.reasons[moment]],
            "state": STATES[self.desk.states[moment]],
        }

    def moment(self, moment: int) -> dict[str, Any]:
        """Returns a moment as JSON for the player, with its clip and answers."""
        item = self.item(moment)
        begin, end = clip_range(item["start_s"], item["end_s"], item["peak_s"], lead_s=self.lead_s)
        uri = self.desk.moments.names[item["video"]]
        answers = [
            {"start_s": s.start_s, "end_s": s.end_s, "state": s.state, "answers": s.answers}
            for s in self.desk.segments.get(uri, [])
            if s.start_s < item["end_s"] and s.end_s > item["start_s"]
        ]
        clip = {
            "url": f"clips/{item['video']}/{begin:.3f}-{end:.3f}.mp4?v={self.desk.ranking_id}",
            "start_s": begin,
            "end_s": end,
        }
        return {**item, "uri": uri, "clip": clip, "lead_s": self.lead_s, "said": answers}

    def clip(self, video: int, begin: float, end: float) -> Path:
        """Returns the file of a clip of a video, by its index."""
        if not 0 <= begin < end or end - begin > LONGEST_S + 1:
            raise InputError(f"[{begin}, {end}) is not a clip: give a range of at most {LONGEST_S:g} seconds")
        uri = self.desk.moments.names[video]
        return self.clips.get(uri, self._modified[uri], begin, end)

    def status(self) -> dict[str, Any]:
        """Returns the progress of the review as JSON."""
        desk = self.desk
        return {
            "version": desk.queue.version,
            "ranking": desk.ranking_id,
            "learned": desk.queue.num_verdicts,
            "verdicts": desk.num_verdicts,
            "set_aside": len(desk.log.set_aside()),
            "note": desk.log.file_summary,
            "counts": desk.counts(),
            "missed": {**asdict(missed := desk.missed()), "sentence": missed.sentence},
        }

    def learn_when_due(self) -> None:
        """Starts a refit in the background if one is due."""
        if self.desk.learning_is_due:
            threading.Thread(target=self.desk.learn, daemon=True).start()


class Current:
    """Holds the page of the latest ranking. A request reads `page` once and uses it throughout."""

    def __init__(self, page: Page) -> None:
        """Starts with a page."""
        self.page = page
        self._reloading = threading.Lock()

    def refresh(self) -> Page:
        """Reads new verdicts of other processes, or a new ranking; returns the current page."""
        with self._reloading:
            old = self.page
            if old.desk.is_outdated:
                desk = Desk(old.desk.results.output, old.desk.settings)
                finder = old.finder.with_results(desk.results)
                self.page = Page(
                    desk, old.clips, finder, old.similar, lead_s=old.lead_s, reviewer=old.reviewer
                )
            page = self.page
        page.desk.refresh()
        return page


def create_app(page: Page, *, token: str, public_url: str | None = None, only_loopback: bool = True) -> Flask:
    """Creates the Flask application.

    Args:
        page: the page to serve.
        token: the access token, which every request needs.
        public_url: as for `protect`.
        only_loopback: as for `protect`.
    """
    app = Flask("framewatch.review")
    app.config["MAX_CONTENT_LENGTH"] = 64 << 10
    current = Current(page)
    csrf = protect(app, token=token, public_url=public_url, only_loopback=only_loopback)
    check_fields(app)
    _add_page(app, current, csrf)
    _add_queue(app, current)
    _add_media(app, current)
    add_verdicts(app, current)
    finder, pictures = (lambda: current.page.finder), (lambda: current.page.pictures)
    app.register_blueprint(class_routes(finder, pictures, page.clips, csrf=csrf, version=_version()))
    app.register_blueprint(similar_routes(lambda: current.page, csrf=csrf, version=_version()))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.errorhandler(BusyError)
    def busy(error: BusyError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 503

    @app.errorhandler(PictureTooLargeError)
    def too_large(error: PictureTooLargeError) -> tuple[Response, int]:
        return jsonify(error=redact(str(error))), 413

    @app.errorhandler(FramewatchError)
    def bad_request(error: FramewatchError) -> tuple[Response, int]:
        return jsonify(error=redact(" ".join(str(error).split()))), 400

    return app


def _add_page(app: Flask, current: Current, csrf: str) -> None:
    @app.get("/")
    def index() -> str:
        page = current.page
        names = [basename(name) for name in page.desk.moments.names]
        return render_template(
            "index.html",
            csrf=csrf,
            reviewer=page.reviewer,
            output=page.desk.results.output,
            videos=sorted(set(names))[:1000],
            kinds=sorted(set(page.desk.moments.kinds) - {None}),
            version=_version(),
        )

    @app.get("/api/status")
    def status() -> Response:
        page = current.refresh()
        page.learn_when_due()
        return jsonify(page.status())


def _version() -> str:
    """Returns a version that changes with the static files, so that browsers do not use cached ones."""
    static_files = Path(str(files("framewatch.review") / "static")).iterdir()
    return str(max(int(path.stat().st_mtime) for path in static_files))


def _add_queue(app: Flask, current: Current) -> None:
    @app.get("/api/queue")
    @takes(Fields({**FIELDS, "offset": WHOLE}))
    def queue() -> Response:
        page, wanted = current.page, given()
        offset = wanted.pop("offset", 0)
        found = QueueFilter(**wanted).apply(page.desk)
        part = found[offset : offset + _PAGE].tolist()
        items = [page.item(moment) for moment in part]
        return jsonify(total=len(found), items=items, version=page.desk.queue.version)

    @app.get("/api/moments/<int:moment>")
    def one(moment: int) -> Response:
        page = current.page
        return jsonify(page.moment(check_index(moment, len(page.desk.moments), "moment")))

    @app.get("/api/timelines/<int:video>")
    def timeline(video: int) -> Response:
        page = current.page
        return jsonify(page.timelines.get(check_index(video, len(page.desk.moments.names), "video")))


def _add_media(app: Flask, current: Current) -> None:
    def picture(moment: int, width: int) -> Response:
        page = current.page
        origin = page.desk.moments.origins[check_index(moment, len(page.desk.moments), "moment")].as_py()
        data = page.pictures.thumbnail(origin, width)
        if data is None:
            abort(404, "the frames table has no picture of this frame")
        return send_file(io.BytesIO(data), mimetype="image/jpeg", max_age=3600)

    @app.get("/thumbnails/<int:moment>.jpg")
    def thumbnail(moment: int) -> Response:
        return picture(moment, _THUMBNAIL_WIDTH)

    @app.get("/posters/<int:moment>.jpg")
    def poster(moment: int) -> Response:
        return picture(moment, _POSTER_WIDTH)

    @app.get("/clips/<int:video>/<float:begin>-<float:end>.mp4")
    def clip(video: int, begin: float, end: float) -> Response:
        page = current.page
        path = page.clip(check_index(video, len(page.desk.moments.names), "video"), begin, end)
        return send_file(path, mimetype="video/mp4", conditional=True, max_age=3600)
