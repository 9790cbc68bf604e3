# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; what becomes of instances is in module_utils/_ansible/inventory.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: qingcloud
short_description: Instances of QingCloud as hosts
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Takes hosts from the instances of an account, in one zone or several.
  - All hosts are in the group C(qingcloud). Further groups are made with O(groups) and O(keyed_groups).
  - The name of the inventory file ends with C(qingcloud.yml) or C(qingcloud.yaml).
  - "The variables of a host are C(qingcloud_instance_id), C(qingcloud_instance_name), C(qingcloud_zone),
    C(qingcloud_status), C(qingcloud_transition_status), C(qingcloud_instance_type), C(qingcloud_image_id),
    C(qingcloud_eip), C(qingcloud_tags) (names), C(qingcloud_tag_ids), C(qingcloud_vxnets) (ids, that of the primary NIC
    first) and C(qingcloud_nics) (a list of C(nic_id), C(vxnet_id), C(private_ip) and C(primary))."
extends_documentation_fragment:
  - qingcloud.cni._access.plugin
  - constructed
  - inventory_cache
requirements:
  - On the control host qingcloud-sdk and PyYAML, or a machine on which a module of this collection has run before.
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [qingcloud.cni.qingcloud]
  zones:
    description: Zones whose instances are taken. Without it that of O(zone).
    type: list
    elements: str
    default: []
  filters:
    description:
      - Which instances are taken. Those that meet all of these, each a text or a list of which one is enough.
      - C(instances) are ids, C(names) are patterns of instance names such as V(node-*), C(tags) are names or ids,
        C(vxnets) and C(types) are ids of vxnets and instance types.
      - C(statuses) is V(running) where it is not given.
    type: dict
    default: {}
  hostnames:
    description:
      - What a host is called. The first of these that an instance has and shares with no other; else its id.
      - V(primary) is the address of its primary NIC, V(eip) its public address.
    type: list
    elements: str
    default: [instance_name, instance_id]
  ansible_host:
    description:
      - How a host is reached. The first of these that it has becomes C(ansible_host); an empty list sets none.
      - V(primary) is the address of its primary NIC, V(eip) its public address, the id of a vxnet its address in that.
        V(instance_name) and V(instance_id) are for networks whose DNS knows these.
    type: list
    elements: str
    default: [primary]
"""

EXAMPLES = r"""
# nodes.qingcloud.yml
plugin: qingcloud.cni.qingcloud
zones: [pek3b, pek3c]
filters:
  tags: k8s-node
# addresses inside the VPC; [eip, primary] from outside
ansible_host: [primary]
groups:
  # what the playbooks of this collection run on
  qingcloud_nodes: "'k8s-node' in qingcloud_tags"
keyed_groups:
  - prefix: zone
    key: qingcloud_zone
compose:
  qingagent_zone: qingcloud_zone
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/qingcloud.cni/inventory
cache_timeout: 600
"""

import sys
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var

try:
    from ansible.template import trust_as_template
except ImportError:  # core before 2.19

    def trust_as_template(value: str) -> str:
        return value


from ..module_utils._ansible import access, inventory, packages, shelf
from ..module_utils.hostnic.errors import HostnicError
from ..plugin_utils.packages import lock_text

GROUP = "qingcloud"


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Instances, asked for or from the cache; the cache holds all of them, and what is wanted is chosen afterwards."""

    NAME = "qingcloud.cni.qingcloud"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(("qingcloud.yml", "qingcloud.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path)
        try:
            self._populate(self._check(self._read_config_data(path)), path, cache)
        except HostnicError as error:
            raise AnsibleParserError(f"{path}: {error.message}") from None

    def _check(self, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """The options that are this plugin's own. Raises `InvalidConfig` for what cannot be meant."""
        for name in given:
            inventory.known(name, sorted(self.get_options()), "options")
        for name in self.get_option("hostnames"):
            inventory.known(name, inventory.NAMES, "hostnames")
        inventory.check_address(self.get_option("ansible_host"))
        return inventory.check_filters(self.get_option("filters"))

    def _populate(self, filters: t.Mapping[str, t.Sequence[str]], path: str, cache: bool) -> None:
        self.inventory.add_group(GROUP)
        hosts = [host for host in self._instances(path, cache) if inventory.wanted(host, filters)]
        strict = self.get_option("strict")
        for name, host in inventory.named(hosts, self.get_option("hostnames")).items():
            variables = guarded(inventory.variables(host))
            reached = inventory.address(host, self.get_option("ansible_host"))
            if reached:
                variables["ansible_host"] = guarded(reached)
            self.inventory.add_host(name, group=GROUP)
            for key, value in variables.items():
                self.inventory.set_variable(name, key, value)
            self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)

    def _instances(self, path: str, cache: bool) -> list[dict[str, t.Any]]:
        """From the cache, unless it is old, off or to be flushed."""
        options = {name: self._option(name) for name in access.ENVIRONMENT}
        zones = self.get_option("zones")
        whose = [options[name] for name in ("access_key_id", "zone", "endpoint", "access_file")]
        key = f"{self.get_cache_key(path)}_{shelf.digest([whose, zones])}"
        if self.get_option("cache") and cache and key in self._cache:
            kept: list[dict[str, t.Any]] = self._cache[key]
            return kept
        found = self._ask(options, zones)
        if self.get_option("cache"):
            self._cache[key] = found
        return found

    def _ask(self, options: dict[str, t.Any], zones: t.Sequence[str]) -> list[dict[str, t.Any]]:
        """Every instance once, also where one zone is another's part."""
        use_packages()
        found: dict[str, dict[str, t.Any]] = {}
        for zone in zones or [options["zone"]]:
            cloud = access.connect({**options, "zone": zone})
            for instance in cloud.describe_instances():
                found.setdefault(instance.instance_id, inventory.facts(instance, zone or ""))
        return list(found.values())

    def _option(self, name: str) -> t.Any:
        value = self.get_option(name)
        return self.templar.template(value) if isinstance(value, str) and self.templar.is_template(value) else value


def guarded(value: t.Any) -> t.Any:
    """Whoever may name an instance does not get a template evaluated here: core before 2.19 would do it.

    Core 2.19 lists each text from outside as an object that says so; what holds no template needs no such mark.
    """
    if isinstance(value, dict):
        return {key: guarded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [guarded(one) for one in value]
    if isinstance(value, str):
        return wrap_var(value) if "{" in value else trust_as_template(value)
    return value


def use_packages() -> None:
    """Those of this Python, or those that lie on this machine already. Raises `AnsibleParserError`."""
    try:
        import qingcloud.iaas.connection  # noqa: F401
    except ImportError:
        found = packages.laid(lock_text())
        if found is None:
            raise AnsibleParserError(
                f"the inventory plugin needs the Python package qingcloud-sdk: install it for {sys.executable}, or run "
                "a module of this collection on this machine once"
            ) from None
        sys.path.insert(0, found)
