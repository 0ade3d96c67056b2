"""A short run of the campaign: seconds of ``campaign.py``, which runs 10,000 of each."""

import json
from collections import Counter

import pytest
from fuzz import cases
from fuzz.campaign import Counts, run_campaign

from svsim.errors import require


def test_damaged_inputs_are_refused_in_one_line_or_read_right():
    counts = run_campaign(num_traces=400, num_others=800)
    assert counts.failures == []
    total = Counter()
    for (_, outcome), number in counts.outcomes.items():
        total[outcome] += number
    assert total["refused"] > 600
    assert total["read"] > 100


@pytest.mark.parametrize("kind", cases.FILES)
def test_what_is_damaged_was_sound_before(kind, tmp_path):
    document, read = cases.FILES[kind]
    path = tmp_path / cases.file_name(kind)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    read(path)


def test_the_campaign_sees_crashes_and_long_messages():
    """Negative control: what is no clean error is counted."""
    counts = Counts()
    counts.run("x", 0, lambda: 1 // 0)
    counts.run("x", 1, lambda: require(False, "two\nlines"))
    counts.run("x", 2, lambda: "changed silently")
    assert len(counts.failures) == 3
