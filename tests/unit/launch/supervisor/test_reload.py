"""What of a configuration waits for the next start."""

from __future__ import annotations

from gateway.config.document import Config
from launch.supervisor.reload import differing


def test_what_waits_for_the_next_start_is_named_by_key() -> None:
    def config(**sections: object) -> Config:
        return Config.model_validate({"base": {"model": "m"}, **sections})

    new = config(gateway={"port": 9}, engine={"stop_timeout_s": 3}, tasks={"naming": {"adapter": "/b"}})
    assert differing(config(), new) == ["gateway.port", "engine.stop_timeout_s"]
