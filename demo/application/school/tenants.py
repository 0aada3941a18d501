# Which school a request belongs to: its domain in public.tenants_domain, as django-tenants does it.
import os
import time

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpResponse, HttpResponseNotFound

KEEP_S = 60
SLOW_SCHOOL = "al_noor"
SLOW_S = 0.45

_schemas = {}
_read_at = 0.0


def _read_schemas():
    global _schemas, _read_at
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT "tenants_domain"."domain", "tenants_client"."schema_name" FROM public."tenants_domain" '
            'INNER JOIN public."tenants_client" ON ("tenants_domain"."tenant_id" = "tenants_client"."id")'
        )
        _schemas = dict(cursor.fetchall())
    _read_at = time.monotonic()


def schema_of(host):
    """The schema of the school with that domain; None when there is none. Computed when there is no database."""
    if not settings.HAS_DATABASE:
        name = host.removeprefix("www.").split(".")[0].replace("-", "_")
        return name if host.endswith(".example") else None
    if not _schemas or time.monotonic() - _read_at > KEEP_S:
        _read_schemas()
    return _schemas.get(host)


def is_on(problem):
    return bool(settings.PROBLEMS) and os.path.exists(os.path.join(settings.PROBLEMS, problem))


class TenantMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.tenant = None
        if request.path == "/health":
            return self.get_response(request)
        # Names below localhost are for browsers on this machine: they need no DNS.
        host = request.get_host().split(":")[0].lower()
        if host.endswith(".localhost"):
            host = host.removesuffix("localhost") + "school.example"
        try:
            request.tenant = schema_of(host)
        except DatabaseError as error:
            connection.close()
            return HttpResponse(f"no database: {error}\n", status=503, content_type="text/plain")
        if request.tenant is None:
            return HttpResponseNotFound("no school has this address\n", content_type="text/plain")
        if request.tenant == SLOW_SCHOOL and is_on("slow-school"):
            time.sleep(SLOW_S)
        return self.get_response(request)
