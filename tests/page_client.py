"""A browser without a screen, for the review page: keeps cookies, and knows the page's CSRF token."""

import http.client
import json
import re
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from typing import Any


class Client:
    """Opens an address as it was printed."""

    def __init__(self, address: str) -> None:
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        self.base = address.partition("?")[0]
        self.page = self.open(address)[1].decode()
        self.csrf = re.search('name="csrf" content="([^"]+)"', self.page).group(1)
        self.ranking = self.get("api/status")["ranking"]

    def open(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes, Any]:
        address = path if path.startswith("http") else self.base + path.lstrip("/")
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(address, data, names)
        try:
            with self.opener.open(request, timeout=60) as response:
                return response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def raw(
        self, target: str, *, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Sends a target as it stands, where urllib would tidy dots away."""
        host = self.base.removeprefix("http://").rstrip("/")
        connection = http.client.HTTPConnection(host, timeout=60)
        sent = {"Host": host, "Cookie": "; ".join(f"{it.name}={it.value}" for it in self.cookies)}
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            if body is not None:
                sent |= {"X-CSRF-Token": self.csrf, "Content-Length": str(len(body))}
            for name, value in {**sent, **{k.replace("_", "-"): v for k, v in headers.items()}}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, body, _ = self.open(path)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        sent = {"X_CSRF_Token": self.csrf, "Content_Type": "application/json", **headers}
        status, answer, _ = self.open(path, json.dumps(body).encode(), **sent)
        return status, json.loads(answer)

    def ask(self, path: str, body: Any = None) -> Any:
        """The answer as JSON or bytes; an error's as its text."""
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        status, answer, headers = self.open(path, data, Content_Type=kind, X_CSRF_Token=self.csrf)
        if status != 200:
            return json.loads(answer)["error"]
        return json.loads(answer) if headers["Content-Type"].startswith("application/json") else answer

    def judge(self, moment: int, answer: str, reviewer: str = "ann", **more: Any) -> tuple[int, Any]:
        body = {"moment": moment, "answer": answer, "reviewer": reviewer, "ranking": self.ranking, **more}
        return self.post("api/verdicts", body)
