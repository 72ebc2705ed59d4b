import pytest

from summary_rows import Rows


@pytest.fixture
def rows(dsn):
    r = Rows(dsn)
    yield r
    r.close()
