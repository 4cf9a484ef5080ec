"""The answers: verdicts on moments, taken back, and exported as labels."""

from dataclasses import asdict
from typing import Any

from flask import Flask, Response, abort, jsonify

from framewatch.errors import InputError
from framewatch.review.export import labels_csv
from framewatch.review.filters import number
from framewatch.review.request_parts import json_object, known
from framewatch.verdicts import Verdict


def add_verdicts(app: Flask, current: Any) -> None:
    """The routes that take verdicts.

    Args:
        app: whose routes.
        current: holds the page of the latest ranking.
    """

    @app.post("/api/verdicts")
    def judge() -> Response:
        page, said = current.page, json_object()
        if said.get("ranking") != page.desk.ranking_id:
            abort(409, "the ranking is another one now: reload the page")
        moment = said.get("moment")
        if not isinstance(moment, int) or isinstance(moment, bool) or moment < 0:
            raise InputError(f"moment={moment} is not valid: give its number")
        kept = page.desk.judge(_verdict(page, known(moment, len(page.desk.moments), "moment"), said))
        page.learn_when_due()
        return jsonify(verdict=asdict(kept), moment=page.moment(moment), status=page.status())

    @app.post("/api/undo")
    def undo() -> Response:
        page = current.page
        undone = page.desk.undo(str(json_object().get("reviewer", "")))
        page.learn_when_due()
        return jsonify(undone=asdict(undone) if undone else None, status=page.status())

    @app.get("/labels.csv")
    def labels() -> Response:
        page = current.refresh()
        answer = Response(labels_csv(page.desk.verdicts), mimetype="text/csv")
        answer.headers["Content-Disposition"] = "attachment; filename=verdicts.csv"
        return answer


def _verdict(page: Any, moment: int, said: dict[str, Any]) -> Verdict:
    """A verdict on a whole moment, or on the frame at `second`."""
    item = page.item(moment)
    start_s, end_s, prob2 = item["start_s"], item["end_s"], item["prob2"]
    second = number({"second": str(said["second"])}, "second") if said.get("second") is not None else None
    if second is not None:
        start_s, end_s, prob2 = page.timelines.frame_at(item["video"], second)
    return Verdict(
        video=page.desk.moments.names[item["video"]],
        start_s=start_s,
        end_s=end_s,
        answer=str(said.get("answer")),
        reviewer=str(said.get("reviewer", "")),
        reason=str(said.get("reason") or "chosen")[:20],
        model=page.desk.results.ranking["model"],
        prob2=prob2,
    )
