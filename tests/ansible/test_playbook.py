"""The playbook, run for real on a Debian with nothing but an nginx."""

import os
import subprocess

import pytest

from stack import place


@pytest.mark.full
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_playbook_adds_sluice_and_a_second_run_changes_nothing(suite):
    done = subprocess.run(
        [os.path.join(place.ROOT, "tests/ansible/run"), suite], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800)
    assert done.returncode == 0, done.stdout[-8000:]
