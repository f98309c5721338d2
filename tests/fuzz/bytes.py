"""Coverage-guided fuzzing of what strangers' bytes meet first: `make fuzz-bytes ARGS="body -max_total_time=60"`.

The options after the name are libFuzzer's. What it finds is written below `.fuzz/`; a crash belongs into `corpus/`,.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports():
    from tests.fuzz.inputs import INPUTS

CORPUS = Path(__file__).with_name("corpus")


def main() -> None:
    name, *options = sys.argv[1:] or ["body"]
    found = Path(".fuzz", name)
    found.mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={found}/", str(found), str(CORPUS / name)], INPUTS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
