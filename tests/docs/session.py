# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader who does what a page says, from top to bottom: on the control host, in a clone of its own, and on nodes.

The reader's account is the lab's: names that stand for the reader's own in the pages, such as `vxnet-0a1b2c3d`, are
exchanged for the lab's. What the reader has besides is there from the beginning: an SSH key and the API's address by
the environment and `group_vars/all.yml`, the example's inventory as `inventory.yml`, its vault's variables.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.docs import prompt
from tests.docs.pages import CLONE, Block
from tests.lab import ssh
from tests.lab.image import IMAGE
from tests.lab.lab import Lab, Node
from tests.lab.paths import SSH_KEY

_PATIENCE: t.Final = 300.0  # s for a block
_IMAGES: t.Final = "/usr/share/qclab/image.tar"
_PULLED: t.Final = "docker.io/library/busybox:latest"
_KEPT: t.Final = ".session"  # variables and directory of a shell, from one block to the next


@dataclass(frozen=True)
class Done:
    status: int
    printed: str


class Shell:
    """Runs one block after the other, each of which goes on where the last one stopped, as in one terminal."""

    def __init__(self, argv: t.Sequence[str], directory: str, environment: t.Mapping[str, str]) -> None:
        """`argv` executes the program that it is given on its stdin, in any directory."""
        self._argv = argv
        self._directory = directory
        self._environment = environment

    def __call__(self, commands: str) -> Done:
        """A command that fails ends the block, as a reader would stop."""
        kept = shlex.quote(f"{self._directory}/{_KEPT}")
        script = (
            f"cd {shlex.quote(self._directory)}; if [ -e {kept} ]; then . {kept}; fi\n"
            f"set -e -o pipefail\n{{\n{commands}\n}} 2>&1 </dev/null\n"
            f'{{ export -p; echo "cd $(printf %q "$PWD")"; }} >{kept}\n'
        )
        done = subprocess.run(
            self._argv, input=script, env=self._environment, capture_output=True, text=True, check=False,
            timeout=_PATIENCE,
        )  # fmt: skip
        return Done(done.returncode, done.stdout + done.stderr)


class Session:
    """One page's. `close` leaves nothing on the nodes."""

    def __init__(self, lab: Lab, clone: Path, directory: Path) -> None:
        """`clone`: one that `make_clone` has made, which stays as it is."""
        self._lab = lab
        self._standins = standins(lab)
        self.clone = directory / "qingcloud.cni"
        self._home = directory / "home"
        self._home.mkdir(parents=True)
        shutil.copytree(clone, self.clone, symlinks=True)
        self._furnish()
        self._environment = self._of_the_reader()
        self._control = Shell(["bash"], str(self.clone), self._environment)
        self._nodes: dict[str, Shell] = {}

    def execute(self, block: Block) -> None:
        """Raises AssertionError with what was printed where it does not end well."""
        text = self._own(block.text)
        if block.file and block.language not in ("sh", "console", "python"):
            return self._write(block, text)
        if block.language == "python":
            return self._expect(block, self._control(f"python - <<'END_OF_PROGRAM'\n{text}\nEND_OF_PROGRAM"), "")
        for shell in self._shells(block.where):
            if block.language == "sh":
                self._expect(block, shell(text), text)
                continue
            for step in prompt.steps(text):
                done = shell(step.command)
                self._expect(block, done, step.command)
                assert step.fits(done.printed), self._told(block, done, f"{step.command}\nexpected:\n{step.expected}")
        return None

    def close(self) -> None:
        for name in self._nodes:
            self._lab.node(name).run(["rm", "-rf", f"/root/{self._workplace}"])

    # -- the reader's places --

    def _furnish(self) -> None:
        api = urlsplit(self._lab.api.url)
        known = {
            "qingagent_host": api.hostname,
            "qingagent_port": api.port,
            "qingagent_protocol": api.scheme,
            "ansible_python_interpreter": "/usr/bin/python3",  # asked for by name, it is found sooner
            "vault_qingcloud_access_key_id": self._lab.api.access_key_id,
            "vault_qingcloud_secret_access_key": self._lab.api.secret_access_key,
        }
        (self.clone / "group_vars").mkdir()
        (self.clone / "group_vars/all.yml").write_text(json.dumps(known))
        example = (self.clone / "playbooks/inventory.example.yml").read_text(encoding="utf-8")
        (self.clone / "inventory.yml").write_text(self._own(example))

    def _of_the_reader(self) -> dict[str, str]:
        """Programs, SSH key and endpoint; nothing of an Ansible configuration that this test was started with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "QINGCLOUD_"))}
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self._home),
            "XDG_CACHE_HOME": str(Path("~/.cache").expanduser()),  # packages for nodes, and pip's own
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PRIVATE_KEY_FILE": str(SSH_KEY),
            "ANSIBLE_SSH_COMMON_ARGS": shlex.join(ssh.options()),
            "QINGCLOUD_ENDPOINT": f"{self._lab.api.url.rstrip('/')}/iaas/",
        }

    def _shells(self, where: str) -> t.Iterable[Shell]:
        if where == "control":
            return [self._control]
        chosen = self._lab.nodes if where == "nodes" else self._lab.nodes[:1]
        return [self._on(node) for node in chosen]

    @property
    def _workplace(self) -> str:
        return f"reader-{os.getpid()}"

    def _on(self, node: Node) -> Shell:
        if node.name not in self._nodes:
            directory = f"/root/{self._workplace}"
            node.run(["mkdir", "-p", directory])
            node.run(["tee", f"{directory}/{_KEPT}"], stdin=_podman(node, directory))
            login = ssh.command(node.address, ["bash"])
            self._nodes[node.name] = Shell(login, directory, self._environment)
        return self._nodes[node.name]

    def _write(self, block: Block, text: str) -> None:
        if block.where == "control":
            path = self.clone / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        name = shlex.quote(block.file)
        for shell in self._shells(block.where):
            self._expect(block, shell(f"cat >{name} <<'END_OF_FILE'\n{text}END_OF_FILE"), name)

    # -- words --

    def _own(self, text: str) -> str:
        for standin, own in self._standins.items():
            text = text.replace(standin, own)
        return text

    def _expect(self, block: Block, done: Done, commands: str) -> None:
        assert done.status == 0, self._told(block, done, commands)

    @staticmethod
    def _told(block: Block, done: Done, commands: str) -> str:
        return f"{block.place}: exit status {done.status}\n{commands}\nprinted:\n{done.printed[-6000:]}"


def _podman(node: Node, directory: str) -> str:
    """An image where readers pull one, and what the lab's kernel asks of podman; variables for a shell."""
    node.ssh(f"podman load --quiet --input {_IMAGES} && podman tag {IMAGE} {_PULLED}")
    settings = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
    settings += '[engine]\ncgroup_manager = "cgroupfs"\n'
    node.run(["tee", f"{directory}/containers.conf"], stdin=settings)
    return f"export CONTAINERS_CONF={directory}/containers.conf\n"


def make_clone(target: Path) -> Path:
    """The files of the repository as they are now, none that git ignores, in a repository of their own."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=CLONE, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        source, copy = CLONE / name, target / name
        if source.is_symlink() or source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=target, check=True)
    return target


def standins(lab: Lab) -> dict[str, str]:
    """What pages write for something of the reader's own ► the lab's."""
    return {
        "192.0.2.11": lab.nodes[0].address,
        "192.0.2.12": lab.nodes[1].address,
        "i-0a1b2c3d": lab.nodes[0].instance_id,
        "vxnet-0a1b2c3d": lab.vxnets[0].vxnet_id,
        "vxnet-4d5e6f7a": lab.vxnets[1].vxnet_id,
        "pek3b": lab.api.zone,
        "QYACCESSKEYIDEXAMPLE": lab.api.access_key_id,
        "SECRETACCESSKEYEXAMPLE": lab.api.secret_access_key,
    }
