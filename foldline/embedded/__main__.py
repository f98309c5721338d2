"""`python -m foldline.embedded` fetches what the embedded servers need; `--lock` writes the list of Kafka's jars anew."""

from __future__ import annotations

import sys
from pathlib import Path

from foldline.embedded import jars
from foldline.embedded.errors import EmbeddedError


def main(arguments: list[str]) -> int:
    if arguments == ["--lock"]:
        text = jars.relock("python -m foldline.embedded --lock", [jars.KAFKA], [jars.LOG_BINDING])
        Path(jars.__file__).with_name("jars.lock").write_text(text)
        return 0
    try:
        jars.kafka_jars()
    except EmbeddedError as error:
        print(f"foldline: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
