"""One blocking HTTP request to a server beside us, whatever proxies the environment names.

`urllib.request.urlopen` asks them for every address, 127.0.0.1 too, unless `no_proxy` lists it. The gateway
knows no proxy on its way to an engine, so neither may what starts and proves that engine.
"""

from __future__ import annotations

import http.client
from urllib.request import HTTPDefaultErrorHandler, HTTPErrorProcessor, HTTPHandler, OpenerDirector, Request


def open_directly(request: str | Request, timeout_s: float) -> http.client.HTTPResponse:
    """The answer, to be closed; plain HTTP, and no redirect is followed.

    Raises urllib.error.HTTPError for an error status, URLError and other OSErrors, HTTPException.
    """
    opener = OpenerDirector()  # handlers keep state of a request, and threads share none
    for handler in (HTTPHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor()):
        opener.add_handler(handler)
    answer = opener.open(request, timeout=timeout_s)
    if not isinstance(answer, http.client.HTTPResponse):
        raise http.client.UnknownProtocol("write http://host:port")
    return answer
