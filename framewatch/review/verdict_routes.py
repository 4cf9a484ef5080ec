"""The answers: verdicts on moments, taken back, and exported as labels."""

from dataclasses import asdict
from typing import Any

from flask import Flask, Response, abort, jsonify

from framewatch.feedback import ANSWERS, Verdict
from framewatch.feedback.export import labels_csv
from framewatch.feedback.loop import REASONS
from framewatch.review.fields import NUMBER, TEXT, Field, Fields, choice, given, known, takes

ANSWER_FIELDS = {"answer": choice(ANSWERS, required=True), "reviewer": TEXT}
_FIELDS = {
    **ANSWER_FIELDS,
    "moment": Field(int, "give its number", least=0, required=True),
    "second": NUMBER,
    "reason": choice((*REASONS, "chosen")),
    "ranking": TEXT,
}


def add_verdicts(app: Flask, current: Any) -> None:
    """The routes that take verdicts.

    Args:
        app: whose routes.
        current: holds the page of the latest ranking.
    """

    @app.post("/api/verdicts")
    @takes(Fields(json=_FIELDS))
    def judge() -> Response:
        page, said = current.page, given()
        if said.get("ranking") != page.desk.ranking_id:
            abort(409, "the ranking is another one now: reload the page")
        moment = known(said["moment"], len(page.desk.moments), "moment")
        kept = page.desk.judge(_verdict(page, moment, said))
        page.learn_when_due()
        return jsonify(verdict=asdict(kept), moment=page.moment(moment), status=page.status())

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
        # Beside the file, as a label file has no place for remarks; the page shows the count as well.
        answer.headers["Framewatch-Set-Aside"] = str(len(page.desk.log.set_aside()))
        return answer


def _verdict(page: Any, moment: int, said: dict[str, Any]) -> Verdict:
    """A verdict on a whole moment, or on the frame at `second`."""
    item = page.item(moment)
    start_s, end_s, prob2 = item["start_s"], item["end_s"], item["prob2"]
    if "second" in said:
        start_s, end_s, prob2 = page.timelines.frame_at(item["video"], said["second"])
    return Verdict(
        video=page.desk.moments.names[item["video"]],
        start_s=start_s,
        end_s=end_s,
        answer=said["answer"],
        reviewer=said.get("reviewer", ""),
        reason=said.get("reason", "chosen"),
        model=page.desk.results.ranking["model"],
        prob2=prob2,
    )
