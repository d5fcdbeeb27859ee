"""Dagster's webserver with roles: `python -m platform_host.webserver`, with the options of `dagster-webserver`.

It puts its own classes in the place of two of Dagster's. Where a release no longer uses one of them, the other refuses
to work: the context needs a caller, which only this webserver gives it, and this webserver needs that context.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster_webserver.app
import dagster_webserver.cli
from dagster._core.storage.tags import REPORTING_USER_TAG
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.permissions import PermissionResult
from dagster_graphql.schema import create_schema
from dagster_webserver.external_assets import _asset_key_from_request
from dagster_webserver.webserver import DagsterWebserver
from graphene import Schema
from graphql import ASTValidationRule
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Route

from platform_host.access_file import AccessError, Identity
from platform_host.audit import record, record_refusal
from platform_host.door import NOBODY, AccessSource, Caller, Door, read_key
from platform_host.guard import REFUSED, FewMutations, guard
from platform_host.launched_by import user
from platform_host.mutations import named_by, refusal
from platform_host.permissions import permissions_everywhere, permissions_in

# What the service alerts writes after each look (docs/monitoring.md). In Kubernetes there is none.
METRICS = Path("/run/metrics/metrics.prom")


class RequestContext(WorkspaceRequestContext):
    """What one request may read and do."""

    def __init__(self, caller: Caller, **given: Any) -> None:
        # What Dagster would say by itself, if a release no longer asked the methods below.
        super().__init__(read_only=True, **given)
        self.caller = caller

    @property
    def permissions(self) -> Mapping[str, PermissionResult]:
        return permissions_everywhere(self.caller.identity)

    def permissions_for_location(self, *, location_name: str) -> Mapping[str, PermissionResult]:
        return permissions_in(self.caller.identity, location_name)

    def get_reporting_user_tags(self) -> dict[str, str]:
        name = self.caller.identity.name
        return {REPORTING_USER_TAG: name} if name else {}

    def __enter__(self) -> "RequestContext":
        super().__enter__()
        self._exit_stack.enter_context(user(self.caller.identity.name))
        return self


class ProcessContext(WorkspaceProcessContext):
    """Makes the context of each request, for the caller that the door found."""

    def create_request_context(self, source: object | None = None) -> RequestContext:
        # Without a request: what Dagster makes to look at a location that it has reloaded.
        caller = source.scope["caller"] if isinstance(source, HTTPConnection) else Caller(NOBODY, "")
        return RequestContext(
            caller,
            instance=self._instance,
            current_workspace=self.get_current_workspace(),
            process_context=self,
            version=self.version,
            source=source,
        )


class Webserver(DagsterWebserver[ProcessContext, RequestContext]):
    """The webserver behind the front door."""

    def __init__(self, process_context: ProcessContext, *args: Any, **given: Any) -> None:
        if not isinstance(process_context, ProcessContext):
            raise TypeError("Dagster no longer makes its context as platform_host/webserver.py expects.")
        path = Path(os.environ.get("ACCESS_FILE", "/run/access/access.yaml"))
        self._access = AccessSource(path, lambda: process_context.code_location_names)
        # In Kubernetes there are no alerts.
        self._keys = read_key(), read_key("ALERTS_KEY_FILE") if "ALERTS_KEY_FILE" in os.environ else ""
        super().__init__(process_context, *args, **given)

    def build_routes(self) -> list[BaseRoute]:
        return [Route("/whoami", _whoami), Route("/metrics", _metrics), *super().build_routes()]  # type: ignore[no-untyped-call]

    def build_graphql_schema(self) -> Schema:
        return guard(create_schema())

    def build_graphql_validation_rules(self) -> Collection[type[ASTValidationRule]]:
        return [*super().build_graphql_validation_rules(), FewMutations]

    async def report_asset_materialization_endpoint(self, request: Request) -> JSONResponse:
        return await self._report(request, super().report_asset_materialization_endpoint)

    async def report_asset_check_endpoint(self, request: Request) -> JSONResponse:
        return await self._report(request, super().report_asset_check_endpoint)

    async def report_asset_observation_endpoint(self, request: Request) -> JSONResponse:
        return await self._report(request, super().report_asset_observation_endpoint)

    async def _report(self, request: Request, report: Callable[[Request], Awaitable[JSONResponse]]) -> JSONResponse:
        """Asks for the role before one of the routes that write events, and writes down what it reports."""
        # What is recorded is read as Dagster reads it, and before: what cannot be recorded is not done.
        try:
            given = await request.json() if await request.body() else {}
            key = _asset_key_from_request("asset_key", request, given)
        except Exception as error:
            return JSONResponse({"error": f"The body or the asset key cannot be read: {error}"}, 400)
        if key is None or not isinstance(given, dict):
            return JSONResponse(
                {"error": "The body is no JSON object, or nothing names an asset: send asset_key."}, 400
            )
        partition = given.get("partition", request.query_params.get("partition"))
        what, result = report.__name__.removesuffix("_endpoint"), "error"
        with self.request_context(request) as context:
            named = named_by(context, what, {"path": key.path, "partitionKey": partition and str(partition)})
            about = context.instance, context.caller, what, named
            # Dagster asks for the role in one of the locations that declare an asset.
            if why := refusal(context.caller.identity, "reportRunlessAssetEvents", named):
                await run_in_threadpool(record_refusal, *about, REFUSED)
                return JSONResponse({"error": why}, 401)
            try:
                answer = await report(request)
                result = "done" if answer.status_code == 200 else f"HTTP {answer.status_code}"
            finally:
                await run_in_threadpool(record, *about, result)
        return answer

    def build_middleware(self) -> list[Middleware]:
        return [Middleware(Door, self._access, *self._keys), *super().build_middleware()]


async def _whoami(request: Request) -> JSONResponse:
    identity: Identity = request.scope["caller"].identity
    roles = [f"{identity.everywhere.name.lower()} for all locations"] if identity.everywhere is not None else []
    roles += [f"{role.name.lower()} in {location}" for location, role in identity.locations.items()]
    return JSONResponse({"name": identity.name, "roles": ", ".join(roles)})


def _metrics(_: Request) -> PlainTextResponse:
    """For Prometheus. Whoever has a role may read it, as everything else."""
    try:
        return PlainTextResponse(METRICS.read_text(), media_type="text/plain; version=0.0.4")
    except FileNotFoundError:
        return PlainTextResponse(
            "There are no metrics: the service alerts has not evaluated the state yet. docs/monitoring.md\n", 404
        )


def _replace(module: ModuleType, replaced: type, by: type) -> None:
    if getattr(module, replaced.__name__, None) is not replaced:
        raise TypeError(
            f"{module.__name__} no longer uses {replaced.__name__}, which platform_host/webserver.py replaces."
        )
    setattr(module, replaced.__name__, by)


def install() -> None:
    """Makes `dagster-webserver` use the classes of this module; raises TypeError if it would not."""
    _replace(dagster_webserver.cli, WorkspaceProcessContext, ProcessContext)
    _replace(dagster_webserver.app, DagsterWebserver, Webserver)


if __name__ == "__main__":
    install()
    try:
        dagster_webserver.cli.main()  # type: ignore[no-untyped-call]
    except AccessError as error:
        sys.exit(str(error))
