"""The ground every test stands on: services once a session, the rest by test.

kafka, redis, postgres   running services (tests.stack classes); a test that
                         harms one puts it back as it was
topic                    a fresh topic with 4 partitions, and NAME.chunks,
                         NAME.late, NAME.dead
dsn                      a fresh database with the newest schema
nginx(server=..., ...)   starts nginx; see stack.nginx.Nginx
nginx_test(server=...)   (status, output) of nginx -t
processor(ini, ...)      starts a processor; see stack.processor.Processor
place_of                 an empty directory that any user may enter
images                   the directory of sample images

In nginx's and the processor's text, @KEY@ stands for what the test's fixtures
have made: KAFKA and TOPIC; REDIS (host:port), REDIS_USER, REDIS_PASSWORD_FILE;
POSTGRES, POSTGRES_WRITER, POSTGRES_READER (DSNs of the superuser and of the
two roles); PORT and DIR.
"""

import os
import re
import shutil
import sys
import uuid

import pytest

TESTS = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, TESTS)

from stack import place, service, wait                       # noqa: E402
from stack.kafka import Kafka                                # noqa: E402
from stack.nginx import DEFAULT_MODULE, Nginx, module_path   # noqa: E402
from stack.postgres import Postgres                          # noqa: E402
from stack.processor import (                                # noqa: E402
    DEFAULT_BINARY, Processor, binary)
from stack.redis import Redis                                # noqa: E402
from stack.sanitizer import runtime_of                       # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true",
                     help="also run the tests marked full")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--full"):
        return
    left = [i for i in items if i.get_closest_marker("full")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [i for i in items if i not in left]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the services' last words to a failed test's report."""
    report = (yield).get_result()
    if report.failed:
        item.config.sluice_failed = True
        for s in list(service.running) + getattr(item, "sluice_ended", []):
            report.sections.append(("log of " + s.name, s.tail(60)))


def pytest_unconfigure(config):
    service.stop_all()


@pytest.fixture(scope="session")
def ground(request):
    """The session's directory; kept when a test failed, or SLUICE_KEEP."""
    path = place.temporary("sluice-test-")
    yield path
    service.stop_all()
    if getattr(request.config, "sluice_failed", False) \
            or os.environ.get("SLUICE_KEEP"):
        print("\nlogs of this run: " + path)
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(ground):
    k = Kafka(os.path.join(ground, "kafka")).start()
    yield k
    k.stop()


@pytest.fixture(scope="session")
def redis(ground):
    r = Redis(os.path.join(ground, "redis")).start()
    yield r
    r.stop()


@pytest.fixture(scope="session")
def postgres(ground):
    p = Postgres(os.path.join(ground, "postgres")).start()
    p.create_sluice("sluice")
    yield p
    p.stop()


@pytest.fixture
def place_of(request, ground):
    path = os.path.join(ground, _slug(request) + "-" + uuid.uuid4().hex[:6])
    os.mkdir(path, 0o755)
    os.chmod(path, 0o755)
    return path


@pytest.fixture
def topic(request, kafka):
    return kafka.create_uploads("%s-%s" % (_slug(request),
                                           uuid.uuid4().hex[:6]), 4)


@pytest.fixture
def dsn(request, postgres):
    """A database of the test's own."""
    name = "t_" + uuid.uuid4().hex[:12]
    yield postgres.create_sluice(name)
    if postgres.alive():
        postgres.drop_database(name)


@pytest.fixture
def values(request):
    """What @KEY@ in configuration texts stands for."""
    asked = request.fixturenames

    def get(name):
        return request.getfixturevalue(name)

    found = {}
    if "kafka" in asked or "topic" in asked:
        found["KAFKA"] = get("kafka").bootstrap
    if "topic" in asked:
        found["TOPIC"] = get("topic")
    if "redis" in asked:
        found["REDIS"] = get("redis").address
        found["REDIS_USER"] = get("redis").user
        found["REDIS_PASSWORD_FILE"] = get("redis").password_file
    if "dsn" in asked or "postgres" in asked:
        server = get("postgres")
        dsn = get("dsn") if "dsn" in asked else server.dsn
        found["POSTGRES"] = dsn
        found["POSTGRES_WRITER"] = server.dsn_as("writer", dsn)
        found["POSTGRES_READER"] = server.dsn_as("reader", dsn)
    return found


@pytest.fixture
def services(request):
    """Stops what a test has started, and fails it on a sanitizer's report."""
    started = []
    request.node.sluice_ended = started
    yield started
    for s in reversed(started):
        s.stop()
    for s in started:
        found = s.sanitizer_reports()
        assert not found, "%s: %s" % (s.name, found)


@pytest.fixture
def nginx(services, values, place_of):
    def start(server="", start=True, **kw):
        kw["values"] = dict(values, **kw.get("values", {}))
        n = Nginx(os.path.join(place_of, "nginx-%d" % len(services)), server,
                  **kw)
        services.append(n)
        return n.start() if start else n
    return start


@pytest.fixture
def nginx_test(values, place_of):
    def test(server="", **kw):
        kw["values"] = dict(values, **kw.get("values", {}))
        return Nginx(os.path.join(place_of, "nginx-t-" + uuid.uuid4().hex[:6]),
                     server, **kw).test()
    return test


@pytest.fixture
def processor(services, values, place_of):
    def start(ini, start=True, **kw):
        kw["values"] = dict(values, **kw.get("values", {}))
        p = Processor(os.path.join(place_of, "processor-%d" % len(services)),
                      ini, **kw)
        services.append(p)
        return p.start() if start else p
    return start


@pytest.fixture
def unsanitized(monkeypatch):
    """For who measures memory: what a test starts after this are the ordinary
    builds, whichever the others run with."""
    for name, found, default in (
            ("SLUICE_PROCESSOR", binary, DEFAULT_BINARY),
            ("SLUICE_MODULE", module_path, DEFAULT_MODULE)):
        if runtime_of(found()):
            monkeypatch.setenv(name, default)
            assert not runtime_of(default)


@pytest.fixture
def until():
    return wait.until


@pytest.fixture(scope="session")
def images():
    return os.path.join(TESTS, "data", "images")


def _slug(request):
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return name[:40].strip("-")
