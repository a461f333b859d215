"""evaluation.json as typed records: nothing unknown, nothing changed, and one floor or none."""

import pytest
from pydantic import ValidationError
from test_tables import result as make_result

from housebrain_core.evaluate.results import Evaluation, LimitResult

result = make_result


def test_what_is_written_is_read_as_the_same(result):
    assert Evaluation.model_validate_json(result.model_dump_json()) == result


def test_the_floor_is_known_when_it_is_the_same_for_all_models(result):
    assert result.floor == 0.4
    other = result.models["second"].model_copy(update={"floor_nats_per_token": None})
    assert result.model_copy(update={"models": {**result.models, "second": other}}).floor is None


def test_records_have_no_other_fields_and_do_not_change():
    limit = LimitResult(value=9.5, unit="m2", source="NBC")
    with pytest.raises(ValidationError, match="frozen"):
        limit.value = 1
    with pytest.raises(ValidationError, match="colour"):
        LimitResult(value=9.5, unit="m2", source="NBC", colour="red")
