"""The campaign of odd uploads and drawings that is behind the documents' count, in part."""

import random

import pytest
from campaigns import odd_pictures

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_odd_uploads_and_drawings_are_answered_on_the_page(finished_run):
    outcomes = odd_pictures.campaign(24, finished_run, random.Random(3))
    assert sum(outcomes.values()) == 24
    assert sum(number for outcome, number in outcomes.items() if "refused with a message" in outcome) > 5
