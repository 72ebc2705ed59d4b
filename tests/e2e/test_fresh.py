"""The two commands of the README on a Debian with nothing installed."""

import os
import subprocess

import pytest

from stack import place


@pytest.mark.full
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_quickstart_works_on_a_fresh_debian(suite):
    done = subprocess.run(
        [os.path.join(place.ROOT, "tests/stack/fresh"), suite,
         "./quickstart --once"], text=True, timeout=1500,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "12 rows, counts right; 12 objects" in done.stdout
