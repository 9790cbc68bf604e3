# SPDX-License-Identifier: GPL-3.0-or-later
"""The two launchers, run for real from a directory of their own."""

from __future__ import annotations

import fcntl
import os
import py_compile
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible import launchers
from plugins.module_utils.hostnic.errors import InvalidConfig

BODY = """
import posix
import sys

def main():
    posix.write(1, b"%s " + repr(sorted(set(sys.modules) - set(sys.builtin_module_names))).encode())
    posix._exit(3)

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "qingcni.py").write_text(BODY % "source")
    (tmp_path / "qingcni-start.py").write_text(launchers.cni_start(str(tmp_path)))
    return tmp_path


def install(version: Path, name: str, text: str) -> Path:
    path = version / "bin" / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([path, *words], capture_output=True, text=True, check=False, timeout=30)


def compile_body(version: Path, text: str) -> Path:
    source = version / "other.py"
    source.write_text(text)
    compiled = version / "qingcni.pyc"
    py_compile.compile(str(source), cfile=str(compiled), doraise=True)
    return compiled


def test_qingcni_runs_its_compiled_body_and_imports_nothing_else(version: Path) -> None:
    compile_body(version, BODY % "compiled")
    done = run(install(version, "qingcni", launchers.cni(sys.executable, str(version))))
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("compiled ")
    assert not {"site", "os", "re", "json", "importlib", "socket"} & set(done.stdout.split("'"))


@pytest.mark.parametrize("damage", ["missing", "of another Python", "cut off", "empty"])
def test_qingcni_goes_back_to_its_source(version: Path, damage: str) -> None:
    compiled = compile_body(version, BODY % "compiled")
    whole = compiled.read_bytes()
    left = {"of another Python": b"\0\0\r\n" + whole[4:], "cut off": whole[:40], "empty": b""}
    compiled.unlink()
    if damage in left:
        compiled.write_bytes(left[damage])
    done = run(install(version, "qingcni", launchers.cni(sys.executable, str(version))))
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("source ")


# Every byte but NUL and the end of a line, which are told apart below; no word of the shell means anything.
_BYTES = bytes(number for number in range(1, 256) if number != 10)
_TEXTS = [
    b"{}",
    b"{}\n",
    b"\n\n {\n",
    b' $HOME `id` $(id) \\n \\" %s * ',
    _BYTES + b"\n" + "\u00e4\u6f22".encode(),
]
_SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


class Launched:
    """qingcni by this shell, and where it writes; its body prints its words, and what was written or stdin."""

    def __init__(self, version: Path, shell: str) -> None:
        self.ahead = version / "ahead"
        self.ahead.mkdir()
        body = (
            "import posix, sys\n"
            "posix.write(1, repr(sys.argv[1:]).encode() + b' ')\n"
            "file = posix.open('/proc/self/fd/9', 0) if sys.argv[1:] else 0\n"
            "posix.write(1, posix.read(file, 100000))\n"
            "posix._exit(3)\n"
        )
        (version / "qingcni.py").write_text(body)
        text = launchers.cni(sys.executable, str(version)).replace("/run/qingagent/ahead", str(self.ahead))
        self.path = install(version, "qingcni", text)
        self.argv = [str(shutil.which(shell)), *(["sh"] if shell == "busybox" else [])]

    def run(self, stdin: bytes, told: str = "", **env: t.Union[str, bytes]) -> tuple[str, bytes]:
        """The words and the rest; `told`: on stderr."""
        variables = {"CNI_COMMAND": "ADD", "CNI_NETNS": "/run/netns/a", **env}
        done = subprocess.run([*self.argv, self.path], env=variables, input=stdin, capture_output=True, check=False)
        assert done.returncode == 3
        assert re.fullmatch(told, done.stderr.decode())
        words, __, rest = done.stdout.partition(b"] ")
        return words.decode() + "]", rest


@pytest.mark.parametrize("shell", _SHELLS)
@pytest.mark.parametrize("text", _TEXTS)
@pytest.mark.parametrize("netns", [b"/run/netns/a", b"/var/run/netns/a b"])
def test_what_goes_ahead_is_what_was_said(version: Path, shell: str, text: bytes, netns: bytes) -> None:
    launched = Launched(version, shell)
    odd = b" a\\b\xff$x`y`*'\"\n"
    words, rest = launched.run(
        text, CNI_CONTAINERID="c1", CNI_NETNS=netns, CNI_IFNAME="eth0", CNI_ARGS=odd, CNI_PATH="/x"
    )
    ended = text if text.endswith(b"\n") else text + b"\n"
    assert rest.split(b"\0") == [b"ADD", b"c1", netns, b"eth0", odd, b"/x", ended, b""]
    (left,) = launched.ahead.iterdir()
    assert words == f"['{left.name}']"
    assert re.fullmatch(r"[0-9]+-[0-9]+\.[0-9]+", left.name)
    assert left.read_bytes() == rest


@pytest.mark.parametrize("shell", _SHELLS)
@pytest.mark.parametrize(
    "env",
    [
        {"CNI_COMMAND": "CHECK"},
        {"CNI_COMMAND": "VERSION"},
        {"CNI_COMMAND": ""},
        {"CNI_NETNS": ""},
        {"CNI_NETNS": "/proc/1/ns/net"},
        {"CNI_COMMAND": "DE", "CNI_NETNS": "L/run/netns/a/b"},
    ],
)
def test_the_rest_comes_with_qingcni(version: Path, shell: str, env: dict[str, str]) -> None:
    launched = Launched(version, shell)
    assert launched.run(b"{\n", **env) == ("[]", b"{\n")
    assert list(launched.ahead.iterdir()) == []


@pytest.mark.parametrize("shell", _SHELLS)
def test_without_a_word_on_stdin_nothing_goes_ahead(version: Path, shell: str) -> None:
    """Whether it cannot be read, the shell does not tell; qingcni does."""
    launched = Launched(version, shell)
    assert launched.run(b"") == ("[]", b"")
    (left,) = launched.ahead.iterdir()
    assert left.read_bytes() == b""


@pytest.mark.parametrize("shell", _SHELLS)
def test_what_cannot_be_written_comes_with_qingcni(version: Path, shell: str) -> None:
    """stdin is used up by then, so it comes by a pipe."""
    launched = Launched(version, shell)
    launched.path.write_text(launched.path.read_text().replace('9>"$ahead/$$-$now"', "9>/dev/full"))
    assert launched.run(b'{\n  "a\\n" \n}') == ("[]", b'{\n  "a\\n" \n}\n')


@pytest.mark.parametrize("shell", _SHELLS)
def test_no_word_of_a_path_is_the_shells(tmp_path: Path, shell: str) -> None:
    place = tmp_path / "a;b$(c)*"
    place.mkdir()
    (place / "python").symlink_to(sys.executable)
    (place / "qingcni.py").write_text("print('here')")
    (place / "qingcni-start.py").write_text(launchers.cni_start(str(place)))
    (place / "qingcni").write_text(launchers.cni(str(place / "python"), str(place)))
    argv = [str(shutil.which(shell)), *(["sh"] if shell == "busybox" else []), str(place / "qingcni")]
    assert subprocess.run(argv, env={}, capture_output=True, check=True).stdout == b"here\n"


@pytest.mark.parametrize("shell", _SHELLS)
def test_no_file_that_is_there_is_written_to(version: Path, shell: str) -> None:
    """Another PID namespace has the same numbers."""
    launched = Launched(version, shell)
    text = launched.path.read_text()
    launched.path.write_text(
        text.replace("\n        set -C", '\n        echo others >"$ahead/$$-$now"\n        set -C')
    )
    assert launched.run(b"{}", told="[^\n]*(File exists|cannot overwrite existing file)\n") == ("[]", b"{}")
    (others,) = launched.ahead.iterdir()
    assert others.read_text() == "others\n"


@pytest.mark.parametrize("shell", _SHELLS)
def test_nothing_goes_ahead_of_an_agent_that_is_away(version: Path, shell: str) -> None:
    launched = Launched(version, shell)
    launched.ahead.rmdir()
    assert launched.run(b"{}") == ("[]", b"{}")


@pytest.fixture
def agent(version: Path) -> Path:
    package = version / "hostnic/commands"
    package.mkdir(parents=True)
    (version / "hostnic/__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(
        "import sys\nimport third\n\ndef main():\n    print(third.WHERE, __file__, sys.argv[1:], flush=True)\n"
        "    sys.stdin.read()\n    return 7\n"
    )
    (version / "deps-1").mkdir()
    (version / "deps-1/third.py").write_text("WHERE = 'deps'\n")
    (version / "deps").symlink_to("deps-1")
    return install(version, "qingagent", launchers.agent(sys.executable, str(version)))


def test_qingagent_finds_package_and_dependencies_of_its_version(version: Path, agent: Path) -> None:
    os.environ.pop("PYTHONPATH", None)
    done = subprocess.run([agent, "start", "--x"], input="", capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"deps {version}/hostnic/commands/cli.py ['start', '--x']\n"


def test_qingagent_shows_that_its_version_is_in_use(version: Path, agent: Path) -> None:
    directory = os.open(version, os.O_RDONLY)
    process = subprocess.Popen([agent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stdout.readline()
        with pytest.raises(BlockingIOError):
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.communicate("", timeout=30)
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        process.kill()
        process.wait()
        os.close(directory)


@pytest.mark.parametrize("python", ["/opt/my python/bin/python3", "/" + "x" * 260])
def test_an_interpreter_that_no_first_line_can_name_is_told(python: str) -> None:
    with pytest.raises(InvalidConfig):
        launchers.cni(python, "/usr/lib/hostnic/1")
