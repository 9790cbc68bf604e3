# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Access to the cloud, the same for every module and plugin; the code is in module_utils/_ansible/access.py."""

from __future__ import annotations


class ModuleDocFragment:
    """`options` for modules; with `.plugin` for plugins, which declare the environment."""

    DOCUMENTATION = r"""
options:
  access_key_id:
    description:
      - Access key of the QingCloud API.
      - What is not given is taken from the environment, then from O(access_file). Where there is no key at all, the
        IAM role of the instance is used that this runs on.
      - The environment is E(QINGCLOUD_ACCESS_KEY).
    type: str
  secret_access_key:
    description:
      - Its secret. Goes together with O(access_key_id).
      - The environment is E(QINGCLOUD_SECRET_KEY), of the machine that this runs on. The keyword C(environment) of a
        task is no place for it, since Ansible shows what that holds with C(-vvv).
    type: str
  zone:
    description:
      - Zone of the cloud.
      - The environment is E(QINGCLOUD_ZONE).
    type: str
  endpoint:
    description:
      - Address of the API, for private clouds. A URL such as V(https://api.qingcloud.com:443/iaas).
      - The environment is E(QINGCLOUD_ENDPOINT).
    type: str
  access_file:
    description:
      - File with the access key, zone and endpoint, on the machine that this runs on. The agent reads it as well.
      - The environment is E(QINGCLOUD_ACCESS_FILE).
    type: path
    default: /etc/qingcloud/client.yaml
"""

    PLUGIN = r"""
options:
  access_key_id:
    description:
      - Access key of the QingCloud API.
      - What is not given is taken from the environment, then from O(access_file). Where there is no key at all, the
        IAM role of the instance is used that this runs on.
    type: str
    env:
      - name: QINGCLOUD_ACCESS_KEY
  secret_access_key:
    description: Its secret. Goes together with O(access_key_id).
    type: str
    env:
      - name: QINGCLOUD_SECRET_KEY
  zone:
    description: Zone of the cloud.
    type: str
    env:
      - name: QINGCLOUD_ZONE
  endpoint:
    description: Address of the API, for private clouds. A URL such as V(https://api.qingcloud.com:443/iaas).
    type: str
    env:
      - name: QINGCLOUD_ENDPOINT
  access_file:
    description: File with the access key, zone and endpoint. The agent reads one of the same shape.
    type: path
    default: /etc/qingcloud/client.yaml
    env:
      - name: QINGCLOUD_ACCESS_FILE
"""
