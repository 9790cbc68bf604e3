# SPDX-License-Identifier: GPL-3.0-or-later
"""How a kubelet takes a setting: kubeadm's unit, its drop-in directory, k3s and RKE2."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.module_utils._ansible.kubelets import Kubelet, find

# kubeadm's, of the Debian package
KUBEADM = """
[Service]
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""
UNIT = "/etc/systemd/system/kubelet.service.d/90-qingcloud-cni.conf"


def put(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.fixture
def kubeadm(tmp_path: Path) -> Path:
    put(tmp_path, "usr/lib/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet\n")
    put(tmp_path, "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", KUBEADM)
    return tmp_path


def test_a_node_without_kubernetes(tmp_path: Path) -> None:
    put(tmp_path, "etc/default/kubelet", "KUBELET_EXTRA_ARGS=--x\n")
    assert find(tmp_path) is None


def test_kubeadm(kubeadm: Path) -> None:
    assert find(kubeadm) == Kubelet("unit", UNIT, "kubelet.service")
    put(kubeadm, "etc/default/kubelet", "KUBELET_EXTRA_ARGS=\n# KUBELET_EXTRA_ARGS=--later\n")
    assert find(kubeadm) == Kubelet("unit", UNIT, "kubelet.service")


@pytest.mark.parametrize("path", ["etc/default/kubelet", "etc/sysconfig/kubelet"])
def test_arguments_that_would_win_are_told(kubeadm: Path, path: str) -> None:
    put(kubeadm, path, 'KUBELET_EXTRA_ARGS="--node-ip=192.0.2.1"\n')
    assert find(kubeadm) == Kubelet("unit", UNIT, "kubelet.service", f"/{path}")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "etc/systemd/system/kubelet.service.d/20-x.conf",
            "ExecStart=/k --config-dir=/etc/kubernetes/kubelet.conf.d $X",
        ),
        ("etc/default/kubelet", 'KUBELET_EXTRA_ARGS="--config-dir /etc/kubernetes/kubelet.conf.d/"'),
        ("var/lib/kubelet/kubeadm-flags.env", 'KUBELET_KUBEADM_ARGS="--config-dir=/etc/kubernetes/kubelet.conf.d --y"'),
    ],
)
def test_its_own_directory_goes_first(kubeadm: Path, path: str, text: str) -> None:
    put(kubeadm, path, f"{text}\n")
    own = "/etc/kubernetes/kubelet.conf.d/90-qingcloud-cni.conf"
    assert find(kubeadm) == Kubelet("config-dir", own, "kubelet.service")


def test_a_directory_in_a_comment_is_none(kubeadm: Path) -> None:
    put(kubeadm, "etc/default/kubelet", "# --config-dir=/etc/x\n")
    assert find(kubeadm) == Kubelet("unit", UNIT, "kubelet.service")


@pytest.mark.parametrize(
    ("unit", "kind"),
    [
        ("k3s.service", "k3s"),
        ("k3s-agent.service", "k3s"),
        ("rke2-server.service", "rke2"),
        ("rke2-agent.service", "rke2"),
    ],
)
def test_kubelets_inside_other_programs(tmp_path: Path, unit: str, kind: str) -> None:
    put(tmp_path, f"etc/systemd/system/{unit}")
    assert find(tmp_path) == Kubelet(kind, f"/etc/rancher/{kind}/config.yaml.d/90-qingcloud-cni.yaml", unit)
