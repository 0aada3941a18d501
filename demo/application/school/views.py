# The pages of the demo's application.
import os
import time

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpResponse, JsonResponse

MAX_SLEEP_MS = 5000


def release():
    try:
        with open(settings.RELEASE_FILE, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


def health(request):
    """200 when the application can serve: its database answers, too."""
    answer = {"status": "ok", "release": release(), "host": os.uname().nodename}
    if settings.HAS_DATABASE:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except DatabaseError as error:
            connection.close()
            answer.update(status="no database", error=str(error).strip())
            return JsonResponse(answer, status=503)
    return JsonResponse(answer)


def index(request):
    return HttpResponse(f"<!doctype html><title>{request.tenant}</title><h1>{request.tenant}</h1>\n")


def students(request):
    if not settings.HAS_DATABASE:
        rows = [[i, f"Student {i}", "active"] for i in range(1, 21)]
    else:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('search_path', %s, false)", [f'"{request.tenant}", public'])
                cursor.execute(
                    'SELECT "student"."id", "student"."last_name", "student"."status" FROM "student" '
                    'ORDER BY "student"."id" LIMIT 20'
                )
                rows = cursor.fetchall()
        except DatabaseError as error:
            connection.close()
            return JsonResponse({"error": str(error).strip()}, status=503)
    return JsonResponse({"school": request.tenant, "students": [dict(zip(("id", "name", "status"), row)) for row in rows]})


def slow(request):
    """Sleeps ?ms= milliseconds, at most 5000."""
    try:
        wanted = int(request.GET.get("ms", "500"))
    except ValueError:
        return JsonResponse({"error": "ms wants a number of milliseconds"}, status=400)
    slept = max(0, min(wanted, MAX_SLEEP_MS))
    time.sleep(slept / 1000)
    return JsonResponse({"slept_ms": slept})
