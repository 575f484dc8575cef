"""Which route a key may take."""

from __future__ import annotations

from gateway.admission.api_keys import Principal
from gateway.errors import Forbidden, ModelNotFound
from gateway.routing.table import Route, Table, task_of


def permitted_route(table: Table, principal: Principal, model: str) -> Route:
    """The route of a model that `principal` may call; who may a task may each of its versions.

    What is another tenant's is as what does not exist. Raises ModelNotFound (404), Forbidden (403).
    """
    if principal.models is None:
        return table.find(model)
    task = model if model in table.routes else task_of(model)  # the base's own name may hold an @
    if task not in principal.models and task in table.routes:
        tenant = task.partition(".")[0]
        if "." in task and tenant in table.tenants and tenant != principal.tenant:
            raise ModelNotFound.naming(model, principal.visible(table.routes))
        names = ", ".join(principal.visible(table.routes)) or "none"
        raise Forbidden(f"The key may not call '{model}'. It may call: {names}.", param="model")
    return table.find(model, principal.models)
