"""The truth check finds what is wrong: each test damages one thing."""

import copy
import hashlib
import types

import pytest

import round_truth as truth
from round_clients import Sent

PNG = b"\x89PNG\r\n\x1a\n"


def record(offset, data, name, key=None, customer="", ts=1000, partition=0):
    digest = hashlib.sha256(data).hexdigest()
    headers = {"ce_id": "upload-%d/1" % offset, "ce_subject": name,
               "ce_sha256": digest, "content-type": "image/png",
               "ce_size": str(len(data))}
    if customer:
        headers["ce_customer"] = customer
    if key:
        headers["ce_idempotencykey"] = key
    return types.SimpleNamespace(
        partition=partition, offset=offset, key=digest.encode(), value=data,
        timestamp=ts, headers=headers)


def row(records, window=0):
    first = records[0]
    return truth.Row((
        first.partition, window, first.headers.get("ce_customer", ""),
        first.headers["ce_sha256"], len(records), True,
        first.headers["ce_subject"], "image/png", len(first.value),
        "%d/%s.png" % (window, first.headers["ce_sha256"]), first.offset,
        first.headers["ce_id"], records[-1].offset + 1))


class Told:
    """A log of five records, and rows, answers and a store that agree."""

    def __init__(self, store):
        a, b = PNG + b"a", PNG + b"b"
        self.records = [
            record(0, a, "one.png"), record(1, a, "two.png"),
            record(2, b, "three.png", key="k"),
            record(3, b, "three.png", key="k"),          # sent again
            record(4, a, "four.png", customer="north", ts=3000)]
        self.log = truth.Log(self.records, set(), set(), {0: 5}, 2000)
        self.rows = [row(self.records[:2]), row(self.records[2:3]),
                     row(self.records[4:], 2000)]
        self.store = store
        for r, data in zip(self.rows, (a, b, a)):
            path = store / r.object
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        sent = {r.headers["ce_subject"]: Sent(
            r.headers["ce_subject"], r.value,
            r.headers.get("ce_customer", ""),
            r.headers.get("ce_idempotencykey")) for r in self.records}
        self.clients = types.SimpleNamespace(sent=sent, answers=[
            (sent[r.headers["ce_subject"]],
             {"id": r.headers["ce_id"], "status": "accepted",
              "sha256": r.headers["ce_sha256"]}) for r in self.records])

    def check(self):
        truth.check_answers(self.log, self.clients)
        truth.check_records(self.log, self.clients)
        truth.check_rows(self.log, self.rows)
        assert truth.check_objects(self.log, str(self.store),
                                   self.rows)[0] == 3
        wrong = truth.difference(self.log.summed(), truth.summed(self.rows))
        truth.claim(not wrong, wrong)

    def refused(self, words):
        with pytest.raises(truth.Violation, match=words):
            self.check()


@pytest.fixture
def told(tmp_path):
    found = Told(tmp_path)
    found.check()
    return found


def test_an_accepted_file_that_is_not_in_the_log_is_found(told):
    del told.records[1]
    told.refused("accepted and lost")


def again(told, number, **over):
    """A producer that got no answer stored a record a second time."""
    second = copy.deepcopy(told.records[number])
    second.offset = len(told.records)
    vars(second).update(over)
    told.records.append(second)
    return second


@pytest.mark.parametrize("number", [0, 2, 4], ids=["plain", "keyed", "alone"])
def test_a_record_that_is_in_the_log_twice_counts_once(told, number):
    repeats = told.log.repeats()
    again(told, number)
    assert len(told.log.twice()) == 1 and told.log.repeats() == repeats
    told.check()


def test_a_record_that_was_counted_twice_is_found(told):
    told.rows[2] = row([told.records[4], again(told, 4)], 2000)
    told.refused("the log has 1")


@pytest.mark.parametrize("other", [
    dict(timestamp=1001), dict(partition=1), dict(value=PNG + b"b")],
    ids=lambda d: next(iter(d)))
def test_an_id_of_two_records_is_found(told, other):
    again(told, 0, **other)
    told.refused("one id, and not the same")


def test_a_rejected_file_that_is_in_the_log_is_found(told):
    told.clients.answers[0][1].update(status="rejected", reason="type")
    told.refused("rejected and stored")


def test_a_record_that_nobody_sent_is_found(told):
    told.records.append(record(5, PNG, "nobody.png"))
    told.refused("nobody sent")


def test_other_bytes_than_were_sent_are_found(told):
    told.records[0].value = PNG + b"x"
    told.refused("is not what was sent")


def test_a_form_without_a_key_that_is_in_the_log_twice_is_found(told):
    told.records.append(record(5, PNG + b"a", "one.png"))
    told.refused("one.png is in the log twice")


@pytest.mark.parametrize("count", [1, 3])
def test_a_count_that_is_off_by_one_is_found(told, count):
    told.rows[0].count = count
    told.refused("the log has 2")


def test_a_repeat_that_was_counted_is_found(told):
    told.rows[1].count = 2
    told.refused("the log has 1")


def test_a_missing_row_is_found(told):
    del told.rows[1]
    told.refused("2 rows, the log has 3")


def test_a_row_of_nothing_is_found(told):
    told.rows.append(row([record(2, PNG + b"c", "c.png")]))
    told.refused("a row of nothing")


def test_a_row_that_tells_of_another_than_the_first_is_found(told):
    told.rows[0].name = "two.png"
    told.refused("is not of")


def test_a_row_that_is_not_final_is_found(told):
    told.rows[0].final = False
    told.refused("not final")


def test_a_missing_object_is_found(told):
    (told.store / told.rows[0].object).unlink()
    told.refused("rows without an object")


def test_an_object_without_a_row_is_found(told):
    data = PNG + b"d"
    (told.store / "0" / (hashlib.sha256(data).hexdigest() + ".png")
     ).write_bytes(data)
    told.refused("objects without a row")


def test_an_object_with_other_bytes_is_found(told):
    (told.store / told.rows[0].object).write_bytes(b"other")
    told.refused("other bytes than its name says")
