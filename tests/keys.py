"""The master key of all tests, which is no secret."""

from __future__ import annotations

from pathlib import Path

from foldline.adapters.seals import MasterKeys
from foldline.settings import Settings

MASTER_KEY_FILE = str(Path(__file__).with_name("master.key"))
MASTERS = MasterKeys(Settings(master_key_file=MASTER_KEY_FILE))
