"""The page's requests: what to look at, the pictures and clips of it, and the answers."""

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
from framewatch.review.fields import WHOLE, Fields, check_fields, given, known, takes
from framewatch.review.queue_filters import FIELDS, Filter
from framewatch.review.similar_moments import SimilarFinder
from framewatch.review.similar_routes import similar_routes
from framewatch.review.timelines import Timelines
from framewatch.review.verdict_routes import add_verdicts
from framewatch.tables.frame_pictures import Pictures

_PAGE = 60
_THUMBNAIL_WIDTH, _POSTER_WIDTH = 192, 640


class Page:
    """What the requests need, of one ranking; another ranking is another page."""

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
        """Gathers it.

        Args:
            desk: moments and verdicts.
            clips: of them.
            finder: of classes by prompts.
            similar: finds moments like one.
            lead_s: seconds to play before a moment's peak.
            reviewer: the name that the page proposes.
        """
        self.desk, self.clips, self.lead_s, self.reviewer = desk, clips, lead_s, reviewer
        self.pictures = Pictures(desk.results)
        self.finder, self.similar = finder, similar
        self.timelines = Timelines(desk)
        self._modified = {row["video"]: str(row["modified_at"]) for row in desk.results.videos()}

    def item(self, moment: int) -> dict[str, Any]:
        """A moment, for the queue."""
        moments, queue = self.desk.moments, self.desk.queue
        video = moments.names[moments.videos[moment]]
        start_s, end_s = float(moments.starts_s[moment]), float(moments.ends_s[moment])
        return {
            "id": moment,
            "rank": moment + 1,
            "kind": "incident" if moment < moments.num_incidents else "frame",
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
        """A moment, for the player."""
        item = self.item(moment)
        begin, end = clip_range(item["start_s"], item["end_s"], item["peak_s"], lead_s=self.lead_s)
        uri = self.desk.moments.names[item["video"]]
        said = [
            {"start_s": s.start_s, "end_s": s.end_s, "state": s.state, "answers": s.answers}
            for s in self.desk.segments.get(uri, [])
            if s.start_s < item["end_s"] and s.end_s > item["start_s"]
        ]
        clip = {
            "url": f"clips/{item['video']}/{begin:.3f}-{end:.3f}.mp4?v={self.desk.ranking_id}",
            "start_s": begin,
            "end_s": end,
        }
        return {**item, "uri": uri, "clip": clip, "lead_s": self.lead_s, "said": said}

    def clip(self, video: int, begin: float, end: float) -> Path:
        """The file of a clip of one of the ledger's videos."""
        if not 0 <= begin < end or end - begin > LONGEST_S + 1:
            raise InputError(f"[{begin}, {end}) is no clip: give seconds, at most {LONGEST_S:g} of them")
        uri = self.desk.moments.names[video]
        return self.clips.get(uri, self._modified[uri], begin, end)

    def status(self) -> dict[str, Any]:
        """Where the review stands."""
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
        """Refits in the background: an answer does not wait for it."""
        if self.desk.learning_is_due:
            threading.Thread(target=self.desk.learn, daemon=True).start()


class Current:
    """The page of the latest ranking. A request takes it once, and stays with it."""

    def __init__(self, page: Page) -> None:
        """Begins with a page."""
        self.page = page
        self._reloading = threading.Lock()

    def refresh(self) -> Page:
        """Takes in what has been written since: verdicts of others, or a new ranking."""
        with self._reloading:
            old = self.page
            if old.desk.is_outdated:
                desk = Desk(old.desk.results.output, old.desk.settings)
                finder = old.finder.on(desk.results)
                self.page = Page(
                    desk, old.clips, finder, old.similar, lead_s=old.lead_s, reviewer=old.reviewer
                )
            page = self.page
        page.desk.refresh()
        return page


def create_app(page: Page, *, token: str, public_url: str | None = None, only_loopback: bool = True) -> Flask:
    """The application.

    Args:
        page: what it shows.
        token: without it, a request is refused.
        public_url: as of `guard.protect`.
        only_loopback: likewise.
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
            version=_version(),
        )

    @app.get("/api/status")
    def status() -> Response:
        page = current.refresh()
        page.learn_when_due()
        return jsonify(page.status())


def _version() -> str:
    """Another one whenever a static file is, so that no browser keeps an old one."""
    files_there = Path(str(files("framewatch.review") / "static")).iterdir()
    return str(max(int(path.stat().st_mtime) for path in files_there))


def _add_queue(app: Flask, current: Current) -> None:
    @app.get("/api/queue")
    @takes(Fields({**FIELDS, "offset": WHOLE}))
    def queue() -> Response:
        page, wanted = current.page, given()
        offset = wanted.pop("offset", 0)
        found = Filter(**wanted).apply(page.desk)
        part = found[offset : offset + _PAGE].tolist()
        items = [page.item(moment) for moment in part]
        return jsonify(total=len(found), items=items, version=page.desk.queue.version)

    @app.get("/api/moments/<int:moment>")
    def one(moment: int) -> Response:
        page = current.page
        return jsonify(page.moment(known(moment, len(page.desk.moments), "moment")))

    @app.get("/api/timelines/<int:video>")
    def timeline(video: int) -> Response:
        page = current.page
        return jsonify(page.timelines.get(known(video, len(page.desk.moments.names), "video")))


def _add_media(app: Flask, current: Current) -> None:
    def picture(moment: int, width: int) -> Response:
        page = current.page
        origin = page.desk.moments.origins[known(moment, len(page.desk.moments), "moment")].as_py()
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
        path = page.clip(known(video, len(page.desk.moments.names), "video"), begin, end)
        return send_file(path, mimetype="video/mp4", conditional=True, max_age=3600)
