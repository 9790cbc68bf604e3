# SPDX-License-Identifier: GPL-3.0-or-later
"""Between Ansible and the package: access to the cloud, third-party packages, errors that become failures."""

from __future__ import annotations

import os
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible import access, artifacts, download, lock, packages, shelf
from plugins.module_utils._ansible.module import failure, run
from plugins.module_utils.hostnic.errors import HostnicError, InvalidConfig, QuotaExceeded
from tests.support.ansible import CLONE

# of files for Pythons of old, which are compiled with the rest
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LOCK = (CLONE / "files/requirements.lock").read_text()


class Ended(Exception):
    """A module's end: nothing of it runs on."""


class Module:
    """As much of an AnsibleModule as the rim uses."""

    _name = "a_module"

    def __init__(self, directory: Path, check: bool = False, **params: t.Any) -> None:
        self.params = params
        self.check_mode = check
        self.tmpdir = str(directory)
        self.result: dict[str, t.Any] = {}

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        self.result = result
        raise Ended

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        self.result = {"failed": True, **result}
        raise Ended


# -- errors -----------------------------------------------------------------------------------------------------------


def test_what_the_use_case_returns_is_the_result(tmp_path: Path) -> None:
    module = Module(tmp_path)
    with pytest.raises(Ended):
        run(t.cast(t.Any, module), lambda: {"changed": True})
    assert module.result == {"changed": True}


def test_an_error_is_a_failure_with_what_the_api_said(tmp_path: Path) -> None:
    module = Module(tmp_path)

    def refused() -> t.NoReturn:
        raise QuotaExceeded("no more", action="CreateNics", ret_code=2500, scope="account", changed=True)

    with pytest.raises(Ended):
        run(t.cast(t.Any, module), refused)
    assert module.result == {
        "failed": True, "msg": "no more", "code": "QuotaExceeded", "action": "CreateNics", "ret_code": 2500,
        "changed": True,
    }  # fmt: skip
    assert failure(InvalidConfig("no", ret_code=None)) == {"msg": "no", "code": "InvalidConfig"}


# -- access -----------------------------------------------------------------------------------------------------------


def test_options_become_keys_of_the_access_file() -> None:
    given = {
        "access_key_id": "AK", "secret_access_key": "SK", "zone": "pek3b",
        "endpoint": "http://api.local:7777/iaas", "access_file": "/x",
    }  # fmt: skip
    assert access.overrides(given) == {
        "qy_access_key_id": "AK", "qy_secret_access_key": "SK", "zone": "pek3b",
        "host": "api.local", "port": 7777, "protocol": "http", "uri": "/iaas",
    }  # fmt: skip
    assert access.overrides(dict.fromkeys(access.ENVIRONMENT)) == {}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"access_key_id": "AK"}, "^secret_access_key is missing"),
        ({"secret_access_key": "SK"}, "^access_key_id is missing"),
        ({"access_file": "/nowhere/client.yaml", "zone": "pek3a"}, "^access_file /nowhere/client.yaml is not a file"),
        ({"endpoint": "api.qingcloud.com", "zone": "pek3a"}, "^endpoint is not a URL like"),
        ({"zone": "Peking!"}, "zone 'Peking!' does not look like pek3a"),
    ],
)
def test_access_that_cannot_work_is_told_by_its_option(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidConfig, match=sentence):
        access.connect(given)


def test_a_zone_that_nobody_names(tmp_path: Path) -> None:
    path = tmp_path / "client.yaml"
    path.write_text("host: api.local\n")
    with pytest.raises(InvalidConfig, match=f"^zone is not set: name it in zone, in QINGCLOUD_ZONE or in {path}"):
        access.connect({"access_file": str(path)})
    path.write_text("zone: pek3b\nhost: api.local\n")
    assert "api.local:443, pek3b" in repr(access.connect({"access_file": str(path)})._connection)
    assert "pek3c" in repr(access.connect({"access_file": str(path), "zone": "pek3c"})._connection)


# -- packages ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> t.Iterator[Path]:
    """A Python without the packages, whose places are below a directory; the first is not writable for anybody."""
    (tmp_path / "file").touch()
    places = [tmp_path / "file" / "lib", tmp_path / "home"]
    monkeypatch.setattr(packages, "_installed", lambda: False)
    monkeypatch.setattr(packages, "_places", lambda: places)
    yield tmp_path


def used(module: Module) -> t.Optional[list[str]]:
    """What has come onto sys.path, None where the module has ended."""
    before = list(sys.path)
    try:
        packages.use(t.cast(t.Any, module))
        return [path for path in sys.path if path not in before]
    except Ended:
        return None
    finally:
        sys.path[:] = before


def archive(directory: Path) -> str:
    """What the control host would send."""
    found = download.from_index(lock.parse(LOCK), artifacts.Node.here(), CLONE / ".cache/artifacts")
    path = directory / "artifacts.tar"
    with tarfile.open(path, "w") as bundle:
        for one in found:
            bundle.add(one, arcname=one.name)
    return str(path)


def test_packages_are_asked_for_laid_down_and_found_again(bare: Path) -> None:
    asking = Module(bare, packages={"lock": LOCK})
    assert used(asking) is None
    assert asking.result["changed"] is False and asking.result[packages.MISSING]["python"].startswith("3.")

    name = shelf.deps_name(LOCK)
    given = {"lock": LOCK, "archive": archive(bare)}
    checking = Module(bare / "tmp", check=True, packages=given)
    assert used(checking) == [str(bare / "tmp/packages" / name)]
    assert not (bare / "home").exists(), "check mode leaves nothing behind"

    assert used(Module(bare, packages=given)) == [str(bare / "home" / name)]
    assert (bare / "home" / name / "qingcloud/iaas/connection.py").exists()
    assert used(Module(bare, packages={"lock": LOCK})) == [str(bare / "home" / name)], "one round trip from now on"


def test_packages_of_somebody_else_are_not_run(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used(Module(bare, packages={"lock": LOCK, "archive": archive(bare)}))
    monkeypatch.setattr(packages.os, "geteuid", lambda: 12345)
    if os.getuid() == 0:  # else it is ours, and so somebody else's by now
        os.chown(bare / "home" / shelf.deps_name(LOCK), 4711, 4711)
    asking = Module(bare, packages={"lock": LOCK})
    assert used(asking) is None and packages.MISSING in asking.result


def test_a_damaged_archive_lays_nothing_down(bare: Path) -> None:
    (bare / "artifacts.tar").write_bytes(b"")
    with tarfile.open(bare / "artifacts.tar", "w"):
        pass
    module = Module(bare, packages={"lock": LOCK, "archive": str(bare / "artifacts.tar")})
    assert used(module) is None
    assert "nothing came over for" in module.result["msg"] and not list((bare / "home").glob("deps-*"))


def test_without_the_action_plugin_and_without_packages(bare: Path) -> None:
    module = Module(bare, packages={})
    assert used(module) is None and "qingcloud.cni.a_module" in module.result["msg"]


def test_what_python_has_is_used_as_it_is(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_installed", lambda: True)
    assert used(Module(bare, packages={"lock": LOCK})) == [] == used(Module(bare, packages={}))


def test_an_old_python_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_old() -> None:
        raise HostnicError("Python 3.6 is too old")

    monkeypatch.setattr(packages, "check_python", too_old)
    module = Module(tmp_path, packages={})
    assert used(module) is None and module.result["msg"] == "Python 3.6 is too old"
