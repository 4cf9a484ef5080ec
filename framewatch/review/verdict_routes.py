"""The routes of verdicts: add, undo, and export as labels."""

from dataclasses import asdict
from typing import Any

from flask import Flask, Response, abort, jsonify

from framewatch.feedback import ANSWERS, Verdict
from framewatch.feedback.export import labels_csv
from framewatch.feedback.loop import REASONS
from framewatch.review.fields import NUMBER, TEXT, Field, Fields, check_index, given, one_of, takes

ANSWER_FIELDS = {"answer": one_of(ANSWERS, required=True), "reviewer": TEXT}
_FIELDS = {
    **ANSWER_FIELDS,
    "moment": Field(int, "give the id of a moment", least=0, required=True),
    "second": NUMBER,
    "reason": one_of((*REASONS, "chosen")),
    "ranking": TEXT,
}


def add_verdicts(app: Flask, current: Any) -> None:
    """Adds the routes of verdicts.

    Args:
        app: the application.
        current: holds the page of the latest ranking.
    """

    @app.post("/api/verdicts")
    @takes(Fields(json=_FIELDS))
    def judge() -> Response:
        page, values = current.page, given()
        if values.get("ranking") != page.desk.ranking_id:
            abort(409, "the ranking has changed: reload the page")
        moment = check_index(values["moment"], len(page.desk.moments), "moment")
        verdict = page.desk.judge(_verdict(page, moment, values))
        page.learn_when_due()
        return jsonify(verdict=asdict(verdict), moment=page.moment(moment), status=page.status())

    @app.post("/api/undo")
    @takes(Fields(json={"reviewer": TEXT}))
    def undo() -> Response:
        page = current.page
        undone = page.desk.undo(given().get("reviewer", ""))
        page.learn_when_due()
        return jsonify(undone=asdict(undone) if undone else None, status=page.status())

    @app.get("/labels.csv")
    def labels() -> Response:
        page = current.refresh()
        answer = Response(labels_csv(page.desk.verdicts), mimetype="text/csv")
        answer.headers["Content-Disposition"] = "attachment; filename=verdicts.csv"
        # A header, because a label file has no comments. The page also shows the count.
        answer.headers["Framewatch-Set-Aside"] = str(len(page.desk.log.set_aside()))
        return answer


def _verdict(page: Any, moment: int, values: dict[str, Any]) -> Verdict:
    """Returns a verdict on a whole moment, or on the frame at `second`."""
    item = page.item(moment)
    start_s, end_s, prob2 = item["start_s"], item["end_s"], item["prob2"]
    if "second" in values:
        start_s, end_s, prob2 = page.timelines.frame_at(item["video"], values["second"])
    return Verdict(
        video=page.desk.moments.names[item["video"]],
        start_s=start_s,
        end_s=end_s,
        answer=values["answer"],
        reviewer=values.get("reviewer", ""),
        reason=values.get("reason", "chosen"),
        model=page.desk.results.ranking["model"],
        prob2=prob2,
    )
