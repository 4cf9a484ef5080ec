"""Access control: checks the token, the host name and the origin of requests."""

import hmac
import ipaddress
import secrets
from urllib.parse import quote, urlencode, urlsplit

from flask import Flask, Response, abort, redirect, request

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def is_loopback(host: str) -> bool:
    """Returns whether an address is a loopback address, which only users of this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def protect(app: Flask, *, token: str, public_url: str | None, only_loopback: bool) -> str:
    """Rejects requests without the token, and sets security headers.

    Args:
        app: the application to protect.
        token: the access token, given once as `?token=` and then stored in a cookie.
        public_url: URL of the page behind a proxy; with https, the cookie is only sent over HTTPS.
        only_loopback: whether the page listens on a loopback address.

    Returns:
        The CSRF token, which each POST must send in the header `X-CSRF-Token`.
    """
    csrf = secrets.token_urlsafe(32)
    public = urlsplit(public_url or "")

    @app.before_request
    def check() -> Response | None:
        # Prevents DNS rebinding, in which an attacker's host name resolves to this machine.
        host = _host_name(request.host)
        if only_loopback and not is_loopback(host) and host != public.hostname:
            abort(403, f"host '{host}' is not allowed: open the printed address, or set review.public_url")
        # Browsers send cookies to all ports of a host, so the cookie's name includes the port.
        cookie = f"framewatch_token_{request.environ['SERVER_PORT']}"
        if _is(request.args.get("token"), token):
            others = [(name, value) for name, value in request.args.items(multi=True) if name != "token"]
            # Redirects, so that the token does not stay in the address bar.
            answer = redirect(quote(request.path) + (f"?{urlencode(others)}" if others else ""))
            # Lax instead of Strict, so that links in mails work. POST requests also need the CSRF token.
            answer.set_cookie(cookie, token, httponly=True, samesite="Lax", secure=public.scheme == "https")
            return answer  # type: ignore[return-value]
        if not any(_is(value, token) for value in request.cookies.getlist(cookie)):
            abort(403, "the token is missing or wrong: open the address that framewatch review printed")
        if request.method not in ("GET", "HEAD"):
            same_site = request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
            if not same_site or not _is(request.headers.get("X-CSRF-Token"), csrf):
                abort(403, "this request does not come from the page: reload the page")
        return None

    @app.after_request
    def set_security_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        if response.cache_control.max_age:  # a proxy must not serve cached footage without the token
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
