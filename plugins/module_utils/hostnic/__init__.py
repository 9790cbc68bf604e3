# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent, the CNI plugin's verbs and the NIC pool of qingcloud.cni: one package for Ansible and for nodes."""
