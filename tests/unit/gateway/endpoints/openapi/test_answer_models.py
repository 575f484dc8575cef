"""The described shapes of answers, held against what the gateway answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.endpoints.openapi import answer_models as described
from tests.support.batches.batch_stack import create, line, until
from tests.support.stack import stack

pytestmark = pytest.mark.anyio


async def test_what_the_gateway_says_of_itself_is_as_described(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        models = described.Models.model_validate((await s.client.get("/v1/models")).json())
        kinds = {model.id: (model.kind, model.root, model.parent) for model in models.data}
        assert kinds["naming"] == ("task", "naming@bbbbbbbbbbbb", "base")
        assert kinds["concept-naming"] == ("pipeline", None, None)
        described.Model.model_validate((await s.client.get("/v1/models/naming")).json())
        health = described.Health.model_validate((await s.client.get("/health")).json())
        assert (health.in_flight, health.waiting, len(health.engines)) == (0, 0, 1)
        described.Ready.model_validate((await s.client.get("/ready")).json())
        missing = await s.chat(model="nobody")
        error = described.Error.model_validate(missing.json()).error
        assert (missing.status_code, error.param, error.code) == (404, "model", "model_not_found")


async def test_files_and_batches_are_as_described(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        batch_id = await create(s, [line(0)])
        await until(s, batch_id, "completed")
        batch = described.Batch.model_validate((await s.client.get(f"/v1/batches/{batch_id}")).json())
        assert batch.request_counts == {"total": 1, "completed": 1, "failed": 0}
        listed = described.Batches.model_validate((await s.client.get("/v1/batches")).json())
        assert [one.id for one in listed.data] == [batch_id]
        files = described.Files.model_validate((await s.client.get("/v1/files")).json())
        assert {one.id for one in files.data} == {batch.input_file_id, batch.output_file_id}
        gone = await s.client.delete(f"/v1/files/{batch.output_file_id}")
        assert described.DeletedFile.model_validate(gone.json()).deleted
