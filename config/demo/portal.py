"""The portal as a client sees it: its API with a key, its pages with a browser's cookies."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.cookiejar import CookieJar
from typing import Any

TIMEOUT = 20  # seconds
SIGN_IN = "/accounts/login/"

# This machine only: a proxy that the environment may name has nothing to do with it.
_NO_PROXY = urllib.request.ProxyHandler({})


class Refused(Exception):
    """The portal answered with an error; `status` and its problem document say which."""

    def __init__(self, method: str, path: str, status: int, body: bytes) -> None:
        super().__init__(f"{method} {path} answered {status}: {body[:600].decode('utf-8', 'replace')}")
        self.status = status


class SignInFailed(Exception):
    """Somebody has another password by now."""


def request(
    url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> tuple[int, bytes]:
    """One request, its status and body. Raises OSError where nobody answers; an error status is an answer."""
    asked = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)  # noqa: S310 (our own portal's address)
    try:
        with urllib.request.build_opener(_NO_PROXY).open(asked, timeout=TIMEOUT) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class Api:
    """The API of one tenant. `base` is the portal's address without a slash at its end."""

    def __init__(self, base: str, key: str) -> None:
        self.base = base
        self._key = key

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def post(self, path: str, body: object = None) -> Any:
        return self._call("POST", path, {} if body is None else body)

    def patch(self, path: str, body: object) -> Any:
        return self._call("PATCH", path, body)

    def all(self, path: str) -> Iterator[dict[str, Any]]:
        """Every object of a list, page after page."""
        following: str | None = path
        while following:
            page = self.get(following)
            yield from page["results"]
            following = page.get("next") and _path_of(page["next"]).removeprefix("/api/v1/")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        status, answer = request(f"{self.base}/api/v1/{path}", method=method, headers=headers, body=data)
        if status >= 400:
            raise Refused(method, path, status, answer)
        return json.loads(answer) if answer else None


class Person(Api):
    """The API as the pages use it for somebody who is signed in. Raises SignInFailed."""

    def __init__(self, base: str, email: str, password: str) -> None:
        super().__init__(base, "")
        self._browser = Browser(base)
        if self._browser.submit(SIGN_IN, login=email, password=password).startswith(SIGN_IN):
            raise SignInFailed(email)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        answer = self._browser.call(method, f"/api/v1/{path}", None if body is None else json.dumps(body).encode())
        return json.loads(answer) if answer else None


class Browser:
    """A person at the portal's pages: keeps cookies, fills forms in."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._cookies = CookieJar()
        self._opener = urllib.request.build_opener(_NO_PROXY, urllib.request.HTTPCookieProcessor(self._cookies))

    def submit(self, path: str, **fields: str) -> str:
        """Open the page at `path` and send its form; returns the path one ends up at. Raises Refused."""
        self._open(urllib.request.Request(self.base + path))  # noqa: S310 (our own portal's address)
        form = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": self._token()}).encode()
        return self._open(urllib.request.Request(self.base + path, form))[0]  # noqa: S310 (our own portal's address)

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """What a page's script does: JSON, with the token in a header. Raises Refused."""
        headers = {"Content-Type": "application/json", "X-CSRFToken": self._token()}
        asked = urllib.request.Request(self.base + path, body, headers, method=method)  # noqa: S310 (our own portal's address)
        return self._open(asked)[1]

    def _token(self) -> str:
        return next((cookie.value for cookie in self._cookies if cookie.name == "csrftoken"), "") or ""

    def _open(self, asked: urllib.request.Request) -> tuple[str, bytes]:
        try:
            with self._opener.open(asked, timeout=TIMEOUT) as response:
                return _path_of(response.url), response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(asked.get_method(), _path_of(asked.full_url), error.code, error.read()) from None


def _path_of(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def at(base: str, url: str) -> str:
    """The same place of the portal by another address: what PORTAL_URL says need not be reachable from here."""
    return base + _path_of(url)
