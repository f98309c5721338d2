"""What the pages need of curl, for a machine that has none."""

from __future__ import annotations

import argparse
import sys
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener


def main() -> int:
    parser = argparse.ArgumentParser(prog="curl")
    parser.add_argument("url")
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-d", "--data")
    chosen = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in chosen.header)
    request = Request(chosen.url, None if chosen.data is None else chosen.data.encode(), headers)
    try:
        answer = build_opener(ProxyHandler({})).open(request)
    except HTTPError as refused:
        answer = refused
    sys.stdout.buffer.write(answer.read())
    return 0


if __name__ == "__main__":
    sys.exit(main())
