"""Who may talk to the page: this machine, or who has the token; and only from the page itself."""

import hmac
import ipaddress
import secrets

from flask import Flask, Response, abort, redirect, request

_COOKIE = "framewatch_token"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, which only its users reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def protect(app: Flask, *, token: str | None) -> str:
    """Lets requests through that may be, and sets the headers that keep a page to itself.

    Args:
        app: whose requests.
        token: asked for once, as `?token=`, then kept in a cookie; None where only loopback is served.

    Returns:
        The token that each POST must bear in the header `X-CSRF-Token`.
    """
    csrf = secrets.token_urlsafe(32)

    @app.before_request
    def check() -> Response | None:
        if token is None:
            # A name that an attacker makes lead here is still not one of ours.
            if not is_loopback(_host_name(request.host)):
                abort(403, "this address is for this machine only: open http://localhost")
        elif not _is(request.cookies.get(_COOKIE), token):
            if not _is(request.args.get("token"), token):
                abort(403, "the token is missing or wrong: open the address that framewatch review printed")
            answer = redirect(request.path)  # so that the token stays in no address bar
            # Not Strict: the address may be opened from a mail. What changes anything needs the page's token.
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="Lax")
            return answer  # type: ignore[return-value]
        if request.method not in ("GET", "HEAD"):
            same_site = request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
            if not same_site or not _is(request.headers.get("X-CSRF-Token"), csrf):
                abort(403, "this request does not come from the page: reload it")
        return None

    @app.after_request
    def keep_to_itself(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        if response.cache_control.max_age:  # a proxy must not hand footage to who has no token
            response.cache_control.public, response.cache_control.private = False, True
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    return csrf


def _is(given: str | None, wanted: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), wanted.encode())


def _host_name(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
