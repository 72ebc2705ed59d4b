import subprocess

import pytest

from stack.nginx import binary
from summary_rows import Rows


def without_http3():
    """Why there can be no test of HTTP/3 here; None when there can."""
    built = subprocess.run([binary(), "-V"], text=True,
                           stderr=subprocess.PIPE).stderr
    if "http_v3_module" not in built:
        return "nginx has no ngx_http_v3_module"
    client = subprocess.run(["curl", "-V"], text=True,
                            stdout=subprocess.PIPE).stdout
    return None if "HTTP3" in client else "curl does not speak HTTP/3"


WITHOUT_HTTP3 = without_http3()
collect_ignore = ["test_http3.py"] if WITHOUT_HTTP3 else []


def pytest_report_header(config):
    if WITHOUT_HTTP3:
        return "no tests of HTTP/3: " + WITHOUT_HTTP3
    return None


@pytest.fixture
def rows(dsn):
    r = Rows(dsn)
    yield r
    r.close()
