"""What of the gateway is shown to whom: pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.admission.api_keys import ANYBODY, Principal
from gateway.config.key_settings import namespace_of
from gateway.metrics.recent import RecentRequest


@dataclass(frozen=True, slots=True)
class Sight:
    """Of one who is signed in, or of anybody where there are no keys."""

    principal: Principal

    @property
    def everything(self) -> bool:
        """An admin's; and anybody's where there are no keys, since that is this machine alone."""
        return self.principal.admin or self.principal is ANYBODY

    @property
    def reasons(self) -> bool:
        """Whether why an engine ended is for this one, as at `/health`."""
        return self.everything or self.principal.models is None

    def rules(self, task: str) -> bool:
        """Whether it answers for the task's adapters, and sees where they come from."""
        if self.principal.role == "operator":
            return task.startswith(namespace_of(self.principal.tenant))
        return self.everything

    def sees(self, model: str) -> bool:
        """Whether it may know that there is such a task, base or pipeline."""
        return self.rules(model) or self.principal.may(model)

    def sees_request(self, request: RecentRequest) -> bool:
        """One's own, and those on tasks that one answers for."""
        own = request.key == self.principal.name
        return self.everything or own or (bool(request.task) and self.rules(request.task))
