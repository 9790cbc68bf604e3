#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What a fresh Debian machine lacks: programs by apt, and .venv from pyproject.toml. Does nothing when all is there.
set -eu
cd "$(dirname "$0")/.."

# program:package
needed="
debootstrap:debootstrap
systemd-nspawn:systemd-container
ip:iproute2
nft:nftables
tcpdump:tcpdump
iperf3:iperf3
ssh:openssh-client
make:make
git:git
shellcheck:shellcheck
chromium-headless-shell:chromium-headless-shell
"
python=/usr/bin/python3

missing=
for pair in $needed; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
$python -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"

if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || { echo "setup: not installed:$missing: run this as root once" >&2; exit 1; }
    echo "setup: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt="apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300"
    $apt update
    # shellcheck disable=SC2086
    $apt install --no-install-recommends -y $missing >/dev/null
fi

# A killed run may have left its pip at work: wait for it.
exec 9<tests/setup.sh
flock 9

wanted=$({ cat pyproject.toml tests/setup.sh; $python --version; pwd; } | sha256sum)
if [ "$(cat .setup-done 2>/dev/null)" != "$wanted" ]; then
    echo "setup: making .venv"
    rm -f .setup-done
    [ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null || $python -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip >= 25.1'
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --group dev
    echo "$wanted" >.setup-done
fi
