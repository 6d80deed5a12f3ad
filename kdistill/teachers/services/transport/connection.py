"""Connections that know whether a request was taken whole, and follow no redirect."""

import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class _Connection(http.client.HTTPConnection):
    """Tells a request that was not sent whole from an answer that did not come.

    A service that turns a request away may close the connection before it has taken all of it: what it said is read
    all the same.
    """

    _cut: OSError | None = None

    def send(self, data: Any) -> None:
        if self._cut is not None:
            return
        if self.sock is None:
            self.connect()
        try:
            super().send(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError) as error:
            self._cut = error

    def getresponse(self) -> http.client.HTTPResponse:
        try:
            return super().getresponse()
        except (OSError, http.client.HTTPException) as error:
            if self._cut is not None:
                raise urllib.error.URLError(self._cut) from error
            raise


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    pass


class Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_Connection, request)


class Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection, request)
