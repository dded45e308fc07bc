"""The log: a JSON object a line, and nobody waits for who reads it."""

from __future__ import annotations

import json
import logging
import os
import time
from datetime import datetime

import pytest

from pagethrift.outside import json_log as module
from pagethrift.outside.json_log import JsonLog


def lines_of(read_end: int) -> list[dict[str, object]]:
    data = b""
    while more := os.read(read_end, 65536):
        data += more
    os.close(read_end)
    return [json.loads(line) for line in data.decode().splitlines()]


def test_a_line_has_time_level_event_migration_and_fields() -> None:
    read_end, write_end = os.pipe()
    log = JsonLog("one", write_end)
    log.say("round", {"round": 3, "reason": "a\nb\udce9"})
    log.say("warning", {"warning": "%s odd"}, logging.WARNING)
    log.close()
    os.close(write_end)
    first, second = lines_of(read_end)
    assert list(first)[:4] == ["time", "level", "event", "migration"]
    assert (first["level"], first["event"], first["migration"], first["round"]) == ("info", "round", "one", 3)
    assert first["reason"] == "a b\N{REPLACEMENT CHARACTER}"
    assert (second["level"], second["warning"]) == ("warning", "%s odd")
    at = datetime.fromisoformat(str(first["time"]))
    assert str(first["time"]).endswith("Z")
    assert abs(at.timestamp() - time.time()) < 60


def test_no_other_logger_hears_it_and_no_setting_of_logging_stops_it() -> None:
    read_end, write_end = os.pipe()
    heard: list[logging.LogRecord] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    ear = Ear()
    logging.getLogger().addHandler(ear)
    try:
        log = JsonLog("one", write_end)
        log.say("start")
        log.close()
    finally:
        logging.getLogger().removeHandler(ear)
    os.close(write_end)
    assert [line["event"] for line in lines_of(read_end)] == ["start"]
    assert heard == []


def test_a_reader_that_does_not_read_delays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.2)
    read_end, write_end = os.pipe()
    log = JsonLog("one", write_end)
    began_s = time.monotonic()
    for number in range(5000):
        log.say("round", {"round": number, "text": "x" * 500})
    assert time.monotonic() - began_s < 2
    log.close()
    assert time.monotonic() - began_s < 3
    os.close(read_end)  # the thread's write fails now, and it goes on


def test_a_reader_that_is_gone_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    log = JsonLog("one", write_end)
    log.say("start")
    log.say("end")
    log.close()
    os.close(write_end)
    assert capfd.readouterr() == ("", "")
