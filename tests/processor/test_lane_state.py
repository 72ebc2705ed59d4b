"""What redis-cli shows is what docs/design.md, section 4.3, says."""

import time

from uploads import LATENESS_MS, WINDOW_MS, now_ms, sha256, window_of


def label(ms):
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(ms // 1000))


def prefix(topic, partition=0):
    return "sluice:{%s/%s:%d}:" % (topic, topic, partition)


def keys(redis, topic, partition=0):
    return {k[len(prefix(topic, partition)):]
            for k in redis.client().keys("*")
            if k.startswith(prefix(topic, partition))}


def test_redis_keys_are_as_the_contract_says(lane, uploads, redis, topic,
                                             until, kafka):
    lane(window="30s", allowed_lateness="55s")
    ts = now_ms()
    uploads.send("one", "a b.png", "k/1", partition=0, ts=ts)
    uploads.send("one", "c.png", "k/1", partition=0, ts=ts)
    uploads.send("two", "d.png", partition=0, ts=ts + 1)
    uploads.flush()

    r, pre = redis.client(), prefix(topic)
    until(lambda: r.hget(pre + "progress", "next") == "3")
    start = window_of(ts, 30000)
    win = label(start)
    assert keys(redis, topic) == {"progress", "open", win + ":unique",
                                  win + ":count", win + ":file"}

    last = kafka.records(topic)[-1]
    assert r.hgetall(pre + "progress") == {
        "next": "3", "last": last.headers["ce_id"],
        "watermark": str(ts + 1), "closed": "", "window": "30000",
        "lateness": "55000", "version": "2", "ledger": "3"}
    assert r.hgetall(pre + "open") == {win: "0"}

    one, two = "k%2F1/" + sha256(b"one"), "/" + sha256(b"two")
    assert r.smembers(pre + win + ":unique") == {one, two}
    assert r.hgetall(pre + win + ":count") == {one: "2", two: "1"}
    files = r.hgetall(pre + win + ":file")
    first = kafka.records(topic)[0]
    assert files[one] == " ".join([
        "c-k%252F1/" + time.strftime("%Y/%m/%d/%H/%M:%S/",
                                     time.gmtime(start // 1000))
        + sha256(b"one") + ".png", "image/png", "3", str(ts), "0",
        first.headers["ce_id"], "a%20b.png"])
    assert set(files) == {one, two}


def test_progress_expires_before_the_rest(lane, uploads, redis, topic, until):
    lane(window="30s", allowed_lateness="55s", state_ttl="2h")
    uploads.send("one", partition=0)
    uploads.flush()
    r, pre = redis.client(), prefix(topic)
    until(lambda: r.exists(pre + "open"))
    ttl = {k: r.pttl(pre + k) for k in keys(redis, topic)}
    assert 3500_000 < ttl.pop("progress") <= 3600_000
    assert len(ttl) == 4
    assert all(7100_000 < t <= 7200_000 for t in ttl.values())


def test_a_closed_windows_keys_stay_for_a_look(lane, uploads, redis, topic,
                                               until, settled):
    lane(inspect_ttl="5m")
    uploads.send("one", partition=0)
    uploads.flush()
    row, = settled()
    r, pre = redis.client(), prefix(topic)
    until(lambda: not r.exists(pre + "open"))
    assert r.hget(pre + "progress", "closed") == str(row.window)
    for kind in ("unique", "count", "file"):
        assert 0 < r.pttl(pre + label(row.window) + ":" + kind) <= 300_000


def test_a_closed_windows_keys_can_go_at_once(lane, uploads, redis, topic,
                                              until, settled):
    lane(inspect_ttl="0")
    uploads.send("one", partition=0)
    uploads.flush()
    settled()
    until(lambda: keys(redis, topic) == {"progress"})


def test_a_full_redis_stalls_the_lane_which_goes_on_by_itself(
        lane, uploads, redis, settled):
    p = lane()
    r = redis.client()
    r.config_set("maxmemory", 1)
    try:
        uploads.send("one", partition=0)
        uploads.flush()
        p.wait_log("OOM")
    finally:
        r.config_set("maxmemory", "256mb")
    p.wait_log("msg=recovered")
    settled()


def test_an_idle_partitions_window_closes(lane, uploads, settled, summary):
    lane()
    uploads.send("the last one", partition=3)
    uploads.flush()
    row, = settled()
    assert summary.progress()[3] == (row.window, 1)


def test_a_busy_partitions_window_closes_by_the_watermark(lane, uploads,
                                                          summary, until):
    p = lane()
    base = window_of(now_ms(), WINDOW_MS)
    uploads.send("a", partition=0, ts=base)
    uploads.send("b", partition=0, ts=base + WINDOW_MS + LATENESS_MS)
    uploads.flush()
    until(lambda: summary.progress().get(0, (None,))[0] == base)
    assert (base, True) in {(r.window, r.final) for r in summary.rows()}
    closed, = [line for line in p.read_log().splitlines()
               if "msg=closed" in line and label(base) in line]
    assert "why=watermark" in closed


def test_progress_holds_the_last_closed_window_and_next(lane, uploads,
                                                        summary, settled):
    lane()
    for i in range(10):
        uploads.send("file %d" % i, partition=1)
    uploads.flush()
    rows = settled()
    assert summary.progress()[1] == (max(r.window for r in rows), 10)


def test_the_committed_offset_is_the_oldest_that_can_change(
        lane, uploads, settled, kafka, topic, until):
    from confluent_kafka import Consumer, TopicPartition
    c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic})

    def committed():
        return c.committed([TopicPartition(topic, 0)], 10)[0].offset

    lane(window="4s", allowed_lateness="2s")
    start = window_of(now_ms(), 4000)
    uploads.send("old", partition=0, ts=start)
    uploads.send("new", partition=0, ts=start + 4000)
    uploads.flush()
    until(lambda: committed() == 0)
    until(lambda: committed() == 1)
    until(lambda: committed() == 2)
    c.close()


def test_another_window_size_stops_the_partition_with_a_reason(
        lane, uploads, settled, summary):
    p = lane()
    uploads.send("one", partition=0)
    uploads.flush()
    before = settled()
    p.stop()
    p.write(p_ini_with(p, "window = %dms" % WINDOW_MS, "window = 7s"))
    p.start()
    p.wait_log("windows of %d ms" % WINDOW_MS)
    assert summary.rows() == before


def test_another_lateness_waits_for_open_windows(lane, uploads, redis, topic,
                                                 until):
    p = lane(window="30s", allowed_lateness="55s")
    uploads.send("one", partition=0)
    uploads.flush()
    until(lambda: redis.client().exists(prefix(topic) + "open"))
    p.stop()
    p.write(p_ini_with(p, "allowed_lateness = 55s", "allowed_lateness = 50s"))
    p.start()
    p.wait_log("allowed_lateness 55000 ms")


def p_ini_with(p, old, new):
    with open(p.ini) as f:
        text = f.read()
    assert old in text
    return text.replace(old, new)
