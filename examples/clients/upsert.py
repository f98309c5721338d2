"""Upserts the items of a JSON file, waits until they are applied, and prints what is there then, a line of JSON each.

FOLDLINE_URL=http://127.0.0.1:8080 FOLDLINE_KEY=lehnz_sk_… python examples/clients/upsert.py items.json
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from foldline.client import Client, ClientError, Refused


def main(file: str) -> int:
    with Client(os.environ["FOLDLINE_URL"], os.environ["FOLDLINE_KEY"]) as foldline:
        try:
            upserted = foldline.wait_applied(foldline.upsert_items(json.loads(Path(file).read_text(encoding="utf-8"))))
            for error in upserted.errors:
                print(f"record {error.index}: {error.message} ({error.code})", file=sys.stderr)
            for item in foldline.items():
                print(json.dumps(item._asdict(), default=str, ensure_ascii=False))
        except Refused as refused:
            for error in refused.errors:
                print(f"record {error.index}: {error.message} ({error.code})", file=sys.stderr)
            return 1
        except ClientError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
