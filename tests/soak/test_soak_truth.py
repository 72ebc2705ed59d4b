"""The soak's check finds what it is there to find."""

import hashlib
import uuid

import pytest

import soak_answers as answers
from soak_plan import WHOLE, Plan
from soak_truth import Truth

PLAN = Plan("check", 200, 512, 0.2)


class Said:
    """A soak without fault; a test then changes something."""

    def __init__(self):
        self.answers, self.records = [], []
        for form in range(PLAN.forms):
            upload = uuid.uuid5(uuid.NAMESPACE_OID, str(form))
            numbers = PLAN.numbers(form)
            left = PLAN.leaves[form] != WHOLE
            sent = min(PLAN.leaves[form], PLAN.length(len(numbers)))
            self.answers.append(answers.Answer(
                form, answers.LEFT if left else 202, sent,
                answers.NOBODY if left else upload.bytes,
                bytes([answers.NONE if left else answers.ACCEPTED])
                * len(numbers)))
            for i in range(min(PLAN.whole(sent), len(numbers))):
                self.records.append(self.record(numbers[i], upload, i + 1))

    @staticmethod
    def record(number, upload, part, value=None):
        value = value or PLAN.content(number)
        digest = hashlib.sha256(value).hexdigest()
        return ("offset %d" % number, {
            "ce_id": "%s/%d" % (upload, part), "ce_sha256": digest,
            "ce_subject": "%016x.bin" % number}, digest.encode(), value)

    def told(self, status):
        """The index of a form answered so, of three files or more."""
        return next(i for i, a in enumerate(self.answers)
                    if a.status == status and len(a.states) > 2)

    def judged(self):
        truth = Truth(PLAN)
        truth.answers(self.answers)
        for r in self.records:
            truth.record(*r)
        truth.finish()
        print(truth.report())
        return dict(truth.unexplained)

    def change(self, form, **fields):
        self.answers[form] = self.answers[form]._replace(**fields)


@pytest.fixture
def said():
    return Said()


def test_a_soak_without_fault_is_explained(said):
    assert said.judged() == {}
    assert {a.status for a in said.answers} == {202, answers.LEFT}


def test_a_lost_record_is_found(said):
    del said.records[17]
    assert len(said.judged()) == 1
    assert said.judged() == {"accepted and lost": 1}


def test_a_record_that_is_there_twice_is_found(said):
    said.records.append(said.records[17])
    assert said.judged() == {"stored twice": 1}


def test_a_file_under_a_second_id_is_found(said):
    form = said.told(202)
    number = PLAN.numbers(form)[0]
    said.records.append(said.record(number, uuid.uuid4(), 1))
    assert said.judged() == {"stored under another id": 1, "stored twice": 1}


def test_an_unknown_file_may_be_there_or_not(said):
    form = said.told(202)
    said.change(form, status=503, states=bytes(
        [answers.UNKNOWN]) * len(said.answers[form].states))
    assert said.judged() == {}
    said.records = [r for r in said.records
                    if int(r[1]["ce_subject"][:16], 16)
                    not in PLAN.numbers(form)]
    assert said.judged() == {}


def test_a_rejected_file_that_is_there_is_found(said):
    form = said.told(202)
    said.change(form, status=503, states=bytes(
        [answers.REJECTED]) * len(said.answers[form].states))
    assert said.judged() == {
        "rejected and stored": len(said.answers[form].states)}


def test_a_file_that_was_not_sent_to_its_end_is_found(said):
    form = said.told(answers.LEFT)
    said.change(form, sent=PLAN.length(1) - 40)
    number = PLAN.numbers(form)[1]
    said.records = [r for r in said.records
                    if int(r[1]["ce_subject"][:16], 16)
                    not in PLAN.numbers(form)]
    said.records.append(said.record(number, uuid.uuid4(), 2))
    assert said.judged() == {"stored and not sent to its end": 1}


def test_a_record_that_nobody_posted_is_found(said):
    said.records.append(said.record(0, uuid.uuid4(), 1, b"something else"))
    assert said.judged() == {"a record nobody posted": 1}


def test_bytes_that_were_changed_on_the_way_are_found(said):
    where, headers, key, value = said.records[3]
    said.records[3] = where, headers, key, value[:-1] + b"?"
    found = said.judged()
    assert found.pop("a record nobody posted") == 1
    assert found == {"accepted and lost": 1}


def test_a_client_that_was_cut_off_is_found(said):
    said.change(said.told(202), status=answers.RESET)
    assert said.judged() == {"cut off": 1}


def test_an_id_given_to_two_uploads_is_found(said):
    one, other = [i for i, a in enumerate(said.answers)
                  if a.status == 202][:2]
    upload = said.answers[one].upload
    said.change(other, upload=upload)
    said.records = [
        (w, dict(h, ce_id="%s/%s" % (uuid.UUID(bytes=upload),
                                     h["ce_id"].partition("/")[2])), k, v)
        if int(h["ce_subject"][:16], 16) in PLAN.numbers(other)
        else (w, h, k, v) for w, h, k, v in said.records]
    assert said.judged() == {"an upload's id given twice": 1}


def test_answers_are_read_as_they_were_written(said, tmp_path):
    path = tmp_path / "answers"
    with open(path, "wb") as out:
        for a in said.answers:
            answers.write(out, a)
    assert list(answers.read(path)) == said.answers
